#include "graph/store.h"
#include "base/memory.h"
#include <string.h>

struct slad_store {
    slad_context *context;
    size_t slab_limit;
    slad_slab **slabs; /* of all kinds; a slab's id is its index */
    size_t slab_count, slab_capacity;
    slad_tensor **tensors; /* owned */
    size_t tensor_count, tensor_capacity;
    slad_source *sources;
    size_t source_count, source_capacity;
    slad_trained *trained;
    size_t trained_count, trained_capacity;
    void **adopted;
    size_t adopted_count, adopted_capacity;
    slad_slab *open; /* the trained slab that still takes tensors */
    bool keeps_averages;
};

slad_status slad_store_create(slad_context *context, slad_store **store, size_t slab_limit)
{
    slad_status status = slad_allocate(context, store, 1, sizeof **store, "the tensor store");
    if (status != SLAD_OK) return status;
    (*store)->context = context;
    (*store)->slab_limit = slab_limit < SLAD_BUFFER_ELEMENTS ? slab_limit : SLAD_BUFFER_ELEMENTS;
    return SLAD_OK;
}

void slad_store_free(slad_store *store)
{
    if (!store) return;
    for (size_t i = 0; i < store->slab_count; i++) slad_release(store->slabs[i]);
    for (size_t i = 0; i < store->tensor_count; i++) {
        slad_release(store->tensors[i]->name);
        slad_release(store->tensors[i]);
    }
    for (size_t i = 0; i < store->adopted_count; i++) slad_release(store->adopted[i]);
    slad_release(store->adopted);
    slad_release(store->slabs);
    slad_release(store->tensors);
    slad_release(store->sources);
    slad_release(store->trained);
    slad_release(store);
}

static slad_status add_slab(slad_store *store, slad_slab **slab, slad_slab_kind kind, size_t elements)
{
    slad_context *context = store->context;
    slad_status status = SLAD_OK;
    slad_slab *made = NULL;
    SLAD_TRY(slad_grow(context, &store->slabs, &store->slab_capacity, store->slab_count + 1, sizeof(slad_slab *),
                       "the list of slabs"));
    SLAD_TRY(slad_allocate(context, &made, 1, sizeof *made, "a slab"));
    made->id = (uint32_t)store->slab_count;
    made->kind = kind;
    made->elements = elements;
    store->slabs[store->slab_count++] = made;
    *slab = made;
cleanup:
    return status;
}

static slad_status add_tensor(slad_store *store, slad_tensor **tensor, const char *name, slad_element element,
                              unsigned rank, const size_t *size)
{
    slad_context *context = store->context;
    slad_status status = SLAD_OK;
    slad_tensor *made = NULL;
    char *copy = NULL;
    SLAD_FAIL_IF(rank > SLAD_MAX_RANK, SLAD_ERROR_INTERNAL, "Tensor %s has rank %u, more than %d", name, rank,
                 SLAD_MAX_RANK);
    size_t elements = 1;
    for (unsigned i = 0; i < rank; i++) {
        SLAD_FAIL_IF(size[i] == 0, SLAD_ERROR_INTERNAL, "Tensor %s is empty", name);
        SLAD_FAIL_IF(size[i] > store->slab_limit / elements, SLAD_ERROR_OUT_OF_MEMORY,
                     "Tensor %s is too large: one buffer of this device holds at most %zu elements", name,
                     store->slab_limit);
        elements *= size[i];
    }
    SLAD_TRY(slad_grow(context, &store->tensors, &store->tensor_capacity, store->tensor_count + 1,
                       sizeof(slad_tensor *), "the list of tensors"));
    SLAD_TRY(slad_duplicate(context, &copy, name));
    SLAD_TRY(slad_allocate(context, &made, 1, sizeof *made, name));
    made->name = copy;
    made->element = element;
    made->rank = rank;
    size_t stride = 1;
    for (unsigned i = SLAD_MAX_RANK; i-- > 0;) {
        made->size[i] = i < rank ? size[i] : 1;
        made->stride[i] = i < rank ? stride : 0;
        stride *= made->size[i];
    }
    store->tensors[store->tensor_count++] = made;
    copy = NULL;
    *tensor = made;
cleanup:
    slad_release(copy);
    return status;
}

static slad_status add_source(slad_store *store, const slad_tensor *tensor, slad_fill fill, const void *user,
                              size_t index)
{
    slad_status status = slad_grow(store->context, &store->sources, &store->source_capacity, store->source_count + 1,
                                   sizeof *store->sources, "the list of tensor sources");
    if (status != SLAD_OK) return status;
    store->sources[store->source_count++] = (slad_source){tensor, fill, user, index};
    return SLAD_OK;
}

slad_status slad_store_frozen(slad_store *store, const slad_tensor **tensor, const char *name, slad_element element,
                              unsigned rank, const size_t *size, slad_fill fill, const void *user, size_t index)
{
    slad_status status = SLAD_OK;
    slad_tensor *made = NULL;
    SLAD_TRY(add_tensor(store, &made, name, element, rank, size));
    SLAD_TRY(add_slab(store, &made->slab, SLAD_SLAB_FROZEN, slad_tensor_elements(made)));
    SLAD_TRY(add_source(store, made, fill, user, index));
    *tensor = made;
cleanup:
    return status;
}

