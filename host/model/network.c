#include "model/network.h"
#include "base/memory.h"

slad_status slad_network_allocate_adapters(slad_context *context, slad_network *network)
{
    return slad_allocate(context, &network->adapters, network->backbone.encoder->info.layers, sizeof *network->adapters,
                         "the adapters");
}

void slad_network_free(slad_network *network)
{
    slad_backbone_free(&network->backbone);
    slad_release(network->adapters);
    *network = (slad_network){0};
}

const slad_tensor *slad_network_tokens(slad_record *record, const slad_network *network, const slad_tensor *pixels)
{
    return network->present ? slad_backbone_record(record, &network->backbone, pixels, network->adapters) : NULL;
}

const slad_tensor *slad_network_logits(slad_record *record, const slad_network *network, const slad_tensor *pixels)
{
    const slad_tensor *tokens = slad_network_tokens(record, network, pixels);
    return tokens ? slad_head_record(record, &network->head, tokens) : NULL;
}
