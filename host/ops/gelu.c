#include "reference/gelu.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"

enum { FORWARD, BACKWARD };

typedef struct backward_parameters {
    bool accumulate;
} backward_parameters;

/* gelu: input u, output v */

static slad_status launch_forward(slad_launcher *launcher, const slad_node *node)
{
    const slad_tensor *u = node->inputs[0];
    const size_t elements = slad_tensor_elements(u);
    const slad_operand arguments[] = {SLAD_TENSOR(node->outputs[0]), SLAD_TENSOR(u), SLAD_UINT(elements)};
    return slad_launch_kernel(launcher, &slad_gelu_kernels[FORWARD], "", arguments,
                              sizeof arguments / sizeof *arguments, slad_work_of_vectors(launcher, elements));
}

static slad_status reference_forward(slad_host *host, const slad_node *node)
{
    const slad_tensor *u = node->inputs[0];
    slad_reference_gelu(slad_host_floats(host, node->outputs[0]), slad_host_floats(host, u), slad_tensor_elements(u));
    return SLAD_OK;
}

/* gelu_backward: inputs dv, u; output du */

static slad_status launch_backward(slad_launcher *launcher, const slad_node *node)
{
    const backward_parameters *parameters = node->parameters;
    const slad_tensor *u = node->inputs[1];
    const size_t elements = slad_tensor_elements(u);
    const slad_operand arguments[] = {SLAD_TENSOR(node->outputs[0]), SLAD_TENSOR(node->inputs[0]), SLAD_TENSOR(u),
                                      SLAD_UINT(parameters->accumulate), SLAD_UINT(elements)};
    return slad_launch_kernel(launcher, &slad_gelu_kernels[BACKWARD], "", arguments,
                              sizeof arguments / sizeof *arguments, slad_work_of_vectors(launcher, elements));
}

static slad_status reference_backward(slad_host *host, const slad_node *node)
{
    const backward_parameters *parameters = node->parameters;
    const slad_tensor *u = node->inputs[1];
    slad_reference_gelu_backward(slad_host_floats(host, node->outputs[0]), slad_host_floats(host, node->inputs[0]),
                                 slad_host_floats(host, u), parameters->accumulate, slad_tensor_elements(u));
    return SLAD_OK;
}

static const slad_operation backward_operation = {
    .name = "gelu_backward",
    .launch = launch_backward,
    .reference = reference_backward,
};

static slad_status gradient_of_gelu(slad_record *record, const slad_node *node)
{
    backward_parameters parameters;
    const slad_tensor *u = node->inputs[0];
    const slad_tensor *dv = slad_gradient_of(record, node->outputs[0]);
    if (!dv || !u->needs_gradient) return slad_record_status(record);
    const slad_tensor *inputs[] = {dv, u};
    const slad_tensor *du = slad_gradient_target(record, u, &parameters.accumulate);
    slad_node *made =
        slad_record_append(record, &backward_operation, node->phase, inputs, 2, &parameters, sizeof parameters);
    slad_node_writes(record, made, du);
    return slad_record_status(record);
}

static const slad_operation forward_operation = {
    .name = "gelu",
    .gradient = gradient_of_gelu,
    .launch = launch_forward,
    .reference = reference_forward,
};

const slad_tensor *slad_gelu(slad_record *record, const slad_tensor *x)
{
    if (!slad_check_operand(record, "gelu", x, 0)) return NULL;
    slad_node *node = slad_record_append(record, &forward_operation, SLAD_PHASE_MICRO_BATCH, &x, 1, NULL, 0);
    return slad_node_output(record, node, x->rank, x->size);
}

/* Applied twice, so that a gradient is also handed on; the sizes leave a part of a vector. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    (void)context;
    const slad_tensor *u = slad_record_input(record, "u", SLAD_F32, 2, (const size_t[]){29, 37}, 0);
    slad_record_require_gradient(record, u);
    return slad_self_test_differentiate(record, slad_gelu(record, slad_gelu(record, u)), "v");
}

const slad_kernel_row slad_gelu_kernels[] = {
    [FORWARD] = {"gelu", "gelu_forward", "ttu", SLAD_WORK_ITEMS, self_test, 1e-5},
    [BACKWARD] = {"gelu", "gelu_backward", "tttuu", SLAD_WORK_ITEMS, self_test, 1e-5},
};
const size_t slad_gelu_kernel_count = sizeof slad_gelu_kernels / sizeof *slad_gelu_kernels;
