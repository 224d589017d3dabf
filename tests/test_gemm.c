/* The GEMM interface with both providers against plain C: shapes, strides, packing, merging, refusals. */
#include "cl_fixture.h"

#include "base/random.h"
#include "gemm/gemm.h"
#include "reference/gemm.h"
#include <math.h>

enum { GUARD = 37, OFFSET = 3 };

/* What no computation here gives; it stands around each output and between its rows. */
static const float sentinel = -0x1.2345p99f;

/* An adapter of some rows of the weight. */
typedef struct gemm_window {
    size_t first_row, rows, rank, blocks;
} gemm_window;

enum { WINDOWS = 5 };

typedef struct gemm_case {
    size_t rows, columns, depth;
    size_t a_gap, c_gap; /* elements between rows */
    bool bias, accumulate, transposed;
    size_t rank, blocks;          /* of the adapter; rank 0: none */
    gemm_window windows[WINDOWS]; /* more adapters, until one has rank 0 */
} gemm_case;

typedef struct gemm_bench {
    cl_fixture fixture;
    slad_device *device;
    slad_gemm *gemm;
    cl_mem scratch;
    uint64_t scratch_bytes;
    slad_random random;
} gemm_bench;

static void open_gemm(gemm_bench *bench, slad_gemm_provider provider)
{
    assert_int_equal(slad_gemm_create(bench->device, &bench->gemm, provider), SLAD_OK);
    print_message("%s on %s\n", slad_gemm_description(bench->gemm), bench->device->info.name);
}

static void start(gemm_bench *bench)
{
    memset(bench, 0, sizeof *bench);
    cl_fixture_start(&bench->fixture);
    bench->random = slad_random_start(7, SLAD_RANDOM_VERIFY, 1, 2);
    bench->device = cl_fixture_open(&bench->fixture, NULL);
}

static void end(gemm_bench *bench)
{
    slad_buffer_free(bench->device, bench->scratch, bench->scratch_bytes);
    slad_gemm_free(bench->gemm);
    assert_int_equal(bench->device->allocated, 0);
    slad_device_free(bench->device);
    cl_fixture_end(&bench->fixture);
}

/* "1" in TEST_VARIANTS keeps to a few shapes and the device's own features, for simulators. */
static bool few(void)
{
    const char *variants = getenv("TEST_VARIANTS");
    return variants && strcmp(variants, "1") == 0;
}

static float *allocate(size_t count)
{
    float *values = malloc(count * sizeof *values);
    assert_non_null(values);
    return values;
}

/* count random values in [-1, 1). */
static float *make_random(gemm_bench *bench, size_t count)
{
    float *values = allocate(count);
    for (size_t i = 0; i < count; i++) values[i] = 2.0f * slad_random_uniform(&bench->random) - 1.0f;
    return values;
}

/* A buffer that holds `before` elements of NaN, the values, and as many NaN again. */
static cl_mem upload(const gemm_bench *bench, const float *values, size_t count, size_t before)
{
    cl_mem buffer = NULL;
    float *all = allocate(count + 2 * before);
    for (size_t i = 0; i < count + 2 * before; i++) all[i] = NAN;
    memcpy(all + before, values, count * sizeof *values);
    const uint64_t bytes = (count + 2 * before) * sizeof *all;
    assert_int_equal(slad_buffer_create(bench->device, &buffer, bytes, "test"), SLAD_OK);
    assert_int_equal(slad_buffer_write(bench->device, buffer, 0, all, bytes), SLAD_OK);
    free(all);
    return buffer;
}

static void drop(const gemm_bench *bench, cl_mem buffer)
{
    size_t bytes = 0;
    assert_int_equal(clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof bytes, &bytes, NULL), CL_SUCCESS);
    slad_buffer_free(bench->device, buffer, bytes);
}

static float *download(const gemm_bench *bench, cl_mem buffer, size_t count)
{
    float *values = allocate(count);
    assert_int_equal(slad_buffer_read(bench->device, values, buffer, 0, count * sizeof *values), SLAD_OK);
    return values;
}

static void assert_sentinel(float value, const char *where, size_t index, const gemm_case *test)
{
    if (value == sentinel) return;
    fail_msg("%s: element %zu was overwritten by %g (%zu x %zu x %zu)", where, index, (double)value, test->rows,
             test->columns, test->depth);
}

