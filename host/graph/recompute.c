/* Recomputation: copies of a segment's nodes, from whose results its gradients are computed. */
#include "base/memory.h"
#include "graph/record_internal.h"
#include <string.h>

void slad_record_set_recompute(slad_record *record, bool recompute)
{
    record->recompute = recompute;
}

void slad_record_segment_begin(slad_record *record)
{
    if (!slad_record_check(record, slad_grow(record->context, &record->segments, &record->segment_capacity,
                                             record->segment_count + 1, sizeof *record->segments, "segments")))
        return;
    record->segments[record->segment_count] =
        (slad_segment){.first = record->node_count, .first_slab = record->slab_count};
}

void slad_record_segment_end(slad_record *record)
{
    if (record->status != SLAD_OK) return;
    slad_segment *segment = &record->segments[record->segment_count];
    segment->end = record->node_count;
    segment->end_slab = record->slab_count;
    if (segment->end > segment->first) record->segment_count++;
}

const slad_segment *slad_record_segment_ending(const slad_record *record, size_t end)
{
    for (size_t i = 0; record->recompute && i < record->segment_count; i++)
        if (record->segments[i].end == end) return &record->segments[i];
    return NULL;
}

/* The slabs of the copies, by the original's id less the segment's first. */
typedef struct slab_twins {
    const slad_segment *segment;
    slad_slab **slabs;
} slab_twins;

/* The place of the slab's twin; NULL for what the segment only reads. */
static slad_slab **twin_slot(const slab_twins *twins, const slad_slab *slab)
{
    if (slab->kind != SLAD_SLAB_ACTIVATION || slab->id < twins->segment->first_slab ||
        slab->id >= twins->segment->end_slab)
        return NULL;
    return &twins->slabs[slab->id - twins->segment->first_slab];
}

/* The tensor's geometry on the slab's twin, or the tensor itself where there is none. */
static const slad_tensor *twin_of(slad_record *record, const slab_twins *twins, const slad_tensor *tensor)
{
    if (!tensor) return NULL;
    slad_slab **slot = twin_slot(twins, tensor->slab);
    if (!slot || !*slot) return tensor;
    slad_tensor *twin =
        slad_record_new_tensor(record, tensor->name, tensor->element, tensor->rank, tensor->size, *slot);
    if (!twin) return NULL;
    twin->offset = tensor->offset;
    twin->needs_gradient = tensor->needs_gradient;
    memcpy(twin->stride, tensor->stride, sizeof twin->stride);
    return twin;
}

/* A slab for the copy of what the original holds, with the gradient that has been gathered for that. */
static void add_twin(slad_record *record, const slad_slab *original, slad_slab **slot)
{
    *slot = slad_record_new_slab(record, SLAD_SLAB_ACTIVATION, original->elements);
    if (!*slot) return;
    slad_slab **gradient = slad_record_gradient_slot(record, original->id);
    slad_slab *gathered = gradient ? *gradient : NULL;
    gradient = slad_record_gradient_slot(record, (*slot)->id);
    if (gradient) *gradient = gathered;
}

static void copy_node(slad_record *record, const slab_twins *twins, const slad_node *node)
{
    const slad_tensor *inputs[SLAD_NODE_INPUTS];
    for (unsigned i = 0; i < node->input_count; i++) inputs[i] = twin_of(record, twins, node->inputs[i]);
    slad_node *copy = slad_record_append(record, node->operation, node->phase, inputs, node->input_count,
                                         node->parameters, node->parameter_bytes);
    for (unsigned i = 0; i < node->output_count && copy; i++) {
        slad_slab **slot = twin_slot(twins, node->outputs[i]->slab);
        if (!slot || node->phase != SLAD_PHASE_MICRO_BATCH) {
            slad_record_fail(record, SLAD_ERROR_INTERNAL,
                             "%s of a segment writes more than activations of it, so it cannot be recomputed",
                             node->operation->name);
            return;
        }
        if (!*slot) add_twin(record, node->outputs[i]->slab, slot);
        slad_node_writes(record, copy, twin_of(record, twins, node->outputs[i]));
    }
}

void slad_record_replay(slad_record *record, const slad_segment *segment)
{
    slab_twins twins = {.segment = segment};
    if (!slad_record_check(record, slad_allocate(record->context, &twins.slabs, segment->end_slab - segment->first_slab,
                                                 sizeof(slad_slab *), "the slabs of a segment")))
        return;
    for (size_t n = segment->first; n < segment->end && record->status == SLAD_OK; n++)
        copy_node(record, &twins, record->nodes[n]);
    slad_release(twins.slabs);
}

static void mark(bool *used, const slad_tensor *tensor)
{
    if (tensor && tensor->slab->kind == SLAD_SLAB_ACTIVATION) used[tensor->slab->id] = true;
}

static bool writes_used(const bool *used, const slad_node *node)
{
    for (unsigned i = 0; i < node->output_count; i++)
        if (used[node->outputs[i]->slab->id]) return true;
    return false;
}

void slad_record_drop_unused(slad_record *record, size_t first, size_t end)
{
    bool *used = NULL;
    if (record->status != SLAD_OK) return;
    if (!slad_record_check(record, slad_allocate(record->context, &used, record->slab_count, sizeof *used, "slabs")))
        return;
    for (size_t n = record->node_count; n-- > first;) {
        slad_node *node = record->nodes[n];
        const bool is_copy = n < end;
        if (is_copy && !writes_used(used, node)) {
            slad_release(node->parameters);
            slad_release(node);
            record->nodes[n] = NULL;
            continue;
        }
        for (unsigned i = 0; i < node->input_count; i++) mark(used, node->inputs[i]);
        for (unsigned i = 0; i < node->output_count && !is_copy; i++) mark(used, node->outputs[i]);
    }
    size_t kept = first;
    for (size_t n = first; n < record->node_count; n++)
        if (record->nodes[n]) record->nodes[kept++] = record->nodes[n];
    record->node_count = kept;
    slad_release(used);
}
