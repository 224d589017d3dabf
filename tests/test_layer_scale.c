/* LayerScale with its residual, and their gradients. */
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
} shape;

/* Which of the inputs want a gradient, whether x is read a second time, behind or before, and whether gamma is left out
 * or trained. */
typedef struct wiring {
    shape shape;
    bool of_x, of_z, x_again, z_again, z_is_x, no_gamma, of_gamma;
} wiring;

static void build(operation_check *check, const void *parameters)
{
    const wiring *w = parameters;
    slad_record *record = operation_record(check);
    const size_t size[] = {w->shape.batch, w->shape.rows, w->shape.columns};
    const slad_tensor *x =
        operation_tensor(check, w->of_x ? OPERATION_GRADIENT : OPERATION_INPUT, "x", 3, size, operation_normal(0, 1));
    const slad_tensor *z =
        operation_tensor(check, w->of_z ? OPERATION_GRADIENT : OPERATION_INPUT, "z", 3, size, operation_normal(0, 1));
    const slad_tensor *gamma = w->no_gamma ? NULL
                                           : operation_tensor(check, w->of_gamma ? OPERATION_TRAINED : OPERATION_FROZEN,
                                                              "gamma", 1, &size[2], operation_normal(0.3, 1));
    const slad_tensor *y = slad_layer_scale(record, x, w->z_is_x ? x : z, gamma);
    operation_output(check, y, "y");
    if (w->x_again) operation_output(check, slad_layer_scale(record, x, y, gamma), "x_again");
    if (w->z_again) operation_output(check, slad_layer_scale(record, y, z, gamma), "z_again");
    if (w->z_is_x && w->of_z) operation_output(check, slad_gelu(record, z), "v");
}

static void run(void **state, const char *what, wiring w)
{
    char name[96];
    snprintf(name, sizeof name, "layer_scale %zu x %zu x %zu %s", w.shape.batch, w.shape.rows, w.shape.columns, what);
    operation_run(*state, &(operation_case){.name = name, .build = build, .parameters = &w, .tolerance = 1e-6});
}

static void test_shapes(void **state)
{
    static const size_t rows[] = {1, 2, 31, 32, 33, 65, 197, 257};
    static const size_t columns[] = {1, 3, 17, 64, 33, 5, 48, 7};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        run(state, "", (wiring){{i % 3 + 1, rows[i], columns[i]}, .of_x = true, .of_z = true});
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        run(state, "trained gamma", (wiring){{1, rows[i], columns[i]}, .of_x = true, .of_z = true, .of_gamma = true});
        run(state, "trained gamma", (wiring){{3, rows[i], columns[i]}, .of_gamma = true});
        run(state, "no gamma",
            (wiring){{i % 3 + 1, rows[i], columns[i]}, .of_x = true, .of_z = true, .no_gamma = true});
    }
    run(state, "most chunks", (wiring){{64, 257, 5}, .of_gamma = true});
    run(state, "", (wiring){{2, 5, 384}, .of_x = true, .of_z = true});
}

static void test_every_wiring(void **state)
{
    static const char *const gammas[] = {"", ", trained gamma", ", no gamma"};
    const shape s = {3, 5, 21};
    const struct {
        const char *what;
        wiring wiring;
    } cases[] = {
        {"x only", {s, .of_x = true}},
        {"z only", {s, .of_z = true}},
        {"x twice", {s, .of_x = true, .of_z = true, .x_again = true}},
        {"z twice", {s, .of_x = true, .of_z = true, .z_again = true}},
        {"both twice", {s, .of_x = true, .of_z = true, .x_again = true, .z_again = true}},
        {"z is x", {s, .of_x = true, .of_z = true, .z_is_x = true}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int gamma = 0; gamma < 3; gamma++) {
            char what[64];
            wiring w = cases[i].wiring;
            snprintf(what, sizeof what, "%s%s", cases[i].what, gammas[gamma]);
            w.of_gamma = gamma == 1;
            w.no_gamma = gamma == 2;
            run(state, what, w);
        }
    }
}

/* The residual's gradient is passed on without a copy where nothing else has reached x. */
static void test_residual_is_passed_on(void **state)
{
    wiring w = {{2, 3, 8}, .of_x = true, .of_z = true};
    const operation_case test = {.name = "residual", .build = build, .parameters = &w};
    assert_int_equal(operation_count_nodes(*state, &test, "layer_scale_residual"), 0);
    assert_int_equal(operation_count_nodes(*state, &test, "layer_scale_backward"), 1);
    w.x_again = true;
    assert_int_equal(operation_count_nodes(*state, &test, "layer_scale_residual"), 1);
    w = (wiring){{2, 3, 8}, .of_x = true};
    assert_int_equal(operation_count_nodes(*state, &test, "layer_scale_backward"), 0);
    assert_int_equal(operation_count_nodes(*state, &test, "layer_scale_gamma"), 0);
}

/* A residual that is itself a trained tensor: its gradient is always added to. */
static void build_trained(operation_check *check, const void *parameters)
{
    const size_t size[] = {3, 7};
    (void)parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *x = operation_tensor(check, OPERATION_TRAINED, "x", 2, size, operation_normal(0, 1));
    const slad_tensor *z = operation_tensor(check, OPERATION_TRAINED, "z", 2, size, operation_normal(0, 1));
    const slad_tensor *gamma = operation_tensor(check, OPERATION_FROZEN, "gamma", 1, &size[1], operation_normal(0, 1));
    operation_output(check, slad_layer_scale(record, x, z, gamma), "y");
}

