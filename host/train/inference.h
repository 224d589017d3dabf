/* Forward passes of frozen networks: evaluation, features, prediction. */
#ifndef SLAD_TRAIN_INFERENCE_H
#define SLAD_TRAIN_INFERENCE_H

#include "graph/executor.h"
#include "train/network_source.h"

/* What a pass gives; any sum of these. */
enum { SLAD_WANT_LOGITS = 1, SLAD_WANT_TOKENS = 2, SLAD_WANT_FEATURES = 4 };

typedef struct slad_inference {
    slad_context *context;
    slad_store *store;
    slad_executor *executor;
    slad_record *record;
    slad_network network;
    slad_network_source source;
    size_t batch, image_size, layers;
    unsigned wanted;
    const slad_tensor *pixels;
    const slad_tensor *logits;          /* [batch, classes] */
    const slad_tensor *tokens;          /* [batch, T, d] after the final LayerNorm; readable if wanted */
    const slad_tensor *features;        /* [batch, 2 d]: CLS and mean of the patches of these tokens */
    const slad_tensor **block_features; /* [layers], each [batch, d]: CLS of what a block gives; owned */
} slad_inference;

/* Makes a forward pass to what is wanted. The inference must stay where it is; source.encoder and source.state must
 * outlive it. */
slad_status slad_inference_create(slad_context *context, slad_inference *inference, slad_device *device,
                                  const slad_network_source *source, size_t batch, size_t image_size,
                                  slad_position_mode mode, unsigned wanted);
void slad_inference_free(slad_inference *inference);
/* Runs one batch: pixels [batch, 3, S, S]. */
slad_status slad_inference_run(slad_inference *inference, const float *pixels);
/* Reads all of one of the outputs above. Waits. */
slad_status slad_inference_read(slad_inference *inference, float *values, const slad_tensor *output);

#endif
