/* A trained position table on another grid. */
#include "operation_check.h"
#include "ops/kernel_table.h"
#include "ops/operations.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct shape {
    size_t grid, rows, columns, width;
    bool banded; /* matrices with few taps a row, as interpolations have; else none is 0 */
    bool twice;  /* the table is an activation, and read twice, so that its gradient is written and added to */
} shape;

static const slad_tensor *axis(operation_check *check, const char *name, size_t rows, size_t grid, bool banded)
{
    float *values = malloc(rows * grid * sizeof *values);
    assert_non_null(values);
    operation_fill(values, rows * grid, (uint32_t)name[0], 0, 1);
    for (size_t y = 0; banded && y < rows; y++)
        for (size_t i = 0; i < grid; i++)
            if (i > y * grid / rows + 2 || i + 2 < y * grid / rows) values[y * grid + i] = 0;
    const slad_tensor *matrix =
        operation_tensor(check, OPERATION_FROZEN, name, 2, (const size_t[]){rows, grid}, operation_given(values));
    free(values);
    return matrix;
}

static void build(operation_check *check, const void *parameters)
{
    const shape *s = parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *table =
        operation_tensor(check, s->twice ? OPERATION_GRADIENT : OPERATION_TRAINED, "table", 2,
                         (const size_t[]){1 + s->grid * s->grid, s->width}, operation_normal(0, 1));
    const slad_tensor *down = axis(check, "down", s->rows, s->grid, s->banded);
    const slad_tensor *across = axis(check, "across", s->columns, s->grid, s->banded);
    operation_output(check, slad_position_interpolation(record, table, down, across), "resized");
    if (s->twice) operation_output(check, slad_position_interpolation(record, table, across, down), "transposed");
}

static void run(void **state, shape s)
{
    char name[96];
    snprintf(name, sizeof name, "position_interpolation %zu to %zu x %zu of %zu%s%s", s.grid, s.rows, s.columns,
             s.width, s.banded ? ", banded" : "", s.twice ? ", twice" : "");
    operation_run(*state, &(operation_case){.name = name, .build = build, .parameters = &s});
}

static void test_shapes(void **state)
{
    static const size_t sizes[][4] = {{1, 1, 1, 1},   {1, 3, 2, 5},  {2, 1, 1, 3},   {7, 3, 9, 31},
                                      {5, 7, 4, 32},  {3, 8, 8, 33}, {9, 4, 16, 17}, {16, 14, 14, 7},
                                      {4, 1, 32, 64}, {37, 5, 3, 6}, {6, 13, 5, 65}, {8, 3, 11, 384}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const size_t *s = sizes[i];
        run(state, (shape){s[0], s[1], s[2], s[3], true, false});
        run(state, (shape){s[0], s[1], s[2], s[3], false, i % 2 == 0});
    }
}

/* By hand: a 2 x 2 table of one column, repeated downwards and averaged across. */
static void build_known(operation_check *check, const void *parameters)
{
    static const float table[] = {100, 1, 2, 3, 4}, down[] = {1, 0, 1, 0, 0, 1}, across[] = {0.5f, 0.5f};
    static const float resized[] = {100, 1.5f, 1.5f, 3.5f}, dresized[] = {7, 1, 10, 100};
    static const float dtable[] = {7, 5.5f, 5.5f, 50, 50};
    (void)parameters;
    const slad_tensor *y = slad_position_interpolation(
        operation_record(check),
        operation_tensor(check, OPERATION_TRAINED, "table", 2, (const size_t[]){5, 1}, operation_given(table)),
        operation_tensor(check, OPERATION_FROZEN, "down", 2, (const size_t[]){3, 2}, operation_given(down)),
        operation_tensor(check, OPERATION_FROZEN, "across", 2, (const size_t[]){1, 2}, operation_given(across)));
    operation_output_with_gradient(check, y, "resized", operation_given(dresized));
    operation_expect(check, "resized", resized, 1e-7);
    operation_expect(check, "dtable", dtable, 1e-7);
}

static void test_known_values(void **state)
{
    operation_run(*state, &(operation_case){.name = "position_interpolation by hand", .build = build_known});
}

/* The whole way: a trained table, resized, added to the tokens of images that are no square. */
static void build_embedding(operation_check *check, const void *parameters)
{
    const size_t columns = 19;
    const operation_values values = operation_normal(0, 1);
    (void)parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *table =
        operation_tensor(check, OPERATION_TRAINED, "table", 2, (const size_t[]){17, columns}, values);
    const slad_tensor *position =
        slad_position_interpolation(record, table, axis(check, "down", 2, 4, true), axis(check, "across", 5, 4, true));
    const slad_tensor *y = slad_patch_embedding(
        record, operation_tensor(check, OPERATION_INPUT, "pixels", 4, (const size_t[]){3, 3, 4, 10}, values),
        operation_tensor(check, OPERATION_TRAINED, "weight", 2, (const size_t[]){columns, 12}, values),
        operation_tensor(check, OPERATION_TRAINED, "bias", 1, &columns, values),
        operation_tensor(check, OPERATION_TRAINED, "class_token", 1, &columns, values),
        operation_tensor(check, OPERATION_TRAINED, "registers", 2, (const size_t[]){4, columns}, values), position, 2);
    operation_output(check, y, "tokens");
}

