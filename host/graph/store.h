/* The persistent tensors of a session: frozen weights, what is trained (with gradient and moments), state. Every record
 * refers to the same store. Trained tensors lie one behind another in as few slabs as the largest allocation permits,
 * so that the optimizer is one launch a slab. */
#ifndef SLAD_GRAPH_STORE_H
#define SLAD_GRAPH_STORE_H

#include "graph/tensor.h"

typedef struct slad_store slad_store;

/* One trained tensor. A shared adapter is one entry; the student's part of it is a view. */
typedef struct slad_trained {
    const slad_tensor *tensor;
    unsigned group; /* learning-rate group: an index into the step values' rates */
    bool decay;     /* weight decay acts on it (matrices, not biases) */
} slad_trained;

/* A frozen tensor and where its values come from. */
typedef struct slad_source {
    const slad_tensor *tensor;
    slad_fill fill; /* NULL: zeros */
    const void *user;
    size_t index;
} slad_source;

/* slab_limit: most elements of one slab, from the device's largest allocation; SLAD_BUFFER_ELEMENTS if that is less. */
slad_status slad_store_create(slad_context *context, slad_store **store, size_t slab_limit);
void slad_store_free(slad_store *store);

/* Each returns a contiguous tensor owned by the store, with the name copied. `fill` may be NULL (zeros); user must
 * outlive the store. Errors: SLAD_ERROR_OUT_OF_MEMORY; a tensor beyond the slab limit names itself and the limit. */
slad_status slad_store_frozen(slad_store *store, const slad_tensor **tensor, const char *name, slad_element element,
                              unsigned rank, const size_t *size, slad_fill fill, const void *user, size_t index);
slad_status slad_store_trained(slad_store *store, const slad_tensor **tensor, const char *name, unsigned rank,
                               const size_t *size, unsigned group, bool decay, slad_fill fill, const void *user,
                               size_t index);
/* Every trained slab gets a moving average of its values (ops/operations.h, slad_moving_average). To be called before
 * the first slad_store_trained; else SLAD_ERROR_INTERNAL. */
slad_status slad_store_keep_averages(slad_store *store);
slad_status slad_store_state(slad_store *store, const slad_tensor **tensor, const char *name, slad_element element,
                             unsigned rank, const size_t *size);

/* A part of a tensor of the store, under the same name: a student's share of a teacher's adapter. */
slad_status slad_store_view(slad_store *store, const slad_tensor **view, const slad_tensor *tensor, size_t offset,
                            unsigned rank, const size_t *size, const size_t *stride);

/* Hands memory of slad_allocate to the store, which releases it when it is freed, also after an error: what a fill's
 * user or an operation's parameters point to. NULL is passed over. */
slad_status slad_store_adopt(slad_store *store, void *memory);

size_t slad_store_trained_count(const slad_store *store);
const slad_trained *slad_store_trained_at(const slad_store *store, size_t index);
/* NULL if there is none of that name. */
const slad_trained *slad_store_trained_find(const slad_store *store, const char *name);
/* All slabs; a slab's id is its index. */
size_t slad_store_slab_total(const slad_store *store);
slad_slab *slad_store_slab(const slad_store *store, size_t id);
/* Slabs of a kind, in order. */
size_t slad_store_slab_count(const slad_store *store, slad_slab_kind kind);
slad_slab *slad_store_slab_at(const slad_store *store, slad_slab_kind kind, size_t index);
/* All sources (frozen and trained), for executors. */
size_t slad_store_source_count(const slad_store *store);
const slad_source *slad_store_source_at(const slad_store *store, size_t index);

#endif
