/* config.json of a DINOv2 model, and the tensors that follow from it. */
#include "base/json.h"
#include "base/memory.h"
#include "io/hugging_face_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The sizes that shapes are made of. */
typedef enum size_name { END, ONE, HIDDEN, MLP, CHANNELS, PATCH, POSITIONS } size_name;

typedef struct slot_rule {
    const char *name;
    const char *fields;
    size_name sizes[SLAD_HF_MAX_RANK + 1];
    bool only_with_qkv_bias;
} slot_rule;

#define BY_HIDDEN "\"hidden_size\""
#define BY_MLP    "\"hidden_size\" and \"mlp_ratio\""

static const slot_rule front_rules[] = {
    {"embeddings.cls_token", BY_HIDDEN, {ONE, ONE, HIDDEN}, false},
    {"embeddings.position_embeddings", BY_HIDDEN, {ONE, POSITIONS, HIDDEN}, false},
    {"embeddings.patch_embeddings.projection.weight",
     "\"hidden_size\", \"num_channels\" and \"patch_size\"",
     {HIDDEN, CHANNELS, PATCH, PATCH},
     false},
    {"embeddings.patch_embeddings.projection.bias", BY_HIDDEN, {HIDDEN}, false},
};

static const slot_rule layer_rules[] = {
    {"norm1.weight", BY_HIDDEN, {HIDDEN}, false},
    {"norm1.bias", BY_HIDDEN, {HIDDEN}, false},
    {"attention.attention.query.weight", BY_HIDDEN, {HIDDEN, HIDDEN}, false},
    {"attention.attention.query.bias", BY_HIDDEN, {HIDDEN}, true},
    {"attention.attention.key.weight", BY_HIDDEN, {HIDDEN, HIDDEN}, false},
    {"attention.attention.key.bias", BY_HIDDEN, {HIDDEN}, true},
    {"attention.attention.value.weight", BY_HIDDEN, {HIDDEN, HIDDEN}, false},
    {"attention.attention.value.bias", BY_HIDDEN, {HIDDEN}, true},
    {"attention.output.dense.weight", BY_HIDDEN, {HIDDEN, HIDDEN}, false},
    {"attention.output.dense.bias", BY_HIDDEN, {HIDDEN}, false},
    {"layer_scale1.lambda1", BY_HIDDEN, {HIDDEN}, false},
    {"norm2.weight", BY_HIDDEN, {HIDDEN}, false},
    {"norm2.bias", BY_HIDDEN, {HIDDEN}, false},
    {"mlp.fc1.weight", BY_MLP, {MLP, HIDDEN}, false},
    {"mlp.fc1.bias", BY_MLP, {MLP}, false},
    {"mlp.fc2.weight", BY_MLP, {HIDDEN, MLP}, false},
    {"mlp.fc2.bias", BY_HIDDEN, {HIDDEN}, false},
    {"layer_scale2.lambda1", BY_HIDDEN, {HIDDEN}, false},
};

static const slot_rule back_rules[] = {
    {"layernorm.weight", BY_HIDDEN, {HIDDEN}, false},
    {"layernorm.bias", BY_HIDDEN, {HIDDEN}, false},
};

enum {
    FRONT_COUNT = sizeof front_rules / sizeof front_rules[0],
    LAYER_COUNT = sizeof layer_rules / sizeof layer_rules[0],
    BACK_COUNT = sizeof back_rules / sizeof back_rules[0],
    QKV_BIAS_COUNT = 3
};

static size_t slots_per_layer(const slad_hf_config *config)
{
    return config->qkv_bias ? LAYER_COUNT : LAYER_COUNT - QKV_BIAS_COUNT;
}

size_t slad_hf_slot_count(const slad_hf_config *config)
{
    return FRONT_COUNT + (size_t)config->layers * slots_per_layer(config) + BACK_COUNT;
}

static uint64_t size_of(size_name name, const slad_hf_config *config)
{
    switch (name) {
    case HIDDEN:
        return config->hidden_size;
    case MLP:
        return config->mlp_size;
    case CHANNELS:
        return config->channels;
    case PATCH:
        return config->patch_size;
    case POSITIONS:
        return 1 + (uint64_t)config->position_grid * config->position_grid;
    case END:
    case ONE:
        break;
    }
    return 1;
}

static void fill_slot(slad_hf_slot *slot, const slot_rule *rule, const slad_hf_config *config)
{
    slot->fields = rule->fields;
    slot->rank = 0;
    slot->elements = 1;
    while (rule->sizes[slot->rank] != END) {
        const uint64_t size = size_of(rule->sizes[slot->rank], config);
        slot->shape[slot->rank++] = size;
        slot->elements *= size;
    }
}

