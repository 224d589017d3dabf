/* The tensors of an encoder: what transformers calls them in each type, and their shapes. */
#include "io/hugging_face_internal.h"
#include <stdio.h>
#include <string.h>

/* The sizes that shapes are made of. */
typedef enum size_name { END, ONE, HIDDEN, MLP, MLP_IN, CHANNELS, PATCH, POSITIONS, REGISTERS } size_name;

typedef enum slot_need { ALWAYS, WITH_REGISTERS, WITH_QKV_BIAS, WITH_LAYER_SCALE } slot_need;

typedef struct slot_rule {
    const char *name;      /* of both types of DINOv2 */
    const char *name_vit;  /* NULL: the same */
    const char *name_gate; /* where the MLP is gated; NULL: the same */
    slot_need need;
    size_name sizes[SLAD_HF_MAX_RANK + 1];
} slot_rule;

enum { FIRST_OF_LAYER = SLAD_HF_NORM1_WEIGHT, FIRST_BEHIND = SLAD_HF_NORM_WEIGHT };

static const char layer_prefix[] = "encoder.layer.";

static const slot_rule rules[SLAD_HF_ROLES] = {
    [SLAD_HF_CLASS_TOKEN] = {"embeddings.cls_token", NULL, NULL, ALWAYS, {ONE, ONE, HIDDEN}},
    [SLAD_HF_REGISTERS] = {"embeddings.register_tokens", NULL, NULL, WITH_REGISTERS, {ONE, REGISTERS, HIDDEN}},
    [SLAD_HF_POSITION] = {"embeddings.position_embeddings", NULL, NULL, ALWAYS, {ONE, POSITIONS, HIDDEN}},
    [SLAD_HF_PATCH_WEIGHT] =
        {"embeddings.patch_embeddings.projection.weight", NULL, NULL, ALWAYS, {HIDDEN, CHANNELS, PATCH, PATCH}},
    [SLAD_HF_PATCH_BIAS] = {"embeddings.patch_embeddings.projection.bias", NULL, NULL, ALWAYS, {HIDDEN}},

    [SLAD_HF_NORM1_WEIGHT] = {"norm1.weight", "layernorm_before.weight", NULL, ALWAYS, {HIDDEN}},
    [SLAD_HF_NORM1_BIAS] = {"norm1.bias", "layernorm_before.bias", NULL, ALWAYS, {HIDDEN}},
    [SLAD_HF_QUERY_WEIGHT] = {"attention.attention.query.weight", NULL, NULL, ALWAYS, {HIDDEN, HIDDEN}},
    [SLAD_HF_QUERY_BIAS] = {"attention.attention.query.bias", NULL, NULL, WITH_QKV_BIAS, {HIDDEN}},
    [SLAD_HF_KEY_WEIGHT] = {"attention.attention.key.weight", NULL, NULL, ALWAYS, {HIDDEN, HIDDEN}},
    [SLAD_HF_KEY_BIAS] = {"attention.attention.key.bias", NULL, NULL, WITH_QKV_BIAS, {HIDDEN}},
    [SLAD_HF_VALUE_WEIGHT] = {"attention.attention.value.weight", NULL, NULL, ALWAYS, {HIDDEN, HIDDEN}},
    [SLAD_HF_VALUE_BIAS] = {"attention.attention.value.bias", NULL, NULL, WITH_QKV_BIAS, {HIDDEN}},
    [SLAD_HF_PROJ_WEIGHT] = {"attention.output.dense.weight", NULL, NULL, ALWAYS, {HIDDEN, HIDDEN}},
    [SLAD_HF_PROJ_BIAS] = {"attention.output.dense.bias", NULL, NULL, ALWAYS, {HIDDEN}},
    [SLAD_HF_SCALE1] = {"layer_scale1.lambda1", NULL, NULL, WITH_LAYER_SCALE, {HIDDEN}},
    [SLAD_HF_NORM2_WEIGHT] = {"norm2.weight", "layernorm_after.weight", NULL, ALWAYS, {HIDDEN}},
    [SLAD_HF_NORM2_BIAS] = {"norm2.bias", "layernorm_after.bias", NULL, ALWAYS, {HIDDEN}},
    [SLAD_HF_FC1_WEIGHT] =
        {"mlp.fc1.weight", "intermediate.dense.weight", "mlp.weights_in.weight", ALWAYS, {MLP_IN, HIDDEN}},
    [SLAD_HF_FC1_BIAS] = {"mlp.fc1.bias", "intermediate.dense.bias", "mlp.weights_in.bias", ALWAYS, {MLP_IN}},
    [SLAD_HF_FC2_WEIGHT] = {"mlp.fc2.weight", "output.dense.weight", "mlp.weights_out.weight", ALWAYS, {HIDDEN, MLP}},
    [SLAD_HF_FC2_BIAS] = {"mlp.fc2.bias", "output.dense.bias", "mlp.weights_out.bias", ALWAYS, {HIDDEN}},
    [SLAD_HF_SCALE2] = {"layer_scale2.lambda1", NULL, NULL, WITH_LAYER_SCALE, {HIDDEN}},

    [SLAD_HF_NORM_WEIGHT] = {"layernorm.weight", NULL, NULL, ALWAYS, {HIDDEN}},
    [SLAD_HF_NORM_BIAS] = {"layernorm.bias", NULL, NULL, ALWAYS, {HIDDEN}},
};

