/* Evaluation of a run or a model over a data set. */
#include "base/memory.h"
#include "train/run.h"
#include "train/run_model.h"
#include <string.h>

/* One model under evaluation: its forward pass and all its logits. */
typedef struct slad_judged {
    slad_inference inference;
    slad_evaluation *evaluation;
    float *logits;       /* [images, classes], kept if predictions are wanted */
    float *batch_logits; /* [batch, classes] */
    bool present;
} slad_judged;

typedef struct slad_eval {
    slad_context *context;
    const slad_eval_options *options;
    slad_run_model model;
    slad_dataset *dataset;
    slad_preprocess preprocess; /* the loader reads it */
    slad_loader *loader;
    slad_split split;
    size_t images, batch, classes;
    slad_judged student, teacher;
    int64_t *labels;                      /* [images]; -1 for a broken image */
    slad_safetensors_writer *predictions; /* NULL: none are wanted */
} slad_eval;

static slad_status check_classes(slad_eval *eval)
{
    slad_context *context = eval->context;
    slad_status status = SLAD_OK;
    const size_t data = slad_dataset_class_count(eval->dataset);
    eval->classes = slad_encoder_get_info(eval->model.student)->classes;
    SLAD_FAIL_IF(eval->model.teacher && eval->model.config.classes != eval->classes, SLAD_ERROR_DATA,
                 "%s/config.json names %zu classes in data.classes, but %s knows %zu; the run is broken",
                 eval->options->model, eval->model.config.classes, eval->model.student_folder, eval->classes);
    SLAD_FAIL_IF(data > eval->classes, SLAD_ERROR_DATA, "%s has %zu classes, but %s knows %zu", eval->options->data,
                 data, eval->options->model, eval->classes);
    for (size_t i = 0; i < data; i++) {
        const char *own = slad_hf_class_name(eval->model.student->files, (uint32_t)i);
        if (strcmp(own, slad_dataset_class_name(eval->dataset, i)) != 0 && eval->model.is_run)
            slad_log(context, SLAD_LOG_WARNING, "Class %zu is called %s in the data and %s in the model", i,
                     slad_dataset_class_name(eval->dataset, i), own);
    }
cleanup:
    return status;
}

static slad_status open_data(slad_eval *eval, size_t *image_size)
{
    slad_context *context = eval->context;
    slad_status status = SLAD_OK;
    const slad_eval_options *options = eval->options;
    const slad_dataset_options data_options = {options->strict_data};
    slad_loader_options loader_options = {.workers = options->workers, .slots = 2};
    SLAD_TRY(slad_dataset_open(context, &eval->dataset, options->data, &data_options));
    eval->split = slad_dataset_count(eval->dataset, SLAD_SPLIT_VALIDATION) ? SLAD_SPLIT_VALIDATION : SLAD_SPLIT_TRAIN;
    if (eval->split == SLAD_SPLIT_TRAIN)
        slad_log(context, SLAD_LOG_WARNING, "%s has no validation part: all its images are evaluated", options->data);
    eval->images = slad_dataset_count(eval->dataset, eval->split);
    if (eval->batch > eval->images) eval->batch = eval->images;
    loader_options.batch = (uint32_t)eval->batch;
    SLAD_TRY(check_classes(eval));
    *image_size = options->image_size;
    SLAD_TRY(slad_run_preprocess(context, &eval->preprocess, image_size, eval->model.student_folder, eval->dataset));
    SLAD_TRY(
        slad_loader_create(context, &eval->loader, eval->dataset, eval->split, &eval->preprocess, &loader_options));
cleanup:
    return status;
}

static slad_status open_judged(slad_eval *eval, slad_judged *judged, slad_evaluation *evaluation, slad_device *device,
                               const slad_network_source *source, size_t image_size)
{
    slad_context *context = eval->context;
    slad_status status = SLAD_OK;
    const slad_position_mode mode =
        eval->model.is_run ? eval->model.config.train.position_mode : eval->options->position_mode;
    judged->evaluation = evaluation;
    SLAD_TRY(slad_inference_create(context, &judged->inference, device, source, eval->batch, image_size, mode, false));
    judged->present = true;
    SLAD_TRY(slad_evaluation_start(context, evaluation, eval->classes));
    SLAD_TRY(slad_allocate(context, &judged->batch_logits, eval->batch * eval->classes, sizeof(float), "logits"));
    if (eval->options->predictions)
        SLAD_TRY(slad_allocate(context, &judged->logits, eval->images * eval->classes, sizeof(float), "predictions"));
cleanup:
    return status;
}

static slad_status judge(slad_eval *eval, slad_judged *judged, const slad_batch *batch, size_t first)
{
    slad_status status = SLAD_OK;
    if (!judged->present) return SLAD_OK;
    SLAD_TRY(slad_inference_run(&judged->inference, judged->batch_logits, batch->pixel_values));
    slad_evaluation_add(judged->evaluation, judged->batch_logits, batch->labels, batch->task_weights, batch->count);
    if (judged->logits)
        memcpy(judged->logits + first * eval->classes, judged->batch_logits,
               batch->count * eval->classes * sizeof(float));
cleanup:
    return status;
}

