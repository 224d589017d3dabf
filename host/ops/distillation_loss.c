#include "reference/distillation_loss.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operations.h"

enum { STUDENT, TEACHER, LABELS, LABELS_2, MIX, TASK_WEIGHTS, KL_WEIGHTS, STEP_VALUES, INPUTS };
/* dz follow: of the student if there is one, then of the teacher if there is one. */
enum { TERMS = 0, RIGHT = 1, ACCUMULATORS = 2, GRADIENTS = 3 };
enum { LOSS, SUM };

static const slad_tensor *student_gradient(const slad_node *node)
{
    return node->inputs[STUDENT] ? node->outputs[GRADIENTS] : NULL;
}

static const slad_tensor *teacher_gradient(const slad_node *node)
{
    return node->inputs[TEACHER] ? node->outputs[GRADIENTS + (node->inputs[STUDENT] ? 1 : 0)] : NULL;
}

/* The gradients were computed with the loss: they are handed on as they are. */
static slad_status gradient(slad_record *record, const slad_node *node)
{
    const slad_tensor *student = node->inputs[STUDENT], *teacher = node->inputs[TEACHER];
    if (student && student->needs_gradient) slad_gradient_pass(record, student, student_gradient(node));
    if (teacher && teacher->needs_gradient) slad_gradient_pass(record, teacher, teacher_gradient(node));
    return slad_record_status(record);
}

/* What the two directions of the KL are multiplied by. */
static double forward_factor(const slad_distillation *parameters)
{
    return (1 - parameters->kl_reverse) * (parameters->kl_without_tau2 ? 1 : parameters->tau * parameters->tau);
}

static double reverse_factor(const slad_distillation *parameters)
{
    return parameters->kl_reverse * (parameters->kl_without_tau2 ? 1 : parameters->tau * parameters->tau);
}

static slad_status launch(slad_launcher *launcher, const slad_node *node)
{
    const slad_distillation *parameters = node->parameters;
    const slad_tensor *const *inputs = node->inputs;
    const slad_tensor *terms = node->outputs[TERMS], *right = node->outputs[RIGHT];
    const slad_tensor *logits = inputs[STUDENT] ? inputs[STUDENT] : inputs[TEACHER];
    const size_t rows = logits->size[0], classes = logits->size[1];
    slad_status status = SLAD_OK;
    const slad_operand loss[] = {
        SLAD_TENSOR(terms),
        SLAD_TENSOR(right),
        SLAD_TENSOR(student_gradient(node)),
        SLAD_TENSOR(teacher_gradient(node)),
        SLAD_TENSOR(inputs[STUDENT]),
        SLAD_TENSOR(inputs[TEACHER]),
        SLAD_TENSOR(inputs[LABELS]),
        SLAD_TENSOR(inputs[LABELS_2]),
        SLAD_TENSOR(inputs[MIX]),
        SLAD_TENSOR(inputs[TASK_WEIGHTS]),
        SLAD_TENSOR(inputs[KL_WEIGHTS]),
        SLAD_TENSOR(inputs[STEP_VALUES]),
        SLAD_UINT(rows),
        SLAD_UINT(classes),
        SLAD_UINT(inputs[STUDENT] != NULL),
        SLAD_UINT(inputs[TEACHER] != NULL),
        SLAD_UINT(inputs[MIX] != NULL),
        SLAD_UINT(parameters->kl_reaches_teacher),
        SLAD_FLOAT(parameters->alpha_student),
        SLAD_FLOAT(parameters->alpha_teacher),
        SLAD_FLOAT(parameters->alpha_kl),
        SLAD_FLOAT(parameters->tau),
        SLAD_FLOAT(forward_factor(parameters)),
        SLAD_FLOAT(reverse_factor(parameters)),
        SLAD_FLOAT(parameters->label_smoothing),
    };
    const slad_operand sum[] = {SLAD_TENSOR(node->outputs[ACCUMULATORS]), SLAD_TENSOR(terms), SLAD_TENSOR(right),
                                SLAD_UINT(rows)};
    const size_t lanes = slad_launcher_features(launcher)->row_lanes;
    SLAD_TRY(slad_launch_kernel(launcher, &slad_distillation_loss_kernels[LOSS], "", loss, sizeof loss / sizeof *loss,
                                (slad_work){.items = {lanes, rows}, .split_axis = 1}));
    SLAD_TRY(slad_launch_kernel(launcher, &slad_distillation_loss_kernels[SUM], "", sum, sizeof sum / sizeof *sum,
                                (slad_work){.items = {SLAD_SUM_TEACHER_RIGHT + 1}, .split_axis = -1}));
cleanup:
    return status;
}

