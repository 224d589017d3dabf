/* Measures of a classifier over a data set. */
#ifndef SLAD_TRAIN_MEASURES_H
#define SLAD_TRAIN_MEASURES_H

#include "slad/train.h"
#include <cjson/cJSON.h>

/* Empties an evaluation for a number of classes. Free with slad_evaluation_free. */
slad_status slad_evaluation_start(slad_context *context, slad_evaluation *evaluation, size_t classes);
/* Counts the first `count` rows of logits [count, classes]; rows whose weight is 0 (padding, broken images) are left
 * out. Of equal largest logits the first class wins; a row with a NaN counts as wrong (class 0 unless that is its
 * label). */
void slad_evaluation_add(slad_evaluation *evaluation, const float *logits, const int32_t *labels, const float *weights,
                         size_t count);
/* The first largest class of a row of logits; for one with a NaN a class other than the label. */
size_t slad_predicted_class(const float *logits, size_t classes, size_t label);
/* Computes top1 and mean_per_class (over the classes that occur) from the confusion matrix. */
void slad_evaluation_end(slad_evaluation *evaluation);

/* {"top1": .., "mean_per_class": ..} */
cJSON *slad_evaluation_json(const slad_evaluation *evaluation);
/* The same with "confusion", rows of labels, where there are at most SLAD_CONFUSION_IN_JSON classes: of 20,000 no
 * machine holds the JSON. */
enum { SLAD_CONFUSION_IN_JSON = 1000 };
cJSON *slad_evaluation_json_with_confusion(const slad_evaluation *evaluation);

#endif
