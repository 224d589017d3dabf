/* Softmax attention and its gradient. */
#include "base/memory.h"
#include "operation_check.h"
#include "ops/kernel_table.h"
#include "ops/operations.h"
#include "reference/attention.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct shape {
    size_t batch, tokens, heads, head_dim;
    double deviation; /* of q, k and v; scores have its square */
} shape;

/* attention(qkv), and x + gamma * attention(qkv), so that the gradient of qkv is both written and added to. */
static void build(operation_check *check, const void *parameters)
{
    const shape *s = parameters;
    slad_record *record = operation_record(check);
    const size_t width = s->heads * s->head_dim;
    const slad_tensor *qkv =
        operation_tensor(check, OPERATION_GRADIENT, "qkv", 3, (const size_t[]){s->batch, s->tokens, 3 * width},
                         operation_normal(0, s->deviation));
    const slad_tensor *x = operation_tensor(check, OPERATION_INPUT, "x", 3,
                                            (const size_t[]){s->batch, s->tokens, width}, operation_normal(0, 1));
    const slad_tensor *gamma = operation_tensor(check, OPERATION_FROZEN, "gamma", 1, &width, operation_normal(1, 0.3));
    operation_output(check, slad_attention(record, qkv, s->heads), "out");
    operation_output(check, slad_layer_scale(record, x, slad_attention(record, qkv, s->heads), gamma), "sum");
}

static void run(void **state, shape s, double tolerance, double difference_tolerance)
{
    char name[96];
    snprintf(name, sizeof name, "attention of %zu x %zu tokens, %zu heads of %zu, deviation %g", s.batch, s.tokens,
             s.heads, s.head_dim, s.deviation);
    operation_run(*state, &(operation_case){.name = name,
                                            .build = build,
                                            .parameters = &s,
                                            .tolerance = tolerance,
                                            .difference_tolerance = difference_tolerance});
}

/* "1" in TEST_VARIANTS keeps to a few small shapes and the device's own features, for simulators. */
static bool few(void)
{
    const char *variants = getenv("TEST_VARIANTS");
    return variants && strcmp(variants, "1") == 0;
}

static void test_tokens(void **state)
{
    static const size_t tokens[] = {1, 2, 31, 32, 33, 65, 197, 257};
    for (size_t i = 0; i < (few() ? 2 : sizeof tokens / sizeof *tokens); i++)
        run(state, (shape){i % 3 + 1, tokens[i], i % 2 + 1, 64, 1}, 3e-5, tokens[i] > 65 ? -1 : 1e-3);
}

static void test_head_widths(void **state)
{
    static const size_t widths[] = {8, 24, 80, 256};
    for (size_t i = 0; i < (few() ? 2 : sizeof widths / sizeof *widths); i++)
        run(state, (shape){2, 19, i % 3 + 1, widths[i], 1}, 3e-5, 1e-3);
}

/* Several chunks of keys, the last of them not full; the images of ViT-S/14 at 518 px, and one token more. */
static void test_many_tokens(void **state)
{
    run(state, (shape){1, 300, 1, 8, 1}, 3e-5, -1);
    if (few()) return;
    run(state, (shape){1, 577, 1, 64, 1}, 3e-5, -1);
    run(state, (shape){1, 1370, 1, 64, 1}, 3e-5, -1);
    run(state, (shape){1, 1371, 1, 8, 1}, 1e-4, -1);
}

/* Scores beyond 100, whose exponentials would overflow by themselves. Their rounding errors are what the tolerance
 * allows for. */
static void test_large_scores(void **state)
{
    run(state, (shape){1, 33, 1, 64, 6}, 3e-4, -1);
    if (!few()) run(state, (shape){2, 300, 2, 64, 6}, 3e-4, -1);
}

static void test_small_scores(void **state)
{
    run(state, (shape){2, 9, 2, 64, 1e-3}, 3e-5, -1);
}

