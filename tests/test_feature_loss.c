/* The loss between a student's projected tokens and a teacher's, its gradient, and what it adds to the step's sums. */
#include "operation_check.h"
#include "ops/kernel_table.h"
#include "ops/operations.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 8 };

typedef struct shape {
    size_t batch, tokens, target_tokens, columns, compared;
    bool matrix;        /* projected without its axis of tokens */
    double target_mean; /* large against the deviation: the mean must be exact */
    bool twice;         /* two losses add to the same sum */
} shape;

static const float kl_weights[MOST] = {1, 0.5f, 0, 2, 1, 1, 0.25f, 3};

static const slad_tensor *step_values(operation_check *check, double inverse_kl)
{
    float values[SLAD_STEP_VALUES] = {0};
    values[SLAD_STEP_INVERSE_KL] = (float)inverse_kl;
    return operation_tensor(check, OPERATION_STATE, "step_values", 1, (const size_t[]){SLAD_STEP_VALUES},
                            operation_given(values));
}

static const slad_tensor *sums(operation_check *check)
{
    return operation_tensor(check, OPERATION_STATE, "sums", 1, (const size_t[]){SLAD_ACCUMULATORS},
                            operation_normal(0, 0));
}

static void build(operation_check *check, const void *parameters)
{
    const shape *s = parameters;
    slad_record *record = operation_record(check);
    const slad_feature_distillation loss = {.alpha = 1.7, .compared = s->compared};
    const size_t projected_size[] = {s->batch, s->matrix ? s->columns : s->tokens, s->columns};
    const slad_tensor *projected = operation_tensor(check, OPERATION_GRADIENT, "projected", s->matrix ? 2 : 3,
                                                    projected_size, operation_normal(0.3, 1.5));
    const slad_tensor *target =
        operation_tensor(check, OPERATION_INPUT, "target", 3, (const size_t[]){s->batch, s->target_tokens, s->columns},
                         operation_normal(s->target_mean, 2));
    const slad_tensor *weights =
        operation_tensor(check, OPERATION_INPUT, "kl", 1, &s->batch, operation_given(kl_weights));
    const slad_tensor *steps = step_values(check, 0.3), *accumulators = sums(check);
    operation_loss(check, slad_feature_loss(record, projected, target, weights, steps, accumulators, &loss), "terms",
                   &loss.alpha, 1);
    if (s->twice)
        operation_output_only(check,
                              slad_feature_loss(record, slad_record_detach(record, projected), target, weights, steps,
                                                accumulators, &loss),
                              "more");
}

static void run(void **state, shape s)
{
    char name[128];
    (void)snprintf(name, sizeof name, "feature loss %zu x %zu (%zu) x %zu, %zu compared", s.batch, s.tokens,
                   s.target_tokens, s.columns, s.compared);
    operation_run(*state, &(operation_case){.name = name, .build = build, .parameters = &s, .tolerance = 1e-5});
}

static void every_width(void **state)
{
    static const size_t columns[] = {1, 2, 31, 32, 33, 65, 197, 257, 384};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        run(state, (shape){.batch = i % 3 + 1, .tokens = 5, .target_tokens = 5, .columns = columns[i], .compared = 5});
}

static void every_number_of_tokens(void **state)
{
    static const size_t tokens[] = {1, 2, 31, 32, 33, 65, 197, 257};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        run(state,
            (shape){.batch = 2, .tokens = tokens[i], .target_tokens = tokens[i], .columns = 19, .compared = tokens[i]});
}

/* CLS alone of whole token grids, and of a matrix of CLS rows. */
static void class_token_alone(void **state)
{
    run(state, (shape){.batch = 3, .tokens = 7, .target_tokens = 9, .columns = 21, .compared = 1});
    run(state, (shape){.batch = 8, .tokens = 1, .target_tokens = 5, .columns = 33, .compared = 1, .matrix = true});
}

/* Registers of one model, of the other, and of both. */
static void registers_are_left_out(void **state)
{
    run(state, (shape){.batch = 2, .tokens = 13, .target_tokens = 9, .columns = 24, .compared = 9});
    run(state, (shape){.batch = 2, .tokens = 9, .target_tokens = 13, .columns = 24, .compared = 9});
    run(state, (shape){.batch = 2, .tokens = 13, .target_tokens = 14, .columns = 24, .compared = 9, .twice = true});
}

static void large_means(void **state)
{
    run(state, (shape){.batch = 2, .tokens = 3, .target_tokens = 3, .columns = 70, .compared = 3, .target_mean = 500});
}

