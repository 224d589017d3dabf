/* What a head reads of the tokens, and its gradient. */
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
    size_t batch, tokens, columns, prefix;
    slad_pool_kind kind;
    bool twice; /* read also as CLS, so that the gradient is added to */
} shape;

static void build(operation_check *check, const void *parameters)
{
    const shape *s = parameters;
    slad_record *record = operation_record(check);
    const slad_tensor *tokens =
        operation_tensor(check, OPERATION_GRADIENT, "tokens", 3, (const size_t[]){s->batch, s->tokens, s->columns},
                         operation_normal(0.2, 1));
    operation_output(check, slad_pool(record, tokens, s->kind, s->prefix), "pooled");
    if (s->twice) operation_output(check, slad_pool(record, tokens, SLAD_POOL_CLS, s->prefix), "cls");
    if (s->twice) operation_output(check, slad_pool(record, tokens, SLAD_POOL_CLS_MEAN, 1), "all");
}

static void run(void **state, shape s)
{
    char name[96];
    snprintf(name, sizeof name, "pool %s of %zu x %zu x %zu prefix %zu", s.kind == SLAD_POOL_CLS ? "cls" : "cls+mean",
             s.batch, s.tokens, s.columns, s.prefix);
    operation_run(*state, &(operation_case){.name = name, .build = build, .parameters = &s, .tolerance = 2e-6});
}

static void test_shapes(void **state)
{
    static const size_t tokens[] = {2, 3, 31, 32, 33, 65, 197, 257};
    static const size_t columns[] = {1, 3, 17, 64, 33, 384, 48, 7};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        run(state, (shape){i % 3 + 1, tokens[i], columns[i], 1, SLAD_POOL_CLS_MEAN, false});
        run(state, (shape){i % 3 + 1, tokens[i], columns[i], 1, SLAD_POOL_CLS, i % 2 == 0});
    }
    run(state, (shape){3, 1, 19, 1, SLAD_POOL_CLS, false});
}

static void test_registers(void **state)
{
    static const size_t patches[] = {1, 2, 31, 32, 33, 65, 197, 257};
    for (size_t i = 0; i < sizeof patches / sizeof *patches; i++)
        run(state, (shape){i % 2 ? 3 : 1, 5 + patches[i], 7 + 2 * i, 5, SLAD_POOL_CLS_MEAN, i % 4 < 2});
    run(state, (shape){3, 21, 40, 5, SLAD_POOL_CLS_MEAN, true});
    run(state, (shape){1, 6, 16, 5, SLAD_POOL_CLS_MEAN, true});
    run(state, (shape){2, 261, 9, 5, SLAD_POOL_CLS, true});
}

/* By hand: two registers whose values must be left out, two patches. */
static void build_known(operation_check *check, const void *parameters)
{
    static const float tokens[] = {1, 2, 90, 91, 92, 93, 3, 5, 7, 9}, pooled[] = {1, 2, 5, 7};
    static const float dpooled[] = {10, 20, 30, 40}, dtokens[] = {10, 20, 0, 0, 0, 0, 15, 20, 15, 20};
    (void)parameters;
    const slad_tensor *given =
        operation_tensor(check, OPERATION_GRADIENT, "tokens", 3, (const size_t[]){1, 5, 2}, operation_given(tokens));
    operation_output_with_gradient(check, slad_pool(operation_record(check), given, SLAD_POOL_CLS_MEAN, 3), "pooled",
                                   operation_given(dpooled));
    operation_expect(check, "pooled", pooled, 1e-7);
    operation_expect(check, "dtokens", dtokens, 1e-7);
}

static void test_known_values(void **state)
{
    operation_run(*state, &(operation_case){.name = "pool by hand", .build = build_known});
}

static void test_kernels_stay_in_their_tensors(void **state)
{
    operation_bench *bench = *state;
    enum { BATCH = 3, TOKENS = 9, COLUMNS = 21, PREFIX = 2, COUNT = BATCH * TOKENS * COLUMNS };
    float tokens[COUNT], dtokens[COUNT] = {0}, pooled[BATCH * 2 * COLUMNS] = {0};
    operation_fill(tokens, COUNT, 1, 0, 1);
    for (size_t k = 0; k < bench->variant_count * 2; k++) {
        const size_t features = k % 2 ? COLUMNS : 2 * COLUMNS;
        bench->device = bench->variants[k / 2];
        operation_argument forward[] = {OPERATION_WRITE(pooled, BATCH * features),
                                        OPERATION_READ(tokens, COUNT),
                                        OPERATION_UINT(BATCH),
                                        OPERATION_UINT(TOKENS),
                                        OPERATION_UINT(COLUMNS),
                                        OPERATION_UINT(PREFIX),
                                        OPERATION_UINT(features)};
        operation_launch(bench, &slad_pool_kernels[0], "", forward, 7,
                         (slad_work){.items = {COLUMNS, BATCH, 1}, .split_axis = 1});
        operation_argument backward[] = {OPERATION_WRITE(dtokens, COUNT), OPERATION_READ(pooled, BATCH * features),
                                         OPERATION_UINT(k % 2),           OPERATION_UINT(BATCH),
                                         OPERATION_UINT(TOKENS),          OPERATION_UINT(COLUMNS),
                                         OPERATION_UINT(PREFIX),          OPERATION_UINT(features)};
        operation_launch(bench, &slad_pool_kernels[1], "", backward, 8,
                         (slad_work){.items = {COLUMNS, TOKENS, BATCH}, .split_axis = 2});
        (void)operation_error(pooled, pooled, BATCH * features); /* finite: nothing was read past an end */
        (void)operation_error(dtokens, dtokens, COUNT);
    }
    bench->device = bench->variants[0];
}

static void build_prefix(operation_check *check, const void *parameters)
{
    const shape *s = parameters;
    const slad_tensor *tokens = operation_tensor(check, OPERATION_INPUT, "tokens", 3, (const size_t[]){1, s->tokens, 4},
                                                 operation_normal(0, 1));
    assert_null(slad_pool(operation_record(check), tokens, s->kind, s->prefix));
}

static void test_mistakes(void **state)
{
    const shape no_cls = {.tokens = 5, .prefix = 0}, no_patches = {.tokens = 5, .prefix = 5};
    operation_expect_failure(*state, &(operation_case){.name = "mistake", .build = build_prefix, .parameters = &no_cls},
                             SLAD_ERROR_INTERNAL, "0 prefix tokens of 5 leave no CLS");
    operation_expect_failure(*state,
                             &(operation_case){.name = "mistake", .build = build_prefix, .parameters = &no_patches},
                             SLAD_ERROR_INTERNAL, "5 prefix tokens of 5 leave no patches");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),       cmocka_unit_test(test_registers),
        cmocka_unit_test(test_known_values), cmocka_unit_test(test_kernels_stay_in_their_tensors),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
