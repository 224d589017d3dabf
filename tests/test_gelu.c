/* GELU and its gradient. */
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
    size_t rows, columns;
    double deviation; /* of u */
} shape;

/* v = gelu(u), and a sum that reads u twice more, so that its gradient is both written and added to. */
static void build(operation_check *check, const void *parameters)
{
    const shape *s = parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *u = operation_tensor(check, OPERATION_GRADIENT, "u", 2, (const size_t[]){s->rows, s->columns},
                                            operation_normal(0, s->deviation));
    const slad_tensor *gamma =
        operation_tensor(check, OPERATION_FROZEN, "gamma", 1, &s->columns, operation_normal(1, 0.3));
    operation_output(check, slad_gelu(record, u), "v");
    operation_output(check, slad_layer_scale(record, u, slad_gelu(record, u), gamma), "sum");
}

static void run(void **state, shape s)
{
    char name[96];
    snprintf(name, sizeof name, "gelu %zu x %zu deviation %g", s.rows, s.columns, s.deviation);
    operation_run(*state, &(operation_case){.name = name, .build = build, .parameters = &s, .tolerance = 2e-6});
}

static void test_shapes(void **state)
{
    static const size_t rows[] = {1, 2, 31, 32, 33, 65, 197, 257};
    static const size_t columns[] = {1, 3, 17, 64, 33, 5, 48, 7};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) run(state, (shape){rows[i], columns[i], 1.5});
    run(state, (shape){3, 1536, 1});
}

static double exact_distribution(double u)
{
    return 0.5 * erfc(-u * sqrt(0.5));
}

static double exact_slope(double u)
{
    return exact_distribution(u) + u * exp(-0.5 * u * u) / sqrt(2 * acos(-1.0));
}

/* The kernels' own approximation, on a fine grid and far out: absolute below |u| = 8 and relative to u beyond. */
static void test_accuracy(void **state)
{
    operation_bench *bench = *state;
    enum { COUNT = 64001, MIDDLE = 32000 };
    float *u = malloc(COUNT * sizeof *u), *v = malloc(COUNT * sizeof *v), *dv = malloc(COUNT * sizeof *dv),
          *du = malloc(COUNT * sizeof *du);
    assert_true(u && v && dv && du);
    for (int i = 0; i < COUNT; i++) {
        u[i] = (float)((i - MIDDLE) * 2.5e-4);
        if (i % 1000 == 0) u[i] *= (float)(i + 1);
        v[i] = du[i] = 0;
        dv[i] = 1;
    }
    for (size_t k = 0; k < bench->variant_count; k++) {
        bench->device = bench->variants[k];
        const size_t width = bench->device->features.vector_width;
        const slad_work work = {.items = {(COUNT + width - 1) / width, 1, 1}, .split_axis = 0};
        operation_argument forward[] = {OPERATION_WRITE(v, COUNT), OPERATION_READ(u, COUNT), OPERATION_UINT(COUNT)};
        operation_argument backward[] = {OPERATION_WRITE(du, COUNT), OPERATION_READ(dv, COUNT),
                                         OPERATION_READ(u, COUNT), OPERATION_UINT(0), OPERATION_UINT(COUNT)};
        operation_launch(bench, &slad_gelu_kernels[0], "", forward, 3, work);
        operation_launch(bench, &slad_gelu_kernels[1], "", backward, 5, work);
        double worst_v = 0, worst_slope = 0;
        for (int i = 0; i < COUNT; i++) {
            const double scale = fmax(1, fabs((double)u[i]) / 4);
            worst_v = fmax(worst_v, fabs(v[i] - u[i] * exact_distribution(u[i])) / scale);
            worst_slope = fmax(worst_slope, fabs(du[i] - exact_slope(u[i])));
        }
        print_message("vector width %zu: error of v %.2g, of the slope %.2g\n", width, worst_v, worst_slope);
        assert_true(worst_v < 4e-7);
        assert_true(worst_slope < 4e-7);
    }
    bench->device = bench->variants[0];
    free(u);
    free(v);
    free(dv);
    free(du);
}

/* A NaN or an infinity must not come out as a number: the optimizer skips a step by them. */
static void test_not_finite_stays_not_finite(void **state)
{
    operation_bench *bench = *state;
    enum { COUNT = 21 };
    float u[COUNT], v[COUNT];
    for (size_t k = 0; k < bench->variant_count; k++) {
        bench->device = bench->variants[k];
        for (int i = 0; i < COUNT; i++) u[i] = v[i] = (float)i;
        u[0] = u[20] = NAN;
        u[1] = INFINITY;
        u[2] = -INFINITY;
        operation_argument forward[] = {OPERATION_WRITE(v, COUNT), OPERATION_READ(u, COUNT), OPERATION_UINT(COUNT)};
        operation_launch(bench, &slad_gelu_kernels[0], "", forward, 3,
                         (slad_work){.items = {COUNT, 1, 1}, .split_axis = 0});
        for (int i = 0; i < COUNT; i++) assert_int_equal(isfinite(v[i]) != 0, i > 2 && i < 20);
    }
    bench->device = bench->variants[0];
}

static void test_kernels_stay_in_their_tensors(void **state)
{
    operation_bench *bench = *state;
    enum { COUNT = 3 * 64 + 5 };
    float u[COUNT], dv[COUNT], v[COUNT] = {0}, du[COUNT] = {0};
    operation_fill(u, COUNT, 1, 0, 1);
    operation_fill(dv, COUNT, 2, 0, 1);
    for (size_t k = 0; k < bench->variant_count; k++) {
        bench->device = bench->variants[k];
        const slad_work work = {.items = {COUNT, 1, 1}, .split_axis = 0};
        operation_argument forward[] = {OPERATION_WRITE(v, COUNT), OPERATION_READ(u, COUNT), OPERATION_UINT(COUNT)};
        operation_launch(bench, &slad_gelu_kernels[0], "", forward, 3, work);
        for (unsigned accumulate = 0; accumulate < 2; accumulate++) {
            operation_argument backward[] = {OPERATION_WRITE(du, COUNT), OPERATION_READ(dv, COUNT),
                                             OPERATION_READ(u, COUNT), OPERATION_UINT(accumulate),
                                             OPERATION_UINT(COUNT)};
            operation_launch(bench, &slad_gelu_kernels[1], "", backward, 5, work);
        }
        (void)operation_error(v, v, COUNT); /* finite: nothing was read past an end */
        (void)operation_error(du, du, COUNT);
    }
    bench->device = bench->variants[0];
}

static void build_strided(operation_check *check, const void *parameters)
{
    (void)parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *u =
        operation_tensor(check, OPERATION_INPUT, "u", 2, (const size_t[]){4, 6}, operation_normal(0, 1));
    const slad_tensor *part = slad_record_view(record, u, 0, 2, (const size_t[]){4, 3}, (const size_t[]){6, 1});
    assert_null(slad_gelu(record, part));
}

static void test_mistakes(void **state)
{
    operation_expect_failure(*state, &(operation_case){.name = "strided", .build = build_strided}, SLAD_ERROR_INTERNAL,
                             "gelu: u [4, 3] must be contiguous");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_not_finite_stays_not_finite),
        cmocka_unit_test(test_kernels_stay_in_their_tensors),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
