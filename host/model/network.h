/* A network: an encoder at one image size, its adapters if it has any, and its head if it has one. */
#ifndef SLAD_MODEL_NETWORK_H
#define SLAD_MODEL_NETWORK_H

#include "model/adapters.h"
#include "model/encoder.h"
#include "model/head.h"

typedef struct slad_network {
    bool present;
    slad_backbone backbone;
    slad_adapter_plan plan;
    slad_layer_adapters *adapters; /* [layers], or NULL */
    slad_head head;                /* weight NULL: none */
    slad_named_values values;      /* of frozen adapters and heads, and of a trained encoder that is frozen now */
    char model_prefix[32];         /* of such an encoder's names */
} slad_network;

/* Allocates the lists of adapters; the caller fills plan and lists through model/adapters.h. */
slad_status slad_network_allocate_adapters(slad_context *context, slad_network *network);
/* Place the adapters of the plan, or a head, frozen, with values from network->values. The network must stay where it
 * is while the store lives. */
slad_status slad_network_place_adapters(slad_context *context, slad_network *network, slad_store *store);
slad_status slad_network_place_head(slad_network *network, slad_store *store, slad_head_kind kind, size_t classes,
                                    const char *prefix);
void slad_network_free(slad_network *network);

/* Tokens after the final LayerNorm, [b, T, d]; NULL if the network is not present. dropout and block_tokens as in
 * slad_backbone_record. */
const slad_tensor *slad_network_tokens(slad_record *record, const slad_network *network, const slad_tensor *pixels,
                                       const slad_dropout *dropout, const slad_tensor **block_tokens);

#endif
