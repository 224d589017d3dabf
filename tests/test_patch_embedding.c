/* Images to tokens. */
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
    size_t batch, channels, grid_height, grid_width, patch, columns, registers;
} shape;

/* A shape, and what of it is trained: a letter each of weight, bias, class token, registers, position; "*" is all. */
typedef struct embedding {
    shape shape;
    const char *trained;
} embedding;

static operation_role role(const embedding *e, const char *letter)
{
    return strchr(e->trained, '*') || strstr(e->trained, letter) ? OPERATION_TRAINED : OPERATION_FROZEN;
}

static void build(operation_check *check, const void *parameters)
{
    const embedding *e = parameters;
    const shape *s = &e->shape;
    const size_t tokens = 1 + s->grid_height * s->grid_width, taps = s->channels * s->patch * s->patch;
    const size_t image[] = {s->batch, s->channels, s->grid_height * s->patch, s->grid_width * s->patch};
    const operation_values values = operation_normal(0, 1);
    const slad_tensor *pixels = operation_tensor(check, OPERATION_INPUT, "pixels", 4, image, values);
    const slad_tensor *weight =
        operation_tensor(check, role(e, "w"), "weight", 2, (const size_t[]){s->columns, taps}, values);
    const slad_tensor *bias = operation_tensor(check, role(e, "b"), "bias", 1, &s->columns, values);
    const slad_tensor *class_token = operation_tensor(check, role(e, "c"), "class_token", 1, &s->columns, values);
    const slad_tensor *registers = s->registers ? operation_tensor(check, role(e, "r"), "registers", 2,
                                                                   (const size_t[]){s->registers, s->columns}, values)
                                                : NULL;
    const slad_tensor *position =
        operation_tensor(check, role(e, "p"), "position", 2, (const size_t[]){tokens, s->columns}, values);
    const slad_tensor *y =
        slad_patch_embedding(operation_record(check), pixels, weight, bias, class_token, registers, position, s->patch);
    operation_output(check, y, "tokens");
}

static void run(void **state, shape s, const char *trained)
{
    char name[128];
    const embedding e = {s, trained};
    snprintf(name, sizeof name, "patch_embedding %zu x %zu x %zu x %zu patch %zu to %zu, %zu registers, trained: %s",
             s.batch, s.channels, s.grid_height, s.grid_width, s.patch, s.columns, s.registers, trained);
    operation_run(*state, &(operation_case){.name = name, .build = build, .parameters = &e});
}

static void test_shapes(void **state)
{
    static const shape shapes[] = {
        {1, 1, 1, 1, 1, 1, 0},   {1, 3, 1, 1, 14, 16, 4},   {2, 3, 1, 2, 14, 31, 0},
        {3, 3, 31, 1, 2, 32, 1}, {1, 3, 4, 8, 14, 33, 4},   {3, 1, 11, 3, 3, 5, 2},
        {2, 3, 5, 13, 4, 65, 0}, {1, 3, 14, 14, 16, 48, 0}, {1, 3, 16, 16, 14, 24, 4},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) run(state, shapes[i], "");
}

static void test_trained(void **state)
{
    static const shape shapes[] = {
        {1, 1, 1, 1, 1, 1, 0},  {3, 3, 1, 2, 4, 31, 4},  {1, 1, 31, 1, 2, 7, 0},   {3, 2, 8, 4, 3, 33, 4},
        {1, 3, 11, 3, 3, 5, 2}, {3, 1, 5, 13, 2, 17, 0}, {1, 1, 14, 14, 2, 24, 5}, {3, 1, 16, 16, 1, 9, 4},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) run(state, shapes[i], "*");
}

static void test_each_parameter_alone(void **state)
{
    static const char *const trained[] = {"w", "b", "c", "r", "p", "wb", "cp"};
    for (size_t i = 0; i < sizeof trained / sizeof *trained; i++) {
        run(state, (shape){2, 3, 2, 3, 4, 19, 4}, trained[i]);
        if (*trained[i] != 'r') run(state, (shape){2, 3, 3, 2, 4, 19, 0}, trained[i]);
    }
}

