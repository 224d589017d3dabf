/* What training and evaluation share: preprocessing, measuring a trainer, the JSON of an evaluation. */
#include "base/memory.h"
#include "train/run.h"

slad_status slad_run_preprocess(slad_context *context, slad_preprocess *preprocess, size_t *image_size,
                                const char *model_folder, const slad_dataset *dataset)
{
    slad_status status = SLAD_OK;
    size_t height, width;
    SLAD_TRY(slad_preprocess_read(context, preprocess, model_folder));
    if (slad_dataset_tensor_size(dataset, &height, &width)) {
        SLAD_FAIL_IF(height != width, SLAD_ERROR_DATA,
                     "pixel_values are %zu x %zu; this version takes square images only", height, width);
        SLAD_FAIL_IF(*image_size && *image_size != height, SLAD_ERROR_USAGE,
                     "--image-size %zu contradicts pixel_values of %zu x %zu; leave it out", *image_size, height,
                     width);
        *image_size = height;
    }
    if (*image_size == 0) {
        SLAD_FAIL_IF(preprocess->crop_height != preprocess->crop_width, SLAD_ERROR_DATA,
                     "%s/preprocessor_config.json crops to %zu x %zu; this version takes square images: "
                     "give --image-size",
                     model_folder, preprocess->crop_height, preprocess->crop_width);
        *image_size = preprocess->crop_width;
    } else {
        slad_preprocess_set_size(preprocess, *image_size);
    }
cleanup:
    return status;
}

/* Room for the logits of both models. */
typedef struct slad_logits {
    float *student, *teacher;
} slad_logits;

static slad_status evaluate_batch(slad_trainer *trainer, slad_evaluation *student, slad_evaluation *teacher,
                                  const slad_batch *batch, const slad_logits *logits)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_trainer_logits(trainer, logits->student, logits->teacher, batch));
    if (student->present)
        slad_evaluation_add(student, logits->student, batch->labels, batch->task_weights, batch->count);
    if (teacher->present)
        slad_evaluation_add(teacher, logits->teacher, batch->labels, batch->task_weights, batch->count);
cleanup:
    return status;
}

slad_status slad_trainer_evaluate(slad_trainer *trainer, slad_evaluation *student, slad_evaluation *teacher,
                                  slad_predicted *predicted, slad_loader *loader, size_t images)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_logits logits = {NULL, NULL};
    const size_t rows = trainer->options.batch, batches = slad_loader_batches(loader);
    slad_progress progress = {"evaluating", 0, images, -1, -1, -1, -1, -1};
    *student = *teacher = (slad_evaluation){0};
    if (predicted) *predicted = (slad_predicted){0};
    if (trainer->student.present) SLAD_TRY(slad_evaluation_start(context, student, trainer->classes));
    if (trainer->teacher.present) SLAD_TRY(slad_evaluation_start(context, teacher, trainer->classes));
    SLAD_TRY(slad_allocate(context, &logits.student, rows * trainer->classes, sizeof(float), "logits"));
    SLAD_TRY(slad_allocate(context, &logits.teacher, rows * trainer->classes, sizeof(float), "logits"));
    if (predicted) SLAD_TRY(slad_predicted_start(context, predicted, images, student->present, teacher->present));
    SLAD_TRY(slad_loader_seek(loader, 0, 0));
    for (size_t b = 0; b < batches; b++) {
        const slad_batch *batch;
        SLAD_TRY(slad_loader_next(loader, &batch));
        status = evaluate_batch(trainer, student, teacher, batch, &logits);
        if (status == SLAD_OK && predicted)
            slad_predicted_add(predicted, batch, logits.student, logits.teacher, trainer->classes);
        progress.done += batch->count;
        slad_loader_release(loader, batch);
        SLAD_TRY(status);
        slad_progress_report(context, &progress);
        SLAD_FAIL_IF(slad_cancelled(context), SLAD_ERROR_INTERRUPTED,
                     "Interrupted while evaluating, after %zu of %zu images", (size_t)progress.done, images);
    }
    if (student->present) slad_evaluation_end(student);
    if (teacher->present) slad_evaluation_end(teacher);
cleanup:
    slad_release(logits.student);
    slad_release(logits.teacher);
    return status;
}

slad_status slad_run_eval_json(slad_context *context, cJSON **json, const slad_evaluation *student,
                               const slad_evaluation *teacher, int64_t step, int64_t epoch)
{
    slad_status status = SLAD_OK;
    cJSON *made = cJSON_CreateObject();
    SLAD_FAIL_IF(!made, SLAD_ERROR_OUT_OF_MEMORY, "No memory for the result of an evaluation");
    if (step >= 0) {
        cJSON_AddStringToObject(made, "event", "eval");
        cJSON_AddNumberToObject(made, "step", (double)step);
        cJSON_AddNumberToObject(made, "epoch", (double)epoch);
    }
    cJSON_AddNumberToObject(made, "images", (double)(student->present ? student->images : teacher->images));
    cJSON_AddStringToObject(made, "measure", slad_measure_name(student->present ? student->measure : teacher->measure));
    if (student->present) cJSON_AddItemToObject(made, "student", slad_evaluation_json(student));
    if (teacher->present) cJSON_AddItemToObject(made, "teacher", slad_evaluation_json(teacher));
    *json = made;
cleanup:
    return status;
}
