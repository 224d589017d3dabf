/* The linear layer: forward, and every gradient. Its adapters in all their forms stand in test_linear_adapters.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "operation_check.h"
#include "ops/kernel_table.h"
#include "ops/linear_internal.h"
#include <stdio.h>
#include <string.h>

typedef struct layer {
    size_t images, rows, in, out; /* x is [images, rows, in], or [rows, in] with images 0 */
    size_t rank, blocks;          /* rank 0: no adapter */
    operation_role x, weight, lora_a, lora_b, bias;
    bool has_bias;
} layer;

/* x in a three-dimensional batch, frozen weight and bias, a trained adapter in q, k, v blocks. */
static layer adapted(size_t rows, size_t in, size_t out, size_t rank)
{
    return (layer){0,
                   rows,
                   in,
                   out,
                   rank,
                   3,
                   OPERATION_GRADIENT,
                   OPERATION_FROZEN,
                   OPERATION_TRAINED,
                   OPERATION_TRAINED,
                   OPERATION_FROZEN,
                   true};
}

static layer head(size_t rows, size_t in, size_t classes)
{
    return (layer){.rows = rows,
                   .in = in,
                   .out = classes,
                   .x = OPERATION_GRADIENT,
                   .weight = OPERATION_TRAINED_HEAD,
                   .bias = OPERATION_TRAINED_HEAD,
                   .has_bias = true};
}

static void build(operation_check *check, const void *parameters)
{
    const layer *sizes = parameters;
    const size_t flat[] = {sizes->rows, sizes->in}, batch[] = {sizes->images, sizes->rows, sizes->in};
    const slad_tensor *x = operation_tensor(check, sizes->x, "x", sizes->images ? 3 : 2, sizes->images ? batch : flat,
                                            operation_normal(0.1, 1));
    slad_weight weight = {.weight =
                              operation_tensor(check, sizes->weight, "weight", 2,
                                               (const size_t[]){sizes->out, sizes->in}, operation_normal(0, 0.2))};
    if (sizes->rank) {
        weight.adapter_count = 1;
        weight.adapters[0] = (slad_adapter){
            .lora_a = operation_tensor(check, sizes->lora_a, "A", 2, (const size_t[]){sizes->rank, sizes->in},
                                       operation_normal(0, 0.3)),
            .lora_b = operation_tensor(check, sizes->lora_b, "B", 3,
                                       (const size_t[]){sizes->blocks, sizes->out / sizes->blocks, sizes->rank},
                                       operation_normal(0, 0.3)),
            .scale = 0.75};
    }
    const slad_tensor *bias =
        sizes->has_bias ? operation_tensor(check, sizes->bias, "bias", 1, &sizes->out, operation_normal(0, 1)) : NULL;
    operation_output(check, slad_linear(operation_record(check), x, &weight, bias), "y");
}

static void run(void **state, layer sizes)
{
    char name[96];
    (void)snprintf(name, sizeof name, "linear %zu x %zu -> %zu, rank %zu", sizes.rows, sizes.in, sizes.out, sizes.rank);
    operation_run(*state, &(operation_case){.name = name, .build = build, .parameters = &sizes});
}

static void adapters_of_every_row_count(void **state)
{
    static const size_t rows[] = {1, 2, 31, 32, 33, 65, 197, 257, 300};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) run(state, adapted(rows[i], 50, 66, 8));
}

static void adapters_of_every_rank(void **state)
{
    static const size_t ranks[] = {1, 4, 5, 8, 16, 17, 64};
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) run(state, adapted(67, 48, 96, ranks[i]));
}

static void adapters_of_every_width(void **state)
{
    static const size_t widths[][2] = {{1, 3}, {3, 9}, {15, 21}, {17, 48}, {130, 33}, {384, 36}, {20, 345}};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) run(state, adapted(37, widths[i][0], widths[i][1], 5));
}

static void more_rows_than_chunks(void **state)
{
    /* 64 chunks of more than 256 rows, the last one short */
    run(state, adapted(16651, 5, 6, 2));
    run(state, head(16651, 3, 2));
}

static void batch_of_images(void **state)
{
    layer sizes = adapted(65, 24, 36, 4);
    sizes.images = 3;
    run(state, sizes);
}

static void adapter_in_one_block(void **state)
{
    layer sizes = adapted(33, 40, 35, 4);
    sizes.blocks = 1;
    sizes.has_bias = false;
    run(state, sizes);
}

