/* A network: an encoder at one image size, its adapters if it has any, and its head if it has one. */
#ifndef SLAD_MODEL_NETWORK_H
#define SLAD_MODEL_NETWORK_H

#include "model/adapters.h"
#include "model/encoder.h"
#include "model/head.h"

typedef struct slad_network {
    bool present;
    slad_backbone backbone;
    slad_adapter *adapters; /* [layers], or NULL */
    slad_head head;         /* weight NULL: none */
} slad_network;

/* Allocates the list of adapters; the caller fills it through model/adapters.h. */
slad_status slad_network_allocate_adapters(slad_context *context, slad_network *network);
void slad_network_free(slad_network *network);

/* Tokens after the final LayerNorm, [b, T, d]; NULL if the network is not present. */
const slad_tensor *slad_network_tokens(slad_record *record, const slad_network *network, const slad_tensor *pixels);
/* Logits [b, classes]. */
const slad_tensor *slad_network_logits(slad_record *record, const slad_network *network, const slad_tensor *pixels);

#endif
