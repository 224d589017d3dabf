#include "graph/record.h"
#include "base/memory.h"
#include "graph/record_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

slad_status slad_record_create(slad_context *context, slad_record **record, slad_store *store, const char *name)
{
    slad_status status = SLAD_OK;
    slad_record *made = NULL;
    *record = NULL;
    SLAD_TRY(slad_allocate(context, &made, 1, sizeof *made, "a record"));
    made->context = context;
    made->store = store;
    SLAD_TRY(slad_duplicate(context, &made->name, name));
    *record = made;
    made = NULL;
cleanup:
    slad_record_free(made);
    return status;
}

void slad_record_free(slad_record *record)
{
    if (!record) return;
    for (size_t i = 0; i < record->slab_count; i++) slad_release(record->slabs[i]);
    for (size_t i = 0; i < record->tensor_count; i++) {
        slad_release(record->tensors[i]->name);
        slad_release(record->tensors[i]);
    }
    for (size_t i = 0; i < record->node_count; i++) {
        slad_release(record->nodes[i]->parameters);
        slad_release(record->nodes[i]);
    }
    for (size_t i = 0; i < record->named_count; i++) slad_release(record->named[i].name);
    slad_release(record->slabs);
    slad_release(record->tensors);
    slad_release(record->nodes);
    slad_release(record->named);
    slad_release(record->gradients);
    slad_release(record->segments);
    slad_release(record->name);
    slad_release(record);
}

slad_status slad_record_status(const slad_record *record)
{
    return record->status;
}

slad_context *slad_record_context(const slad_record *record)
{
    return record->context;
}

slad_store *slad_record_store(const slad_record *record)
{
    return record->store;
}

const char *slad_record_name(const slad_record *record)
{
    return record->name;
}

void slad_record_set_specialisation(slad_record *record, const char *defines)
{
    record->specialisation = defines;
}

const char *slad_record_specialisation(const slad_record *record)
{
    return record->specialisation ? record->specialisation : "";
}

const slad_tensor *slad_record_fail(slad_record *record, slad_status status, const char *format, ...)
{
    if (record->status != SLAD_OK) return NULL;
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is started above; the analyzer loses that */
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    record->status =
        slad_report(record->context, status, "record", __FILE__, __LINE__, "Recording %s: %s", record->name, message);
    return NULL;
}

bool slad_record_check(slad_record *record, slad_status status)
{
    if (status != SLAD_OK && record->status == SLAD_OK) record->status = status;
    return record->status == SLAD_OK;
}

slad_slab *slad_record_new_slab(slad_record *record, slad_slab_kind kind, size_t elements)
{
    slad_slab *slab = NULL;
    if (!slad_record_check(record, slad_grow(record->context, &record->slabs, &record->slab_capacity,
                                             record->slab_count + 1, sizeof(slad_slab *), "the slabs of a record")))
        return NULL;
    if (!slad_record_check(record, slad_allocate(record->context, &slab, 1, sizeof *slab, "a slab"))) return NULL;
    slab->id = (uint32_t)record->slab_count;
    slab->kind = kind;
    slab->elements = elements;
    record->slabs[record->slab_count++] = slab;
    return slab;
}

slad_tensor *slad_record_new_tensor(slad_record *record, const char *name, slad_element element, unsigned rank,
                                    const size_t *size, slad_slab *slab)
{
    slad_tensor *tensor = NULL;
    char *copy = NULL;
    if (rank > SLAD_MAX_RANK)
        return (void)slad_record_fail(record, SLAD_ERROR_INTERNAL, "%s has rank %u", name, rank), NULL;
    if (!slad_record_check(record,
                           slad_grow(record->context, &record->tensors, &record->tensor_capacity,
                                     record->tensor_count + 1, sizeof(slad_tensor *), "the tensors of a record")) ||
        !slad_record_check(record, slad_duplicate(record->context, &copy, name)))
        return NULL;
    if (!slad_record_check(record, slad_allocate(record->context, &tensor, 1, sizeof *tensor, "a tensor"))) {
        slad_release(copy);
        return NULL;
    }
    tensor->name = copy;
    tensor->slab = slab;
    tensor->element = element;
    tensor->rank = rank;
    size_t stride = 1;
    for (unsigned i = SLAD_MAX_RANK; i-- > 0;) {
        tensor->size[i] = i < rank ? size[i] : 1;
        tensor->stride[i] = i < rank ? stride : 0;
        stride *= tensor->size[i];
    }
    record->tensors[record->tensor_count++] = tensor;
    return tensor;
}

