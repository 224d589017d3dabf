/* Packing of weights, with adapters merged: one launch. */
#include "gemm/gemm_internal.h"

enum { PACK_ROWS = 8 }; /* as in cl_kernels/gemm_pack.cl */

static slad_status check(const slad_gemm *gemm, const slad_gemm_layout *layout, size_t out, size_t in, bool transposed,
                         const slad_gemm_adapter *adapter)
{
    slad_status status = SLAD_OK;
    slad_context *context = gemm->device->context;
    const size_t columns = transposed ? in : out, depth = transposed ? out : in;
    SLAD_FAIL_IF(layout->columns != columns || layout->depth != depth, SLAD_ERROR_INTERNAL,
                 "a weight of %zu x %zu does not fit a packed layout of %zu columns and depth %zu; please report it",
                 out, in, layout->columns, layout->depth);
    if (!adapter) return SLAD_OK;
    SLAD_FAIL_IF(adapter->rank == 0 || adapter->blocks == 0 || out % adapter->blocks != 0 || adapter->a_stride < in ||
                     adapter->b_row_stride < adapter->rank,
                 SLAD_ERROR_INTERNAL,
                 "an adapter of rank %zu with %zu blocks and strides %zu and %zu does not fit a weight of %zu x %zu; "
                 "please report it",
                 adapter->rank, adapter->blocks, adapter->a_stride, adapter->b_row_stride, out, in);
    const uint64_t block_rows = out / adapter->blocks;
    SLAD_TRY(slad_gemm_check_operand(gemm, adapter->lora_a, (adapter->rank - 1) * (uint64_t)adapter->a_stride + in,
                                     "lora_A"));
    SLAD_TRY(slad_gemm_check_operand(gemm, adapter->lora_b,
                                     (adapter->blocks - 1) * (uint64_t)adapter->b_block_stride +
                                         (block_rows - 1) * adapter->b_row_stride + adapter->rank,
                                     "lora_B"));
cleanup:
    return status;
}

slad_status slad_gemm_bind_pack(slad_gemm *gemm, slad_launch *launch, slad_gemm_operand packed,
                                const slad_gemm_layout *layout, slad_gemm_operand weight, size_t out, size_t in,
                                bool transposed, const slad_gemm_adapter *adapter)
{
    slad_status status = SLAD_OK;
    *launch = (slad_launch){0};
    SLAD_TRY(check(gemm, layout, out, in, transposed, adapter));
    SLAD_TRY(slad_gemm_check_operand(gemm, packed, layout->elements, "a packed weight"));
    SLAD_TRY(slad_gemm_check_operand(gemm, weight, (uint64_t)out * in, "a weight"));
    /* Rank 0 reads neither lora_A nor lora_B, but some drivers refuse a NULL buffer. */
    const slad_gemm_adapter none = {
        .lora_a = weight, .lora_b = weight, .a_stride = in, .blocks = 1, .b_block_stride = 0, .b_row_stride = 0};
    const slad_gemm_adapter *used = adapter ? adapter : &none;
    const size_t filled = (layout->columns + layout->panel - 1) / layout->panel * layout->panel;
    const size_t items_in = transposed ? filled : in, items_out = transposed ? out : filled;
    const size_t width = gemm->device->features.vector_width;
    const slad_argument arguments[] = {
        slad_argument_buffer(packed.buffer, packed.offset),
        slad_argument_buffer(weight.buffer, weight.offset),
        slad_argument_buffer(used->lora_a.buffer, used->lora_a.offset),
        slad_argument_buffer(used->lora_b.buffer, used->lora_b.offset),
        slad_argument_uint(out),
        slad_argument_uint(in),
        slad_argument_uint(layout->panel),
        slad_argument_uint(transposed),
        slad_argument_uint(used->rank),
        slad_argument_uint(used->a_stride),
        slad_argument_uint(out / used->blocks),
        slad_argument_uint(used->b_block_stride),
        slad_argument_uint(used->b_row_stride),
        slad_argument_float((double)used->scale),
    };
    const slad_work work = {.items = {(items_in + width - 1) / width, (items_out + PACK_ROWS - 1) / PACK_ROWS},
                            .split_axis = 1};
    SLAD_TRY(slad_launch_bind(gemm->device, launch, &slad_gemm_kernels[SLAD_GEMM_KERNEL_PACK], "", arguments,
                              sizeof arguments / sizeof arguments[0], work));
cleanup:
    return status;
}
