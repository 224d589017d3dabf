/* SwiGLU and its gradient. */
#include "operation_check.h"
#include "ops/kernel_table.h"
#include "ops/operations.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct shape {
    size_t batch, rows, columns; /* x is [batch, rows, 2 * columns] */
    double deviation;
} shape;

/* v = swiglu(x), and a sum that reads x twice more, so that its gradient is both written and added to. */
static void build(operation_check *check, const void *parameters)
{
    const shape *s = parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *x =
        operation_tensor(check, OPERATION_GRADIENT, "x", 3, (const size_t[]){s->batch, s->rows, 2 * s->columns},
                         operation_normal(0, s->deviation));
    const slad_tensor *v = slad_swiglu(record, x);
    operation_output(check, v, "v");
    operation_output(check, slad_layer_scale(record, v, slad_swiglu(record, x), NULL), "sum");
}

static void run(void **state, shape s)
{
    char name[96];
    snprintf(name, sizeof name, "swiglu %zu x %zu x %zu deviation %g", s.batch, s.rows, s.columns, s.deviation);
    operation_run(*state, &(operation_case){.name = name, .build = build, .parameters = &s, .tolerance = 2e-6});
}

static void test_shapes(void **state)
{
    static const size_t rows[] = {1, 2, 31, 32, 33, 65, 197, 257};
    static const size_t columns[] = {1, 3, 17, 64, 33, 5, 48, 7};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        run(state, (shape){i % 2 ? 3 : 1, rows[i], columns[i], 1.5});
    run(state, (shape){1, 3, 1365, 1});
}

