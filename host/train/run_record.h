/* What the folder of a run tells of it: config.json, metrics.jsonl, predictions.safetensors, summary.json. */
#ifndef SLAD_TRAIN_RUN_RECORD_H
#define SLAD_TRAIN_RUN_RECORD_H

#include "train/predicted.h"
#include "train/run_config.h"
#include <cjson/cJSON.h>

#define SLAD_SUMMARY_FILE "summary.json"

/* Most numbers of a step beside the known ones. */
enum { SLAD_HISTORY_OTHERS = 4 };

/* A step's line; NaN for what it does not have. */
typedef struct slad_history_step {
    double step, epoch, loss, loss_student, loss_teacher, loss_kl, loss_feature, learning_rate;
    double rate; /* images a second */
    double others[SLAD_HISTORY_OTHERS];
} slad_history_step;

/* An evaluation's line; NaN for a model that it does not have. */
typedef struct slad_history_evaluation {
    double steps; /* steps done before it, of all lines */
    double epoch, images;
    double student_top1, student_mean, teacher_top1, teacher_mean;
    bool by_class; /* the data set is measured by the mean per class */
} slad_history_evaluation;

typedef struct slad_history {
    slad_history_step *steps;
    slad_history_evaluation *evaluations;
    double *marks;                        /* steps before which a stage began, but for the first */
    char others[SLAD_HISTORY_OTHERS][40]; /* keys of the steps' other numbers, "" past the last */
    size_t step_count, evaluation_count, mark_count;
    size_t step_capacity, evaluation_capacity, mark_capacity;
} slad_history;

typedef struct slad_run_record {
    char *folder;
    slad_run_config config;
    cJSON *json;    /* config.json */
    cJSON *summary; /* summary.json, or NULL */
    slad_history history;
    bool has_predicted;
    slad_predicted predicted;
} slad_run_record;

/* Reads a run's folder. Only config.json must be there. Errors: SLAD_ERROR_DATA naming file and line. Free with
 * slad_run_record_free, after an error too. */
slad_status slad_run_record_read(slad_context *context, slad_run_record *record, const char *folder);
void slad_run_record_free(slad_run_record *record);

/* A number below config.json's object `object` (NULL: of config.json itself); NaN if there is none. */
double slad_run_record_number(const slad_run_record *record, const char *object, const char *name);
/* The same for a text; "" if there is none. */
const char *slad_run_record_text(const slad_run_record *record, const char *object, const char *name);

/* The evaluation of what the run keeps, or NULL: the last one, with --keep best the best student's of the last stage.
 */
const slad_history_evaluation *slad_run_record_kept(const slad_run_record *record);

/* How long training took, without evaluation: all steps, and the median of a full step of the last stage, in seconds; 0
 * without steps. The first steps compile kernels, and the last batch of an epoch is short: neither moves a median. */
typedef struct slad_run_times {
    double steps, step, rate; /* rate: images a second at the median */
} slad_run_times;
slad_status slad_run_record_times(slad_context *context, slad_run_times *times, const slad_run_record *record);

#endif