/* A new slab and the contiguous tensor that covers it. */
static slad_tensor *new_covering_tensor(slad_record *record, const char *name, slad_slab_kind kind,
                                        slad_element element, unsigned rank, const size_t *size)
{
    if (record->status != SLAD_OK) return NULL;
    size_t elements = 1;
    for (unsigned i = 0; i < rank; i++) {
        if (size[i] == 0 || elements > UINT32_MAX / size[i])
            return (void)slad_record_fail(record, SLAD_ERROR_OUT_OF_MEMORY,
                                          "tensor %s is empty or has more than 2^32 elements; use smaller batches",
                                          name),
                   NULL;
        elements *= size[i];
    }
    slad_slab *slab = slad_record_new_slab(record, kind, elements);
    return slab ? slad_record_new_tensor(record, name, element, rank, size, slab) : NULL;
}

static void add_name(slad_record *record, const slad_tensor *tensor, const char *name, uint32_t bound, bool is_output)
{
    char *copy = NULL;
    if (!slad_record_check(record, slad_grow(record->context, &record->named, &record->named_capacity,
                                             record->named_count + 1, sizeof *record->named, "names of a record")) ||
        !slad_record_check(record, slad_duplicate(record->context, &copy, name)))
        return;
    record->named[record->named_count++] = (slad_named){copy, tensor, bound, is_output};
}

const slad_tensor *slad_record_input(slad_record *record, const char *name, slad_element element, unsigned rank,
                                     const size_t *size, uint32_t bound)
{
    const slad_tensor *tensor = new_covering_tensor(record, name, SLAD_SLAB_INPUT, element, rank, size);
    if (tensor) add_name(record, tensor, name, bound, false);
    return record->status == SLAD_OK ? tensor : NULL;
}

const slad_tensor *slad_record_view(slad_record *record, const slad_tensor *tensor, size_t offset, unsigned rank,
                                    const size_t *size, const size_t *stride)
{
    if (record->status != SLAD_OK || !tensor) return NULL;
    size_t last = offset;
    for (unsigned i = 0; i < rank; i++) last += (size[i] - 1) * stride[i];
    if (tensor->offset + last >= tensor->slab->elements)
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "a view of %s reaches past its memory", tensor->name);
    slad_tensor *view = slad_record_new_tensor(record, tensor->name, tensor->element, rank, size, tensor->slab);
    if (!view) return NULL;
    view->offset = tensor->offset + offset;
    view->needs_gradient = tensor->needs_gradient;
    for (unsigned i = 0; i < rank; i++) view->stride[i] = stride[i];
    return view;
}

const slad_tensor *slad_record_reshape(slad_record *record, const slad_tensor *tensor, unsigned rank,
                                       const size_t *size)
{
    if (record->status != SLAD_OK || !tensor) return NULL;
    size_t elements = 1, stride[SLAD_MAX_RANK];
    for (unsigned i = rank; i-- > 0;) {
        stride[i] = elements;
        elements *= size[i];
    }
    if (!slad_tensor_is_contiguous(tensor) || elements != slad_tensor_elements(tensor))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "%s cannot be reshaped to %zu elements", tensor->name,
                                elements);
    return slad_record_view(record, tensor, 0, rank, size, stride);
}

const slad_tensor *slad_record_slab(slad_record *record, slad_slab *slab)
{
    if (record->status != SLAD_OK) return NULL;
    slad_tensor *tensor = slad_record_new_tensor(record, "slab", SLAD_F32, 1, &slab->elements, slab);
    return tensor;
}

const slad_tensor *slad_record_detach(slad_record *record, const slad_tensor *tensor)
{
    if (record->status != SLAD_OK || !tensor) return NULL;
    slad_tensor *view =
        slad_record_new_tensor(record, tensor->name, tensor->element, tensor->rank, tensor->size, tensor->slab);
    if (!view) return NULL;
    memcpy(view->stride, tensor->stride, sizeof view->stride);
    view->offset = tensor->offset;
    return view;
}

void slad_record_output(slad_record *record, const slad_tensor *tensor, const char *name)
{
    if (record->status == SLAD_OK && tensor) add_name(record, tensor, name, 0, true);
}

