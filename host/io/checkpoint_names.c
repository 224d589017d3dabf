/* What facebookresearch/dinov2 (hub) and timm call the tensors of an encoder. Sources: method.md section 6.2 and the
 * modules themselves, dinov2/models/vision_transformer.py and timm/models/vision_transformer.py. */
#include "io/hugging_face_internal.h"
#include <stdio.h>
#include <string.h>

typedef struct own_name {
    const char *hub;
    const char *timm;      /* NULL: the same */
    const char *hub_gated; /* where the MLP is gated; NULL: the same. timm names both kinds alike */
} own_name;

static const own_name names[SLAD_HF_ROLES] = {
    [SLAD_HF_CLASS_TOKEN] = {"cls_token", NULL, NULL},
    [SLAD_HF_REGISTERS] = {"register_tokens", "reg_token", NULL},
    [SLAD_HF_POSITION] = {"pos_embed", NULL, NULL},
    [SLAD_HF_PATCH_WEIGHT] = {"patch_embed.proj.weight", NULL, NULL},
    [SLAD_HF_PATCH_BIAS] = {"patch_embed.proj.bias", NULL, NULL},
    [SLAD_HF_NORM1_WEIGHT] = {"norm1.weight", NULL, NULL},
    [SLAD_HF_NORM1_BIAS] = {"norm1.bias", NULL, NULL},
    [SLAD_HF_QUERY_WEIGHT] = {"attn.qkv.weight", NULL, NULL},
    [SLAD_HF_QUERY_BIAS] = {"attn.qkv.bias", NULL, NULL},
    [SLAD_HF_KEY_WEIGHT] = {"attn.qkv.weight", NULL, NULL},
    [SLAD_HF_KEY_BIAS] = {"attn.qkv.bias", NULL, NULL},
    [SLAD_HF_VALUE_WEIGHT] = {"attn.qkv.weight", NULL, NULL},
    [SLAD_HF_VALUE_BIAS] = {"attn.qkv.bias", NULL, NULL},
    [SLAD_HF_PROJ_WEIGHT] = {"attn.proj.weight", NULL, NULL},
    [SLAD_HF_PROJ_BIAS] = {"attn.proj.bias", NULL, NULL},
    [SLAD_HF_SCALE1] = {"ls1.gamma", NULL, NULL},
    [SLAD_HF_NORM2_WEIGHT] = {"norm2.weight", NULL, NULL},
    [SLAD_HF_NORM2_BIAS] = {"norm2.bias", NULL, NULL},
    [SLAD_HF_FC1_WEIGHT] = {"mlp.fc1.weight", NULL, "mlp.w12.weight"},
    [SLAD_HF_FC1_BIAS] = {"mlp.fc1.bias", NULL, "mlp.w12.bias"},
    [SLAD_HF_FC2_WEIGHT] = {"mlp.fc2.weight", NULL, "mlp.w3.weight"},
    [SLAD_HF_FC2_BIAS] = {"mlp.fc2.bias", NULL, "mlp.w3.bias"},
    [SLAD_HF_SCALE2] = {"ls2.gamma", NULL, NULL},
    [SLAD_HF_NORM_WEIGHT] = {"norm.weight", NULL, NULL},
    [SLAD_HF_NORM_BIAS] = {"norm.bias", NULL, NULL},
};

static const char layer_prefix[] = "blocks.";

static const char *name_of(const slad_hf_config *config, slad_hf_role role)
{
    const own_name *name = &names[role];
    const bool timm = config->naming == SLAD_HF_TIMM;
    if (timm) return name->timm ? name->timm : name->hub;
    return config->gated && name->hub_gated ? name->hub_gated : name->hub;
}

static bool in_layer(slad_hf_role role)
{
    return role >= SLAD_HF_NORM1_WEIGHT && role < SLAD_HF_NORM_WEIGHT;
}

void slad_checkpoint_slot(slad_hf_slot *own, const slad_hf_config *config, const slad_hf_slot *slot)
{
    *own = *slot;
    if (in_layer(slot->role))
        (void)snprintf(own->name, sizeof own->name, "%s%u.%s", layer_prefix, slot->layer, name_of(config, slot->role));
    else
        (void)snprintf(own->name, sizeof own->name, "%s", name_of(config, slot->role));
    if (slot->role >= SLAD_HF_QUERY_WEIGHT && slot->role <= SLAD_HF_VALUE_BIAS) {
        own->shape[0] *= 3;
        own->elements *= 3;
    }
}

bool slad_checkpoint_name_is_known(const slad_hf_config *config, const char *name, int64_t *layer)
{
    const size_t inside = slad_hf_layer_of(name, layer_prefix, layer);
    for (int role = 0; role < SLAD_HF_ROLES; role++) {
        slad_hf_slot slot;
        if (in_layer((slad_hf_role)role) != (inside > 0)) continue;
        if (!slad_hf_slot_of(&slot, config, (slad_hf_role)role, 0)) continue;
        if (strcmp(name + inside, name_of(config, (slad_hf_role)role)) == 0) return true;
    }
    return false;
}
