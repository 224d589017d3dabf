/* LayerNorm and its gradient. */
#include "operation_check.h"
#include "ops/kernel_table.h"
#include "ops/operations.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct shape {
    size_t batch, rows, columns;
    double mean, deviation; /* of x */
    bool gamma, beta;       /* whether they are trained */
} shape;

static shape frozen(size_t batch, size_t rows, size_t columns, double mean, double deviation)
{
    return (shape){batch, rows, columns, mean, deviation, false, false};
}

static operation_role role(bool trained)
{
    return trained ? OPERATION_TRAINED : OPERATION_FROZEN;
}

/* y = LN(x), and x + gamma LN(x), so that the gradient of x is both written and added to. */
static void build(operation_check *check, const void *parameters)
{
    const shape *s = parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *x =
        operation_tensor(check, OPERATION_GRADIENT, "x", 3, (const size_t[]){s->batch, s->rows, s->columns},
                         operation_normal(s->mean, s->deviation));
    const slad_tensor *gamma =
        operation_tensor(check, role(s->gamma), "gamma", 1, &s->columns, operation_normal(1, 0.3));
    const slad_tensor *beta = operation_tensor(check, role(s->beta), "beta", 1, &s->columns, operation_normal(0, 0.5));
    const slad_tensor *y = slad_layer_norm(record, x, gamma, beta, 1e-6);
    operation_output(check, y, "y");
    operation_output(check, slad_layer_scale(record, x, slad_layer_norm(record, x, beta, gamma, 1e-3), gamma), "sum");
}

static void run(void **state, shape s, double tolerance, double difference_tolerance)
{
    char name[96];
    snprintf(name, sizeof name, "layer_norm %zu x %zu x %zu mean %g", s.batch, s.rows, s.columns, s.mean);
    operation_run(*state, &(operation_case){.name = name,
                                            .build = build,
                                            .parameters = &s,
                                            .tolerance = tolerance,
                                            .difference_tolerance = difference_tolerance});
}

static void test_shapes(void **state)
{
    static const size_t rows[] = {1, 2, 31, 32, 33, 65, 197, 257};
    static const size_t columns[] = {384, 33, 5, 16, 100, 65, 48, 7};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        run(state, (shape){i % 3 + 1, rows[i], columns[i], 0.5, 2, .gamma = i % 2 == 0, .beta = i % 4 < 2}, 1e-5, 1e-3);
}

/* Without the gradient of a cancelling sum: gamma and beta are trained, x is the batch's. */
static void build_parameters(operation_check *check, const void *parameters)
{
    const shape *s = parameters;
    const slad_tensor *x =
        operation_tensor(check, OPERATION_INPUT, "x", 3, (const size_t[]){s->batch, s->rows, s->columns},
                         operation_normal(s->mean, s->deviation));
    const slad_tensor *gamma =
        operation_tensor(check, role(s->gamma), "gamma", 1, &s->columns, operation_normal(1, 0.3));
    const slad_tensor *beta = operation_tensor(check, role(s->beta), "beta", 1, &s->columns, operation_normal(0, 0.5));
    operation_output(check, slad_layer_norm(operation_record(check), x, gamma, beta, 1e-6), "y");
}

static void run_parameters(void **state, shape s)
{
    char name[96];
    snprintf(name, sizeof name, "layer_norm %zu x %zu x %zu, trained%s%s", s.batch, s.rows, s.columns,
             s.gamma ? " gamma" : "", s.beta ? " beta" : "");
    operation_run(*state,
                  &(operation_case){.name = name, .build = build_parameters, .parameters = &s, .tolerance = 1e-5});
}

static void test_trained_parameters(void **state)
{
    static const size_t rows[] = {1, 2, 31, 32, 33, 65, 197, 257};
    static const size_t columns[] = {33, 3, 48, 5, 384, 17, 7, 1};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        run_parameters(state, (shape){1, rows[i], columns[i], 0.5, 2, .gamma = true, .beta = true});
        run_parameters(state, (shape){3, rows[i], columns[i], 0.5, 2, .gamma = i % 2 == 0, .beta = i % 2 == 1});
    }
    run_parameters(state, (shape){64, 257, 5, 0, 1, .gamma = true, .beta = true}); /* most chunks, the last one short */
}

/* The normalised row is all but constant here (0, or a sign), so that differences say nothing, and what is left
 * of the gradient by cancellation is multiplied by rstd, up to 1000. */
