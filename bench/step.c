/* One joint training step, end to end and kernel by kernel.
 *
 *     step TEACHER STUDENT [--batch N] [--size N] [--steps N] [--memory-limit MIB] [--device SPEC] [--init FILE]
 *          [--json]
 *
 * TEACHER and STUDENT are Hugging Face folders of type dinov2 (random weights do). First whole steps are timed as
 * training runs them, without waiting in between; then each launch of one micro-batch is run alone and waited for,
 * several times, and the times are summed by kernel. Model FLOPs are 2 for each multiply-add of the linear layers and
 * of attention: forward, gradient of activations (the same again), and recomputation of scores. Processor time is shown
 * beside the clock's, for machines that are shared. --init takes tensors to start from, as slad train does.
 * --json times whole steps only. */
#include "cl/device.h"
#include "graph/executor_opencl.h"
#include "train/bench.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/threads.h"

#define CLASSES  10
#define MAX_ROWS 128
#define REPEATS  3
#define GIGA     1e9

typedef struct bench_options {
    const char *teacher, *student, *device, *init;
    unsigned batch, size, steps, memory_limit;
    bool json;
} bench_options;

/* What whole steps measured. */
typedef struct bench_steps {
    double seconds, processor_seconds; /* a step */
    double *losses;                    /* [count], the two untimed ones first; owned */
    size_t count;
    uint64_t resident_before; /* bytes, before the models were opened */
    uint64_t peak;            /* bytes, at the end of the last step */
} bench_steps;

/* The time of one kernel (or GEMM shape) over a micro-batch. */
typedef struct bench_row {
    char name[96];
    unsigned launches;
    double seconds, processor_seconds, flops;
} bench_row;

typedef struct bench_table {
    bench_row rows[MAX_ROWS];
    size_t count;
} bench_table;

static bench_row *find_row(bench_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->rows[i].name, name) == 0) return &table->rows[i];
    if (table->count == MAX_ROWS) return &table->rows[MAX_ROWS - 1];
    bench_row *row = &table->rows[table->count++];
    snprintf(row->name, sizeof row->name, "%s", name);
    return row;
}

/* Runs one enqueue alone, best of a few. */
static slad_status time_enqueue(slad_device *device, const slad_enqueue *enqueue, bench_table *table)
{
    slad_status status = SLAD_OK;
    char name[96];
    double best = 1e30, best_processor = 1e30;
    const slad_gemm_problem *problem = &enqueue->call.problem;
    if (enqueue->is_gemm)
        snprintf(name, sizeof name, "gemm %zux%zux%zu", problem->rows, problem->columns, problem->depth);
    else
        snprintf(name, sizeof name, "%s", enqueue->launch.row->entry);
    for (int i = 0; i < REPEATS; i++) {
        const double start = slad_clock_seconds(), processor = slad_processor_seconds();
        SLAD_TRY(slad_executor_enqueue(device, enqueue));
        SLAD_TRY(slad_device_finish(device));
        const double seconds = slad_clock_seconds() - start, used = slad_processor_seconds() - processor;
        if (seconds < best) best = seconds;
        if (used < best_processor) best_processor = used;
    }
    bench_row *row = find_row(table, name);
    row->launches++;
    row->seconds += best;
    row->processor_seconds += best_processor;
    if (enqueue->is_gemm) row->flops += 2.0 * (double)problem->rows * (double)problem->columns * (double)problem->depth;
cleanup:
    return status;
}

static slad_status time_kernels(slad_trainer *trainer, bench_table *table)
{
    slad_status status = SLAD_OK;
    const slad_opencl_executor *executor = (const slad_opencl_executor *)trainer->executor;
    const slad_opencl_record *record = &executor->records[0];
    for (size_t i = 0; status == SLAD_OK && i < record->enqueue_count; i++)
        status = time_enqueue(trainer->device, &record->enqueues[i], table);
    const double start = slad_clock_seconds(), processor = slad_processor_seconds();
    SLAD_TRY(slad_packed_refresh((slad_opencl_executor *)trainer->executor));
    SLAD_TRY(slad_device_finish(trainer->device));
    bench_row *row = find_row(table, "merging of adapters");
    row->launches++;
    row->seconds += slad_clock_seconds() - start;
    row->processor_seconds += slad_processor_seconds() - processor;
cleanup:
    return status;
}

