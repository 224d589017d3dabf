/* Classification heads: what they read of the tokens, a linear layer, its initial values. */
#ifndef SLAD_MODEL_HEAD_H
#define SLAD_MODEL_HEAD_H

#include "model/encoder.h"
#include "slad/train.h"

/* Floats that a head of this kind reads: d or 2 d. */
size_t slad_head_features(slad_head_kind kind, size_t width);

/* Refuses a head that the encoder's ...ForImageClassification cannot hold: vit's classifier reads the class token
 * alone. Errors: SLAD_ERROR_USAGE. */
slad_status slad_head_check(slad_context *context, slad_head_kind kind, const slad_encoder *encoder);

/* What the classifier in the encoder's files, or of its type, reads. */
slad_head_kind slad_head_kind_of(const slad_encoder *encoder);

typedef struct slad_head {
    slad_head_kind kind;
    const slad_tensor *weight, *bias; /* [classes, features], [classes] */
} slad_head;

/* Trained "PREFIXhead.weight" from N(0, 0.01^2) and "PREFIXhead.bias" of zeros. `model` and *seed (which must outlive
 * the store) choose the values: 0 teacher, 1 student. */
slad_status slad_head_create(slad_head *head, slad_store *store, slad_head_kind kind, size_t width, size_t classes,
                             const char *prefix, unsigned model, const uint64_t *seed);

/* The same, frozen; fill is called with index 0 for the weight, 1 for the bias. */
slad_status slad_head_place(slad_head *head, slad_store *store, slad_head_kind kind, size_t width, size_t classes,
                            const char *prefix, slad_fill fill, const void *user);

/* tokens [b, T, d], of which `prefix` (class token, registers) stand before the patches, to logits [b, classes]. */
const slad_tensor *slad_head_record(slad_record *record, const slad_head *head, const slad_tensor *tokens,
                                    size_t prefix);

#endif