/* Far out silu is 0 or the identity, without NaN on the way. */
static void build_far(operation_check *check, const void *parameters)
{
    static const float x[] = {1e4f, 100, 88, 30, -30, -88, -100, -1e4f, -3e38f, 3e38f, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1};
    static const float v[] = {1e4f, 200, 264, 120, 0, 0, 0, 0, 0, 3e38f};
    static const float dv[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const float dx[] = {1,    2,   3,  4,  0, 0, 0, 0, 0, 1,      /* u2 where u1 is large, else 0 */
                               1e4f, 100, 88, 30, 0, 0, 0, 0, 0, 3e38f}; /* silu(u1) */
    (void)parameters;
    const slad_tensor *given =
        operation_tensor(check, OPERATION_GRADIENT, "x", 2, (const size_t[]){1, 20}, operation_given(x));
    operation_output_with_gradient(check, slad_swiglu(operation_record(check), given), "v", operation_given(dv));
    operation_expect(check, "v", v, 1e-6);
    operation_expect(check, "dx", dx, 1e-6);
}

static void test_far_out(void **state)
{
    operation_run(*state, &(operation_case){.name = "swiglu far out", .build = build_far, .difference_tolerance = -1});
}

static double exact_silu(double a)
{
    return a / (1 + exp(-a));
}

/* On a fine grid, with u2 = 1: 1e-6, or a few roundings of a large result. */
static void test_accuracy(void **state)
{
    operation_bench *bench = *state;
    enum { COUNT = 8001, MIDDLE = 4000 };
    float *x = malloc(2 * COUNT * sizeof *x), *v = calloc(COUNT, sizeof *v), *dv = malloc(COUNT * sizeof *dv),
          *dx = calloc(2 * COUNT, sizeof *dx);
    assert_true(x && v && dv && dx);
    for (int i = 0; i < COUNT; i++) {
        x[i] = (float)((i - MIDDLE) * 5e-3);
        x[COUNT + i] = dv[i] = 1;
    }
    for (size_t k = 0; k < bench->variant_count; k++) {
        bench->device = bench->variants[k];
        const size_t width = bench->device->features.vector_width;
        const slad_work work = {.items = {(COUNT + width - 1) / width, 1, 1}, .split_axis = 1};
        operation_argument forward[] = {OPERATION_WRITE(v, COUNT), OPERATION_READ(x, 2 * COUNT), OPERATION_UINT(1),
                                        OPERATION_UINT(COUNT)};
        operation_argument backward[] = {OPERATION_WRITE(dx, 2 * COUNT),
                                         OPERATION_READ(dv, COUNT),
                                         OPERATION_READ(x, 2 * COUNT),
                                         OPERATION_UINT(0),
                                         OPERATION_UINT(1),
                                         OPERATION_UINT(COUNT)};
        operation_launch(bench, &slad_swiglu_kernels[0], "", forward, 4, work);
        operation_launch(bench, &slad_swiglu_kernels[1], "", backward, 6, work);
        for (int i = 0; i < COUNT; i++) {
            const double a = x[i], s = 1 / (1 + exp(-a)), allowed = fmax(1e-6, 4e-7 * fabs(a));
            if (!(fabs(v[i] - exact_silu(a)) <= allowed && fabs(dx[i] - s * (1 + a * (1 - s))) <= allowed &&
                  fabs(dx[COUNT + i] - exact_silu(a)) <= allowed))
                fail_msg("silu(%g): errors %.3g of the value, %.3g of the slope, %.3g of the factor", a,
                         v[i] - exact_silu(a), dx[i] - s * (1 + a * (1 - s)), dx[COUNT + i] - exact_silu(a));
        }
    }
    bench->device = bench->variants[0];
    free(x);
    free(v);
    free(dv);
    free(dx);
}

static void test_kernels_stay_in_their_tensors(void **state)
{
    operation_bench *bench = *state;
    enum { ROWS = 5, COLUMNS = 21, COUNT = ROWS * COLUMNS };
    float x[2 * COUNT], dv[COUNT], v[COUNT] = {0}, dx[2 * COUNT] = {0};
    operation_fill(x, 2 * COUNT, 1, 0, 1);
    operation_fill(dv, COUNT, 2, 0, 1);
    for (size_t k = 0; k < bench->variant_count; k++) {
        bench->device = bench->variants[k];
        const slad_work work = {.items = {COLUMNS, ROWS, 1}, .split_axis = 1};
        operation_argument forward[] = {OPERATION_WRITE(v, COUNT), OPERATION_READ(x, 2 * COUNT), OPERATION_UINT(ROWS),
                                        OPERATION_UINT(COLUMNS)};
        operation_launch(bench, &slad_swiglu_kernels[0], "", forward, 4, work);
        for (unsigned accumulate = 0; accumulate < 2; accumulate++) {
            operation_argument backward[] = {OPERATION_WRITE(dx, 2 * COUNT), OPERATION_READ(dv, COUNT),
                                             OPERATION_READ(x, 2 * COUNT),   OPERATION_UINT(accumulate),
                                             OPERATION_UINT(ROWS),           OPERATION_UINT(COLUMNS)};
            operation_launch(bench, &slad_swiglu_kernels[1], "", backward, 6, work);
        }
        (void)operation_error(v, v, COUNT); /* finite: nothing was read past an end */
        (void)operation_error(dx, dx, 2 * COUNT);
    }
    bench->device = bench->variants[0];
}

static void build_odd(operation_check *check, const void *parameters)
{
    (void)parameters;
    const slad_tensor *x =
        operation_tensor(check, OPERATION_INPUT, "x", 2, (const size_t[]){3, 7}, operation_normal(0, 1));
    assert_null(slad_swiglu(operation_record(check), x));
}

static void build_frozen(operation_check *check, const void *parameters)
{
    const operation_values values = operation_normal(0, 1);
    (void)parameters;
    const slad_tensor *x = operation_tensor(check, OPERATION_INPUT, "x", 2, (const size_t[]){3, 8}, values);
    const slad_tensor *other = operation_tensor(check, OPERATION_GRADIENT, "other", 2, (const size_t[]){3, 4}, values);
    slad_record *record = operation_record(check);
    operation_output(check, slad_layer_scale(record, other, slad_swiglu(record, x), NULL), "y");
}

static void test_mistakes(void **state)
{
    operation_expect_failure(*state, &(operation_case){.name = "mistake", .build = build_odd}, SLAD_ERROR_INTERNAL,
                             "swiglu: x [3, 7] has no two halves");
}

static void test_no_gradient_below_what_is_trained(void **state)
{
    const operation_case test = {.name = "frozen below", .build = build_frozen};
    assert_int_equal(operation_count_nodes(*state, &test, "swiglu"), 1);
    assert_int_equal(operation_count_nodes(*state, &test, "swiglu_backward"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),   cmocka_unit_test(test_far_out),
        cmocka_unit_test(test_accuracy), cmocka_unit_test(test_kernels_stay_in_their_tensors),
        cmocka_unit_test(test_mistakes), cmocka_unit_test(test_no_gradient_below_what_is_trained),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
