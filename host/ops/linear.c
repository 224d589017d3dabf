#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/linear_internal.h"

typedef struct linear_parameters {
    slad_weight weight;
    bool accumulate; /* of the input gradient */
} linear_parameters;

/* Inputs of all nodes of this file that read the weight. Key and samples are NULL without dropout. */
enum { INPUT_X, INPUT_WEIGHT, INPUT_BIAS, INPUT_KEY, INPUT_SAMPLES, INPUT_ADAPTERS };
/* What they write; scratch with dropout only. */
enum { OUTPUT_RESULT, SCRATCH_PACKED, SCRATCH_PRODUCT, SCRATCH_DROPPED };

static bool drops(const slad_weight *weight)
{
    return weight->dropout.rate > 0 && weight->adapter_count > 0;
}

/* What the GEMM multiplies with: the merged weight, with dropout the weight alone. */
static slad_weight weight_of_gemm(const slad_weight *weight)
{
    return drops(weight) ? (slad_weight){.weight = weight->weight} : *weight;
}

/* Scratch of a node with dropout: a packed factor and a product, each large enough for every adapter. */
static void append_scratch(slad_record *record, slad_node *node, const slad_weight *weight, size_t rows)
{
    size_t packed = 0, product = 0;
    for (unsigned i = 0; i < weight->adapter_count; i++) {
        const slad_tensor *lora_a = weight->adapters[i].lora_a, *lora_b = weight->adapters[i].lora_b;
        const size_t padded = slad_linear_padded_rank(lora_a->size[0]), adapted = lora_b->size[0] * lora_b->size[1];
        const size_t widest = lora_a->size[1] > adapted ? lora_a->size[1] : adapted;
        if (packed < padded * widest) packed = padded * widest;
        if (product < padded * rows) product = padded * rows;
    }
    (void)slad_node_scratch(record, node, packed);
    (void)slad_node_scratch(record, node, product);
}

/* linear: y = x W_eff^T + bias */

/* y += scale (drop(x) A^T) B^T of each adapter. */
static slad_status launch_branches(slad_launcher *launcher, const slad_node *node, const slad_weight *weight)
{
    const slad_linear_scratch scratch = {node->outputs[SCRATCH_PACKED], node->outputs[SCRATCH_PRODUCT]};
    const slad_tensor *x = node->inputs[INPUT_X];
    const slad_tensor dropped = slad_linear_dropped(x, node->outputs[SCRATCH_DROPPED]);
    slad_status status = SLAD_OK;
    for (unsigned i = 0; i < weight->adapter_count; i++) {
        const slad_adapter *adapter = &weight->adapters[i];
        const slad_linear_factor place = slad_linear_factor_of_a(adapter->lora_a);
        if (i == 0 || adapter->stream != weight->adapters[i - 1].stream)
            SLAD_TRY(slad_linear_launch_drop(launcher, &dropped, x, &weight->dropout, adapter->stream));
        SLAD_TRY(slad_linear_launch_project(launcher, &scratch, &dropped, adapter->lora_a, &place, adapter->scale));
        SLAD_TRY(slad_linear_launch_expand(launcher, node->outputs[OUTPUT_RESULT], &scratch, adapter));
    }
cleanup:
    return status;
}

static slad_status launch_linear(slad_launcher *launcher, const slad_node *node)
{
    const slad_weight *weight = &((const linear_parameters *)node->parameters)->weight;
    const slad_weight multiplied = weight_of_gemm(weight);
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_launch_gemm(launcher, node->outputs[OUTPUT_RESULT], node->inputs[INPUT_X], &multiplied,
                              node->inputs[INPUT_BIAS], false, false));
    if (drops(weight)) SLAD_TRY(launch_branches(launcher, node, weight));
cleanup:
    return status;
}