/* The kernels by themselves, as some device would drive them: the tiles of CPUs with registers of three widths, those
 * of GPUs, and unlike ones. */
typedef struct kernel_tiles {
    size_t head_dim, lanes, rows, chunk_panels;
} kernel_tiles;
static const kernel_tiles tile_variants[] = {{16, 4, 1, 1},  {8, 4, 5, 2},  {64, 4, 6, 36}, {64, 4, 1, 1},
                                             {64, 8, 6, 18}, {16, 8, 7, 1}, {64, 16, 8, 9}, {32, 16, 8, 1}};

typedef struct attention_case {
    operation_bench *bench;
    kernel_tiles tiles;
    char defines[96];
    slad_attention_sizes sizes;
    size_t qkv_count, out_count, lse_count, panel_count; /* elements */
    float *qkv, *dout, *out, *logsumexp, *dqkv, *left, *right, *statistics;
    float *expected_out, *expected_logsumexp, *expected_dqkv;
    size_t statistics_count;
} attention_case;

static float *make(size_t count, uint32_t stream)
{
    float *values = calloc(count, sizeof *values);
    assert_non_null(values);
    if (stream) operation_fill(values, count, stream, 0, 1);
    return values;
}

static attention_case open_case(operation_bench *bench, const kernel_tiles *tiles, size_t batch, size_t tokens,
                                size_t heads)
{
    attention_case c = {.bench = bench, .tiles = *tiles, .sizes = {batch, tokens, heads, tiles->head_dim}};
    const size_t panel = 2 * tiles->lanes, padded = (tokens + panel - 1) / panel * panel;
    snprintf(c.defines, sizeof c.defines, "-DHEAD_DIM=%zu -DLANES=%zu -DTILE_ROWS=%zu -DCHUNK_PANELS=%zu",
             tiles->head_dim, tiles->lanes, tiles->rows, tiles->chunk_panels);
    c.lse_count = batch * heads * tokens;
    c.out_count = c.lse_count * tiles->head_dim;
    c.qkv_count = 3 * c.out_count;
    c.panel_count = batch * heads * padded * tiles->head_dim;
    c.statistics_count = 2 * batch * heads * padded;
    c.qkv = make(c.qkv_count, 1);
    c.dout = make(c.out_count, 2);
    c.dqkv = make(c.qkv_count, 3);
    c.expected_dqkv = make(c.qkv_count, 3);
    c.out = make(c.out_count, 0);
    c.expected_out = make(c.out_count, 0);
    c.logsumexp = make(c.lse_count, 0);
    c.expected_logsumexp = make(c.lse_count, 0);
    c.left = make(c.panel_count, 0);
    c.right = make(c.panel_count, 0);
    c.statistics = make(c.statistics_count, 0);
    return c;
}

