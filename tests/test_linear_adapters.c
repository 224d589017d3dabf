/* Adapters of a linear layer in every form: shared views, several of them with rows of their own, dropout, and what is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "graph/executor.h"
#include "operation_check.h"
#include "ops/linear_internal.h"
#include <stdio.h>
#include <string.h>

/* ---- sharing ---- */

typedef struct shared_layer {
    size_t rows, teacher_width, student_width, rank;
    bool naive;
} shared_layer;

/* A layer of width `width` whose adapter is the given one or a view of it. */
static void add_layer(operation_check *check, const char *prefix, size_t rows, size_t width, slad_adapter adapter)
{
    char x_name[32], weight_name[32], y_name[32];
    (void)snprintf(x_name, sizeof x_name, "%s_x", prefix);
    (void)snprintf(weight_name, sizeof weight_name, "%s_weight", prefix);
    (void)snprintf(y_name, sizeof y_name, "%s_y", prefix);
    const slad_tensor *x =
        operation_tensor(check, OPERATION_GRADIENT, x_name, 2, (const size_t[]){rows, width}, operation_normal(0, 1));
    const slad_weight weight = {.weight =
                                    operation_tensor(check, OPERATION_FROZEN, weight_name, 2,
                                                     (const size_t[]){3 * width, width}, operation_normal(0, 0.2)),
                                .adapters = {adapter},
                                .adapter_count = 1};
    operation_output(check, slad_linear(operation_record(check), x, &weight, NULL), y_name);
}

/* Teacher and student with one adapter: the student's is the leading part of each block (method: T1), or, naive, of all
 * of B (T2). */
static void build_shared(operation_check *check, const void *parameters)
{
    const shared_layer *sizes = parameters;
    const size_t wide = sizes->teacher_width, narrow = sizes->student_width, rank = sizes->rank;
    slad_record *record = operation_record(check);
    const slad_tensor *lora_a =
        operation_tensor(check, OPERATION_TRAINED, "A", 2, (const size_t[]){rank, wide}, operation_normal(0, 0.3));
    const slad_tensor *lora_b =
        operation_tensor(check, OPERATION_TRAINED, "B", 3, (const size_t[]){3, wide, rank}, operation_normal(0, 0.3));
    const slad_tensor *student_a =
        slad_record_view(record, lora_a, 0, 2, (const size_t[]){rank, narrow}, (const size_t[]){wide, 1});
    const slad_tensor *student_b =
        slad_record_view(record, lora_b, 0, 3, (const size_t[]){3, narrow, rank},
                         (const size_t[]){sizes->naive ? narrow * rank : wide * rank, rank, 1});
    add_layer(check, "teacher", sizes->rows, wide, (slad_adapter){.lora_a = lora_a, .lora_b = lora_b, .scale = 0.5});
    add_layer(check, "student", sizes->rows, narrow,
              (slad_adapter){.lora_a = student_a, .lora_b = student_b, .scale = 1.5});
}

