/* Features of a data set as a safetensors file. */
#include "base/memory.h"
#include "train/data_pass.h"
#include "train/run_model.h"
#include <string.h>

/* The tensors of the file, by their index in the writer's list. */
enum { HIDDEN, CLS, MEAN, FEATURE_TENSORS };

typedef struct slad_features_run {
    slad_context *context;
    const slad_features_options *options;
    slad_run_model model;
    slad_data_pass pass;
    slad_inference inference;
    slad_safetensors_writer *writer;
    size_t tokens, width;
    float *hidden, *cls, *mean; /* of one batch */
} slad_features_run;

static slad_status open_data(slad_features_run *run)
{
    const slad_features_options *options = run->options;
    const slad_data_pass_options pass = {
        .data = options->data,
        .model_folder = run->model.student_folder,
        .split = options->split,
        .strict = options->strict_data,
        .batch = options->batch,
        .workers = options->workers,
        .image_size = options->image_size,
    };
    return slad_data_pass_open(run->context, &run->pass, &pass);
}

static slad_status open_inference(slad_features_run *run, slad_device *device)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const size_t batch = run->pass.batch;
    slad_network_source source;
    SLAD_FAIL_IF(run->options->teacher && !slad_run_model_has_teacher(&run->model), SLAD_ERROR_USAGE,
                 "%s has no teacher; --model teacher needs a run of a joint method", run->options->model);
    if (run->options->teacher)
        SLAD_TRY(slad_run_model_teacher(context, &source, &run->model));
    else
        SLAD_TRY(slad_run_model_student(context, &source, &run->model, false));
    SLAD_TRY(slad_inference_create(context, &run->inference, device, &source, batch, run->pass.image_size,
                                   slad_run_model_position(&run->model, run->options->position_mode),
                                   SLAD_WANT_TOKENS));
    run->tokens = run->inference.network.backbone.tokens;
    run->width = slad_encoder_get_info(source.encoder)->width;
    SLAD_TRY(slad_allocate(context, &run->hidden, batch * run->tokens * run->width, sizeof(float), "features"));
    SLAD_TRY(slad_allocate(context, &run->cls, batch * run->width, sizeof(float), "features"));
    SLAD_TRY(slad_allocate(context, &run->mean, batch * run->width, sizeof(float), "features"));
cleanup:
    return status;
}

/* CLS and the mean of the patches, in double, of one image's tokens, without class token and registers. */
static void summarise(const slad_features_run *run, size_t row)
{
    const size_t prefix = run->inference.network.backbone.prefix;
    const float *tokens = run->hidden + row * run->tokens * run->width;
    memcpy(run->cls + row * run->width, tokens, run->width * sizeof *tokens);
    for (size_t d = 0; d < run->width; d++) {
        double sum = 0;
        for (size_t t = prefix; t < run->tokens; t++) sum += (double)tokens[t * run->width + d];
        run->mean[row * run->width + d] = (float)(sum / (double)(run->tokens - prefix));
    }
}

static slad_status write_batch(void *user, const slad_batch *batch, size_t first)
{
    slad_features_run *run = user;
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const size_t per_image = run->tokens * run->width;
    char *name = NULL;
    for (size_t row = 0; row < batch->count; row++) {
        if (batch->task_weights[row] != 0.0f) continue;
        SLAD_TRY(slad_dataset_item_name(context, &name, run->pass.dataset, run->pass.split, batch->indices[row]));
        SLAD_FAIL_IF(true, SLAD_ERROR_DATA,
                     "%s is broken, and a file of features has a row for every image; replace or remove it", name);
    }
    SLAD_TRY(slad_inference_run(&run->inference, batch->pixel_values));
    SLAD_TRY(slad_inference_read(&run->inference, run->hidden, run->inference.tokens));
    for (size_t row = 0; row < batch->count; row++) summarise(run, row);
    SLAD_TRY(
        slad_safetensors_writer_put(run->writer, HIDDEN, first * per_image, run->hidden, batch->count * per_image));
    SLAD_TRY(slad_safetensors_writer_put(run->writer, CLS, first * run->width, run->cls, batch->count * run->width));
    SLAD_TRY(slad_safetensors_writer_put(run->writer, MEAN, first * run->width, run->mean, batch->count * run->width));
cleanup:
    slad_release(name);
    return status;
}

static slad_status open_writer(slad_features_run *run)
{
    const uint64_t hidden[3] = {run->pass.images, run->tokens, run->width}, vector[2] = {run->pass.images, run->width};
    const slad_safetensors_entry entries[FEATURE_TENSORS] = {
        [HIDDEN] = {"last_hidden_state", SLAD_SAFETENSORS_F32, 3, hidden, NULL},
        [CLS] = {"cls", SLAD_SAFETENSORS_F32, 2, vector, NULL},
        [MEAN] = {"mean", SLAD_SAFETENSORS_F32, 2, vector, NULL},
    };
    return slad_safetensors_writer_begin(run->context, &run->writer, run->options->out, entries, FEATURE_TENSORS, NULL,
                                         0);
}

slad_status slad_run_features(slad_context *context, slad_device *device, const slad_features_options *options)
{
    slad_status status = SLAD_OK;
    slad_features_run run = {.context = context, .options = options};
    SLAD_TRY(slad_run_model_open(context, &run.model, options->model, options->teacher));
    SLAD_TRY(open_data(&run));
    SLAD_TRY(open_inference(&run, device));
    SLAD_TRY(open_writer(&run));
    SLAD_TRY(slad_data_pass_walk(&run.pass, "computing features", write_batch, &run));
    slad_safetensors_writer *finished = run.writer;
    run.writer = NULL;
    SLAD_TRY(slad_safetensors_writer_finish(finished));
    slad_log(context, SLAD_LOG_INFO, "Features of %zu images are in %s", run.pass.images, options->out);
cleanup:
    slad_safetensors_writer_abandon(run.writer);
    if (run.inference.store) slad_inference_free(&run.inference);
    slad_data_pass_close(&run.pass);
    slad_run_model_close(&run.model);
    slad_release(run.hidden);
    slad_release(run.cls);
    slad_release(run.mean);
    return status;
}
