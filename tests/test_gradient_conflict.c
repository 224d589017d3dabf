/* The student's part of shared gradients: on the reference executor and on the device in all variants, against the
 * gradients of teacher alone and student alone, summed in double. */
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

/* A student with views of a teacher's adapters. A filler between them may part the slabs. */
enum { STUDENT = 0, TEACHER = 1 };
enum { ROWS = 9, RANK = 5, BLOCKS = 3, MOST = 40, MICRO_BATCHES = 2, LAYERS = 2, MOST_SHARED = 2 * LAYERS };

typedef struct sizes {
    size_t wide, narrow, slab_limit, filler, slabs;
    bool without_b; /* of the second layer: only its A is shared */
} sizes;

typedef struct session {
    operation_bench *bench;
    const sizes *sizes;
    slad_store *store;
    slad_record *record;
    slad_executor *executor;
    const slad_tensor *lora_a[LAYERS], *lora_b[LAYERS], *own_b;
    const slad_tensor *shared[MOST_SHARED];
    size_t shared_count;
    const slad_tensor *x[2], *dy[2], *step_values, *accumulators, *report;
    const slad_gradient_conflict *conflict;
} session;

static void require(const session *s, slad_status status)
{
    if (status != SLAD_OK) fail_msg("%s", slad_context_message(s->bench->context));
}

static slad_status fill(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    (void)context;
    (void)user;
    operation_fill(destination, elements, (uint32_t)index, 0, 0.4);
    return SLAD_OK;
}

static const slad_tensor *view(session *s, const slad_tensor *tensor)
{
    const slad_tensor *made = NULL;
    const size_t narrow = s->sizes->narrow;
    if (tensor->rank == 2)
        require(s, slad_store_view(s->store, &made, tensor, 0, 2, (const size_t[]){RANK, narrow}, tensor->stride));
    else
        require(s,
                slad_store_view(s->store, &made, tensor, 0, 3, (const size_t[]){BLOCKS, narrow, RANK}, tensor->stride));
    s->shared[s->shared_count++] = made;
    return made;
}

static void place(session *s)
{
    const size_t wide = s->sizes->wide, narrow = s->sizes->narrow;
    const size_t a[] = {RANK, wide}, b[] = {BLOCKS, wide, RANK}, own[] = {BLOCKS, narrow, RANK};
    const slad_tensor *filler = NULL;
    const size_t steps = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS, reported = SLAD_REPORT;
    for (size_t i = 0; i < LAYERS; i++) {
        require(s, slad_store_trained(s->store, &s->lora_a[i], "A", 2, a, 0, true, fill, NULL, 10 + i));
        require(s, slad_store_trained(s->store, &s->lora_b[i], "B", 3, b, 0, true, fill, NULL, 20 + i));
        if (i == 0 && s->sizes->filler)
            require(s, slad_store_trained(s->store, &filler, "filler", 1, &s->sizes->filler, 0, true, NULL, NULL, 0));
    }
    require(s, slad_store_trained(s->store, &s->own_b, "own_B", 3, own, 0, true, fill, NULL, 30));
    require(s, slad_store_state(s->store, &s->step_values, "step_values", SLAD_F32, 1, &steps));
    require(s, slad_store_state(s->store, &s->accumulators, "accumulators", SLAD_F32, 1, &sums));
    require(s, slad_store_state(s->store, &s->report, "report", SLAD_F32, 1, &reported));
}

/* Two layers, one behind the other; both go from width to width. */
static void record_model(session *s, int model, slad_adapter adapters[LAYERS])
{
    static const char *const x_names[] = {"student_x", "teacher_x"}, *const dy_names[] = {"student_dy", "teacher_dy"};
    const size_t width = model == TEACHER ? s->sizes->wide : s->sizes->narrow, out = BLOCKS * width;
    s->x[model] = slad_record_input(s->record, x_names[model], SLAD_F32, 2, (const size_t[]){ROWS, width}, 0);
    s->dy[model] = slad_record_input(s->record, dy_names[model], SLAD_F32, 2, (const size_t[]){ROWS, out}, 0);
    for (size_t i = 0; i < LAYERS; i++) {
        slad_weight weight = {.adapters = {adapters[i]}, .adapter_count = 1};
        const slad_tensor *dy = s->dy[model];
        require(s, slad_store_frozen(s->store, &weight.weight, "weight", SLAD_F32, 2, (const size_t[]){out, width},
                                     fill, NULL, 40 + 2 * (size_t)model + i));
        if (i > 0) dy = slad_record_input(s->record, "more", SLAD_F32, 2, (const size_t[]){ROWS, out}, 0);
        const slad_tensor *y = slad_linear(s->record, s->x[model], &weight, NULL);
        slad_gradient_pass(s->record, y, dy);
    }
}

