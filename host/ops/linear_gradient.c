/* The gradients of a linear layer's trained parts: of each adapter by skinny products, of W and bias by an outer
 * product over the rows. */
#include "ops/kernel_table.h"
#include "ops/linear_internal.h"
#include "ops/row_sums.h"

/* What cl_kernels/linear.cl works with. */
enum { OUTER_COLUMNS = 8, CPU_VECTORS = 16 };
/* Most elements of all partial sums of a dW: a large W has parallel work enough without many chunks. */
#define WEIGHT_PARTIAL_ELEMENTS ((size_t)1 << 20)

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static slad_row_chunks cut_adapter_rows(size_t rows)
{
    return slad_cut_rows(rows, SLAD_MOST_ROW_CHUNKS);
}

static slad_row_chunks cut_weight_rows(size_t rows, size_t out, size_t in)
{
    return slad_cut_rows(rows, larger(1, smaller(SLAD_MOST_ROW_CHUNKS, WEIGHT_PARTIAL_ELEMENTS / (out * in))));
}

/* linear_adapter_gradient: dA and dB of one adapter */

typedef struct adapter_parameters {
    slad_adapter adapter;
    slad_dropout dropout;
    bool wants_a, wants_b;
} adapter_parameters;

enum { ADAPTER_X, ADAPTER_DY, ADAPTER_A, ADAPTER_B, ADAPTER_KEY, ADAPTER_SAMPLES, ADAPTER_INPUTS };
/* Scratch first, then dA and dB, as far as they are wanted. SCRATCH_DROPPED holds nothing without dropout. */
enum { SCRATCH_PACKED, SCRATCH_PRODUCT, SCRATCH_PARTIAL, SCRATCH_DROPPED, ADAPTER_TARGETS };

static slad_status launch_outer(slad_launcher *launcher, const slad_tensor *partial, const slad_tensor *left,
                                const slad_tensor *right, slad_row_chunks chunks, size_t left_columns,
                                size_t left_stride)
{
    const slad_features *features = slad_launcher_features(launcher);
    const size_t columns = slad_tensor_columns(right), right_stride = slad_linear_row_stride(right);
    const size_t vectors = features->row_lanes == 1 ? CPU_VECTORS : 1;
    const slad_operand arguments[] = {
        SLAD_TENSOR(partial),
        SLAD_TENSOR(left),
        SLAD_TENSOR(right),
        SLAD_UINT(slad_tensor_rows(right)),
        SLAD_UINT(left_columns),
        SLAD_UINT(left_stride),
        SLAD_UINT(columns),
        SLAD_UINT(right_stride),
        SLAD_UINT(chunks.rows_per_chunk),
        SLAD_UINT(vectors),
    };
    const slad_work work = {
        .items = {slad_divide_up(columns, vectors * features->vector_width),
                  slad_divide_up(left_columns, OUTER_COLUMNS), chunks.count},
        .split_axis = 2,
    };
    return slad_launch_kernel(launcher, &slad_linear_kernels[SLAD_LINEAR_OUTER], "", arguments,
                              sizeof arguments / sizeof *arguments, work);
}

static slad_status launch_reduce(slad_launcher *launcher, const slad_tensor *target, const slad_tensor *partial,
                                 size_t chunks, size_t plane_rows, const slad_linear_factor *place)
{
    const slad_operand arguments[] = {
        SLAD_TENSOR(target),
        SLAD_TENSOR(partial),
        SLAD_UINT(chunks),
        SLAD_UINT(plane_rows),
        SLAD_UINT(place->rank),
        SLAD_UINT(place->width),
        SLAD_UINT(place->blocks),
        SLAD_UINT(place->rank_stride),
        SLAD_UINT(place->width_stride),
        SLAD_UINT(place->block_stride),
    };
    const slad_work work = {.items = {place->width, place->rank, place->blocks}, .split_axis = 1};
    return slad_launch_kernel(launcher, &slad_linear_kernels[SLAD_LINEAR_REDUCE], "", arguments,
                              sizeof arguments / sizeof *arguments, work);
}

/* One factor's gradient: target += scale (projected through^T)^T other, with the strides of the factor. */
typedef struct factor_gradient {
    const slad_tensor *target, *projected, *through, *other;
    slad_linear_factor through_place, target_place;
} factor_gradient;

static slad_status launch_factor_gradient(slad_launcher *launcher, const slad_node *node,
                                          const factor_gradient *gradient)
{
    const slad_tensor *partial = node->outputs[SCRATCH_PARTIAL];
    const double scale = ((const adapter_parameters *)node->parameters)->adapter.scale;
    const slad_row_chunks chunks = cut_adapter_rows(slad_tensor_rows(gradient->other));
    const size_t rank = gradient->target_place.rank;
    const size_t plane_rows = slad_round_up(rank, OUTER_COLUMNS), padded = slad_linear_padded_rank(rank);
    slad_status status = SLAD_OK;
    const slad_linear_scratch scratch = {node->outputs[SCRATCH_PACKED], node->outputs[SCRATCH_PRODUCT]};
    SLAD_TRY(slad_linear_launch_project(launcher, &scratch, gradient->projected, gradient->through,
                                        &gradient->through_place, scale));
    SLAD_TRY(launch_outer(launcher, partial, scratch.product, gradient->other, chunks, plane_rows, padded));
    SLAD_TRY(launch_reduce(launcher, gradient->target, partial, chunks.count, plane_rows, &gradient->target_place));
cleanup:
    return status;
}