static void test_under_a_patch_embedding(void **state)
{
    operation_run(*state, &(operation_case){.name = "patch_embedding with a trained table", .build = build_embedding});
}

static void test_kernels_stay_in_their_tensors(void **state)
{
    operation_bench *bench = *state;
    enum { OUTER = 3, N = 5, K = 4, INNER = 21 };
    float matrix[N * K], x[OUTER * K * INNER], result[OUTER * N * INNER] = {0}, first[INNER] = {0};
    operation_fill(matrix, N * K, 1, 0, 1);
    operation_fill(x, OUTER * K * INNER, 2, 0, 1);
    for (size_t k = 0; k < bench->variant_count; k++) {
        bench->device = bench->variants[k];
        for (unsigned accumulate = 0; accumulate < 2; accumulate++) {
            operation_argument product[] = {OPERATION_WRITE(result, OUTER * N * INNER),
                                            OPERATION_READ(x, OUTER * K * INNER),
                                            OPERATION_READ(matrix, N * K),
                                            OPERATION_UINT(accumulate),
                                            OPERATION_UINT(OUTER),
                                            OPERATION_UINT(N),
                                            OPERATION_UINT(K),
                                            OPERATION_UINT(INNER),
                                            OPERATION_UINT(K),
                                            OPERATION_UINT(1)};
            operation_launch(bench, &slad_position_interpolation_kernels[0], "", product, 10,
                             (slad_work){.items = {INNER, N, OUTER}, .split_axis = 1});
            operation_argument copy[] = {OPERATION_WRITE(first, INNER), OPERATION_READ(x, INNER),
                                         OPERATION_UINT(accumulate), OPERATION_UINT(INNER)};
            operation_launch(bench, &slad_position_interpolation_kernels[1], "", copy, 4,
                             (slad_work){.items = {INNER, 1, 1}, .split_axis = 0});
        }
        (void)operation_error(result, result, OUTER * N * INNER); /* finite: nothing was read past an end */
        (void)operation_error(first, first, INNER);
    }
    bench->device = bench->variants[0];
}

/* What build_axes does otherwise; a frozen table is no mistake. */
typedef enum mistake { FROZEN_TABLE, TABLE_SIZE, OTHER_GRID, TRAINED_AXIS } mistake;

static void build_axes(operation_check *check, const void *parameters)
{
    const mistake wrong = *(const mistake *)parameters;
    const operation_values values = operation_normal(0, 1);
    const slad_tensor *table = operation_tensor(check, wrong == FROZEN_TABLE ? OPERATION_FROZEN : OPERATION_TRAINED,
                                                "table", 2, (const size_t[]){wrong == TABLE_SIZE ? 9 : 10, 4}, values);
    const slad_tensor *down = operation_tensor(check, OPERATION_FROZEN, "down", 2, (const size_t[]){5, 3}, values);
    const slad_tensor *across = operation_tensor(check, wrong == TRAINED_AXIS ? OPERATION_TRAINED : OPERATION_FROZEN,
                                                 "across", 2, (const size_t[]){2, wrong == OTHER_GRID ? 4 : 3}, values);
    const slad_tensor *y = slad_position_interpolation(operation_record(check), table, down, across);
    if (wrong == FROZEN_TABLE) operation_output(check, y, "resized");
}

static void test_mistakes(void **state)
{
    static const struct {
        mistake wrong;
        const char *part;
    } cases[] = {
        {TABLE_SIZE, "table [9, 4] must be of 10 x 4"},
        {OTHER_GRID, "across [2, 4] must be of 2 x 3"},
        {TRAINED_AXIS, "across cannot have a gradient"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        operation_expect_failure(
            *state, &(operation_case){.name = "mistake", .build = build_axes, .parameters = &cases[i].wrong},
            SLAD_ERROR_INTERNAL, cases[i].part);
}

static void test_nothing_more_than_needed(void **state)
{
    const mistake none = FROZEN_TABLE;
    const operation_case test = {.name = "frozen table", .build = build_axes, .parameters = &none};
    assert_int_equal(operation_count_nodes(*state, &test, "position_interpolation"), 1);
    assert_int_equal(operation_count_nodes(*state, &test, "position_interpolation_backward"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_under_a_patch_embedding),
        cmocka_unit_test(test_kernels_stay_in_their_tensors),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_nothing_more_than_needed),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
