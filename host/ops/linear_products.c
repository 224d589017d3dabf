/* The skinny products of a linear layer's adapters: what cl_kernels/linear.cl does with A, B and rows of activations.
 */
#include "ops/kernel_table.h"
#include "ops/linear_internal.h"

/* What cl_kernels/linear.cl works with. */
enum { CPU_PROJECT_ROWS = 64, GPU_PROJECT_ROWS = 4, EXPAND_ROWS = 4 };

slad_linear_factor slad_linear_factor_of_a(const slad_tensor *lora_a)
{
    return (slad_linear_factor){lora_a->size[0], 1, lora_a->size[1], lora_a->stride[0], 0, 1};
}

slad_linear_factor slad_linear_factor_of_b(const slad_tensor *lora_b)
{
    return (slad_linear_factor){lora_b->size[2],   lora_b->size[0],  lora_b->size[1], 1,
                                lora_b->stride[0], lora_b->stride[1]};
}

size_t slad_linear_row_stride(const slad_tensor *tensor)
{
    return tensor->rank > 1 ? tensor->stride[tensor->rank - 2] : slad_tensor_columns(tensor);
}

slad_tensor slad_linear_adapted_columns(const slad_tensor *y, const slad_adapter *adapter)
{
    slad_tensor columns = *y;
    columns.offset += adapter->first_row;
    columns.size[columns.rank - 1] = adapter->lora_b->size[0] * adapter->lora_b->size[1];
    return columns;
}

/* packed = scale times the factor, element (rank j, depth k) at j * rank_stride + k * depth_stride; ranks from that of
 * the factor to padded_rank are zero. */
static slad_status launch_pack(slad_launcher *launcher, const slad_tensor *packed, const slad_tensor *through,
                               const slad_linear_factor *place, double scale, size_t padded_rank, size_t rank_stride,
                               size_t depth_stride)
{
    const slad_operand arguments[] = {
        SLAD_TENSOR(packed),
        SLAD_TENSOR(through),
        SLAD_FLOAT(scale),
        SLAD_UINT(place->rank),
        SLAD_UINT(padded_rank),
        SLAD_UINT(place->width),
        SLAD_UINT(place->blocks),
        SLAD_UINT(place->rank_stride),
        SLAD_UINT(place->width_stride),
        SLAD_UINT(place->block_stride),
        SLAD_UINT(rank_stride),
        SLAD_UINT(depth_stride),
    };
    return slad_launch_kernel(launcher, &slad_linear_kernels[SLAD_LINEAR_PACK_FACTOR], "", arguments,
                              sizeof arguments / sizeof *arguments,
                              (slad_work){.items = {padded_rank, place->width, place->blocks}, .split_axis = 1});
}

slad_status slad_linear_launch_project(slad_launcher *launcher, const slad_linear_scratch *scratch,
                                       const slad_tensor *projected, const slad_tensor *through,
                                       const slad_linear_factor *place, double scale)
{
    const slad_features *features = slad_launcher_features(launcher);
    const size_t rows = slad_tensor_rows(projected), padded = slad_linear_padded_rank(place->rank);
    const size_t rank_width = features->vector_width == 16 ? 16 : 8;
    const size_t rows_per_group = features->row_lanes == 1 ? CPU_PROJECT_ROWS : GPU_PROJECT_ROWS;
    slad_status status = SLAD_OK;
    const slad_operand arguments[] = {
        SLAD_TENSOR(scratch->product),
        SLAD_TENSOR(projected),
        SLAD_TENSOR(scratch->packed),
        SLAD_UINT(rows),
        SLAD_UINT(slad_tensor_columns(projected)),
        SLAD_UINT(slad_linear_row_stride(projected)),
        SLAD_UINT(padded),
        SLAD_UINT(rows_per_group),
    };
    SLAD_TRY(launch_pack(launcher, scratch->packed, through, place, scale, padded, 1, padded));
    SLAD_TRY(slad_launch_kernel(launcher, &slad_linear_kernels[SLAD_LINEAR_PROJECT], "", arguments,
                                sizeof arguments / sizeof *arguments,
                                (slad_work){.items = {features->row_lanes, slad_divide_up(rows, rows_per_group),
                                                      slad_divide_up(place->rank, rank_width)},
                                            .split_axis = 1}));
cleanup:
    return status;
}

static size_t tokens_of(const slad_tensor *x, const slad_dropout *dropout)
{
    return slad_tensor_rows(x) / slad_tensor_elements(dropout->samples);
}