static slad_status reference(slad_host *host, const slad_node *node)
{
    const slad_distillation *parameters = node->parameters;
    const slad_tensor *const *inputs = node->inputs;
    const slad_tensor *logits = inputs[STUDENT] ? inputs[STUDENT] : inputs[TEACHER];
    const float *step_values = slad_host_floats(host, inputs[STEP_VALUES]);
    float *terms = slad_host_floats(host, node->outputs[TERMS]);
    float *right = slad_host_floats(host, node->outputs[RIGHT]);
    float *accumulators = slad_host_floats(host, node->outputs[ACCUMULATORS]);
    const slad_reference_distillation sizes = {
        .alpha_student = parameters->alpha_student,
        .alpha_teacher = parameters->alpha_teacher,
        .alpha_kl = parameters->alpha_kl,
        .tau = parameters->tau,
        .forward = forward_factor(parameters),
        .reverse = reverse_factor(parameters),
        .label_smoothing = parameters->label_smoothing,
        .kl_reaches_teacher = parameters->kl_reaches_teacher,
        .inverse_task = (double)step_values[SLAD_STEP_INVERSE_TASK],
        .inverse_kl = (double)step_values[SLAD_STEP_INVERSE_KL],
        .rows = logits->size[0],
        .classes = logits->size[1],
    };
    slad_reference_distillation_loss(
        terms, right, slad_host_floats(host, student_gradient(node)), slad_host_floats(host, teacher_gradient(node)),
        slad_host_floats(host, inputs[STUDENT]), slad_host_floats(host, inputs[TEACHER]),
        slad_host_integers(host, inputs[LABELS]), slad_host_integers(host, inputs[LABELS_2]),
        slad_host_floats(host, inputs[MIX]), slad_host_floats(host, inputs[TASK_WEIGHTS]),
        slad_host_floats(host, inputs[KL_WEIGHTS]), &sizes);
    for (size_t which = 0; which <= SLAD_SUM_TEACHER_RIGHT; which++) {
        double sum = (double)accumulators[which];
        for (size_t row = 0; row < sizes.rows; row++)
            sum += (double)(which < SLAD_SUM_STUDENT_RIGHT ? terms[4 * row + which]
                                                           : right[2 * row + which - SLAD_SUM_STUDENT_RIGHT]);
        accumulators[which] = (float)sum;
    }
    return SLAD_OK;
}

static const slad_operation operation = {
    .name = "distillation_loss",
    .gradient = gradient,
    .starts_gradient = true,
    .launch = launch,
    .reference = reference,
};

static bool is_vector(const slad_tensor *tensor, slad_element element, size_t elements)
{
    return tensor && tensor->element == element && tensor->rank == 1 && tensor->size[0] == elements &&
           slad_tensor_is_contiguous(tensor);
}

static bool check(slad_record *record, const slad_tensor *const *inputs, const slad_tensor *accumulators,
                  const slad_distillation *parameters)
{
    const slad_tensor *student = inputs[STUDENT], *teacher = inputs[TEACHER];
    const slad_tensor *logits = student ? student : teacher;
    char student_shape[96] = "none", teacher_shape[96] = "none";
    if (slad_record_status(record) != SLAD_OK) return false;
    if (!logits) return slad_record_fail(record, SLAD_ERROR_INTERNAL, "distillation_loss was given no logits");
    if (student) slad_tensor_shape_text(student_shape, student);
    if (teacher) slad_tensor_shape_text(teacher_shape, teacher);
    for (unsigned i = STUDENT; i <= TEACHER; i++)
        if (inputs[i] && (inputs[i]->rank != 2 || inputs[i]->size[0] != logits->size[0] ||
                          inputs[i]->size[1] != logits->size[1] || !slad_tensor_is_contiguous(inputs[i])))
            return slad_record_fail(record, SLAD_ERROR_INTERNAL,
                                    "distillation_loss: logits must be [images, classes] and contiguous, the same for "
                                    "both models; student %s, teacher %s",
                                    student_shape, teacher_shape);
    if (logits->size[1] >= (size_t)1 << 24)
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "distillation_loss: more than 2^24 classes");
    if (!is_vector(inputs[LABELS], SLAD_I32, logits->size[0]) ||
        !is_vector(inputs[TASK_WEIGHTS], SLAD_F32, logits->size[0]) ||
        !is_vector(inputs[KL_WEIGHTS], SLAD_F32, logits->size[0]))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL,
                                "distillation_loss: labels and weights must be vectors of %zu images", logits->size[0]);
    if ((inputs[MIX] || inputs[LABELS_2]) &&
        (!is_vector(inputs[LABELS_2], SLAD_I32, logits->size[0]) || !is_vector(inputs[MIX], SLAD_F32, logits->size[0])))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL,
                                "distillation_loss: second labels and mixing factors must be vectors of %zu images, "
                                "both or none",
                                logits->size[0]);
    if (!is_vector(inputs[STEP_VALUES], SLAD_F32, SLAD_STEP_VALUES) ||
        !is_vector(accumulators, SLAD_F32, SLAD_ACCUMULATORS))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL,
                                "distillation_loss: step values [%d] or accumulators [%d] are missing or of another "
                                "size",
                                SLAD_STEP_VALUES, SLAD_ACCUMULATORS);
    if (!(parameters->tau > 0))
        return slad_record_fail(record, SLAD_ERROR_USAGE, "the temperature tau must be above 0, not %g",
                                parameters->tau);
    if (!(parameters->label_smoothing >= 0 && parameters->label_smoothing <= 1))
        return slad_record_fail(record, SLAD_ERROR_USAGE, "the label smoothing must lie in 0 to 1, not %g",
                                parameters->label_smoothing);
    return true;
}