static void one_factor_frozen(void **state)
{
    layer sizes = adapted(35, 20, 36, 4);
    sizes.lora_a = OPERATION_FROZEN;
    run(state, sizes);
    sizes.lora_a = OPERATION_TRAINED;
    sizes.lora_b = OPERATION_FROZEN;
    run(state, sizes);
}

static void adapter_on_a_trained_weight(void **state)
{
    layer sizes = adapted(41, 22, 33, 3);
    sizes.weight = OPERATION_TRAINED;
    sizes.bias = OPERATION_TRAINED_HEAD;
    run(state, sizes);
}

static void heads(void **state)
{
    static const size_t classes[] = {1, 2, 10, 200, 1001};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) run(state, head(7, 96, classes[i]));
    run(state, head(1, 33, 10));
    run(state, head(1030, 40, 10));
    const operation_bench *bench = *state;
    if (bench->variant_count == 1) return;
    run(state, head(65, 1100, 1001)); /* one chunk: W is large; a simulator takes many minutes */
}

static void only_weight_or_only_bias_trained(void **state)
{
    layer sizes = head(19, 30, 11);
    sizes.bias = OPERATION_FROZEN;
    run(state, sizes);
    sizes.bias = OPERATION_TRAINED_HEAD;
    sizes.weight = OPERATION_FROZEN;
    run(state, sizes);
}

/* One input read by two layers: the second rule to run adds to its gradient. */
static void build_two_readers(operation_check *check, const void *parameters)
{
    (void)parameters;
    const slad_tensor *x =
        operation_tensor(check, OPERATION_GRADIENT, "x", 2, (const size_t[]){34, 20}, operation_normal(0, 1));
    for (int i = 0; i < 2; i++) {
        const slad_weight weight = {.weight = operation_tensor(check, OPERATION_FROZEN, i ? "second" : "first", 2,
                                                               (const size_t[]){18, 20}, operation_normal(0, 0.3))};
        operation_output(check, slad_linear(operation_record(check), x, &weight, NULL), i ? "y2" : "y1");
    }
}

static void input_gradient_accumulates(void **state)
{
    operation_run(*state, &(operation_case){.name = "two readers", .build = build_two_readers});
}

/* ---- what is not recorded ---- */

static size_t count(void **state, layer sizes, const char *operation)
{
    const operation_case test = {.name = "count", .build = build, .parameters = &sizes};
    return operation_count_nodes(*state, &test, operation);
}

static void nothing_more_than_needed(void **state)
{
    layer sizes = adapted(4, 6, 9, 2);
    assert_int_equal(count(state, sizes, "linear_input_gradient"), 1);
    assert_int_equal(count(state, sizes, "linear_adapter_gradient"), 1);
    assert_int_equal(count(state, sizes, "linear_weight_gradient"), 0);
    sizes.x = OPERATION_INPUT; /* the lowest trained layer */
    assert_int_equal(count(state, sizes, "linear_input_gradient"), 0);
    assert_int_equal(count(state, sizes, "linear_adapter_gradient"), 1);
    sizes.lora_a = sizes.lora_b = OPERATION_FROZEN;
    assert_int_equal(count(state, sizes, "linear_adapter_gradient"), 0);
}

/* ---- kernels between sentinels ---- */

static float values[6][4096];
static int32_t integers[] = {1, 2, 3, 4, 0, 1};

