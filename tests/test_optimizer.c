/* The end of a step: norm, clipping, AdamW, skipping, the report. Every case runs on the reference executor and on the
 * device in all variants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "graph/executor.h"
#include "operation_check.h"
#include "ops/operations.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Four tensors in two slabs, none a multiple of 16 elements; the last is alone in its slab, and cut into chunks. */
enum { TENSOR_COUNT = 4, SMALL = 0, BIAS = 1, MATRIX = 2, LARGE = 3, MOST = 40001, SLAB_LIMIT = 40100 };

typedef struct trained_case {
    const char *name;
    size_t elements;
    unsigned group;
    bool decay;
} trained_case;

static const trained_case tensors[TENSOR_COUNT] = {
    {"small", 35, SLAD_GROUP_ADAPTERS, true},
    {"bias", 3, SLAD_GROUP_HEADS, false},
    {"matrix", 121, SLAD_GROUP_HEADS, true},
    {"large", MOST, SLAD_GROUP_ADAPTERS, true},
};

typedef struct session {
    operation_bench *bench;
    slad_store *store;
    slad_record *record;
    slad_executor *executor;
    const slad_tensor *trained[TENSOR_COUNT], *step_values, *accumulators, *report;
    float values[TENSOR_COUNT][MOST], gradients[TENSOR_COUNT][MOST],
        moments[2][TENSOR_COUNT][MOST]; /* as they should be */
    float steps[SLAD_STEP_VALUES];
} session;

static slad_status fill(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    (void)context;
    (void)user;
    operation_fill(destination, elements, (uint32_t)index, 0, 0.5);
    return SLAD_OK;
}

static void require(const session *s, slad_status status)
{
    if (status != SLAD_OK) fail_msg("%s", slad_context_message(s->bench->context));
}

static void make_tensors(session *s)
{
    slad_store *store = s->store;
    const size_t steps = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS, reported = SLAD_REPORT;
    for (size_t i = 0; i < TENSOR_COUNT; i++)
        require(s, slad_store_trained(store, &s->trained[i], tensors[i].name, 1, &tensors[i].elements, tensors[i].group,
                                      tensors[i].decay, fill, NULL, i));
    require(s, slad_store_state(store, &s->step_values, "step_values", SLAD_F32, 1, &steps));
    require(s, slad_store_state(store, &s->accumulators, "accumulators", SLAD_F32, 1, &sums));
    require(s, slad_store_state(store, &s->report, "report", SLAD_F32, 1, &reported));
}

/* device NULL: the reference executor. */
static session *session_open(operation_bench *bench, slad_device *device, double max_norm)
{
    const slad_executor_options options = {.skip_self_test = true};
    session *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->bench = bench;
    require(s, slad_store_create(bench->context, &s->store, SLAB_LIMIT));
    make_tensors(s);
    require(s, slad_record_create(bench->context, &s->record, s->store, "step"));
    require(s, slad_optimizer(s->record, s->step_values, s->accumulators, s->report, max_norm));
    if (device)
        require(s, slad_executor_create_opencl(bench->context, &s->executor, s->store, device, &options));
    else
        require(s, slad_executor_create_reference(bench->context, &s->executor, s->store));
    require(s, slad_executor_add(s->executor, s->record));
    require(s, slad_executor_allocate(s->executor));
    for (size_t i = 0; i < TENSOR_COUNT; i++) require(s, fill(NULL, s->values[i], tensors[i].elements, NULL, i));
    return s;
}

static void session_close(session *s)
{
    slad_executor_free(s->executor);
    slad_record_free(s->record);
    slad_store_free(s->store);
    free(s);
}

/* Runs `body` on the reference executor and on every variant of the device. */
static void on_all(void **state, double max_norm, void (*body)(session *))
{
    operation_bench *bench = *state;
    for (size_t v = 0; v <= bench->variant_count; v++) {
        session *s = session_open(bench, v == 0 ? NULL : bench->variants[v - 1], max_norm);
        body(s);
        session_close(s);
    }
}