static size_t count(void **state, const char *trained, const char *operation)
{
    const embedding e = {{2, 3, 2, 3, 4, 19, 4}, trained};
    const operation_case test = {.name = "count", .build = build, .parameters = &e};
    return operation_count_nodes(*state, &test, operation);
}

static void test_nothing_more_than_needed(void **state)
{
    assert_int_equal(count(state, "", "patch_embedding_sums"), 0);
    assert_int_equal(count(state, "", "patch_embedding_gather"), 0);
    assert_int_equal(count(state, "c", "patch_embedding_sums"), 1);
    assert_int_equal(count(state, "c", "patch_embedding_gather"), 0);
    assert_int_equal(count(state, "w", "patch_embedding_sums"), 0);
    assert_int_equal(count(state, "w", "patch_embedding_gather"), 1);
    assert_int_equal(count(state, "*", "patch_embedding_sums"), 3);
    assert_int_equal(count(state, "*", "linear_weight_gradient"), 1);
    assert_int_equal(count(state, "*", "linear_input_gradient"), 0);
}

/* Tokens made of what is itself computed: the gradients of position, class token and registers pass through. */
static void build_computed(operation_check *check, const void *parameters)
{
    const size_t columns = 11;
    const operation_values values = operation_normal(0, 1);
    (void)parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *computed[3];
    static const char *const names[] = {"position", "class_token", "registers"};
    const size_t sizes[3][2] = {{7, columns}, {1, columns}, {4, columns}};
    for (int i = 0; i < 3; i++) {
        const slad_tensor *x = operation_tensor(check, OPERATION_GRADIENT, names[i], 2, sizes[i], values);
        computed[i] = slad_gelu(record, x);
    }
    const slad_tensor *y = slad_patch_embedding(
        record, operation_tensor(check, OPERATION_INPUT, "pixels", 4, (const size_t[]){3, 2, 6, 9}, values),
        operation_tensor(check, OPERATION_FROZEN, "weight", 2, (const size_t[]){columns, 18}, values),
        operation_tensor(check, OPERATION_FROZEN, "bias", 1, &columns, values), computed[1], computed[2], computed[0],
        3);
    operation_output(check, y, "tokens");
}

static void test_computed_operands(void **state)
{
    operation_run(*state, &(operation_case){.name = "patch_embedding of computed tokens", .build = build_computed});
}

/* By hand: a 4 x 2 image of two channels, patches of 2 x 2, and a weight that picks one tap of each channel, so that
 * any exchange of height and width, of channels or of taps shows. */
static void build_known(operation_check *check, const void *parameters)
{
    static const float pixels[] = {1, 2, 3, 4, 5, 6, 7, 8, 10, 20, 30, 40, 50, 60, 70, 80};
    static const float weight[] = {0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0};
    static const float bias[] = {100, 200}, class_token[] = {-1, -2}, registers[] = {7, 8, 9, 10};
    static const float position[] = {0.5f, 0.25f, 1000, 2000, 3000, 4000};
    static const float tokens[] = {-0.5f, -1.75f, 7, 8, 9, 10, 1102, 2230, 3106, 4270};
    const size_t columns = 2;
    (void)parameters;
    const slad_tensor *y = slad_patch_embedding(
        operation_record(check),
        operation_tensor(check, OPERATION_INPUT, "pixels", 4, (const size_t[]){1, 2, 4, 2}, operation_given(pixels)),
        operation_tensor(check, OPERATION_FROZEN, "weight", 2, (const size_t[]){2, 8}, operation_given(weight)),
        operation_tensor(check, OPERATION_FROZEN, "bias", 1, &columns, operation_given(bias)),
        operation_tensor(check, OPERATION_FROZEN, "class_token", 1, &columns, operation_given(class_token)),
        operation_tensor(check, OPERATION_FROZEN, "registers", 2, (const size_t[]){2, 2}, operation_given(registers)),
        operation_tensor(check, OPERATION_FROZEN, "position", 2, (const size_t[]){3, 2}, operation_given(position)), 2);
    operation_output(check, y, "tokens");
    operation_expect(check, "tokens", tokens, 1e-7);
}

