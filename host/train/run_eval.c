/* Evaluation of a run or a model over a data set. */
#include "base/memory.h"
#include "train/data_pass.h"
#include "train/run.h"
#include "train/run_cka.h"
#include <math.h>
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
    slad_data_pass pass;
    slad_eval_result *result;
    slad_predicted *predicted; /* NULL: not wanted */
    size_t classes;
    slad_judged student, teacher;
    slad_similarity similarity;           /* if result->cka.present */
    int64_t *labels;                      /* [images]; -1 for a broken image */
    slad_safetensors_writer *predictions; /* NULL: none are wanted */
} slad_eval;

static slad_status check_classes(slad_eval *eval)
{
    slad_context *context = eval->context;
    slad_status status = SLAD_OK;
    const slad_dataset *dataset = eval->pass.dataset;
    const size_t data = slad_dataset_class_count(dataset);
    eval->classes = slad_encoder_get_info(eval->model.student)->classes;
    SLAD_FAIL_IF(slad_run_model_has_teacher(&eval->model) && eval->model.config.classes != eval->classes,
                 SLAD_ERROR_DATA,
                 "%s/config.json names %zu classes in data.classes, but %s knows %zu; the run is broken",
                 eval->options->model, eval->model.config.classes, eval->model.student_folder, eval->classes);
    SLAD_FAIL_IF(data > eval->classes, SLAD_ERROR_DATA, "%s has %zu classes, but %s knows %zu", eval->options->data,
                 data, eval->options->model, eval->classes);
    for (size_t i = 0; i < data; i++) {
        const char *own = slad_hf_class_name(eval->model.student->files, (uint32_t)i);
        if (strcmp(own, slad_dataset_class_name(dataset, i)) != 0 && eval->model.is_run)
            slad_log(context, SLAD_LOG_WARNING, "Class %zu is called %s in the data and %s in the model", i,
                     slad_dataset_class_name(dataset, i), own);
    }
cleanup:
    return status;
}

static slad_status open_data(slad_eval *eval)
{
    slad_context *context = eval->context;
    slad_status status = SLAD_OK;
    const slad_eval_options *options = eval->options;
    const slad_data_pass_options pass = {
        .data = options->data,
        .model_folder = eval->model.student_folder,
        .split = SLAD_SPLIT_VALIDATION,
        .strict = options->strict_data,
        .batch = options->batch,
        .workers = options->workers,
        .image_size = options->image_size,
    };
    SLAD_TRY(slad_data_pass_open(context, &eval->pass, &pass));
    if (eval->pass.split == SLAD_SPLIT_TRAIN)
        slad_log(context, SLAD_LOG_WARNING, "%s has no validation part: all its images are evaluated", options->data);
    SLAD_TRY(check_classes(eval));
    SLAD_TRY(slad_allocate(context, &eval->labels, eval->pass.images, sizeof *eval->labels, "labels"));
cleanup:
    return status;
}

static slad_status open_judged(slad_eval *eval, slad_judged *judged, slad_evaluation *evaluation, slad_device *device,
                               const slad_network_source *source)
{
    slad_context *context = eval->context;
    slad_status status = SLAD_OK;
    const slad_data_pass *pass = &eval->pass;
    const unsigned wanted = SLAD_WANT_LOGITS | (eval->result->cka.present ? SLAD_WANT_FEATURES : 0u);
    const slad_position_mode mode = slad_run_model_position(&eval->model, eval->options->position_mode);
    judged->evaluation = evaluation;
    SLAD_TRY(slad_inference_create(context, &judged->inference, device, source, pass->batch, pass->image_size, mode,
                                   wanted));
    judged->present = true;
    SLAD_TRY(slad_evaluation_start(context, evaluation, eval->classes));
    SLAD_TRY(slad_allocate(context, &judged->batch_logits, pass->batch * eval->classes, sizeof(float), "logits"));
    if (eval->options->predictions)
        SLAD_TRY(slad_allocate(context, &judged->logits, pass->images * eval->classes, sizeof(float), "predictions"));
cleanup:
    return status;
}

static slad_status open_models(slad_eval *eval, slad_device *device, const slad_network_source *student)
{
    slad_status status = SLAD_OK;
    slad_network_source teacher;
    SLAD_TRY(open_judged(eval, &eval->student, &eval->result->student, device, student));
    if (!slad_run_model_has_teacher(&eval->model)) return SLAD_OK;
    SLAD_TRY(slad_run_model_teacher(eval->context, &teacher, &eval->model));
    SLAD_TRY(open_judged(eval, &eval->teacher, &eval->result->teacher, device, &teacher));
    if (eval->result->cka.present)
        SLAD_TRY(slad_similarity_start(eval->context, &eval->similarity, &eval->teacher.inference,
                                       &eval->student.inference, &eval->result->cka));
cleanup:
    return status;
}

static slad_status judge(slad_eval *eval, slad_judged *judged, const slad_batch *batch, size_t first)
{
    slad_status status = SLAD_OK;
    if (!judged->present) return SLAD_OK;
    SLAD_TRY(slad_inference_run(&judged->inference, batch->pixel_values));
    SLAD_TRY(slad_inference_read(&judged->inference, judged->batch_logits, judged->inference.logits));
    slad_evaluation_add(judged->evaluation, judged->batch_logits, batch->labels, batch->task_weights, batch->count);
    if (judged->logits)
        memcpy(judged->logits + first * eval->classes, judged->batch_logits,
               batch->count * eval->classes * sizeof(float));
cleanup:
    return status;
}

