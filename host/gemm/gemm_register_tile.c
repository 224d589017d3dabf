/* The register-tile kernel's provider: parameters from the device's features, one launch a GEMM, no scratch. */
#include "gemm/gemm_internal.h"
#include <stdio.h>

/* A CPU's work-item walks at most about this many rows, so that one panel of the weight stays in cache meanwhile. */
enum { ROW_BLOCK = 64 };

static slad_status set_up(slad_gemm *gemm)
{
    const slad_device *device = gemm->device;
    const slad_features *features = &device->features;
    /* A work-item is a thread with vector registers of its own, or else one lane of a wider machine: GPUs, and software
     * renderers, which compute work-items side by side and report vectors of one float. */
    const bool is_thread = features->block_group_size == 1 && device->capabilities.native_float_width >= 4;
    if (is_thread) {
        gemm->tile_lanes = 1;
        gemm->tile_vectors = 2;
        /* 16 sums leave room in 32 registers (AVX-512, NEON). AVX2 has 16: 12 sums, 2 vectors of B, 1 value of A. */
        gemm->tile_rows = features->vector_width == 8 ? 6 : 8;
    } else {
        gemm->tile_lanes = 16;
        gemm->tile_vectors = 1;
        gemm->tile_rows = 8;
    }
    (void)snprintf(gemm->defines, sizeof gemm->defines, "-DTILE_ROWS=%u -DTILE_VECTORS=%u -DTILE_LANES=%u",
                   gemm->tile_rows, gemm->tile_vectors, gemm->tile_lanes);
    (void)snprintf(gemm->description, sizeof gemm->description, "register-tile %ux%u, vectors of %u, %u lanes",
                   gemm->tile_rows, gemm->tile_vectors * features->vector_width, features->vector_width,
                   gemm->tile_lanes);
    return SLAD_OK;
}

static size_t panel(const slad_gemm *gemm, size_t columns)
{
    (void)columns;
    return (size_t)gemm->device->features.vector_width * gemm->tile_vectors * gemm->tile_lanes;
}

static slad_status scratch_bytes(slad_gemm *gemm, uint64_t *bytes, const slad_gemm_problem *problem)
{
    (void)gemm;
    (void)problem;
    *bytes = 0;
    return SLAD_OK;
}

/* Tiles of rows a work-item walks: few enough that all compute units have several work-groups. The choice changes no
 * result, since each element is one sum in one work-item. */
static size_t choose_tiles_per_item(const slad_gemm *gemm, size_t row_tiles, size_t panels)
{
    const size_t most = ROW_BLOCK / gemm->tile_rows;
    const size_t wanted_groups = (size_t)4 * gemm->device->info.compute_units;
    if (gemm->tile_lanes > 1 || wanted_groups == 0) return 1;
    const size_t tiles = row_tiles * panels / wanted_groups;
    return tiles < 1 ? 1 : tiles > most ? most : tiles;
}

static slad_status bind(slad_gemm *gemm, slad_gemm_call *call)
{
    const slad_gemm_problem *problem = &call->problem;
    const size_t width = panel(gemm, problem->columns);
    const size_t panels = (problem->columns + width - 1) / width;
    const size_t row_tiles = (problem->rows + gemm->tile_rows - 1) / gemm->tile_rows;
    const size_t tiles = choose_tiles_per_item(gemm, row_tiles, panels);
    /* Without a bias the kernel does not read that argument, but some drivers refuse a NULL buffer. */
    const slad_gemm_operand bias = problem->bias ? call->bias : call->b;
    const slad_argument arguments[] = {
        slad_argument_buffer(call->c.buffer, call->c.offset),
        slad_argument_buffer(call->a.buffer, call->a.offset),
        slad_argument_buffer(call->b.buffer, call->b.offset),
        slad_argument_buffer(bias.buffer, bias.offset),
        slad_argument_uint(problem->rows),
        slad_argument_uint(problem->columns),
        slad_argument_uint(problem->depth),
        slad_argument_uint(problem->a_stride),
        slad_argument_uint(problem->c_stride),
        slad_argument_uint(tiles),
        slad_argument_uint(problem->bias),
        slad_argument_uint(problem->accumulate),
    };
    const unsigned rows_a_group = gemm->device->features.block_group_size / gemm->tile_lanes;
    const slad_work work = {.items = {panels * gemm->tile_lanes, (row_tiles + tiles - 1) / tiles},
                            .group = {gemm->tile_lanes, rows_a_group > 0 ? rows_a_group : 1},
                            .split_axis = 1};
    const slad_status status =
        slad_launch_bind(gemm->device, &call->launches[0], &slad_gemm_kernels[SLAD_GEMM_KERNEL_TILE], gemm->defines,
                         arguments, sizeof arguments / sizeof arguments[0], work);
    call->launch_count = status == SLAD_OK ? 1 : 0;
    return status;
}

const slad_gemm_rules slad_gemm_register_tile_rules = {
    .set_up = set_up, .panel = panel, .scratch_bytes = scratch_bytes, .bind = bind};