static void close_case(attention_case *c)
{
    float *all[] = {c->qkv,   c->dout,       c->dqkv,      c->expected_dqkv,     c->out, c->expected_out, c->left,
                    c->right, c->statistics, c->logsumexp, c->expected_logsumexp};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static slad_work work_of(const attention_case *c, size_t block)
{
    return (slad_work){.items = {(c->sizes.tokens + block - 1) / block, c->sizes.heads, c->sizes.batch},
                       .split_axis = 0};
}

static void pack(attention_case *c, float *panels, float *source, size_t count, size_t first_column, size_t stride)
{
    operation_argument arguments[] = {OPERATION_WRITE(panels, c->panel_count),
                                      OPERATION_READ(source, count),
                                      OPERATION_UINT(first_column),
                                      OPERATION_UINT(stride),
                                      OPERATION_UINT(c->sizes.tokens),
                                      OPERATION_UINT(c->sizes.heads),
                                      OPERATION_UINT(c->sizes.batch)};
    operation_launch(c->bench, &slad_attention_kernels[0], c->defines, arguments, 7, work_of(c, 2 * c->tiles.lanes));
}

static void run_forward(attention_case *c)
{
    const size_t width = c->sizes.heads * c->sizes.head_dim;
    operation_argument arguments[] = {
        OPERATION_WRITE(c->out, c->out_count), OPERATION_WRITE(c->logsumexp, c->lse_count),
        OPERATION_READ(c->qkv, c->qkv_count),  OPERATION_READ(c->left, c->panel_count),
        OPERATION_UINT(c->sizes.tokens),       OPERATION_UINT(c->sizes.heads),
        OPERATION_UINT(c->sizes.batch),        OPERATION_FLOAT(1 / sqrt((double)c->sizes.head_dim))};
    pack(c, c->left, c->qkv, c->qkv_count, width, 3 * width);
    operation_launch(c->bench, &slad_attention_kernels[1], c->defines, arguments, 8, work_of(c, c->tiles.rows));
}

static void run_gather(attention_case *c, size_t kernel, unsigned accumulate)
{
    operation_argument arguments[] = {OPERATION_WRITE(c->dqkv, c->qkv_count),
                                      OPERATION_READ(c->qkv, c->qkv_count),
                                      OPERATION_READ(c->dout, c->out_count),
                                      OPERATION_READ(c->left, c->panel_count),
                                      OPERATION_READ(c->right, c->panel_count),
                                      OPERATION_READ(c->statistics, c->statistics_count),
                                      OPERATION_UINT(c->sizes.tokens),
                                      OPERATION_UINT(c->sizes.heads),
                                      OPERATION_UINT(c->sizes.batch),
                                      OPERATION_FLOAT(1 / sqrt((double)c->sizes.head_dim)),
                                      OPERATION_UINT(accumulate)};
    operation_launch(c->bench, &slad_attention_kernels[kernel], c->defines, arguments, 11, work_of(c, c->tiles.rows));
}

static void run_backward(attention_case *c, unsigned accumulate)
{
    const size_t width = c->sizes.heads * c->sizes.head_dim;
    operation_argument arguments[] = {OPERATION_WRITE(c->statistics, c->statistics_count),
                                      OPERATION_READ(c->dout, c->out_count),
                                      OPERATION_READ(c->out, c->out_count),
                                      OPERATION_READ(c->logsumexp, c->lse_count),
                                      OPERATION_UINT(c->sizes.tokens),
                                      OPERATION_UINT(c->sizes.heads),
                                      OPERATION_UINT(c->sizes.batch)};
    slad_work work = work_of(c, 1);
    const size_t panel = 2 * c->tiles.lanes;
    work.items[0] = (c->sizes.tokens + panel - 1) / panel * panel;
    operation_launch(c->bench, &slad_attention_kernels[2], c->defines, arguments, 7, work);
    pack(c, c->left, c->qkv, c->qkv_count, width, 3 * width);
    pack(c, c->right, c->qkv, c->qkv_count, 2 * width, 3 * width);
    run_gather(c, 3, accumulate);
    pack(c, c->left, c->qkv, c->qkv_count, 0, 3 * width);
    pack(c, c->right, c->dout, c->out_count, 0, width);
    run_gather(c, 4, accumulate);
}

static void check_against_reference(attention_case *c, bool accumulate)
{
    slad_context *context = c->bench->context;
    run_forward(c);
    run_backward(c, accumulate);
    assert_int_equal(slad_reference_attention(context, c->expected_out, c->expected_logsumexp, c->qkv, &c->sizes),
                     SLAD_OK);
    assert_int_equal(slad_reference_attention_backward(context, c->expected_dqkv, c->dout, c->expected_out,
                                                       c->expected_logsumexp, c->qkv, accumulate, &c->sizes),
                     SLAD_OK);
    assert_true(operation_error(c->out, c->expected_out, c->out_count) < 3e-5);
    assert_true(operation_error(c->logsumexp, c->expected_logsumexp, c->lse_count) < 3e-6);
    assert_true(operation_error(c->dqkv, c->expected_dqkv, c->qkv_count) < 3e-5);
}

/* The choices that the device's vectors can carry; the others work, but take minutes to compile on some. */
static void for_each_tiles(operation_bench *bench, void (*check)(operation_bench *bench, const kernel_tiles *tiles))
{
    for (size_t i = 0; i < (few() ? 2 : sizeof tile_variants / sizeof *tile_variants); i++)
        if (tile_variants[i].lanes <= bench->device->features.vector_width) check(bench, &tile_variants[i]);
}

/* Between sentinels; and once more, for the same bytes. */
static void check_kernels(operation_bench *bench, const kernel_tiles *tiles)
{
    static const size_t tokens[] = {1, 8, 9, 37};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        attention_case c = open_case(bench, tiles, 2, tokens[i], 3), again = open_case(bench, tiles, 2, tokens[i], 3);
        check_against_reference(&c, i % 2);
        run_forward(&again);
        run_backward(&again, i % 2);
        assert_memory_equal(c.out, again.out, c.out_count * sizeof(float));
        assert_memory_equal(c.dqkv, again.dqkv, c.qkv_count * sizeof(float));
        close_case(&c);
        close_case(&again);
    }
}

