#include "reference/swiglu.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"

enum { FORWARD, BACKWARD };

typedef struct backward_parameters {
    bool accumulate;
} backward_parameters;

/* One work-item a vector of each row of v. */
static slad_work work_of(const slad_launcher *launcher, size_t rows, size_t columns)
{
    const size_t width = slad_launcher_features(launcher)->vector_width;
    return (slad_work){.items = {(columns + width - 1) / width, rows, 1}, .split_axis = 1};
}

/* swiglu: input x, output v */

static slad_status launch_forward(slad_launcher *launcher, const slad_node *node)
{
    const slad_tensor *v = node->outputs[0];
    const size_t rows = slad_tensor_rows(v), columns = slad_tensor_columns(v);
    const slad_operand arguments[] = {SLAD_TENSOR(v), SLAD_TENSOR(node->inputs[0]), SLAD_UINT(rows),
                                      SLAD_UINT(columns)};
    return slad_launch_kernel(launcher, &slad_swiglu_kernels[FORWARD], "", arguments,
                              sizeof arguments / sizeof *arguments, work_of(launcher, rows, columns));
}

static slad_status reference_forward(slad_host *host, const slad_node *node)
{
    const slad_tensor *v = node->outputs[0];
    slad_reference_swiglu(slad_host_floats(host, v), slad_host_floats(host, node->inputs[0]), slad_tensor_rows(v),
                          slad_tensor_columns(v));
    return SLAD_OK;
}

/* swiglu_backward: inputs dv, x; output dx */

static slad_status launch_backward(slad_launcher *launcher, const slad_node *node)
{
    const backward_parameters *parameters = node->parameters;
    const slad_tensor *dv = node->inputs[0];
    const size_t rows = slad_tensor_rows(dv), columns = slad_tensor_columns(dv);
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[0]),     SLAD_TENSOR(dv), SLAD_TENSOR(node->inputs[1]),
        SLAD_UINT(parameters->accumulate), SLAD_UINT(rows), SLAD_UINT(columns),
    };
    return slad_launch_kernel(launcher, &slad_swiglu_kernels[BACKWARD], "", arguments,
                              sizeof arguments / sizeof *arguments, work_of(launcher, rows, columns));
}

static slad_status reference_backward(slad_host *host, const slad_node *node)
{
    const backward_parameters *parameters = node->parameters;
    const slad_tensor *dv = node->inputs[0];
    slad_reference_swiglu_backward(slad_host_floats(host, node->outputs[0]), slad_host_floats(host, dv),
                                   slad_host_floats(host, node->inputs[1]), parameters->accumulate,
                                   slad_tensor_rows(dv), slad_tensor_columns(dv));
    return SLAD_OK;
}

static const slad_operation backward_operation = {
    .name = "swiglu_backward",
    .launch = launch_backward,
    .reference = reference_backward,
};

static slad_status gradient_of_swiglu(slad_record *record, const slad_node *node)
{
    backward_parameters parameters;
    const slad_tensor *x = node->inputs[0];
    const slad_tensor *dv = slad_gradient_of(record, node->outputs[0]);
    if (!dv || !x->needs_gradient) return slad_record_status(record);
    const slad_tensor *inputs[] = {dv, x};
    const slad_tensor *dx = slad_gradient_target(record, x, &parameters.accumulate);
    slad_node *made =
        slad_record_append(record, &backward_operation, node->phase, inputs, 2, &parameters, sizeof parameters);
    slad_node_writes(record, made, dx);
    return slad_record_status(record);
}

static const slad_operation forward_operation = {
    .name = "swiglu",
    .gradient = gradient_of_swiglu,
    .launch = launch_forward,
    .reference = reference_forward,
};

const slad_tensor *slad_swiglu(slad_record *record, const slad_tensor *x)
{
    size_t size[SLAD_MAX_RANK] = {0};
    if (!slad_check_operand(record, "swiglu", x, 0)) return NULL;
    if (slad_tensor_columns(x) % 2 != 0) {
        char shape[96];
        slad_tensor_shape_text(shape, x);
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "swiglu: %s %s has no two halves", x->name, shape);
    }
    for (unsigned i = 0; i < x->rank; i++) size[i] = x->size[i];
    size[x->rank - 1] /= 2;
    slad_node *node = slad_record_append(record, &forward_operation, SLAD_PHASE_MICRO_BATCH, &x, 1, NULL, 0);
    return slad_node_output(record, node, x->rank, size);
}

/* x is read twice, so that its second gradient is added to the first; the sizes leave a part of a vector. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    (void)context;
    const slad_tensor *x = slad_record_input(record, "x", SLAD_F32, 2, (const size_t[]){29, 2 * 37}, 0);
    slad_record_require_gradient(record, x);
    return slad_self_test_differentiate(
        record, slad_layer_scale(record, slad_swiglu(record, x), slad_swiglu(record, x), NULL), "v");
}

const slad_kernel_row slad_swiglu_kernels[] = {
    [FORWARD] = {"swiglu", "swiglu_forward", "ttuu", SLAD_WORK_ITEMS, self_test, 1e-5},
    [BACKWARD] = {"swiglu", "swiglu_backward", "tttuuu", SLAD_WORK_ITEMS, self_test, 1e-5},
};
const size_t slad_swiglu_kernel_count = sizeof slad_swiglu_kernels / sizeof *slad_swiglu_kernels;
