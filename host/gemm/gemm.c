/* The dispatcher: chooses a provider, checks what is bound, and hands on. */
#include "gemm/gemm_internal.h"

/* Without self-tests of their own: slad_gemm_verify checks each GEMM of a step, through packing, on its real shape, and
 * the self-test of the adapted linear layer covers the merging of adapters. */
const slad_kernel_row slad_gemm_kernels[] = {
    [SLAD_GEMM_KERNEL_TILE] = {.file = "gemm",
                               .entry = "gemm_register_tile",
                               .arguments = "ttttuuuuuuuu",
                               .rule = SLAD_WORK_SINGLE},
    [SLAD_GEMM_KERNEL_BIAS] = {.file = "gemm_bias",
                               .entry = "gemm_bias",
                               .arguments = "ttuuuu",
                               .rule = SLAD_WORK_ITEMS},
    [SLAD_GEMM_KERNEL_PACK] = {.file = "gemm_pack",
                               .entry = "gemm_pack",
                               .arguments = "ttttuuuuuuuuuuuf",
                               .rule = SLAD_WORK_ITEMS},
    [SLAD_GEMM_KERNEL_PACK_ADD] = {.file = "gemm_pack",
                                   .entry = "gemm_pack_add",
                                   .arguments = "tttuuuuuuuuuuuf",
                                   .rule = SLAD_WORK_ITEMS},
};
const size_t slad_gemm_kernel_count = sizeof slad_gemm_kernels / sizeof slad_gemm_kernels[0];

slad_status slad_gemm_create(slad_device *device, slad_gemm **gemm, slad_gemm_provider provider)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    slad_gemm *created = NULL;
    *gemm = NULL;
    if (provider == SLAD_GEMM_AUTO) {
        const bool use_clblast =
            device->features.use_clblast && device->info.max_work_group >= SLAD_GEMM_CLBLAST_LEAST_GROUP;
        provider = use_clblast ? SLAD_GEMM_CLBLAST : SLAD_GEMM_REGISTER_TILE;
    }
    SLAD_TRY(slad_allocate(context, &created, 1, sizeof *created, "the GEMM dispatcher"));
    created->device = device;
    created->rules = provider == SLAD_GEMM_CLBLAST ? &slad_gemm_clblast_rules : &slad_gemm_register_tile_rules;
    SLAD_TRY(created->rules->set_up(created));
    slad_log(context, SLAD_LOG_DEBUG, "GEMM on %s: %s", device->info.name, created->description);
    *gemm = created;
    created = NULL;
cleanup:
    slad_gemm_free(created);
    return status;
}

void slad_gemm_free(slad_gemm *gemm)
{
    slad_release(gemm);
}

const char *slad_gemm_description(const slad_gemm *gemm)
{
    return gemm->description;
}

slad_gemm_layout slad_gemm_get_layout(const slad_gemm *gemm, size_t columns, size_t depth)
{
    const size_t panel = gemm->rules->panel(gemm, columns);
    const size_t panels = (columns + panel - 1) / panel;
    return (slad_gemm_layout){.depth = depth, .columns = columns, .panel = panel, .elements = panels * panel * depth};
}

static slad_status check_problem(const slad_gemm *gemm, const slad_gemm_problem *problem)
{
    slad_status status = SLAD_OK;
    slad_context *context = gemm->device->context;
    SLAD_FAIL_IF(problem->rows == 0 || problem->columns == 0 || problem->depth == 0 ||
                     problem->a_stride < problem->depth || problem->c_stride < problem->columns,
                 SLAD_ERROR_INTERNAL,
                 "a GEMM of %zu x %zu x %zu with strides %zu and %zu makes no sense; please report it", problem->rows,
                 problem->columns, problem->depth, problem->a_stride, problem->c_stride);
cleanup:
    return status;
}

slad_status slad_gemm_scratch_bytes(slad_gemm *gemm, uint64_t *bytes, const slad_gemm_problem *problem)
{
    *bytes = 0;
    const slad_status status = check_problem(gemm, problem);
    return status == SLAD_OK ? gemm->rules->scratch_bytes(gemm, bytes, problem) : status;
}

void slad_gemm_set_scratch(slad_gemm *gemm, cl_mem scratch, uint64_t bytes)
{
    gemm->scratch = scratch;
    gemm->scratch_bytes = bytes;
}

slad_status slad_gemm_check_operand(const slad_gemm *gemm, slad_gemm_operand operand, uint64_t elements,
                                    const char *what)
{
    slad_status status = SLAD_OK;
    slad_device *device = gemm->device;
    slad_context *context = device->context;
    const uint64_t end = operand.offset + elements;
    size_t bytes = 0;
    SLAD_CL_TRY(clGetMemObjectInfo(operand.buffer, CL_MEM_SIZE, sizeof bytes, &bytes, NULL));
    SLAD_FAIL_IF(end > bytes / sizeof(cl_float), SLAD_ERROR_INTERNAL,
                 "%s of a GEMM ends at element %llu of a buffer of %llu; please report it", what,
                 (unsigned long long)end, (unsigned long long)(bytes / sizeof(cl_float)));
    SLAD_FAIL_IF(
        end > INT32_MAX, SLAD_ERROR_OUT_OF_MEMORY,
        "%s of a GEMM ends at element %llu, but kernels count to 2^31; use a smaller --batch (--micro-batch in "
        "training)",
        what, (unsigned long long)end);
cleanup:
    return status;
}

slad_status slad_gemm_bind(slad_gemm *gemm, slad_gemm_call *call, slad_gemm_operand c, slad_gemm_operand a,
                           slad_gemm_operand b, slad_gemm_operand bias, const slad_gemm_problem *problem)
{
    slad_status status = SLAD_OK;
    *call = (slad_gemm_call){.gemm = gemm, .problem = *problem, .c = c, .a = a, .b = b, .bias = bias};
    SLAD_TRY(check_problem(gemm, problem));
    const uint64_t last_row = problem->rows - 1;
    SLAD_TRY(slad_gemm_check_operand(gemm, c, last_row * problem->c_stride + problem->columns, "the result"));
    SLAD_TRY(slad_gemm_check_operand(gemm, a, last_row * problem->a_stride + problem->depth, "the left matrix"));
    SLAD_TRY(slad_gemm_check_operand(gemm, b, slad_gemm_get_layout(gemm, problem->columns, problem->depth).elements,
                                     "the packed weight"));
    if (problem->bias) SLAD_TRY(slad_gemm_check_operand(gemm, bias, problem->columns, "the bias"));
    SLAD_TRY(gemm->rules->bind(gemm, call));
cleanup:
    if (status != SLAD_OK) slad_gemm_call_free(call);
    return status;
}

slad_status slad_gemm_enqueue(const slad_gemm_call *call)
{
    slad_status status = SLAD_OK;
    for (unsigned i = 0; i < call->launch_count; i++) {
        SLAD_TRY(slad_launch_enqueue(call->gemm->device, &call->launches[i]));
    }
    if (call->gemm->rules->enqueue) SLAD_TRY(call->gemm->rules->enqueue(call));
cleanup:
    return status;
}

void slad_gemm_call_free(slad_gemm_call *call)
{
    for (unsigned i = 0; i < sizeof call->launches / sizeof call->launches[0]; i++) {
        slad_launch_free(&call->launches[i]);
    }
    *call = (slad_gemm_call){0};
}
