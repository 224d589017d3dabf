#include "train/measures.h"
#include "base/memory.h"
#include <math.h>

slad_status slad_evaluation_start(slad_context *context, slad_evaluation *evaluation, size_t classes)
{
    *evaluation = (slad_evaluation){.present = true, .classes = classes};
    return slad_allocate(context, &evaluation->confusion, classes * classes, sizeof *evaluation->confusion,
                         "the confusion matrix");
}

void slad_evaluation_free(slad_evaluation *evaluation)
{
    slad_release(evaluation->confusion);
    *evaluation = (slad_evaluation){0};
}

size_t slad_predicted_class(const float *logits, size_t classes, size_t label)
{
    size_t best = 0;
    for (size_t c = 0; c < classes; c++) {
        if (isnan(logits[c])) return label == 0 ? 1 : 0;
        if (logits[c] > logits[best]) best = c;
    }
    return best;
}

void slad_evaluation_add(slad_evaluation *evaluation, const float *logits, const int32_t *labels, const float *weights,
                         size_t count)
{
    const size_t classes = evaluation->classes;
    for (size_t i = 0; i < count; i++) {
        if (weights[i] == 0.0f) continue;
        const size_t label = (size_t)labels[i];
        evaluation->confusion[label * classes + slad_predicted_class(logits + i * classes, classes, label)]++;
        evaluation->images++;
    }
}

void slad_evaluation_end(slad_evaluation *evaluation)
{
    const size_t classes = evaluation->classes;
    uint64_t right = 0;
    double recalls = 0;
    size_t occurring = 0;
    for (size_t label = 0; label < classes; label++) {
        const uint64_t *row = evaluation->confusion + label * classes;
        uint64_t total = 0;
        for (size_t c = 0; c < classes; c++) total += row[c];
        right += row[label];
        if (total == 0) continue;
        recalls += (double)row[label] / (double)total;
        occurring++;
    }
    evaluation->top1 = evaluation->images ? (double)right / (double)evaluation->images : 0;
    evaluation->mean_per_class = occurring ? recalls / (double)occurring : 0;
}

cJSON *slad_evaluation_json(const slad_evaluation *evaluation)
{
    cJSON *json = cJSON_CreateObject();
    if (!json) return NULL;
    cJSON_AddNumberToObject(json, "top1", evaluation->top1);
    cJSON_AddNumberToObject(json, "mean_per_class", evaluation->mean_per_class);
    return json;
}

cJSON *slad_evaluation_json_with_confusion(const slad_evaluation *evaluation)
{
    const size_t classes = evaluation->classes;
    cJSON *json = slad_evaluation_json(evaluation);
    if (!json || classes > SLAD_CONFUSION_IN_JSON) return json;
    cJSON *confusion = cJSON_AddArrayToObject(json, "confusion");
    for (size_t row = 0; row < classes; row++) {
        cJSON *line = cJSON_CreateArray();
        for (size_t column = 0; column < classes; column++)
            cJSON_AddItemToArray(line, cJSON_CreateNumber((double)evaluation->confusion[row * classes + column]));
        cJSON_AddItemToArray(confusion, line);
    }
    return json;
}