static void test_narrowest_rows(void **state)
{
    run(state, frozen(1, 65, 1, 0.5, 2), 1e-3, -1);
    run(state, frozen(1, 65, 2, 0.5, 2), 1e-3, -1);
}

static void test_width_of_the_largest_models(void **state)
{
    run(state, frozen(1, 3, 1024, 0, 1), 1e-5, 1e-3);
    run(state, frozen(1, 3, 1536, 0, 1), 1e-5, 1e-3);
}

/* The float nearest the mean is off by up to 3e-5 here, which no later step can repair. */
static void test_large_mean(void **state)
{
    run(state, frozen(1, 9, 384, 1000, 1), 1e-4, -1);
}

static void test_large_and_small_values(void **state)
{
    run(state, frozen(1, 5, 71, 0, 1e4), 1e-5, 1e-3);
    run(state, frozen(1, 5, 71, 0, 1e-2), 1e-5, 1e-3);
}

/* Rows without any variance: nothing may become NaN, and y is beta. */
static void build_constant(operation_check *check, const void *parameters)
{
    static const float x[] = {3, 3, 3, 3, 3, 0, 0, 0, 0, 0, -7, -7, -7, -7, -7};
    static const float gamma[] = {1, 2, 3, 4, 5}, beta[] = {1, -1, 2, -2, 3};
    static const float y[] = {1, -1, 2, -2, 3, 1, -1, 2, -2, 3, 1, -1, 2, -2, 3};
    const size_t columns = 5;
    (void)parameters;
    operation_output(
        check,
        slad_layer_norm(operation_record(check),
                        operation_tensor(check, OPERATION_GRADIENT, "x", 2, (const size_t[]){3, 5}, operation_given(x)),
                        operation_tensor(check, OPERATION_FROZEN, "gamma", 1, &columns, operation_given(gamma)),
                        operation_tensor(check, OPERATION_FROZEN, "beta", 1, &columns, operation_given(beta)), 1e-6),
        "y");
    operation_expect(check, "y", y, 1e-6);
}

static void test_constant_rows(void **state)
{
    operation_run(
        *state,
        &(operation_case){.name = "layer_norm of constant rows", .build = build_constant, .difference_tolerance = -1});
}

static void test_kernels_stay_in_their_tensors(void **state)
{
    operation_bench *bench = *state;
    enum { ROWS = 3, COLUMNS = 37 };
    float x[ROWS * COLUMNS], y[ROWS * COLUMNS] = {0}, dy[ROWS * COLUMNS], dx[ROWS * COLUMNS] = {0};
    float gamma[COLUMNS], beta[COLUMNS], statistics[2 * ROWS] = {0}, partial[2 * 2 * COLUMNS] = {0};
    operation_fill(x, ROWS * COLUMNS, 1, 0, 1);
    operation_fill(dy, ROWS * COLUMNS, 2, 0, 1);
    operation_fill(gamma, COLUMNS, 3, 1, 1);
    operation_fill(beta, COLUMNS, 4, 0, 1);
    for (size_t i = 0; i < bench->variant_count; i++) {
        bench->device = bench->variants[i];
        const slad_work work = {.items = {bench->device->features.row_lanes, ROWS, 1}, .split_axis = 1};
        operation_argument forward[] = {OPERATION_WRITE(y, ROWS * COLUMNS),
                                        OPERATION_WRITE(statistics, 2 * ROWS),
                                        OPERATION_READ(x, ROWS * COLUMNS),
                                        OPERATION_READ(gamma, COLUMNS),
                                        OPERATION_READ(beta, COLUMNS),
                                        OPERATION_FLOAT(1e-6),
                                        OPERATION_UINT(ROWS),
                                        OPERATION_UINT(COLUMNS)};
        operation_launch(bench, &slad_layer_norm_kernels[0], "", forward, 8, work);
        for (unsigned accumulate = 0; accumulate < 2; accumulate++) {
            operation_argument backward[] = {OPERATION_WRITE(dx, ROWS * COLUMNS),
                                             OPERATION_READ(dy, ROWS * COLUMNS),
                                             OPERATION_READ(statistics, 2 * ROWS),
                                             OPERATION_READ(x, ROWS * COLUMNS),
                                             OPERATION_READ(gamma, COLUMNS),
                                             OPERATION_UINT(accumulate),
                                             OPERATION_UINT(ROWS),
                                             OPERATION_UINT(COLUMNS)};
            operation_launch(bench, &slad_layer_norm_kernels[1], "", backward, 8, work);
        }
        operation_argument of_parameters[] = {OPERATION_WRITE(partial, 2 * 2 * COLUMNS),
                                              OPERATION_READ(dy, ROWS * COLUMNS),
                                              OPERATION_READ(statistics, 2 * ROWS),
                                              OPERATION_READ(x, ROWS * COLUMNS),
                                              OPERATION_UINT(ROWS),
                                              OPERATION_UINT(COLUMNS),
                                              OPERATION_UINT(2)};
        operation_launch(bench, &slad_layer_norm_kernels[2], "", of_parameters, 7,
                         (slad_work){.items = {COLUMNS, 2, 1}, .split_axis = 1});
        (void)operation_error(y, y, ROWS * COLUMNS); /* finite: nothing was read past an end */
        (void)operation_error(dx, dx, ROWS * COLUMNS);
        (void)operation_error(partial, partial, 2 * 2 * COLUMNS);
    }
    bench->device = bench->variants[0];
}