slad_reference_adapter slad_linear_host_adapter(slad_host *host, const slad_adapter *adapter)
{
    const slad_tensor *lora_a = adapter->lora_a, *lora_b = adapter->lora_b;
    return (slad_reference_adapter){
        .lora_a = slad_host_floats(host, lora_a),
        .lora_b = slad_host_floats(host, lora_b),
        .rank = lora_a->size[0],
        .a_stride = lora_a->stride[0],
        .blocks = lora_b->size[0],
        .block_rows = lora_b->size[1],
        .b_block_stride = lora_b->stride[0],
        .b_row_stride = lora_b->stride[1],
        .first_row = adapter->first_row,
        .scale = adapter->scale,
        .stream = adapter->stream,
    };
}

slad_reference_dropout slad_linear_host_dropout(slad_host *host, const slad_dropout *dropout, const slad_tensor *x)
{
    if (dropout->rate == 0) return (slad_reference_dropout){0};
    return (slad_reference_dropout){
        .rate = dropout->rate,
        .key = slad_host_integers(host, dropout->key),
        .samples = slad_host_integers(host, dropout->samples),
        .tokens = slad_tensor_rows(x) / slad_tensor_elements(dropout->samples),
    };
}

/* x: the node's input, x or dy; both have one row a token. */
static slad_reference_layer host_layer(slad_host *host, const slad_node *node, slad_reference_adapter *adapters,
                                       const slad_tensor *x)
{
    const slad_weight *weight = &((const linear_parameters *)node->parameters)->weight;
    for (unsigned i = 0; i < weight->adapter_count; i++)
        adapters[i] = slad_linear_host_adapter(host, &weight->adapters[i]);
    return (slad_reference_layer){
        .weight = slad_host_floats(host, weight->weight),
        .bias = slad_host_floats(host, node->inputs[INPUT_BIAS]),
        .adapters = adapters,
        .adapter_count = weight->adapter_count,
        .rows = slad_tensor_rows(x),
        .out = weight->weight->size[0],
        .in = weight->weight->size[1],
        .dropout = slad_linear_host_dropout(host, &weight->dropout, x),
    };
}

static slad_status reference_linear(slad_host *host, const slad_node *node)
{
    const slad_tensor *x = node->inputs[INPUT_X];
    slad_reference_adapter adapters[SLAD_MAX_ADAPTERS];
    const slad_reference_layer layer = host_layer(host, node, adapters, x);
    return slad_reference_linear(slad_host_context(host), slad_host_floats(host, node->outputs[0]),
                                 slad_host_floats(host, x), &layer);
}

/* linear_input_gradient: dx = dy W_eff, with dropout dy W + sum of scale mask / (1 - rate) ((dy B) A); its INPUT_X is
 * dy */

static slad_status launch_input_gradient(slad_launcher *launcher, const slad_node *node)
{
    const linear_parameters *parameters = node->parameters;
    const slad_weight *weight = &parameters->weight;
    const slad_weight multiplied = weight_of_gemm(weight);
    const slad_tensor *dy = node->inputs[INPUT_X], *dx = node->outputs[OUTPUT_RESULT];
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_launch_gemm(launcher, dx, dy, &multiplied, NULL, true, parameters->accumulate));
    for (unsigned i = 0; drops(weight) && i < weight->adapter_count; i++) {
        const slad_linear_scratch scratch = {node->outputs[SCRATCH_PACKED], node->outputs[SCRATCH_PRODUCT]};
        const slad_adapter *adapter = &weight->adapters[i];
        const slad_linear_factor place = slad_linear_factor_of_b(adapter->lora_b);
        const slad_tensor columns = slad_linear_adapted_columns(dy, adapter);
        SLAD_TRY(slad_linear_launch_project(launcher, &scratch, &columns, adapter->lora_b, &place, adapter->scale));
        SLAD_TRY(slad_linear_launch_expand_dropped(launcher, dx, scratch.product, adapter, &weight->dropout));
    }
cleanup:
    return status;
}

static slad_status reference_input_gradient(slad_host *host, const slad_node *node)
{
    const linear_parameters *parameters = node->parameters;
    const slad_tensor *dy = node->inputs[INPUT_X];
    slad_reference_adapter adapters[SLAD_MAX_ADAPTERS];
    const slad_reference_layer layer = host_layer(host, node, adapters, dy);
    return slad_reference_linear_input_gradient(slad_host_context(host), slad_host_floats(host, node->outputs[0]),
                                                slad_host_floats(host, dy), &layer, parameters->accumulate);
}

