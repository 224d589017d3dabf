/* Forward passes of frozen networks: evaluation, features, prediction. */
#ifndef SLAD_TRAIN_INFERENCE_H
#define SLAD_TRAIN_INFERENCE_H

#include "graph/executor.h"
#include "train/network_source.h"

typedef struct slad_inference {
    slad_context *context;
    slad_store *store;
    slad_executor *executor;
    slad_record *record;
    slad_network network;
    slad_network_source source;
    size_t batch, image_size;
    const slad_tensor *pixels;
    const slad_tensor *logits; /* [batch, classes]; NULL when tokens are wanted */
    const slad_tensor *tokens; /* [batch, T, d] */
} slad_inference;

/* Makes a forward pass to logits, or (tokens true) to the tokens after the final LayerNorm. The inference must stay
 * where it is; source.encoder and source.state must outlive it. */
slad_status slad_inference_create(slad_context *context, slad_inference *inference, slad_device *device,
                                  const slad_network_source *source, size_t batch, size_t image_size,
                                  slad_position_mode mode, bool tokens);
void slad_inference_free(slad_inference *inference);
/* Runs one batch: pixels [batch, 3, S, S] to result, all of logits or tokens. Waits. */
slad_status slad_inference_run(slad_inference *inference, float *result, const float *pixels);

#endif
