#include "model/adapters.h"
#include "base/random.h"
#include "ops/step_values.h"
#include <math.h>

/* lora_A as PEFT draws it: Kaiming-uniform with a = sqrt(5), that is U(-1/sqrt(in), 1/sqrt(in)). */
static slad_status fill_a(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    const slad_planned_adapter *adapter = (const slad_planned_adapter *)user + index;
    const double bound = 1.0 / sqrt((double)adapter->a.stored[1]);
    slad_random random = slad_random_start(adapter->seed, SLAD_RANDOM_ADAPTER, adapter->model, adapter->stream);
    float *values = destination;
    (void)context;
    for (size_t i = 0; i < elements; i++)
        values[i] = (float)(bound * (2.0 * (double)slad_random_uniform(&random) - 1.0));
    return SLAD_OK;
}

/* Opens the next place for an adapter of a plan's item. */
static slad_status next_place(slad_context *context, slad_adapter **place, slad_layer_adapters *adapters,
                              const slad_planned_adapter *item)
{
    slad_status status = SLAD_OK;
    slad_adapter_list *list = &adapters[item->layer].targets[item->target];
    SLAD_FAIL_IF(list->count == SLAD_MAX_ADAPTERS, SLAD_ERROR_INTERNAL, "Layer %zu has more adapters than %d",
                 item->layer, SLAD_MAX_ADAPTERS);
    *place = &list->items[list->count++];
    **place = (slad_adapter){.scale = item->scale, .first_row = item->first_row, .stream = item->mask_stream};
cleanup:
    return status;
}

/* The window of a shared factor, whose owner is in the store already. */
static slad_status find_shared(slad_context *context, const slad_tensor **tensor, slad_store *store,
                               const slad_factor *factor)
{
    slad_status status = SLAD_OK;
    const slad_trained *owner = slad_store_trained_find(store, factor->name);
    SLAD_FAIL_IF(!owner, SLAD_ERROR_INTERNAL, "%s is shared, but the teacher does not train it", factor->name);
    SLAD_TRY(slad_store_view(store, tensor, owner->tensor, 0, factor->dimensions, factor->size, factor->stride));
cleanup:
    return status;
}

slad_status slad_adapters_train(slad_context *context, slad_layer_adapters *adapters, slad_store *store,
                                const slad_adapter_plan *plan)
{
    slad_status status = SLAD_OK;
    for (size_t i = 0; i < plan->count; i++) {
        const slad_planned_adapter *item = &plan->items[i];
        slad_adapter *place = NULL;
        SLAD_TRY(next_place(context, &place, adapters, item));
        if (item->a.shared)
            SLAD_TRY(find_shared(context, &place->lora_a, store, &item->a));
        else
            SLAD_TRY(slad_store_trained(store, &place->lora_a, item->a.name, item->a.dimensions, item->a.stored,
                                        SLAD_GROUP_ADAPTERS, true, fill_a, plan->items, i));
        if (item->b.shared)
            SLAD_TRY(find_shared(context, &place->lora_b, store, &item->b));
        else
            SLAD_TRY(slad_store_trained(store, &place->lora_b, item->b.name, item->b.dimensions, item->b.stored,
                                        SLAD_GROUP_ADAPTERS_B, true, NULL, NULL, 0));
    }
cleanup:
    return status;
}

slad_status slad_adapters_place(slad_context *context, slad_layer_adapters *adapters, slad_store *store,
                                const slad_adapter_plan *plan, slad_fill fill, const void *user)
{
    slad_status status = SLAD_OK;
    for (size_t i = 0; i < plan->count; i++) {
        const slad_planned_adapter *item = &plan->items[i];
        slad_adapter *place = NULL;
        SLAD_TRY(next_place(context, &place, adapters, item));
        SLAD_TRY(slad_store_frozen(store, &place->lora_a, item->a.name, SLAD_F32, item->a.dimensions, item->a.stored,
                                   fill, user, 2 * i));
        SLAD_TRY(slad_store_frozen(store, &place->lora_b, item->b.name, SLAD_F32, item->b.dimensions, item->b.stored,
                                   fill, user, 2 * i + 1));
    }
cleanup:
    return status;
}
