/* bench_attention: GFLOP/s of attention forward and backward beside the register-tile GEMM and the device's measured
 * peak. All take turns, so that other work on the machine hits them alike; best and median are told. The time of the
 * backward pass is that of a record with both passes less that of one with the forward pass alone. */
#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "cl/peak.h"
#include "graph/executor.h"
#include "ops/operations.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROUNDS = 64, BATCH = 8, HEAD_DIM = 64 };
static const double seconds_a_turn = 0.1;

typedef struct attention_shape {
    const char *model;
    size_t heads, tokens;
} attention_shape;

/* A tiny image; 224 px and 518 px in patches of 14, with the class token. */
static const attention_shape shapes[] = {{"ViT-S", 6, 17},  {"ViT-S", 6, 257},  {"ViT-S", 6, 1370},
                                         {"ViT-B", 12, 17}, {"ViT-B", 12, 257}, {"ViT-B", 12, 1370}};

typedef enum candidate { GEMM, FORWARD, BOTH, CANDIDATES } candidate;

typedef struct bench_options {
    const char *device;
    bool json, cpu_time;
    size_t rounds;
} bench_options;

typedef struct attention_bench {
    slad_context *context;
    slad_device *device;
    bench_options options;
    slad_peak peak;
    slad_gemm *gemm;
    cl_mem a, b, c;
    uint64_t a_bytes, b_bytes, c_bytes;
    slad_gemm_call call;
} attention_bench;

/* One shape, ready to run. */
typedef struct attention_case {
    slad_store *store;
    slad_executor *executor;
    slad_record *records[CANDIDATES];         /* none for GEMM */
    const slad_tensor *inputs[CANDIDATES][2]; /* qkv and, for BOTH, dout */
    size_t repeats[CANDIDATES];
    double seconds[CANDIDATES][MAX_ROUNDS]; /* of one run */
} attention_case;

static const slad_gemm_problem gemm_problem = {
    .rows = 2048, .columns = 768, .depth = 768, .a_stride = 768, .c_stride = 768};

static double now(const attention_bench *bench)
{
    return slad_peak_seconds(bench->device, bench->options.cpu_time);
}

static slad_status create_random(attention_bench *bench, cl_mem *buffer, uint64_t *bytes, size_t count)
{
    slad_context *context = bench->context;
    slad_status status = SLAD_OK;
    float *values = NULL;
    slad_random random = slad_random_start(1, SLAD_RANDOM_VERIFY, 0, (uint32_t)count);
    SLAD_TRY(slad_allocate(context, &values, count, sizeof *values, "benchmark operands"));
    for (size_t i = 0; i < count; i++) values[i] = slad_random_uniform(&random) - 0.5F;
    *bytes = count * sizeof *values;
    SLAD_TRY(slad_buffer_create(bench->device, buffer, *bytes, "benchmark operands"));
    SLAD_TRY(slad_buffer_write(bench->device, *buffer, 0, values, *bytes));
cleanup:
    slad_release(values);
    return status;
}

static slad_status prepare_gemm(attention_bench *bench)
{
    slad_status status = SLAD_OK;
    const slad_gemm_problem *problem = &gemm_problem;
    SLAD_TRY(slad_gemm_create(bench->device, &bench->gemm, SLAD_GEMM_REGISTER_TILE));
    SLAD_TRY(slad_gemm_verify(bench->gemm, problem));
    const slad_gemm_layout layout = slad_gemm_get_layout(bench->gemm, problem->columns, problem->depth);
    SLAD_TRY(create_random(bench, &bench->a, &bench->a_bytes, problem->rows * problem->depth));
    SLAD_TRY(create_random(bench, &bench->b, &bench->b_bytes, layout.elements));
    SLAD_TRY(create_random(bench, &bench->c, &bench->c_bytes, problem->rows * problem->columns));
    SLAD_TRY(slad_gemm_bind(bench->gemm, &bench->call, (slad_gemm_operand){bench->c, 0},
                            (slad_gemm_operand){bench->a, 0}, (slad_gemm_operand){bench->b, 0}, (slad_gemm_operand){0},
                            problem));
cleanup:
    return status;
}