/* Fails unless |value - wanted| is small beside the size of a sum of `depth` products of numbers in [-1, 1). */
static void assert_near(float value, float wanted, const char *what, size_t row, size_t column, const gemm_case *test)
{
    const double signal = sqrt((double)test->depth) / 3.0;
    const double error = fabs((double)value - (double)wanted) / signal;
    if (error <= 1e-6 * (4.0 + sqrt((double)test->depth))) return;
    fail_msg("%s[%zu, %zu] is %g, wanted %g (%zu x %zu x %zu, bias %d, accumulate %d, transposed %d, rank %zu)", what,
             row, column, (double)value, (double)wanted, test->rows, test->columns, test->depth, test->bias,
             test->accumulate, test->transposed, test->rank);
}

/* An adapter whose tensors are views: A the leading columns of a wider tensor, B the leading rows of each of `blocks`
 * blocks and the leading columns of those; what is not of the view is NaN. */
typedef struct adapter_view {
    float *a, *b;
    size_t a_count, b_count;
    slad_reference_adapter reference;
} adapter_view;

static adapter_view make_adapter(gemm_bench *bench, const gemm_window *window, size_t in)
{
    adapter_view view = {0};
    const size_t block_rows = window->rows / window->blocks;
    const size_t a_stride = in + 5, b_row_stride = window->rank + 2, b_block_stride = (block_rows + 3) * b_row_stride;
    view.a_count = window->rank * a_stride;
    view.b_count = window->blocks * b_block_stride;
    view.a = allocate(view.a_count);
    view.b = allocate(view.b_count);
    for (size_t i = 0; i < view.a_count; i++) {
        view.a[i] = i % a_stride < in ? 2.0f * slad_random_uniform(&bench->random) - 1.0f : NAN;
    }
    for (size_t i = 0; i < view.b_count; i++) {
        const bool inside = i % b_block_stride / b_row_stride < block_rows && i % b_row_stride < window->rank;
        view.b[i] = inside ? 2.0f * slad_random_uniform(&bench->random) - 1.0f : NAN;
    }
    view.reference = (slad_reference_adapter){.lora_a = view.a,
                                              .lora_b = view.b,
                                              .rank = window->rank,
                                              .a_stride = a_stride,
                                              .blocks = window->blocks,
                                              .first_row = window->first_row,
                                              .block_rows = block_rows,
                                              .b_block_stride = b_block_stride,
                                              .b_row_stride = b_row_stride,
                                              .scale = 0.25};
    return view;
}

/* Compares the packed buffer with the merged weight, element by element, with the zeros that fill the last panel. */
static void check_packed(const gemm_bench *bench, cl_mem packed, const slad_gemm_layout *layout, const float *merged,
                         const gemm_case *test)
{
    float *all = download(bench, packed, layout->elements + 2 * GUARD);
    for (size_t i = 0; i < GUARD; i++) {
        assert_sentinel(all[i], "before the packed weight", i, test);
        assert_sentinel(all[GUARD + layout->elements + i], "behind the packed weight", i, test);
    }
    for (size_t i = 0; i < layout->elements; i++) {
        const size_t panel = i / (layout->panel * layout->depth), k = i / layout->panel % layout->depth;
        const size_t n = panel * layout->panel + i % layout->panel;
        float wanted = 0.0f;
        if (n < layout->columns)
            wanted = test->transposed ? merged[k * test->columns + n] : merged[n * test->depth + k];
        if (n >= layout->columns || (test->rank == 0 && test->windows[0].rank == 0)) {
            assert_true(all[GUARD + i] == wanted);
        } else {
            assert_near(all[GUARD + i], wanted, "packed", k, n, test);
        }
    }
    free(all);
}

static cl_mem upload_sentinels(const gemm_bench *bench, size_t count)
{
    float *values = allocate(count);
    for (size_t i = 0; i < count; i++) values[i] = sentinel;
    cl_mem buffer = upload(bench, values, count, 0);
    free(values);
    return buffer;
}