/* Makes one step; notes the loss of the step before it, which is what it learns of. NULL: only waits for the last. */
static slad_status step(slad_trainer *trainer, const slad_batch *batch, bench_steps *steps)
{
    slad_step_report report;
    bool has_report = false;
    const slad_status status = batch ? slad_trainer_step(trainer, batch, &report, &has_report)
                                     : slad_trainer_finish(trainer, &report, &has_report);
    if (status == SLAD_OK && has_report) steps->losses[steps->count++] = report.loss;
    return status;
}

/* Steps as training runs them, the first two untimed. */
static slad_status time_steps(slad_trainer *trainer, const bench_options *options, bench_steps *steps)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_batch batch = {
        .capacity = options->batch, .count = options->batch, .height = options->size, .width = options->size};
    const size_t floats = (size_t)options->batch * 3 * options->size * options->size;
    double start = 0, used = 0;
    SLAD_TRY(slad_allocate(context, &steps->losses, (size_t)options->steps + 2, sizeof(double), "losses"));
    SLAD_TRY(slad_allocate(context, &batch.pixel_values, floats, sizeof(float), "a batch"));
    SLAD_TRY(slad_allocate(context, &batch.labels, options->batch, sizeof(int32_t), "a batch"));
    SLAD_TRY(slad_allocate(context, &batch.task_weights, options->batch, sizeof(float), "a batch"));
    for (size_t i = 0; i < floats; i++) batch.pixel_values[i] = (float)((double)(i * 2654435761u % 1000) / 500.0 - 1.0);
    for (unsigned i = 0; i < options->batch; i++) {
        batch.labels[i] = (int32_t)(i % CLASSES);
        batch.task_weights[i] = 1.0f;
    }
    batch.kl_weights = batch.task_weights;
    for (unsigned i = 0; i < options->steps + 2; i++) {
        if (i == 2) {
            SLAD_TRY(step(trainer, NULL, steps));
            start = slad_clock_seconds();
            used = slad_processor_seconds();
        }
        SLAD_TRY(step(trainer, &batch, steps));
    }
    SLAD_TRY(step(trainer, NULL, steps));
    steps->seconds = (slad_clock_seconds() - start) / options->steps;
    steps->processor_seconds = (slad_processor_seconds() - used) / options->steps;
    steps->peak = slad_peak_memory();
cleanup:
    slad_release(batch.pixel_values);
    slad_release(batch.labels);
    slad_release(batch.task_weights);
    return status;
}

static int slowest_first(const void *left, const void *right)
{
    const bench_row *a = left, *b = right;
    return a->seconds < b->seconds ? 1 : -(a->seconds > b->seconds);
}

static void print_json(const bench_options *options, const slad_trainer *trainer, const bench_steps *steps,
                       double flops)
{
    printf("{\"device\": \"%s\", \"batch\": %u, \"size\": %u, \"seconds_per_step\": %.6g, "
           "\"processor_seconds_per_step\": %.6g, \"images_per_s\": %.6g, \"gflops\": %.6g, "
           "\"planned_bytes\": %llu, \"resident_before_bytes\": %llu, \"peak_resident_bytes\": %llu, \"losses\": [",
           trainer->device->info.name, options->batch, options->size, steps->seconds, steps->processor_seconds,
           options->batch / steps->seconds, flops / steps->seconds / GIGA,
           (unsigned long long)trainer->plan.device_total, (unsigned long long)steps->resident_before,
           (unsigned long long)steps->peak);
    for (size_t i = 0; i < steps->count; i++) printf("%s%.9g", i == 0 ? "" : ", ", steps->losses[i]);
    printf("]}\n");
}

