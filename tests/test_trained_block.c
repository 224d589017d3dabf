/* Full fine-tuning in small: registers, a resized position table, one block with a SwiGLU MLP and pooling, everything
 * trained. All gradients at once; then steps of the optimizer, after each of which every weight must be packed anew. */
#include "operation_check.h"
#include "ops/operations.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 16, HEADS = 2, HIDDEN = 13, REGISTERS = 4, GRID = 3, ROWS = 2, COLUMNS = 5, PATCH = 2, BATCH = 3 };

typedef struct block {
    operation_role role; /* of what is trained */
    bool optimizer;      /* with the end of a step */
} block;

static const slad_tensor *parameter(operation_check *check, const block *b, const char *name, size_t rows,
                                    size_t columns, double mean)
{
    const double deviation = rows > 1 ? 1 / sqrt((double)columns) : 0.3;
    return operation_tensor(check, b->role, name, 2, (const size_t[]){rows, columns},
                            operation_normal(mean, deviation));
}

static const slad_tensor *linear(operation_check *check, const block *b, const char *name, const slad_tensor *x,
                                 size_t out, const slad_tensor *bias)
{
    const slad_weight weight = {.weight = parameter(check, b, name, out, slad_tensor_columns(x), 0)};
    return slad_linear(operation_record(check), x, &weight, bias);
}

/* Its gradient in qkv is 0 but for rounding, since a key's bias moves all scores of a row alike; AdamW would make steps
 * of full length of that. */
static const slad_tensor *frozen_bias(operation_check *check)
{
    const size_t size = (size_t)3 * WIDTH;
    return operation_tensor(check, OPERATION_FROZEN, "qkv.bias", 1, &size, operation_normal(0, 0.3));
}

static const slad_tensor *tokens(operation_check *check, const block *b)
{
    const size_t image[] = {BATCH, 3, (size_t)ROWS * PATCH, (size_t)COLUMNS * PATCH};
    const slad_tensor *down =
        operation_tensor(check, OPERATION_FROZEN, "down", 2, (const size_t[]){ROWS, GRID}, operation_normal(0.3, 0.5));
    const slad_tensor *across = operation_tensor(check, OPERATION_FROZEN, "across", 2, (const size_t[]){COLUMNS, GRID},
                                                 operation_normal(0.3, 0.5));
    const slad_tensor *table = parameter(check, b, "position", (size_t)1 + GRID * GRID, WIDTH, 0);
    const slad_tensor *pixels = operation_tensor(check, OPERATION_INPUT, "pixels", 4, image, operation_normal(0, 1));
    const slad_tensor *weight = parameter(check, b, "patch.weight", WIDTH, (size_t)3 * PATCH * PATCH, 0);
    const slad_tensor *bias = parameter(check, b, "patch.bias", 1, WIDTH, 0);
    const slad_tensor *class_token = parameter(check, b, "class_token", 1, WIDTH, 0);
    const slad_tensor *registers = parameter(check, b, "registers", REGISTERS, WIDTH, 0);
    return slad_patch_embedding(operation_record(check), pixels, weight, bias, class_token, registers,
                                slad_position_interpolation(operation_record(check), table, down, across), PATCH);
}

static void end_of_step(operation_check *check)
{
    static const float zeros[SLAD_REPORT] = {0};
    const size_t steps = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS, reported = SLAD_REPORT;
    const slad_tensor *values =
        operation_tensor(check, OPERATION_STATE, "step_values", 1, &steps, operation_given(zeros));
    const slad_tensor *accumulators =
        operation_tensor(check, OPERATION_STATE, "accumulators", 1, &sums, operation_given(zeros));
    const slad_tensor *report =
        operation_tensor(check, OPERATION_STATE, "report", 1, &reported, operation_given(zeros));
    assert_int_equal(slad_optimizer(operation_record(check), values, accumulators, report, 1.0), SLAD_OK);
}

static void build(operation_check *check, const void *parameters)
{
    const block *b = parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *x = tokens(check, b);
    const slad_tensor *y = slad_layer_norm(record, x, parameter(check, b, "norm1.weight", 1, WIDTH, 1),
                                           parameter(check, b, "norm1.bias", 1, WIDTH, 0), 1e-6);
    const slad_tensor *o =
        slad_attention(record, linear(check, b, "qkv.weight", y, (size_t)3 * WIDTH, frozen_bias(check)), HEADS);
    const slad_tensor *z = linear(check, b, "proj.weight", o, WIDTH, parameter(check, b, "proj.bias", 1, WIDTH, 0));
    x = slad_layer_scale(record, x, z, parameter(check, b, "scale1", 1, WIDTH, 1));
    y = slad_layer_norm(record, x, parameter(check, b, "norm2.weight", 1, WIDTH, 1),
                        parameter(check, b, "norm2.bias", 1, WIDTH, 0), 1e-6);
    y = linear(check, b, "weights_in", y, (size_t)2 * HIDDEN, NULL);
    z = linear(check, b, "weights_out", slad_swiglu(record, y), WIDTH, NULL);
    x = slad_layer_scale(record, x, z, parameter(check, b, "scale2", 1, WIDTH, 1));
    operation_output(check, slad_pool(record, x, SLAD_POOL_CLS_MEAN, 1 + REGISTERS), "features");
    if (b->optimizer) end_of_step(check);
}

static void test_every_gradient(void **state)
{
    const block b = {OPERATION_TRAINED, false};
    operation_run(*state, &(operation_case){.name = "block", .build = build, .parameters = &b, .tolerance = 5e-5});
}

static void set_step(operation_check *check, const void *parameters, unsigned step, unsigned micro_batch)
{
    float values[SLAD_STEP_VALUES] = {0};
    (void)parameters;
    (void)micro_batch;
    values[SLAD_STEP_BIAS_1] = (float)(1 / (1 - pow(SLAD_ADAM_BETA_1, step + 1)));
    values[SLAD_STEP_BIAS_2] = (float)(1 / (1 - pow(SLAD_ADAM_BETA_2, step + 1)));
    values[SLAD_STEP_RATES + SLAD_GROUP_ADAPTERS] = 0.05f;
    operation_set(check, "step_values", values);
}

/* The features of the last step are those of weights that have moved twice: far from the first ones. */
static void test_weights_are_packed_after_each_update(void **state)
{
    const block b = {OPERATION_TRAINED, true};
    for (unsigned micro_batches = 1; micro_batches < 3; micro_batches++)
        operation_run(*state, &(operation_case){.name = "steps of a block",
                                                .build = build,
                                                .parameters = &b,
                                                .tolerance = 1e-3,
                                                .steps = 3,
                                                .micro_batches = micro_batches,
                                                .before_run = set_step});
}

/* A frozen block costs nothing but its forward pass. */
static void test_frozen_block(void **state)
{
    static const char *const operations[] = {"layer_norm_parameters",  "layer_scale_gamma",
                                             "patch_embedding_sums",   "patch_embedding_gather",
                                             "linear_weight_gradient", "position_interpolation_backward"};
    block b = {OPERATION_TRAINED, false};
    for (int trained = 1; trained >= 0; trained--) {
        const operation_case test = {.name = "count", .build = build, .parameters = &b};
        b.role = trained ? OPERATION_TRAINED : OPERATION_FROZEN;
        for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
            assert_true((operation_count_nodes(*state, &test, operations[i]) > 0) == (trained > 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_gradient),
        cmocka_unit_test(test_weights_are_packed_after_each_update),
        cmocka_unit_test(test_frozen_block),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
