/* Whole models: forward passes of each encoder, and training steps, as users run them. */
#include "base/memory.h"
#include "base/threads.h"
#include "graph/executor_opencl.h"
#include "train/bench.h"
#include "train/inference.h"
#include "train/trainer.h"

enum { WARM_UP = 2, TOTAL_STEPS = 1000 };

double slad_bench_forward_flops(const slad_encoder_info *info, size_t size)
{
    const size_t side = size / info->patch;
    const double d = (double)info->width, patches = (double)(side * side);
    const double tokens = patches + 1 + (double)info->registers,
                 mlp = (info->gated ? 3.0 : 2.0) * (double)info->mlp_width;
    const double linear = 2 * tokens * d * (4 * d + mlp), attention = 4 * tokens * tokens * d;
    return (double)info->layers * (linear + attention) + 2 * patches * d * 3 * (double)(info->patch * info->patch);
}

/* The encoders, the batch, and what runs on them. */
typedef struct bench_models {
    slad_bench_state *state;
    slad_encoder *encoders[2]; /* student, teacher or NULL */
    slad_batch batch;
    slad_inference *inference; /* what is being measured: one of the two */
    slad_trainer *trainer;
} bench_models;

static slad_status make_batch(bench_models *models)
{
    const slad_bench_options *options = &models->state->options;
    slad_context *context = models->state->context;
    slad_status status = SLAD_OK;
    slad_batch *batch = &models->batch;
    const size_t size = options->image_size, floats = (size_t)options->batch * 3 * size * size;
    *batch = (slad_batch){.capacity = options->batch, .count = options->batch, .height = size, .width = size};
    SLAD_TRY(slad_allocate(context, &batch->pixel_values, floats, sizeof(float), "a batch"));
    SLAD_TRY(slad_allocate(context, &batch->labels, options->batch, sizeof(int32_t), "a batch"));
    SLAD_TRY(slad_allocate(context, &batch->task_weights, options->batch, sizeof(float), "a batch"));
    for (size_t i = 0; i < floats; i++) batch->pixel_values[i] = (float)(i * 2654435761U % 1000) / 500.0F - 1.0F;
    for (uint32_t i = 0; i < options->batch; i++) {
        batch->labels[i] = (int32_t)(i % SLAD_BENCH_CLASSES);
        batch->task_weights[i] = 1.0F;
    }
    batch->kl_weights = batch->task_weights;
cleanup:
    return status;
}

/* One batch, to its end. */
static slad_status run_batch(bench_models *models)
{
    slad_status status = SLAD_OK;
    if (models->inference) {
        SLAD_TRY(slad_inference_run(models->inference, models->batch.pixel_values));
        SLAD_TRY(slad_device_finish(models->state->device));
    } else {
        SLAD_TRY(slad_trainer_step(models->trainer, &models->batch, NULL, NULL));
        SLAD_TRY(slad_trainer_finish(models->trainer, NULL, NULL));
    }
cleanup:
    return status;
}

/* Fewer than the repetitions only where time has run out; at least one. */
static slad_status time_batches(bench_models *models, slad_bench_model *result)
{
    slad_bench_state *state = models->state;
    slad_context *context = state->context;
    slad_status status = SLAD_OK;
    const slad_bench_options *options = &state->options;
    slad_rates seconds = {.count = 0};
    for (unsigned i = 0; i < WARM_UP; i++) SLAD_TRY(run_batch(models));
    for (uint32_t i = 0; i < options->repetitions; i++) {
        const double start = slad_peak_seconds(state->device, options->processor_time);
        SLAD_TRY(run_batch(models));
        slad_rates_add(&seconds, slad_peak_seconds(state->device, options->processor_time) - start);
        SLAD_FAIL_IF(slad_cancelled(context), SLAD_ERROR_INTERRUPTED, "Interrupted while measuring");
        if (options->max_seconds > 0 && slad_clock_seconds() - state->start > options->max_seconds) break;
    }
    result->seconds = slad_rates_measured(&seconds);
    result->device_bytes = state->device->allocated;
    result->peak_resident = slad_peak_memory();
cleanup:
    return status;
}

