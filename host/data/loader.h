/* Worker threads that decode, augment and assemble batches ahead of the trainer. Numbers never depend on the number of
 * workers: each image is a function of (seed, epoch, index), how a batch is mixed of (seed, epoch, its number), and a
 * broken image is replaced by nothing: its row gets pixels 0, label 0 and weights 0, so batch boundaries stay where
 * they are. A batch may thus have no weight at all. */
#ifndef SLAD_DATA_LOADER_H
#define SLAD_DATA_LOADER_H

#include "data/dataset.h"

typedef enum slad_augmentation { SLAD_AUGMENT_NONE, SLAD_AUGMENT_CROP_FLIP, SLAD_AUGMENT_STRONG } slad_augmentation;

typedef struct slad_loader_options {
    size_t batch;     /* rows of a batch; the last of an epoch may be short and is padded */
    uint32_t workers; /* threads; 0: one per processor, at most 8 */
    uint32_t slots;   /* batches in flight, at least 2 */
    uint64_t seed;
    bool shuffle;                   /* a new order each epoch, a function of (seed, epoch) */
    slad_augmentation augmentation; /* ignored for tensor files; without it, images are preprocessed as in evaluation */
    double scale_low, scale_high;   /* of crops, 0 < low <= high <= 1 */
    double mixup, cutmix;           /* alphas of their Beta distributions (data/mixing.h); both 0: nothing is mixed */
} slad_loader_options;

typedef struct slad_loader slad_loader;

/* The data set and preprocess must outlive the loader. preprocess is not used for tensor files and may be NULL then.
 * Allocates slots * batch images; a worker needs memory for one image as it is decoded.
 * Errors: SLAD_ERROR_USAGE for an option out of range, SLAD_ERROR_DATA for a split without images,
 * SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_loader_create(slad_context *context, slad_loader **loader, const slad_dataset *dataset,
                               slad_split split, const slad_preprocess *preprocess, const slad_loader_options *options);
/* Ends the workers, at once even in the middle of an epoch; batches still held become invalid. NULL is allowed. */
void slad_loader_free(slad_loader *loader);
/* Batches of an epoch: ceil(images / batch), unlabelled images of the training part among them unless they are left
 * out. */
size_t slad_loader_batches(const slad_loader *loader);
/* Begins at batch `first` of `epoch`; without a call the loader is at batch 0 of epoch 0, and epochs follow one another
 * without end. Batches held stay valid. SLAD_ERROR_USAGE if the epoch has no such batch. */
slad_status slad_loader_seek(slad_loader *loader, uint32_t epoch, size_t first);
/* Whether epochs leave out unlabelled images, as training does whose losses want labels; at first they do not. The
 * loader is at batch 0 of epoch 0 then. Batches held stay valid. */
void slad_loader_restrict(slad_loader *loader, bool labelled_only);
/* Waits for the next batch in order. It belongs to the caller until slad_loader_release; at most `slots` may be held.
 * Broken images are logged as warnings here, each once. One thread at a time may call it.
 * Errors: SLAD_ERROR_DATA in a strict data set whose image is broken, naming it, in any data set whose images have all
 * turned out broken, and for a tensor file that cannot be read on; SLAD_ERROR_USAGE if all slots are held. */
slad_status slad_loader_next(slad_loader *loader, const slad_batch **batch);
void slad_loader_release(slad_loader *loader, const slad_batch *batch);
/* Distinct broken images in the batches that slad_loader_next has given out. */
size_t slad_loader_broken_count(const slad_loader *loader);

#endif