static void print_text(const bench_options *options, const slad_trainer *trainer, const bench_steps *steps,
                       double flops)
{
    printf("%s, batch %u, %u px: %.3f s a step (%.3f s of processor time), %.2f images/s, %.0f model GFLOP/s\n",
           trainer->device->info.name, options->batch, options->size, steps->seconds, steps->processor_seconds,
           options->batch / steps->seconds, flops / steps->seconds / GIGA);
    printf("memory: %.0f MiB planned on the device, %.0f MiB peak of the process\n",
           (double)trainer->plan.device_total / 1048576, (double)steps->peak / 1048576);
}

static void print_kernels(bench_table *table)
{
    qsort(table->rows, table->count, sizeof *table->rows, slowest_first);
    printf("%-34s %8s %10s %12s %9s\n", "kernel", "launches", "ms", "processor ms", "GFLOP/s");
    for (size_t i = 0; i < table->count; i++) {
        const bench_row *row = &table->rows[i];
        printf("%-34s %8u %10.2f %12.2f", row->name, row->launches, 1e3 * row->seconds, 1e3 * row->processor_seconds);
        if (row->flops > 0) printf(" %9.0f", row->flops / row->seconds / GIGA);
        printf("\n");
    }
}

static slad_status run(slad_context *context, const bench_options *options)
{
    slad_status status = SLAD_OK;
    slad_device *device = NULL;
    slad_encoder *teacher = NULL, *student = NULL;
    slad_trainer *trainer = NULL;
    static bench_table table;
    bench_steps steps = {0};
    slad_train_options train = slad_train_options_default();
    const slad_device_options device_options = {.spec = options->device};
    train.batch = train.micro_batch = options->batch;
    train.memory_limit = options->memory_limit;
    SLAD_TRY(slad_device_open(context, &device, &device_options));
    steps.resident_before = slad_peak_memory();
    SLAD_TRY(slad_encoder_open(context, &teacher, options->teacher));
    SLAD_TRY(slad_encoder_open(context, &student, options->student));
    SLAD_TRY(slad_trainer_create(context, &trainer, device, teacher, student, CLASSES, options->size, 1000, &train));
    if (options->init) SLAD_TRY(slad_trainer_load(trainer, options->init));
    SLAD_TRY(time_steps(trainer, options, &steps));
    const double flops = 2 * options->batch *
                         (slad_bench_forward_flops(slad_encoder_get_info(teacher), options->size) +
                          slad_bench_forward_flops(slad_encoder_get_info(student), options->size));
    (options->json ? print_json : print_text)(options, trainer, &steps, flops);
    if (!options->json) {
        SLAD_TRY(time_kernels(trainer, &table));
        print_kernels(&table);
    }
cleanup:
    slad_release(steps.losses);
    slad_trainer_free(trainer);
    slad_encoder_free(teacher);
    slad_encoder_free(student);
    slad_device_free(device);
    return status;
}

static void log_line(void *user, slad_log_level level, const char *message)
{
    (void)user;
    (void)level;
    fprintf(stderr, "%s\n", message);
}

int main(int argc, char **argv)
{
    slad_context *context;
    const slad_callbacks callbacks = {.log = log_line};
    bench_options options = {.batch = 8, .size = 224, .steps = 5};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            options.json = true;
        else if (strcmp(argv[i], "--init") == 0 && i + 1 < argc)
            options.init = argv[++i];
        else if (strcmp(argv[i], "--batch") == 0 && i + 1 < argc)
            options.batch = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--size") == 0 && i + 1 < argc)
            options.size = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--steps") == 0 && i + 1 < argc)
            options.steps = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--memory-limit") == 0 && i + 1 < argc)
            options.memory_limit = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc)
            options.device = argv[++i];
        else if (!options.teacher)
            options.teacher = argv[i];
        else
            options.student = argv[i];
    }
    if (!options.student || options.batch == 0 || options.steps == 0) {
        fprintf(stderr,
                "usage: step TEACHER STUDENT [--batch N] [--size N] [--steps N] [--memory-limit MIB] [--device SPEC] "
                "[--init FILE] [--json]\n");
        return SLAD_ERROR_USAGE;
    }
    if (slad_context_create(&context, &callbacks, SLAD_LOG_WARNING) != SLAD_OK) return SLAD_ERROR_OUT_OF_MEMORY;
    const slad_status status = run(context, &options);
    slad_context_free(context);
    return (int)status;
}
