/* Frozen networks from files: an encoder with what a run trained on it, or with the classifier of its own folder. */
#ifndef SLAD_TRAIN_NETWORK_SOURCE_H
#define SLAD_TRAIN_NETWORK_SOURCE_H

#include "base/safetensors.h"
#include "model/network.h"
#include "slad/train.h"

typedef struct slad_network_source {
    const slad_encoder *encoder;
    /* What was trained of it as a teacher, with the names of state.safetensors. NULL: nothing, and the head is the
     * encoder's own classifier. */
    const slad_safetensors *state;
    const char *prefix;                /* of the head's names: "teacher." */
    slad_adapt adapt;                  /* what of the network the state holds */
    const slad_train_options *options; /* those that made the state; NULL without one */
    const slad_encoder_info *student;  /* of the same run: decides which of a teacher's layers are adapted */
    slad_head_kind head;
    size_t classes;
} slad_network_source;

/* Places backbone, adapters and (want_head) head as frozen tensors of a store, which are read when an executor asks.
 * The backbone's tensors get names that begin with name. Network, source and what it points to must outlive the store.
 * Errors: SLAD_ERROR_DATA when the state lacks a tensor. */
slad_status slad_network_source_place(slad_context *context, slad_network *network, slad_store *store,
                                      const slad_network_source *source, const char *name, size_t image_size,
                                      slad_position_mode mode, bool want_head);

#endif
