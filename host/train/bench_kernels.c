/* Kernels one at a time: a record of a single operation, whose launches are repeated until they fill a turn. */
#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "graph/executor_opencl.h"
#include "graph/self_test.h"
#include "ops/operations.h"
#include "train/bench.h"

enum { PATTERN = 4099, MOST_REPEATS = 1 << 16 };

/* What is measured together, and the row of its forward and of its backward pass. */
typedef struct bench_case {
    /* Records the operation, and its gradient if that is wanted. */
    slad_status (*record)(slad_record *record, const struct bench_case *test, bool gradient);
    slad_phase phase;
    slad_bench_row forward, backward;  /* backward: of what the gradient adds */
    size_t images, rows, width, other; /* other: heads of attention, depth of a GEMM */
} bench_case;

/* A run of launches. */
typedef struct bench_launches {
    slad_device *device;
    const slad_enqueue *first;
    size_t count;
    slad_phase phase;
} bench_launches;

static slad_status run_launches(const bench_launches *launches, size_t repeats)
{
    slad_status status = SLAD_OK;
    for (size_t k = 0; k < repeats; k++) {
        for (size_t i = 0; i < launches->count; i++) {
            const slad_enqueue *enqueue = &launches->first[i];
            if (enqueue->phase != launches->phase) continue;
            SLAD_TRY(slad_executor_enqueue(launches->device, enqueue));
        }
    }
    SLAD_TRY(slad_device_finish(launches->device));
cleanup:
    return status;
}

/* Measures the launches and adds the row, with the seconds of one run of them. */
static slad_status measure_row(slad_bench_state *state, const slad_bench_row *row, const bench_launches *launches)
{
    slad_context *context = state->context;
    slad_status status = SLAD_OK;
    const bool processor = state->options.processor_time;
    slad_rates seconds = {.count = 0};
    size_t repeats = 1;
    SLAD_TRY(run_launches(launches, 1));
    for (; repeats < MOST_REPEATS; repeats *= 2) {
        const double start = slad_clock_seconds();
        SLAD_TRY(run_launches(launches, repeats));
        if (slad_clock_seconds() - start > state->options.turn_seconds) break;
    }
    for (uint32_t i = 0; i < state->options.repetitions; i++) {
        const double start = slad_peak_seconds(state->device, processor);
        SLAD_TRY(run_launches(launches, repeats));
        slad_rates_add(&seconds, (slad_peak_seconds(state->device, processor) - start) / (double)repeats);
    }
    SLAD_TRY(slad_grow(context, &state->rows, &state->row_capacity, state->row_count + 1, sizeof *state->rows,
                       "rows of the benchmark"));
    state->rows[state->row_count] = *row;
    state->rows[state->row_count++].seconds = slad_rates_measured(&seconds);
cleanup:
    return status;
}

/* Fills what the host would write: the times of some kernels depend on their values (zeros, denormals). */
static slad_status write_inputs(slad_executor *executor, const slad_record *record)
{
    slad_context *context = slad_record_context(record);
    slad_status status = SLAD_OK;
    float pattern[PATTERN], *values = NULL;
    slad_random random = slad_random_start(1, SLAD_RANDOM_VERIFY, 0, 0);
    for (size_t i = 0; i < PATTERN; i++) pattern[i] = 2.0F * slad_random_uniform(&random) - 1.0F;
    for (size_t i = 0; i < slad_record_named_count(record); i++) {
        const char *name;
        bool is_output;
        uint32_t bound;
        const slad_tensor *tensor = slad_record_named_at(record, i, &name, &is_output, &bound);
        if (is_output || tensor->element != SLAD_F32) continue;
        const size_t elements = slad_tensor_elements(tensor);
        SLAD_TRY(slad_allocate(context, &values, elements, sizeof *values, "inputs of the benchmark"));
        for (size_t k = 0; k < elements; k++) values[k] = pattern[k % PATTERN];
        SLAD_TRY(slad_executor_write(executor, record, tensor, values));
        slad_release(values);
        values = NULL;
    }
cleanup:
    slad_release(values);
    return status;
}