static void test_known_values(void **state)
{
    operation_run(*state, &(operation_case){.name = "patch_embedding by hand", .build = build_known});
}

static void test_kernels_stay_in_their_tensors(void **state)
{
    operation_bench *bench = *state;
    enum { BATCH = 2, CHANNELS = 3, HEIGHT = 2, WIDTH = 3, PATCH = 5, COLUMNS = 21, GRID = HEIGHT * WIDTH };
    enum { REGISTERS = 2, COUNT = 1 + REGISTERS + GRID, TOKENS = BATCH * COUNT * COLUMNS };
    enum { PIXELS = BATCH * CHANNELS * GRID * PATCH * PATCH, PROJECTED = BATCH * GRID * COLUMNS };
    float pixels[PIXELS], patches[PIXELS] = {0}, projected[PROJECTED], tokens[TOKENS] = {0};
    float class_token[COLUMNS], registers[REGISTERS * COLUMNS], position[(1 + GRID) * COLUMNS];
    operation_fill(pixels, PIXELS, 1, 0, 1);
    operation_fill(projected, PROJECTED, 2, 0, 1);
    operation_fill(class_token, COLUMNS, 3, 0, 1);
    operation_fill(position, (1 + GRID) * COLUMNS, 4, 0, 1);
    operation_fill(registers, REGISTERS * COLUMNS, 5, 0, 1);
    for (size_t k = 0; k < bench->variant_count; k++) {
        bench->device = bench->variants[k];
        operation_argument unfold[] = {OPERATION_WRITE(patches, PIXELS),
                                       OPERATION_READ(pixels, PIXELS),
                                       OPERATION_UINT(BATCH),
                                       OPERATION_UINT(CHANNELS),
                                       OPERATION_UINT(HEIGHT),
                                       OPERATION_UINT(WIDTH),
                                       OPERATION_UINT(PATCH)};
        operation_launch(bench, &slad_patch_embedding_kernels[0], "", unfold, 7,
                         (slad_work){.items = {CHANNELS * PATCH, BATCH * GRID, 1}, .split_axis = 1});
        operation_argument assemble[] = {OPERATION_WRITE(tokens, TOKENS),
                                         OPERATION_READ(projected, PROJECTED),
                                         OPERATION_READ(class_token, COLUMNS),
                                         OPERATION_READ(registers, REGISTERS * COLUMNS),
                                         OPERATION_READ(position, (1 + GRID) * COLUMNS),
                                         OPERATION_UINT(BATCH),
                                         OPERATION_UINT(REGISTERS),
                                         OPERATION_UINT(GRID),
                                         OPERATION_UINT(COLUMNS)};
        operation_launch(bench, &slad_patch_embedding_kernels[1], "", assemble, 9,
                         (slad_work){.items = {COLUMNS, COUNT, BATCH}, .split_axis = 2});
        for (unsigned accumulate = 0; accumulate < 2; accumulate++) {
            operation_argument gather[] = {OPERATION_WRITE(projected, PROJECTED),
                                           OPERATION_READ(tokens, TOKENS),
                                           OPERATION_UINT(accumulate),
                                           OPERATION_UINT(BATCH),
                                           OPERATION_UINT(1 + REGISTERS),
                                           OPERATION_UINT(GRID),
                                           OPERATION_UINT(COLUMNS)};
            operation_launch(bench, &slad_patch_embedding_kernels[2], "", gather, 7,
                             (slad_work){.items = {COLUMNS, GRID, BATCH}, .split_axis = 2});
            operation_argument sums[] = {OPERATION_WRITE(position, (1 + GRID) * COLUMNS),
                                         OPERATION_READ(tokens, TOKENS),
                                         OPERATION_UINT(accumulate),
                                         OPERATION_UINT(BATCH),
                                         OPERATION_UINT(COUNT),
                                         OPERATION_UINT(0),
                                         OPERATION_UINT(REGISTERS),
                                         OPERATION_UINT(1 + GRID),
                                         OPERATION_UINT(COLUMNS)};
            operation_launch(bench, &slad_patch_embedding_kernels[3], "", sums, 9,
                             (slad_work){.items = {COLUMNS, 1 + GRID, 1}, .split_axis = 1});
        }
        (void)operation_error(patches, patches, PIXELS); /* finite: nothing was read past an end */
        (void)operation_error(tokens, tokens, TOKENS);
        (void)operation_error(projected, projected, PROJECTED);
        (void)operation_error(position, position, (1 + GRID) * COLUMNS);
    }
    bench->device = bench->variants[0];
}