static void set_steps(session *s, unsigned step, double rate, double head_rate, double decay)
{
    memset(s->steps, 0, sizeof s->steps);
    s->steps[SLAD_STEP_BIAS_1] = (float)(1 / (1 - pow(0.9, step + 1)));
    s->steps[SLAD_STEP_BIAS_2] = (float)(1 / (1 - pow(0.999, step + 1)));
    s->steps[SLAD_STEP_DECAY] = (float)decay;
    s->steps[SLAD_STEP_RATES + SLAD_GROUP_ADAPTERS] = (float)rate;
    s->steps[SLAD_STEP_RATES + SLAD_GROUP_HEADS] = (float)head_rate;
    require(s, slad_executor_write(s->executor, NULL, s->step_values, s->steps));
}

static void set_gradients(session *s, uint32_t stream, double deviation)
{
    for (size_t i = 0; i < TENSOR_COUNT; i++) {
        operation_fill(s->gradients[i], tensors[i].elements, 100 * stream + (uint32_t)i, 0, deviation);
        require(s, slad_executor_write_slab(s->executor, s->trained[i], SLAD_SLAB_GRADIENT, s->gradients[i]));
    }
}

static void run_step(session *s)
{
    require(s, slad_executor_run(s->executor, s->record, SLAD_PHASE_STEP));
}

static double norm_of_gradients(const session *s)
{
    double squares = 0;
    for (size_t i = 0; i < TENSOR_COUNT; i++)
        for (size_t k = 0; k < tensors[i].elements; k++)
            squares += (double)s->gradients[i][k] * (double)s->gradients[i][k];
    return sqrt(squares);
}

/* torch.optim.AdamW and clip_grad_norm_ as their documentation writes them, in double. */
static void expect_update(session *s, unsigned step, double max_norm, const double rates[2], double decay)
{
    const double norm = norm_of_gradients(s);
    const double clip = max_norm > 0 && norm + 1e-6 > max_norm ? max_norm / (norm + 1e-6) : 1;
    for (size_t i = 0; i < TENSOR_COUNT; i++) {
        const double rate = rates[tensors[i].group], lambda = tensors[i].decay ? decay : 0;
        for (size_t k = 0; k < tensors[i].elements; k++) {
            const double g = clip * (double)s->gradients[i][k];
            const double m = 0.9 * (double)s->moments[0][i][k] + (1 - 0.9) * g;
            const double v = 0.999 * (double)s->moments[1][i][k] + (1 - 0.999) * g * g;
            const double m_hat = m / (1 - pow(0.9, step + 1)), v_hat = v / (1 - pow(0.999, step + 1));
            const double theta = (double)s->values[i][k] - rate * lambda * (double)s->values[i][k];
            s->values[i][k] = (float)(theta - rate * m_hat / (sqrt(v_hat) + 1e-8));
            s->moments[0][i][k] = (float)m;
            s->moments[1][i][k] = (float)v;
        }
    }
}

static float read_back[MOST];

/* Values and moments are what is expected; gradients are zero. */
static void check_all(session *s, double tolerance)
{
    for (size_t i = 0; i < TENSOR_COUNT; i++) {
        const size_t elements = tensors[i].elements;
        require(s, slad_executor_read(s->executor, NULL, s->trained[i], read_back));
        assert_true(operation_error(read_back, s->values[i], elements) <= tolerance);
        require(s, slad_executor_read_slab(s->executor, s->trained[i], SLAD_SLAB_MOMENT_1, read_back));
        assert_true(operation_error(read_back, s->moments[0][i], elements) <= tolerance);
        require(s, slad_executor_read_slab(s->executor, s->trained[i], SLAD_SLAB_MOMENT_2, read_back));
        assert_true(operation_error(read_back, s->moments[1][i], elements) <= tolerance);
        require(s, slad_executor_read_slab(s->executor, s->trained[i], SLAD_SLAB_GRADIENT, read_back));
        for (size_t k = 0; k < elements; k++) assert_float_equal(read_back[k], 0, 0);
    }
}

