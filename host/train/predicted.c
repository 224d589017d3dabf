#include "train/predicted.h"
#include "base/files.h"
#include "base/memory.h"
#include "base/safetensors.h"
#include "data/dataset.h"
#include "train/measures.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static slad_status start_model(slad_context *context, slad_predicted_model *model, size_t images)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_allocate(context, &model->classes, images, sizeof *model->classes, "predictions"));
    SLAD_TRY(slad_allocate(context, &model->probabilities, images, sizeof *model->probabilities, "predictions"));
cleanup:
    return status;
}

slad_status slad_predicted_start(slad_context *context, slad_predicted *predicted, size_t images, bool student,
                                 bool teacher)
{
    slad_status status = SLAD_OK;
    *predicted = (slad_predicted){.images = images};
    SLAD_TRY(slad_allocate(context, &predicted->labels, images, sizeof *predicted->labels, "predictions"));
    for (size_t i = 0; i < images; i++) predicted->labels[i] = -1;
    if (student) SLAD_TRY(start_model(context, &predicted->student, images));
    if (teacher) SLAD_TRY(start_model(context, &predicted->teacher, images));
cleanup:
    if (status != SLAD_OK) slad_predicted_free(predicted);
    return status;
}

/* Of the class `of`, by the softmax; NaN where a logit is. */
static float probability(const float *logits, size_t classes, size_t of)
{
    double sum = 0;
    for (size_t c = 0; c < classes; c++) sum += exp((double)logits[c] - (double)logits[of]);
    return (float)(1 / sum);
}

static void add_model(slad_predicted_model *model, size_t index, const float *logits, size_t classes, size_t label)
{
    if (!model->classes || !logits) return;
    const size_t class_index = slad_predicted_class(logits, classes, label);
    model->classes[index] = (int32_t)class_index;
    model->probabilities[index] = probability(logits, classes, class_index);
}

void slad_predicted_add(slad_predicted *predicted, const slad_batch *batch, const float *student, const float *teacher,
                        size_t classes)
{
    for (size_t row = 0; row < batch->count; row++) {
        const size_t index = batch->indices[row];
        if (batch->task_weights[row] == 0.0f || index >= predicted->images) continue;
        const size_t label = (size_t)batch->labels[row];
        predicted->labels[index] = batch->labels[row];
        add_model(&predicted->student, index, student ? student + row * classes : NULL, classes, label);
        add_model(&predicted->teacher, index, teacher ? teacher + row * classes : NULL, classes, label);
    }
}

void slad_predicted_describe(slad_predicted *predicted, const slad_dataset *dataset, slad_split split)
{
    (void)snprintf(predicted->fingerprint, sizeof predicted->fingerprint, "%016llx",
                   (unsigned long long)slad_dataset_labelled_fingerprint(dataset));
    predicted->validation = split == SLAD_SPLIT_VALIDATION;
}

/* Tensors of the file. */
enum { LABELS, STUDENT, TEACHER, STUDENT_PROBABILITY, TEACHER_PROBABILITY, PREDICTED_TENSORS };
static const char *const names[PREDICTED_TENSORS] = {"labels", "student", "teacher", "student_probability",
                                                     "teacher_probability"};

/* Classes are I64 in the file, as labels are everywhere in it. */
static slad_status widen(slad_context *context, int64_t **wide, const int32_t *values, size_t count)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_allocate(context, wide, count, sizeof **wide, "predictions"));
    for (size_t i = 0; i < count; i++) (*wide)[i] = values[i];
cleanup:
    return status;
}

slad_status slad_predicted_write(slad_context *context, const slad_predicted *predicted, const char *folder)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    int64_t *wide[3] = {NULL, NULL, NULL};
    const uint64_t shape[1] = {predicted->images};
    const int32_t *const classes[3] = {predicted->labels, predicted->student.classes, predicted->teacher.classes};
    const float *const probabilities[2] = {predicted->student.probabilities, predicted->teacher.probabilities};
    slad_safetensors_entry entries[PREDICTED_TENSORS];
    size_t count = 0;
    const slad_safetensors_pair metadata[] = {{"fingerprint", predicted->fingerprint},
                                              {"part", predicted->validation ? "validation" : "training"}};
    SLAD_TRY(slad_path_join(context, &path, folder, SLAD_PREDICTED_FILE));
    for (size_t i = LABELS; i <= TEACHER; i++) {
        if (!classes[i]) continue;
        SLAD_TRY(widen(context, &wide[i], classes[i], predicted->images));
        entries[count++] = (slad_safetensors_entry){names[i], SLAD_SAFETENSORS_I64, 1, shape, wide[i]};
    }
    for (size_t i = 0; i < 2; i++)
        if (probabilities[i])
            entries[count++] = (slad_safetensors_entry){names[STUDENT_PROBABILITY + i], SLAD_SAFETENSORS_F32, 1, shape,
                                                        probabilities[i]};
    SLAD_TRY(slad_safetensors_write(context, path, entries, count, metadata, sizeof metadata / sizeof *metadata));