static slad_status judge_all(slad_eval *eval)
{
    slad_context *context = eval->context;
    slad_status status = SLAD_OK;
    slad_progress progress = {"evaluating", 0, eval->images, -1, -1, -1, -1, -1};
    for (size_t first = 0; first < eval->images;) {
        const slad_batch *batch;
        SLAD_FAIL_IF(slad_cancelled(context), SLAD_ERROR_INTERRUPTED, "Interrupted after %zu of %zu images", first,
                     eval->images);
        SLAD_TRY(slad_loader_next(eval->loader, &batch));
        status = judge(eval, &eval->student, batch, first);
        if (status == SLAD_OK) status = judge(eval, &eval->teacher, batch, first);
        for (size_t i = 0; i < batch->count; i++)
            eval->labels[first + i] = batch->task_weights[i] == 0.0f ? -1 : batch->labels[i];
        first += batch->count;
        slad_loader_release(eval->loader, batch);
        SLAD_TRY(status);
        progress.done = first;
        slad_progress_report(context, &progress);
    }
    slad_evaluation_end(eval->student.evaluation);
    if (eval->teacher.present) slad_evaluation_end(eval->teacher.evaluation);
cleanup:
    return status;
}

/* The tensors of the file of predictions, by their index in the writer's list. */
enum { LABELS, STUDENT_LOGITS, TEACHER_LOGITS, PREDICTED_TENSORS };

/* Opened before the work, which would be lost if the file cannot be written. */
static slad_status open_predictions(slad_eval *eval)
{
    const uint64_t shape[2] = {eval->images, eval->classes};
    const slad_safetensors_entry entries[PREDICTED_TENSORS] = {
        [LABELS] = {"labels", SLAD_SAFETENSORS_I64, 1, shape, NULL},
        [STUDENT_LOGITS] = {"student_logits", SLAD_SAFETENSORS_F32, 2, shape, NULL},
        [TEACHER_LOGITS] = {"teacher_logits", SLAD_SAFETENSORS_F32, 2, shape, NULL},
    };
    if (!eval->options->predictions) return SLAD_OK;
    return slad_safetensors_writer_begin(eval->context, &eval->predictions, eval->options->predictions, entries,
                                         eval->teacher.present ? PREDICTED_TENSORS : TEACHER_LOGITS, NULL, 0);
}

static slad_status write_predictions(slad_eval *eval)
{
    slad_status status = SLAD_OK;
    const void *const values[PREDICTED_TENSORS] = {eval->labels, eval->student.logits, eval->teacher.logits};
    const size_t count = eval->teacher.present ? PREDICTED_TENSORS : TEACHER_LOGITS;
    slad_safetensors_writer *writer = eval->predictions;
    if (!writer) return SLAD_OK;
    for (size_t i = 0; i < count; i++) {
        const size_t entry = slad_safetensors_writer_order(writer, i);
        const uint64_t elements = entry == LABELS ? eval->images : (uint64_t)eval->images * eval->classes;
        SLAD_TRY(slad_safetensors_writer_append(writer, entry, values[entry], elements));
    }
    eval->predictions = NULL;
    SLAD_TRY(slad_safetensors_writer_finish(writer));
cleanup:
    return status;
}

static void close_judged(slad_judged *judged)
{
    if (judged->inference.store) slad_inference_free(&judged->inference);
    slad_release(judged->batch_logits);
    slad_release(judged->logits);
}

slad_status slad_run_eval(slad_context *context, slad_device *device, slad_evaluation *student,
                          slad_evaluation *teacher, const slad_eval_options *options)
{
    slad_status status = SLAD_OK;
    slad_eval eval = {.context = context, .options = options, .batch = options->batch ? options->batch : 32};
    slad_network_source source;
    size_t image_size;
    *student = *teacher = (slad_evaluation){0};
    SLAD_TRY(slad_run_model_open(context, &eval.model, options->model, true));
    SLAD_TRY(slad_run_model_student(context, &source, &eval.model, true));
    SLAD_TRY(open_data(&eval, &image_size));
    SLAD_TRY(slad_allocate(context, &eval.labels, eval.images, sizeof *eval.labels, "labels"));
    SLAD_TRY(open_judged(&eval, &eval.student, student, device, &source, image_size));
    if (eval.model.teacher) {
        source = slad_run_model_teacher(&eval.model);
        SLAD_TRY(open_judged(&eval, &eval.teacher, teacher, device, &source, image_size));
    }
    student->measure = teacher->measure = slad_dataset_measure(eval.dataset);
    SLAD_TRY(open_predictions(&eval));
    SLAD_TRY(judge_all(&eval));
    if (slad_loader_broken_count(eval.loader))
        slad_log(context, SLAD_LOG_WARNING, "%zu broken images were skipped", slad_loader_broken_count(eval.loader));
    SLAD_TRY(write_predictions(&eval));
cleanup:
    slad_safetensors_writer_abandon(eval.predictions);
    close_judged(&eval.student);
    close_judged(&eval.teacher);
    slad_loader_free(eval.loader);
    slad_dataset_free(eval.dataset);
    slad_run_model_close(&eval.model);
    slad_release(eval.labels);
    if (status != SLAD_OK) {
        slad_evaluation_free(student);
        slad_evaluation_free(teacher);
    }
    return status;
}