/* attention(qkv), and its gradient for BOTH. */
static slad_status make_record(attention_bench *bench, attention_case *test, candidate who,
                               const attention_shape *shape)
{
    slad_context *context = bench->context;
    slad_status status = SLAD_OK;
    const size_t size[] = {BATCH, shape->tokens, 3 * shape->heads * HEAD_DIM};
    SLAD_TRY(slad_record_create(context, &test->records[who], test->store, who == BOTH ? "both" : "forward"));
    slad_record *record = test->records[who];
    const slad_tensor *qkv = slad_record_input(record, "qkv", SLAD_F32, 3, size, 0), *dout = NULL;
    if (who == BOTH) slad_record_require_gradient(record, qkv);
    const slad_tensor *out = slad_attention(record, qkv, shape->heads);
    SLAD_TRY(slad_record_status(record));
    if (who == BOTH) {
        dout = slad_record_input(record, "dout", SLAD_F32, 3, out->size, 0);
        slad_gradient_pass(record, out, dout);
        SLAD_TRY(slad_record_differentiate(record));
    }
    test->inputs[who][0] = qkv;
    test->inputs[who][1] = dout;
    SLAD_TRY(slad_executor_add(test->executor, record));
cleanup:
    return status;
}

static slad_status write_random(attention_bench *bench, attention_case *test, candidate who, const slad_tensor *tensor)
{
    slad_context *context = bench->context;
    slad_status status = SLAD_OK;
    float *values = NULL;
    if (!tensor) return SLAD_OK;
    slad_random random = slad_random_start(1, SLAD_RANDOM_VERIFY, 1, 0);
    const size_t count = slad_tensor_elements(tensor);
    SLAD_TRY(slad_allocate(context, &values, count, sizeof *values, "benchmark inputs"));
    for (size_t i = 0; i < count; i++) values[i] = (float)slad_random_normal(&random);
    SLAD_TRY(slad_executor_write(test->executor, test->records[who], tensor, values));
cleanup:
    slad_release(values);
    return status;
}

static slad_status open_case(attention_bench *bench, attention_case *test, const attention_shape *shape)
{
    slad_context *context = bench->context;
    slad_status status = SLAD_OK;
    const slad_device_info *info = slad_device_get_info(bench->device);
    SLAD_TRY(slad_store_create(context, &test->store, (size_t)(info->max_allocation / sizeof(float))));
    SLAD_TRY(slad_executor_create_opencl(context, &test->executor, test->store, bench->device, NULL));
    SLAD_TRY(make_record(bench, test, FORWARD, shape));
    SLAD_TRY(make_record(bench, test, BOTH, shape));
    SLAD_TRY(slad_executor_allocate(test->executor));
    for (candidate who = FORWARD; who < CANDIDATES; who++)
        for (size_t i = 0; i < 2; i++) SLAD_TRY(write_random(bench, test, who, test->inputs[who][i]));
cleanup:
    return status;
}

static void close_case(attention_case *test)
{
    slad_executor_free(test->executor);
    for (candidate who = GEMM; who < CANDIDATES; who++) slad_record_free(test->records[who]);
    slad_store_free(test->store);
}

static slad_status run_turn(attention_bench *bench, const attention_case *test, candidate who, size_t repeats,
                            double *seconds)
{
    slad_status status = SLAD_OK;
    const double start = now(bench);
    for (size_t i = 0; i < repeats; i++)
        SLAD_TRY(who == GEMM ? slad_gemm_enqueue(&bench->call)
                             : slad_executor_run(test->executor, test->records[who], SLAD_PHASE_MICRO_BATCH));
    SLAD_TRY(slad_device_finish(bench->device));
    *seconds = (now(bench) - start) / (double)repeats;
cleanup:
    return status;
}

