/* The inside of a record, shared by record.c and gradient.c. */
#ifndef SLAD_GRAPH_RECORD_INTERNAL_H
#define SLAD_GRAPH_RECORD_INTERNAL_H

#include "graph/record.h"

typedef struct slad_named {
    char *name;
    const slad_tensor *tensor;
    uint32_t bound;
    bool is_output;
} slad_named;

/* A part of the forward pass that may be recomputed: nodes first .. end-1, and the slabs that were made meanwhile. */
typedef struct slad_segment {
    size_t first, end;
    size_t first_slab, end_slab;
} slad_segment;

struct slad_record {
    slad_context *context;
    slad_store *store;
    char *name;
    const char *specialisation; /* not owned; NULL: none */
    slad_status status;
    slad_slab **slabs;
    size_t slab_count, slab_capacity;
    slad_tensor **tensors;
    size_t tensor_count, tensor_capacity;
    slad_node **nodes;
    size_t node_count, node_capacity;
    slad_named *named;
    size_t named_count, named_capacity;
    slad_slab **gradients; /* by slab id: the slab that holds its gradient, NULL while none flows */
    size_t gradient_capacity;
    slad_segment *segments; /* in the order of their nodes; one that is open stands behind them */
    size_t segment_count, segment_capacity;
    bool recompute;
};

/* A tensor owned by the record. NULL (and a failed record) when memory is out. */
slad_tensor *slad_record_new_tensor(slad_record *record, const char *name, slad_element element, unsigned rank,
                                    const size_t *size, slad_slab *slab);
slad_slab *slad_record_new_slab(slad_record *record, slad_slab_kind kind, size_t elements);
/* Notes a failed status (of a helper that has reported it); returns whether the record is still good. */
bool slad_record_check(slad_record *record, slad_status status);
/* Where the gradient of a slab of the record is noted; NULL on a failed record. Valid until the next call. */
slad_slab **slad_record_gradient_slot(slad_record *record, uint32_t slab);

/* recompute.c */

/* The segment whose last node is end-1, if it is to be recomputed; else NULL. */
const slad_segment *slad_record_segment_ending(const slad_record *record, size_t end);
/* Appends copies of the segment's nodes. They read what the segment reads, write activations of their own, and have the
 * gradients that were gathered for the originals. */
void slad_record_replay(slad_record *record, const slad_segment *segment);
/* Removes those of the nodes first .. end-1 whose results no later node reads. */
void slad_record_drop_unused(slad_record *record, size_t first, size_t end);

#endif