/* The rule of the position-th tensor of a layer, leaving out the biases that a model without qkv_bias lacks. */
static const slot_rule *rule_of_layer(const slad_hf_config *config, size_t position)
{
    for (size_t i = 0; i < LAYER_COUNT; i++) {
        if (layer_rules[i].only_with_qkv_bias && !config->qkv_bias) continue;
        if (position-- == 0) return &layer_rules[i];
    }
    return &layer_rules[LAYER_COUNT - 1];
}

void slad_hf_slot_at(slad_hf_slot *slot, const slad_hf_config *config, size_t index)
{
    const size_t per_layer = slots_per_layer(config);
    const size_t in_layers = (size_t)config->layers * per_layer;
    const slot_rule *rule = NULL;
    memset(slot, 0, sizeof *slot);
    if (index < FRONT_COUNT) {
        rule = &front_rules[index];
        (void)snprintf(slot->name, sizeof slot->name, "%s", rule->name);
    } else if (index - FRONT_COUNT < in_layers) {
        rule = rule_of_layer(config, (index - FRONT_COUNT) % per_layer);
        (void)snprintf(slot->name, sizeof slot->name, "encoder.layer.%zu.%s", (index - FRONT_COUNT) / per_layer,
                       rule->name);
    } else {
        rule = &back_rules[index - FRONT_COUNT - in_layers];
        (void)snprintf(slot->name, sizeof slot->name, "%s", rule->name);
    }
    fill_slot(slot, rule, config);
}

static bool among(const char *name, const slot_rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, rules[i].name) == 0) return true;
    }
    return false;
}

bool slad_hf_name_is_known(const char *name, int64_t *layer)
{
    static const char layer_prefix[] = "encoder.layer.";
    *layer = -1;
    if (strncmp(name, layer_prefix, sizeof layer_prefix - 1) != 0)
        return among(name, front_rules, FRONT_COUNT) || among(name, back_rules, BACK_COUNT) ||
               strcmp(name, "embeddings.mask_token") == 0;
    const char *digits = name + sizeof layer_prefix - 1;
    size_t length = 0;
    int64_t number = 0;
    while (length < 9 && digits[length] >= '0' && digits[length] <= '9') number = 10 * number + digits[length++] - '0';
    if (length == 0 || digits[length] != '.' || !among(digits + length + 1, layer_rules, LAYER_COUNT)) return false;
    *layer = number;
    return true;
}

static slad_status check_kind(slad_context *context, const slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    const char *path = model->config_path;
    const char *type = NULL, *activation = "gelu";
    bool gated = false;
    SLAD_TRY(slad_json_get_string(context, &type, model->json, "model_type", true, path));
    SLAD_FAIL_IF(strcmp(type, "dinov2") != 0, SLAD_ERROR_DATA,
                 "%s: \"model_type\" is \"%s\", which is not supported; give a model of type \"dinov2\", for example "
                 "facebook/dinov2-small",
                 path, type);
    SLAD_TRY(slad_json_get_string(context, &activation, model->json, "hidden_act", false, path));
    SLAD_FAIL_IF(strcmp(activation, "gelu") != 0, SLAD_ERROR_DATA,
                 "%s: \"hidden_act\" is \"%s\"; only \"gelu\" is supported", path, activation);
    SLAD_TRY(slad_json_get_boolean(context, &gated, model->json, "use_swiglu_ffn", false, path));
    SLAD_FAIL_IF(gated, SLAD_ERROR_DATA,
                 "%s: \"use_swiglu_ffn\" is true; the gated layers of dinov2-giant are not supported, give a small, "
                 "base or large model",
                 path);
    SLAD_FAIL_IF(cJSON_HasObjectItem(model->json, "quantization_config"), SLAD_ERROR_DATA,
                 "%s: \"quantization_config\" is set; quantized weights are not supported, give the original model",
                 path);
cleanup:
    return status;
}

static slad_status take_size(slad_context *context, uint32_t *out, const slad_hf_model *model, const char *field,
                             int64_t fallback, int64_t high)
{
    int64_t value = fallback;
    if (!cJSON_GetObjectItemCaseSensitive(model->json, field))
        slad_log(context, SLAD_LOG_WARNING, "%s: \"%s\" is missing; %lld is taken, as transformers does",
                 model->config_path, field, (long long)fallback);
    const slad_status status =
        slad_json_get_integer(context, &value, model->json, field, false, 1, high, model->config_path);
    *out = (uint32_t)value;
    return status;
}

