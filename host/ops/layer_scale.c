#include "reference/layer_scale.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"
#include "ops/row_sums.h"

enum { FORWARD, SUM, BACKWARD, GAMMA, RESIDUAL };

typedef struct backward_parameters {
    bool accumulate;
} backward_parameters;

/* layer_scale: inputs x, z, gamma (may be NULL); output y */

static slad_status launch_sum(slad_launcher *launcher, const slad_node *node)
{
    const size_t elements = slad_tensor_elements(node->outputs[0]);
    const slad_operand arguments[] = {SLAD_TENSOR(node->outputs[0]), SLAD_TENSOR(node->inputs[0]),
                                      SLAD_TENSOR(node->inputs[1]), SLAD_UINT(elements)};
    return slad_launch_kernel(launcher, &slad_layer_scale_kernels[SUM], "", arguments,
                              sizeof arguments / sizeof *arguments, slad_work_of_vectors(launcher, elements));
}

static slad_status launch_forward(slad_launcher *launcher, const slad_node *node)
{
    const slad_tensor *y = node->outputs[0];
    const size_t elements = slad_tensor_elements(y);
    if (!node->inputs[2]) return launch_sum(launcher, node);
    const slad_operand arguments[] = {
        SLAD_TENSOR(y),
        SLAD_TENSOR(node->inputs[0]),
        SLAD_TENSOR(node->inputs[1]),
        SLAD_TENSOR(node->inputs[2]),
        SLAD_UINT(elements),
        SLAD_UINT(slad_tensor_columns(y)),
    };
    return slad_launch_kernel(launcher, &slad_layer_scale_kernels[FORWARD], "", arguments,
                              sizeof arguments / sizeof *arguments, slad_work_of_vectors(launcher, elements));
}

static slad_status reference_forward(slad_host *host, const slad_node *node)
{
    const slad_tensor *y = node->outputs[0];
    slad_reference_layer_scale(slad_host_floats(host, y), slad_host_floats(host, node->inputs[0]),
                               slad_host_floats(host, node->inputs[1]), slad_host_floats(host, node->inputs[2]),
                               slad_tensor_rows(y), slad_tensor_columns(y));
    return SLAD_OK;
}

/* layer_scale_backward: inputs dy, gamma (may be NULL); output dz */

static slad_status launch_copy(slad_launcher *launcher, const slad_tensor *target, const slad_tensor *dy,
                               bool accumulate)
{
    const size_t elements = slad_tensor_elements(dy);
    const slad_operand arguments[] = {SLAD_TENSOR(target), SLAD_TENSOR(dy), SLAD_UINT(accumulate), SLAD_UINT(elements)};
    return slad_launch_kernel(launcher, &slad_layer_scale_kernels[RESIDUAL], "", arguments,
                              sizeof arguments / sizeof *arguments, slad_work_of_vectors(launcher, elements));
}

static slad_status launch_backward(slad_launcher *launcher, const slad_node *node)
{
    const backward_parameters *parameters = node->parameters;
    const slad_tensor *dy = node->inputs[0];
    const size_t elements = slad_tensor_elements(dy);
    if (!node->inputs[1]) return launch_copy(launcher, node->outputs[0], dy, parameters->accumulate);
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[0]),     SLAD_TENSOR(dy),     SLAD_TENSOR(node->inputs[1]),
        SLAD_UINT(parameters->accumulate), SLAD_UINT(elements), SLAD_UINT(slad_tensor_columns(dy)),
    };
    return slad_launch_kernel(launcher, &slad_layer_scale_kernels[BACKWARD], "", arguments,
                              sizeof arguments / sizeof *arguments, slad_work_of_vectors(launcher, elements));
}

static slad_status reference_backward(slad_host *host, const slad_node *node)
{
    const backward_parameters *parameters = node->parameters;
    const slad_tensor *dy = node->inputs[0];
    slad_reference_layer_scale_backward(slad_host_floats(host, node->outputs[0]), slad_host_floats(host, dy),
                                        slad_host_floats(host, node->inputs[1]), parameters->accumulate,
                                        slad_tensor_rows(dy), slad_tensor_columns(dy));
    return SLAD_OK;
}

static const slad_operation backward_operation = {
    .name = "layer_scale_backward",
    .launch = launch_backward,
    .reference = reference_backward,
};

/* layer_scale_gamma: inputs dy, z; outputs scratch, then dgamma, which is added to */

static slad_status launch_gamma(slad_launcher *launcher, const slad_node *node)
{
    const slad_tensor *dy = node->inputs[0], *partial = node->outputs[0];
    const size_t rows = slad_tensor_rows(dy), columns = slad_tensor_columns(dy);
    const size_t width = slad_launcher_features(launcher)->vector_width;
    const slad_row_chunks chunks = slad_cut_rows(rows, SLAD_MOST_ROW_CHUNKS);
    slad_status status = SLAD_OK;
    const slad_operand arguments[] = {
        SLAD_TENSOR(partial), SLAD_TENSOR(dy),    SLAD_TENSOR(node->inputs[1]),
        SLAD_UINT(rows),      SLAD_UINT(columns), SLAD_UINT(chunks.rows_per_chunk),
    };
    const slad_work work = {.items = {(columns + width - 1) / width, chunks.count, 1}, .split_axis = 1};
    SLAD_TRY(slad_launch_kernel(launcher, &slad_layer_scale_kernels[GAMMA], "", arguments,
                                sizeof arguments / sizeof *arguments, work));
    SLAD_TRY(slad_launch_column_reduction(launcher, node->outputs[1], partial, chunks.count, 0, 1));
cleanup:
    return status;
}

