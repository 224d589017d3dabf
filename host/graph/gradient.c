/* Reverse-mode differentiation of a record. */
#include "base/memory.h"
#include "graph/record_internal.h"
#include <string.h>

/* The tensor's geometry on another slab of the same size. */
static const slad_tensor *same_place(slad_record *record, const slad_tensor *tensor, slad_slab *slab)
{
    slad_tensor *twin = slad_record_new_tensor(record, tensor->name, tensor->element, tensor->rank, tensor->size, slab);
    if (!twin) return NULL;
    twin->offset = tensor->offset;
    memcpy(twin->stride, tensor->stride, sizeof twin->stride);
    return twin;
}

slad_slab **slad_record_gradient_slot(slad_record *record, uint32_t slab)
{
    if (!slad_record_check(record, slad_grow(record->context, &record->gradients, &record->gradient_capacity,
                                             (size_t)slab + 1, sizeof(slad_slab *), "gradients of a record")))
        return NULL;
    return &record->gradients[slab];
}

static slad_slab **gradient_slot(slad_record *record, const slad_tensor *tensor)
{
    return slad_record_gradient_slot(record, tensor->slab->id);
}

static bool covers_its_slab(const slad_tensor *tensor)
{
    return tensor->offset == 0 && slad_tensor_is_contiguous(tensor) &&
           slad_tensor_elements(tensor) == tensor->slab->elements;
}

const slad_tensor *slad_gradient_of(slad_record *record, const slad_tensor *tensor)
{
    if (record->status != SLAD_OK || !tensor) return NULL;
    if (tensor->slab->kind == SLAD_SLAB_TRAINED) return same_place(record, tensor, tensor->slab->gradient);
    if (tensor->slab->kind != SLAD_SLAB_ACTIVATION && tensor->slab->kind != SLAD_SLAB_INPUT) return NULL;
    slad_slab **slot = gradient_slot(record, tensor);
    return slot && *slot ? same_place(record, tensor, *slot) : NULL;
}

const slad_tensor *slad_gradient_target(slad_record *record, const slad_tensor *tensor, bool *accumulate)
{
    *accumulate = true;
    if (record->status != SLAD_OK || !tensor) return NULL;
    if (tensor->slab->kind == SLAD_SLAB_TRAINED) return same_place(record, tensor, tensor->slab->gradient);
    slad_slab **slot = gradient_slot(record, tensor);
    if (!slot) return NULL;
    if (*slot) return same_place(record, tensor, *slot);
    if (!covers_its_slab(tensor))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "a gradient flows into a part of %s only", tensor->name);
    slad_slab *slab = slad_record_new_slab(record, SLAD_SLAB_ACTIVATION, tensor->slab->elements);
    if (!slab) return NULL;
    *slot = slab;
    *accumulate = false;
    return same_place(record, tensor, slab);
}

void slad_gradient_pass(slad_record *record, const slad_tensor *tensor, const slad_tensor *gradient)
{
    if (record->status != SLAD_OK || !tensor || !gradient) return;
    slad_slab **slot = gradient_slot(record, tensor);
    if (!slot) return;
    if (*slot || !covers_its_slab(tensor) || !covers_its_slab(gradient) ||
        tensor->slab->elements != gradient->slab->elements) {
        slad_record_fail(record, SLAD_ERROR_INTERNAL, "a gradient cannot be passed on to %s as it is", tensor->name);
        return;
    }
    *slot = gradient->slab;
}

static bool gradient_flows_in(slad_record *record, const slad_node *node)
{
    if (node->operation->starts_gradient) return true;
    for (unsigned i = 0; i < node->output_count; i++) {
        const slad_tensor *output = node->outputs[i];
        if (output->slab->kind != SLAD_SLAB_ACTIVATION) continue;
        slad_slab **slot = gradient_slot(record, output);
        if (slot && *slot) return true;
    }
    return false;
}

static bool gradient_is_wanted(const slad_node *node)
{
    for (unsigned i = 0; i < node->input_count; i++)
        if (node->inputs[i] && node->inputs[i]->needs_gradient) return true;
    return false;
}

static void differentiate_node(slad_record *record, const slad_node *node)
{
    if (record->status != SLAD_OK || !gradient_is_wanted(node) || !gradient_flows_in(record, node)) return;
    if (node->operation->gradient)
        slad_record_check(record, node->operation->gradient(record, node));
    else
        slad_record_fail(record, SLAD_ERROR_INTERNAL, "operation %s has no gradient", node->operation->name);
}

/* The same of a segment, from activations that are computed again. */
static void differentiate_segment(slad_record *record, const slad_segment *segment)
{
    bool wanted = false;
    for (size_t n = segment->first; n < segment->end; n++) wanted = wanted || gradient_is_wanted(record->nodes[n]);
    if (!wanted) return;
    const size_t first = record->node_count;
    slad_record_replay(record, segment);
    const size_t end = record->node_count;
    for (size_t n = end; n-- > first;) differentiate_node(record, record->nodes[n]);
    slad_record_drop_unused(record, first, end);
}

slad_status slad_record_differentiate(slad_record *record)
{
    for (size_t i = record->node_count; i-- > 0 && record->status == SLAD_OK;) {
        const slad_segment *segment = slad_record_segment_ending(record, i + 1);
        if (segment) {
            differentiate_segment(record, segment);
            i = segment->first;
        } else {
            differentiate_node(record, record->nodes[i]);
        }
    }
    return record->status;
}
