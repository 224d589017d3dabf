/* metrics.jsonl: one JSON object a line, each written by one write call, so that a killed program leaves whole lines.
 * Numbers have nine significant digits, which is enough to give back every float32; whole numbers are exact. NaN and
 * infinity, which JSON does not have, become null. The same numbers can go to an event file for TensorBoard as well. */
#ifndef SLAD_IO_METRICS_H
#define SLAD_IO_METRICS_H

#include "base/error.h"
#include <cjson/cJSON.h>

typedef struct slad_metrics slad_metrics;

/* truncate: starts the file anew; otherwise lines are added to what is there. Errors: SLAD_ERROR_WRITE. */
slad_status slad_metrics_open(slad_context *context, slad_metrics **metrics, const char *path, bool truncate);
/* NULL is allowed. */
void slad_metrics_close(slad_metrics *metrics);

/* Writes steps and evaluations from first_step on to an event file (io/events.h) in this folder too. Errors:
 * SLAD_ERROR_WRITE. */
slad_status slad_metrics_add_events(slad_context *context, slad_metrics *metrics, const char *folder,
                                    uint64_t first_step);

/* One training step. Losses are those of the forward pass, before the update and unweighted; `loss` is their weighted
 * sum and loss_kl has its tau^2. */
typedef struct slad_metrics_step {
    uint64_t step;     /* from 0 */
    const char *stage; /* of a run of several; NULL: no key */
    double epoch;      /* epochs begun before this step, with fraction if the caller wants one */
    double loss;
    bool has_student, has_teacher, has_kl, has_feature; /* a loss that does not exist has no key */
    double loss_student, loss_teacher, loss_kl, loss_feature;
    bool has_shared; /* of gradients of shared adapters: the norms of both models' parts, and their cosine */
    double shared_teacher_norm, shared_student_norm, shared_cosine;
    double learning_rate;
    double images_per_second;
} slad_metrics_step;

/* Keys: step, stage, epoch, loss, loss_student, loss_teacher, loss_kl, loss_feature, shared_norm_teacher,
 * shared_norm_student, shared_cosine, lr, images_per_s. Errors:
 * SLAD_ERROR_WRITE. */
slad_status slad_metrics_write_step(slad_context *context, slad_metrics *metrics, const slad_metrics_step *step);
/* Any object, which is left as it is. In the event file, an object with the text "event" and the number "step" is each
 * of its other numbers, those of objects in it too, under the tag "EVENT/key/key". Errors: SLAD_ERROR_WRITE. */
slad_status slad_metrics_write(slad_context *context, slad_metrics *metrics, const cJSON *object);

#endif
