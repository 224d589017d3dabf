/* adapter_config.json: what it says of ranks and scales, and what of it cannot be honoured. Fields and defaults:
 * src/peft/tuners/lora/config.py of peft. */
#include "base/files.h"
#include "base/json.h"
#include "base/memory.h"
#include "io/peft_internal.h"
#include <string.h>

enum { PATTERN_COUNT_LIMIT = 4096, RANK_LIMIT = 65536, DEFAULT_RANK = 8, DEFAULT_ALPHA = 8 };

/* Read below, or without meaning for the function that the tensors make. Any other field must be off. */
static const char *const known_fields[] = {
    "peft_type",      "r",
    "lora_alpha",     "use_rslora",
    "rank_pattern",   "alpha_pattern",
    "bias",           "fan_in_fan_out",
    "lora_dropout",   "init_lora_weights",
    "target_modules", "exclude_modules",
    "layers_pattern", "layers_to_transform",
    "task_type",      "modules_to_save",
    "auto_mapping",   "base_model_name_or_path",
    "revision",       "inference_mode",
    "peft_version",   "megatron_core",
    "eva_config",     "qalora_group_size",
    "runtime_config",
};

static bool is_known(const char *field)
{
    for (size_t i = 0; i < sizeof known_fields / sizeof *known_fields; i++)
        if (strcmp(field, known_fields[i]) == 0) return true;
    return false;
}

static bool is_off(const cJSON *value)
{
    return !value || cJSON_IsNull(value) || cJSON_IsFalse(value) ||
           ((cJSON_IsArray(value) || cJSON_IsObject(value)) && !value->child);
}

static slad_status check_fields(slad_context *context, const slad_peft_config *config)
{
    slad_status status = SLAD_OK;
    const cJSON *field = NULL;
    const cJSON *turned = cJSON_GetObjectItemCaseSensitive(config->json, "fan_in_fan_out");
    SLAD_FAIL_IF(!is_off(turned), SLAD_ERROR_DATA,
                 "%s: \"fan_in_fan_out\" is set; that is for layers that keep their weight transposed, which no Vision "
                 "Transformer has; set it to false",
                 config->path);
    cJSON_ArrayForEach(field, config->json)
    {
        SLAD_FAIL_IF(!is_known(field->string) && !is_off(field), SLAD_ERROR_DATA,
                     "%s: \"%s\" is set; only plain LoRA (with use_rslora, rank_pattern and alpha_pattern) is read; "
                     "merge the adapter with merge_and_unload of peft and give the merged model instead",
                     config->path, field->string);
    }
cleanup:
    return status;
}

/* Ways of initialising that change the weights of the base model too make the adapter useless without those. */
static slad_status check_initialisation(slad_context *context, const slad_peft_config *config)
{
    static const char *const harmless[] = {"gaussian", "eva", "orthogonal"};
    slad_status status = SLAD_OK;
    const cJSON *field = cJSON_GetObjectItemCaseSensitive(config->json, "init_lora_weights");
    const char *kind = cJSON_GetStringValue(field);
    bool fine = is_off(field) || cJSON_IsTrue(field);
    for (size_t i = 0; kind && i < sizeof harmless / sizeof *harmless; i++)
        fine = fine || strcmp(kind, harmless[i]) == 0;
    SLAD_FAIL_IF(!fine, SLAD_ERROR_DATA,
                 "%s: \"init_lora_weights\" is \"%s\", which changes the weights of the base model as well; convert "
                 "the adapter with path_initial_model_for_weight_conversion of peft's save_pretrained, or give the "
                 "merged model",
                 config->path, kind ? kind : "no text");
cleanup:
    return status;
}

static slad_status check_kind(slad_context *context, const slad_peft_config *config)
{
    slad_status status = SLAD_OK;
    const char *kind = NULL, *bias = "none";
    SLAD_TRY(slad_json_get_string(context, &kind, config->json, "peft_type", true, config->path));
    SLAD_FAIL_IF(strcmp(kind, "LORA") != 0, SLAD_ERROR_DATA,
                 "%s: \"peft_type\" is \"%s\"; only \"LORA\" is read; give the merged model instead", config->path,
                 kind);
    SLAD_TRY(slad_json_get_string(context, &bias, config->json, "bias", false, config->path));
    SLAD_FAIL_IF(strcmp(bias, "none") != 0, SLAD_ERROR_DATA,
                 "%s: \"bias\" is \"%s\"; adapters with trained biases are not read; merge the adapter with "
                 "merge_and_unload of peft and give the merged model instead",
                 config->path, bias);
    SLAD_TRY(check_fields(context, config));
    SLAD_TRY(check_initialisation(context, config));
cleanup:
    return status;
}

