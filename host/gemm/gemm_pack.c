/* Packing of weights, with adapters merged: one launch a window of rows. */
#include "gemm/gemm_internal.h"

enum { PACK_ROWS = 8 }; /* as in cl_kernels/gemm_pack.cl */

/* What is packed, and where to. */
typedef struct pack_job {
    slad_gemm_operand packed, weight;
    const slad_gemm_layout *layout;
    size_t out, in;
    bool transposed;
} pack_job;

static size_t rows_of(const slad_gemm_adapter *adapter)
{
    return adapter->blocks * adapter->block_rows;
}

static slad_status check_adapter(const slad_gemm *gemm, const slad_gemm_adapter *adapter, size_t out, size_t in)
{
    slad_status status = SLAD_OK;
    slad_context *context = gemm->device->context;
    SLAD_FAIL_IF(adapter->rank == 0 || adapter->blocks == 0 || adapter->block_rows == 0 || adapter->first_row >= out ||
                     adapter->blocks > out || adapter->block_rows > (out - adapter->first_row) / adapter->blocks ||
                     adapter->a_stride < in || adapter->b_row_stride < adapter->rank,
                 SLAD_ERROR_INTERNAL,
                 "an adapter of rank %zu with %zu blocks of %zu rows from row %zu and strides %zu and %zu does not fit "
                 "a weight of %zu x %zu; please report it",
                 adapter->rank, adapter->blocks, adapter->block_rows, adapter->first_row, adapter->a_stride,
                 adapter->b_row_stride, out, in);
    SLAD_TRY(slad_gemm_check_operand(gemm, adapter->lora_a, (adapter->rank - 1) * (uint64_t)adapter->a_stride + in,
                                     "lora_A"));
    SLAD_TRY(slad_gemm_check_operand(gemm, adapter->lora_b,
                                     (adapter->blocks - 1) * (uint64_t)adapter->b_block_stride +
                                         (adapter->block_rows - 1) * (uint64_t)adapter->b_row_stride + adapter->rank,
                                     "lora_B"));
cleanup:
    return status;
}

static slad_status check(const slad_gemm *gemm, const pack_job *job, const slad_gemm_adapter *adapters,
                         unsigned adapter_count)
{
    slad_status status = SLAD_OK;
    slad_context *context = gemm->device->context;
    const size_t columns = job->transposed ? job->in : job->out, depth = job->transposed ? job->out : job->in;
    SLAD_FAIL_IF(job->layout->columns != columns || job->layout->depth != depth, SLAD_ERROR_INTERNAL,
                 "a weight of %zu x %zu does not fit a packed layout of %zu columns and depth %zu; please report it",
                 job->out, job->in, job->layout->columns, job->layout->depth);
    SLAD_FAIL_IF(adapter_count > SLAD_GEMM_ADAPTERS, SLAD_ERROR_INTERNAL,
                 "a weight has %u adapters, at most %d can be merged; please report it", adapter_count,
                 SLAD_GEMM_ADAPTERS);
    SLAD_TRY(slad_gemm_check_operand(gemm, job->packed, job->layout->elements, "a packed weight"));
    SLAD_TRY(slad_gemm_check_operand(gemm, job->weight, (uint64_t)job->out * job->in, "a weight"));
    for (unsigned i = 0; i < adapter_count; i++) SLAD_TRY(check_adapter(gemm, &adapters[i], job->out, job->in));
cleanup:
    return status;
}

/* Binds the launch of `rows` rows from first_row on: all rows of the adapter, or rows without one (NULL). again: they
 * are packed already, and the adapter is added. */
