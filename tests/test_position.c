/* Resized position tables against the code of their owners (tests/oracle/make_positions.py). */
#include "formula.h"

#include "model/position.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_rule, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
