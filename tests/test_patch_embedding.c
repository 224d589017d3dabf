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

#include <cmocka.h>

typedef struct shape {
    size_t batch, channels, grid_height, grid_width, patch, columns;
} shape;

static void build(operation_check *check, const void *parameters)
{
    const shape *s = parameters;
    const size_t tokens = 1 + s->grid_height * s->grid_width, taps = s->channels * s->patch * s->patch;
    const size_t image[] = {s->batch, s->channels, s->grid_height * s->patch, s->grid_width * s->patch};
    const operation_values values = operation_normal(0, 1);
    const slad_tensor *y = slad_patch_embedding(
        operation_record(check), operation_tensor(check, OPERATION_INPUT, "pixels", 4, image, values),
        operation_tensor(check, OPERATION_FROZEN, "weight", 2, (const size_t[]){s->columns, taps}, values),
        operation_tensor(check, OPERATION_FROZEN, "bias", 1, &s->columns, values),
        operation_tensor(check, OPERATION_FROZEN, "class_token", 1, &s->columns, values),
        operation_tensor(check, OPERATION_FROZEN, "position", 2, (const size_t[]){tokens, s->columns}, values),
        s->patch);
    operation_output(check, y, "tokens");
}

static void run(void **state, shape s)
{
    char name[96];
    snprintf(name, sizeof name, "patch_embedding %zu x %zu x %zu x %zu patch %zu to %zu", s.batch, s.channels,
             s.grid_height, s.grid_width, s.patch, s.columns);
    operation_run(*state, &(operation_case){.name = name, .build = build, .parameters = &s});
}

static void test_shapes(void **state)
{
    static const shape shapes[] = {
        {1, 1, 1, 1, 1, 1},  {1, 3, 1, 1, 14, 16}, {2, 3, 1, 2, 14, 31},   {3, 3, 31, 1, 2, 32},   {1, 3, 4, 8, 14, 33},
        {3, 1, 11, 3, 3, 5}, {2, 3, 5, 13, 4, 65}, {1, 3, 14, 14, 16, 48}, {1, 3, 16, 16, 14, 24},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) run(state, shapes[i]);
}

/* By hand: a 4 x 2 image of two channels, patches of 2 x 2, and a weight that picks one tap of each channel, so that
 * any exchange of height and width, of channels or of taps shows. */
static void build_known(operation_check *check, const void *parameters)
{
    static const float pixels[] = {1, 2, 3, 4, 5, 6, 7, 8, 10, 20, 30, 40, 50, 60, 70, 80};
    static const float weight[] = {0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0};
    static const float bias[] = {100, 200}, class_token[] = {-1, -2};
    static const float position[] = {0.5f, 0.25f, 1000, 2000, 3000, 4000};
    static const float tokens[] = {-0.5f, -1.75f, 1102, 2230, 3106, 4270};
    const size_t columns = 2;
    (void)parameters;
    const slad_tensor *y = slad_patch_embedding(
        operation_record(check),
        operation_tensor(check, OPERATION_INPUT, "pixels", 4, (const size_t[]){1, 2, 4, 2}, operation_given(pixels)),
        operation_tensor(check, OPERATION_FROZEN, "weight", 2, (const size_t[]){2, 8}, operation_given(weight)),
        operation_tensor(check, OPERATION_FROZEN, "bias", 1, &columns, operation_given(bias)),
        operation_tensor(check, OPERATION_FROZEN, "class_token", 1, &columns, operation_given(class_token)),
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
    enum { PIXELS = BATCH * CHANNELS * GRID * PATCH * PATCH, TOKENS = BATCH * (1 + GRID) * COLUMNS };
    float pixels[PIXELS], patches[PIXELS] = {0}, projected[BATCH * GRID * COLUMNS], tokens[TOKENS] = {0};
    float class_token[COLUMNS], position[(1 + GRID) * COLUMNS];
    operation_fill(pixels, PIXELS, 1, 0, 1);
    operation_fill(projected, BATCH * GRID * COLUMNS, 2, 0, 1);
    operation_fill(class_token, COLUMNS, 3, 0, 1);
    operation_fill(position, (1 + GRID) * COLUMNS, 4, 0, 1);
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
                                         OPERATION_READ(projected, BATCH * GRID * COLUMNS),
                                         OPERATION_READ(class_token, COLUMNS),
                                         OPERATION_READ(position, (1 + GRID) * COLUMNS),
                                         OPERATION_UINT(BATCH),
                                         OPERATION_UINT(GRID),
                                         OPERATION_UINT(COLUMNS)};
        operation_launch(bench, &slad_patch_embedding_kernels[1], "", assemble, 7,
                         (slad_work){.items = {COLUMNS, 1 + GRID, BATCH}, .split_axis = 2});
        (void)operation_error(patches, patches, PIXELS); /* finite: nothing was read past an end */
        (void)operation_error(tokens, tokens, TOKENS);
    }
    bench->device = bench->variants[0];
}

/* What build_wrong gets wrong. */
typedef enum mistake {
    SIZE,
    TRAINED_WEIGHT,
    TRAINED_POSITION,
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
        operation_tensor(check, wrong == TRAINED_WEIGHT ? OPERATION_TRAINED : OPERATION_FROZEN, "weight", 2,
                         (const size_t[]){columns, wrong == CHANNELS_OF_WEIGHT ? 4 : 12}, values);
    const slad_tensor *bias = operation_tensor(check, OPERATION_FROZEN, "bias", 1, &columns, values);
    const slad_tensor *position =
        operation_tensor(check, wrong == TRAINED_POSITION ? OPERATION_TRAINED : OPERATION_FROZEN, "position", 3,
                         (const size_t[]){1, wrong == FEW_POSITIONS ? 5 : 7, columns}, values);
    assert_null(slad_patch_embedding(operation_record(check), pixels, weight, bias, bias, position, 2));
}

static void test_mistakes(void **state)
{
    static const struct {
        mistake wrong;
        slad_status status;
        const char *part;
    } cases[] = {
        {SIZE, SLAD_ERROR_USAGE, "[1, 3, 4, 7] [batch, channels, height, width] cannot be cut into patches of 2 x 2"},
        {TRAINED_WEIGHT, SLAD_ERROR_USAGE, "weight is to be trained, but full fine-tuning is not available"},
        {TRAINED_POSITION, SLAD_ERROR_USAGE, "position is to be trained"},
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
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_kernels_stay_in_their_tensors),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