static void read_report(session *s, float report[SLAD_REPORT])
{
    require(s, slad_executor_read(s->executor, NULL, s->report, report));
}

/* ---- the update ---- */

static double case_norm; /* the largest norm of the running case */

static void follow_torch(session *s)
{
    const double rates[2] = {3e-3, 1e-2};
    float report[SLAD_REPORT];
    for (unsigned step = 0; step < 6; step++) {
        const double factor = 1 + 0.5 * step; /* rates move from step to step */
        set_steps(s, step, rates[0] * factor, rates[1] * factor, 0.1);
        set_gradients(s, step + 1, step == 3 ? 5 : 0.01);
        run_step(s);
        read_report(s, report);
        const double norm = norm_of_gradients(s);
        assert_true(fabs((double)report[SLAD_REPORT_NORM] - norm) <= 3e-7 * norm);
        assert_float_equal(report[SLAD_REPORT_SKIPPED], 0, 0);
        expect_update(s, step, case_norm, (const double[]){rates[0] * factor, rates[1] * factor}, 0.1);
        check_all(s, 3e-6);
    }
}

static void follows_torch_without_clipping(void **state)
{
    case_norm = 0;
    on_all(state, case_norm, follow_torch);
}

static void follows_torch_with_clipping(void **state)
{
    case_norm = 1.5; /* all steps have a larger norm */
    on_all(state, case_norm, follow_torch);
}

static void follows_torch_with_rare_clipping(void **state)
{
    case_norm = 10; /* only the fourth step has */
    on_all(state, case_norm, follow_torch);
}

/* Without a gradient nothing moves but by decay, and that only where it is marked, to the bit. */
static void decay_only(session *s)
{
    set_steps(s, 0, 0.5, 0.25, 0.125);
    run_step(s);
    for (size_t i = 0; i < TENSOR_COUNT; i++) {
        const size_t elements = tensors[i].elements;
        const float rate = tensors[i].group == SLAD_GROUP_HEADS ? 0.25f : 0.5f;
        require(s, slad_executor_read(s->executor, NULL, s->trained[i], read_back));
        if (!tensors[i].decay) assert_memory_equal(read_back, s->values[i], elements * sizeof *read_back);
        for (size_t k = 0; tensors[i].decay && k < elements; k++)
            assert_float_equal(read_back[k], s->values[i][k] * (1 - rate * 0.125f), 1e-7);
    }
}

static void decay_acts_on_marked_tensors_only(void **state)
{
    on_all(state, 1.0, decay_only);
}

static void one_group_rests(session *s)
{
    set_steps(s, 0, 0, 0.01, 0.1);
    set_gradients(s, 1, 1);
    run_step(s);
    for (size_t i = 0; i < TENSOR_COUNT; i++) {
        require(s, slad_executor_read(s->executor, NULL, s->trained[i], read_back));
        const int same = memcmp(read_back, s->values[i], tensors[i].elements * sizeof *read_back) == 0;
        assert_true(same == (tensors[i].group == SLAD_GROUP_ADAPTERS));
    }
}

static void groups_have_rates_of_their_own(void **state)
{
    on_all(state, 0, one_group_rests);
}

/* What lies between tensors stays zero, so that it reaches neither norm nor file. */
static void look_at_padding(session *s)
{
    size_t seen = 0;
    set_steps(s, 0, 0.1, 0.1, 0.1);
    set_gradients(s, 1, 1);
    run_step(s);
    for (size_t i = 0; i < slad_store_slab_count(s->store, SLAD_SLAB_TRAINED); i++) {
        slad_slab *slab = slad_store_slab_at(s->store, SLAD_SLAB_TRAINED, i);
        slad_slab *kinds[] = {slab, slab->gradient, slab->moment_1, slab->moment_2};
        for (size_t kind = 0; kind < 4; kind++) {
            static float whole[SLAB_LIMIT];
            bool covered[SLAB_LIMIT] = {false};
            require(s, slad_executor_read(s->executor, s->record, slad_record_slab(s->record, kinds[kind]), whole));
            for (size_t t = 0; t < TENSOR_COUNT; t++)
                for (size_t k = 0; s->trained[t]->slab == slab && k < tensors[t].elements; k++)
                    covered[s->trained[t]->offset + k] = true;
            for (size_t k = 0; k < slab->elements; k++) {
                if (covered[k]) continue;
                assert_float_equal(whole[k], 0, 0);
                seen++;
            }
        }
    }
    assert_int_equal(slad_store_slab_count(s->store, SLAD_SLAB_TRAINED), 2);
    assert_true(seen == 4 * (13 + 13 + 7 + 15));
}

