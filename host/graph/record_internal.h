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
};

/* A tensor owned by the record. NULL (and a failed record) when memory is out. */
slad_tensor *slad_record_new_tensor(slad_record *record, const char *name, slad_element element, unsigned rank,
                                    const size_t *size, slad_slab *slab);
slad_slab *slad_record_new_slab(slad_record *record, slad_slab_kind kind, size_t elements);
/* Notes a failed status (of a helper that has reported it); returns whether the record is still good. */
bool slad_record_check(slad_record *record, slad_status status);

#endif
