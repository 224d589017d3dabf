/* Class probabilities of images on disk. */
#include "base/memory.h"
#include "train/run.h"
#include "train/run_model.h"
#include <math.h>
#include <string.h>

/* Images of a batch at prediction: small, since most calls bring few. */
#define BATCH 8

/* Softmax of the logits of one image, in double. */
static slad_status softmax(slad_context *context, float *probabilities, const float *logits, size_t classes,
                           const char *path)
{
    slad_status status = SLAD_OK;
    double largest = -INFINITY, sum = 0;
    for (size_t c = 0; c < classes; c++)
        SLAD_FAIL_IF(!isfinite(logits[c]), SLAD_ERROR_DATA,
                     "%s: the model's logit of class %zu is %g; its weights are broken, or too large for this device",
                     path, c, (double)logits[c]);
    for (size_t c = 0; c < classes; c++) largest = fmax(largest, (double)logits[c]);
    for (size_t c = 0; c < classes; c++) sum += exp((double)logits[c] - largest);
    for (size_t c = 0; c < classes; c++) probabilities[c] = (float)(exp((double)logits[c] - largest) / sum);
cleanup:
    return status;
}

static slad_status copy_class_names(slad_context *context, slad_predictions *predictions, const slad_hf_model *files)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_allocate(context, &predictions->class_names, predictions->classes, sizeof(char *), "class names"));
    for (size_t i = 0; i < predictions->classes; i++)
        SLAD_TRY(slad_duplicate(context, &predictions->class_names[i], slad_hf_class_name(files, (uint32_t)i)));
cleanup:
    return status;
}

static slad_status read_images(slad_context *context, float *pixels, const slad_preprocess *preprocess,
                               const char *const *paths, size_t count)
{
    slad_status status = SLAD_OK;
    slad_image image = {0};
    const size_t floats = 3 * preprocess->crop_height * preprocess->crop_width;
    for (size_t i = 0; i < count; i++) {
        SLAD_TRY(slad_image_read(context, &image, paths[i]));
        SLAD_TRY(slad_preprocess_evaluate(context, pixels + i * floats, preprocess, &image));
        slad_image_free(&image);
    }
cleanup:
    slad_image_free(&image);
    return status;
}

static slad_status predict(slad_context *context, slad_predictions *predictions, slad_inference *inference,
                           const slad_preprocess *preprocess, const char *const *paths)
{
    slad_status status = SLAD_OK;
    const size_t floats = 3 * inference->image_size * inference->image_size, classes = predictions->classes;
    float *pixels = NULL, *logits = NULL;
    SLAD_TRY(slad_allocate(context, &pixels, inference->batch * floats, sizeof *pixels, "images"));
    SLAD_TRY(slad_allocate(context, &logits, inference->batch * classes, sizeof *logits, "logits"));
    for (size_t first = 0; first < predictions->images; first += inference->batch) {
        const size_t left = predictions->images - first, count = left < inference->batch ? left : inference->batch;
        SLAD_FAIL_IF(slad_cancelled(context), SLAD_ERROR_INTERRUPTED, "Interrupted after %zu of %zu images", first,
                     predictions->images);
        memset(pixels, 0, inference->batch * floats * sizeof *pixels);
        SLAD_TRY(read_images(context, pixels, preprocess, paths + first, count));
        SLAD_TRY(slad_inference_run(inference, pixels));
        SLAD_TRY(slad_inference_read(inference, logits, inference->logits));
        for (size_t i = 0; i < count; i++)
            SLAD_TRY(softmax(context, predictions->probabilities + (first + i) * classes, logits + i * classes, classes,
                             paths[first + i]));
    }
cleanup:
    slad_release(pixels);
    slad_release(logits);
    return status;
}

slad_status slad_run_predict(slad_context *context, slad_device *device, slad_predictions *predictions,
                             const char *model, const char *const *paths, size_t count)
{
    slad_status status = SLAD_OK;
    slad_run_model opened = {0};
    slad_inference inference = {0};
    slad_network_source source;
    slad_preprocess preprocess;
    *predictions = (slad_predictions){0};
    SLAD_FAIL_IF(count == 0, SLAD_ERROR_USAGE, "There are no images to predict; name at least one");
    SLAD_TRY(slad_run_model_open(context, &opened, model, false));
    SLAD_TRY(slad_run_model_student(context, &source, &opened, true));
    SLAD_TRY(slad_preprocess_read(context, &preprocess, opened.student_folder));
    SLAD_FAIL_IF(preprocess.crop_height != preprocess.crop_width, SLAD_ERROR_DATA,
                 "%s crops to %zu x %zu; this version takes square images only", opened.student_folder,
                 preprocess.crop_height, preprocess.crop_width);
    predictions->images = count;
    predictions->classes = source.classes;
    SLAD_TRY(copy_class_names(context, predictions, opened.student->files));
    SLAD_TRY(slad_allocate(context, &predictions->probabilities, count * source.classes, sizeof(float), "predictions"));
    SLAD_TRY(slad_inference_create(context, &inference, device, &source, count < BATCH ? count : BATCH,
                                   preprocess.crop_width, slad_run_model_position(&opened, SLAD_POSITION_AUTO),
                                   SLAD_WANT_LOGITS));
    SLAD_TRY(predict(context, predictions, &inference, &preprocess, paths));
cleanup:
    if (inference.store) slad_inference_free(&inference);
    slad_run_model_close(&opened);
    if (status != SLAD_OK) slad_predictions_free(predictions);
    return status;
}

void slad_predictions_free(slad_predictions *predictions)
{
    for (size_t i = 0; predictions->class_names && i < predictions->classes; i++)
        slad_release(predictions->class_names[i]);
    slad_release(predictions->class_names);
    slad_release(predictions->probabilities);
    *predictions = (slad_predictions){0};
}