slad_status slad_store_state(slad_store *store, const slad_tensor **tensor, const char *name, slad_element element,
                             unsigned rank, const size_t *size)
{
    slad_status status = SLAD_OK;
    slad_tensor *made = NULL;
    SLAD_TRY(add_tensor(store, &made, name, element, rank, size));
    SLAD_TRY(add_slab(store, &made->slab, SLAD_SLAB_STATE, slad_tensor_elements(made)));
    *tensor = made;
cleanup:
    return status;
}

slad_status slad_store_keep_averages(slad_store *store)
{
    slad_context *context = store->context;
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(store->open, SLAD_ERROR_INTERNAL, "Averages must be asked for before anything is trained");
    store->keeps_averages = true;
cleanup:
    return status;
}

/* Opens a trained slab with its gradient, moments and average, all empty. */
static slad_status open_trained_slab(slad_store *store)
{
    slad_status status = SLAD_OK;
    slad_slab *slab = NULL;
    SLAD_TRY(add_slab(store, &slab, SLAD_SLAB_TRAINED, 0));
    SLAD_TRY(add_slab(store, &slab->gradient, SLAD_SLAB_GRADIENT, 0));
    SLAD_TRY(add_slab(store, &slab->moment_1, SLAD_SLAB_MOMENT_1, 0));
    SLAD_TRY(add_slab(store, &slab->moment_2, SLAD_SLAB_MOMENT_2, 0));
    if (store->keeps_averages) SLAD_TRY(add_slab(store, &slab->average, SLAD_SLAB_AVERAGE, 0));
    store->open = slab;
cleanup:
    return status;
}

slad_status slad_store_trained(slad_store *store, const slad_tensor **tensor, const char *name, unsigned rank,
                               const size_t *size, unsigned group, bool decay, slad_fill fill, const void *user,
                               size_t index)
{
    slad_context *context = store->context;
    slad_status status = SLAD_OK;
    slad_tensor *made = NULL;
    SLAD_TRY(add_tensor(store, &made, name, SLAD_F32, rank, size));
    const size_t blocks = (slad_tensor_elements(made) + SLAD_TENSOR_ALIGNMENT - 1) / SLAD_TENSOR_ALIGNMENT;
    const size_t elements = blocks * SLAD_TENSOR_ALIGNMENT;
    if (!store->open || store->open->elements + elements > store->slab_limit) SLAD_TRY(open_trained_slab(store));
    slad_slab *slab = store->open;
    made->slab = slab;
    made->offset = slab->elements;
    made->needs_gradient = true;
    slab->elements += elements;
    slab->gradient->elements = slab->moment_1->elements = slab->moment_2->elements = slab->elements;
    if (slab->average) slab->average->elements = slab->elements;
    SLAD_TRY(slad_grow(context, &store->trained, &store->trained_capacity, store->trained_count + 1,
                       sizeof *store->trained, "the list of trained tensors"));
    store->trained[store->trained_count++] = (slad_trained){made, group, decay};
    SLAD_TRY(add_source(store, made, fill, user, index));
    *tensor = made;
cleanup:
    return status;
}

slad_status slad_store_view(slad_store *store, const slad_tensor **view, const slad_tensor *tensor, size_t offset,
                            unsigned rank, const size_t *size, const size_t *stride)
{
    slad_context *context = store->context;
    slad_status status = SLAD_OK;
    slad_tensor *made = NULL;
    size_t last = offset;
    for (unsigned i = 0; i < rank; i++) last += (size[i] - 1) * stride[i];
    SLAD_FAIL_IF(tensor->offset + last >= tensor->slab->elements, SLAD_ERROR_INTERNAL,
                 "A view of %s reaches past its memory", tensor->name);
    SLAD_TRY(add_tensor(store, &made, tensor->name, tensor->element, rank, size));
    made->slab = tensor->slab;
    made->offset = tensor->offset + offset;
    made->needs_gradient = tensor->needs_gradient;
    for (unsigned i = 0; i < rank; i++) made->stride[i] = stride[i];
    *view = made;
cleanup:
    return status;
}

slad_status slad_store_adopt(slad_store *store, void *memory)
{
    if (!memory) return SLAD_OK;
    const slad_status status = slad_grow(store->context, &store->adopted, &store->adopted_capacity,
                                         store->adopted_count + 1, sizeof(void *), "memory of the store");
    if (status == SLAD_OK)
        store->adopted[store->adopted_count++] = memory;
    else
        slad_release(memory);
    return status;
}

size_t slad_store_trained_count(const slad_store *store)
{
    return store->trained_count;
}

const slad_trained *slad_store_trained_at(const slad_store *store, size_t index)
{
    return &store->trained[index];
}

const slad_trained *slad_store_trained_find(const slad_store *store, const char *name)
{
    for (size_t i = 0; i < store->trained_count; i++)
        if (strcmp(store->trained[i].tensor->name, name) == 0) return &store->trained[i];
    return NULL;
}

size_t slad_store_slab_total(const slad_store *store)
{
    return store->slab_count;
}

slad_slab *slad_store_slab(const slad_store *store, size_t id)
{
    return store->slabs[id];
}

size_t slad_store_slab_count(const slad_store *store, slad_slab_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < store->slab_count; i++) count += store->slabs[i]->kind == kind;
    return count;
}

slad_slab *slad_store_slab_at(const slad_store *store, slad_slab_kind kind, size_t index)
{
    for (size_t i = 0; i < store->slab_count; i++)
        if (store->slabs[i]->kind == kind && index-- == 0) return store->slabs[i];
    return NULL;
}

size_t slad_store_source_count(const slad_store *store)
{
    return store->source_count;
}

const slad_source *slad_store_source_at(const slad_store *store, size_t index)
{
    return &store->sources[index];
}
