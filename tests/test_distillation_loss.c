/* The distillation loss: its terms, both gradients, what it adds to the step's sums, and its edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "graph/executor.h"
#include "operation_check.h"
#include "ops/kernel_table.h"
#include "ops/operations.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 64 };

typedef struct loss_case {
    size_t rows, classes;
    slad_distillation parameters;
    bool no_student, no_teacher;
    bool teacher_gradient;                        /* check the teacher's; the student's too if the KL reaches both */
    const float *student, *teacher;               /* NULL: random */
    const int32_t *labels;                        /* NULL: random */
    const int32_t *labels_2;                      /* NULL: random, if there is a mix */
    const float *mix;                             /* NULL: no mixed images */
    const float *task, *kl;                       /* NULL: ones */
    const float *terms, *sums, *student_gradient; /* expected, or NULL */
    const float *teacher_gradient_values;
    double gradient_tolerance; /* 0: 1e-5 */
    bool twice;                /* two losses add to the same sums */
} loss_case;

static float ones[MOST];

/* 1 / sum of the weights, as train/ makes it. */
static float inverse_sum(const float *weights, size_t count)
{
    float sum = 0;
    for (size_t i = 0; i < count; i++) sum += weights[i];
    return sum > 0 ? 1 / sum : 0;
}

static void build(operation_check *check, const void *parameters)
{
    const loss_case *test = parameters;
    const size_t logits[] = {test->rows, test->classes};
    const size_t sums[] = {SLAD_ACCUMULATORS};
    slad_record *record = operation_record(check);
    const float *task = test->task ? test->task : ones, *kl = test->kl ? test->kl : ones;
    float step_values[SLAD_STEP_VALUES] = {inverse_sum(task, test->rows), inverse_sum(kl, test->rows)};
    const operation_values random = operation_normal(0.3, 2);
    const slad_tensor *student = NULL, *teacher = NULL;
    /* Differences see through a detachment: then only one model moves, and the KL is left out for the teacher. */
    const bool reached = test->parameters.kl_reaches_teacher, teacher_only = test->teacher_gradient && !reached;
    if (!test->no_student)
        student = operation_tensor(check, teacher_only ? OPERATION_INPUT : OPERATION_GRADIENT, "student", 2, logits,
                                   test->student ? operation_given(test->student) : random);
    if (!test->no_teacher)
        teacher = operation_tensor(check, test->teacher_gradient ? OPERATION_GRADIENT : OPERATION_INPUT, "teacher", 2,
                                   logits, test->teacher ? operation_given(test->teacher) : random);
    const slad_tensor *labels =
        operation_integers(check, "labels", 1, &test->rows, (uint32_t)test->classes, test->labels);
    const slad_tensor *labels_2 = NULL, *mix = NULL;
    if (test->mix) {
        labels_2 = operation_integers(check, "labels_2", 1, &test->rows, (uint32_t)test->classes, test->labels_2);
        mix = operation_tensor(check, OPERATION_INPUT, "mix", 1, &test->rows, operation_given(test->mix));
    }
    const slad_tensor *task_weights =
        operation_tensor(check, OPERATION_INPUT, "task", 1, &test->rows, operation_given(task));
    const slad_tensor *kl_weights = operation_tensor(check, OPERATION_INPUT, "kl", 1, &test->rows, operation_given(kl));
    const slad_tensor *steps = operation_tensor(check, OPERATION_STATE, "step_values", 1,
                                                (const size_t[]){SLAD_STEP_VALUES}, operation_given(step_values));
    const slad_tensor *accumulators = operation_tensor(check, OPERATION_STATE, "sums", 1, sums, operation_normal(0, 0));
    const double weights[] = {test->parameters.alpha_student, test->parameters.alpha_teacher,
                              teacher_only ? 0 : test->parameters.alpha_kl, 0};
    if (test->terms) operation_expect(check, "terms", test->terms, 1e-5);
    if (test->sums) operation_expect(check, "sums", test->sums, 1e-5);
    if (test->student_gradient)
        operation_expect(check, "dstudent", test->student_gradient,
                         test->gradient_tolerance > 0 ? test->gradient_tolerance : 1e-5);
    if (test->teacher_gradient_values) operation_expect(check, "dteacher", test->teacher_gradient_values, 1e-5);
    operation_loss(check,
                   slad_distillation_loss(record, student, teacher, labels, labels_2, mix, task_weights, kl_weights,
                                          steps, accumulators, &test->parameters),
                   "terms", weights, 4);
    if (test->twice)
        operation_output_only(check,
                              slad_distillation_loss(record, slad_record_detach(record, student), NULL, labels,
                                                     labels_2, mix, task_weights, kl_weights, steps, accumulators,
                                                     &test->parameters),
                              "more");
}

