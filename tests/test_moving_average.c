/* The moving average of trained values, and its exchange with them: on the reference executor and on the device in all
 * variants, against the recursion in double. */
#include "graph/executor.h"
#include "operation_check.h"
#include "ops/kernel_table.h"
#include "ops/operations.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Three tensors in two slabs. */
enum { TENSOR_COUNT = 3, MOST = 1001, SLAB_LIMIT = 1024, IN = 5, OUT = 7, ROWS = 3 };
static const size_t rows_of[TENSOR_COUNT] = {OUT, 1, 13}, columns_of[TENSOR_COUNT] = {IN, 3, 77};

typedef struct session {
    operation_bench *bench;
    slad_store *store;
    slad_record *step, *exchange;
    slad_executor *executor;
    const slad_tensor *trained[TENSOR_COUNT], *step_values, *report, *x, *y;
    float values[TENSOR_COUNT][MOST];
    double averages[TENSOR_COUNT][MOST]; /* as they should be */
} session;

static void require(const session *s, slad_status status)
{
    if (status != SLAD_OK) fail_msg("%s", slad_context_message(s->bench->context));
}

static size_t elements_of(size_t i)
{
    return rows_of[i] * columns_of[i];
}

/* One record with the average and a linear layer of the first tensor, one with the exchange. */
static void make_records(session *s)
{
    static const char *const names[TENSOR_COUNT] = {"weight", "bias", "large"};
    slad_context *context = s->bench->context;
    const size_t steps = SLAD_STEP_VALUES, reported = SLAD_REPORT;
    require(s, slad_store_create(context, &s->store, SLAB_LIMIT));
    require(s, slad_store_keep_averages(s->store));
    for (size_t i = 0; i < TENSOR_COUNT; i++)
        require(s, slad_store_trained(s->store, &s->trained[i], names[i], 2,
                                      (const size_t[]){rows_of[i], columns_of[i]}, 0, true, NULL, NULL, 0));
    require(s, slad_store_state(s->store, &s->step_values, "step_values", SLAD_F32, 1, &steps));
    require(s, slad_store_state(s->store, &s->report, "report", SLAD_F32, 1, &reported));
    require(s, slad_record_create(context, &s->step, s->store, "step"));
    s->x = slad_record_input(s->step, "x", SLAD_F32, 2, (const size_t[]){ROWS, IN}, 0);
    s->y = slad_linear(s->step, s->x, &(slad_weight){.weight = s->trained[0]}, NULL);
    slad_record_output(s->step, s->y, "y");
    require(s, slad_moving_average(s->step, s->step_values, s->report));
    require(s, slad_record_create(context, &s->exchange, s->store, "exchange"));
    require(s, slad_moving_average_exchange(s->exchange));
}

/* device NULL: the reference executor. */
static session *session_open(operation_bench *bench, slad_device *device)
{
    const slad_executor_options options = {.skip_self_test = true};
    session *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->bench = bench;
    make_records(s);
    if (device)
        require(s, slad_executor_create_opencl(bench->context, &s->executor, s->store, device, &options));
    else
        require(s, slad_executor_create_reference(bench->context, &s->executor, s->store));
    require(s, slad_executor_add(s->executor, s->step));
    require(s, slad_executor_add(s->executor, s->exchange));
    require(s, slad_executor_allocate(s->executor));
    return s;
}

static void session_close(session *s)
{
    slad_executor_free(s->executor);
    slad_record_free(s->step);
    slad_record_free(s->exchange);
    slad_store_free(s->store);
    free(s);
}

static void on_all(void **state, void (*body)(session *))
{
    operation_bench *bench = *state;
    for (size_t v = 0; v <= bench->variant_count; v++) {
        session *s = session_open(bench, v == 0 ? NULL : bench->variants[v - 1]);
        body(s);
        session_close(s);
    }
}