static slad_status reference_gamma(slad_host *host, const slad_node *node)
{
    const slad_tensor *dy = node->inputs[0];
    slad_reference_layer_scale_gamma(slad_host_floats(host, node->outputs[1]), slad_host_floats(host, dy),
                                     slad_host_floats(host, node->inputs[1]), slad_tensor_rows(dy),
                                     slad_tensor_columns(dy));
    return SLAD_OK;
}

static const slad_operation gamma_operation = {
    .name = "layer_scale_gamma",
    .launch = launch_gamma,
    .reference = reference_gamma,
};

static void append_gamma(slad_record *record, const slad_node *node, const slad_tensor *dy)
{
    const size_t chunks = slad_cut_rows(slad_tensor_rows(dy), SLAD_MOST_ROW_CHUNKS).count;
    bool accumulate; /* always true: it is stored */
    slad_node *made = slad_record_append(record, &gamma_operation, node->phase,
                                         (const slad_tensor *[]){dy, node->inputs[1]}, 2, NULL, 0);
    (void)slad_node_scratch(record, made, chunks * slad_tensor_columns(dy));
    slad_node_writes(record, made, slad_gradient_target(record, node->inputs[2], &accumulate));
}

/* layer_scale_residual: input dy; output dx, which is added to */

static slad_status launch_residual(slad_launcher *launcher, const slad_node *node)
{
    return launch_copy(launcher, node->outputs[0], node->inputs[0], true);
}

static slad_status reference_residual(slad_host *host, const slad_node *node)
{
    slad_reference_layer_scale_residual(slad_host_floats(host, node->outputs[0]),
                                        slad_host_floats(host, node->inputs[0]), slad_tensor_elements(node->inputs[0]));
    return SLAD_OK;
}

static const slad_operation residual_operation = {
    .name = "layer_scale_residual",
    .launch = launch_residual,
    .reference = reference_residual,
};

/* dgamma and dz are recorded first: where x has no gradient yet, dy itself becomes it, and later nodes add to it in
 * place. */
static slad_status gradient_of_layer_scale(slad_record *record, const slad_node *node)
{
    const slad_tensor *x = node->inputs[0], *z = node->inputs[1], *gamma = node->inputs[2];
    const slad_tensor *dy = slad_gradient_of(record, node->outputs[0]);
    if (!dy) return slad_record_status(record);
    if (gamma && gamma->needs_gradient) append_gamma(record, node, dy);
    if (z->needs_gradient) {
        backward_parameters parameters;
        const slad_tensor *dz = slad_gradient_target(record, z, &parameters.accumulate);
        slad_node *made = slad_record_append(record, &backward_operation, node->phase,
                                             (const slad_tensor *[]){dy, gamma}, 2, &parameters, sizeof parameters);
        slad_node_writes(record, made, dz);
    }
    if (!x->needs_gradient) return slad_record_status(record);
    if (!slad_gradient_of(record, x)) {
        slad_gradient_pass(record, x, dy);
        return slad_record_status(record);
    }
    bool accumulate; /* always true: there is a gradient already */
    const slad_tensor *dx = slad_gradient_target(record, x, &accumulate);
    slad_node *made = slad_record_append(record, &residual_operation, node->phase, &dy, 1, NULL, 0);
    slad_node_writes(record, made, dx);
    return slad_record_status(record);
}

static const slad_operation forward_operation = {
    .name = "layer_scale",
    .gradient = gradient_of_layer_scale,
    .launch = launch_forward,
    .reference = reference_forward,
};

const slad_tensor *slad_layer_scale(slad_record *record, const slad_tensor *x, const slad_tensor *z,
                                    const slad_tensor *gamma)
{
    const slad_tensor *inputs[] = {x, z, gamma};
    if (!slad_check_same_size(record, "layer_scale", z, x) ||
        (gamma && !slad_check_parameter(record, "layer_scale", gamma, 1, slad_tensor_columns(x))))
        return NULL;
    slad_node *node = slad_record_append(record, &forward_operation, SLAD_PHASE_MICRO_BATCH, inputs, 3, NULL, 0);
    return slad_node_output(record, node, x->rank, x->size);
}

/* x is the residual of three operations, so that its gradient is both passed on and added to; the last has no gamma. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t size[] = {67, 43};
    (void)context;
    const slad_tensor *x = slad_record_input(record, "x", SLAD_F32, 2, size, 0);
    const slad_tensor *z = slad_record_input(record, "z", SLAD_F32, 2, size, 0);
    slad_record_require_gradient(record, x);
    slad_record_require_gradient(record, z);
    const slad_tensor *gamma = slad_self_test_trained(record, "gamma", 1, &size[1], 1.0);
    const slad_tensor *y = slad_layer_scale(record, x, z, gamma);
    y = slad_layer_scale(record, x, slad_layer_scale(record, y, x, gamma), gamma);
    return slad_self_test_differentiate(record, slad_layer_scale(record, x, y, NULL), "y");
}

const slad_kernel_row slad_layer_scale_kernels[] = {
    [FORWARD] = {"layer_scale", "layer_scale_forward", "ttttuu", SLAD_WORK_ITEMS, self_test, 1e-5},
    [SUM] = {"layer_scale", "layer_scale_sum", "tttu", SLAD_WORK_ITEMS, self_test, 1e-5},
    [BACKWARD] = {"layer_scale", "layer_scale_backward", "tttuuu", SLAD_WORK_ITEMS, self_test, 1e-5},
    [GAMMA] = {"layer_scale", "layer_scale_gamma", "tttuuu", SLAD_WORK_ITEMS, self_test, 1e-5},
    [RESIDUAL] = {"layer_scale", "layer_scale_residual", "ttuu", SLAD_WORK_ITEMS, self_test, 1e-5},
};
const size_t slad_layer_scale_kernel_count = sizeof slad_layer_scale_kernels / sizeof *slad_layer_scale_kernels;