/* The forward pass alone tells how many of the launches of both are its own: they come first. */
static slad_status measure_case(slad_bench_state *state, const bench_case *test)
{
    slad_context *context = state->context;
    slad_status status = SLAD_OK;
    const bool gradient = test->backward.name != NULL;
    slad_store *store = NULL;
    slad_executor *executor = NULL;
    slad_record *records[2] = {NULL, NULL};
    if (!slad_bench_has_time(state)) return SLAD_OK;
    SLAD_FAIL_IF(slad_cancelled(context), SLAD_ERROR_INTERRUPTED, "Interrupted while measuring");
    SLAD_TRY(slad_store_create(context, &store, (size_t)(state->device->info.max_allocation / sizeof(float))));
    SLAD_TRY(slad_executor_create_opencl(context, &executor, store, state->device, NULL));
    for (unsigned i = 0; i < (gradient ? 2 : 1); i++) {
        SLAD_TRY(slad_record_create(context, &records[i], store, test->forward.name));
        SLAD_TRY(test->record(records[i], test, i == 1));
        SLAD_TRY(slad_executor_add(executor, records[i]));
    }
    SLAD_TRY(slad_executor_allocate(executor));
    for (unsigned i = 0; i < (gradient ? 2 : 1); i++) SLAD_TRY(write_inputs(executor, records[i]));
    const slad_opencl_record *bound = ((slad_opencl_executor *)executor)->records;
    const bench_launches forward = {state->device, bound[0].enqueues, bound[0].enqueue_count, test->phase};
    SLAD_TRY(measure_row(state, &test->forward, &forward));
    if (gradient) {
        const bench_launches backward = {state->device, bound[1].enqueues + forward.count,
                                         bound[1].enqueue_count - forward.count, test->phase};
        SLAD_TRY(slad_executor_run(executor, records[1], SLAD_PHASE_MICRO_BATCH)); /* leaves what backward reads */
        SLAD_TRY(measure_row(state, &test->backward, &backward));
    }
cleanup:
    slad_executor_free(executor);
    for (unsigned i = 0; i < 2; i++) slad_record_free(records[i]);
    slad_store_free(store);
    return status;
}

/* Hands a gradient to y, if one is wanted. */
static slad_status finish_record(slad_record *record, const slad_tensor *y, bool gradient)
{
    slad_status status = slad_record_status(record);
    if (status != SLAD_OK || !gradient) return status;
    const slad_tensor *dy = slad_record_input(record, "dy", SLAD_F32, y->rank, y->size, 0);
    slad_gradient_pass(record, y, dy);
    return slad_record_differentiate(record);
}

static const slad_tensor *input(slad_record *record, const char *name, unsigned rank, const size_t *size, bool gradient)
{
    const slad_tensor *x = slad_record_input(record, name, SLAD_F32, rank, size, 0);
    if (x && gradient) slad_record_require_gradient(record, x);
    return x;
}

static slad_status record_gemm(slad_record *record, const bench_case *test, bool gradient)
{
    const size_t size[2] = {test->rows, test->other}, weight_size[2] = {test->width, test->other};
    const slad_weight weight = {.weight = slad_self_test_frozen(record, "weight", 2, weight_size, 0.1)};
    return finish_record(record, slad_linear(record, input(record, "x", 2, size, gradient), &weight, NULL), gradient);
}

static slad_status record_attention(slad_record *record, const bench_case *test, bool gradient)
{
    const size_t size[3] = {test->images, test->rows / test->images, 3 * test->width};
    return finish_record(record, slad_attention(record, input(record, "qkv", 3, size, gradient), test->other),
                         gradient);
}

static slad_status record_layer_norm(slad_record *record, const bench_case *test, bool gradient)
{
    const size_t size[2] = {test->rows, test->width};
    const slad_tensor *gamma = slad_self_test_frozen(record, "gamma", 1, &test->width, 1.0);
    const slad_tensor *beta = slad_self_test_frozen(record, "beta", 1, &test->width, 1.0);
    const slad_tensor *x = input(record, "x", 2, size, gradient);
    return finish_record(record, slad_layer_norm(record, x, gamma, beta, 1e-6), gradient);
}

