#include "io/peft.h"
#include "base/files.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "base/safetensors.h"
#include <stdio.h>

enum { BLOCKS = 3, NAMINGS = 2, FACTORS = 2, NAME_SIZE = 128 };

/* One adapted layer of the attention. */
typedef struct peft_module {
    const char *path;   /* inside the layer */
    const char *target; /* its last part, as target_modules names it */
} peft_module;

/* q, k, v as they are called before transformers 5, and since. */
static const peft_module modules[NAMINGS][BLOCKS] = {
    {{"attention.attention.query", "query"},
     {"attention.attention.key", "key"},
     {"attention.attention.value", "value"}},
    {{"attention.q_proj", "q_proj"}, {"attention.k_proj", "k_proj"}, {"attention.v_proj", "v_proj"}},
};

/* What a file is written from: entries, and what they point to. */
typedef struct peft_list {
    slad_safetensors_entry *entries;
    char (*names)[NAME_SIZE];
    uint64_t shape_a[2], shape_b[2], shape_weight[2], shape_bias[1];
    size_t count;
} peft_list;

static void add(peft_list *list, const char *name, const uint64_t *shape, size_t rank, const float *values)
{
    char *kept = list->names[list->count];
    (void)snprintf(kept, NAME_SIZE, "base_model.model.%s", name);
    list->entries[list->count++] = (slad_safetensors_entry){kept, SLAD_SAFETENSORS_F32, rank, shape, values};
}

/* Since transformers 5 vit has its layers at once below the model. */
static const char *layers_of(const slad_peft_adapter *adapter, size_t naming)
{
    return adapter->type == SLAD_HF_VIT && naming == 1 ? "layers" : "encoder.layer";
}

static void add_layer(peft_list *list, const slad_peft_adapter *adapter, size_t layer)
{
    char name[NAME_SIZE - sizeof "base_model.model."], place[NAME_SIZE / 2];
    for (size_t naming = 0; naming < NAMINGS; naming++)
        for (size_t block = 0; block < BLOCKS; block++) {
            const char *path = modules[naming][block].path;
            const float *block_b = adapter->lora_b[layer] + block * adapter->width * adapter->rank;
            (void)snprintf(place, sizeof place, "%s.%s.%zu", slad_hf_type_name(adapter->type),
                           layers_of(adapter, naming), layer);
            (void)snprintf(name, sizeof name, "%s.%s.lora_A.weight", place, path);
            add(list, name, list->shape_a, 2, adapter->lora_a[layer]);
            (void)snprintf(name, sizeof name, "%s.%s.lora_B.weight", place, path);
            add(list, name, list->shape_b, 2, block_b);
        }
}

static slad_status write_tensors(slad_context *context, const char *folder, const slad_peft_adapter *adapter)
{
    slad_status status = SLAD_OK;
    const uint64_t width = adapter->width, rank = adapter->rank, classes = adapter->classes;
    const size_t most = adapter->layers * NAMINGS * BLOCKS * FACTORS + 2;
    peft_list list = {.shape_a = {rank, width},
                      .shape_b = {width, rank},
                      .shape_weight = {classes, adapter->type == SLAD_HF_VIT ? width : 2 * width},
                      .shape_bias = {classes}};
    char *path = NULL;
    SLAD_TRY(slad_allocate(context, &list.entries, most, sizeof *list.entries, "the tensors of an adapter"));
    SLAD_TRY(slad_allocate(context, &list.names, most, sizeof *list.names, "the tensors of an adapter"));
    for (size_t i = 0; i < adapter->layers; i++) add_layer(&list, adapter, i);
    add(&list, "classifier.weight", list.shape_weight, 2, adapter->classifier_weight);
    add(&list, "classifier.bias", list.shape_bias, 1, adapter->classifier_bias);
    SLAD_TRY(slad_path_join(context, &path, folder, "adapter_model.safetensors"));
    SLAD_TRY(slad_safetensors_write(context, path, list.entries, list.count, NULL, 0));
cleanup:
    slad_release(path);
    slad_release(list.names);
    slad_release(list.entries);
    return status;
}

/* auto_mapping lets AutoPeftModel find the class of the base model. */
static bool add_base(cJSON *json, const slad_peft_adapter *adapter, const char *base)
{
    const char *type = slad_hf_type_name(adapter->type);
    char library[128];
    cJSON *mapping = cJSON_AddObjectToObject(json, "auto_mapping");
    (void)snprintf(library, sizeof library, "transformers.models.%s.modeling_%s", type, type);
    return cJSON_AddStringToObject(mapping, "base_model_class", slad_hf_architecture(adapter->type)) &&
           cJSON_AddStringToObject(mapping, "parent_library", library) &&
           (base ? cJSON_AddStringToObject(json, "base_model_name_or_path", base)
                 : cJSON_AddNullToObject(json, "base_model_name_or_path"));
}

static bool add_names(cJSON *json)
{
    cJSON *targets = cJSON_AddArrayToObject(json, "target_modules");
    cJSON *saved = cJSON_AddArrayToObject(json, "modules_to_save");
    bool added = cJSON_AddItemToArray(saved, cJSON_CreateString("classifier"));
    for (size_t i = 0; added && i < (size_t)NAMINGS * BLOCKS; i++)
        added = cJSON_AddItemToArray(targets, cJSON_CreateString(modules[i / BLOCKS][i % BLOCKS].target));
    return added;
}

static bool fill_config(cJSON *json, const slad_peft_adapter *adapter, const char *base)
{
    return cJSON_AddStringToObject(json, "peft_type", "LORA") && cJSON_AddNullToObject(json, "task_type") &&
           add_base(json, adapter, base) && add_names(json) &&
           cJSON_AddNumberToObject(json, "r", (double)adapter->rank) &&
           cJSON_AddNumberToObject(json, "lora_alpha", adapter->alpha) &&
           cJSON_AddNumberToObject(json, "lora_dropout", 0) && cJSON_AddStringToObject(json, "bias", "none") &&
           cJSON_AddFalseToObject(json, "fan_in_fan_out") && cJSON_AddFalseToObject(json, "use_rslora") &&
           cJSON_AddFalseToObject(json, "use_dora") && cJSON_AddTrueToObject(json, "inference_mode");
}

static slad_status write_config(slad_context *context, const char *folder, const slad_peft_adapter *adapter)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    cJSON *json = cJSON_CreateObject();
    const char *base = slad_text_is_utf8(adapter->base) ? adapter->base : NULL;
    if (!base)
        slad_log(context, SLAD_LOG_WARNING,
                 "%s: base_model_name_or_path is left empty, since the path of the model is not UTF-8", folder);
    SLAD_FAIL_IF(!fill_config(json, adapter, base), SLAD_ERROR_OUT_OF_MEMORY,
                 "%s: no host memory for adapter_config.json", folder);
    SLAD_TRY(slad_path_join(context, &path, folder, "adapter_config.json"));
    SLAD_TRY(slad_json_write(context, path, json));
cleanup:
    slad_release(path);
    cJSON_Delete(json);
    return status;
}

slad_status slad_peft_write(slad_context *context, const char *folder, const slad_peft_adapter *adapter)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_directory_create(context, folder));
    SLAD_TRY(write_tensors(context, folder, adapter));
    SLAD_TRY(write_config(context, folder, adapter));
cleanup:
    return status;
}
