#include "reference/feature_loss.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"

#define EPSILON 1e-6 /* of the standardisation: that of DINOv2's own LayerNorm */

enum { LOSS, SUM };
enum { PROJECTED = 0, TARGET = 1, KL_WEIGHTS = 2, STEP_VALUES = 3, INPUTS = 4 };
enum { TERMS = 0, GRADIENT = 1, ACCUMULATORS = 2 };

/* As the student's tokens are seen: a matrix is one token an image. */
static slad_reference_features sizes_of(const slad_node *node)
{
    const slad_feature_distillation *parameters = node->parameters;
    const slad_tensor *projected = node->inputs[PROJECTED], *target = node->inputs[TARGET];
    return (slad_reference_features){
        .alpha = parameters->alpha,
        .epsilon = EPSILON,
        .batch = projected->size[0],
        .tokens = projected->rank == 3 ? projected->size[1] : 1,
        .target_tokens = target->size[1],
        .columns = target->size[2],
        .compared = parameters->compared,
    };
}

/* The gradient was computed with the loss: it is handed on as it is. */
static slad_status gradient(slad_record *record, const slad_node *node)
{
    if (node->inputs[PROJECTED]->needs_gradient)
        slad_gradient_pass(record, node->inputs[PROJECTED], node->outputs[GRADIENT]);
    return slad_record_status(record);
}

static slad_status launch(slad_launcher *launcher, const slad_node *node)
{
    const slad_reference_features sizes = sizes_of(node);
    slad_status status = SLAD_OK;
    const slad_operand loss[] = {
        SLAD_TENSOR(node->outputs[TERMS]),
        SLAD_TENSOR(node->outputs[GRADIENT]),
        SLAD_TENSOR(node->inputs[PROJECTED]),
        SLAD_TENSOR(node->inputs[TARGET]),
        SLAD_TENSOR(node->inputs[KL_WEIGHTS]),
        SLAD_TENSOR(node->inputs[STEP_VALUES]),
        SLAD_UINT(sizes.batch),
        SLAD_UINT(sizes.tokens),
        SLAD_UINT(sizes.target_tokens),
        SLAD_UINT(sizes.columns),
        SLAD_UINT(sizes.compared),
        SLAD_FLOAT(sizes.epsilon),
        SLAD_FLOAT(1.0 / (double)sizes.compared / (double)sizes.columns),
        SLAD_FLOAT(sizes.alpha),
    };
    const slad_operand sum[] = {SLAD_TENSOR(node->outputs[ACCUMULATORS]), SLAD_TENSOR(node->outputs[TERMS]),
                                SLAD_UINT(sizes.batch), SLAD_UINT(sizes.tokens)};
    const size_t lanes = slad_launcher_features(launcher)->row_lanes;
    SLAD_TRY(slad_launch_kernel(launcher, &slad_feature_loss_kernels[LOSS], "", loss, sizeof loss / sizeof *loss,
                                (slad_work){.items = {lanes, sizes.tokens, sizes.batch}, .split_axis = 2}));
    SLAD_TRY(slad_launch_kernel(launcher, &slad_feature_loss_kernels[SUM], "", sum, sizeof sum / sizeof *sum,
                                (slad_work){.items = {lanes}, .split_axis = -1}));
cleanup:
    return status;
}

static slad_status reference(slad_host *host, const slad_node *node)
{
    slad_reference_features sizes = sizes_of(node);
    const float *step_values = slad_host_floats(host, node->inputs[STEP_VALUES]);
    float *terms = slad_host_floats(host, node->outputs[TERMS]);
    float *accumulators = slad_host_floats(host, node->outputs[ACCUMULATORS]);
    sizes.inverse_kl = (double)step_values[SLAD_STEP_INVERSE_KL];
    slad_reference_feature_loss(
        terms, slad_host_floats(host, node->outputs[GRADIENT]), slad_host_floats(host, node->inputs[PROJECTED]),
        slad_host_floats(host, node->inputs[TARGET]), slad_host_floats(host, node->inputs[KL_WEIGHTS]), &sizes);
    double sum = (double)accumulators[SLAD_SUM_FEATURE];
    for (size_t i = 0; i < sizes.batch * sizes.tokens; i++) sum += (double)terms[i];
    accumulators[SLAD_SUM_FEATURE] = (float)sum;
    return SLAD_OK;
}

static const slad_operation operation = {
    .name = "feature_loss",
    .gradient = gradient,
    .starts_gradient = true,
    .launch = launch,
    .reference = reference,
};

static bool is_vector(const slad_tensor *tensor, size_t elements)
{
    return tensor && tensor->element == SLAD_F32 && slad_tensor_is_contiguous(tensor) &&
           slad_tensor_elements(tensor) == elements;
}