static double kept_scale(const slad_dropout *dropout)
{
    return 1 / (1 - dropout->rate);
}

slad_tensor slad_linear_dropped(const slad_tensor *x, const slad_tensor *scratch)
{
    slad_tensor dropped = *x;
    dropped.slab = scratch->slab;
    dropped.offset = scratch->offset;
    return dropped;
}

slad_status slad_linear_launch_drop(slad_launcher *launcher, const slad_tensor *dropped, const slad_tensor *x,
                                    const slad_dropout *dropout, uint32_t stream)
{
    const size_t rows = slad_tensor_rows(x), columns = slad_tensor_columns(x);
    const slad_operand arguments[] = {
        SLAD_TENSOR(dropped),
        SLAD_TENSOR(x),
        SLAD_TENSOR(dropout->key),
        SLAD_TENSOR(dropout->samples),
        SLAD_UINT(rows),
        SLAD_UINT(columns),
        SLAD_UINT(tokens_of(x, dropout)),
        SLAD_UINT(stream),
        SLAD_UINT(slad_reference_dropout_threshold(dropout->rate)),
        SLAD_FLOAT(kept_scale(dropout)),
    };
    const size_t width = slad_launcher_features(launcher)->vector_width;
    return slad_launch_kernel(launcher, &slad_linear_kernels[SLAD_LINEAR_DROP], "", arguments,
                              sizeof arguments / sizeof *arguments,
                              (slad_work){.items = {slad_divide_up(columns, width), rows}, .split_axis = 1});
}

static slad_work expanding_work(const slad_launcher *launcher, size_t rows, size_t columns)
{
    const size_t width = slad_launcher_features(launcher)->vector_width;
    return (slad_work){.items = {slad_divide_up(columns, width), slad_divide_up(rows, EXPAND_ROWS)}, .split_axis = 1};
}

slad_status slad_linear_launch_expand(slad_launcher *launcher, const slad_tensor *y, const slad_linear_scratch *scratch,
                                      const slad_adapter *adapter)
{
    const slad_linear_factor place = slad_linear_factor_of_b(adapter->lora_b);
    const slad_tensor target = slad_linear_adapted_columns(y, adapter);
    const size_t rows = slad_tensor_rows(&target), columns = slad_tensor_columns(&target);
    slad_status status = SLAD_OK;
    const slad_operand arguments[] = {
        SLAD_TENSOR(&target),
        SLAD_TENSOR(scratch->product),
        SLAD_TENSOR(scratch->packed),
        SLAD_UINT(rows),
        SLAD_UINT(place.rank),
        SLAD_UINT(slad_linear_padded_rank(place.rank)),
        SLAD_UINT(columns),
        SLAD_UINT(columns),
        SLAD_UINT(slad_linear_row_stride(&target)),
    };
    SLAD_TRY(launch_pack(launcher, scratch->packed, adapter->lora_b, &place, 1, place.rank, columns, 1));
    SLAD_TRY(slad_launch_kernel(launcher, &slad_linear_kernels[SLAD_LINEAR_EXPAND], "", arguments,
                                sizeof arguments / sizeof *arguments, expanding_work(launcher, rows, columns)));
cleanup:
    return status;
}

slad_status slad_linear_launch_expand_dropped(slad_launcher *launcher, const slad_tensor *dx,
                                              const slad_tensor *product, const slad_adapter *adapter,
                                              const slad_dropout *dropout)
{
    const size_t rows = slad_tensor_rows(dx), columns = slad_tensor_columns(dx), rank = adapter->lora_a->size[0];
    const slad_operand arguments[] = {
        SLAD_TENSOR(dx),
        SLAD_TENSOR(product),
        SLAD_TENSOR(adapter->lora_a),
        SLAD_TENSOR(dropout->key),
        SLAD_TENSOR(dropout->samples),
        SLAD_UINT(rows),
        SLAD_UINT(rank),
        SLAD_UINT(slad_linear_padded_rank(rank)),
        SLAD_UINT(adapter->lora_a->stride[0]),
        SLAD_UINT(columns),
        SLAD_UINT(tokens_of(dx, dropout)),
        SLAD_UINT(adapter->stream),
        SLAD_UINT(slad_reference_dropout_threshold(dropout->rate)),
        SLAD_FLOAT(kept_scale(dropout)),
    };
    return slad_launch_kernel(launcher, &slad_linear_kernels[SLAD_LINEAR_EXPAND_DROPPED], "", arguments,
                              sizeof arguments / sizeof *arguments, expanding_work(launcher, rows, columns));
}