/* Targets 1, 3 are -1, 1 when standardised, 2, 2 are 0, 0; the second token of the student is a register. */
static void build_known(operation_check *check, const void *parameters)
{
    static const float projected[] = {0, 1, 90, 91, 3, 4}, target[] = {1, 3, 2, 2}, weights[] = {0.5f};
    static const float terms[] = {0.25f * 0.5f, 0, 0.25f * 12.5f},
                       expected_sums[SLAD_ACCUMULATORS] = {[SLAD_SUM_FEATURE] = 0.25f * 13};
    static const float gradient[] = {0.5f, 0, 0, 0, 1.5f, 2};
    const slad_feature_distillation loss = {.alpha = 2, .compared = 2};
    (void)parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *student = operation_tensor(check, OPERATION_GRADIENT, "projected", 3, (const size_t[]){1, 3, 2},
                                                  operation_given(projected));
    const slad_tensor *teacher =
        operation_tensor(check, OPERATION_INPUT, "target", 3, (const size_t[]){1, 2, 2}, operation_given(target));
    const slad_tensor *kl =
        operation_tensor(check, OPERATION_INPUT, "kl", 1, (const size_t[]){1}, operation_given(weights));
    operation_loss(check, slad_feature_loss(record, student, teacher, kl, step_values(check, 1), sums(check), &loss),
                   "terms", &loss.alpha, 1);
    operation_expect(check, "terms", terms, 2e-6);
    operation_expect(check, "sums", expected_sums, 2e-6);
    operation_expect(check, "dprojected", gradient, 2e-6);
}

static void worked_example(void **state)
{
    operation_run(*state, &(operation_case){.name = "feature loss by hand", .build = build_known});
}

static void kernels_stay_in_their_tensors(void **state)
{
    operation_bench *bench = *state;
    enum { BATCH = 3, TOKENS = 6, TARGETS = 4, COLUMNS = 21 };
    float projected[BATCH * TOKENS * COLUMNS], target[BATCH * TARGETS * COLUMNS], weights[BATCH] = {1, 1, 1};
    float gradient[BATCH * TOKENS * COLUMNS] = {0}, terms[BATCH * TOKENS] = {0}, values[SLAD_STEP_VALUES] = {1, 1};
    float totals[SLAD_ACCUMULATORS] = {0};
    operation_fill(projected, BATCH * TOKENS * COLUMNS, 1, 0, 1);
    operation_fill(target, BATCH * TARGETS * COLUMNS, 2, 0, 1);
    for (size_t v = 0; v < bench->variant_count; v++) {
        bench->device = bench->variants[v];
        const size_t lanes = bench->device->features.row_lanes;
        operation_argument loss[] = {OPERATION_WRITE(terms, BATCH * TOKENS),
                                     OPERATION_WRITE(gradient, BATCH * TOKENS * COLUMNS),
                                     OPERATION_READ(projected, BATCH * TOKENS * COLUMNS),
                                     OPERATION_READ(target, BATCH * TARGETS * COLUMNS),
                                     OPERATION_READ(weights, BATCH),
                                     OPERATION_READ(values, SLAD_STEP_VALUES),
                                     OPERATION_UINT(BATCH),
                                     OPERATION_UINT(TOKENS),
                                     OPERATION_UINT(TARGETS),
                                     OPERATION_UINT(COLUMNS),
                                     OPERATION_UINT(4),
                                     OPERATION_FLOAT(1e-6),
                                     OPERATION_FLOAT(1.0 / (4 * COLUMNS)),
                                     OPERATION_FLOAT(1)};
        operation_launch(bench, &slad_feature_loss_kernels[0], "", loss, sizeof loss / sizeof *loss,
                         (slad_work){.items = {lanes, TOKENS + 1, BATCH + 1}, .split_axis = 2});
        operation_argument sum[] = {OPERATION_WRITE(totals, SLAD_ACCUMULATORS), OPERATION_READ(terms, BATCH * TOKENS),
                                    OPERATION_UINT(BATCH), OPERATION_UINT(TOKENS)};
        operation_launch(bench, &slad_feature_loss_kernels[1], "", sum, sizeof sum / sizeof *sum,
                         (slad_work){.items = {lanes, 2}, .split_axis = -1});
        (void)operation_error(gradient, gradient, BATCH * TOKENS * COLUMNS); /* finite: nothing was read past an end */
        (void)operation_error(totals, totals, SLAD_ACCUMULATORS);
    }
    bench->device = bench->variants[0];
}

static void mistakes_are_named(void **state)
{
    const shape none = {.batch = 1, .tokens = 5, .target_tokens = 5, .columns = 4, .compared = 0};
    const shape many = {.batch = 1, .tokens = 5, .target_tokens = 4, .columns = 4, .compared = 5};
    operation_expect_failure(*state, &(operation_case){.name = "mistake", .build = build, .parameters = &none},
                             SLAD_ERROR_INTERNAL, "0 tokens of [1, 5, 4] and [1, 5, 4] cannot be compared");
    operation_expect_failure(*state, &(operation_case){.name = "mistake", .build = build, .parameters = &many},
                             SLAD_ERROR_INTERNAL, "5 tokens of [1, 5, 4] and [1, 4, 4] cannot be compared");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_width),
        cmocka_unit_test(every_number_of_tokens),
        cmocka_unit_test(class_token_alone),
        cmocka_unit_test(registers_are_left_out),
        cmocka_unit_test(large_means),
        cmocka_unit_test(worked_example),
        cmocka_unit_test(kernels_stay_in_their_tensors),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