static bool in_layer(int role)
{
    return role >= FIRST_OF_LAYER && role < FIRST_BEHIND;
}

static bool exists(const slad_hf_config *config, slad_hf_role role)
{
    switch (rules[role].need) {
    case WITH_REGISTERS:
        return config->registers > 0;
    case WITH_QKV_BIAS:
        return config->qkv_bias;
    case WITH_LAYER_SCALE:
        return config->type != SLAD_HF_VIT;
    case ALWAYS:
        break;
    }
    return true;
}

static const char *name_of(const slad_hf_config *config, slad_hf_role role)
{
    const slot_rule *rule = &rules[role];
    if (config->type == SLAD_HF_VIT && rule->name_vit) return rule->name_vit;
    if (config->gated && rule->name_gate) return rule->name_gate;
    return rule->name;
}

static uint64_t size_of(size_name name, const slad_hf_config *config)
{
    switch (name) {
    case HIDDEN:
        return config->hidden_size;
    case MLP:
        return config->mlp_size;
    case MLP_IN:
        return config->gated ? 2 * (uint64_t)config->mlp_size : config->mlp_size;
    case CHANNELS:
        return config->channels;
    case PATCH:
        return config->patch_size;
    case POSITIONS:
        return 1 + (uint64_t)config->position_grid * config->position_grid;
    case REGISTERS:
        return config->registers;
    case END:
    case ONE:
        break;
    }
    return 1;
}

static const char *fields_of(size_name name, const slad_hf_config *config)
{
    switch (name) {
    case MLP:
    case MLP_IN:
        return config->type == SLAD_HF_VIT ? "\"hidden_size\" and \"intermediate_size\""
                                           : "\"hidden_size\" and \"mlp_ratio\"";
    case PATCH:
        return "\"hidden_size\", \"num_channels\" and \"patch_size\"";
    case REGISTERS:
        return "\"hidden_size\" and \"num_register_tokens\"";
    default:
        return NULL;
    }
}

bool slad_hf_slot_of(slad_hf_slot *slot, const slad_hf_config *config, slad_hf_role role, uint32_t layer)
{
    const slot_rule *rule = &rules[role];
    memset(slot, 0, sizeof *slot);
    if (!exists(config, role) || (in_layer((int)role) && layer >= config->layers)) return false;
    slot->role = role;
    slot->layer = in_layer((int)role) ? layer : 0;
    if (in_layer((int)role))
        (void)snprintf(slot->name, sizeof slot->name, "%s%u.%s", layer_prefix, layer, name_of(config, role));
    else
        (void)snprintf(slot->name, sizeof slot->name, "%s", name_of(config, role));
    slot->fields = "\"hidden_size\"";
    slot->elements = 1;
    while (rule->sizes[slot->rank] != END) {
        const size_name name = rule->sizes[slot->rank];
        const uint64_t size = size_of(name, config);
        if (fields_of(name, config)) slot->fields = fields_of(name, config);
        slot->shape[slot->rank++] = size;
        slot->elements *= size;
    }
    return true;
}