static void run(void **state, loss_case test)
{
    char name[96];
    (void)snprintf(name, sizeof name, "distillation loss %zu x %zu, tau %g", test.rows, test.classes,
                   test.parameters.tau);
    operation_run(*state, &(operation_case){.name = name, .build = build, .parameters = &test, .tolerance = 2e-5});
}

static const slad_distillation even = {.alpha_student = 1, .alpha_teacher = 1, .alpha_kl = 1, .tau = 2};

static void every_number_of_classes(void **state)
{
    static const size_t classes[] = {1, 2, 10, 63, 64, 65, 200, 1001};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        run(state, (loss_case){.rows = 7, .classes = classes[i], .parameters = even});
}

static void every_batch(void **state)
{
    static const size_t rows[] = {1, 2, 31, 33};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        run(state, (loss_case){.rows = rows[i], .classes = 10, .parameters = even});
}

static void every_temperature(void **state)
{
    static const double tau[] = {0.5, 1, 2, 4, 20};
    for (size_t i = 0; i < sizeof tau / sizeof *tau; i++)
        run(state,
            (loss_case){.rows = 5,
                        .classes = 23,
                        .parameters = {.alpha_student = 0.7, .alpha_teacher = 0.4, .alpha_kl = 1.3, .tau = tau[i]}});
}

/* The ends of --tau's range: softened to nothing, and sharpened to a choice. */
static void ends_of_the_temperatures(void **state)
{
    static const double tau[] = {1e-3, 1e3}, reverse[] = {0, 0.5, 1};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 3; k++) {
            const loss_case test = {.rows = 5,
                                    .classes = 23,
                                    .parameters = {.alpha_student = 0.7,
                                                   .alpha_teacher = 0.4,
                                                   .alpha_kl = 1.3,
                                                   .tau = tau[i],
                                                   .kl_reverse = reverse[k]}};
            /* Finite differences see nothing of softmaxes this sharp, or of a KL this flat. At 1e3 the KL is 1e-6 of
             * the terms that it is the difference of, so that its value in float has two or three digits. */
            char name[64];
            (void)snprintf(name, sizeof name, "tau %g, reverse %g", tau[i], reverse[k]);
            operation_run(*state, &(operation_case){.name = name,
                                                    .build = build,
                                                    .parameters = &test,
                                                    .tolerance = tau[i] < 1 ? 2e-5 : 1e-2,
                                                    .difference_tolerance = -1});
        }
}

static void teacher_gradient_is_that_of_its_cross_entropy(void **state)
{
    run(state, (loss_case){.rows = 5,
                           .classes = 23,
                           .parameters = {.alpha_student = 0.7, .alpha_teacher = 1.4, .alpha_kl = 1.3, .tau = 2},
                           .teacher_gradient = true});
    run(state, (loss_case){.rows = 5,
                           .classes = 23,
                           .parameters = {.alpha_student = 0, .alpha_teacher = 1.4, .alpha_kl = 0, .tau = 2},
                           .no_student = true,
                           .teacher_gradient = true});
}

static void student_alone(void **state)
{
    run(state, (loss_case){.rows = 6, .classes = 12, .parameters = even, .no_teacher = true});
}

static void alphas_of_zero(void **state)
{
    run(state, (loss_case){.rows = 4,
                           .classes = 9,
                           .parameters = {.alpha_student = 0, .alpha_teacher = 0, .alpha_kl = 1, .tau = 2}});
    run(state, (loss_case){.rows = 4,
                           .classes = 9,
                           .parameters = {.alpha_student = 1, .alpha_teacher = 0, .alpha_kl = 0, .tau = 2}});
}