const slad_tensor *slad_distillation_loss(slad_record *record, const slad_tensor *student_z,
                                          const slad_tensor *teacher_z, const slad_tensor *labels,
                                          const slad_tensor *labels_2, const slad_tensor *mix,
                                          const slad_tensor *task_weights, const slad_tensor *kl_weights,
                                          const slad_tensor *step_values, const slad_tensor *accumulators,
                                          const slad_distillation *parameters)
{
    const slad_tensor *inputs[INPUTS] = {student_z, teacher_z,    labels,     labels_2,
                                         mix,       task_weights, kl_weights, step_values};
    if (!check(record, inputs, accumulators, parameters)) return NULL;
    const slad_tensor *logits = student_z ? student_z : teacher_z;
    slad_node *node =
        slad_record_append(record, &operation, SLAD_PHASE_MICRO_BATCH, inputs, INPUTS, parameters, sizeof *parameters);
    const slad_tensor *terms = slad_node_output(record, node, 2, (const size_t[]){logits->size[0], 4});
    (void)slad_node_scratch(record, node, 2 * logits->size[0]);
    slad_node_writes(record, node, accumulators);
    if (student_z) (void)slad_node_output(record, node, 2, logits->size);
    if (teacher_z) (void)slad_node_output(record, node, 2, logits->size);
    return terms;
}

/* Weights, mixing factors and step values of a self-test: all one half. */
static slad_status fill_half(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    float *values = destination;
    (void)context;
    (void)user;
    (void)index;
    for (size_t i = 0; i < elements; i++) values[i] = 0.5f;
    return SLAD_OK;
}

static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t rows = 5, classes = 67, step_values = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS;
    slad_store *store = slad_record_store(record);
    const slad_distillation parameters = {.alpha_student = 1.0,
                                          .alpha_teacher = 0.5,
                                          .alpha_kl = 2.0,
                                          .tau = 2.0,
                                          .label_smoothing = 0.1,
                                          .kl_reverse = 0.25,
                                          .kl_reaches_teacher = true};
    const slad_tensor *weights = NULL, *steps = NULL, *accumulators = NULL;
    slad_status status = SLAD_OK;
    (void)context;
    SLAD_TRY(slad_store_frozen(store, &weights, "weights", SLAD_F32, 1, &rows, fill_half, NULL, 0));
    SLAD_TRY(slad_store_frozen(store, &steps, "step_values", SLAD_F32, 1, &step_values, fill_half, NULL, 0));
    SLAD_TRY(slad_store_state(store, &accumulators, "accumulators", SLAD_F32, 1, &sums));
    const slad_tensor *student =
        slad_record_input(record, "student_z", SLAD_F32, 2, (const size_t[]){rows, classes}, 0);
    const slad_tensor *teacher =
        slad_record_input(record, "teacher_z", SLAD_F32, 2, (const size_t[]){rows, classes}, 0);
    slad_record_require_gradient(record, student);
    slad_record_require_gradient(record, teacher);
    const slad_tensor *labels = slad_record_input(record, "labels", SLAD_I32, 1, &rows, (uint32_t)classes);
    const slad_tensor *labels_2 = slad_record_input(record, "labels_2", SLAD_I32, 1, &rows, (uint32_t)classes);
    const slad_tensor *terms = slad_distillation_loss(record, student, teacher, labels, labels_2, weights, weights,
                                                      weights, steps, accumulators, &parameters);
    /* The sums come out by name too, though they are state. */
    slad_record_output(record, accumulators, "sums");
    SLAD_TRY(slad_self_test_differentiate(record, terms, "terms"));
cleanup:
    return status;
}

const slad_kernel_row slad_distillation_loss_kernels[] = {
    [LOSS] = {"distillation_loss", "distillation_loss", "ttttttttttttuuuuuufffffff", SLAD_WORK_ROWS, self_test, 1e-4},
    [SUM] = {"distillation_loss", "distillation_loss_sum", "tttu", SLAD_WORK_ITEMS, self_test, 1e-4},
};
const size_t slad_distillation_loss_kernel_count =
    sizeof slad_distillation_loss_kernels / sizeof *slad_distillation_loss_kernels;