static slad_status measure(attention_bench *bench, attention_case *test)
{
    slad_status status = SLAD_OK;
    double seconds;
    for (candidate who = GEMM; who < CANDIDATES; who++) {
        SLAD_TRY(run_turn(bench, test, who, 1, &seconds)); /* may compile */
        for (test->repeats[who] = 1; test->repeats[who] < 65536; test->repeats[who] *= 2) {
            const double start = slad_clock_seconds();
            SLAD_TRY(run_turn(bench, test, who, test->repeats[who], &seconds));
            if (slad_clock_seconds() - start > seconds_a_turn) break;
        }
    }
    for (size_t round = 0; round < bench->options.rounds; round++) {
        SLAD_TRY(slad_peak_measure(&bench->peak, seconds_a_turn));
        for (candidate who = GEMM; who < CANDIDATES; who++)
            SLAD_TRY(run_turn(bench, test, who, test->repeats[who], &test->seconds[who][round]));
    }
cleanup:
    return status;
}

static int compare_doubles(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

typedef struct rates {
    double gemm, forward, backward; /* GFLOP/s */
} rates;

/* Of the sorted times at `place`. Forward: two products of T x T x head_dim a head; backward: five, although the
 * kernels compute seven. */
static rates rates_at(attention_case *test, const attention_shape *shape, size_t place, size_t rounds)
{
    for (candidate who = GEMM; who < CANDIDATES; who++)
        qsort(test->seconds[who], rounds, sizeof test->seconds[who][0], compare_doubles);
    const double product = 2e-9 * BATCH * HEAD_DIM * (double)(shape->heads * shape->tokens * shape->tokens);
    const double gemm = 2e-9 * (double)(gemm_problem.rows * gemm_problem.columns * gemm_problem.depth);
    const double forward = test->seconds[FORWARD][place], both = test->seconds[BOTH][place];
    return (rates){gemm / test->seconds[GEMM][place], 2 * product / forward, 5 * product / (both - forward)};
}

static void print_case(const attention_bench *bench, attention_case *test, const attention_shape *shape, bool first)
{
    const size_t rounds = bench->options.rounds;
    const rates best = rates_at(test, shape, 0, rounds), median = rates_at(test, shape, rounds / 2, rounds);
    const rates *shown = bench->options.cpu_time ? &median : &best; /* see slad_peak_seconds */
    const double forward_share = shown->forward / shown->gemm, backward_share = shown->backward / shown->gemm;
    if (bench->options.json) {
        (void)printf("%s\n    {\"model\": \"%s\", \"batch\": %d, \"heads\": %zu, \"head_dim\": %d, \"tokens\": %zu,\n"
                     "     \"best_gflops\": {\"gemm\": %.1f, \"forward\": %.1f, \"backward\": %.1f},\n"
                     "     \"median_gflops\": {\"gemm\": %.1f, \"forward\": %.1f, \"backward\": %.1f},\n"
                     "     \"forward_of_gemm\": %.3f, \"backward_of_gemm\": %.3f}",
                     first ? "" : ",", shape->model, BATCH, shape->heads, HEAD_DIM, shape->tokens, best.gemm,
                     best.forward, best.backward, median.gemm, median.forward, median.backward, forward_share,
                     backward_share);
        return;
    }
    (void)printf("| %s | %4zu | %6.1f (%6.1f) | %6.1f (%6.1f) %4.2f | %6.1f (%6.1f) %4.2f |\n", shape->model,
                 shape->tokens, best.gemm, median.gemm, best.forward, median.forward, forward_share, best.backward,
                 median.backward, backward_share);
    (void)fflush(stdout);
}

static void print_head(const attention_bench *bench)
{
    const slad_device_info *info = slad_device_get_info(bench->device);
    const bench_options *options = &bench->options;
    if (options->json) {
        (void)printf("{\n  \"platform\": \"%s\", \"device\": \"%s\", \"driver\": \"%s\", \"compute_units\": %u,\n"
                     "  \"gemm\": \"%s\", \"gemm_shape\": \"%zu x %zu x %zu\",\n  \"time\": \"%s\", \"rounds\": %zu,\n"
                     "  \"shapes\": [",
                     info->platform, info->name, info->driver, info->compute_units, slad_gemm_description(bench->gemm),
                     gemm_problem.rows, gemm_problem.columns, gemm_problem.depth,
                     options->cpu_time ? "processor" : "wall", options->rounds);
        return;
    }
    (void)printf("%s, driver %s, %u compute units\nGEMM: %s, %zu x %zu x %zu\n\n"
                 "GFLOP/s%s: best of %zu rounds (median), share of the GEMM's; %d images, heads of %d\n\n"
                 "| model | tokens | GEMM | forward | backward |\n| --- | --- | --- | --- | --- |\n",
                 info->name, info->driver, info->compute_units, slad_gemm_description(bench->gemm), gemm_problem.rows,
                 gemm_problem.columns, gemm_problem.depth, options->cpu_time ? " of processor time" : "",
                 options->rounds, BATCH, HEAD_DIM);
}

static slad_status run(attention_bench *bench)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(prepare_gemm(bench));
    print_head(bench);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        attention_case test = {0};
        status = open_case(bench, &test, &shapes[i]);
        if (status == SLAD_OK) status = measure(bench, &test);
        if (status == SLAD_OK) print_case(bench, &test, &shapes[i], i == 0);
        close_case(&test);
        if (status != SLAD_OK) break;
    }
    (void)printf(bench->options.json ? "\n  ],\n  \"peak_gflops\": %.1f\n}\n" : "\nmeasured peak: %.1f GFLOP/s\n",
                 bench->peak.best);