/* Merges the adapter into the oracle and hands it to the device. */
static slad_gemm_adapter use_adapter(gemm_bench *bench, float *merged, const gemm_window *window, size_t out, size_t in)
{
    adapter_view view = make_adapter(bench, window, in);
    const slad_reference_adapter *reference = &view.reference;
    slad_reference_merge(merged, merged, reference, out, in);
    const slad_gemm_adapter adapter = {.lora_a = {upload(bench, view.a, view.a_count, OFFSET), OFFSET},
                                       .lora_b = {upload(bench, view.b, view.b_count, OFFSET), OFFSET},
                                       .rank = reference->rank,
                                       .a_stride = reference->a_stride,
                                       .blocks = reference->blocks,
                                       .block_rows = reference->block_rows,
                                       .b_block_stride = reference->b_block_stride,
                                       .b_row_stride = reference->b_row_stride,
                                       .first_row = reference->first_row,
                                       .scale = (float)reference->scale};
    free(view.a);
    free(view.b);
    return adapter;
}

/* Packs the weight (merged with the case's adapters) at offset GUARD and checks it; *merged is its oracle [out, in]. */
static cl_mem pack_and_check(gemm_bench *bench, float **merged, const gemm_case *test)
{
    const size_t out = test->transposed ? test->depth : test->columns;
    const size_t in = test->transposed ? test->columns : test->depth;
    const slad_gemm_layout layout = slad_gemm_get_layout(bench->gemm, test->columns, test->depth);
    const gemm_window whole = {.rows = out, .rank = test->rank, .blocks = test->blocks};
    slad_gemm_packing packing;
    slad_gemm_adapter adapters[1 + WINDOWS];
    unsigned count = 0;
    *merged = make_random(bench, out * in);
    cl_mem weight_buffer = upload(bench, *merged, out * in, OFFSET);
    cl_mem packed = upload_sentinels(bench, layout.elements + 2 * GUARD);
    if (test->rank > 0) adapters[count++] = use_adapter(bench, *merged, &whole, out, in);
    for (size_t i = 0; i < WINDOWS && test->windows[i].rank > 0; i++)
        adapters[count++] = use_adapter(bench, *merged, &test->windows[i], out, in);
    assert_int_equal(slad_gemm_bind_pack(bench->gemm, &packing, (slad_gemm_operand){packed, GUARD}, &layout,
                                         (slad_gemm_operand){weight_buffer, OFFSET}, out, in, test->transposed,
                                         adapters, count),
                     SLAD_OK);
    assert_int_equal(slad_gemm_enqueue_pack(&packing), SLAD_OK);
    assert_int_equal(slad_device_finish(bench->device), SLAD_OK);
    slad_gemm_packing_free(&packing);
    check_packed(bench, packed, &layout, *merged, test);
    drop(bench, weight_buffer);
    for (unsigned i = 0; i < count; i++) {
        drop(bench, adapters[i].lora_a.buffer);
        drop(bench, adapters[i].lora_b.buffer);
    }
    return packed;
}

/* The caller's part of scratch memory: grown to what the problem asks for. */
static void provide_scratch(gemm_bench *bench, const slad_gemm_problem *problem)
{
    uint64_t bytes = 0;
    assert_int_equal(slad_gemm_scratch_bytes(bench->gemm, &bytes, problem), SLAD_OK);
    if (bytes > bench->scratch_bytes) {
        slad_buffer_free(bench->device, bench->scratch, bench->scratch_bytes);
        assert_int_equal(slad_buffer_create(bench->device, &bench->scratch, bytes, "scratch"), SLAD_OK);
        bench->scratch_bytes = bytes;
    }
    slad_gemm_set_scratch(bench->gemm, bench->scratch, bench->scratch_bytes);
}

/* c before: random where it is added to, else NaN; sentinels around and between the rows. */
static float *make_result(gemm_bench *bench, const slad_gemm_problem *problem)
{
    const size_t count = problem->rows * problem->c_stride + 2 * GUARD;
    float *c = allocate(count);
    for (size_t i = 0; i < count; i++) c[i] = sentinel;
    for (size_t i = 0; i < problem->rows * problem->c_stride; i++) {
        if (i % problem->c_stride >= problem->columns) continue;
        c[GUARD + i] = problem->accumulate ? 2.0f * slad_random_uniform(&bench->random) - 1.0f : NAN;
    }
    return c;
}