/* device NULL: the reference executor. */
static session *session_open(operation_bench *bench, slad_device *device, const sizes *given)
{
    const slad_executor_options options = {.skip_self_test = true};
    slad_adapter teacher[LAYERS], student[LAYERS];
    session *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->bench = bench;
    s->sizes = given;
    require(s, slad_store_create(bench->context, &s->store, given->slab_limit));
    require(s, slad_record_create(bench->context, &s->record, s->store, "step"));
    place(s);
    for (size_t i = 0; i < LAYERS; i++) {
        const bool own = i == 1 && given->without_b;
        teacher[i] = (slad_adapter){.lora_a = s->lora_a[i], .lora_b = s->lora_b[i], .scale = 0.5};
        student[i] = (slad_adapter){.lora_a = view(s, s->lora_a[i]), .scale = 2};
        student[i].lora_b = own ? s->own_b : view(s, s->lora_b[i]);
    }
    require(s, slad_gradient_conflict_place(bench->context, &s->conflict, s->store, s->shared, s->shared_count));
    slad_gradient_conflict_student_begins(s->record, s->conflict);
    record_model(s, STUDENT, student);
    slad_gradient_conflict_student_ends(s->record, s->conflict);
    record_model(s, TEACHER, teacher);
    require(s, slad_record_differentiate(s->record));
    require(s, slad_gradient_conflict_report(s->record, s->conflict, s->report));
    require(s, slad_optimizer(s->record, s->step_values, s->accumulators, s->report, 0));
    if (device)
        require(s, slad_executor_create_opencl(bench->context, &s->executor, s->store, device, &options));
    else
        require(s, slad_executor_create_reference(bench->context, &s->executor, s->store));
    require(s, slad_executor_add(s->executor, s->record));
    require(s, slad_executor_allocate(s->executor));
    return s;
}

static void session_close(session *s)
{
    slad_executor_free(s->executor);
    slad_record_free(s->record);
    slad_store_free(s->store);
    free(s);
}

/* The micro-batches of a step; weights: what the gradients of student and teacher are multiplied with. */
static void run_micro_batches(session *s, uint32_t step, const float weights[2])
{
    static float values[ROWS * BLOCKS * MOST];
    for (uint32_t m = 0; m < MICRO_BATCHES; m++) {
        for (int model = 0; model < 2; model++) {
            const size_t x_count = slad_tensor_elements(s->x[model]), dy_count = slad_tensor_elements(s->dy[model]);
            operation_fill(values, x_count, 100 * step + 10 * m + (uint32_t)model, 0.3, 1);
            require(s, slad_executor_write(s->executor, s->record, s->x[model], values));
            operation_fill(values, dy_count, 100 * step + 10 * m + 5 + (uint32_t)model, 0.2, 1);
            for (size_t i = 0; i < dy_count; i++) values[i] *= weights[model];
            require(s, slad_executor_write(s->executor, s->record, s->dy[model], values));
        }
        require(s, slad_executor_run(s->executor, s->record, SLAD_PHASE_MICRO_BATCH));
    }
}

/* The gradients of all shared views, gathered one behind another. */
static size_t gather(const session *s, double *gathered)
{
    static float gradient[BLOCKS * MOST * RANK];
    size_t count = 0;
    for (size_t v = 0; v < s->shared_count; v++) {
        const slad_tensor *part = s->shared[v];
        const slad_tensor *owner = NULL;
        for (size_t i = 0; i < LAYERS; i++) {
            if (s->lora_a[i]->slab == part->slab && s->lora_a[i]->offset == part->offset) owner = s->lora_a[i];
            if (s->lora_b[i]->slab == part->slab && s->lora_b[i]->offset == part->offset) owner = s->lora_b[i];
        }
        assert_non_null(owner);
        require(s, slad_executor_read_slab(s->executor, owner, SLAD_SLAB_GRADIENT, gradient));
        for (size_t i = 0; i < part->size[0]; i++)
            for (size_t j = 0; j < part->size[1]; j++)
                for (size_t k = 0; k < part->size[2]; k++)
                    gathered[count++] =
                        (double)gradient[i * part->stride[0] + j * part->stride[1] + k * part->stride[2]];
    }
    return count;
}