static const slad_operation input_gradient_operation = {
    .name = "linear_input_gradient",
    .launch = launch_input_gradient,
    .reference = reference_input_gradient,
};

/* The gradient rule of linear. Gradients of stored tensors are places of the gradient slabs, so they are always added
 * to. */
static slad_status gradient_of_linear(slad_record *record, const slad_node *node)
{
    linear_parameters parameters = *(const linear_parameters *)node->parameters;
    const slad_weight *weight = &parameters.weight;
    const slad_tensor *x = node->inputs[INPUT_X], *bias = node->inputs[INPUT_BIAS];
    const slad_tensor *dy = slad_gradient_of(record, node->outputs[0]);
    if (!dy) return slad_record_status(record);
    for (unsigned i = 0; i < weight->adapter_count; i++)
        if (weight->adapters[i].lora_a->needs_gradient || weight->adapters[i].lora_b->needs_gradient)
            slad_linear_append_adapter_gradient(record, x, dy, &weight->adapters[i], &weight->dropout);
    if (weight->weight->needs_gradient || (bias && bias->needs_gradient))
        slad_linear_append_weight_gradient(record, x, dy, weight->weight, bias);
    if (x->needs_gradient) {
        const slad_tensor *inputs[SLAD_NODE_INPUTS];
        for (unsigned i = 0; i < node->input_count; i++) inputs[i] = node->inputs[i];
        inputs[INPUT_X] = dy;
        inputs[INPUT_BIAS] = NULL;
        const slad_tensor *dx = slad_gradient_target(record, x, &parameters.accumulate);
        slad_node *made = slad_record_append(record, &input_gradient_operation, SLAD_PHASE_MICRO_BATCH, inputs,
                                             node->input_count, &parameters, sizeof parameters);
        slad_node_writes(record, made, dx);
        if (drops(weight)) append_scratch(record, made, weight, slad_tensor_rows(x));
    }
    return slad_record_status(record);
}

static const slad_operation linear_operation = {
    .name = "linear",
    .gradient = gradient_of_linear,
    .launch = launch_linear,
    .reference = reference_linear,
};

/* Weights are packed by the executor and their gradients are places of the gradient slabs, so they must be stored. */
static bool is_stored(const slad_tensor *tensor)
{
    return tensor->slab->kind == SLAD_SLAB_FROZEN || tensor->slab->kind == SLAD_SLAB_TRAINED;
}

/* Whether all is there and fits; if not, the record has failed. */
static bool check_weight(slad_record *record, const slad_tensor *x, const slad_tensor *weight, const slad_tensor *bias)
{
    char x_shape[96], weight_shape[96];
    if (slad_record_status(record) != SLAD_OK) return false;
    if (!x || !weight) return slad_record_fail(record, SLAD_ERROR_INTERNAL, "linear was given no input or no weight");
    slad_tensor_shape_text(x_shape, x);
    slad_tensor_shape_text(weight_shape, weight);
    if (x->rank == 0 || weight->rank != 2 || slad_tensor_columns(x) != weight->size[1])
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "linear: input %s %s does not fit weight %s %s", x->name,
                                x_shape, weight->name, weight_shape);
    if (!slad_tensor_is_contiguous(x) || !slad_tensor_is_contiguous(weight))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "linear: input %s and weight %s must be contiguous",
                                x->name, weight->name);
    if (bias && (slad_tensor_elements(bias) != weight->size[0] || !slad_tensor_is_contiguous(bias)))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "linear: bias %s does not fit weight %s %s", bias->name,
                                weight->name, weight_shape);
    if (!is_stored(weight) || (bias && !is_stored(bias)))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "linear: weight %s and its bias must lie in the store",
                                weight->name);
    return true;
}