static void test_trained_operands(void **state)
{
    operation_run(*state, &(operation_case){.name = "layer_scale of trained tensors", .build = build_trained});
}

static void test_kernels_stay_in_their_tensors(void **state)
{
    operation_bench *bench = *state;
    enum { ROWS = 7, COLUMNS = 37, COUNT = ROWS * COLUMNS };
    float x[COUNT], z[COUNT], y[COUNT] = {0}, dz[COUNT] = {0}, gamma[COLUMNS], partial[3 * COLUMNS] = {0};
    operation_fill(x, COUNT, 1, 0, 1);
    operation_fill(z, COUNT, 2, 0, 1);
    operation_fill(gamma, COLUMNS, 3, 0, 1);
    for (size_t k = 0; k < bench->variant_count; k++) {
        bench->device = bench->variants[k];
        const slad_work work = {.items = {COUNT, 1, 1}, .split_axis = 0};
        operation_argument forward[] = {OPERATION_WRITE(y, COUNT), OPERATION_READ(x, COUNT),
                                        OPERATION_READ(z, COUNT),  OPERATION_READ(gamma, COLUMNS),
                                        OPERATION_UINT(COUNT),     OPERATION_UINT(COLUMNS)};
        operation_launch(bench, &slad_layer_scale_kernels[0], "", forward, 6, work);
        operation_argument sum[] = {OPERATION_WRITE(y, COUNT), OPERATION_READ(x, COUNT), OPERATION_READ(z, COUNT),
                                    OPERATION_UINT(COUNT)};
        operation_launch(bench, &slad_layer_scale_kernels[1], "", sum, 4, work);
        for (unsigned accumulate = 0; accumulate < 2; accumulate++) {
            operation_argument backward[] = {OPERATION_WRITE(dz, COUNT),     OPERATION_READ(y, COUNT),
                                             OPERATION_READ(gamma, COLUMNS), OPERATION_UINT(accumulate),
                                             OPERATION_UINT(COUNT),          OPERATION_UINT(COLUMNS)};
            operation_launch(bench, &slad_layer_scale_kernels[2], "", backward, 6, work);
            operation_argument residual[] = {OPERATION_WRITE(dz, COUNT), OPERATION_READ(x, COUNT),
                                             OPERATION_UINT(accumulate), OPERATION_UINT(COUNT)};
            operation_launch(bench, &slad_layer_scale_kernels[4], "", residual, 4, work);
        }
        operation_argument of_gamma[] = {OPERATION_WRITE(partial, 3 * COLUMNS),
                                         OPERATION_READ(y, COUNT),
                                         OPERATION_READ(z, COUNT),
                                         OPERATION_UINT(ROWS),
                                         OPERATION_UINT(COLUMNS),
                                         OPERATION_UINT(3)};
        operation_launch(bench, &slad_layer_scale_kernels[3], "", of_gamma, 6,
                         (slad_work){.items = {COLUMNS, 3, 1}, .split_axis = 1});
        (void)operation_error(y, y, COUNT); /* finite: nothing was read past an end */
        (void)operation_error(dz, dz, COUNT);
        (void)operation_error(partial, partial, 3 * COLUMNS);
    }
    bench->device = bench->variants[0];
}

/* Which size is wrong; 0: none, but gamma is a computed tensor that wants a gradient. */
static void build_wrong(operation_check *check, const void *parameters)
{
    const int wrong = *(const int *)parameters;
    slad_record *record = operation_record(check);
    const operation_values values = operation_normal(0, 1);
    const size_t columns = wrong == 1 ? 5 : 4;
    const slad_tensor *x = operation_tensor(check, OPERATION_INPUT, "x", 2, (const size_t[]){3, 4}, values);
    const slad_tensor *z =
        operation_tensor(check, OPERATION_INPUT, "z", 2, (const size_t[]){wrong == 2 ? 2 : 3, 4}, values);
    const slad_tensor *gamma =
        operation_tensor(check, wrong ? OPERATION_FROZEN : OPERATION_GRADIENT, "gamma", 1, &columns, values);
    assert_null(slad_layer_scale(record, x, z, gamma));
}

static void test_mistakes(void **state)
{
    static const struct {
        int wrong;
        slad_status status;
        const char *part;
    } cases[] = {
        {0, SLAD_ERROR_INTERNAL, "trained gamma must lie in the store"},
        {1, SLAD_ERROR_INTERNAL, "gamma [5] must be of 1 x 4"},
        {2, SLAD_ERROR_INTERNAL, "z [2, 4] does not fit x [3, 4]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        operation_expect_failure(
            *state, &(operation_case){.name = "mistake", .build = build_wrong, .parameters = &cases[i].wrong},
            cases[i].status, cases[i].part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_every_wiring),
        cmocka_unit_test(test_residual_is_passed_on),
        cmocka_unit_test(test_trained_operands),
        cmocka_unit_test(test_kernels_stay_in_their_tensors),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