cleanup:
    for (size_t i = 0; i < 3; i++) slad_release(wide[i]);
    slad_release(path);
    return status;
}

static slad_status read_classes(slad_context *context, int32_t *values, const slad_safetensors *file, const char *name,
                                size_t images, int32_t low, int32_t high)
{
    slad_status status = SLAD_OK;
    const slad_safetensor *tensor = slad_safetensors_find(file, name);
    SLAD_FAIL_IF(!tensor || tensor->elements != images, SLAD_ERROR_DATA, "%s has no tensor %s of %zu values",
                 slad_safetensors_path(file), name, images);
    SLAD_TRY(slad_safetensors_read_int32(context, values, file, tensor, 0, images, low, high));
cleanup:
    return status;
}

static slad_status read_model(slad_context *context, slad_predicted_model *model, const slad_safetensors *file,
                              size_t which, size_t images, int32_t most)
{
    slad_status status = SLAD_OK;
    const char *name = names[STUDENT_PROBABILITY + which];
    const slad_safetensor *tensor = slad_safetensors_find(file, name);
    if (!slad_safetensors_find(file, names[STUDENT + which])) return SLAD_OK;
    SLAD_TRY(start_model(context, model, images));
    SLAD_TRY(read_classes(context, model->classes, file, names[STUDENT + which], images, 0, most));
    SLAD_FAIL_IF(!tensor || tensor->elements != images, SLAD_ERROR_DATA, "%s has no tensor %s of %zu values",
                 slad_safetensors_path(file), name, images);
    SLAD_TRY(slad_safetensors_read_float(context, model->probabilities, file, tensor, 0, images));
cleanup:
    return status;
}

slad_status slad_predicted_read(slad_context *context, slad_predicted *predicted, const char *folder, size_t classes)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    char *path = NULL;
    const int32_t most = (int32_t)classes - 1;
    *predicted = (slad_predicted){0};
    SLAD_TRY(slad_path_join(context, &path, folder, SLAD_PREDICTED_FILE));
    SLAD_TRY(slad_safetensors_open(context, &file, path));
    const slad_safetensor *labels = slad_safetensors_find(file, names[LABELS]);
    const char *fingerprint = slad_safetensors_metadata(file, "fingerprint");
    const char *part = slad_safetensors_metadata(file, "part");
    SLAD_FAIL_IF(!labels || labels->elements > UINT32_MAX || !fingerprint || !part, SLAD_ERROR_DATA,
                 "%s holds no predictions of a run", path);
    predicted->images = (size_t)labels->elements;
    predicted->validation = strcmp(part, "validation") == 0;
    (void)snprintf(predicted->fingerprint, sizeof predicted->fingerprint, "%s", fingerprint);
    SLAD_TRY(slad_allocate(context, &predicted->labels, predicted->images, sizeof(int32_t), "predictions"));
    SLAD_TRY(read_classes(context, predicted->labels, file, names[LABELS], predicted->images, -1, most));
    SLAD_TRY(read_model(context, &predicted->student, file, 0, predicted->images, most));
    SLAD_TRY(read_model(context, &predicted->teacher, file, 1, predicted->images, most));
cleanup:
    slad_safetensors_close(file);
    slad_release(path);
    if (status != SLAD_OK) slad_predicted_free(predicted);
    return status;
}

void slad_predicted_free(slad_predicted *predicted)
{
    slad_predicted_model *const models[2] = {&predicted->student, &predicted->teacher};
    for (size_t i = 0; i < 2; i++) {
        slad_release(models[i]->classes);
        slad_release(models[i]->probabilities);
    }
    slad_release(predicted->labels);
    *predicted = (slad_predicted){0};
}

size_t slad_predicted_right(const slad_predicted *predicted, const slad_predicted_model *model, size_t *counted)
{
    size_t right = 0;
    *counted = 0;
    for (size_t i = 0; i < predicted->images; i++) {
        if (predicted->labels[i] < 0) continue;
        ++*counted;
        right += model->classes[i] == predicted->labels[i];
    }
    return right;
}
