#include "model/network.h"
#include "base/memory.h"

slad_status slad_network_allocate_adapters(slad_context *context, slad_network *network)
{
    return slad_allocate(context, &network->adapters, network->backbone.encoder->info.layers, sizeof *network->adapters,
                         "the adapters");
}

static slad_status fill_adapter(slad_context *context, void *destination, size_t elements, const void *user,
                                size_t index)
{
    const slad_network *network = user;
    const slad_planned_adapter *item = &network->plan.items[index / 2];
    return network->values.read(context, destination, elements, index % 2 ? item->b.name : item->a.name,
                                network->values.user);
}

slad_status slad_network_place_adapters(slad_context *context, slad_network *network, slad_store *store)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_network_allocate_adapters(context, network));
    SLAD_TRY(slad_adapters_place(context, network->adapters, store, &network->plan, fill_adapter, network));
cleanup:
    return status;
}

static slad_status fill_head(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    const slad_network *network = user;
    const slad_tensor *tensor = index ? network->head.bias : network->head.weight;
    return network->values.read(context, destination, elements, tensor->name, network->values.user);
}

slad_status slad_network_place_head(slad_network *network, slad_store *store, slad_head_kind kind, size_t classes,
                                    const char *prefix)
{
    return slad_head_place(&network->head, store, kind, network->backbone.encoder->info.width, classes, prefix,
                           fill_head, network);
}

void slad_network_free(slad_network *network)
{
    slad_backbone_free(&network->backbone);
    slad_adapter_plan_free(&network->plan);
    slad_release(network->adapters);
    *network = (slad_network){0};
}

const slad_tensor *slad_network_tokens(slad_record *record, const slad_network *network, const slad_tensor *pixels,
                                       const slad_dropout *dropout, const slad_tensor **block_tokens)
{
    if (!network->present) return NULL;
    return slad_backbone_record(record, &network->backbone, pixels, network->adapters, dropout, block_tokens);
}