static void set_values(session *s, uint32_t stream)
{
    for (size_t i = 0; i < TENSOR_COUNT; i++) {
        operation_fill(s->values[i], elements_of(i), 10 * stream + (uint32_t)i, 1, 2);
        require(s, slad_executor_write(s->executor, NULL, s->trained[i], s->values[i]));
    }
}

/* What stands behind the optimizer of a step: the average alone, with the values of that step. */
static void update(session *s, double share, bool skipped)
{
    float steps[SLAD_STEP_VALUES] = {0}, report[SLAD_REPORT] = {0};
    steps[SLAD_STEP_AVERAGE] = (float)share;
    report[SLAD_REPORT_SKIPPED] = skipped ? 1 : 0;
    require(s, slad_executor_write(s->executor, NULL, s->step_values, steps));
    require(s, slad_executor_write(s->executor, NULL, s->report, report));
    require(s, slad_executor_run(s->executor, s->step, SLAD_PHASE_STEP));
    for (size_t i = 0; i < TENSOR_COUNT && !skipped; i++)
        for (size_t k = 0; k < elements_of(i); k++)
            s->averages[i][k] += share * ((double)s->values[i][k] - s->averages[i][k]);
}

static float read_back[MOST], expected[MOST];

static void check_averages(session *s)
{
    for (size_t i = 0; i < TENSOR_COUNT; i++) {
        const size_t elements = elements_of(i);
        for (size_t k = 0; k < elements; k++) expected[k] = (float)s->averages[i][k];
        require(s, slad_executor_read_slab(s->executor, s->trained[i], SLAD_SLAB_AVERAGE, read_back));
        assert_true(operation_error(read_back, expected, elements) <= 1e-6);
        require(s, slad_executor_read(s->executor, NULL, s->trained[i], read_back));
        assert_memory_equal(read_back, s->values[i], elements * sizeof *read_back);
    }
}

static void follow_the_recursion(session *s)
{
    static const double shares[] = {1, 0.9, 0.7, 0.1, 0.0001, 0, 0.5};
    assert_int_equal(slad_store_slab_count(s->store, SLAD_SLAB_AVERAGE), 2);
    for (uint32_t t = 0; t < sizeof shares / sizeof *shares; t++) {
        set_values(s, t + 1);
        update(s, shares[t], false);
        check_averages(s);
    }
}

static void follows_the_recursion(void **state)
{
    on_all(state, follow_the_recursion);
}

/* The first share is 1: then the average is the values, to the bit. */
static void start(session *s)
{
    set_values(s, 1);
    update(s, 1, false);
    for (size_t i = 0; i < TENSOR_COUNT; i++) {
        require(s, slad_executor_read_slab(s->executor, s->trained[i], SLAD_SLAB_AVERAGE, read_back));
        assert_memory_equal(read_back, s->values[i], elements_of(i) * sizeof *read_back);
    }
}

static void starts_as_the_values(void **state)
{
    on_all(state, start);
}

static void skip_one(session *s)
{
    set_values(s, 1);
    update(s, 1, false);
    set_values(s, 2);
    update(s, 0.5, true);
    check_averages(s);
}

static void rests_when_a_step_is_skipped(void **state)
{
    on_all(state, skip_one);
}

static void run_linear(session *s, float y[ROWS * OUT])
{
    float x[ROWS * IN];
    operation_fill(x, ROWS * IN, 99, 0, 1);
    require(s, slad_executor_write(s->executor, s->step, s->x, x));
    require(s, slad_executor_run(s->executor, s->step, SLAD_PHASE_MICRO_BATCH));
    require(s, slad_executor_read(s->executor, s->step, s->y, y));
}

