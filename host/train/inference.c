#include "train/inference.h"
#include "base/memory.h"
#include "cl/device.h"

#define MIB (1024.0 * 1024.0)

/* CLS and mean of the final tokens, and the CLS of what each block gives. */
static slad_status record_features(slad_inference *inference, const slad_tensor *const *block_tokens)
{
    slad_context *context = inference->context;
    slad_status status = SLAD_OK;
    slad_record *record = inference->record;
    const size_t prefix = inference->network.backbone.prefix;
    inference->features = slad_pool(record, inference->tokens, SLAD_POOL_CLS_MEAN, prefix);
    slad_record_output(record, inference->features, "features");
    SLAD_TRY(slad_allocate(context, &inference->block_features, inference->layers, sizeof(slad_tensor *),
                           "the features of blocks"));
    for (size_t i = 0; i < inference->layers; i++) {
        inference->block_features[i] = slad_pool(record, block_tokens[i], SLAD_POOL_CLS, prefix);
        slad_record_output(record, inference->block_features[i], "block features");
    }
cleanup:
    return status;
}

static slad_status record_pass(slad_inference *inference)
{
    slad_context *context = inference->context;
    slad_status status = SLAD_OK;
    const size_t size[4] = {inference->batch, 3, inference->image_size, inference->image_size};
    const slad_network *network = &inference->network;
    const slad_tensor **block_tokens = NULL;
    inference->layers = slad_encoder_get_info(inference->source.encoder)->layers;
    SLAD_TRY(slad_allocate(context, &block_tokens, inference->layers, sizeof(slad_tensor *), "the outputs of blocks"));
    SLAD_TRY(slad_record_create(context, &inference->record, inference->store, "a forward pass"));
    inference->pixels = slad_record_input(inference->record, "pixels", SLAD_F32, 4, size, 0);
    inference->tokens = slad_network_tokens(inference->record, network, inference->pixels, NULL, block_tokens);
    if (inference->wanted & SLAD_WANT_LOGITS) {
        inference->logits =
            slad_head_record(inference->record, &network->head, inference->tokens, network->backbone.prefix);
        slad_record_output(inference->record, inference->logits, "logits");
    }
    if (inference->wanted & SLAD_WANT_TOKENS) slad_record_output(inference->record, inference->tokens, "tokens");
    if (inference->wanted & SLAD_WANT_FEATURES) SLAD_TRY(record_features(inference, block_tokens));
    SLAD_TRY(slad_record_status(inference->record));
cleanup:
    slad_release((void *)block_tokens);
    return status;
}

/* What makes a pass, but for the number of images. */
typedef struct slad_pass_form {
    slad_device *device;
    slad_position_mode mode;
} slad_pass_form;

/* Records the pass for so many images and plans it; nothing is allocated on the device. */
static slad_status build(slad_inference *inference, slad_memory_plan *plan, const slad_pass_form *form, size_t batch)
{
    slad_context *context = inference->context;
    slad_status status = SLAD_OK;
    const slad_device_info *info = &form->device->info;
    inference->batch = batch;
    SLAD_TRY(slad_store_create(context, &inference->store, (size_t)(info->max_allocation / sizeof(float))));
    SLAD_TRY(slad_network_source_place(context, &inference->network, inference->store, &inference->source, "model.",
                                       inference->image_size, form->mode, inference->wanted & SLAD_WANT_LOGITS));
    SLAD_TRY(record_pass(inference));
    SLAD_TRY(slad_executor_create_opencl(context, &inference->executor, inference->store, form->device, NULL));
    SLAD_TRY(slad_executor_add(inference->executor, inference->record));
    SLAD_TRY(slad_executor_plan(inference->executor, plan));
    SLAD_FAIL_IF(plan->device_total > info->global_memory, SLAD_ERROR_OUT_OF_MEMORY,
                 "Even one image at a time needs %.0f MiB, but device %s has %.0f; choose a smaller model or image",
                 (double)plan->device_total / MIB, info->name, (double)info->global_memory / MIB);
cleanup:
    return status;
}

/* Gives back all that build made. */
static void dismantle(slad_inference *inference)
{
    slad_executor_free(inference->executor);
    slad_record_free(inference->record);
    slad_network_free(&inference->network);
    slad_store_free(inference->store);
    slad_release((void *)inference->block_features);
    inference->block_features = NULL;
    inference->executor = NULL;
    inference->record = NULL;
    inference->store = NULL;
}

/* Builds with the given number of images, or says how many fit. */
static slad_status build_checked(slad_inference *inference, slad_memory_plan *plan, const slad_pass_form *form)
{
    slad_context *context = inference->context;
    slad_status status = SLAD_OK;
    const size_t wanted = inference->batch;
    slad_report_quietly(context, true);
    for (size_t batch = wanted;; batch = (batch + 1) / 2) {
        status = build(inference, plan, form, batch);
        if (status != SLAD_ERROR_OUT_OF_MEMORY || batch == 1) break;
        dismantle(inference);
    }
    slad_report_quietly(context, false);
    if (status != SLAD_OK) {
        dismantle(inference); /* what went wrong must be said: once more, aloud */
        SLAD_TRY(build(inference, plan, form, inference->batch));
    }
    SLAD_FAIL_IF(inference->batch != wanted, SLAD_ERROR_OUT_OF_MEMORY,
                 "Batches of %zu images need more memory than device %s gives; batches of %zu would fit, with %.0f MiB",
                 wanted, form->device->info.name, inference->batch, (double)plan->device_total / MIB);
cleanup:
    return status;
}

slad_status slad_inference_create(slad_context *context, slad_inference *inference, slad_device *device,
                                  const slad_network_source *source, size_t batch, size_t image_size,
                                  slad_position_mode mode, unsigned wanted)
{
    slad_status status = SLAD_OK;
    slad_memory_plan plan = {0};
    const slad_pass_form form = {device, mode};
    *inference = (slad_inference){
        .context = context, .source = *source, .batch = batch, .image_size = image_size, .wanted = wanted};
    SLAD_TRY(build_checked(inference, &plan, &form));
    slad_log(context, SLAD_LOG_INFO,
             "Memory plan for batches of %zu: weights %.1f MiB, activations %.1f MiB, %.1f MiB in all", batch,
             (double)(plan.frozen + plan.packed) / MIB, (double)plan.arena / MIB, (double)plan.device_total / MIB);
    SLAD_TRY(slad_executor_allocate(inference->executor));
cleanup:
    if (status != SLAD_OK) slad_inference_free(inference);
    return status;
}

void slad_inference_free(slad_inference *inference)
{
    dismantle(inference);
    *inference = (slad_inference){0};
}

slad_status slad_inference_run(slad_inference *inference, const float *pixels)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_executor_write(inference->executor, inference->record, inference->pixels, pixels));
    SLAD_TRY(slad_executor_run(inference->executor, inference->record, SLAD_PHASE_MICRO_BATCH));
cleanup:
    return status;
}

slad_status slad_inference_read(slad_inference *inference, float *values, const slad_tensor *output)
{
    return slad_executor_read(inference->executor, inference->record, output, values);
}