/* Probabilities 1/4, 3/4 of the student, 1/2, 1/2 of the teacher; the second image counts three times the first. */
static void worked_example(void **state)
{
    static const float student[] = {0, 1.0986123f, 0, 1.0986123f}, teacher[] = {5, 5, -2, -2};
    static const int32_t labels[] = {1, 0};
    static const float task[] = {1, 3}, kl[] = {1, 1};
    const double divergence = 0.5 * log(2.0) + 0.5 * log(2.0 / 3.0);
    const float terms[] = {(float)(0.25 * log(4.0 / 3.0)), (float)(0.25 * log(2.0)), (float)(0.5 * divergence), 0,
                           (float)(0.75 * log(4.0)),       (float)(0.75 * log(2.0)), (float)(0.5 * divergence), 0};
    /* Of the teacher's equal logits the first counts as the largest: wrong, then right. */
    const float sums[SLAD_ACCUMULATORS] = {terms[0] + terms[4], terms[1] + terms[5], terms[2] + terms[6], 0.25f, 0.75f};
    /* (q - onehot) w + (q - p) / 2 */
    const float gradient[] = {0.25f * 0.25f - 0.125f, -0.25f * 0.25f + 0.125f, -0.75f * 0.75f - 0.125f,
                              0.75f * 0.75f + 0.125f};
    run(state, (loss_case){.rows = 2,
                           .classes = 2,
                           .parameters = {.alpha_student = 1, .alpha_teacher = 1, .alpha_kl = 1, .tau = 1},
                           .student = student,
                           .teacher = teacher,
                           .labels = labels,
                           .task = task,
                           .kl = kl,
                           .terms = terms,
                           .sums = sums,
                           .student_gradient = gradient});
}

static const double directions[] = {0, 0.5, 1}; /* forward, symmetric, reverse */

/* Both gradients against differences, in every direction, with tau^2 and without. */
static void every_direction_reaching_both(void **state)
{
    for (size_t i = 0; i < 2 * sizeof directions / sizeof *directions; i++)
        run(state, (loss_case){.rows = 5,
                               .classes = 23,
                               .parameters = {.alpha_student = 0.7,
                                              .alpha_teacher = 0.4,
                                              .alpha_kl = 1.3,
                                              .tau = 3,
                                              .kl_reverse = directions[i / 2],
                                              .kl_reaches_teacher = true,
                                              .kl_without_tau2 = i % 2},
                               .teacher_gradient = true});
}

/* The student's is the same; the teacher's is that of its cross entropy. */
static void every_direction_detached(void **state)
{
    for (size_t i = 0; i < 2 * sizeof directions / sizeof *directions; i++)
        run(state, (loss_case){.rows = 5,
                               .classes = 23,
                               .parameters = {.alpha_student = 0.7,
                                              .alpha_teacher = 0.4,
                                              .alpha_kl = 1.3,
                                              .tau = 2,
                                              .kl_reverse = directions[i / 2]},
                               .teacher_gradient = i % 2});
}

static void every_smoothing(void **state)
{
    static const double smoothing[] = {0.1, 0.5, 1};
    static const float task[] = {0, 1, 0.5f, 2}, kl[] = {1, 0, 1, 1};
    static const int32_t labels[] = {-1, 2, 0, 4}; /* an image without a label counts for nothing here too */
    for (size_t i = 0; i < sizeof smoothing / sizeof *smoothing; i++)
        run(state, (loss_case){.rows = 4,
                               .classes = 6,
                               .parameters = {.alpha_student = 0.7,
                                              .alpha_teacher = 0.4,
                                              .alpha_kl = 1.3,
                                              .tau = 2,
                                              .label_smoothing = smoothing[i],
                                              .kl_reaches_teacher = true},
                               .teacher_gradient = true,
                               .labels = labels,
                               .task = task,
                               .kl = kl});
}