static void padding_stays_zero(void **state)
{
    on_all(state, 1.0, look_at_padding);
}

/* ---- skipping ---- */

static float broken_value;
static size_t broken_tensor;

static void skip_then_go_on(session *s)
{
    const double rates[2] = {1e-3, 1e-3};
    float report[SLAD_REPORT], sums[SLAD_ACCUMULATORS] = {1, 2, 3, 4, 5, 6, 7, 8}, cleared[SLAD_ACCUMULATORS];
    set_steps(s, 0, rates[0], rates[1], 0.1);
    set_gradients(s, 1, 0.1);
    run_step(s);
    float *before[3][TENSOR_COUNT];
    for (size_t i = 0; i < TENSOR_COUNT; i++) {
        for (int kind = 0; kind < 3; kind++) {
            before[kind][i] = malloc(tensors[i].elements * sizeof(float));
            assert_non_null(before[kind][i]);
        }
        require(s, slad_executor_read(s->executor, NULL, s->trained[i], before[0][i]));
        require(s, slad_executor_read_slab(s->executor, s->trained[i], SLAD_SLAB_MOMENT_1, before[1][i]));
        require(s, slad_executor_read_slab(s->executor, s->trained[i], SLAD_SLAB_MOMENT_2, before[2][i]));
    }
    set_gradients(s, 2, 0.1);
    s->gradients[broken_tensor][tensors[broken_tensor].elements - 1] = broken_value;
    require(s, slad_executor_write_slab(s->executor, s->trained[broken_tensor], SLAD_SLAB_GRADIENT,
                                        s->gradients[broken_tensor]));
    require(s, slad_executor_write(s->executor, NULL, s->accumulators, sums));
    run_step(s);
    read_report(s, report);
    assert_memory_equal(report, sums, sizeof sums);
    assert_true(!isfinite((double)report[SLAD_REPORT_NORM]));
    assert_float_equal(report[SLAD_REPORT_SKIPPED], 1, 0);
    require(s, slad_executor_read(s->executor, NULL, s->accumulators, cleared));
    for (size_t i = 0; i < SLAD_ACCUMULATORS; i++) assert_float_equal(cleared[i], 0, 0);
    for (size_t i = 0; i < TENSOR_COUNT; i++) {
        const size_t bytes = tensors[i].elements * sizeof(float);
        require(s, slad_executor_read(s->executor, NULL, s->trained[i], read_back));
        assert_memory_equal(read_back, before[0][i], bytes);
        memcpy(s->values[i], before[0][i], bytes);
        require(s, slad_executor_read_slab(s->executor, s->trained[i], SLAD_SLAB_MOMENT_1, read_back));
        assert_memory_equal(read_back, before[1][i], bytes);
        memcpy(s->moments[0][i], before[1][i], bytes);
        require(s, slad_executor_read_slab(s->executor, s->trained[i], SLAD_SLAB_MOMENT_2, read_back));
        assert_memory_equal(read_back, before[2][i], bytes);
        memcpy(s->moments[1][i], before[2][i], bytes);
        require(s, slad_executor_read_slab(s->executor, s->trained[i], SLAD_SLAB_GRADIENT, read_back));
        for (size_t k = 0; k < tensors[i].elements; k++) assert_float_equal(read_back[k], 0, 0);
        for (int kind = 0; kind < 3; kind++) free(before[kind][i]);
    }
    /* The next step finds nothing of the broken one. */
    set_steps(s, 1, rates[0], rates[1], 0.1);
    set_gradients(s, 3, 0.1);
    run_step(s);
    expect_update(s, 1, 1.0, rates, 0.1);
    check_all(s, 3e-6);
    read_report(s, report);
    assert_float_equal(report[SLAD_REPORT_SKIPPED], 0, 0);
    assert_float_equal(report[0], 0, 0);
}

