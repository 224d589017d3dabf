/* Resized position tables against the code of their owners (tests/oracle/make_positions.py). */
#include "formula.h"

#include "model/position.h"
#include "reference/position_interpolation.h"

enum { GRID = 37, WIDTH = 6 };
#define BOUND 1e-5

static void check(scratch *own, slad_safetensors *file, const char *mode_name, slad_position_mode mode, size_t rows,
                  size_t columns)
{
    char name[64];
    size_t count;
    double worst = 0;
    float *table = malloc((size_t)(1 + GRID * GRID) * WIDTH * sizeof *table);
    (void)snprintf(name, sizeof name, "%s.%zux%zu", mode_name, rows, columns);
    float *expected = fixture_read(own, file, name, &count), *measured = malloc((count + 1) * sizeof *measured);
    assert_non_null(table);
    assert_non_null(measured);
    assert_int_equal(count, (1 + rows * columns) * WIDTH);
    formula_tensor(table, (size_t)(1 + GRID * GRID) * WIDTH, "positions", 1.0, 0);
    measured[count] = 12345.0f;
    assert_int_equal(slad_position_resize(own->context, measured, table, GRID, rows, columns, WIDTH, mode), SLAD_OK);
    assert_true(measured[count] == 12345.0f);
    for (size_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)measured[i] - (double)expected[i]));
    if (!(worst <= BOUND)) fail_msg("%s differs by %.3g", name, worst);
    free(table);
    free(expected);
    free(measured);
}

static void test_every_rule(void **state)
{
    static const size_t sizes[][2] = {{16, 16}, {27, 27}, {37, 37}, {16, 32}, {40, 45}, {1, 1}};
    scratch *own = *state;
    slad_safetensors *file;
    assert_int_equal(slad_safetensors_open(own->context, &file, SLAD_FIXTURES "/positions.safetensors"), SLAD_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check(own, file, "transformers", SLAD_POSITION_TRANSFORMERS, sizes[i][0], sizes[i][1]);
        check(own, file, "hub", SLAD_POSITION_HUB, sizes[i][0], sizes[i][1]);
        check(own, file, "antialias", SLAD_POSITION_ANTIALIAS, sizes[i][0], sizes[i][1]);
    }
    slad_safetensors_close(file);
}

enum { SMALL_GRID = 9, SMALL = 1 + SMALL_GRID * SMALL_GRID };

static float *new_floats(size_t count)
{
    float *floats = calloc(count, sizeof *floats);
    assert_non_null(floats);
    return floats;
}

static double largest_difference(scratch *own, slad_safetensors *file, const char *name, const float *measured,
                                 size_t count)
{
    size_t expected_count;
    double worst = 0;
    float *expected = fixture_read(own, file, name, &expected_count);
    assert_int_equal(expected_count, count);
    for (size_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)measured[i] - (double)expected[i]));
    free(expected);
    return worst;
}

/* Resizing by the matrices of both axes, and the gradient of the table. */
static void check_trained(scratch *own, slad_safetensors *file, const char *mode_name, slad_position_mode mode,
                          size_t rows, size_t columns)
{
    char name[64];
    const size_t count = 1 + rows * columns;
    const slad_reference_grids sizes = {SMALL_GRID, rows, columns, WIDTH};
    float *down = new_floats(rows * SMALL_GRID), *across = new_floats(columns * SMALL_GRID);
    float *table = new_floats((size_t)SMALL * WIDTH), *dtable = new_floats((size_t)SMALL * WIDTH);
    float *resized = new_floats(count * WIDTH), *dresized = new_floats(count * WIDTH);
    formula_tensor(table, (size_t)SMALL * WIDTH, "trained", 1.0, 0);
    formula_tensor(dresized, count * WIDTH, "dresized", 1.0, 0);
    assert_int_equal(slad_position_matrix(own->context, down, SMALL_GRID, rows, mode), SLAD_OK);
    assert_int_equal(slad_position_matrix(own->context, across, SMALL_GRID, columns, mode), SLAD_OK);
    slad_reference_position_interpolation(resized, table, down, across, &sizes);
    slad_reference_position_interpolation_backward(dtable, dresized, down, across, false, &sizes);
    (void)snprintf(name, sizeof name, "trained.%s.%zux%zu", mode_name, rows, columns);
    const double forward = largest_difference(own, file, name, resized, count * WIDTH);
    (void)snprintf(name, sizeof name, "trained.%s.%zux%zu.gradient", mode_name, rows, columns);
    const double backward = largest_difference(own, file, name, dtable, (size_t)SMALL * WIDTH);
    if (!(forward <= BOUND && backward <= BOUND))
        fail_msg("%s differs by %.3g, resized by %.3g", name, backward, forward);
    assert_int_equal(slad_position_resize(own->context, dresized, table, SMALL_GRID, rows, columns, WIDTH, mode),
                     SLAD_OK);
    for (size_t i = 0; i < count * WIDTH; i++) assert_float_equal(resized[i], dresized[i], 2e-6);
    free(down);
    free(across);
    free(table);
    free(dtable);
    free(resized);
    free(dresized);
}

static void test_trained_tables(void **state)
{
    static const size_t sizes[][2] = {{4, 4}, {5, 14}, {20, 9}};
    scratch *own = *state;
    slad_safetensors *file;
    assert_int_equal(slad_safetensors_open(own->context, &file, SLAD_FIXTURES "/positions.safetensors"), SLAD_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_trained(own, file, "transformers", SLAD_POSITION_TRANSFORMERS, sizes[i][0], sizes[i][1]);
        check_trained(own, file, "hub", SLAD_POSITION_HUB, sizes[i][0], sizes[i][1]);
        check_trained(own, file, "antialias", SLAD_POSITION_ANTIALIAS, sizes[i][0], sizes[i][1]);
    }
    slad_safetensors_close(file);
}

static void test_impossible_sizes(void **state)
{
    scratch *own = *state;
    float values[4];
    assert_int_equal(slad_position_matrix(own->context, values, 4, 0, SLAD_POSITION_HUB), SLAD_ERROR_DATA);
    assert_int_equal(slad_position_matrix(own->context, values, 1000, 1, SLAD_POSITION_HUB), SLAD_ERROR_DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_rule, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_trained_tables, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_impossible_sizes, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