static slad_status launch_adapter_gradient(slad_launcher *launcher, const slad_node *node)
{
    const adapter_parameters *parameters = node->parameters;
    const slad_tensor *x = node->inputs[ADAPTER_X];
    const slad_tensor *lora_a = node->inputs[ADAPTER_A], *lora_b = node->inputs[ADAPTER_B];
    const slad_tensor dy = slad_linear_adapted_columns(node->inputs[ADAPTER_DY], &parameters->adapter);
    slad_status status = SLAD_OK;
    unsigned target = ADAPTER_TARGETS;
    const slad_tensor dropped = slad_linear_dropped(x, node->outputs[SCRATCH_DROPPED]);
    if (parameters->dropout.rate > 0) {
        SLAD_TRY(slad_linear_launch_drop(launcher, &dropped, x, &parameters->dropout, parameters->adapter.stream));
        x = &dropped;
    }
    if (parameters->wants_a) {
        const factor_gradient gradient = {
            node->outputs[target++], &dy, lora_b, x, slad_linear_factor_of_b(lora_b), slad_linear_factor_of_a(lora_a)};
        SLAD_TRY(launch_factor_gradient(launcher, node, &gradient));
    }
    if (parameters->wants_b) {
        const factor_gradient gradient = {
            node->outputs[target], x, lora_a, &dy, slad_linear_factor_of_a(lora_a), slad_linear_factor_of_b(lora_b)};
        SLAD_TRY(launch_factor_gradient(launcher, node, &gradient));
    }
cleanup:
    return status;
}

static slad_status reference_adapter_gradient(slad_host *host, const slad_node *node)
{
    const adapter_parameters *parameters = node->parameters;
    const slad_tensor *x = node->inputs[ADAPTER_X], *dy = node->inputs[ADAPTER_DY];
    const slad_reference_adapter adapter = slad_linear_host_adapter(host, &parameters->adapter);
    const slad_reference_layer layer = {
        .rows = slad_tensor_rows(x),
        .out = slad_tensor_columns(dy),
        .in = slad_tensor_columns(x),
        .dropout = slad_linear_host_dropout(host, &parameters->dropout, x),
    };
    const unsigned place_of_b = ADAPTER_TARGETS + (parameters->wants_a ? 1 : 0);
    return slad_reference_linear_adapter_gradient(
        slad_host_context(host), slad_host_floats(host, parameters->wants_a ? node->outputs[ADAPTER_TARGETS] : NULL),
        slad_host_floats(host, parameters->wants_b ? node->outputs[place_of_b] : NULL), slad_host_floats(host, x),
        slad_host_floats(host, dy), &adapter, &layer);
}

static const slad_operation adapter_gradient_operation = {
    .name = "linear_adapter_gradient",
    .launch = launch_adapter_gradient,
    .reference = reference_adapter_gradient,
};

void slad_linear_append_adapter_gradient(slad_record *record, const slad_tensor *x, const slad_tensor *dy,
                                         const slad_adapter *adapter, const slad_dropout *dropout)
{
    const slad_tensor *lora_a = adapter->lora_a, *lora_b = adapter->lora_b;
    const adapter_parameters parameters = {*adapter, *dropout, lora_a->needs_gradient, lora_b->needs_gradient};
    const slad_tensor *inputs[ADAPTER_INPUTS] = {x, dy, lora_a, lora_b, dropout->key, dropout->samples};
    const size_t rows = slad_tensor_rows(x), rank = lora_a->size[0];
    const size_t in = slad_tensor_columns(x), out = lora_b->size[0] * lora_b->size[1];
    /* Each factor's gradient projects through the other factor and is as wide as the other activation. */
    const size_t widest_through = larger(parameters.wants_a ? out : 0, parameters.wants_b ? in : 0);
    const size_t widest_target = larger(parameters.wants_a ? in : 0, parameters.wants_b ? out : 0);
    const size_t padded = slad_linear_padded_rank(rank);
    bool accumulate;
    slad_node *node = slad_record_append(record, &adapter_gradient_operation, SLAD_PHASE_MICRO_BATCH, inputs,
                                         ADAPTER_INPUTS, &parameters, sizeof parameters);
    (void)slad_node_scratch(record, node, widest_through * padded);
    (void)slad_node_scratch(record, node, rows * padded);
    (void)slad_node_scratch(record, node,
                            cut_adapter_rows(rows).count * slad_round_up(rank, OUTER_COLUMNS) * widest_target);
    (void)slad_node_scratch(record, node, dropout->rate > 0 ? rows * in : 1);
    if (parameters.wants_a) slad_node_writes(record, node, slad_gradient_target(record, lora_a, &accumulate));
    if (parameters.wants_b) slad_node_writes(record, node, slad_gradient_target(record, lora_b, &accumulate));
}