size_t slad_record_named_count(const slad_record *record)
{
    return record->named_count;
}

const slad_tensor *slad_record_named_at(const slad_record *record, size_t index, const char **name, bool *is_output,
                                        uint32_t *bound)
{
    const slad_named *named = &record->named[index];
    *name = named->name;
    *is_output = named->is_output;
    *bound = named->bound;
    return named->tensor;
}

void slad_record_require_gradient(slad_record *record, const slad_tensor *input)
{
    if (record->status != SLAD_OK || !input) return;
    for (size_t i = 0; i < record->tensor_count; i++)
        if (record->tensors[i] == input) record->tensors[i]->needs_gradient = true;
}

slad_node *slad_record_append(slad_record *record, const slad_operation *operation, slad_phase phase,
                              const slad_tensor *const *inputs, unsigned input_count, const void *parameters,
                              size_t parameter_bytes)
{
    slad_node *node = NULL;
    void *copy = NULL;
    if (record->status != SLAD_OK) return NULL;
    if (input_count > SLAD_NODE_INPUTS)
        return (void)slad_record_fail(record, SLAD_ERROR_INTERNAL, "%s has %u inputs", operation->name, input_count),
               NULL;
    if (!slad_record_check(record, slad_grow(record->context, &record->nodes, &record->node_capacity,
                                             record->node_count + 1, sizeof(slad_node *), "the nodes of a record")))
        return NULL;
    if (parameter_bytes) {
        if (!slad_record_check(record, slad_allocate(record->context, &copy, 1, parameter_bytes, operation->name)))
            return NULL;
        memcpy(copy, parameters, parameter_bytes);
    }
    if (!slad_record_check(record, slad_allocate(record->context, &node, 1, sizeof *node, operation->name))) {
        slad_release(copy);
        return NULL;
    }
    node->operation = operation;
    node->phase = phase;
    node->parameters = copy;
    node->parameter_bytes = parameter_bytes;
    node->input_count = input_count;
    for (unsigned i = 0; i < input_count; i++) node->inputs[i] = inputs[i];
    record->nodes[record->node_count++] = node;
    return node;
}

void slad_node_writes(slad_record *record, slad_node *node, const slad_tensor *tensor)
{
    if (record->status != SLAD_OK || !node) return;
    if (node->output_count == SLAD_NODE_OUTPUTS) {
        slad_record_fail(record, SLAD_ERROR_INTERNAL, "%s has too many outputs", node->operation->name);
        return;
    }
    node->outputs[node->output_count++] = tensor;
}

const slad_tensor *slad_node_output(slad_record *record, slad_node *node, unsigned rank, const size_t *size)
{
    if (record->status != SLAD_OK || !node) return NULL;
    slad_tensor *tensor =
        new_covering_tensor(record, node->operation->name, SLAD_SLAB_ACTIVATION, SLAD_F32, rank, size);
    if (!tensor) return NULL;
    for (unsigned i = 0; i < node->input_count; i++)
        if (node->inputs[i] && node->inputs[i]->needs_gradient) tensor->needs_gradient = true;
    slad_node_writes(record, node, tensor);
    return record->status == SLAD_OK ? tensor : NULL;
}

const slad_tensor *slad_node_scratch(slad_record *record, slad_node *node, size_t elements)
{
    if (record->status != SLAD_OK || !node) return NULL;
    const slad_tensor *tensor = new_covering_tensor(record, "scratch", SLAD_SLAB_ACTIVATION, SLAD_F32, 1, &elements);
    slad_node_writes(record, node, tensor);
    return record->status == SLAD_OK ? tensor : NULL;
}

size_t slad_record_node_count(const slad_record *record)
{
    return record->node_count;
}

const slad_node *slad_record_node_at(const slad_record *record, size_t index)
{
    return record->nodes[index];
}

size_t slad_record_slab_count(const slad_record *record)
{
    return record->slab_count;
}

const slad_slab *slad_record_slab_at(const slad_record *record, size_t id)
{
    return record->slabs[id];
}

bool slad_record_writes_slab(const slad_record *record, const slad_slab *slab)
{
    for (size_t n = 0; n < record->node_count; n++)
        for (unsigned i = 0; i < record->nodes[n]->output_count; i++)
            if (record->nodes[n]->outputs[i]->slab == slab) return true;
    return false;
}