static double parts[2][MOST_SHARED * BLOCKS * MOST * RANK];

/* What the report must say: from the gradients of either model alone. */
static void expect_step(session *s, uint32_t step, float expected[3])
{
    double product = 0, squares[2] = {0, 0};
    size_t count = 0;
    for (int model = 0; model < 2; model++) {
        const float alone[2] = {model == STUDENT, model == TEACHER};
        run_micro_batches(s, step, alone);
        count = gather(s, parts[model]);
        require(s, slad_executor_run(s->executor, s->record, SLAD_PHASE_STEP));
    }
    for (size_t i = 0; i < count; i++) {
        product += parts[STUDENT][i] * parts[TEACHER][i];
        for (int model = 0; model < 2; model++) squares[model] += parts[model][i] * parts[model][i];
    }
    expected[0] = (float)sqrt(squares[TEACHER]);
    expected[1] = (float)sqrt(squares[STUDENT]);
    expected[2] = (float)(product / sqrt(squares[TEACHER]) / sqrt(squares[STUDENT]));
}

static void read_report(session *s, float entries[3])
{
    float report[SLAD_REPORT];
    require(s, slad_executor_run(s->executor, s->record, SLAD_PHASE_STEP));
    require(s, slad_executor_read(s->executor, NULL, s->report, report));
    for (size_t i = SLAD_REPORT_SHARED_COSINE + 1; i < SLAD_REPORT; i++) assert_float_equal(report[i], 0, 0);
    memcpy(entries, &report[SLAD_REPORT_SHARED_TEACHER_NORM], 3 * sizeof *entries);
}

static void check_step(session *s, uint32_t step, const float weights[2])
{
    float expected[3], entries[3];
    expect_step(s, step, expected);
    run_micro_batches(s, step, weights);
    read_report(s, entries);
    assert_float_equal(entries[0], expected[0], 1e-5f * expected[0]);
    assert_float_equal(entries[1], fabsf(weights[STUDENT]) * expected[1], 1e-5f * expected[1]);
    assert_float_equal(entries[2], weights[STUDENT] < 0 ? -expected[2] : expected[2], 1e-5);
}

static void expect_entries(session *s, const float weights[2], bool teacher, bool student)
{
    float entries[3];
    run_micro_batches(s, 1, weights);
    read_report(s, entries);
    assert_true(teacher ? entries[0] > 0 : entries[0] == 0);
    assert_true(student ? entries[1] > 0 : entries[1] == 0);
    assert_float_equal(entries[2], 0, 0);
}

static void follow_steps(session *s)
{
    check_step(s, 1, (const float[]){1, 1});
    check_step(s, 2, (const float[]){-1, 1});
    /* Either alone: no angle. What is not finite leaves no trace in the step after. */
    expect_entries(s, (const float[]){0, 1}, true, false);
    expect_entries(s, (const float[]){NAN, 1}, false, false);
    check_step(s, 3, (const float[]){1, 1});
    expect_entries(s, (const float[]){1, INFINITY}, false, false);
    check_step(s, 4, (const float[]){0.5f, 1});
}

static void cosine_of_both_parts(void **state)
{
    static const sizes cases[] = {
        {.wide = 40, .narrow = 24, .slab_limit = 100000, .slabs = 1},
        {.wide = 33, .narrow = 17, .slab_limit = 3300, .filler = 3000, .slabs = 3, .without_b = true},
        {.wide = 40, .narrow = 40, .slab_limit = 4800, .filler = 4700, .slabs = 3},
        {.wide = 3, .narrow = 1, .slab_limit = 100000, .slabs = 1},
    };
    operation_bench *bench = *state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (size_t v = 0; v <= bench->variant_count; v++) {
            session *s = session_open(bench, v == 0 ? NULL : bench->variants[v - 1], &cases[c]);
            assert_int_equal(slad_store_slab_count(s->store, SLAD_SLAB_TRAINED), cases[c].slabs);
            follow_steps(s);
            session_close(s);
        }
    }
}

