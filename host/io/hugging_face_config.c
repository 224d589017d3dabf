/* config.json of a model of transformers. */
#include "base/json.h"
#include "base/memory.h"
#include "io/hugging_face_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static slad_status take_type(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    const char *path = model->config_path, *name = NULL;
    int type = 0;
    SLAD_TRY(slad_json_get_string(context, &name, model->json, "model_type", true, path));
    while (type < SLAD_HF_TYPES && strcmp(name, slad_hf_type_name((slad_hf_type)type)) != 0) type++;
    SLAD_FAIL_IF(type == SLAD_HF_TYPES, SLAD_ERROR_DATA,
                 "%s: \"model_type\" is \"%s\", which is not supported; give a model of type \"dinov2\", "
                 "\"dinov2_with_registers\" or \"vit\", for example facebook/dinov2-small",
                 path, name);
    model->config.type = (slad_hf_type)type;
cleanup:
    return status;
}

static slad_status check_kind(slad_context *context, const slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    const char *path = model->config_path;
    const char *activation = "gelu";
    SLAD_TRY(slad_json_get_string(context, &activation, model->json, "hidden_act", false, path));
    SLAD_FAIL_IF(strcmp(activation, "gelu") != 0, SLAD_ERROR_DATA,
                 "%s: \"hidden_act\" is \"%s\"; only \"gelu\" is supported", path, activation);
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

uint32_t slad_hf_gated_size(uint32_t mlp_size)
{
    return (uint32_t)(((uint64_t)mlp_size * 2 / 3 + 7) / 8 * 8);
}

/* The hidden layer of the MLPs: transformers' vit gives its width, its DINOv2 a ratio. */
static slad_status take_mlp(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_hf_config *config = &model->config;
    const char *path = model->config_path;
    double ratio = 4.0;
    if (config->type == SLAD_HF_VIT)
        return take_size(context, &config->mlp_size, model, "intermediate_size", 3072, 1 << 22);
    SLAD_TRY(slad_json_get_number(context, &ratio, model->json, "mlp_ratio", false, 0.0, 64.0, path));
    config->mlp_size = (uint32_t)(config->hidden_size * ratio);
    SLAD_FAIL_IF(config->mlp_size == 0, SLAD_ERROR_DATA, "%s: \"mlp_ratio\" %g leaves no hidden unit", path, ratio);
    SLAD_TRY(slad_json_get_boolean(context, &config->gated, model->json, "use_swiglu_ffn", false, path));
    if (config->gated) config->mlp_size = slad_hf_gated_size(config->mlp_size);
cleanup:
    return status;
}

static slad_status take_geometry(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_hf_config *config = &model->config;
    const char *path = model->config_path;
    int64_t channels = 3;
    SLAD_TRY(take_size(context, &config->hidden_size, model, "hidden_size", 768, 65536));
    SLAD_TRY(take_size(context, &config->layers, model, "num_hidden_layers", 12, 1000));
    SLAD_TRY(take_size(context, &config->heads, model, "num_attention_heads", 12, 1024));
    SLAD_TRY(take_size(context, &config->image_size, model, "image_size", 224, 16384));
    SLAD_TRY(
        take_size(context, &config->patch_size, model, "patch_size", config->type == SLAD_HF_DINOV2 ? 14 : 16, 1024));
    SLAD_TRY(slad_json_get_integer(context, &channels, model->json, "num_channels", false, 1, 65536, path));
    config->channels = (uint32_t)channels;
    if (config->type == SLAD_HF_DINOV2_WITH_REGISTERS)
        SLAD_TRY(take_size(context, &config->registers, model, "num_register_tokens", 4, 1024));
    SLAD_FAIL_IF(config->hidden_size % config->heads != 0, SLAD_ERROR_DATA,
                 "%s: \"hidden_size\" %u is not a multiple of \"num_attention_heads\" %u", path, config->hidden_size,
                 config->heads);
    SLAD_FAIL_IF(config->patch_size > config->image_size, SLAD_ERROR_DATA,
                 "%s: \"patch_size\" %u is larger than \"image_size\" %u", path, config->patch_size,
                 config->image_size);
    SLAD_FAIL_IF(config->channels != 3, SLAD_ERROR_DATA, "%s: \"num_channels\" is %u; only 3 is supported", path,
                 config->channels);
    config->position_grid = config->image_size / config->patch_size;
cleanup:
    return status;
}

slad_position_mode slad_hf_transformers_mode(slad_hf_type type)
{
    return type == SLAD_HF_DINOV2_WITH_REGISTERS ? SLAD_POSITION_ANTIALIAS : SLAD_POSITION_TRANSFORMERS;
}

const char *slad_hf_mode_name(slad_position_mode mode)
{
    static const char *const names[] = {"auto", "transformers", "hub", "antialias"};
    return names[mode];
}

static slad_status take_position_mode(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_position_mode mode = slad_hf_transformers_mode(model->config.type);
    const char *name = slad_hf_mode_name(mode);
    SLAD_TRY(slad_json_get_string(context, &name, model->json, SLAD_HF_MODE_FIELD, false, model->config_path));
    mode = SLAD_POSITION_ANTIALIAS;
    while (mode > SLAD_POSITION_AUTO && strcmp(name, slad_hf_mode_name(mode)) != 0) mode--;
    SLAD_FAIL_IF(mode == SLAD_POSITION_AUTO, SLAD_ERROR_DATA,
                 "%s: \"" SLAD_HF_MODE_FIELD "\" is \"%s\"; it must be transformers, hub or antialias",
                 model->config_path, name);
    model->config.position_mode = mode;
cleanup:
    return status;
}

slad_status slad_hf_take_config(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_hf_config *config = &model->config;
    const char *path = model->config_path;
    SLAD_TRY(take_type(context, model));
    SLAD_TRY(check_kind(context, model));
    SLAD_TRY(take_geometry(context, model));
    SLAD_TRY(take_mlp(context, model));
    config->layer_norm_eps = config->type == SLAD_HF_VIT ? 1e-12 : 1e-6;
    SLAD_TRY(
        slad_json_get_number(context, &config->layer_norm_eps, model->json, "layer_norm_eps", false, 0.0, 1.0, path));
    config->qkv_bias = true;
    SLAD_TRY(slad_json_get_boolean(context, &config->qkv_bias, model->json, "qkv_bias", false, path));
    config->use_mask_token = config->type != SLAD_HF_VIT;
    if (config->type == SLAD_HF_DINOV2)
        SLAD_TRY(slad_json_get_boolean(context, &config->use_mask_token, model->json, "use_mask_token", false, path));
    SLAD_TRY(take_position_mode(context, model));
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