static void check_result(const float *c, const float *wanted, const slad_gemm_problem *problem, const gemm_case *test)
{
    for (size_t i = 0; i < problem->rows * problem->c_stride + 2 * GUARD; i++) {
        const size_t row = (i - GUARD) / problem->c_stride, column = (i - GUARD) % problem->c_stride;
        if (i >= GUARD && row < problem->rows && column < problem->columns) {
            assert_near(c[i], wanted[i], "c", row, column, test);
        } else {
            assert_sentinel(c[i], "around c", i, test);
        }
    }
}

static void run_case(gemm_bench *bench, const gemm_case *test)
{
    const slad_gemm_problem problem = {.rows = test->rows,
                                       .columns = test->columns,
                                       .depth = test->depth,
                                       .a_stride = test->depth + test->a_gap,
                                       .c_stride = test->columns + test->c_gap,
                                       .bias = test->bias,
                                       .accumulate = test->accumulate};
    float *merged = NULL;
    cl_mem packed = pack_and_check(bench, &merged, test);
    float *a = make_random(bench, problem.rows * problem.a_stride);
    for (size_t i = 0; i < problem.rows * problem.a_stride; i++) {
        if (i % problem.a_stride >= problem.depth) a[i] = NAN;
    }
    float *bias = make_random(bench, problem.columns);
    float *wanted = make_result(bench, &problem);
    const size_t c_count = problem.rows * problem.c_stride + 2 * GUARD;
    cl_mem a_buffer = upload(bench, a, problem.rows * problem.a_stride, OFFSET);
    cl_mem bias_buffer = upload(bench, bias, problem.columns, OFFSET);
    cl_mem c_buffer = upload(bench, wanted, c_count, 0);
    const slad_reference_product sizes = {.rows = problem.rows,
                                          .columns = problem.columns,
                                          .depth = problem.depth,
                                          .a_stride = problem.a_stride,
                                          .c_stride = problem.c_stride,
                                          .b_row_stride = test->transposed ? problem.columns : 1,
                                          .b_column_stride = test->transposed ? 1 : problem.depth,
                                          .accumulate = problem.accumulate};
    slad_reference_gemm(wanted + GUARD, a, merged, problem.bias ? bias : NULL, &sizes);

    provide_scratch(bench, &problem);
    slad_gemm_call call;
    assert_int_equal(slad_gemm_bind(bench->gemm, &call, (slad_gemm_operand){c_buffer, GUARD},
                                    (slad_gemm_operand){a_buffer, OFFSET}, (slad_gemm_operand){packed, GUARD},
                                    problem.bias ? (slad_gemm_operand){bias_buffer, OFFSET} : (slad_gemm_operand){0},
                                    &problem),
                     SLAD_OK);
    assert_int_equal(slad_gemm_enqueue(&call), SLAD_OK);
    assert_int_equal(slad_device_finish(bench->device), SLAD_OK);
    float *c = download(bench, c_buffer, c_count);
    check_result(c, wanted, &problem, test);
    slad_gemm_call_free(&call);
    cl_mem buffers[] = {packed, a_buffer, bias_buffer, c_buffer};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) drop(bench, buffers[i]);
    free(merged);
    free(a);
    free(bias);
    free(wanted);
    free(c);
}

/* Case number i of a run: every switch takes each value beside each value of the others. */
static gemm_case make_case(size_t rows, size_t columns, size_t depth, size_t i)
{
    gemm_case test = {.rows = rows,
                      .columns = columns,
                      .depth = depth,
                      .a_gap = i % 3 == 1 ? 2 : 0,
                      .c_gap = i % 5 == 2 ? 7 : 0,
                      .bias = i % 2 == 1,
                      .accumulate = i / 2 % 2 == 1,
                      .transposed = i / 4 % 2 == 1,
                      .rank = i % 7 == 3   ? 3
                              : i % 7 == 5 ? 1
                                           : 0,
                      .blocks = 1};
    if ((test.transposed ? depth : columns) % 3 == 0) test.blocks = 3;
    return test;
}

static const size_t boundaries[] = {1, 2, 7, 8, 9, 31, 32, 33, 64, 65};
enum { SIZE_COUNT = sizeof boundaries / sizeof boundaries[0] };

