#include "reference/pool.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"

enum { FORWARD, BACKWARD };

typedef struct pool_parameters {
    size_t prefix;
    bool mean;
    bool accumulate; /* of the gradient */
} pool_parameters;

static slad_reference_pooling sizes_of(const slad_tensor *tokens, const pool_parameters *parameters)
{
    return (slad_reference_pooling){
        .batch = tokens->size[0],
        .tokens = tokens->size[1],
        .columns = tokens->size[2],
        .prefix = parameters->prefix,
        .mean = parameters->mean,
    };
}

static size_t vectors_of(const slad_launcher *launcher, size_t columns)
{
    const size_t width = slad_launcher_features(launcher)->vector_width;
    return (columns + width - 1) / width;
}

/* pool: input tokens; output pooled */

static slad_status launch_forward(slad_launcher *launcher, const slad_node *node)
{
    const slad_reference_pooling sizes = sizes_of(node->inputs[0], node->parameters);
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[0]),
        SLAD_TENSOR(node->inputs[0]),
        SLAD_UINT(sizes.batch),
        SLAD_UINT(sizes.tokens),
        SLAD_UINT(sizes.columns),
        SLAD_UINT(sizes.prefix),
        SLAD_UINT(slad_tensor_columns(node->outputs[0])),
    };
    const slad_work work = {.items = {vectors_of(launcher, sizes.columns), sizes.batch, 1}, .split_axis = 1};
    return slad_launch_kernel(launcher, &slad_pool_kernels[FORWARD], "", arguments,
                              sizeof arguments / sizeof *arguments, work);
}

static slad_status reference_forward(slad_host *host, const slad_node *node)
{
    const slad_reference_pooling sizes = sizes_of(node->inputs[0], node->parameters);
    slad_reference_pool(slad_host_floats(host, node->outputs[0]), slad_host_floats(host, node->inputs[0]), &sizes);
    return SLAD_OK;
}

/* pool_backward: input dpooled; output dtokens */

static slad_status launch_backward(slad_launcher *launcher, const slad_node *node)
{
    const pool_parameters *parameters = node->parameters;
    const slad_reference_pooling sizes = sizes_of(node->outputs[0], parameters);
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[0]),     SLAD_TENSOR(node->inputs[0]),
        SLAD_UINT(parameters->accumulate), SLAD_UINT(sizes.batch),
        SLAD_UINT(sizes.tokens),           SLAD_UINT(sizes.columns),
        SLAD_UINT(sizes.prefix),           SLAD_UINT(slad_tensor_columns(node->inputs[0])),
    };
    const slad_work work = {.items = {vectors_of(launcher, sizes.columns), sizes.tokens, sizes.batch}, .split_axis = 2};
    return slad_launch_kernel(launcher, &slad_pool_kernels[BACKWARD], "", arguments,
                              sizeof arguments / sizeof *arguments, work);
}

static slad_status reference_backward(slad_host *host, const slad_node *node)
{
    const pool_parameters *parameters = node->parameters;
    const slad_reference_pooling sizes = sizes_of(node->outputs[0], parameters);
    slad_reference_pool_backward(slad_host_floats(host, node->outputs[0]), slad_host_floats(host, node->inputs[0]),
                                 parameters->accumulate, &sizes);
    return SLAD_OK;
}

static const slad_operation backward_operation = {
    .name = "pool_backward",
    .launch = launch_backward,
    .reference = reference_backward,
};

static slad_status gradient_of_pool(slad_record *record, const slad_node *node)
{
    pool_parameters parameters = *(const pool_parameters *)node->parameters;
    const slad_tensor *tokens = node->inputs[0];
    const slad_tensor *dpooled = slad_gradient_of(record, node->outputs[0]);
    if (!dpooled || !tokens->needs_gradient) return slad_record_status(record);
    const slad_tensor *dtokens = slad_gradient_target(record, tokens, &parameters.accumulate);
    slad_node *made =
        slad_record_append(record, &backward_operation, node->phase, &dpooled, 1, &parameters, sizeof parameters);
    slad_node_writes(record, made, dtokens);
    return slad_record_status(record);
}

static const slad_operation forward_operation = {
    .name = "pool",
    .gradient = gradient_of_pool,
    .launch = launch_forward,
    .reference = reference_forward,
};

const slad_tensor *slad_pool(slad_record *record, const slad_tensor *tokens, slad_pool_kind kind, size_t prefix)
{
    const pool_parameters parameters = {.prefix = prefix, .mean = kind == SLAD_POOL_CLS_MEAN};
    if (!slad_check_operand(record, "pool", tokens, 3)) return NULL;
    if (prefix < 1 || (parameters.mean ? prefix >= tokens->size[1] : prefix > tokens->size[1]))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "pool: %zu prefix tokens of %zu leave no %s", prefix,
                                tokens->size[1], prefix < 1 ? "CLS" : "patches");
    slad_node *node = slad_record_append(record, &forward_operation, SLAD_PHASE_MICRO_BATCH, &tokens, 1, &parameters,
                                         sizeof parameters);
    const size_t features = parameters.mean ? 2 * tokens->size[2] : tokens->size[2];
    return slad_node_output(record, node, 2, (const size_t[]){tokens->size[0], features});
}

/* One tensor with two readings of it, so that the second gradient is added to the first. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t columns = 37, features = 2 * columns;
    (void)context;
    const slad_tensor *tokens = slad_record_input(record, "tokens", SLAD_F32, 3, (const size_t[]){3, 17, columns}, 0);
    slad_record_require_gradient(record, tokens);
    const slad_tensor *gamma = slad_self_test_frozen(record, "gamma", 1, &features, 1.0);
    const slad_tensor *with_registers = slad_pool(record, tokens, SLAD_POOL_CLS_MEAN, 5);
    const slad_tensor *without = slad_pool(record, tokens, SLAD_POOL_CLS_MEAN, 1);
    return slad_self_test_differentiate(record, slad_layer_scale(record, without, with_registers, gamma), "pooled");
}

const slad_kernel_row slad_pool_kernels[] = {
    [FORWARD] = {"pool", "pool_forward", "ttuuuuu", SLAD_WORK_SINGLE, self_test, 1e-5},
    [BACKWARD] = {"pool", "pool_backward", "ttuuuuuu", SLAD_WORK_ITEMS, self_test, 1e-5},
};
const size_t slad_pool_kernel_count = sizeof slad_pool_kernels / sizeof *slad_pool_kernels;
