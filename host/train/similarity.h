/* CKA between teacher and student while both walk over the same images: at the output, and of each student block with
 * the teacher block that the layer map gives it. */
#ifndef SLAD_TRAIN_SIMILARITY_H
#define SLAD_TRAIN_SIMILARITY_H

#include "slad/train.h"
#include "train/cka.h"
#include "train/inference.h"

/* Most images of a minibatch of CKA. */
enum { SLAD_CKA_BATCH = 256 };

/* Images of a minibatch for a set of so many: as few equal minibatches as the limit permits. Fewer than 4: no CKA. */
size_t slad_similarity_batch(size_t images);

/* Features of one model for the images of a minibatch: slot 0 CLS, slot 1 mean of the patches, then blocks. */
typedef struct slad_feature_rows {
    size_t width, slots;
    const size_t *blocks; /* [slots - 2], of the result */
    float *values;        /* [slots, minibatch, width] */
    float *batch;         /* [slots, rows, width] of one pass */
    float *output;        /* [rows, 2 width] */
} slad_feature_rows;

typedef struct slad_similarity {
    slad_context *context;
    size_t minibatch, rows, filled, layers;
    slad_feature_rows teacher, student;
    slad_cka *sums; /* [2 + layers] */
} slad_similarity;

/* Prepares for passes that were made with SLAD_WANT_FEATURES. result names the minibatch and the layers, and must
 * outlive the similarity. */
slad_status slad_similarity_start(slad_context *context, slad_similarity *similarity, const slad_inference *teacher,
                                  const slad_inference *student, const slad_cka_result *result);
/* Takes the features of the batch that both passes have just run. Images of weight 0 are left out, as are those that
 * do not fill a last minibatch. */
slad_status slad_similarity_add(slad_similarity *similarity, slad_inference *teacher, slad_inference *student,
                                const slad_batch *batch);
/* Fills cls, mean and layers (which has room). */
void slad_similarity_scores(const slad_similarity *similarity, slad_cka_scores *scores);
void slad_similarity_free(slad_similarity *similarity);

#endif