static slad_status record_gelu(slad_record *record, const bench_case *test, bool gradient)
{
    const size_t size[2] = {test->rows, test->width};
    return finish_record(record, slad_gelu(record, input(record, "x", 2, size, gradient)), gradient);
}

static slad_status record_layer_scale(slad_record *record, const bench_case *test, bool gradient)
{
    const size_t size[2] = {test->rows, test->width};
    const slad_tensor *gamma = slad_self_test_frozen(record, "gamma", 1, &test->width, 1.0);
    const slad_tensor *x = input(record, "x", 2, size, false), *z = input(record, "z", 2, size, gradient);
    return finish_record(record, slad_layer_scale(record, x, z, gamma), gradient);
}

/* Loss and gradient are one operation. */
static slad_status record_loss(slad_record *record, const bench_case *test, bool gradient)
{
    slad_status status = SLAD_OK;
    const slad_distillation parameters = {.alpha_student = 1, .alpha_teacher = 1, .alpha_kl = 1, .tau = 2};
    const size_t size[2] = {test->rows, test->width}, step_values = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS;
    const slad_tensor *steps = NULL, *accumulators = NULL;
    (void)gradient;
    SLAD_TRY(slad_store_state(slad_record_store(record), &steps, "step_values", SLAD_F32, 1, &step_values));
    SLAD_TRY(slad_store_state(slad_record_store(record), &accumulators, "accumulators", SLAD_F32, 1, &sums));
    const slad_tensor *student = input(record, "student", 2, size, true),
                      *teacher = input(record, "teacher", 2, size, true);
    const slad_tensor *labels = slad_record_input(record, "labels", SLAD_I32, 1, &test->rows, (uint32_t)test->width);
    const slad_tensor *weights = input(record, "weights", 1, &test->rows, false);
    slad_distillation_loss(record, student, teacher, labels, NULL, NULL, weights, weights, steps, accumulators,
                           &parameters);
    SLAD_TRY(slad_record_status(record));
    SLAD_TRY(slad_record_differentiate(record));
cleanup:
    return status;
}

/* What is trained is one weight; its step values are 0, so that it stays as it is. */
static slad_status record_optimizer(slad_record *record, const bench_case *test, bool gradient)
{
    slad_status status = SLAD_OK;
    const size_t size[2] = {1, test->other}, weight_size[2] = {test->width / test->other, test->other};
    const size_t step_values = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS, reported = SLAD_REPORT;
    slad_store *store = slad_record_store(record);
    const slad_tensor *steps = NULL, *accumulators = NULL, *report = NULL;
    (void)gradient;
    SLAD_TRY(slad_store_state(store, &steps, "step_values", SLAD_F32, 1, &step_values));
    SLAD_TRY(slad_store_state(store, &accumulators, "accumulators", SLAD_F32, 1, &sums));
    SLAD_TRY(slad_store_state(store, &report, "report", SLAD_F32, 1, &reported));
    const slad_weight weight = {.weight = slad_self_test_trained(record, "weight", 2, weight_size, 0.1)};
    const slad_tensor *y = slad_linear(record, input(record, "x", 2, size, false), &weight, NULL);
    SLAD_TRY(finish_record(record, y, true));
    SLAD_TRY(slad_optimizer(record, steps, accumulators, report, 1.0));
cleanup:
    return status;
}

static slad_status measure_gemm(slad_bench_state *state, const slad_gemm_problem *problem)
{
    const double rows = (double)problem->rows, columns = (double)problem->columns, depth = (double)problem->depth;
    const bench_case test = {
        .record = record_gemm,
        .rows = problem->rows,
        .width = problem->columns,
        .other = problem->depth,
        .forward = {.name = "gemm",
                    .sizes = {{"rows", problem->rows}, {"columns", problem->columns}, {"depth", problem->depth}},
                    .flops = 2 * rows * columns * depth,
                    .bytes = sizeof(float) * (rows * depth + columns * depth + rows * columns)},
    };
    return measure_case(state, &test);
}