/* Every pair of boundary sizes in two dimensions, the third walking through them too. */
static void run_boundary_shapes(gemm_bench *bench)
{
    size_t i = 0;
    for (size_t x = 0; x < SIZE_COUNT; x++) {
        for (size_t y = 0; y < SIZE_COUNT; y++, i++) {
            if (few() && i % 11 != 4) continue;
            const size_t third = boundaries[(3 * x + 7 * y) % SIZE_COUNT];
            const gemm_case by_third[] = {make_case(boundaries[x], boundaries[y], third, i),
                                          make_case(boundaries[x], third, boundaries[y], i + 3),
                                          make_case(third, boundaries[x], boundaries[y], i + 6)};
            for (size_t c = 0; c < (few() ? 1 : 3); c++) run_case(bench, &by_third[(c + i) % 3]);
        }
    }
}

/* Shapes of real models, cut in rows: heads, odd widths, all switches. */
static void run_model_shapes(gemm_bench *bench)
{
    const gemm_case cases[] = {
        {.rows = 32, .columns = 10, .depth = 384, .bias = true},
        {.rows = 17, .columns = 1000, .depth = 128, .bias = true, .c_gap = 3},
        {.rows = 257, .columns = 576, .depth = 192, .rank = 16, .blocks = 3, .bias = true},
        {.rows = 257, .columns = 192, .depth = 576, .rank = 16, .blocks = 3, .transposed = true, .accumulate = true},
        {.rows = 130, .columns = 72, .depth = 1536, .a_gap = 1, .bias = true, .accumulate = true},
    };
    for (size_t i = 0; i < (few() ? 1 : sizeof cases / sizeof cases[0]); i++) run_case(bench, &cases[i]);
}

/* Adapters of q, k and v, in any order, with gaps between them, and upon one another. */
static void run_several_adapters(gemm_bench *bench)
{
    static const gemm_window windows[][WINDOWS] = {
        {{0, 24, 3, 1}, {24, 24, 5, 1}, {48, 24, 2, 1}},
        {{48, 24, 3, 1}, {0, 24, 1, 1}, {24, 24, 16, 2}, {0, 72, 2, 3}, {24, 24, 4, 1}},
        {{5, 7, 3, 7}, {20, 33, 2, 3}, {71, 1, 2, 1}},
        {{1, 70, 2, 2}, {0, 1, 1, 1}, {3, 9, 2, 1}, {3, 9, 2, 3}},
    };
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        for (int transposed = 0; transposed < 2; transposed++) {
            gemm_case test = {.rows = 9, .columns = 72, .depth = 37, .transposed = transposed, .bias = true};
            if (transposed) test.columns = 37, test.depth = 72;
            if (i == 2) test.rank = 6, test.blocks = 3;
            memcpy(test.windows, windows[i], sizeof windows[i]);
            run_case(bench, &test);
        }
    }
}

static void test_register_tile(void **state)
{
    gemm_bench bench;
    (void)state;
    start(&bench);
    open_gemm(&bench, SLAD_GEMM_REGISTER_TILE);
    run_boundary_shapes(&bench);
    run_model_shapes(&bench);
    run_several_adapters(&bench);
    end(&bench);
}

/* The ways in which other classes of devices are driven, on this one. */
static void test_register_tile_variants(void **state)
{
    static const struct {
        unsigned vector_width, block_group_size;
        bool has_fma;
    } variants[] = {{4, 64, true}, {4, 1, true}, {8, 1, false}, {16, 1, true}, {4, 8, false}};
    (void)state;
    if (few()) skip();
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        gemm_bench bench;
        start(&bench);
        slad_features *features = &bench.device->features;
        features->vector_width = variants[i].vector_width;
        features->block_group_size = variants[i].block_group_size;
        features->has_fma = features->has_fma && variants[i].has_fma;
        open_gemm(&bench, SLAD_GEMM_REGISTER_TILE);
        if (i == 0) run_boundary_shapes(&bench);
        run_model_shapes(&bench);
        run_several_adapters(&bench);
        end(&bench);
    }
}