static slad_status measure_inference(bench_models *models, const slad_encoder *encoder, slad_bench_model *result)
{
    slad_bench_state *state = models->state;
    slad_status status = SLAD_OK;
    const slad_bench_options *options = &state->options;
    const slad_network_source source = {.encoder = encoder};
    slad_inference inference = {0};
    SLAD_TRY(slad_inference_create(state->context, &inference, state->device, &source, options->batch,
                                   options->image_size, SLAD_POSITION_AUTO, SLAD_WANT_TOKENS));
    models->inference = &inference;
    SLAD_TRY(time_batches(models, result));
    result->flops = options->batch * slad_bench_forward_flops(slad_encoder_get_info(encoder), options->image_size);
cleanup:
    models->inference = NULL;
    slad_inference_free(&inference);
    return status;
}

/* The shapes and sizes that its kernels work on. */
static slad_status note_trainer(slad_bench_state *state, const slad_trainer *trainer)
{
    slad_status status = SLAD_OK;
    const slad_opencl_executor *executor = (const slad_opencl_executor *)trainer->executor;
    for (size_t i = 0; i < executor->problem_count; i++) {
        const slad_gemm_problem *problem = &executor->problems[i];
        SLAD_TRY(slad_bench_note_problem(state, problem->rows, problem->columns, problem->depth));
    }
    for (size_t i = 0; i < slad_store_trained_count(trainer->store); i++)
        state->trained += slad_tensor_elements(slad_store_trained_at(trainer->store, i)->tensor);
cleanup:
    return status;
}

/* A step computes the forward pass, and about as much again for the gradients of the activations. */
static slad_status measure_training(bench_models *models, slad_bench_model *result)
{
    slad_bench_state *state = models->state;
    slad_status status = SLAD_OK;
    const slad_bench_options *options = &state->options;
    slad_train_options train = slad_train_options_default();
    if (!options->teacher) slad_train_options_set_method(&train, SLAD_METHOD_LORA);
    train.batch = options->batch;
    SLAD_TRY(slad_trainer_create(state->context, &models->trainer, state->device, models->encoders[1],
                                 models->encoders[0], SLAD_BENCH_CLASSES, options->image_size, TOTAL_STEPS, &train));
    SLAD_TRY(note_trainer(state, models->trainer));
    if (!slad_bench_has_time(state)) goto cleanup;
    SLAD_TRY(time_batches(models, result));
    result->name = options->teacher ? "training, both (slad)" : "training, student (lora)";
    for (unsigned i = 0; i < 2; i++) {
        if (!models->encoders[i]) continue;
        const slad_encoder_info *info = slad_encoder_get_info(models->encoders[i]);
        result->flops += 2.0 * options->batch * slad_bench_forward_flops(info, options->image_size);
    }
cleanup:
    slad_trainer_free(models->trainer);
    models->trainer = NULL;
    return status;
}

static slad_status open_encoder(bench_models *models, unsigned index, const char *path)
{
    slad_bench_state *state = models->state;
    slad_context *context = state->context;
    slad_status status = SLAD_OK;
    const uint32_t size = state->options.image_size;
    SLAD_TRY(slad_encoder_open(context, &models->encoders[index], path));
    const slad_encoder_info *info = slad_encoder_get_info(models->encoders[index]);
    SLAD_FAIL_IF(size % info->patch != 0, SLAD_ERROR_USAGE,
                 "--image-size %u is no multiple of the %zu px patches of %s", size, info->patch, path);
    const size_t side = size / info->patch;
    state->encoders[state->encoder_count++] = (slad_bench_encoder){.tokens = 1 + info->registers + side * side,
                                                                   .width = info->width,
                                                                   .heads = info->heads,
                                                                   .mlp_width = info->mlp_width};
cleanup:
    return status;
}

slad_status slad_bench_models(slad_bench_state *state)
{
    static const char *const names[2] = {"inference, student", "inference, teacher"};
    slad_status status = SLAD_OK;
    bench_models models = {.state = state};
    const char *const paths[2] = {state->options.student, state->options.teacher};
    for (unsigned i = 0; i < 2; i++)
        if (paths[i]) SLAD_TRY(open_encoder(&models, i, paths[i]));
    SLAD_TRY(make_batch(&models));
    for (unsigned i = 0; i < 2; i++) {
        if (!models.encoders[i] || !slad_bench_has_time(state)) continue;
        SLAD_TRY(measure_inference(&models, models.encoders[i], &state->models[i]));
        state->models[i].name = names[i];
    }
    SLAD_TRY(measure_training(&models, &state->models[2]));
cleanup:
    slad_release(models.batch.pixel_values);
    slad_release(models.batch.labels);
    slad_release(models.batch.task_weights);
    for (unsigned i = 0; i < 2; i++) slad_encoder_free(models.encoders[i]);
    return status;
}
