/* Weights in the GEMM provider's layout, merged with their adapters: made once where all is frozen, else once an
 * update; or before each use, where memory is short. */
#include "base/memory.h"
#include "graph/executor_opencl.h"
#include <string.h>

static bool same_place(const slad_tensor *a, const slad_tensor *b)
{
    return a->slab == b->slab && a->offset == b->offset && a->rank == b->rank &&
           memcmp(a->size, b->size, sizeof a->size) == 0 && memcmp(a->stride, b->stride, sizeof a->stride) == 0;
}

static bool same_weight(const slad_weight *a, const slad_weight *b)
{
    if (!same_place(a->weight, b->weight) || a->adapter_count != b->adapter_count) return false;
    for (unsigned i = 0; i < a->adapter_count; i++)
        if (!same_place(a->adapters[i].lora_a, b->adapters[i].lora_a) ||
            !same_place(a->adapters[i].lora_b, b->adapters[i].lora_b) || a->adapters[i].scale != b->adapters[i].scale ||
            a->adapters[i].first_row != b->adapters[i].first_row)
            return false;
    return true;
}

static bool depends_on_trained(const slad_weight *weight)
{
    bool trained = weight->weight->slab->kind == SLAD_SLAB_TRAINED;
    for (unsigned i = 0; i < weight->adapter_count; i++)
        trained = trained || weight->adapters[i].lora_a->slab->kind == SLAD_SLAB_TRAINED ||
                  weight->adapters[i].lora_b->slab->kind == SLAD_SLAB_TRAINED;
    return trained;
}

slad_status slad_packed_find(slad_opencl_executor *executor, size_t *index, const slad_weight *weight, bool transposed)
{
    slad_context *context = executor->base.context;
    slad_status status = SLAD_OK;
    for (*index = 0; *index < executor->packed_count; ++*index)
        if (executor->packed[*index].transposed == transposed && same_weight(&executor->packed[*index].weight, weight))
            return SLAD_OK;
    SLAD_TRY(slad_grow(context, &executor->packed, &executor->packed_capacity, executor->packed_count + 1,
                       sizeof *executor->packed, "packed weights"));
    slad_packed *packed = &executor->packed[executor->packed_count++];
    packed->weight = *weight;
    packed->out = weight->weight->size[0];
    packed->in = weight->weight->size[1];
    packed->transposed = transposed;
    packed->per_update = depends_on_trained(weight);
    packed->layout = transposed ? slad_gemm_get_layout(executor->gemm, packed->in, packed->out)
                                : slad_gemm_get_layout(executor->gemm, packed->out, packed->in);
    for (unsigned i = 0; i < weight->adapter_count; i++) {
        slad_executor_note_use(executor, weight->adapters[i].lora_a);
        slad_executor_note_use(executor, weight->adapters[i].lora_b);
    }
cleanup:
    return status;
}

/* Whether the weight as it lies is what the provider reads: dx = dy W, of a provider with one panel. */
static bool is_plain(const slad_packed *packed)
{
    return packed->transposed && packed->weight.adapter_count == 0 && packed->layout.panel == packed->layout.columns &&
           packed->layout.elements == packed->out * packed->in;
}

/* Whether more than this one packed copy of the weight would be kept. */
static bool is_kept_twice(const slad_opencl_executor *executor, const slad_packed *packed)
{
    if (executor->in_use[packed->weight.weight->slab->id]) return true;
    for (size_t i = 0; i < executor->packed_count; i++)
        if (&executor->packed[i] != packed && executor->packed[i].weight.weight->slab == packed->weight.weight->slab)
            return true;
    return false;
}

void slad_packed_settle(slad_opencl_executor *executor)
{
    for (size_t i = 0; i < executor->packed_count; i++) {
        slad_packed *packed = &executor->packed[i];
        if (is_plain(packed)) packed->kind = SLAD_PACKED_PLAIN;
        if (is_plain(packed) || packed->per_update) slad_executor_note_use(executor, packed->weight.weight);
    }
    for (size_t i = 0; i < executor->packed_count; i++) {
        slad_packed *packed = &executor->packed[i];
        if (packed->kind == SLAD_PACKED_PLAIN || !executor->options.pack_on_use || !is_kept_twice(executor, packed))
            continue;
        packed->kind = SLAD_PACKED_ON_USE;
        slad_executor_note_use(executor, packed->weight.weight);
    }
}