/* What build_wrong gets wrong. */
typedef enum mistake {
    SIZE,
    COMPUTED_WEIGHT,
    NARROW_REGISTERS,
    FEW_POSITIONS,
    PIXEL_GRADIENT,
    CHANNELS_OF_WEIGHT
} mistake;

static void build_wrong(operation_check *check, const void *parameters)
{
    const mistake wrong = *(const mistake *)parameters;
    const size_t columns = 6;
    const operation_values values = operation_normal(0, 1);
    const slad_tensor *pixels = operation_tensor(check, wrong == PIXEL_GRADIENT ? OPERATION_GRADIENT : OPERATION_INPUT,
                                                 "pixels", 4, (const size_t[]){1, 3, 4, wrong == SIZE ? 7 : 6}, values);
    const slad_tensor *weight =
        operation_tensor(check, wrong == COMPUTED_WEIGHT ? OPERATION_GRADIENT : OPERATION_FROZEN, "weight", 2,
                         (const size_t[]){columns, wrong == CHANNELS_OF_WEIGHT ? 4 : 12}, values);
    const slad_tensor *bias = operation_tensor(check, OPERATION_FROZEN, "bias", 1, &columns, values);
    const slad_tensor *registers =
        operation_tensor(check, OPERATION_FROZEN, "registers", 3,
                         (const size_t[]){1, 4, wrong == NARROW_REGISTERS ? columns - 1 : columns}, values);
    const slad_tensor *position = operation_tensor(
        check, OPERATION_FROZEN, "position", 3, (const size_t[]){1, wrong == FEW_POSITIONS ? 5 : 7, columns}, values);
    assert_null(slad_patch_embedding(operation_record(check), pixels, weight, bias, bias, registers, position, 2));
}

static void test_mistakes(void **state)
{
    static const struct {
        mistake wrong;
        slad_status status;
        const char *part;
    } cases[] = {
        {SIZE, SLAD_ERROR_USAGE, "[1, 3, 4, 7] [batch, channels, height, width] cannot be cut into patches of 2 x 2"},
        {COMPUTED_WEIGHT, SLAD_ERROR_INTERNAL, "trained weight must lie in the store"},
        {NARROW_REGISTERS, SLAD_ERROR_INTERNAL, "registers [1, 4, 5] must be of 4 x 6"},
        {FEW_POSITIONS, SLAD_ERROR_INTERNAL, "position [1, 5, 6] must be of 7 x 6"},
        {PIXEL_GRADIENT, SLAD_ERROR_INTERNAL, "pixels cannot have a gradient"},
        {CHANNELS_OF_WEIGHT, SLAD_ERROR_INTERNAL, "weight [6, 4] must be of 6 x 12"},
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
        cmocka_unit_test(test_trained),
        cmocka_unit_test(test_each_parameter_alone),
        cmocka_unit_test(test_nothing_more_than_needed),
        cmocka_unit_test(test_computed_operands),
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_kernels_stay_in_their_tensors),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