static void shared_adapter(void **state)
{
    static const shared_layer sizes[] = {
        {33, 48, 24, 4, false}, {65, 37, 19, 5, false}, {2, 32, 32, 16, false}, {31, 48, 24, 4, true}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        operation_run(*state,
                      &(operation_case){.name = "shared adapter", .build = build_shared, .parameters = &sizes[i]});
}

/* ---- several adapters ---- */

typedef struct adapter_window {
    size_t first_row, blocks, block_rows, rank; /* rank 0: no more */
    unsigned frozen;                            /* FROZEN_A, FROZEN_B */
} adapter_window;

enum { FROZEN_A = 1, FROZEN_B = 2, FROZEN = FROZEN_A | FROZEN_B };

typedef struct many_adapters {
    size_t rows, in, out;
    adapter_window windows[SLAD_MAX_ADAPTERS];
} many_adapters;

/* Each pair a view of a wider one: A the leading columns, B the leading rows of each block and its leading ranks. */
static slad_adapter windowed_adapter(operation_check *check, const adapter_window *window, size_t in, unsigned index)
{
    char a_name[8], b_name[8];
    slad_record *record = operation_record(check);
    const size_t rank = window->rank, rows = window->block_rows, wide = in + 3, tall = rows + 2, deep = rank + index;
    (void)snprintf(a_name, sizeof a_name, "A%u", index);
    (void)snprintf(b_name, sizeof b_name, "B%u", index);
    const slad_tensor *lora_a =
        operation_tensor(check, window->frozen & FROZEN_A ? OPERATION_FROZEN : OPERATION_TRAINED, a_name, 2,
                         (const size_t[]){rank, wide}, operation_normal(0, 0.3));
    const slad_tensor *lora_b =
        operation_tensor(check, window->frozen & FROZEN_B ? OPERATION_FROZEN : OPERATION_TRAINED, b_name, 3,
                         (const size_t[]){window->blocks, tall, deep}, operation_normal(0, 0.3));
    return (slad_adapter){
        .lora_a = slad_record_view(record, lora_a, 0, 2, (const size_t[]){rank, in}, (const size_t[]){wide, 1}),
        .lora_b = slad_record_view(record, lora_b, 0, 3, (const size_t[]){window->blocks, rows, rank},
                                   (const size_t[]){tall * deep, deep, 1}),
        .scale = 0.5 + index,
        .first_row = window->first_row,
    };
}

static void build_many(operation_check *check, const void *parameters)
{
    const many_adapters *sizes = parameters;
    const slad_tensor *x = operation_tensor(check, OPERATION_GRADIENT, "x", 2, (const size_t[]){sizes->rows, sizes->in},
                                            operation_normal(0.1, 1));
    slad_weight weight = {.weight =
                              operation_tensor(check, OPERATION_FROZEN, "weight", 2,
                                               (const size_t[]){sizes->out, sizes->in}, operation_normal(0, 0.2))};
    while (weight.adapter_count < SLAD_MAX_ADAPTERS && sizes->windows[weight.adapter_count].rank > 0) {
        const unsigned i = weight.adapter_count++;
        weight.adapters[i] = windowed_adapter(check, &sizes->windows[i], sizes->in, i);
    }
    operation_output(check, slad_linear(operation_record(check), x, &weight, NULL), "y");
}

static void several_adapters(void **state)
{
    static const many_adapters cases[] = {
        /* q, k, v apart */
        {33, 20, 36, {{0, 1, 12, 4, 0}, {12, 1, 12, 4, 0}, {24, 1, 12, 4, 0}}},
        /* the same with a private adapter each */
        {65,
         17,
         33,
         {{0, 1, 11, 4, 0},
          {0, 1, 11, 1, 0},
          {11, 1, 11, 4, 0},
          {11, 1, 11, 2, 0},
          {22, 1, 11, 4, 0},
          {22, 1, 11, 17, 0}}},
        /* one of all rows and a private one; v only; a middle part */
        {31, 24, 48, {{0, 3, 16, 8, 0}, {0, 3, 16, 3, 0}}},
        {2, 19, 30, {{20, 1, 10, 5, 0}}},
        {197, 9, 40, {{7, 2, 9, 3, 0}, {39, 1, 1, 1, 0}}},
        /* frozen beside trained, half frozen, none trained */
        {35, 20, 30, {{0, 1, 10, 4, FROZEN}, {10, 1, 10, 4, 0}, {20, 1, 10, 4, FROZEN_A}, {0, 3, 10, 2, FROZEN_B}}},
        {35, 20, 30, {{0, 3, 10, 4, FROZEN}, {0, 3, 10, 2, FROZEN}}},
        {1, 5, 3, {{0, 3, 1, 1, 0}, {1, 1, 1, 2, 0}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[96];
        (void)snprintf(name, sizeof name, "several adapters, case %zu, %zu x %zu -> %zu", i, cases[i].rows, cases[i].in,
                       cases[i].out);
        operation_run(*state, &(operation_case){.name = name, .build = build_many, .parameters = &cases[i]});
    }
}

/* ---- dropout ---- */

typedef struct dropped_layer {
    size_t images, tokens, in; /* tokens 0: x is [images, in] */
    double rate;
    bool frozen;
    adapter_window windows[SLAD_MAX_ADAPTERS];
    uint32_t streams[SLAD_MAX_ADAPTERS];
} dropped_layer;

enum { DROPPED_OUT = 21 };

static slad_dropout integer_inputs(operation_check *check, double rate, size_t images)
{
    return (slad_dropout){
        .rate = rate,
        .key = operation_integers(check, "key", 1, (const size_t[]){4}, INT32_MAX, NULL),
        .samples = operation_integers(check, "samples", 1, &images, 1000, NULL),
    };
}

/* Two layers read x, so that the second rule adds to its gradient. */
static void build_dropped(operation_check *check, const void *parameters)
{
    const dropped_layer *sizes = parameters;
    const size_t batch[] = {sizes->images, sizes->tokens, sizes->in}, flat[] = {sizes->images, sizes->in};
    const slad_tensor *x = operation_tensor(check, OPERATION_GRADIENT, "x", sizes->tokens ? 3 : 2,
                                            sizes->tokens ? batch : flat, operation_normal(0.1, 1));
    slad_weight weight = {.weight =
                              operation_tensor(check, sizes->frozen ? OPERATION_FROZEN : OPERATION_TRAINED, "weight", 2,
                                               (const size_t[]){DROPPED_OUT, sizes->in}, operation_normal(0, 0.2)),
                          .dropout = integer_inputs(check, sizes->rate, sizes->images)};
    while (weight.adapter_count < SLAD_MAX_ADAPTERS && sizes->windows[weight.adapter_count].rank > 0) {
        const unsigned i = weight.adapter_count++;
        weight.adapters[i] = windowed_adapter(check, &sizes->windows[i], sizes->in, i);
        weight.adapters[i].stream = sizes->streams[i];
    }
    operation_output(check, slad_linear(operation_record(check), x, &weight, NULL), "y");
    for (unsigned i = 0; i < weight.adapter_count; i++) weight.adapters[i].stream += 100;
    operation_output(check, slad_linear(operation_record(check), x, &weight, NULL), "z");
}

static void dropout(void **state)
{
    static const dropped_layer cases[] = {
        {2, 33, 20, 0.1, true, {{0, 3, 7, 4, 0}}, {3}},
        {1, 1, 1, 0.5, true, {{0, 1, 21, 1, 0}}, {0}},
        {3, 0, 31, 0.25, true, {{0, 3, 7, 17, 0}}, {65435}},
        {1, 65, 33, 0.9, true, {{0, 1, 7, 4, 0}, {7, 1, 7, 4, 0}, {14, 1, 7, 4, 0}}, {1, 2, 3}},
        {5, 17, 32, 0.05, true, {{0, 3, 7, 8, 0}, {0, 3, 7, 3, 0}, {20, 1, 1, 2, FROZEN}}, {6, 6, 7}},
        {2, 2, 13, 0.3, false, {{0, 3, 7, 2, FROZEN_A}, {1, 2, 9, 5, FROZEN_B}}, {1, 0}},
        {1, 257, 40, 0.1, true, {{0, 3, 7, 16, FROZEN}}, {9}},
        {1, 31, 65, 0.1, true, {{3, 2, 9, 33, 0}}, {9}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[96];
        (void)snprintf(name, sizeof name, "dropout, case %zu: %zu x %zu x %zu", i, cases[i].images, cases[i].tokens,
                       cases[i].in);
        operation_run(*state, &(operation_case){.name = name, .build = build_dropped, .parameters = &cases[i]});
    }
}

/* Masks: about the rate of zeros, what is kept is scaled, and neither step nor stream nor image has another's mask. */
static void masks_are_independent(void **state)
{
    enum { IN = 1000, KINDS = 5 };
    static float ones[IN];
    static double dropped[KINDS][IN];
    const int32_t samples[] = {3, 4};
    static const struct {
        int32_t key[4];
        uint32_t stream;
        size_t row;
    } kinds[KINDS] = {
        {{1, 2, 3, 0}, 5, 1}, {{1, 2, 3, 0}, 6, 1}, {{1, 2, 4, 0}, 5, 1}, {{1, 2, 3, 1}, 5, 1}, {{1, 2, 3, 0}, 5, 3}};
    (void)state;
    for (size_t k = 0; k < IN; k++) ones[k] = 1;
    for (size_t kind = 0; kind < KINDS; kind++) {
        const slad_reference_dropout site = {.rate = 0.2, .key = kinds[kind].key, .samples = samples, .tokens = 2};
        size_t zeros = 0, equal = 0;
        slad_reference_drop_row(dropped[kind], ones, &site, kinds[kind].stream, kinds[kind].row, IN);
        for (size_t k = 0; k < IN; k++) {
            assert_true(dropped[kind][k] == 0 || dropped[kind][k] == 1.25);
            zeros += dropped[kind][k] == 0;
            equal += dropped[kind][k] == dropped[0][k];
        }
        assert_in_range(zeros, 160, 240);
        if (kind > 0) assert_in_range(equal, 620, 740); /* 0.8^2 + 0.2^2 = 0.68 of them by chance */
    }
}

typedef struct split_batch {
    slad_store *store;
    slad_record *record;
    slad_executor *executor;
    const slad_tensor *x, *dy, *samples, *key, *lora_a, *lora_b, *y, *dx;
    size_t images;
} split_batch;

enum { SPLIT_IMAGES = 4, SPLIT_TOKENS = 5, SPLIT_IN = 18, SPLIT_OUT = 9, SPLIT_RANK = 3 };
enum { SPLIT_ROW = SPLIT_TOKENS * SPLIT_IN, SPLIT_RESULT = SPLIT_TOKENS * SPLIT_OUT };

static slad_status fill_split(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    (void)context;
    (void)user;
    operation_fill(destination, elements, (uint32_t)index, 0, 0.3);
    return SLAD_OK;
}

/* A layer with dropout for micro-batches of `images`; the key is a state tensor, as in training. */
static void open_split(split_batch *split, operation_bench *bench, size_t images)
{
    const slad_executor_options options = {.gemm_provider = SLAD_GEMM_REGISTER_TILE, .skip_self_test = true};
    const size_t words = 4, batch[] = {images, SPLIT_TOKENS, SPLIT_IN};
    slad_weight weight = {.adapter_count = 1, .dropout = {.rate = 0.4}};
    *split = (split_batch){.images = images};
    assert_int_equal(slad_store_create(bench->context, &split->store, 100000), SLAD_OK);
    assert_int_equal(slad_record_create(bench->context, &split->record, split->store, "dropout"), SLAD_OK);
    assert_int_equal(slad_store_frozen(split->store, &weight.weight, "weight", SLAD_F32, 2,
                                       (const size_t[]){SPLIT_OUT, SPLIT_IN}, fill_split, NULL, 1),
                     SLAD_OK);
    assert_int_equal(slad_store_trained(split->store, &split->lora_a, "A", 2, (const size_t[]){SPLIT_RANK, SPLIT_IN}, 0,
                                        true, fill_split, NULL, 2),
                     SLAD_OK);
    assert_int_equal(slad_store_trained(split->store, &split->lora_b, "B", 3,
                                        (const size_t[]){3, SPLIT_OUT / 3, SPLIT_RANK}, 0, true, fill_split, NULL, 3),
                     SLAD_OK);
    assert_int_equal(slad_store_state(split->store, &split->key, "key", SLAD_I32, 1, &words), SLAD_OK);
    split->x = slad_record_input(split->record, "x", SLAD_F32, 3, batch, 0);
    slad_record_require_gradient(split->record, split->x);
    split->samples = slad_record_input(split->record, "samples", SLAD_I32, 1, &images, INT32_MAX);
    weight.adapters[0] = (slad_adapter){.lora_a = split->lora_a, .lora_b = split->lora_b, .scale = 2, .stream = 77};
    weight.dropout.key = split->key;
    weight.dropout.samples = split->samples;
    split->y = slad_linear(split->record, split->x, &weight, NULL);
    split->dy =
        slad_record_input(split->record, "dy", SLAD_F32, 3, (const size_t[]){images, SPLIT_TOKENS, SPLIT_OUT}, 0);
    slad_record_output(split->record, split->y, "y");
    slad_gradient_pass(split->record, split->y, split->dy);
    assert_int_equal(slad_record_differentiate(split->record), SLAD_OK);
    split->dx = slad_gradient_of(split->record, split->x);
    slad_record_output(split->record, split->dx, "dx");
    assert_int_equal(
        slad_executor_create_opencl(bench->context, &split->executor, split->store, bench->device, &options), SLAD_OK);
    assert_int_equal(slad_executor_add(split->executor, split->record), SLAD_OK);
    assert_int_equal(slad_executor_allocate(split->executor), SLAD_OK);
}

typedef struct split_results {
    float y[SPLIT_IMAGES * SPLIT_RESULT], dx[SPLIT_IMAGES * SPLIT_ROW];
    float da[SPLIT_RANK * SPLIT_IN], db[SPLIT_OUT * SPLIT_RANK];
} split_results;

/* A whole batch in micro-batches. */
static void run_split(split_results *results, operation_bench *bench, size_t images, int32_t step)
{
    static float x[SPLIT_IMAGES * SPLIT_ROW], dy[SPLIT_IMAGES * SPLIT_RESULT];
    const int32_t samples[SPLIT_IMAGES] = {0, 1, 2, 3}, key[] = {11, 12, step, 0};
    split_batch split;
    open_split(&split, bench, images);
    operation_fill(x, SPLIT_IMAGES * SPLIT_ROW, 5, 0, 1);
    operation_fill(dy, SPLIT_IMAGES * SPLIT_RESULT, 6, 0, 1);
    slad_executor *executor = split.executor;
    assert_int_equal(slad_executor_write(executor, NULL, split.key, key), SLAD_OK);
    for (size_t first = 0; first < SPLIT_IMAGES; first += images) {
        assert_int_equal(slad_executor_write(executor, split.record, split.x, x + first * SPLIT_ROW), SLAD_OK);
        assert_int_equal(slad_executor_write(executor, split.record, split.dy, dy + first * SPLIT_RESULT), SLAD_OK);
        assert_int_equal(slad_executor_write(executor, split.record, split.samples, samples + first), SLAD_OK);
        assert_int_equal(slad_executor_run(executor, split.record, SLAD_PHASE_MICRO_BATCH), SLAD_OK);
        assert_int_equal(slad_executor_read(executor, split.record, split.y, results->y + first * SPLIT_RESULT),
                         SLAD_OK);
        assert_int_equal(slad_executor_read(executor, split.record, split.dx, results->dx + first * SPLIT_ROW),
                         SLAD_OK);
    }
    assert_int_equal(slad_executor_read_slab(executor, split.lora_a, SLAD_SLAB_GRADIENT, results->da), SLAD_OK);
    assert_int_equal(slad_executor_read_slab(executor, split.lora_b, SLAD_SLAB_GRADIENT, results->db), SLAD_OK);
    slad_executor_free(executor);
    slad_record_free(split.record);
    slad_store_free(split.store);
}

static void micro_batches_do_not_change_masks(void **state)
{
    static split_results whole, halves, again, later;
    run_split(&whole, *state, SPLIT_IMAGES, 8);
    run_split(&halves, *state, SPLIT_IMAGES / 2, 8);
    run_split(&again, *state, SPLIT_IMAGES, 8);
    run_split(&later, *state, SPLIT_IMAGES, 9);
    assert_memory_equal(&whole, &again, sizeof whole);
    assert_true(operation_error(halves.y, whole.y, sizeof whole.y / sizeof(float)) < 1e-6);
    assert_true(operation_error(halves.dx, whole.dx, sizeof whole.dx / sizeof(float)) < 1e-6);
    assert_true(operation_error(halves.da, whole.da, sizeof whole.da / sizeof(float)) < 1e-6);
    assert_true(operation_error(halves.db, whole.db, sizeof whole.db / sizeof(float)) < 1e-6);
    assert_true(operation_error(later.y, whole.y, sizeof whole.y / sizeof(float)) > 1e-2);
}

/* ---- what is refused ---- */

static void build_misfit(operation_check *check, const void *parameters)
{
    const int kind = *(const int *)parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *x = operation_tensor(check, OPERATION_INPUT, "x", 2, (const size_t[]){3, kind == 0 ? 5 : 4},
                                            operation_normal(0, 1));
    slad_weight weight = {.weight = operation_tensor(check, kind == 1 ? OPERATION_INPUT : OPERATION_FROZEN, "weight", 2,
                                                     (const size_t[]){6, 4}, operation_normal(0, 1))};
    const slad_tensor *bias = operation_tensor(check, OPERATION_FROZEN, "bias", 1, (const size_t[]){kind == 2 ? 5 : 6},
                                               operation_normal(0, 1));
    weight.adapter_count = 1;
    weight.adapters[0].lora_a = operation_tensor(check, OPERATION_TRAINED, "A", 2,
                                                 (const size_t[]){kind == 3 ? 3 : 2, 4}, operation_normal(0, 1));
    weight.adapters[0].lora_b =
        operation_tensor(check, OPERATION_TRAINED, "B", 3, (const size_t[]){3, 2, 2}, operation_normal(0, 1));
    if (kind == 4) x = slad_record_view(record, x, 0, 2, (const size_t[]){3, 4}, (const size_t[]){1, 1});
    if (kind == 5) x = NULL;
    if (kind == 6) weight.adapters[0].lora_b = NULL;
    if (kind == 7)
        weight.adapters[0].lora_a =
            slad_record_view(record, weight.adapters[0].lora_a, 0, 2, (const size_t[]){2, 4}, (const size_t[]){1, 2});
    if (kind == 8) weight.adapters[0].first_row = 1;
    if (kind == 9) weight.adapter_count = SLAD_MAX_ADAPTERS + 1;
    if (kind >= 10) weight.dropout = integer_inputs(check, kind == 10 ? 1.0 : 0.5, kind == 11 ? 4 : 3);
    if (kind == 12) weight.dropout.key = x;
    if (kind == 13) weight.adapters[0].stream = SLAD_DROPOUT_STREAMS;
    assert_null(slad_linear(record, x, &weight, bias));
}

static void misfits_are_named(void **state)
{
    static const char *const parts[] = {"input x [3, 5] does not fit weight weight [6, 4]",
                                        "must lie in the store",
                                        "bias bias does not fit",
                                        "adapter A [3, 4], B [3, 2, 2]",
                                        "must be contiguous",
                                        "no input",
                                        "incomplete",
                                        "unit stride",
                                        "from row 1 does not fit",
                                        "weight weight has 7 adapters, more than 6",
                                        "dropout 1 of the adapters of weight is not below 1",
                                        "the sample of each of the 3 images",
                                        "key of four integers",
                                        "no stream 65536"};
    for (int kind = 0; kind < 14; kind++) {
        const operation_case test = {.name = "misfit", .build = build_misfit, .parameters = &kind};
        operation_expect_failure(*state, &test, SLAD_ERROR_INTERNAL, parts[kind]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_adapter),
        cmocka_unit_test(several_adapters),
        cmocka_unit_test(dropout),
        cmocka_unit_test(masks_are_independent),
        cmocka_unit_test(micro_batches_do_not_change_masks),
        cmocka_unit_test(misfits_are_named),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