slad_gemm_operand slad_packed_locate(const slad_opencl_executor *executor, size_t index,
                                     const slad_gemm_packing **packing)
{
    const slad_packed *packed = &executor->packed[index];
    *packing = packed->kind == SLAD_PACKED_ON_USE ? &packed->packing : NULL;
    switch (packed->kind) {
    case SLAD_PACKED_PLAIN:
        return slad_executor_locate(executor, NULL, packed->weight.weight);
    case SLAD_PACKED_ON_USE:
        return (slad_gemm_operand){executor->packed_on_use, 0};
    case SLAD_PACKED_KEPT:
        break;
    }
    return (slad_gemm_operand){packed->buffer, 0};
}

/* Bytes of the buffer that weights packed on use share. */
static uint64_t on_use_bytes(const slad_opencl_executor *executor)
{
    uint64_t largest = 0;
    for (size_t i = 0; i < executor->packed_count; i++) {
        const uint64_t size = executor->packed[i].layout.elements * sizeof(float);
        if (executor->packed[i].kind == SLAD_PACKED_ON_USE && largest < size) largest = size;
    }
    return largest;
}

void slad_packed_sizes(const slad_opencl_executor *executor, uint64_t *bytes, uint64_t *largest, uint64_t *staging)
{
    *bytes = *largest = on_use_bytes(executor);
    *staging = 0;
    for (size_t i = 0; i < executor->packed_count; i++) {
        const slad_packed *packed = &executor->packed[i];
        if (packed->kind != SLAD_PACKED_KEPT) continue;
        const uint64_t size = packed->layout.elements * sizeof(float);
        const uint64_t plain = (uint64_t)packed->out * packed->in * sizeof(float);
        *bytes += size;
        if (*largest < size) *largest = size;
        if (!executor->in_use[packed->weight.weight->slab->id] && *staging < plain) *staging = plain;
    }
}

static slad_status bind_pack(slad_opencl_executor *executor, const slad_packed *packed, cl_mem buffer,
                             slad_gemm_operand weight, slad_gemm_packing *packing)
{
    slad_gemm_adapter adapters[SLAD_MAX_ADAPTERS];
    for (unsigned i = 0; i < packed->weight.adapter_count; i++) {
        const slad_adapter *source = &packed->weight.adapters[i];
        adapters[i] = (slad_gemm_adapter){
            .lora_a = slad_executor_locate(executor, NULL, source->lora_a),
            .lora_b = slad_executor_locate(executor, NULL, source->lora_b),
            .rank = source->lora_a->size[0],
            .a_stride = source->lora_a->stride[0],
            .blocks = source->lora_b->size[0],
            .block_rows = source->lora_b->size[1],
            .b_block_stride = source->lora_b->stride[0],
            .b_row_stride = source->lora_b->stride[1],
            .first_row = source->first_row,
            .scale = (float)source->scale,
        };
    }
    return slad_gemm_bind_pack(executor->gemm, packing, (slad_gemm_operand){buffer, 0}, &packed->layout, weight,
                               packed->out, packed->in, packed->transposed, adapters, packed->weight.adapter_count);
}

static const slad_source *source_of(const slad_opencl_executor *executor, const slad_tensor *tensor)
{
    for (size_t i = 0; i < slad_store_source_count(executor->base.store); i++)
        if (slad_store_source_at(executor->base.store, i)->tensor->slab == tensor->slab)
            return slad_store_source_at(executor->base.store, i);
    return NULL;
}

/* Packs a frozen weight: straight from its slab if that stays on the device, else by way of staging, which then holds
 * the weight of the given slab (the two orientations of one weight follow one another, so it is read once). */
static slad_status pack_once(slad_opencl_executor *executor, slad_packed *packed, cl_mem staging, float *host,
                             const slad_slab **staged)
{
    slad_device *device = executor->device;
    slad_context *context = executor->base.context;
    slad_status status = SLAD_OK;
    slad_gemm_packing packing = {0};
    const slad_tensor *weight = packed->weight.weight;
    slad_gemm_operand place = {staging, 0};
    if (executor->in_use[weight->slab->id]) {
        place = slad_executor_locate(executor, NULL, weight);
    } else if (*staged != weight->slab) {
        const slad_source *source = source_of(executor, weight);
        const size_t elements = slad_tensor_elements(weight);
        if (source && source->fill) {
            SLAD_TRY(source->fill(context, host, elements, source->user, source->index));
            SLAD_TRY(slad_buffer_write(device, staging, 0, host, elements * sizeof(float)));
        } else {
            SLAD_TRY(slad_buffer_zero(device, staging, 0, elements * sizeof(float)));
        }
        *staged = weight->slab;
    }
    SLAD_TRY(bind_pack(executor, packed, packed->buffer, place, &packing));
    SLAD_TRY(slad_gemm_enqueue_pack(&packing));
    SLAD_TRY(slad_device_finish(device));
cleanup:
    slad_gemm_packing_free(&packing);
    return status;
}

