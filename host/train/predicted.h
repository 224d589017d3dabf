/* What a run's models predicted of each image of its last evaluation: RUN/predictions.safetensors. Reports show it, and
 * McNemar's test compares two runs by it. */
#ifndef SLAD_TRAIN_PREDICTED_H
#define SLAD_TRAIN_PREDICTED_H

#include "slad/train.h"

#define SLAD_PREDICTED_FILE "predictions.safetensors"

typedef struct slad_predicted_model {
    int32_t *classes;     /* [images], predicted; NULL: there is no such model */
    float *probabilities; /* [images], of these classes */
} slad_predicted_model;

typedef struct slad_predicted {
    size_t images;
    int32_t *labels; /* [images] in the order of the part; -1: broken, counts nowhere */
    slad_predicted_model student, teacher;
    char fingerprint[24]; /* of the data set's labelled images */
    bool validation;      /* the validation part; else the training part of a set that has no other */
} slad_predicted;

/* Room for so many images, all broken until they are added. */
slad_status slad_predicted_start(slad_context *context, slad_predicted *predicted, size_t images, bool student,
                                 bool teacher);
/* Notes a batch at its images' places. Logits [count, classes] of a model that was started; NULL for one that was not.
 * Ties and NaN as in slad_evaluation_add. */
void slad_predicted_add(slad_predicted *predicted, const slad_batch *batch, const float *student, const float *teacher,
                        size_t classes);
/* Sets what identifies the images. */
void slad_predicted_describe(slad_predicted *predicted, const slad_dataset *dataset, slad_split split);

/* RUN/predictions.safetensors: labels I64 [N]; student, teacher I64 [N], student_probability, teacher_probability F32
 * [N]; metadata fingerprint, part. Errors: SLAD_ERROR_WRITE. */
slad_status slad_predicted_write(slad_context *context, const slad_predicted *predicted, const char *folder);
/* Reads it back. Errors: SLAD_ERROR_DATA, also for a class that lies outside of 0 .. classes-1. */
slad_status slad_predicted_read(slad_context *context, slad_predicted *predicted, const char *folder, size_t classes);
void slad_predicted_free(slad_predicted *predicted);

/* Images that the model has right, of *counted that are not broken. */
size_t slad_predicted_right(const slad_predicted *predicted, const slad_predicted_model *model, size_t *counted);

#endif