slad_status slad_hf_take_config(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_hf_config *config = &model->config;
    const char *path = model->config_path;
    double mlp_ratio = 4.0;
    SLAD_TRY(check_kind(context, model));
    SLAD_TRY(take_size(context, &config->hidden_size, model, "hidden_size", 768, 65536));
    SLAD_TRY(take_size(context, &config->layers, model, "num_hidden_layers", 12, 1000));
    SLAD_TRY(take_size(context, &config->heads, model, "num_attention_heads", 12, 1024));
    SLAD_TRY(take_size(context, &config->image_size, model, "image_size", 224, 16384));
    SLAD_TRY(take_size(context, &config->patch_size, model, "patch_size", 14, 1024));
    int64_t channels = 3;
    SLAD_TRY(slad_json_get_integer(context, &channels, model->json, "num_channels", false, 1, 65536, path));
    config->channels = (uint32_t)channels;
    SLAD_FAIL_IF(config->hidden_size % config->heads != 0, SLAD_ERROR_DATA,
                 "%s: \"hidden_size\" %u is not a multiple of \"num_attention_heads\" %u", path, config->hidden_size,
                 config->heads);
    SLAD_FAIL_IF(config->patch_size > config->image_size, SLAD_ERROR_DATA,
                 "%s: \"patch_size\" %u is larger than \"image_size\" %u", path, config->patch_size,
                 config->image_size);
    SLAD_FAIL_IF(config->channels != 3, SLAD_ERROR_DATA, "%s: \"num_channels\" is %u; only 3 is supported", path,
                 config->channels);

    SLAD_TRY(slad_json_get_number(context, &mlp_ratio, model->json, "mlp_ratio", false, 0.0, 64.0, path));
    config->mlp_size = (uint32_t)(config->hidden_size * mlp_ratio);
    SLAD_FAIL_IF(config->mlp_size == 0, SLAD_ERROR_DATA, "%s: \"mlp_ratio\" %g leaves no hidden unit", path, mlp_ratio);
    config->layer_norm_eps = 1e-6;
    SLAD_TRY(
        slad_json_get_number(context, &config->layer_norm_eps, model->json, "layer_norm_eps", false, 0.0, 1.0, path));
    config->qkv_bias = true;
    SLAD_TRY(slad_json_get_boolean(context, &config->qkv_bias, model->json, "qkv_bias", false, path));
    config->use_mask_token = true;
    SLAD_TRY(slad_json_get_boolean(context, &config->use_mask_token, model->json, "use_mask_token", false, path));
    config->position_grid = config->image_size / config->patch_size;
cleanup:
    return status;
}

/* Takes the names from id2label: {"0": "first", "1": "second", ...}, in any order. */
static slad_status take_labels(slad_context *context, slad_hf_model *model, const cJSON *labels)
{
    slad_status status = SLAD_OK;
    const char *path = model->config_path;
    const uint32_t classes = model->config.classes;
    SLAD_FAIL_IF(!cJSON_IsObject(labels), SLAD_ERROR_DATA, "%s: \"id2label\" must be an object", path);
    uint32_t count = 0;
    const cJSON *label = NULL;
    cJSON_ArrayForEach(label, labels)
    {
        char canonical[16];
        const unsigned long number = strtoul(label->string, NULL, 10);
        (void)snprintf(canonical, sizeof canonical, "%lu", number % 1000000000ul);
        SLAD_FAIL_IF(strcmp(canonical, label->string) != 0 || number >= classes, SLAD_ERROR_DATA,
                     "%s: \"id2label\" has the key \"%s\", but tensor \"classifier.weight\" has classes 0 .. %u", path,
                     label->string, classes - 1);
        SLAD_FAIL_IF(!cJSON_IsString(label), SLAD_ERROR_DATA, "%s: \"id2label\": the name of class %s must be a string",
                     path, label->string);
        model->class_names[number] = label->valuestring;
        count++;
    }
    SLAD_FAIL_IF(count != classes, SLAD_ERROR_DATA,
                 "%s: \"id2label\" names %u classes, but tensor \"classifier.weight\" has %u rows", path, count,
                 classes);
cleanup:
    return status;
}

slad_status slad_hf_take_classes(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    enum { NUMBER_SIZE = 12 };
    const uint32_t classes = model->config.classes;
    int64_t announced = classes;
    SLAD_TRY(slad_json_get_integer(context, &announced, model->json, "num_labels", false, 0, UINT32_MAX,
                                   model->config_path));
    SLAD_FAIL_IF(announced != classes, SLAD_ERROR_DATA,
                 "%s: \"num_labels\" is %lld, but tensor \"classifier.weight\" has %u rows", model->config_path,
                 (long long)announced, classes);
    SLAD_TRY(slad_allocate(context, &model->class_names, classes, sizeof *model->class_names, "the names of classes"));
    const cJSON *labels = cJSON_GetObjectItemCaseSensitive(model->json, "id2label");
    if (labels) {
        SLAD_TRY(take_labels(context, model, labels));
    } else {
        SLAD_TRY(slad_allocate(context, &model->number_names, classes, NUMBER_SIZE, "the names of classes"));
        for (uint32_t i = 0; i < classes; i++) {
            char *name = model->number_names + (size_t)i * NUMBER_SIZE;
            (void)snprintf(name, NUMBER_SIZE, "%u", i);
            model->class_names[i] = name;
        }
    }
cleanup:
    return status;
}