static void test_clblast(void **state)
{
    gemm_bench bench;
    (void)state;
    start(&bench);
    if (few() || bench.device->info.max_work_group < SLAD_GEMM_CLBLAST_LEAST_GROUP) {
        end(&bench);
        skip();
    }
    open_gemm(&bench, SLAD_GEMM_CLBLAST);
    run_boundary_shapes(&bench);
    run_model_shapes(&bench);
    run_several_adapters(&bench);
    end(&bench);
}

static void test_auto_follows_the_device(void **state)
{
    gemm_bench bench;
    (void)state;
    start(&bench);
    for (int use_clblast = 0; use_clblast < 2; use_clblast++) {
        bench.device->features.use_clblast = use_clblast == 1;
        slad_gemm_free(bench.gemm);
        open_gemm(&bench, SLAD_GEMM_AUTO);
        const bool can = bench.device->info.max_work_group >= SLAD_GEMM_CLBLAST_LEAST_GROUP;
        const char *wanted = use_clblast == 1 && can ? "CLBlast" : "register-tile";
        assert_memory_equal(slad_gemm_description(bench.gemm), wanted, strlen(wanted));
    }
    end(&bench);
}

static const slad_gemm_problem odd_problem = {.rows = 71, .columns = 45, .depth = 66, .a_stride = 67, .c_stride = 48};

static void test_refusals(void **state)
{
    gemm_bench bench;
    slad_gemm_call call;
    slad_gemm_packing packing;
    (void)state;
    start(&bench);
    open_gemm(&bench, SLAD_GEMM_REGISTER_TILE);
    float *values = make_random(&bench, 64);
    const slad_gemm_operand small = {upload(&bench, values, 64, 0), 0};
    slad_gemm_problem problem = {.rows = 2, .columns = 2, .depth = 2, .a_stride = 1, .c_stride = 2};
    assert_int_equal(slad_gemm_bind(bench.gemm, &call, small, small, small, small, &problem), SLAD_ERROR_INTERNAL);
    problem.a_stride = 2;
    problem.rows = 33; /* the result would end behind its buffer */
    assert_int_equal(slad_gemm_bind(bench.gemm, &call, small, small, small, small, &problem), SLAD_ERROR_INTERNAL);
    problem.rows = 0;
    uint64_t bytes = 1;
    assert_int_equal(slad_gemm_scratch_bytes(bench.gemm, &bytes, &problem), SLAD_ERROR_INTERNAL);
    const slad_gemm_layout layout = slad_gemm_get_layout(bench.gemm, 4, 2);
    assert_int_equal(slad_gemm_bind_pack(bench.gemm, &packing, small, &layout, small, 2, 4, false, NULL, 0),
                     SLAD_ERROR_INTERNAL);
    slad_gemm_adapter adapter = {
        .lora_a = small, .lora_b = small, .rank = 2, .a_stride = 2, .blocks = 3, .block_rows = 2, .b_row_stride = 2};
    assert_int_equal(slad_gemm_bind_pack(bench.gemm, &packing, small, &layout, small, 4, 2, false, &adapter, 1),
                     SLAD_ERROR_INTERNAL);
    drop(&bench, small.buffer);
    free(values);
    end(&bench);
}

static void test_clblast_refuses_small_scratch(void **state)
{
    gemm_bench bench;
    slad_gemm_call call;
    uint64_t bytes = 0;
    (void)state;
    if (few()) skip();
    start(&bench);
    open_gemm(&bench, SLAD_GEMM_CLBLAST);
    assert_int_equal(slad_gemm_scratch_bytes(bench.gemm, &bytes, &odd_problem), SLAD_OK);
    float *values = make_random(&bench, 71 * 67);
    const slad_gemm_operand operand = {upload(&bench, values, 71 * 67, 0), 0};
    const slad_status status = slad_gemm_bind(bench.gemm, &call, operand, operand, operand, operand, &odd_problem);
    assert_int_equal(status, bytes > 0 ? SLAD_ERROR_INTERNAL : SLAD_OK);
    slad_gemm_call_free(&call);
    drop(&bench, operand.buffer);
    free(values);
    end(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_register_tile), cmocka_unit_test(test_register_tile_variants),
        cmocka_unit_test(test_clblast),       cmocka_unit_test(test_auto_follows_the_device),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_clblast_refuses_small_scratch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