static bool check_adapter(slad_record *record, const slad_adapter *adapter, const slad_tensor *weight)
{
    char a_shape[96], b_shape[96], weight_shape[96];
    const slad_tensor *lora_a = adapter->lora_a, *lora_b = adapter->lora_b;
    if (!lora_a || !lora_b)
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "linear: an adapter of %s is incomplete", weight->name);
    slad_tensor_shape_text(a_shape, lora_a);
    slad_tensor_shape_text(b_shape, lora_b);
    slad_tensor_shape_text(weight_shape, weight);
    if (lora_a->rank != 2 || lora_b->rank != 3 || lora_a->size[0] != lora_b->size[2] ||
        lora_a->size[1] != weight->size[1] || adapter->first_row > weight->size[0] ||
        lora_b->size[0] * lora_b->size[1] > weight->size[0] - adapter->first_row)
        return slad_record_fail(
            record, SLAD_ERROR_INTERNAL,
            "linear: adapter %s %s, %s %s (blocks, rows of a block, rank) from row %zu does not fit %s %s",
            lora_a->name, a_shape, lora_b->name, b_shape, adapter->first_row, weight->name, weight_shape);
    if (lora_a->stride[1] != 1 || lora_b->stride[2] != 1 || !is_stored(lora_a) || !is_stored(lora_b))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL,
                                "linear: adapter %s, %s must lie in the store, with unit stride in its last size",
                                lora_a->name, lora_b->name);
    return true;
}

static bool check_dropout(slad_record *record, const slad_weight *weight, const slad_tensor *x)
{
    const slad_dropout *dropout = &weight->dropout;
    const slad_tensor *key = dropout->key, *samples = dropout->samples;
    if (dropout->rate == 0) return true;
    if (!(dropout->rate > 0 && dropout->rate < 1))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "linear: dropout %g of the adapters of %s is not below 1",
                                dropout->rate, weight->weight->name);
    if (!key || key->element != SLAD_I32 || slad_tensor_elements(key) != 4 || !slad_tensor_is_contiguous(key))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "linear: dropout of %s needs a key of four integers",
                                weight->weight->name);
    if (!samples || samples->element != SLAD_I32 || x->rank < 2 || slad_tensor_elements(samples) != x->size[0] ||
        !slad_tensor_is_contiguous(samples))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL,
                                "linear: dropout of %s needs the sample of each of the %zu images",
                                weight->weight->name, x->size[0]);
    for (unsigned i = 0; i < weight->adapter_count; i++)
        if (weight->adapters[i].stream >= SLAD_DROPOUT_STREAMS)
            return slad_record_fail(record, SLAD_ERROR_INTERNAL, "linear: dropout has no stream %u",
                                    weight->adapters[i].stream);
    return true;
}

const slad_tensor *slad_linear(slad_record *record, const slad_tensor *x, const slad_weight *weight,
                               const slad_tensor *bias)
{
    const slad_tensor *inputs[SLAD_NODE_INPUTS] = {x, weight->weight, bias};
    const linear_parameters parameters = {.weight = *weight};
    size_t size[SLAD_MAX_RANK];
    if (!check_weight(record, x, weight->weight, bias)) return NULL;
    if (weight->adapter_count > SLAD_MAX_ADAPTERS)
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "linear: weight %s has %u adapters, more than %d",
                                weight->weight->name, weight->adapter_count, SLAD_MAX_ADAPTERS);
    for (unsigned i = 0; i < weight->adapter_count; i++) {
        if (!check_adapter(record, &weight->adapters[i], weight->weight)) return NULL;
        inputs[INPUT_ADAPTERS + 2 * i] = weight->adapters[i].lora_a;
        inputs[INPUT_ADAPTERS + 2 * i + 1] = weight->adapters[i].lora_b;
    }
    if (!check_dropout(record, weight, x)) return NULL;
    inputs[INPUT_KEY] = drops(weight) ? weight->dropout.key : NULL;
    inputs[INPUT_SAMPLES] = drops(weight) ? weight->dropout.samples : NULL;
    for (unsigned i = 0; i < x->rank; i++) size[i] = x->size[i];
    size[x->rank - 1] = weight->weight->size[0];
    slad_node *node = slad_record_append(record, &linear_operation, SLAD_PHASE_MICRO_BATCH, inputs,
                                         INPUT_ADAPTERS + 2 * weight->adapter_count, &parameters, sizeof parameters);
    const slad_tensor *y = slad_node_output(record, node, x->rank, size);
    if (y && drops(weight)) {
        append_scratch(record, node, weight, slad_tensor_rows(x));
        (void)slad_node_scratch(record, node, slad_tensor_elements(x));
    }
    return slad_record_status(record) == SLAD_OK ? y : NULL;
}