static bool check(slad_record *record, const slad_tensor *const *inputs, const slad_tensor *accumulators,
                  const slad_feature_distillation *parameters)
{
    const slad_tensor *projected = inputs[PROJECTED], *target = inputs[TARGET];
    char shape[96], target_shape[96];
    if (!slad_check_operand(record, "feature_loss", projected, 0) ||
        !slad_check_operand(record, "feature_loss", target, 3))
        return false;
    slad_tensor_shape_text(shape, projected);
    slad_tensor_shape_text(target_shape, target);
    if ((projected->rank != 2 && projected->rank != 3) || projected->size[0] != target->size[0] ||
        slad_tensor_columns(projected) != slad_tensor_columns(target))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL,
                                "feature_loss: projected tokens %s do not fit the teacher's %s", shape, target_shape);
    const size_t tokens = projected->rank == 3 ? projected->size[1] : 1, compared = parameters->compared;
    if (compared == 0 || compared > tokens || compared > target->size[1])
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "feature_loss: %zu tokens of %s and %s cannot be compared",
                                compared, shape, target_shape);
    if (!is_vector(inputs[KL_WEIGHTS], target->size[0]) || !is_vector(inputs[STEP_VALUES], SLAD_STEP_VALUES) ||
        !is_vector(accumulators, SLAD_ACCUMULATORS))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL,
                                "feature_loss: weights of %zu images, step values [%d] or accumulators [%d] are "
                                "missing or of another size",
                                target->size[0], SLAD_STEP_VALUES, SLAD_ACCUMULATORS);
    return true;
}

const slad_tensor *slad_feature_loss(slad_record *record, const slad_tensor *projected, const slad_tensor *target,
                                     const slad_tensor *kl_weights, const slad_tensor *step_values,
                                     const slad_tensor *accumulators, const slad_feature_distillation *parameters)
{
    const slad_tensor *inputs[INPUTS] = {projected, target, kl_weights, step_values};
    if (!check(record, inputs, accumulators, parameters)) return NULL;
    slad_node *node =
        slad_record_append(record, &operation, SLAD_PHASE_MICRO_BATCH, inputs, INPUTS, parameters, sizeof *parameters);
    const size_t tokens = projected->rank == 3 ? projected->size[1] : 1;
    const slad_tensor *terms = slad_node_output(record, node, 2, (const size_t[]){projected->size[0], tokens});
    (void)slad_node_output(record, node, projected->rank, projected->size);
    slad_node_writes(record, node, accumulators);
    return terms;
}

/* Weights and step values of a self-test: all one half. */
static slad_status fill_half(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    float *values = destination;
    (void)context;
    (void)user;
    (void)index;
    for (size_t i = 0; i < elements; i++) values[i] = 0.5f;
    return SLAD_OK;
}

/* Projected by a trained matrix, as a training step does it; tokens before the patches on one side. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t images = 3, tokens = 9, target_tokens = 7, narrow = 19, wide = 37;
    const size_t step_values = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS;
    slad_store *store = slad_record_store(record);
    const slad_feature_distillation parameters = {.alpha = 0.7, .compared = 6};
    const slad_tensor *weights = NULL, *steps = NULL, *accumulators = NULL;
    slad_status status = SLAD_OK;
    (void)context;
    SLAD_TRY(slad_store_frozen(store, &weights, "weights", SLAD_F32, 1, &images, fill_half, NULL, 0));
    SLAD_TRY(slad_store_frozen(store, &steps, "step_values", SLAD_F32, 1, &step_values, fill_half, NULL, 0));
    SLAD_TRY(slad_store_state(store, &accumulators, "accumulators", SLAD_F32, 1, &sums));
    const slad_tensor *student =
        slad_record_input(record, "student", SLAD_F32, 3, (const size_t[]){images, tokens, narrow}, 0);
    const slad_tensor *target =
        slad_record_input(record, "target", SLAD_F32, 3, (const size_t[]){images, target_tokens, wide}, 0);
    slad_record_require_gradient(record, student);
    const slad_weight projection = {
        .weight = slad_self_test_trained(record, "projection", 2, (const size_t[]){wide, narrow}, 0.3)};
    const slad_tensor *terms = slad_feature_loss(record, slad_linear(record, student, &projection, NULL), target,
                                                 weights, steps, accumulators, &parameters);
    slad_record_output(record, accumulators, "sums");
    SLAD_TRY(slad_self_test_differentiate(record, terms, "terms"));
cleanup:
    return status;
}

const slad_kernel_row slad_feature_loss_kernels[] = {
    [LOSS] = {"feature_loss", "feature_loss", "ttttttuuuuufff", SLAD_WORK_ROWS, self_test, 1e-4},
    [SUM] = {"feature_loss", "feature_loss_sum", "ttuu", SLAD_WORK_ROWS, self_test, 1e-4},
};
const size_t slad_feature_loss_kernel_count = sizeof slad_feature_loss_kernels / sizeof *slad_feature_loss_kernels;