static void test_kernels_stay_in_their_tensors(void **state)
{
    for_each_tiles(*state, check_kernels);
}

/* How many of a row of a head are NaN. */
static size_t count_nan(const float *rows, const slad_attention_sizes *sizes, size_t stride, size_t block, size_t head,
                        size_t token)
{
    const float *row = rows + token * stride + (block * sizes->heads + head) * sizes->head_dim;
    size_t count = 0;
    for (size_t d = 0; d < sizes->head_dim; d++) count += row[d] != row[d];
    return count;
}

/* One element of block q, k or v of head 1, token 5, becomes NaN, and so does every row that uses it, of no other
 * head. */
static void check_poison(operation_bench *bench, const kernel_tiles *tiles, size_t block)
{
    attention_case c = open_case(bench, tiles, 1, 37, 3);
    const slad_attention_sizes *sizes = &c.sizes;
    const size_t width = sizes->heads * sizes->head_dim;
    c.qkv[5 * 3 * width + block * width + sizes->head_dim + 2] = NAN;
    run_forward(&c);
    run_backward(&c, 0);
    for (size_t t = 0; t < sizes->tokens; t++) {
        for (size_t h = 0; h < sizes->heads; h++) {
            const size_t nan = count_nan(c.out, sizes, width, 0, h, t);
            const bool reached = h == 1 && (block > 0 || t == 5);
            assert_int_equal(nan, !reached ? 0 : block == 2 ? 1 : sizes->head_dim);
            const size_t gradients =
                count_nan(c.dqkv, sizes, 3 * width, 0, h, t) + count_nan(c.dqkv, sizes, 3 * width, 1, h, t);
            assert_true(h == 1 ? gradients > 0 : gradients == 0);
        }
    }
    close_case(&c);
}

static void check_nan(operation_bench *bench, const kernel_tiles *tiles)
{
    for (size_t block = 0; block < 3; block++) check_poison(bench, tiles, block);
}

static void test_nan_is_never_hidden(void **state)
{
    for_each_tiles(*state, check_nan);
}

/* Each image has two keys, one of them far below the other: its weight has a small relative error down to the end of
 * the range, and is 0 from there. */