static slad_status judge_batch(void *user, const slad_batch *batch, size_t first)
{
    slad_eval *eval = user;
    slad_status status = SLAD_OK;
    SLAD_TRY(judge(eval, &eval->student, batch, first));
    SLAD_TRY(judge(eval, &eval->teacher, batch, first));
    if (eval->predicted)
        slad_predicted_add(eval->predicted, batch, eval->student.batch_logits, eval->teacher.batch_logits,
                           eval->classes);
    if (eval->result->cka.present)
        SLAD_TRY(slad_similarity_add(&eval->similarity, &eval->teacher.inference, &eval->student.inference, batch));
    for (size_t i = 0; i < batch->count; i++)
        eval->labels[first + i] = batch->task_weights[i] == 0.0f ? -1 : batch->labels[i];
cleanup:
    return status;
}

/* The tensors of the file of predictions, by their index in the writer's list. */
enum { LABELS, STUDENT_LOGITS, TEACHER_LOGITS, PREDICTED_TENSORS };

/* Opened before the work, which would be lost if the file cannot be written. */
static slad_status open_predictions(slad_eval *eval)
{
    const uint64_t shape[2] = {eval->pass.images, eval->classes};
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
    const size_t count = eval->teacher.present ? PREDICTED_TENSORS : TEACHER_LOGITS, images = eval->pass.images;
    slad_safetensors_writer *writer = eval->predictions;
    if (!writer) return SLAD_OK;
    for (size_t i = 0; i < count; i++) {
        const size_t entry = slad_safetensors_writer_order(writer, i);
        const uint64_t elements = entry == LABELS ? images : (uint64_t)images * eval->classes;
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
    *judged = (slad_judged){0};
}

/* Frees the adapted models first: four encoders at once may be more than the device holds. */
static slad_status finish_cka(slad_eval *eval, slad_device *device)
{
    slad_status status = SLAD_OK;
    slad_cka_result *cka = &eval->result->cka;
    if (!cka->present) return SLAD_OK;
    slad_similarity_scores(&eval->similarity, &cka->adapted);
    cka->batches = eval->similarity.sums[0].batches;
    close_judged(&eval->student);
    close_judged(&eval->teacher);
    SLAD_TRY(slad_run_cka_pretrained(cka, device, &eval->model, &eval->pass, eval->options));
cleanup:
    return status;
}

slad_status slad_run_eval(slad_context *context, slad_device *device, slad_eval_result *result,
                          const slad_eval_options *options)
{
    return slad_run_eval_predicted(context, device, result, NULL, options);
}

slad_status slad_run_eval_predicted(slad_context *context, slad_device *device, slad_eval_result *result,
                                    slad_predicted *predicted, const slad_eval_options *options)
{
    slad_status status = SLAD_OK;
    slad_eval eval = {.context = context, .options = options, .result = result, .predicted = predicted};
    slad_network_source student;
    *result = (slad_eval_result){0};
    SLAD_TRY(slad_run_model_open(context, &eval.model, options->model, true));
    SLAD_TRY(slad_run_model_student(context, &student, &eval.model, true));
    SLAD_TRY(open_data(&eval));
    SLAD_TRY(slad_run_cka_prepare(context, &result->cka, &eval.model, &eval.pass, options));
    SLAD_TRY(open_models(&eval, device, &student));
    result->student.measure = result->teacher.measure = slad_dataset_measure(eval.pass.dataset);
    SLAD_TRY(open_predictions(&eval));
    if (predicted) {
        SLAD_TRY(slad_predicted_start(context, predicted, eval.pass.images, true, eval.teacher.present));
        slad_predicted_describe(predicted, eval.pass.dataset, eval.pass.split);
    }
    SLAD_TRY(slad_data_pass_walk(&eval.pass, "evaluating", judge_batch, &eval));
    slad_evaluation_end(&result->student);
    if (eval.teacher.present) slad_evaluation_end(&result->teacher);
    if (slad_loader_broken_count(eval.pass.loader))
        slad_log(context, SLAD_LOG_WARNING, "%zu broken images were skipped",
                 slad_loader_broken_count(eval.pass.loader));
    SLAD_TRY(write_predictions(&eval));
    SLAD_TRY(finish_cka(&eval, device));
cleanup:
    slad_safetensors_writer_abandon(eval.predictions);
    slad_similarity_free(&eval.similarity);
    close_judged(&eval.student);
    close_judged(&eval.teacher);
    slad_data_pass_close(&eval.pass);
    slad_run_model_close(&eval.model);
    slad_release(eval.labels);
    if (status != SLAD_OK) slad_eval_result_free(result);
    return status;
}

slad_status slad_eval_result_json(slad_context *context, char **text, const slad_eval_result *result)
{
    slad_status status = SLAD_OK;
    char *printed = NULL;
    cJSON *json = cJSON_CreateObject();
    *text = NULL;
    cJSON_AddNumberToObject(json, "images", (double)result->student.images);
    cJSON_AddStringToObject(json, "measure", slad_measure_name(result->student.measure));
    cJSON_AddItemToObject(json, "student", slad_evaluation_json_with_confusion(&result->student));
    if (result->teacher.present)
        cJSON_AddItemToObject(json, "teacher", slad_evaluation_json_with_confusion(&result->teacher));
    if (result->cka.present) cJSON_AddItemToObject(json, "cka", slad_cka_json(&result->cka));
    printed = cJSON_Print(json);
    SLAD_FAIL_IF(!printed, SLAD_ERROR_OUT_OF_MEMORY, "No host memory for the result of an evaluation");
    SLAD_TRY(slad_duplicate(context, text, printed));
cleanup:
    cJSON_free(printed);
    cJSON_Delete(json);
    return status;
}

void slad_eval_result_free(slad_eval_result *result)
{
    slad_evaluation_free(&result->student);
    slad_evaluation_free(&result->teacher);
    slad_cka_result_free(&result->cka);
}