/* Shares at their ends, equal labels, and what takes an image out; classes below and above a row's lanes. */
static void every_mixture(void **state)
{
    static const float mix[] = {0.3f, 1, 0, 0.5f, 0.9f, 0.125f}, task[] = {1, 1, 0.5f, 1, 0, 2};
    static const int32_t labels[] = {1, 2, 0, 1, 1000, 0}, second[] = {0, 0, 1, 1, -1, 2};
    static const size_t classes[] = {3, 64, 130};
    for (size_t i = 0; i < 2 * sizeof classes / sizeof *classes; i++)
        run(state, (loss_case){.rows = 6,
                               .classes = classes[i / 2],
                               .parameters = {.alpha_student = 0.7,
                                              .alpha_teacher = 0.4,
                                              .alpha_kl = 1.3,
                                              .tau = 2,
                                              .label_smoothing = i % 2 ? 0.1 : 0,
                                              .kl_reaches_teacher = true},
                               .teacher_gradient = true,
                               .labels = labels,
                               .labels_2 = second,
                               .mix = mix,
                               .task = task});
}

/* A label without a share may be impossible: its logit is minus infinity. */
static void shares_of_zero(void **state)
{
    static const float student[] = {-INFINITY, 0, 1.0986123f, -INFINITY, 0, 1.0986123f}, mix[] = {0, 1};
    static const int32_t labels[] = {0, 1}, second[] = {1, 0};
    const float terms[] = {(float)log(4.0) / 2, 0, 0, 0, (float)log(4.0) / 2, 0, 0, 0};
    const loss_case test = {.rows = 2,
                            .classes = 3,
                            .parameters = even,
                            .no_teacher = true,
                            .student = student,
                            .labels = labels,
                            .labels_2 = second,
                            .mix = mix,
                            .terms = terms};
    operation_run(*state, &(operation_case){.name = "impossible labels",
                                            .build = build,
                                            .parameters = &test,
                                            .tolerance = 2e-5,
                                            .difference_tolerance = -1});
}

/* Probabilities q = 1/4, 3/4 of the student, p = 1/2, 1/2 of the teacher; label 1, of which smoothing 0.2 leaves 0.9.
 * log p / q = log 2, log 2/3; their mean under q is -KL(q || p). */
static void worked_options(void **state)
{
    static const float student[] = {0, 1.0986123f}, teacher[] = {5, 5};
    static const int32_t labels[] = {1};
    const double ratio[] = {log(2.0), log(2.0 / 3.0)}, q[] = {0.25, 0.75};
    const double forward = 0.5 * (ratio[0] + ratio[1]), reverse = -(q[0] * ratio[0] + q[1] * ratio[1]);
    const double smoothed = 0.1 * log(4.0) + 0.9 * log(4.0 / 3.0);
    for (size_t i = 0; i < sizeof directions / sizeof *directions; i++) {
        const double r = directions[i], divergence = (1 - r) * forward + r * reverse;
        const float terms[] = {(float)smoothed, (float)log(2.0), (float)divergence, 0};
        float student_gradient[2], teacher_gradient[2];
        for (size_t c = 0; c < 2; c++) {
            const double target = c ? 0.9 : 0.1;
            student_gradient[c] = (float)(q[c] - target + (1 - r) * (q[c] - 0.5) - r * q[c] * (ratio[c] + reverse));
            teacher_gradient[c] = (float)(0.5 - target + (1 - r) * 0.5 * (ratio[c] - forward) + r * (0.5 - q[c]));
        }
        run(state, (loss_case){.rows = 1,
                               .classes = 2,
                               .parameters = {.alpha_student = 1,
                                              .alpha_teacher = 1,
                                              .alpha_kl = 1,
                                              .tau = 1,
                                              .label_smoothing = 0.2,
                                              .kl_reverse = r,
                                              .kl_reaches_teacher = true},
                               .teacher_gradient = true,
                               .student = student,
                               .teacher = teacher,
                               .labels = labels,
                               .terms = terms,
                               .student_gradient = student_gradient,
                               .teacher_gradient_values = teacher_gradient});
    }
}

static void sums_of_several_losses_add_up(void **state)
{
    static const float student[] = {0, 1.0986123f}, teacher[] = {1.0986123f, 0};
    static const int32_t labels[] = {1};
    const double divergence = 0.75 * log(3.0) - 0.25 * log(3.0);
    const float sums[SLAD_ACCUMULATORS] = {(float)(2 * log(4.0 / 3.0)), (float)log(4.0), (float)divergence, 2, 0};
    run(state, (loss_case){.rows = 1,
                           .classes = 2,
                           .parameters = {.alpha_student = 1, .alpha_teacher = 1, .alpha_kl = 1, .tau = 1},
                           .student = student,
                           .teacher = teacher,
                           .labels = labels,
                           .sums = sums,
                           .twice = true});
}