/* The averages take the values' place, in what derives from them too; twice is as never. */
static void change_places(session *s)
{
    float before[ROWS * OUT], between[ROWS * OUT], after[ROWS * OUT];
    set_values(s, 1);
    update(s, 1, false);
    set_values(s, 2);
    update(s, 0.25, false);
    run_linear(s, before);
    require(s, slad_executor_run(s->executor, s->exchange, SLAD_PHASE_STEP));
    run_linear(s, between);
    for (size_t i = 0; i < TENSOR_COUNT; i++) {
        for (size_t k = 0; k < elements_of(i); k++) expected[k] = (float)s->averages[i][k];
        require(s, slad_executor_read(s->executor, NULL, s->trained[i], read_back));
        assert_true(operation_error(read_back, expected, elements_of(i)) <= 1e-6);
        require(s, slad_executor_read_slab(s->executor, s->trained[i], SLAD_SLAB_AVERAGE, read_back));
        assert_memory_equal(read_back, s->values[i], elements_of(i) * sizeof *read_back);
    }
    require(s, slad_executor_run(s->executor, s->exchange, SLAD_PHASE_STEP));
    check_averages(s);
    run_linear(s, after);
    assert_memory_equal(before, after, sizeof before);
    assert_true(operation_error(between, before, ROWS * OUT) > 0.1);
    require(s, slad_executor_read(s->executor, NULL, s->trained[0], read_back));
    for (size_t k = 0; k < elements_of(0); k++) expected[k] = (float)s->averages[0][k];
    require(s, slad_executor_write(s->executor, NULL, s->trained[0], expected));
    run_linear(s, after);
    assert_true(operation_error(between, after, ROWS * OUT) <= 1e-5);
}

static void exchanges_with_the_values(void **state)
{
    on_all(state, change_places);
}

static void kernels_stay_in_their_tensors(void **state)
{
    operation_bench *bench = *state;
    enum { COUNT = 5 * SLAD_TENSOR_ALIGNMENT };
    float average[COUNT], values[COUNT], steps[SLAD_STEP_VALUES] = {[SLAD_STEP_AVERAGE] = 0.5f};
    float report[SLAD_REPORT] = {0};
    operation_fill(average, COUNT, 1, 0, 1);
    operation_fill(values, COUNT, 2, 0, 1);
    for (size_t v = 0; v < bench->variant_count; v++) {
        bench->device = bench->variants[v];
        operation_argument update_arguments[] = {OPERATION_WRITE(average, COUNT), OPERATION_READ(values, COUNT),
                                                 OPERATION_READ(steps, SLAD_STEP_VALUES),
                                                 OPERATION_READ(report, SLAD_REPORT), OPERATION_UINT(COUNT)};
        operation_launch(bench, &slad_moving_average_kernels[0], "", update_arguments, 5,
                         (slad_work){.items = {COUNT}, .split_axis = 0});
        operation_argument exchange_arguments[] = {OPERATION_WRITE(average, COUNT), OPERATION_WRITE(values, COUNT),
                                                   OPERATION_UINT(COUNT)};
        operation_launch(bench, &slad_moving_average_kernels[1], "", exchange_arguments, 3,
                         (slad_work){.items = {COUNT}, .split_axis = 0});
    }
    bench->device = bench->variants[0];
}

static void mistakes_are_named(void **state)
{
    operation_bench *bench = *state;
    session s = {.bench = bench};
    const slad_tensor *weight;
    const size_t size = 4;
    require(&s, slad_store_create(bench->context, &s.store, SLAB_LIMIT));
    require(&s, slad_store_trained(s.store, &weight, "weight", 1, &size, 0, true, NULL, NULL, 0));
    assert_int_equal(slad_store_keep_averages(s.store), SLAD_ERROR_INTERNAL);
    require(&s, slad_record_create(bench->context, &s.step, s.store, "step"));
    assert_int_equal(slad_moving_average_exchange(s.step), SLAD_ERROR_INTERNAL);
    assert_non_null(strstr(slad_context_message(bench->context), "not told to keep averages"));
    slad_record_free(s.step);
    slad_store_free(s.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_recursion),         cmocka_unit_test(starts_as_the_values),
        cmocka_unit_test(rests_when_a_step_is_skipped),  cmocka_unit_test(exchanges_with_the_values),
        cmocka_unit_test(kernels_stay_in_their_tensors), cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
