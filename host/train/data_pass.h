/* One walk over a part of a data set, in order, without augmentation: what evaluation and features share. */
#ifndef SLAD_TRAIN_DATA_PASS_H
#define SLAD_TRAIN_DATA_PASS_H

#include "data/loader.h"

typedef struct slad_data_pass_options {
    const char *data;
    const char *model_folder; /* whose preprocessing applies */
    slad_split split;         /* a set without such a part is walked over in its training part */
    bool strict;
    uint32_t batch, workers; /* 0: 32 images, a thread a processor */
    size_t image_size;       /* 0: what the model or the tensor file says */
} slad_data_pass_options;

typedef struct slad_data_pass {
    slad_context *context;
    slad_dataset *dataset;
    slad_preprocess preprocess; /* the loader reads it: the pass must stay where it is */
    slad_loader *loader;
    slad_split split; /* the part that is there */
    size_t images, batch, image_size;
} slad_data_pass;

/* Opens the data set and a loader. Errors: those of slad_dataset_open, slad_run_preprocess, slad_loader_create. Close
 * it after an error too. */
slad_status slad_data_pass_open(slad_context *context, slad_data_pass *pass, const slad_data_pass_options *options);
/* {0} is allowed. */
void slad_data_pass_close(slad_data_pass *pass);

/* Gives every batch to visit, with the number of images before it; broken images have weight 0. Stops at the first
 * error of visit and when the caller cancels (SLAD_ERROR_INTERRUPTED). May be called again. */
typedef slad_status (*slad_batch_visit)(void *user, const slad_batch *batch, size_t first);
slad_status slad_data_pass_walk(slad_data_pass *pass, const char *activity, slad_batch_visit visit, void *user);

#endif
