/* The memory plan of a record's activations: who lives when, and so who may share memory with whom. */
#ifndef SLAD_GRAPH_PLAN_H
#define SLAD_GRAPH_PLAN_H

#include "graph/record.h"

/* Where an activation lies: which buffer of the arena, from which element. */
typedef struct slad_placement {
    uint32_t buffer;
    size_t offset;
} slad_placement;

/* The arena: as few buffers as the largest allocation permits. Grows to the largest need of all planned records. */
typedef struct slad_arena {
    size_t *elements; /* of each buffer */
    size_t count, capacity;
} slad_arena;

/* Elements that a placed activation starts at a multiple of: 256 bytes. */
#define SLAD_PLACEMENT_ALIGNMENT 64

/* Fills placements[slad_record_slab_count(record)] (entries of inputs are untouched) and widens the arena. An
 * activation lives from the first to the last node that reads or writes it; named outputs live to the end. Largest
 * first, each at the lowest offset that is free during its life. limit: most elements of one buffer. Errors:
 * OUT_OF_MEMORY when one activation exceeds the limit. */
slad_status slad_plan_arena(slad_context *context, slad_placement *placements, slad_arena *arena,
                            const slad_record *record, size_t limit);
void slad_arena_free(slad_arena *arena);

#endif
