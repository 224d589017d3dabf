#include "train/data_pass.h"
#include "train/run.h"

slad_status slad_data_pass_open(slad_context *context, slad_data_pass *pass, const slad_data_pass_options *options)
{
    slad_status status = SLAD_OK;
    const slad_dataset_options data_options = {options->strict};
    slad_loader_options loader_options = {.workers = options->workers, .slots = 2};
    *pass = (slad_data_pass){.context = context, .image_size = options->image_size};
    SLAD_TRY(slad_dataset_open(context, &pass->dataset, options->data, &data_options));
    pass->split = slad_dataset_count(pass->dataset, options->split) ? options->split : SLAD_SPLIT_TRAIN;
    pass->images = slad_dataset_count(pass->dataset, pass->split);
    pass->batch = options->batch ? options->batch : 32;
    if (pass->batch > pass->images) pass->batch = pass->images;
    loader_options.batch = pass->batch;
    SLAD_TRY(slad_run_preprocess(context, &pass->preprocess, &pass->image_size, options->model_folder, pass->dataset));
    SLAD_TRY(
        slad_loader_create(context, &pass->loader, pass->dataset, pass->split, &pass->preprocess, &loader_options));
cleanup:
    return status;
}

void slad_data_pass_close(slad_data_pass *pass)
{
    slad_loader_free(pass->loader);
    slad_dataset_free(pass->dataset);
    *pass = (slad_data_pass){0};
}

slad_status slad_data_pass_walk(slad_data_pass *pass, const char *activity, slad_batch_visit visit, void *user)
{
    slad_context *context = pass->context;
    slad_status status = SLAD_OK;
    slad_progress progress = {activity, 0, pass->images, -1, -1, -1, -1, -1};
    SLAD_TRY(slad_loader_seek(pass->loader, 0, 0));
    for (size_t first = 0; first < pass->images;) {
        const slad_batch *batch;
        SLAD_FAIL_IF(slad_cancelled(context), SLAD_ERROR_INTERRUPTED, "Interrupted after %zu of %zu images", first,
                     pass->images);
        SLAD_TRY(slad_loader_next(pass->loader, &batch));
        const size_t count = batch->count;
        status = visit(user, batch, first);
        slad_loader_release(pass->loader, batch);
        SLAD_TRY(status);
        first += count;
        progress.done = first;
        slad_progress_report(context, &progress);
    }
cleanup:
    return status;
}