static void check_small_weights(operation_bench *bench, const kernel_tiles *tiles)
{
    enum { IMAGES = 250 };
    attention_case c = open_case(bench, tiles, IMAGES, 2, 1);
    const size_t width = c.sizes.head_dim;
    memset(c.qkv, 0, c.qkv_count * sizeof *c.qkv);
    for (size_t i = 0; i < IMAGES; i++) {
        float *image = c.qkv + i * 2 * 3 * width, *second = image + 3 * width;
        image[0] = (float)sqrt((double)width); /* the first query, */
        second[width] = -0.37F * (float)i;     /* the second key, whose score this is, */
        second[2 * width] = 1;                 /* and its value: the weight is the result */
    }
    run_forward(&c);
    for (size_t i = 0; i < IMAGES; i++) {
        const double score = (double)(-0.37F * (float)i), weight = exp(score) / (1 + exp(score));
        const float result = c.out[i * 2 * width];
        /* a rounding of the score is as large as score times the unit in the last place */
        if (score > -86) assert_true(fabs((double)result / weight - 1) < 3e-7 * (1 - score));
        if (score < -87) assert_true(result == 0);
    }
    close_case(&c);
}

static void test_small_weights_are_exact(void **state)
{
    for_each_tiles(*state, check_small_weights);
}

typedef struct mistake {
    size_t columns, heads;
    unsigned rank;
    slad_status status;
    const char *part;
} mistake;

static void build_wrong(operation_check *check, const void *parameters)
{
    const mistake *wrong = parameters;
    const slad_tensor *qkv =
        wrong->rank == 0 ? NULL
                         : operation_tensor(check, OPERATION_INPUT, "qkv", wrong->rank,
                                            (const size_t[]){2, wrong->rank == 2 ? wrong->columns : 5, wrong->columns},
                                            operation_normal(0, 1));
    assert_null(slad_attention(operation_record(check), qkv, wrong->heads));
}

static void test_mistakes(void **state)
{
    static const mistake mistakes[] = {
        {192, 0, 3, SLAD_ERROR_DATA, "qkv [2, 5, 192] cannot be parted into q, k and v of 0 heads"},
        {200, 1, 3, SLAD_ERROR_DATA, "must be a multiple of its number of heads"},
        {192, 5, 3, SLAD_ERROR_DATA, "of 5 heads each"},
        {72, 2, 3, SLAD_ERROR_DATA, "heads of 12 elements, but only multiples of 8 up to 256"},
        {792, 1, 3, SLAD_ERROR_DATA, "heads of 264 elements"},
        {192, 1, 2, SLAD_ERROR_INTERNAL, "must have 3 sizes"},
        {192, 1, 0, SLAD_ERROR_INTERNAL, "attention was not given all its inputs"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        operation_expect_failure(*state,
                                 &(operation_case){.name = "mistake", .build = build_wrong, .parameters = &mistakes[i]},
                                 mistakes[i].status, mistakes[i].part);
}

/* Nothing is computed for a qkv that needs no gradient. */
static void build_frozen_below(operation_check *check, const void *parameters)
{
    const size_t columns = 16;
    const operation_values values = operation_normal(0, 1);
    (void)parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *qkv = operation_tensor(check, OPERATION_INPUT, "qkv", 3, (const size_t[]){2, 3, 48}, values);
    const slad_tensor *x = operation_tensor(check, OPERATION_GRADIENT, "x", 3, (const size_t[]){2, 3, 16}, values);
    const slad_tensor *gamma = operation_tensor(check, OPERATION_FROZEN, "gamma", 1, &columns, values);
    operation_output(check, slad_layer_scale(record, x, slad_attention(record, qkv, 2), gamma), "y");
}

static void test_no_gradient_below_what_is_trained(void **state)
{
    const operation_case test = {.name = "frozen below", .build = build_frozen_below};
    assert_int_equal(operation_count_nodes(*state, &test, "attention"), 1);
    assert_int_equal(operation_count_nodes(*state, &test, "attention_backward"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_head_widths),
        cmocka_unit_test(test_many_tokens),
        cmocka_unit_test(test_large_scores),
        cmocka_unit_test(test_small_scores),
        cmocka_unit_test(test_kernels_stay_in_their_tensors),
        cmocka_unit_test(test_nan_is_never_hidden),
        cmocka_unit_test(test_small_weights_are_exact),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_no_gradient_below_what_is_trained),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
