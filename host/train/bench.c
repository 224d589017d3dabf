#include "train/bench.h"
#include "base/memory.h"
#include "base/threads.h"
#include <stdio.h>

enum { LEAST_REPETITIONS = 5, MOST_REPETITIONS = 1000, MOST_BATCH = 65536, MOST_SIZE = 16384 };

bool slad_bench_has_time(slad_bench_state *state)
{
    const double limit = state->options.max_seconds;
    if (limit <= 0 || slad_clock_seconds() - state->start < limit) return true;
    state->left_out++;
    return false;
}

slad_status slad_bench_note_problem(slad_bench_state *state, size_t rows, size_t columns, size_t depth)
{
    slad_context *context = state->context;
    slad_status status = SLAD_OK;
    for (size_t i = 0; i < state->problem_count; i++) {
        const slad_gemm_problem *known = &state->problems[i];
        if (known->rows == rows && known->columns == columns && known->depth == depth) return SLAD_OK;
    }
    SLAD_TRY(slad_grow(context, &state->problems, &state->problem_capacity, state->problem_count + 1,
                       sizeof *state->problems, "GEMM shapes"));
    state->problems[state->problem_count++] = (slad_gemm_problem){.rows = rows, .columns = columns, .depth = depth};
cleanup:
    return status;
}

/* ViT-B/14 and ViT-S/14: the four products of a block each, forward (the gradients' are the same, turned round). Rows
 * without the class token, so that the numbers are those that other programs are compared by. */
static slad_status note_usual(slad_bench_state *state)
{
    static const size_t patch = 14, head_width = 64, widths[] = {768, 384};
    slad_status status = SLAD_OK;
    const size_t side = state->options.image_size / patch, rows = side * side * state->options.batch;
    for (unsigned i = 0; i < 2; i++) {
        const size_t width = widths[i];
        SLAD_TRY(slad_bench_note_problem(state, rows, width, width));
        SLAD_TRY(slad_bench_note_problem(state, rows, 3 * width, width));
        SLAD_TRY(slad_bench_note_problem(state, rows, 4 * width, width));
        SLAD_TRY(slad_bench_note_problem(state, rows, width, 4 * width));
        state->encoders[i] = (slad_bench_encoder){
            .tokens = 1 + side * side, .width = width, .heads = width / head_width, .mlp_width = 4 * width};
    }
    state->encoder_count = 2;
    state->trained = (size_t)12 * 16 * 4 * widths[0]; /* twelve layers, rank 16: A [16, d], B [3 d, 16] */
cleanup:
    return status;
}

static slad_status measure_device(slad_bench_state *state)
{
    slad_status status = SLAD_OK;
    const slad_bench_options *options = &state->options;
    slad_gemm *gemm = NULL;
    SLAD_TRY(slad_gemm_create(state->device, &gemm, SLAD_GEMM_AUTO));
    (void)snprintf(state->gemm, sizeof state->gemm, "%s", slad_gemm_description(gemm));
    SLAD_TRY(slad_peak_create(state->device, &state->peak, options->processor_time));
    for (uint32_t i = 0; i < options->repetitions; i++)
        SLAD_TRY(slad_peak_measure(&state->peak, options->turn_seconds));
    SLAD_TRY(slad_peak_bandwidth(state->device, &state->bandwidth, options->repetitions, options->turn_seconds,
                                 options->processor_time));
    SLAD_TRY(slad_peak_launch_cost(state->device, &state->launch, &state->round_trip, options->repetitions,
                                   options->processor_time));
cleanup:
    slad_gemm_free(gemm);
    return status;
}

static slad_status check(slad_context *context, slad_bench_options *options, const slad_device *device)
{
    slad_status status = SLAD_OK;
    if (options->batch == 0) options->batch = 8;
    if (options->image_size == 0) options->image_size = 224;
    if (options->repetitions == 0) options->repetitions = LEAST_REPETITIONS;
    if (options->turn_seconds <= 0) options->turn_seconds = 0.05;
    SLAD_FAIL_IF(options->teacher && !options->student, SLAD_ERROR_USAGE, "--teacher needs a --student beside it");
    SLAD_FAIL_IF(options->repetitions < LEAST_REPETITIONS || options->repetitions > MOST_REPETITIONS, SLAD_ERROR_USAGE,
                 "--repetitions must be %d to %d", LEAST_REPETITIONS, MOST_REPETITIONS);
    SLAD_FAIL_IF(options->batch > MOST_BATCH, SLAD_ERROR_USAGE, "--batch must be 1 to %d", MOST_BATCH);
    SLAD_FAIL_IF(options->image_size < 14 || options->image_size > MOST_SIZE, SLAD_ERROR_USAGE,
                 "--image-size must be 14 to %d", MOST_SIZE);
    SLAD_FAIL_IF(options->processor_time && device->info.type != SLAD_DEVICE_CPU, SLAD_ERROR_USAGE,
                 "--cpu-time tells nothing of %s, which is no CPU; leave it out", device->info.name);
cleanup:
    return status;
}

slad_status slad_bench(slad_context *context, slad_device *device, slad_bench_result *result,
                       const slad_bench_options *options)
{
    slad_status status = SLAD_OK;
    slad_bench_state state = {.context = context, .device = device, .options = *options, .start = slad_clock_seconds()};
    *result = (slad_bench_result){0};
    SLAD_TRY(check(context, &state.options, device));
    SLAD_TRY(measure_device(&state));
    SLAD_TRY(state.options.student ? slad_bench_models(&state) : note_usual(&state));
    SLAD_TRY(slad_bench_kernels(&state));
    SLAD_TRY(slad_bench_texts(&state, result));
cleanup:
    slad_peak_free(&state.peak);
    slad_release(state.rows);
    slad_release(state.problems);
    if (status != SLAD_OK) slad_bench_result_free(result);
    return status;
}

void slad_bench_result_free(slad_bench_result *result)
{
    slad_release(result->markdown);
    slad_release(result->json);
    *result = (slad_bench_result){0};
}