/* Allocates and packs the weight at `first`, and every other that is made of the same slab. */
static slad_status allocate_family(slad_opencl_executor *executor, size_t first, cl_mem staging, float *host,
                                   const slad_slab **staged)
{
    slad_status status = SLAD_OK;
    const slad_slab *slab = executor->packed[first].weight.weight->slab;
    for (size_t i = first; i < executor->packed_count; i++) {
        slad_packed *packed = &executor->packed[i];
        if (packed->kind != SLAD_PACKED_KEPT || packed->buffer || packed->weight.weight->slab != slab) continue;
        SLAD_TRY(slad_buffer_create(executor->device, &packed->buffer, packed->layout.elements * sizeof(float),
                                    packed->weight.weight->name));
        if (packed->per_update)
            SLAD_TRY(bind_pack(executor, packed, packed->buffer,
                               slad_executor_locate(executor, NULL, packed->weight.weight), &packed->packing));
        else
            SLAD_TRY(pack_once(executor, packed, staging, host, staged));
    }
cleanup:
    return status;
}

/* The buffer of weights that are packed on use, and what packs them. */
static slad_status allocate_on_use(slad_opencl_executor *executor)
{
    slad_status status = SLAD_OK;
    const uint64_t bytes = on_use_bytes(executor);
    if (bytes == 0) return SLAD_OK;
    SLAD_TRY(slad_buffer_create(executor->device, &executor->packed_on_use, bytes, "a packed weight"));
    for (size_t i = 0; i < executor->packed_count; i++) {
        slad_packed *packed = &executor->packed[i];
        if (packed->kind != SLAD_PACKED_ON_USE) continue;
        SLAD_TRY(bind_pack(executor, packed, executor->packed_on_use,
                           slad_executor_locate(executor, NULL, packed->weight.weight), &packed->packing));
    }
cleanup:
    return status;
}

slad_status slad_packed_allocate(slad_opencl_executor *executor)
{
    slad_context *context = executor->base.context;
    slad_status status = SLAD_OK;
    uint64_t bytes, largest, staging_bytes;
    cl_mem staging = NULL;
    float *host = NULL;
    const slad_slab *staged = NULL;
    slad_packed_sizes(executor, &bytes, &largest, &staging_bytes);
    if (staging_bytes) {
        SLAD_TRY(slad_buffer_create(executor->device, &staging, staging_bytes, "staging of weights"));
        SLAD_TRY(slad_allocate(context, &host, staging_bytes, 1, "staging of weights"));
    }
    for (size_t i = 0; i < executor->packed_count; i++)
        if (executor->packed[i].kind == SLAD_PACKED_KEPT && !executor->packed[i].buffer)
            SLAD_TRY(allocate_family(executor, i, staging, host, &staged));
    SLAD_TRY(allocate_on_use(executor));
cleanup:
    if (staging) slad_buffer_free(executor->device, staging, staging_bytes);
    slad_release(host);
    return status;
}

slad_status slad_packed_refresh(slad_opencl_executor *executor)
{
    slad_status status = SLAD_OK;
    for (size_t i = 0; status == SLAD_OK && i < executor->packed_count; i++)
        if (executor->packed[i].per_update && executor->packed[i].kind == SLAD_PACKED_KEPT)
            status = slad_gemm_enqueue_pack(&executor->packed[i].packing);
    return status;
}

void slad_packed_free(slad_opencl_executor *executor)
{
    for (size_t i = 0; i < executor->packed_count; i++) {
        slad_packed *packed = &executor->packed[i];
        slad_gemm_packing_free(&packed->packing);
        if (packed->buffer) slad_buffer_free(executor->device, packed->buffer, packed->layout.elements * sizeof(float));
    }
    if (executor->packed_on_use) slad_buffer_free(executor->device, executor->packed_on_use, on_use_bytes(executor));
    slad_release(executor->packed);
}