/* tau^2 keeps the gradient of the KL about constant: for large tau it is that of half the squared difference of the
 * centred logits, over the classes. */
static void large_temperature_is_logit_matching(void **state)
{
    static const float student[] = {0.5f, -1.0f, 0.5f}, teacher[] = {1.0f, 1.0f, -2.0f};
    static const int32_t labels[] = {0};
    const float gradient[] = {-0.5f / 3, -2.0f / 3, 2.5f / 3};
    const loss_case test = {.rows = 1,
                            .classes = 3,
                            .parameters = {.alpha_student = 0, .alpha_teacher = 0, .alpha_kl = 1, .tau = 100},
                            .student = student,
                            .teacher = teacher,
                            .labels = labels,
                            .student_gradient = gradient,
                            .gradient_tolerance = 0.02};
    operation_run(
        *state,
        &(operation_case){
            .name = "large tau", .build = build, .parameters = &test, .tolerance = 1e-3, .difference_tolerance = -1});
}

static void equal_models_do_not_diverge(void **state)
{
    static float logits[3 * 40], terms[3 * 4];
    static const int32_t labels[3] = {3, 0, 39};
    operation_fill(logits, 3 * 40, 9, 0, 3);
    for (size_t i = 0; i < 3; i++) {
        double sum = 0;
        for (size_t c = 0; c < 40; c++) sum += exp((double)logits[40 * i + c]);
        terms[4 * i] = terms[4 * i + 1] = (float)((log(sum) - (double)logits[40 * i + (size_t)labels[i]]) / 3);
    }
    run(state, (loss_case){.rows = 3,
                           .classes = 40,
                           .parameters = {.alpha_student = 0, .alpha_teacher = 0, .alpha_kl = 1, .tau = 2},
                           .student = logits,
                           .teacher = logits,
                           .labels = labels,
                           .terms = terms});
}

static void huge_logits_stay_finite(void **state)
{
    static const float student[] = {30000, 0, -30000, 0, 1, 2}, teacher[] = {-5000, 5000, 4999, 2, 1, 0};
    static const int32_t labels[] = {0, 2};
    const loss_case test = {
        .rows = 2, .classes = 3, .parameters = even, .student = student, .teacher = teacher, .labels = labels};
    operation_run(*state, &(operation_case){
                              .name = "huge logits", .build = build, .parameters = &test, .difference_tolerance = -1});
}

/* Weight 0 takes an image out of the sums and the gradient, whatever its label. */
static void weights_of_zero(void **state)
{
    static const float task[] = {0, 1, 0, 2}, kl[] = {1, 0, 0, 3};
    static const int32_t labels[] = {-1, 2, 1000, 4};
    run(state, (loss_case){.rows = 4, .classes = 6, .parameters = even, .labels = labels, .task = task, .kl = kl});
    static const float none[] = {0, 0, 0, 0};
    run(state, (loss_case){.rows = 4, .classes = 6, .parameters = even, .labels = labels, .task = none, .kl = none});
}

/* ---- edges that the check would take for failures: NaN is expected ---- */

typedef struct edge {
    float student[2 * 4];
    int32_t labels[2];
    bool nan_first, nan_second;
    bool is_mixed;
    int32_t second[2];
    float mix[2];
} edge;