static void kernels_stay_inside(void **state)
{
    enum { ROWS = 11, DEPTH = 13, RANK = 3, PADDED = 16, COLUMNS = 21, CHUNK = 8, CHUNKS = 2 };
    operation_bench *bench = *state;
    for (uint32_t i = 0; i < 6; i++) operation_fill(values[i], 4096, i, 0, 1);
    for (size_t v = 0; v < bench->variant_count; v++) {
        bench->device = bench->variants[v];
        const slad_features *features = &bench->device->features;
        /* A [RANK, DEPTH] */
        operation_argument pack[] = {OPERATION_WRITE(values[0], DEPTH * PADDED),
                                     OPERATION_READ(values[1], RANK * DEPTH),
                                     OPERATION_FLOAT(2.0),
                                     OPERATION_UINT(RANK),
                                     OPERATION_UINT(PADDED),
                                     OPERATION_UINT(DEPTH),
                                     OPERATION_UINT(1),
                                     OPERATION_UINT(DEPTH),
                                     OPERATION_UINT(1),
                                     OPERATION_UINT(0),
                                     OPERATION_UINT(1),
                                     OPERATION_UINT(PADDED)};
        operation_launch(bench, &slad_linear_kernels[SLAD_LINEAR_PACK_FACTOR], "", pack, 12,
                         (slad_work){.items = {PADDED, DEPTH, 1}, .split_axis = -1});
        assert_float_equal(values[0][5 * PADDED + 2], 2 * values[1][2 * DEPTH + 5], 1e-6);
        assert_float_equal(values[0][5 * PADDED + 3], 0, 0);

        operation_argument project[] = {OPERATION_WRITE(values[2], ROWS * PADDED),
                                        OPERATION_READ(values[3], ROWS * DEPTH),
                                        OPERATION_READ(values[0], DEPTH * PADDED),
                                        OPERATION_UINT(ROWS),
                                        OPERATION_UINT(DEPTH),
                                        OPERATION_UINT(DEPTH),
                                        OPERATION_UINT(PADDED),
                                        OPERATION_UINT(4)};
        operation_launch(
            bench, &slad_linear_kernels[SLAD_LINEAR_PROJECT], "", project, 8,
            (slad_work){.items = {features->row_lanes, 3, features->vector_width == 16 ? 1 : 2}, .split_axis = 1});

        operation_argument outer[] = {OPERATION_WRITE(values[4], CHUNKS * RANK * COLUMNS),
                                      OPERATION_READ(values[2], ROWS * PADDED),
                                      OPERATION_READ(values[3], ROWS * COLUMNS),
                                      OPERATION_UINT(ROWS),
                                      OPERATION_UINT(RANK),
                                      OPERATION_UINT(PADDED),
                                      OPERATION_UINT(COLUMNS),
                                      OPERATION_UINT(COLUMNS),
                                      OPERATION_UINT(CHUNK),
                                      OPERATION_UINT(2)};
        operation_launch(bench, &slad_linear_kernels[SLAD_LINEAR_OUTER], "", outer, 10,
                         (slad_work){.items = {4, 1, CHUNKS}, .split_axis = 2});

        operation_argument sums[] = {OPERATION_WRITE(values[5], CHUNKS * COLUMNS),
                                     OPERATION_READ(values[3], ROWS * COLUMNS), OPERATION_UINT(ROWS),
                                     OPERATION_UINT(COLUMNS), OPERATION_UINT(CHUNK)};
        operation_launch(bench, &slad_linear_kernels[SLAD_LINEAR_COLUMN_SUMS], "", sums, 5,
                         (slad_work){.items = {COLUMNS, CHUNKS}, .split_axis = 1});

        /* three blocks of seven columns to [block, n, j] */
        operation_argument reduce[] = {OPERATION_WRITE(values[1], COLUMNS * RANK),
                                       OPERATION_READ(values[4], CHUNKS * RANK * COLUMNS),
                                       OPERATION_UINT(CHUNKS),
                                       OPERATION_UINT(RANK),
                                       OPERATION_UINT(RANK),
                                       OPERATION_UINT(7),
                                       OPERATION_UINT(3),
                                       OPERATION_UINT(1),
                                       OPERATION_UINT(RANK),
                                       OPERATION_UINT(7 * RANK)};
        operation_launch(bench, &slad_linear_kernels[SLAD_LINEAR_REDUCE], "", reduce, 10,
                         (slad_work){.items = {7, RANK, 3}, .split_axis = 1});

        /* drop(x) of two images, the second cut short; then both expansions of ranks to columns */
        const size_t vectors = (COLUMNS + features->vector_width - 1) / features->vector_width;
        operation_argument drop[] = {OPERATION_WRITE(values[4], ROWS * COLUMNS),
                                     OPERATION_READ(values[3], ROWS * COLUMNS),
                                     OPERATION_READ(integers, 4),
                                     OPERATION_READ(integers + 4, 2),
                                     OPERATION_UINT(ROWS),
                                     OPERATION_UINT(COLUMNS),
                                     OPERATION_UINT(6),
                                     OPERATION_UINT(3),
                                     OPERATION_UINT(1u << 30),
                                     OPERATION_FLOAT(2.0)};
        operation_launch(bench, &slad_linear_kernels[SLAD_LINEAR_DROP], "", drop, 10,
                         (slad_work){.items = {vectors, ROWS}, .split_axis = 1});
        operation_argument expand[] = {OPERATION_WRITE(values[5], (ROWS - 1) * (COLUMNS + 4) + COLUMNS),
                                       OPERATION_READ(values[2], ROWS * PADDED),
                                       OPERATION_READ(values[3], RANK * COLUMNS),
                                       OPERATION_UINT(ROWS),
                                       OPERATION_UINT(RANK),
                                       OPERATION_UINT(PADDED),
                                       OPERATION_UINT(COLUMNS),
                                       OPERATION_UINT(COLUMNS),
                                       OPERATION_UINT(COLUMNS + 4)};
        operation_launch(bench, &slad_linear_kernels[SLAD_LINEAR_EXPAND], "", expand, 9,
                         (slad_work){.items = {vectors, 3}, .split_axis = 1});
        operation_argument expand_dropped[] = {OPERATION_WRITE(values[5], ROWS * COLUMNS),
                                               OPERATION_READ(values[2], ROWS * PADDED),
                                               OPERATION_READ(values[3], RANK * COLUMNS),
                                               OPERATION_READ(integers, 4),
                                               OPERATION_READ(integers + 4, 2),
                                               OPERATION_UINT(ROWS),
                                               OPERATION_UINT(RANK),
                                               OPERATION_UINT(PADDED),
                                               OPERATION_UINT(COLUMNS),
                                               OPERATION_UINT(COLUMNS),
                                               OPERATION_UINT(6),
                                               OPERATION_UINT(3),
                                               OPERATION_UINT(1u << 30),
                                               OPERATION_FLOAT(2.0)};
        operation_launch(bench, &slad_linear_kernels[SLAD_LINEAR_EXPAND_DROPPED], "", expand_dropped, 14,
                         (slad_work){.items = {vectors, 3}, .split_axis = 1});
    }
    bench->device = bench->variants[0];
}

