/* A model as it is on disk, or with adapters of PEFT merged in, and any model for applications that run ONNX. */
#include "base/files.h"
#include "base/memory.h"
#include "data/preprocess.h"
#include "model/encoder_onnx.h"
#include "train/export.h"

slad_status slad_export_onnx_write(slad_context *context, const char *folder, const slad_export_onnx *model)
{
    slad_status status = SLAD_OK;
    slad_preprocess preprocess;
    char *path = NULL;
    SLAD_TRY(slad_preprocess_read(context, &preprocess, slad_encoder_path(model->encoder)));
    slad_preprocess_set_size(&preprocess, model->image_size);
    const slad_encoder_onnx onnx = {
        .config = slad_hf_config_of(model->encoder->files),
        .image_size = model->image_size,
        .mode = model->mode,
        .class_names = model->class_names,
        .classes = model->classes,
        .image_mean = preprocess.mean,
        .image_std = preprocess.deviation,
        .fill = model->fill,
        .user = model->user,
    };
    SLAD_TRY(slad_encoder_onnx_write(context, folder, &onnx));
    SLAD_TRY(slad_path_join(context, &path, folder, "preprocessor_config.json"));
    SLAD_TRY(slad_preprocess_write(context, &preprocess, path));
cleanup:
    slad_release(path);
    return status;
}

static slad_status fill_model(slad_context *context, float *destination, const char *name, uint64_t elements,
                              void *user)
{
    slad_status status = SLAD_OK;
    const slad_encoder *encoder = user;
    (void)elements;
    SLAD_FAIL_IF(slad_cancelled(context), SLAD_ERROR_INTERRUPTED, "Interrupted");
    SLAD_TRY(slad_hf_read(context, destination, encoder->files, name));
cleanup:
    return status;
}

static slad_status write_student(slad_context *context, const char *folder, const slad_export_onnx *model,
                                 const slad_preprocess *preprocess)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    const slad_hf_student student = {.source = model->encoder->files,
                                     .class_names = model->class_names,
                                     .class_count = (uint32_t)model->classes,
                                     .user = model->user,
                                     .fill = model->fill};
    SLAD_TRY(slad_hf_write_student(context, folder, &student));
    SLAD_TRY(slad_path_join(context, &path, folder, "preprocessor_config.json"));
    SLAD_TRY(slad_preprocess_write(context, preprocess, path));
cleanup:
    slad_release(path);
    return status;
}

slad_status slad_export_model_write(slad_context *context, const char *folder, slad_export_part part,
                                    slad_encoder *encoder)
{
    slad_status status = SLAD_OK;
    const char *path = slad_encoder_path(encoder);
    slad_preprocess preprocess;
    const char **names = NULL;
    const size_t classes = slad_encoder_get_info(encoder)->classes;
    SLAD_FAIL_IF(classes == 0, SLAD_ERROR_DATA, "%s has no classifier; give a run, or a model with one", path);
    SLAD_TRY(slad_preprocess_read(context, &preprocess, path));
    SLAD_FAIL_IF(preprocess.crop_height != preprocess.crop_width, SLAD_ERROR_DATA,
                 "%s crops to %zu x %zu; this version takes square images only", path, preprocess.crop_height,
                 preprocess.crop_width);
    SLAD_TRY(slad_allocate(context, &names, classes, sizeof *names, "class names"));
    for (size_t i = 0; i < classes; i++) names[i] = slad_hf_class_name(encoder->files, (uint32_t)i);
    const slad_export_onnx model = {.encoder = encoder,
                                    .image_size = preprocess.crop_width,
                                    .classes = classes,
                                    .mode = SLAD_POSITION_AUTO,
                                    .class_names = names,
                                    .fill = fill_model,
                                    .user = encoder};
    SLAD_TRY(part == SLAD_EXPORT_ONNX ? slad_export_onnx_write(context, folder, &model)
                                      : write_student(context, folder, &model, &preprocess));
cleanup:
    slad_release((void *)names);
    return status;
}