/* The existing roles of first .. last-1. */
static size_t count_roles(const slad_hf_config *config, int first, int last)
{
    size_t count = 0;
    for (int role = first; role < last; role++) count += exists(config, (slad_hf_role)role);
    return count;
}

/* The index-th of them. */
static slad_hf_role role_at(const slad_hf_config *config, int first, size_t index)
{
    int role = first;
    while (!exists(config, (slad_hf_role)role) || index-- > 0) role++;
    return (slad_hf_role)role;
}

size_t slad_hf_slot_count(const slad_hf_config *config)
{
    return count_roles(config, 0, FIRST_OF_LAYER) + config->layers * count_roles(config, FIRST_OF_LAYER, FIRST_BEHIND) +
           count_roles(config, FIRST_BEHIND, SLAD_HF_ROLES);
}

void slad_hf_slot_at(slad_hf_slot *slot, const slad_hf_config *config, size_t index)
{
    const size_t before = count_roles(config, 0, FIRST_OF_LAYER);
    const size_t per_layer = count_roles(config, FIRST_OF_LAYER, FIRST_BEHIND);
    const size_t in_layers = config->layers * per_layer;
    slad_hf_role role = SLAD_HF_ROLES;
    size_t layer = 0;
    if (index < before) {
        role = role_at(config, 0, index);
    } else if (index - before < in_layers) {
        layer = (index - before) / per_layer;
        role = role_at(config, FIRST_OF_LAYER, (index - before) % per_layer);
    } else {
        role = role_at(config, FIRST_BEHIND, index - before - in_layers);
    }
    (void)slad_hf_slot_of(slot, config, role, (uint32_t)layer);
}

size_t slad_hf_layer_of(const char *name, const char *prefix, int64_t *layer)
{
    const size_t start = strlen(prefix);
    size_t length = 0;
    int64_t number = 0;
    *layer = -1;
    if (strncmp(name, prefix, start) != 0) return 0;
    const char *digits = name + start;
    while (length < 9 && digits[length] >= '0' && digits[length] <= '9') number = 10 * number + digits[length++] - '0';
    if (length == 0 || digits[length] != '.' || (length > 1 && digits[0] == '0')) return 0;
    *layer = number;
    return start + length + 1;
}

/* The role of a name, SLAD_HF_ROLES if it has none; *layer is -1 outside of layers. */
static slad_hf_role role_named(const slad_hf_config *config, const char *name, int64_t *layer)
{
    const size_t inside = slad_hf_layer_of(name, layer_prefix, layer);
    const int first = inside ? FIRST_OF_LAYER : 0, last = inside ? FIRST_BEHIND : SLAD_HF_ROLES;
    for (int role = first; role < last; role++) {
        if (!inside && in_layer(role)) continue;
        if (strcmp(name + inside, name_of(config, (slad_hf_role)role)) == 0) return (slad_hf_role)role;
    }
    return SLAD_HF_ROLES;
}

bool slad_hf_slot_named(slad_hf_slot *slot, const slad_hf_config *config, const char *name)
{
    int64_t layer = -1;
    const slad_hf_role role = role_named(config, name, &layer);
    return role != SLAD_HF_ROLES && slad_hf_slot_of(slot, config, role, layer < 0 ? 0 : (uint32_t)layer);
}

bool slad_hf_name_is_known(const slad_hf_config *config, const char *name, int64_t *layer)
{
    return role_named(config, name, layer) != SLAD_HF_ROLES || strcmp(name, "embeddings.mask_token") == 0;
}

static const struct {
    const char *name, *architecture;
} types[SLAD_HF_TYPES] = {
    [SLAD_HF_DINOV2] = {"dinov2", "Dinov2ForImageClassification"},
    [SLAD_HF_DINOV2_WITH_REGISTERS] = {"dinov2_with_registers", "Dinov2WithRegistersForImageClassification"},
    [SLAD_HF_VIT] = {"vit", "ViTForImageClassification"},
};

const char *slad_hf_type_name(slad_hf_type type)
{
    return types[type].name;
}

const char *slad_hf_architecture(slad_hf_type type)
{
    return types[type].architecture;
}

uint64_t slad_hf_classifier_features(const slad_hf_config *config)
{
    return config->type == SLAD_HF_VIT ? config->hidden_size : 2 * (uint64_t)config->hidden_size;
}