static slad_status read_number(slad_context *context, slad_peft_number *number, const slad_peft_config *config,
                               const char *field, const char *pattern_field, double low, double high)
{
    slad_status status = SLAD_OK;
    const cJSON *patterns = cJSON_GetObjectItemCaseSensitive(config->json, pattern_field), *entry = NULL;
    SLAD_TRY(slad_json_get_number(context, &number->plain, config->json, field, false, low, high, config->path));
    if (is_off(patterns)) return SLAD_OK;
    const int count = cJSON_GetArraySize(patterns);
    SLAD_FAIL_IF(!cJSON_IsObject(patterns) || count > PATTERN_COUNT_LIMIT, SLAD_ERROR_DATA,
                 "%s: \"%s\" must be an object of at most %d numbers", config->path, pattern_field,
                 PATTERN_COUNT_LIMIT);
    SLAD_TRY(slad_allocate(context, &number->patterns, (size_t)count, sizeof(slad_pattern *), "expressions"));
    SLAD_TRY(slad_allocate(context, &number->values, (size_t)count, sizeof *number->values, "expressions"));
    cJSON_ArrayForEach(entry, patterns)
    {
        SLAD_TRY(slad_pattern_compile(context, &number->patterns[number->count], entry->string, config->path));
        SLAD_TRY(slad_json_get_number(context, &number->values[number->count++], patterns, entry->string, true, low,
                                      high, config->path));
    }
cleanup:
    return status;
}

/* layers_to_transform: absent, one number or a list of them. */
static slad_status check_layers(slad_context *context, const slad_peft_config *config)
{
    slad_status status = SLAD_OK;
    const cJSON *layers = cJSON_GetObjectItemCaseSensitive(config->json, "layers_to_transform"), *layer = NULL;
    SLAD_FAIL_IF(!is_off(layers) && !cJSON_IsNumber(layers) && !cJSON_IsArray(layers), SLAD_ERROR_DATA,
                 "%s: \"layers_to_transform\" must be a number or a list of numbers", config->path);
    cJSON_ArrayForEach(layer, layers)
    {
        SLAD_FAIL_IF(!cJSON_IsNumber(layer), SLAD_ERROR_DATA, "%s: \"layers_to_transform\" must hold numbers only",
                     config->path);
    }
cleanup:
    return status;
}

slad_status slad_peft_config_read(slad_context *context, slad_peft_config *config, const char *folder)
{
    slad_status status = SLAD_OK;
    *config = (slad_peft_config){.rank.plain = DEFAULT_RANK, .alpha.plain = DEFAULT_ALPHA};
    SLAD_TRY(slad_path_join(context, &config->path, folder, "adapter_config.json"));
    SLAD_TRY(slad_json_read(context, &config->json, config->path));
    SLAD_TRY(check_kind(context, config));
    SLAD_TRY(check_layers(context, config));
    SLAD_TRY(read_number(context, &config->rank, config, "r", "rank_pattern", 1, RANK_LIMIT));
    SLAD_TRY(read_number(context, &config->alpha, config, "lora_alpha", "alpha_pattern", -1e6, 1e6));
    SLAD_TRY(slad_json_get_boolean(context, &config->rank_stabilised, config->json, "use_rslora", false, config->path));
cleanup:
    if (status != SLAD_OK) slad_peft_config_free(config);
    return status;
}

static void free_number(slad_peft_number *number)
{
    for (size_t i = 0; number->patterns && i < number->count; i++) slad_pattern_free(number->patterns[i]);
    slad_release((void *)number->patterns);
    slad_release(number->values);
}

void slad_peft_config_free(slad_peft_config *config)
{
    free_number(&config->rank);
    free_number(&config->alpha);
    cJSON_Delete(config->json);
    slad_release(config->path);
    *config = (slad_peft_config){0};
}

double slad_peft_number_of(const slad_peft_number *number, const char *module)
{
    for (size_t i = 0; i < number->count; i++)
        if (slad_pattern_matches(number->patterns[i], module)) return number->values[i];
    return number->plain;
}

bool slad_peft_config_has_layer(const slad_peft_config *config, size_t layer)
{
    const cJSON *layers = cJSON_GetObjectItemCaseSensitive(config->json, "layers_to_transform"), *entry = NULL;
    if (is_off(layers)) return true;
    if (cJSON_IsNumber(layers)) return layers->valuedouble == (double)layer;
    cJSON_ArrayForEach(entry, layers)
    {
        if (entry->valuedouble == (double)layer) return true;
    }
    return false;
}
