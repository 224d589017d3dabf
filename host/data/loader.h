/* Worker threads that decode, augment and assemble batches ahead of the trainer. Numbers never depend on the number of
 * workers: each image is a function of (seed, epoch, index), and a broken image is replaced by nothing: its row gets
 * weight 0, so batch boundaries stay where they are. */
#ifndef SLAD_DATA_LOADER_H
#define SLAD_DATA_LOADER_H

#include "data/dataset.h"

typedef enum slad_augmentation { SLAD_AUGMENT_NONE, SLAD_AUGMENT_CROP_FLIP } slad_augmentation;

typedef struct slad_loader_options {
    size_t batch;         /* rows of a batch; the last of an epoch may be short and is padded */
    uint32_t workers;     /* threads; 0: one per processor, at most 8 */
    uint32_t slots;       /* batches in flight, at least 2 */
    uint64_t seed;
    bool shuffle;         /* a new order each epoch, a function of (seed, epoch) */
    slad_augmentation augmentation; /* ignored for tensor files */
    double scale_low, scale_high;   /* of crop-flip */
} slad_loader_options;

typedef struct slad_loader slad_loader;

/* The data set and preprocess must outlive the loader. Allocates slots * batch images. */
slad_status slad_loader_create(slad_context *context, slad_loader **loader, const slad_dataset *dataset,
                               slad_split split, const slad_preprocess *preprocess,
                               const slad_loader_options *options);
void slad_loader_free(slad_loader *loader);
/* Batches of an epoch: ceil(images / batch). */
size_t slad_loader_batches(const slad_loader *loader);
/* Begins at batch `first` of `epoch`; without a call the loader is at batch 0 of epoch 0, and epochs follow one another
 * without end. */
slad_status slad_loader_seek(slad_loader *loader, uint32_t epoch, size_t first);
/* Waits for the next batch in order. It belongs to the caller until slad_loader_release; at most `slots` may be held.
 * Errors: SLAD_ERROR_DATA in a strict data set whose image is broken, naming it. */
slad_status slad_loader_next(slad_loader *loader, const slad_batch **batch);
void slad_loader_release(slad_loader *loader, const slad_batch *batch);
/* Distinct broken images met so far (each warned of once). */
size_t slad_loader_broken_count(const slad_loader *loader);

#endif