static void run_kernel(operation_bench *bench, const edge *test, float *terms, float *gradient, float *right)
{
    static float teacher[8], teacher_gradient[8], weights[2] = {1, 1};
    float step_values[SLAD_STEP_VALUES] = {0.5f, 0.5f};
    float student[8];
    float mix[2];
    int32_t labels[2], second[2];
    operation_fill(teacher, 8, 5, 0, 1);
    memcpy(student, test->student, sizeof student);
    memcpy(labels, test->labels, sizeof labels);
    memcpy(second, test->second, sizeof second);
    memcpy(mix, test->mix, sizeof mix);
    operation_argument arguments[] = {
        OPERATION_WRITE(terms, 8),
        OPERATION_WRITE(right, 4),
        OPERATION_WRITE(gradient, 8),
        OPERATION_WRITE(teacher_gradient, 8),
        OPERATION_READ(student, 8),
        OPERATION_READ(teacher, 8),
        OPERATION_READ(labels, 2),
        OPERATION_READ(second, 2),
        OPERATION_READ(mix, 2),
        OPERATION_READ(weights, 2),
        OPERATION_READ(weights, 2),
        OPERATION_READ(step_values, SLAD_STEP_VALUES),
        OPERATION_UINT(2),
        OPERATION_UINT(4),
        OPERATION_UINT(1),
        OPERATION_UINT(1),
        OPERATION_UINT(test->is_mixed),
        OPERATION_UINT(0),
        OPERATION_FLOAT(1),
        OPERATION_FLOAT(1),
        OPERATION_FLOAT(1),
        OPERATION_FLOAT(2),
        OPERATION_FLOAT(4),
        OPERATION_FLOAT(0),
        OPERATION_FLOAT(0),
    };
    operation_launch(bench, &slad_distillation_loss_kernels[0], "", arguments, sizeof arguments / sizeof *arguments,
                     (slad_work){.items = {bench->device->features.row_lanes, 2}, .split_axis = 1});
}

static void broken_logits_and_labels_show(void **state)
{
    static const edge edges[] = {
        {{1, NAN, 0, 2, 0, 1, 2, 3}, {3, 3}, true, false, false, {0}, {0}},
        {{0, 1, 2, 3, NAN, NAN, NAN, NAN}, {3, 0}, false, true, false, {0}, {0}},
        {{INFINITY, 0, 0, 0, 0, 1, 2, 3}, {0, 3}, true, false, false, {0}, {0}},
        {{0, 1, 2, 3, 0, 1, 2, 3}, {3, 4}, false, true, false, {0}, {0}},
        {{0, 1, 2, 3, 0, 1, 2, 3}, {-1, 3}, true, false, false, {0}, {0}},
        {{0, 1, 2, 3, 0, 1, 2, 3}, {3, 3}, false, true, true, {0, -1}, {0.75f, 0.75f}},
        {{0, 1, 2, 3, 0, 1, 2, 3}, {3, 3}, true, false, true, {4, 0}, {0.75f, 0.75f}},
        {{0, 1, 2, 3, 0, 1, 2, 3}, {3, 3}, true, false, true, {0, 0}, {NAN, 0.75f}},
    };
    operation_bench *bench = *state;
    for (size_t v = 0; v < bench->variant_count; v++) {
        bench->device = bench->variants[v];
        for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
            float terms[8] = {0}, gradient[8] = {0}, right[4] = {0};
            run_kernel(bench, &edges[i], terms, gradient, right);
            assert_int_equal(isnan(terms[0]), edges[i].nan_first);
            assert_int_equal(isnan(terms[4]), edges[i].nan_second);
            bool nan_gradient[2] = {false, false};
            for (size_t c = 0; c < 8; c++)
                if (isnan(gradient[c])) nan_gradient[c / 4] = true;
            assert_int_equal(nan_gradient[0], edges[i].nan_first);
            assert_int_equal(nan_gradient[1], edges[i].nan_second);
            if (!edges[i].nan_first) assert_float_equal(right[0], 0.5f, 0);
            if (!edges[i].nan_second) assert_float_equal(right[2], 0.5f, 0);
        }
    }
    bench->device = bench->variants[0];
}

/* A whole image is the same bytes whether there is a second label or not. */
static void a_share_of_one_changes_no_byte(void **state)
{
    operation_bench *bench = *state;
    const edge plain = {.student = {0.3f, -1, 2, 0.7f, 1, 5, -3, 0.1f}, .labels = {0, 2}};
    edge mixed = plain;
    mixed.is_mixed = true;
    mixed.second[0] = 3;
    mixed.mix[0] = mixed.mix[1] = 1;
    for (size_t v = 0; v < bench->variant_count; v++) {
        float terms[2][8] = {0}, gradient[2][8] = {0}, right[2][4] = {0};
        bench->device = bench->variants[v];
        run_kernel(bench, &plain, terms[0], gradient[0], right[0]);
        run_kernel(bench, &mixed, terms[1], gradient[1], right[1]);
        assert_memory_equal(terms[0], terms[1], sizeof terms[0]);
        assert_memory_equal(gradient[0], gradient[1], sizeof gradient[0]);
        assert_memory_equal(right[0], right[1], sizeof right[0]);
    }
    bench->device = bench->variants[0];
}