/* What build_wrong gets wrong. */
typedef enum mistake { COMPUTED_GAMMA, NARROW_GAMMA, NO_BETA } mistake;

static void build_wrong(operation_check *check, const void *parameters)
{
    const mistake wrong = *(const mistake *)parameters;
    const size_t columns = 8, narrow = 7;
    const operation_values values = operation_normal(0, 1);
    const slad_tensor *x = operation_tensor(check, OPERATION_INPUT, "x", 2, (const size_t[]){2, 8}, values);
    const slad_tensor *gamma = operation_tensor(check, wrong == COMPUTED_GAMMA ? OPERATION_GRADIENT : OPERATION_FROZEN,
                                                "norm1.weight", 1, wrong == NARROW_GAMMA ? &narrow : &columns, values);
    const slad_tensor *beta = operation_tensor(check, OPERATION_FROZEN, "norm1.bias", 1, &columns, values);
    const slad_tensor *y = slad_layer_norm(operation_record(check), x, gamma, wrong == NO_BETA ? NULL : beta, 1e-6);
    assert_null(y);
}

static void test_mistakes(void **state)
{
    static const struct {
        mistake wrong;
        slad_status status;
        const char *part;
    } cases[] = {
        {COMPUTED_GAMMA, SLAD_ERROR_INTERNAL, "trained norm1.weight must lie in the store"},
        {NARROW_GAMMA, SLAD_ERROR_INTERNAL, "norm1.weight [7] must be of 1 x 8"},
        {NO_BETA, SLAD_ERROR_INTERNAL, "layer_norm was not given all its inputs"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        operation_expect_failure(
            *state, &(operation_case){.name = "mistake", .build = build_wrong, .parameters = &cases[i].wrong},
            cases[i].status, cases[i].part);
}

/* Nothing is computed for what needs no gradient. */
static void build_frozen_below(operation_check *check, const void *parameters)
{
    const size_t columns = 8;
    const operation_values values = operation_normal(0, 1);
    (void)parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *x = operation_tensor(check, OPERATION_INPUT, "x", 2, (const size_t[]){2, 8}, values);
    const slad_tensor *other = operation_tensor(check, OPERATION_GRADIENT, "other", 2, (const size_t[]){2, 8}, values);
    const slad_tensor *gamma = operation_tensor(check, OPERATION_FROZEN, "gamma", 1, &columns, values);
    const slad_tensor *y = slad_layer_norm(record, x, gamma, gamma, 1e-6);
    operation_output(check, slad_layer_scale(record, other, y, gamma), "y");
}

static void test_no_gradient_below_what_is_trained(void **state)
{
    const operation_case test = {.name = "frozen below", .build = build_frozen_below};
    assert_int_equal(operation_count_nodes(*state, &test, "layer_norm"), 1);
    assert_int_equal(operation_count_nodes(*state, &test, "layer_norm_backward"), 0);
    assert_int_equal(operation_count_nodes(*state, &test, "layer_scale_backward"), 0);
    assert_int_equal(operation_count_nodes(*state, &test, "layer_norm_parameters"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),         cmocka_unit_test(test_trained_parameters),
        cmocka_unit_test(test_narrowest_rows), cmocka_unit_test(test_width_of_the_largest_models),
        cmocka_unit_test(test_large_mean),     cmocka_unit_test(test_large_and_small_values),
        cmocka_unit_test(test_constant_rows),  cmocka_unit_test(test_kernels_stay_in_their_tensors),
        cmocka_unit_test(test_mistakes),       cmocka_unit_test(test_no_gradient_below_what_is_trained),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