static void misuse_is_named(void **state)
{
    operation_bench *bench = *state;
    slad_store *store = NULL;
    slad_record *record = NULL;
    const slad_tensor *trained = NULL, *frozen = NULL, *late = NULL, *columns = NULL;
    const slad_gradient_conflict *conflict = NULL;
    const size_t size[] = {4, 6};
    assert_int_equal(slad_store_create(bench->context, &store, 1000), SLAD_OK);
    assert_int_equal(slad_record_create(bench->context, &record, store, "misuse"), SLAD_OK);
    assert_int_equal(slad_store_trained(store, &trained, "A", 2, size, 0, true, NULL, NULL, 0), SLAD_OK);
    assert_int_equal(slad_store_frozen(store, &frozen, "W", SLAD_F32, 2, size, NULL, NULL, 0), SLAD_OK);
    assert_int_equal(slad_store_view(store, &columns, trained, 0, 2, (const size_t[]){4, 3}, (const size_t[]){6, 2}),
                     SLAD_OK);
    slad_context *context = bench->context;
    assert_int_equal(slad_gradient_conflict_place(context, &conflict, store, &frozen, 1), SLAD_ERROR_INTERNAL);
    assert_non_null(strstr(slad_context_message(context), "W is not trained"));
    assert_int_equal(slad_gradient_conflict_place(context, &conflict, store, &columns, 1), SLAD_ERROR_INTERNAL);
    assert_int_equal(slad_gradient_conflict_place(context, &conflict, store, &trained, 0), SLAD_ERROR_INTERNAL);
    assert_int_equal(slad_gradient_conflict_place(context, &conflict, store, &trained, 1), SLAD_OK);
    assert_int_equal(slad_store_trained(store, &late, "late", 2, size, 0, true, NULL, NULL, 0), SLAD_OK);
    slad_gradient_conflict_student_begins(record, conflict);
    assert_int_equal(slad_record_differentiate(record), SLAD_ERROR_INTERNAL);
    assert_non_null(strstr(slad_context_message(context), "after it was placed"));
    slad_record_free(record);
    slad_store_free(store);
}

static void kernels_stay_inside(void **state)
{
    enum { ELEMENTS = 96, REGIONS = 3, WORDS = 8, SUMS = 3 };
    static float student[ELEMENTS], gradient[ELEMENTS], partials[REGIONS * SUMS], report[SLAD_REPORT];
    static int32_t table[REGIONS * WORDS] = {0, 2, 3, 5, 40, 7, 0, 0,  90, 1,  1, 6,
                                             0, 0, 0, 0, 33, 1, 2, 20, 0,  21, 0, 0};
    operation_bench *bench = *state;
    for (size_t v = 0; v < bench->variant_count; v++) {
        bench->device = bench->variants[v];
        const slad_features *features = &bench->device->features;
        operation_fill(student, ELEMENTS, 1, 0, 1);
        operation_fill(gradient, ELEMENTS, 2, 0, 1);
        operation_argument track[] = {OPERATION_WRITE(student, ELEMENTS), OPERATION_READ(gradient, ELEMENTS),
                                      OPERATION_UINT(ELEMENTS), OPERATION_UINT(1)};
        operation_launch(bench, &slad_gradient_conflict_kernels[0], "", track, 4,
                         (slad_work){.items = {ELEMENTS / features->vector_width + 3}, .split_axis = 0});
        operation_argument sums[] = {OPERATION_WRITE(partials, REGIONS * SUMS), OPERATION_READ(student, ELEMENTS),
                                     OPERATION_READ(gradient, ELEMENTS), OPERATION_READ(table, REGIONS * WORDS),
                                     OPERATION_UINT(REGIONS)};
        operation_launch(bench, &slad_gradient_conflict_kernels[1], "", sums, 5,
                         (slad_work){.items = {features->row_lanes, REGIONS + 2}, .split_axis = 1});
        double own = 0;
        for (size_t k = 90; k < 96; k++) own += (double)student[k] * (double)student[k];
        assert_float_equal(partials[SUMS + 2], (float)own, 1e-4f);
        operation_argument finish[] = {OPERATION_WRITE(report, SLAD_REPORT), OPERATION_READ(partials, REGIONS * SUMS),
                                       OPERATION_UINT(REGIONS)};
        operation_launch(bench, &slad_gradient_conflict_kernels[2], "", finish, 3,
                         (slad_work){.items = {4}, .split_axis = -1});
        assert_float_equal(report[SLAD_REPORT_NORM], 0, 0);
        assert_true(report[SLAD_REPORT_SHARED_STUDENT_NORM] > 0);
    }
    bench->device = bench->variants[0];
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cosine_of_both_parts),
        cmocka_unit_test(misuse_is_named),
        cmocka_unit_test(kernels_stay_inside),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