/* ---- misuse ---- */

static void build_misfit(operation_check *check, const void *parameters)
{
    const int kind = *(const int *)parameters;
    slad_record *record = operation_record(check);
    const size_t four = 4, steps = SLAD_STEP_VALUES, sums = kind == 3 ? 4 : SLAD_ACCUMULATORS;
    const operation_values one = operation_normal(1, 0);
    const slad_tensor *student = operation_tensor(check, OPERATION_INPUT, "student", 2, (const size_t[]){4, 3}, one);
    const slad_tensor *teacher =
        operation_tensor(check, OPERATION_INPUT, "teacher", 2, (const size_t[]){4, kind == 1 ? 5 : 3}, one);
    const slad_tensor *labels = operation_integers(check, "labels", 1, &four, 3, NULL);
    const slad_tensor *weights = operation_tensor(check, OPERATION_INPUT, "weights", 1, &four, one);
    const slad_tensor *step_values = operation_tensor(check, OPERATION_STATE, "step_values", 1, &steps, one);
    const slad_tensor *accumulators = operation_tensor(check, OPERATION_STATE, "sums", 1, &sums, one);
    const slad_distillation losses = {.alpha_student = 1,
                                      .alpha_teacher = 1,
                                      .alpha_kl = 1,
                                      .tau = kind == 4 ? 0 : 2,
                                      .label_smoothing = kind == 5 ? 1.5 : 0};
    assert_null(slad_distillation_loss(record, kind == 0 ? NULL : student, kind == 0 ? NULL : teacher,
                                       kind == 2 ? weights : labels, kind == 6 ? labels : NULL, NULL, weights, weights,
                                       step_values, accumulators, &losses));
}

static void misfits_are_named(void **state)
{
    static const char *const parts[] = {"no logits",
                                        "student [4, 3], teacher [4, 5]",
                                        "vectors of 4 images",
                                        "accumulators [8]",
                                        "tau must be above 0",
                                        "smoothing must lie in 0 to 1, not 1.5",
                                        "vectors of 4 images, both or none"};
    for (int kind = 0; kind < 7; kind++) {
        const operation_case test = {.name = "misfit", .build = build_misfit, .parameters = &kind};
        operation_expect_failure(*state, &test, kind == 4 || kind == 5 ? SLAD_ERROR_USAGE : SLAD_ERROR_INTERNAL,
                                 parts[kind]);
    }
}

static int open_bench(void **state)
{
    for (size_t i = 0; i < MOST; i++) ones[i] = 1;
    return operation_bench_open(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_of_classes),
        cmocka_unit_test(every_batch),
        cmocka_unit_test(every_temperature),
        cmocka_unit_test(ends_of_the_temperatures),
        cmocka_unit_test(teacher_gradient_is_that_of_its_cross_entropy),
        cmocka_unit_test(student_alone),
        cmocka_unit_test(alphas_of_zero),
        cmocka_unit_test(worked_example),
        cmocka_unit_test(every_direction_reaching_both),
        cmocka_unit_test(every_direction_detached),
        cmocka_unit_test(every_smoothing),
        cmocka_unit_test(every_mixture),
        cmocka_unit_test(shares_of_zero),
        cmocka_unit_test(worked_options),
        cmocka_unit_test(sums_of_several_losses_add_up),
        cmocka_unit_test(large_temperature_is_logit_matching),
        cmocka_unit_test(equal_models_do_not_diverge),
        cmocka_unit_test(huge_logits_stay_finite),
        cmocka_unit_test(weights_of_zero),
        cmocka_unit_test(broken_logits_and_labels_show),
        cmocka_unit_test(a_share_of_one_changes_no_byte),
        cmocka_unit_test(misfits_are_named),
    };
    return cmocka_run_group_tests(tests, open_bench, operation_bench_close);
}