cleanup:
    return status;
}

static bool parse(bench_options *options, int count, char **arguments)
{
    *options = (bench_options){.rounds = 9};
    for (int i = 1; i < count; i++) {
        const bool has_value = i + 1 < count;
        if (strcmp(arguments[i], "--json") == 0) {
            options->json = true;
        } else if (strcmp(arguments[i], "--cpu-time") == 0) {
            options->cpu_time = true;
        } else if (strcmp(arguments[i], "--device") == 0 && has_value) {
            options->device = arguments[++i];
        } else if (strcmp(arguments[i], "--rounds") == 0 && has_value) {
            options->rounds = (size_t)strtoul(arguments[++i], NULL, 10);
        } else {
            return false;
        }
    }
    return options->rounds >= 1 && options->rounds <= MAX_ROUNDS;
}

static void release(attention_bench *bench)
{
    slad_gemm_call_free(&bench->call);
    slad_buffer_free(bench->device, bench->a, bench->a_bytes);
    slad_buffer_free(bench->device, bench->b, bench->b_bytes);
    slad_buffer_free(bench->device, bench->c, bench->c_bytes);
    slad_gemm_free(bench->gemm);
    slad_peak_free(&bench->peak);
    slad_device_free(bench->device);
    slad_context_free(bench->context);
}

int main(int count, char **arguments)
{
    slad_status status = SLAD_OK;
    attention_bench bench = {0};
    if (!parse(&bench.options, count, arguments)) {
        (void)fprintf(stderr, "usage: bench_attention [--device SPEC] [--rounds 1..%d] [--cpu-time] [--json]\n",
                      MAX_ROUNDS);
        return SLAD_ERROR_USAGE;
    }
    const slad_device_options device_options = {.spec = bench.options.device};
    SLAD_TRY(slad_context_create(&bench.context, NULL, SLAD_LOG_ERROR));
    SLAD_TRY(slad_device_open(bench.context, &bench.device, &device_options));
    if (bench.options.cpu_time && slad_device_get_info(bench.device)->type != SLAD_DEVICE_CPU) {
        (void)fprintf(stderr, "bench_attention: --cpu-time tells nothing of a device that is no CPU; leave it out\n");
        status = SLAD_ERROR_USAGE;
        goto release;
    }
    SLAD_TRY(slad_peak_create(bench.device, &bench.peak, bench.options.cpu_time));
    SLAD_TRY(run(&bench));
cleanup:
    if (status != SLAD_OK) (void)fprintf(stderr, "bench_attention: %s\n", slad_context_message(bench.context));
release:
    release(&bench);
    return (int)status;
}