/* No element of a strided gradient's neighbours is touched: what the view leaves out keeps its value. */
static void view_leaves_the_rest_alone(void **state)
{
    operation_bench *bench = *state;
    enum { RANK = 3, WIDE = 9, NARROW = 5, ROWS = 6, OUT = 4 };
    static float x[ROWS * NARROW], dy[ROWS * OUT], lora_a[RANK * WIDE], lora_b[OUT * RANK], da[RANK * WIDE];
    operation_fill(x, ROWS * NARROW, 1, 0, 1);
    operation_fill(dy, ROWS * OUT, 2, 0, 1);
    operation_fill(lora_a, RANK * WIDE, 3, 0, 1);
    operation_fill(lora_b, OUT * RANK, 4, 0, 1);
    for (size_t i = 0; i < RANK * WIDE; i++) da[i] = 7;
    const slad_reference_adapter adapter = {.lora_a = lora_a,
                                            .lora_b = lora_b,
                                            .rank = RANK,
                                            .a_stride = WIDE,
                                            .blocks = 1,
                                            .block_rows = OUT,
                                            .b_block_stride = OUT * RANK,
                                            .b_row_stride = RANK,
                                            .scale = 1.0};
    const slad_reference_layer sizes = {.rows = ROWS, .out = OUT, .in = NARROW};
    assert_int_equal(slad_reference_linear_adapter_gradient(bench->context, da, NULL, x, dy, &adapter, &sizes),
                     SLAD_OK);
    for (size_t j = 0; j < RANK; j++) {
        assert_float_not_equal(da[j * WIDE], 7, 0);
        for (size_t k = NARROW; k < WIDE; k++) assert_float_equal(da[j * WIDE + k], 7, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_of_every_row_count),
        cmocka_unit_test(adapters_of_every_rank),
        cmocka_unit_test(adapters_of_every_width),
        cmocka_unit_test(more_rows_than_chunks),
        cmocka_unit_test(batch_of_images),
        cmocka_unit_test(adapter_in_one_block),
        cmocka_unit_test(one_factor_frozen),
        cmocka_unit_test(adapter_on_a_trained_weight),
        cmocka_unit_test(heads),
        cmocka_unit_test(only_weight_or_only_bias_trained),
        cmocka_unit_test(input_gradient_accumulates),
        cmocka_unit_test(nothing_more_than_needed),
        cmocka_unit_test(kernels_stay_inside),
        cmocka_unit_test(view_leaves_the_rest_alone),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