/* linear_weight_gradient: dW and dbias, where W itself is trained */

typedef struct weight_parameters {
    bool wants_weight, wants_bias;
} weight_parameters;

enum { WEIGHT_X = 0, WEIGHT_DY = 1 };
/* Scratch first, then dW and dbias, as far as they are wanted. */
enum { WEIGHT_PARTIAL = 0, WEIGHT_TARGETS = 1 };

static slad_status launch_bias_gradient(slad_launcher *launcher, const slad_node *node, const slad_tensor *target)
{
    const slad_tensor *dy = node->inputs[WEIGHT_DY], *partial = node->outputs[WEIGHT_PARTIAL];
    const size_t out = slad_tensor_columns(dy);
    const slad_row_chunks chunks = cut_weight_rows(slad_tensor_rows(dy), out, 1);
    const slad_operand arguments[] = {
        SLAD_TENSOR(partial),
        SLAD_TENSOR(dy),
        SLAD_UINT(slad_tensor_rows(dy)),
        SLAD_UINT(out),
        SLAD_UINT(chunks.rows_per_chunk),
    };
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_launch_kernel(launcher, &slad_linear_kernels[SLAD_LINEAR_COLUMN_SUMS], "", arguments,
                                sizeof arguments / sizeof *arguments,
                                (slad_work){.items = {out, chunks.count}, .split_axis = 1}));
    SLAD_TRY(slad_launch_column_reduction(launcher, target, partial, chunks.count, 0, 1));
cleanup:
    return status;
}

static slad_status launch_weight_gradient(slad_launcher *launcher, const slad_node *node)
{
    const weight_parameters *parameters = node->parameters;
    const slad_tensor *x = node->inputs[WEIGHT_X], *dy = node->inputs[WEIGHT_DY];
    const slad_tensor *partial = node->outputs[WEIGHT_PARTIAL];
    const size_t out = slad_tensor_columns(dy), in = slad_tensor_columns(x);
    unsigned target = WEIGHT_TARGETS;
    slad_status status = SLAD_OK;
    if (parameters->wants_weight) {
        const slad_row_chunks chunks = cut_weight_rows(slad_tensor_rows(x), out, in);
        const slad_linear_factor place = {.rank = out, .blocks = 1, .width = in, .rank_stride = in, .width_stride = 1};
        SLAD_TRY(launch_outer(launcher, partial, dy, x, chunks, out, out));
        SLAD_TRY(launch_reduce(launcher, node->outputs[target++], partial, chunks.count, out, &place));
    }
    if (parameters->wants_bias) SLAD_TRY(launch_bias_gradient(launcher, node, node->outputs[target]));
cleanup:
    return status;
}

static slad_status reference_weight_gradient(slad_host *host, const slad_node *node)
{
    const weight_parameters *parameters = node->parameters;
    const slad_tensor *x = node->inputs[WEIGHT_X], *dy = node->inputs[WEIGHT_DY];
    const unsigned place_of_bias = WEIGHT_TARGETS + (parameters->wants_weight ? 1 : 0);
    slad_reference_linear_weight_gradient(
        slad_host_floats(host, parameters->wants_weight ? node->outputs[WEIGHT_TARGETS] : NULL),
        slad_host_floats(host, parameters->wants_bias ? node->outputs[place_of_bias] : NULL), slad_host_floats(host, x),
        slad_host_floats(host, dy), slad_tensor_rows(x), slad_tensor_columns(dy), slad_tensor_columns(x));
    return SLAD_OK;
}

static const slad_operation weight_gradient_operation = {
    .name = "linear_weight_gradient",
    .launch = launch_weight_gradient,
    .reference = reference_weight_gradient,
};

void slad_linear_append_weight_gradient(slad_record *record, const slad_tensor *x, const slad_tensor *dy,
                                        const slad_tensor *weight, const slad_tensor *bias)
{
    const weight_parameters parameters = {weight->needs_gradient, bias && bias->needs_gradient};
    const slad_tensor *inputs[] = {x, dy};
    const size_t rows = slad_tensor_rows(x), in = slad_tensor_columns(x), out = slad_tensor_columns(dy);
    const size_t of_weight = parameters.wants_weight ? cut_weight_rows(rows, out, in).count * out * in : 0;
    const size_t of_bias = parameters.wants_bias ? cut_weight_rows(rows, out, 1).count * out : 0;
    bool accumulate;
    slad_node *node = slad_record_append(record, &weight_gradient_operation, SLAD_PHASE_MICRO_BATCH, inputs, 2,
                                         &parameters, sizeof parameters);
    (void)slad_node_scratch(record, node, larger(of_weight, of_bias));
    if (parameters.wants_weight) slad_node_writes(record, node, slad_gradient_target(record, weight, &accumulate));
    if (parameters.wants_bias) slad_node_writes(record, node, slad_gradient_target(record, bias, &accumulate));
}
