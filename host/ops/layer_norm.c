#include "reference/layer_norm.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"
#include "ops/row_sums.h"

enum { FORWARD, BACKWARD, PARAMETERS };

typedef struct forward_parameters {
    double epsilon;
} forward_parameters;

typedef struct backward_parameters {
    bool accumulate;
} backward_parameters;

/* Each row of x is one group of ROW_LANES work-items. */
static slad_work work_of_rows(const slad_launcher *launcher, size_t rows)
{
    return (slad_work){.items = {slad_launcher_features(launcher)->row_lanes, rows, 1}, .split_axis = 1};
}

/* layer_norm: inputs x, gamma, beta; outputs y and the statistics [rows, 2] (mean and rstd) */

static slad_status launch_forward(slad_launcher *launcher, const slad_node *node)
{
    const forward_parameters *parameters = node->parameters;
    const slad_tensor *x = node->inputs[0];
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[0]),  SLAD_TENSOR(node->outputs[1]),     SLAD_TENSOR(x),
        SLAD_TENSOR(node->inputs[1]),   SLAD_TENSOR(node->inputs[2]),      SLAD_FLOAT(parameters->epsilon),
        SLAD_UINT(slad_tensor_rows(x)), SLAD_UINT(slad_tensor_columns(x)),
    };
    return slad_launch_kernel(launcher, &slad_layer_norm_kernels[FORWARD], "", arguments,
                              sizeof arguments / sizeof *arguments, work_of_rows(launcher, slad_tensor_rows(x)));
}

static slad_status reference_forward(slad_host *host, const slad_node *node)
{
    const forward_parameters *parameters = node->parameters;
    const slad_tensor *x = node->inputs[0];
    slad_reference_layer_norm(slad_host_floats(host, node->outputs[0]), slad_host_floats(host, node->outputs[1]),
                              slad_host_floats(host, x), slad_host_floats(host, node->inputs[1]),
                              slad_host_floats(host, node->inputs[2]), parameters->epsilon, slad_tensor_rows(x),
                              slad_tensor_columns(x));
    return SLAD_OK;
}

/* layer_norm_backward: inputs dy, statistics, x, gamma; output dx */

static slad_status launch_backward(slad_launcher *launcher, const slad_node *node)
{
    const backward_parameters *parameters = node->parameters;
    const slad_tensor *x = node->inputs[2];
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[0]),  SLAD_TENSOR(node->inputs[0]),
        SLAD_TENSOR(node->inputs[1]),   SLAD_TENSOR(x),
        SLAD_TENSOR(node->inputs[3]),   SLAD_UINT(parameters->accumulate),
        SLAD_UINT(slad_tensor_rows(x)), SLAD_UINT(slad_tensor_columns(x)),
    };
    return slad_launch_kernel(launcher, &slad_layer_norm_kernels[BACKWARD], "", arguments,
                              sizeof arguments / sizeof *arguments, work_of_rows(launcher, slad_tensor_rows(x)));
}

static slad_status reference_backward(slad_host *host, const slad_node *node)
{
    const backward_parameters *parameters = node->parameters;
    const slad_tensor *x = node->inputs[2];
    slad_reference_layer_norm_backward(slad_host_floats(host, node->outputs[0]),
                                       slad_host_floats(host, node->inputs[0]), slad_host_floats(host, node->inputs[1]),
                                       slad_host_floats(host, x), slad_host_floats(host, node->inputs[3]),
                                       parameters->accumulate, slad_tensor_rows(x), slad_tensor_columns(x));
    return SLAD_OK;
}

static const slad_operation backward_operation = {
    .name = "layer_norm_backward",
    .launch = launch_backward,
    .reference = reference_backward,
};

/* layer_norm_parameters: inputs dy, statistics, x; outputs scratch, then dgamma and dbeta, as far as they are wanted */

typedef struct parameter_gradients {
    bool wants_gamma, wants_beta;
} parameter_gradients;

enum { PARTIAL = 0, TARGETS = 1 };

static slad_status launch_parameters(slad_launcher *launcher, const slad_node *node)
{
    const parameter_gradients *wanted = node->parameters;
    const slad_tensor *x = node->inputs[2], *partial = node->outputs[PARTIAL];
    const size_t rows = slad_tensor_rows(x), columns = slad_tensor_columns(x);
    const size_t width = slad_launcher_features(launcher)->vector_width;
    const slad_row_chunks chunks = slad_cut_rows(rows, SLAD_MOST_ROW_CHUNKS);
    slad_status status = SLAD_OK;
    unsigned target = TARGETS;
    const slad_operand arguments[] = {
        SLAD_TENSOR(partial), SLAD_TENSOR(node->inputs[0]), SLAD_TENSOR(node->inputs[1]),     SLAD_TENSOR(x),
        SLAD_UINT(rows),      SLAD_UINT(columns),           SLAD_UINT(chunks.rows_per_chunk),
    };
    const slad_work work = {.items = {(columns + width - 1) / width, chunks.count, 1}, .split_axis = 1};
    SLAD_TRY(slad_launch_kernel(launcher, &slad_layer_norm_kernels[PARAMETERS], "", arguments,
                                sizeof arguments / sizeof *arguments, work));
    if (wanted->wants_gamma)
        SLAD_TRY(slad_launch_column_reduction(launcher, node->outputs[target++], partial, chunks.count, 0, 2));
    if (wanted->wants_beta)
        SLAD_TRY(slad_launch_column_reduction(launcher, node->outputs[target], partial, chunks.count, 1, 2));
cleanup:
    return status;
}