static slad_status add_launch(slad_gemm_packing *packing, const pack_job *job, const slad_gemm_adapter *adapter,
                              size_t first_row, size_t rows, bool again)
{
    slad_device *device = packing->gemm->device;
    const slad_gemm_layout *layout = job->layout;
    /* Rank 0 reads neither lora_A nor lora_B, but some drivers refuse a NULL buffer. */
    const slad_gemm_adapter none = {
        .lora_a = job->weight, .lora_b = job->weight, .a_stride = job->in, .blocks = 1, .block_rows = rows};
    const slad_gemm_adapter *used = adapter ? adapter : &none;
    const size_t filled = (layout->columns + layout->panel - 1) / layout->panel * layout->panel;
    const bool fills = !job->transposed && !again && first_row + rows == job->out;
    const size_t items_in = job->transposed ? filled : job->in, items_out = fills ? filled - first_row : rows;
    const size_t width = device->features.vector_width;
    const slad_argument place = slad_argument_buffer(job->packed.buffer, job->packed.offset);
    /* gemm_pack_add has no weight, so its arguments begin with the second. */
    const slad_argument arguments[] = {
        place,
        again ? place : slad_argument_buffer(job->weight.buffer, job->weight.offset),
        slad_argument_buffer(used->lora_a.buffer, used->lora_a.offset),
        slad_argument_buffer(used->lora_b.buffer, used->lora_b.offset),
        slad_argument_uint(job->out),
        slad_argument_uint(job->in),
        slad_argument_uint(layout->panel),
        slad_argument_uint(job->transposed),
        slad_argument_uint(first_row),
        slad_argument_uint(rows),
        slad_argument_uint(used->rank),
        slad_argument_uint(used->a_stride),
        slad_argument_uint(used->block_rows),
        slad_argument_uint(used->b_block_stride),
        slad_argument_uint(used->b_row_stride),
        slad_argument_float((double)used->scale),
    };
    const slad_work work = {.items = {(items_in + width - 1) / width, (items_out + PACK_ROWS - 1) / PACK_ROWS},
                            .split_axis = 1};
    return slad_launch_bind(device, &packing->launches[packing->launch_count++],
                            &slad_gemm_kernels[again ? SLAD_GEMM_KERNEL_PACK_ADD : SLAD_GEMM_KERNEL_PACK], "",
                            arguments + again, sizeof arguments / sizeof arguments[0] - again, work);
}

/* Covers all rows once, each adapter that begins where the packed rows end with its own rows, so that q, k and v cost
 * no more than one adapter of all three; then adds the adapters that were not met. */
static slad_status add_launches(slad_gemm_packing *packing, const pack_job *job, const slad_gemm_adapter *adapters,
                                unsigned adapter_count)
{
    slad_status status = SLAD_OK;
    bool merged[SLAD_GEMM_ADAPTERS] = {false};
    for (size_t row = 0; row < job->out;) {
        size_t end = job->out;
        const slad_gemm_adapter *here = NULL;
        for (unsigned i = 0; i < adapter_count && !here; i++) {
            if (merged[i] || adapters[i].first_row < row) continue;
            if (adapters[i].first_row > row) {
                if (end > adapters[i].first_row) end = adapters[i].first_row;
                continue;
            }
            here = &adapters[i];
            end = row + rows_of(here);
            merged[i] = true;
        }
        SLAD_TRY(add_launch(packing, job, here, row, end - row, false));
        row = end;
    }
    for (unsigned i = 0; i < adapter_count; i++)
        if (!merged[i])
            SLAD_TRY(add_launch(packing, job, &adapters[i], adapters[i].first_row, rows_of(&adapters[i]), true));
cleanup:
    return status;
}

slad_status slad_gemm_bind_pack(slad_gemm *gemm, slad_gemm_packing *packing, slad_gemm_operand packed,
                                const slad_gemm_layout *layout, slad_gemm_operand weight, size_t out, size_t in,
                                bool transposed, const slad_gemm_adapter *adapters, unsigned adapter_count)
{
    slad_status status = SLAD_OK;
    const pack_job job = {packed, weight, layout, out, in, transposed};
    *packing = (slad_gemm_packing){.gemm = gemm};
    SLAD_TRY(check(gemm, &job, adapters, adapter_count));
    SLAD_TRY(add_launches(packing, &job, adapters, adapter_count));
cleanup:
    if (status != SLAD_OK) slad_gemm_packing_free(packing);
    return status;
}

slad_status slad_gemm_enqueue_pack(const slad_gemm_packing *packing)
{
    slad_status status = SLAD_OK;
    for (unsigned i = 0; status == SLAD_OK && i < packing->launch_count; i++)
        status = slad_launch_enqueue(packing->gemm->device, &packing->launches[i]);
    return status;
}

void slad_gemm_packing_free(slad_gemm_packing *packing)
{
    for (unsigned i = 0; i < packing->launch_count; i++) slad_launch_free(&packing->launches[i]);
    *packing = (slad_gemm_packing){0};
}