/* A trained weight and bias with a trained adapter of odd rank in three blocks. */
static slad_status self_test_with(slad_record *record, double rate)
{
    const size_t images = 3, tokens = 23, in = 43, out = 57, rank = 5, blocks = 3, words = 4;
    const slad_tensor *x = slad_record_input(record, "x", SLAD_F32, 3, (const size_t[]){images, tokens, in}, 0);
    slad_record_require_gradient(record, x);
    slad_weight weight = {
        .weight = slad_self_test_trained(record, "weight", 2, (const size_t[]){out, in}, 0.2),
        .adapters = {{.lora_a = slad_self_test_trained(record, "lora_A", 2, (const size_t[]){rank, in}, 0.2),
                      .lora_b = slad_self_test_trained(record, "lora_B", 3,
                                                       (const size_t[]){blocks, out / blocks, rank}, 0.5),
                      .scale = 0.75,
                      .stream = 7}},
        .adapter_count = 1,
    };
    if (rate > 0)
        weight.dropout = (slad_dropout){rate, slad_record_input(record, "key", SLAD_I32, 1, &words, INT32_MAX),
                                        slad_record_input(record, "samples", SLAD_I32, 1, &images, INT32_MAX)};
    const slad_tensor *bias = slad_self_test_trained(record, "bias", 1, &out, 1.0);
    return slad_self_test_differentiate(record, slad_linear(record, x, &weight, bias), "y");
}

/* All kernels but those of dropout. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    (void)context;
    return self_test_with(record, 0);
}

static slad_status self_test_dropout(slad_context *context, slad_record *record)
{
    (void)context;
    return self_test_with(record, 0.3);
}

const slad_kernel_row slad_linear_kernels[] = {
    [SLAD_LINEAR_PACK_FACTOR] = {"linear", "linear_pack_factor", "ttfuuuuuuuuu", SLAD_WORK_ITEMS, self_test, 1e-4},
    [SLAD_LINEAR_PROJECT] = {"linear", "linear_project", "tttuuuuu", SLAD_WORK_ROWS, self_test, 1e-4},
    [SLAD_LINEAR_OUTER] = {"linear", "linear_outer", "tttuuuuuuu", SLAD_WORK_SINGLE, self_test, 1e-4},
    [SLAD_LINEAR_COLUMN_SUMS] = {"linear", "linear_column_sums", "ttuuu", SLAD_WORK_ITEMS, self_test, 1e-4},
    [SLAD_LINEAR_REDUCE] = {"linear", "linear_reduce", "ttuuuuuuuu", SLAD_WORK_ITEMS, self_test, 1e-4},
    [SLAD_LINEAR_DROP] = {"linear", "linear_drop", "ttttuuuuuf", SLAD_WORK_ITEMS, self_test_dropout, 1e-4},
    [SLAD_LINEAR_EXPAND] = {"linear", "linear_expand", "tttuuuuuu", SLAD_WORK_ITEMS, self_test_dropout, 1e-4},
    [SLAD_LINEAR_EXPAND_DROPPED] = {"linear", "linear_expand_dropped", "tttttuuuuuuuuf", SLAD_WORK_ITEMS,
                                    self_test_dropout, 1e-4},
};
const size_t slad_linear_kernel_count = sizeof slad_linear_kernels / sizeof *slad_linear_kernels;