/* A kernel that reads `forward` numbers an element, or `backward`, and writes them. */
static slad_status measure_elements(slad_bench_state *state, bench_case test, const char *name,
                                    const char *backward_name, double forward, double backward)
{
    const double bytes = sizeof(float) * (double)(test.rows * test.width);
    test.forward =
        (slad_bench_row){.name = name, .sizes = {{"rows", test.rows}, {"width", test.width}}, .bytes = forward * bytes};
    test.backward = test.forward;
    test.backward.name = backward_name;
    test.backward.bytes = backward * bytes;
    return measure_case(state, &test);
}

/* Forward two products of T x T x head width a head, backward five. */
static slad_status measure_attention(slad_bench_state *state, const slad_bench_encoder *encoder)
{
    const size_t images = state->options.batch;
    const double rows = (double)(images * encoder->tokens), width = (double)encoder->width;
    const double product = 2 * rows * (double)encoder->tokens * width;
    bench_case test = {
        .record = record_attention,
        .images = images,
        .rows = images * encoder->tokens,
        .width = encoder->width,
        .other = encoder->heads,
        .forward = {.name = "attention",
                    .sizes = {{"images", images},
                              {"tokens", encoder->tokens},
                              {"heads", encoder->heads},
                              {"head_width", encoder->width / encoder->heads}},
                    .flops = 2 * product,
                    .bytes = sizeof(float) * 4 * rows * width},
    };
    test.backward = test.forward;
    test.backward.name = "attention backward";
    test.backward.flops = 5 * product;
    test.backward.bytes = sizeof(float) * 8 * rows * width;
    return measure_case(state, &test);
}

static slad_status measure_encoder(slad_bench_state *state, const slad_bench_encoder *encoder)
{
    slad_status status = SLAD_OK;
    const size_t rows = state->options.batch * encoder->tokens, width = encoder->width;
    const bench_case norm = {.record = record_layer_norm, .rows = rows, .width = width};
    const bench_case scale = {.record = record_layer_scale, .rows = rows, .width = width};
    const bench_case gelu = {.record = record_gelu, .rows = rows, .width = encoder->mlp_width};
    SLAD_TRY(measure_attention(state, encoder));
    SLAD_TRY(measure_elements(state, norm, "layer_norm", "layer_norm backward", 2, 3));
    SLAD_TRY(measure_elements(state, scale, "layer_scale", "layer_scale backward", 3, 2));
    SLAD_TRY(measure_elements(state, gelu, "gelu", "gelu backward", 2, 3));
cleanup:
    return status;
}

slad_status slad_bench_kernels(slad_bench_state *state)
{
    slad_status status = SLAD_OK;
    enum { DEPTH = 64 };
    const size_t elements = (state->trained + DEPTH - 1) / DEPTH * DEPTH;
    const bench_case loss = {.record = record_loss, .rows = state->options.batch, .width = SLAD_BENCH_CLASSES};
    /* Norm: the gradient. AdamW: value, gradient and two moments read and written. */
    const bench_case optimizer = {.record = record_optimizer,
                                  .phase = SLAD_PHASE_STEP,
                                  .width = elements,
                                  .other = DEPTH,
                                  .forward = {.name = "optimizer",
                                              .sizes = {{"trained", elements}},
                                              .bytes = sizeof(float) * 9.0 * (double)elements}};
    for (size_t i = 0; i < state->problem_count; i++) SLAD_TRY(measure_gemm(state, &state->problems[i]));
    for (size_t i = 0; i < state->encoder_count; i++) SLAD_TRY(measure_encoder(state, &state->encoders[i]));
    SLAD_TRY(measure_elements(state, loss, "loss and gradient", NULL, 4, 0));
    SLAD_TRY(measure_case(state, &optimizer));
cleanup:
    return status;
}
