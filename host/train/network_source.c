#include "train/network_source.h"
#include <stdio.h>
#include <string.h>

/* A tensor by its name in the state, or the encoder's own classifier. */
static slad_status read_named(slad_context *context, float *destination, size_t elements, const char *name,
                              const void *user)
{
    slad_status status = SLAD_OK;
    const slad_network_source *source = user;
    if (!source->state) {
        const size_t length = strlen(name);
        const bool bias = length >= 4 && strcmp(name + length - 4, "bias") == 0;
        return slad_hf_read(context, destination, source->encoder->files,
                            bias ? "classifier.bias" : "classifier.weight");
    }
    const slad_safetensor *stored = slad_safetensors_find(source->state, name);
    SLAD_FAIL_IF(!stored || stored->elements != elements, SLAD_ERROR_DATA,
                 "%s has no tensor %s of %zu elements, as the run's config.json says it should",
                 slad_safetensors_path(source->state), name, elements);
    SLAD_TRY(slad_safetensors_read_float(context, destination, source->state, stored, 0, elements));
cleanup:
    return status;
}

slad_status slad_network_source_place(slad_context *context, slad_network *network, slad_store *store,
                                      const slad_network_source *source, const char *name, size_t image_size,
                                      slad_position_mode mode, bool want_head)
{
    slad_status status = SLAD_OK;
    const slad_encoder_info *info = slad_encoder_get_info(source->encoder);
    slad_backbone_form form = {.prefix = name};
    network->present = true;
    network->values = (slad_named_values){read_named, source};
    if (source->state && source->adapt == SLAD_ADAPT_ALL) {
        (void)snprintf(network->model_prefix, sizeof network->model_prefix, "%smodel.", source->prefix);
        form = (slad_backbone_form){.prefix = network->model_prefix, .values = &network->values};
    }
    SLAD_TRY(slad_backbone_create(context, &network->backbone, store, source->encoder, image_size, mode, &form));
    if (source->state && source->adapt == SLAD_ADAPT_LORA) {
        SLAD_TRY(slad_adapter_plan_teacher(context, &network->plan, info, source->student, source->options));
        SLAD_TRY(slad_network_place_adapters(context, network, store));
    }
    if (want_head) SLAD_TRY(slad_network_place_head(network, store, source->head, source->classes, source->prefix));
cleanup:
    return status;
}