static void broken_gradients_are_skipped(void **state)
{
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        broken_value = values[i];
        broken_tensor = i == 0 ? LARGE : i == 1 ? BIAS : SMALL;
        on_all(state, 1.0, skip_then_go_on);
    }
}

/* ---- misuse ---- */

static void build_misuse(operation_check *check, const void *parameters)
{
    const int kind = *(const int *)parameters;
    slad_record *record = operation_record(check);
    const size_t steps = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS, reported = kind == 1 ? 8 : SLAD_REPORT, one = 1;
    const operation_values zero = operation_normal(0, 0);
    const slad_tensor *step_values = operation_tensor(check, OPERATION_STATE, "step_values", 1, &steps, zero);
    const slad_tensor *accumulators = operation_tensor(check, OPERATION_STATE, "sums", 1, &sums, zero);
    const slad_tensor *report = operation_tensor(check, OPERATION_STATE, "report", 1, &reported, zero);
    if (kind == 3) {
        const slad_tensor *tensor = NULL;
        assert_int_equal(slad_store_trained(slad_record_store(record), &tensor, "far", 1, &one, 8, true, NULL, NULL, 0),
                         SLAD_OK);
    } else if (kind != 0) {
        operation_tensor(check, OPERATION_TRAINED, "value", 1, &one, zero);
    }
    const double max_norm = kind == 2 ? -1 : kind == 4 ? NAN : 1;
    assert_int_not_equal(slad_optimizer(record, step_values, accumulators, report, max_norm), SLAD_OK);
}

static void misuse_is_named(void **state)
{
    static const char *const parts[] = {"nothing is trained", "report [16]", "at least 0, not -1",
                                        "far is in learning-rate group 8 of 8", "at least 0, not nan"};
    for (int kind = 0; kind < 5; kind++) {
        const operation_case test = {.name = "misuse", .build = build_misuse, .parameters = &kind};
        operation_expect_failure(*state, &test, kind == 2 || kind == 4 ? SLAD_ERROR_USAGE : SLAD_ERROR_INTERNAL,
                                 parts[kind]);
    }
}

static void later_tensors_are_refused(void **state)
{
    operation_bench *bench = *state;
    const size_t one = 1;
    const slad_tensor *late = NULL;
    session *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->bench = bench;
    require(s, slad_store_create(bench->context, &s->store, SLAB_LIMIT));
    make_tensors(s);
    require(s, slad_record_create(bench->context, &s->record, s->store, "step"));
    require(s, slad_optimizer(s->record, s->step_values, s->accumulators, s->report, 1.0));
    require(s, slad_store_trained(s->store, &late, "late", 1, &one, 0, true, NULL, NULL, 0));
    require(s, slad_executor_create_reference(bench->context, &s->executor, s->store));
    require(s, slad_executor_add(s->executor, s->record));
    assert_int_equal(slad_executor_allocate(s->executor), SLAD_ERROR_INTERNAL);
    assert_non_null(strstr(slad_context_message(bench->context), "after the optimizer was recorded"));
    session_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_torch_without_clipping),   cmocka_unit_test(follows_torch_with_clipping),
        cmocka_unit_test(follows_torch_with_rare_clipping), cmocka_unit_test(decay_acts_on_marked_tensors_only),
        cmocka_unit_test(groups_have_rates_of_their_own),   cmocka_unit_test(padding_stays_zero),
        cmocka_unit_test(broken_gradients_are_skipped),     cmocka_unit_test(misuse_is_named),
        cmocka_unit_test(later_tensors_are_refused),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