static slad_status reference_parameters(slad_host *host, const slad_node *node)
{
    const parameter_gradients *wanted = node->parameters;
    const slad_tensor *x = node->inputs[2];
    const unsigned place_of_beta = TARGETS + (wanted->wants_gamma ? 1 : 0);
    slad_reference_layer_norm_parameters(
        slad_host_floats(host, wanted->wants_gamma ? node->outputs[TARGETS] : NULL),
        slad_host_floats(host, wanted->wants_beta ? node->outputs[place_of_beta] : NULL),
        slad_host_floats(host, node->inputs[0]), slad_host_floats(host, node->inputs[1]), slad_host_floats(host, x),
        slad_tensor_rows(x), slad_tensor_columns(x));
    return SLAD_OK;
}

static const slad_operation parameters_operation = {
    .name = "layer_norm_parameters",
    .launch = launch_parameters,
    .reference = reference_parameters,
};

static void append_parameters(slad_record *record, const slad_node *node, const slad_tensor *dy)
{
    const slad_tensor *x = node->inputs[0], *gamma = node->inputs[1], *beta = node->inputs[2];
    const parameter_gradients wanted = {gamma->needs_gradient, beta->needs_gradient};
    const slad_tensor *inputs[] = {dy, node->outputs[1], x};
    const size_t chunks = slad_cut_rows(slad_tensor_rows(x), SLAD_MOST_ROW_CHUNKS).count;
    bool accumulate; /* always true: they are stored */
    slad_node *made = slad_record_append(record, &parameters_operation, node->phase, inputs, 3, &wanted, sizeof wanted);
    (void)slad_node_scratch(record, made, chunks * 2 * slad_tensor_columns(x));
    if (wanted.wants_gamma) slad_node_writes(record, made, slad_gradient_target(record, gamma, &accumulate));
    if (wanted.wants_beta) slad_node_writes(record, made, slad_gradient_target(record, beta, &accumulate));
}

static slad_status gradient_of_layer_norm(slad_record *record, const slad_node *node)
{
    backward_parameters parameters;
    const slad_tensor *x = node->inputs[0];
    const slad_tensor *dy = slad_gradient_of(record, node->outputs[0]);
    if (!dy) return slad_record_status(record);
    if (node->inputs[1]->needs_gradient || node->inputs[2]->needs_gradient) append_parameters(record, node, dy);
    if (!x->needs_gradient) return slad_record_status(record);
    const slad_tensor *inputs[] = {dy, node->outputs[1], x, node->inputs[1]};
    const slad_tensor *dx = slad_gradient_target(record, x, &parameters.accumulate);
    slad_node *made =
        slad_record_append(record, &backward_operation, node->phase, inputs, 4, &parameters, sizeof parameters);
    slad_node_writes(record, made, dx);
    return slad_record_status(record);
}

static const slad_operation forward_operation = {
    .name = "layer_norm",
    .gradient = gradient_of_layer_norm,
    .launch = launch_forward,
    .reference = reference_forward,
};

const slad_tensor *slad_layer_norm(slad_record *record, const slad_tensor *x, const slad_tensor *gamma,
                                   const slad_tensor *beta, double epsilon)
{
    const slad_tensor *inputs[] = {x, gamma, beta};
    const forward_parameters parameters = {epsilon};
    if (!slad_check_operand(record, "layer_norm", x, 0) ||
        !slad_check_parameter(record, "layer_norm", gamma, 1, slad_tensor_columns(x)) ||
        !slad_check_parameter(record, "layer_norm", beta, 1, slad_tensor_columns(x)))
        return NULL;
    slad_node *node = slad_record_append(record, &forward_operation, SLAD_PHASE_MICRO_BATCH, inputs, 3, &parameters,
                                         sizeof parameters);
    const slad_tensor *y = slad_node_output(record, node, x->rank, x->size);
    return slad_node_output(record, node, 2, (const size_t[]){slad_tensor_rows(x), 2}) ? y : NULL;
}

/* A width that is no multiple of a vector, several chunks of rows; x also gets a gradient from beside. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t rows = 67, columns = 71;
    (void)context;
    const slad_tensor *x = slad_record_input(record, "x", SLAD_F32, 2, (const size_t[]){rows, columns}, 0);
    slad_record_require_gradient(record, x);
    const slad_tensor *gamma = slad_self_test_trained(record, "gamma", 1, &columns, 1.0);
    const slad_tensor *beta = slad_self_test_trained(record, "beta", 1, &columns, 1.0);
    const slad_tensor *y = slad_layer_norm(record, x, gamma, beta, 1e-6);
    return slad_self_test_differentiate(record, slad_layer_scale(record, x, y, gamma), "y");
}

const slad_kernel_row slad_layer_norm_kernels[] = {
    [FORWARD] = {"layer_norm", "layer_norm_forward", "tttttfuu", SLAD_WORK_ROWS, self_test, 1e-4},
    [BACKWARD] = {"layer_norm", "layer_norm_backward", "tttttuuu", SLAD_WORK_ROWS, self_test, 1e-4},
    [PARAMETERS] = {"layer_norm", "layer_norm_parameters", "ttttuuu", SLAD_WORK_ITEMS, self_test, 1e-4},
};
const size_t slad_layer_norm_kernel_count = sizeof slad_layer_norm_kernels / sizeof *slad_layer_norm_kernels;
