/* Writing adapters for peft, and adding them to the weights that they act on. */
#include "io/peft.h"
#include "base/files.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "base/safetensors.h"
#include "io/peft_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FACTORS = 2, NAME_SIZE = 192 };

/* A tensor of the file, with what its entry points to. */
typedef struct peft_tensor {
    char name[NAME_SIZE];
    uint64_t shape[2];
} peft_tensor;

typedef struct peft_list {
    slad_safetensors_entry *entries;
    peft_tensor *tensors;
    size_t count;
} peft_list;

/* Adds scale B A of the pair's rows from_row .. from_row + rows - 1. A stretch of columns at a time, so that memory is
 * walked along its rows; each sum is over the rank in order. */
static void add_rows(float *weight, const slad_peft_pair *pair, size_t from_row, size_t rows)
{
    enum { STRETCH = 512 };
    const size_t rank = pair->rank, inputs = pair->inputs;
    double sums[STRETCH];
    for (size_t out = 0; out < rows; out++)
        for (size_t first = 0; first < inputs; first += STRETCH) {
            const size_t count = inputs - first < STRETCH ? inputs - first : STRETCH;
            float *values = weight + out * inputs + first;
            memset(sums, 0, count * sizeof *sums);
            for (size_t r = 0; r < rank; r++) {
                const double b = (double)pair->b[(from_row + out) * rank + r];
                const float *a = pair->a + r * inputs + first;
                for (size_t k = 0; k < count; k++) sums[k] += b * (double)a[k];
            }
            for (size_t k = 0; k < count; k++) values[k] = (float)((double)values[k] + pair->scale * sums[k]);
        }
}

void slad_peft_merge(float *weight, size_t rows, size_t layer, slad_peft_target target, const slad_peft_pair *pairs,
                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const slad_peft_pair *pair = &pairs[i];
        if (pair->layer != layer) continue;
        if (pair->target == target)
            add_rows(weight, pair, 0, rows);
        else if (pair->target == SLAD_PEFT_QKV && target >= SLAD_PEFT_Q && target <= SLAD_PEFT_V)
            add_rows(weight, pair, (size_t)(target - SLAD_PEFT_Q) * rows, rows);
        else if (pair->target == SLAD_PEFT_GATE && target == SLAD_PEFT_FC1)
            add_rows(weight, pair, 0, rows / 2);
        else if (pair->target == SLAD_PEFT_UP && target == SLAD_PEFT_FC1)
            add_rows(weight + rows / 2 * pair->inputs, pair, 0, rows / 2);
    }
}

static void add(peft_list *list, const char *name, const char *end, size_t rank, uint64_t rows, uint64_t columns,
                const float *values)
{
    peft_tensor *tensor = &list->tensors[list->count];
    (void)snprintf(tensor->name, sizeof tensor->name, "base_model.model.%s%s", name, end);
    tensor->shape[0] = rows;
    tensor->shape[1] = columns;
    list->entries[list->count++] =
        (slad_safetensors_entry){tensor->name, SLAD_SAFETENSORS_F32, rank, tensor->shape, values};
}

static void add_pair(peft_list *list, const slad_peft_adapter *adapter, const slad_peft_pair *pair)
{
    slad_peft_module modules[SLAD_PEFT_MODULES];
    char name[NAME_SIZE / 2 + 32];
    const size_t count = slad_peft_modules_of(modules, adapter, pair);
    for (size_t i = 0; i < count; i++) {
        const float *b = pair->b + modules[i].first_row * pair->rank;
        (void)snprintf(name, sizeof name, "%.30s.%.95s", slad_hf_type_name(adapter->type), modules[i].path);
        add(list, name, ".lora_A.weight", 2, pair->rank, pair->inputs, pair->a);
        add(list, name, ".lora_B.weight", 2, modules[i].rows, pair->rank, b);
    }
}

/* {"names": [...]} */
static slad_status print_class_names(slad_context *context, char **text, const slad_peft_adapter *adapter)
{
    slad_status status = SLAD_OK;
    cJSON *json = cJSON_CreateObject();
    char *printed = NULL;
    if (cJSON_AddItemToObject(json, "names", cJSON_CreateStringArray(adapter->class_names, (int)adapter->classes)))
        printed = cJSON_PrintUnformatted(json);
    SLAD_FAIL_IF(!printed, SLAD_ERROR_OUT_OF_MEMORY, "No host memory for the names of classes");
    SLAD_TRY(slad_duplicate(context, text, printed));
cleanup:
    cJSON_free(printed);
    cJSON_Delete(json);
    return status;
}

static slad_status write_tensors(slad_context *context, const char *folder, const slad_peft_adapter *adapter)
{
    slad_status status = SLAD_OK;
    const size_t most = adapter->count * SLAD_PEFT_MODULES * FACTORS + 2;
    peft_list list = {0};
    char *path = NULL, *names = NULL;
    SLAD_TRY(slad_allocate(context, &list.entries, most, sizeof *list.entries, "the tensors of an adapter"));
    SLAD_TRY(slad_allocate(context, &list.tensors, most, sizeof *list.tensors, "the tensors of an adapter"));
    for (size_t i = 0; i < adapter->count; i++) add_pair(&list, adapter, &adapter->pairs[i]);
    add(&list, "classifier.weight", "", 2, adapter->classes, adapter->features, adapter->classifier_weight);
    add(&list, "classifier.bias", "", 1, adapter->classes, 0, adapter->classifier_bias);
    if (adapter->class_names) SLAD_TRY(print_class_names(context, &names, adapter));
    const slad_safetensors_pair metadata = {SLAD_PEFT_NAMES_KEY, names};
    SLAD_TRY(slad_path_join(context, &path, folder, "adapter_model.safetensors"));
    SLAD_TRY(slad_safetensors_write(context, path, list.entries, list.count, &metadata, names ? 1 : 0));
cleanup:
    slad_release(names);
    slad_release(path);
    slad_release(list.tensors);
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

static bool holds(const cJSON *list, const char *text)
{
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, list)
    {
        if (strcmp(item->valuestring, text) == 0) return true;
    }
    return false;
}

/* target_modules, and layers_to_transform where not all layers are adapted. */
static bool add_targets(cJSON *json, const slad_peft_adapter *adapter)
{
    cJSON *targets = cJSON_AddArrayToObject(json, "target_modules"), *layers = cJSON_CreateArray();
    cJSON *saved = cJSON_AddArrayToObject(json, "modules_to_save");
    size_t adapted = 0;
    bool added = cJSON_AddItemToArray(saved, cJSON_CreateString("classifier")) && targets && layers;
    for (size_t i = 0; added && i < adapter->count; i++) {
        slad_peft_module modules[SLAD_PEFT_MODULES];
        const slad_peft_pair *pair = &adapter->pairs[i];
        const size_t count = slad_peft_modules_of(modules, adapter, pair);
        for (size_t k = 0; added && k < count; k++)
            if (!holds(targets, modules[k].target))
                added = cJSON_AddItemToArray(targets, cJSON_CreateString(modules[k].target));
        if (i > 0 && adapter->pairs[i - 1].layer == pair->layer) continue;
        added = added && cJSON_AddItemToArray(layers, cJSON_CreateNumber((double)pair->layer));
        adapted++;
    }
    if (added && adapted < adapter->layers) return cJSON_AddItemToObject(json, "layers_to_transform", layers);
    cJSON_Delete(layers);
    return added;
}

/* alpha as peft divides it by the rank; fifteen digits, so that what was 16 is 16 again. */
static double alpha_of(const slad_peft_pair *pair)
{
    char text[40];
    (void)snprintf(text, sizeof text, "%.15g", pair->scale * (double)pair->rank);
    return strtod(text, NULL);
}

/* r and lora_alpha of the first pair, and patterns for those that have others. */
static bool add_ranks(cJSON *json, const slad_peft_adapter *adapter)
{
    cJSON *ranks = cJSON_AddObjectToObject(json, "rank_pattern");
    cJSON *alphas = cJSON_AddObjectToObject(json, "alpha_pattern");
    const slad_peft_pair *first = adapter->pairs;
    bool added = ranks && alphas && cJSON_AddNumberToObject(json, "r", (double)first->rank) &&
                 cJSON_AddNumberToObject(json, "lora_alpha", alpha_of(first));
    for (size_t i = 1; added && i < adapter->count; i++) {
        slad_peft_module modules[SLAD_PEFT_MODULES];
        const slad_peft_pair *pair = &adapter->pairs[i];
        const size_t count = slad_peft_modules_of(modules, adapter, pair);
        for (size_t k = 0; added && k < count; k++) {
            if (pair->rank != first->rank)
                added = cJSON_AddNumberToObject(ranks, modules[k].path, (double)pair->rank) != NULL;
            if (added && alpha_of(pair) != alpha_of(first))
                added = cJSON_AddNumberToObject(alphas, modules[k].path, alpha_of(pair)) != NULL;
        }
    }
    return added;
}

static bool fill_config(cJSON *json, const slad_peft_adapter *adapter, const char *base)
{
    return cJSON_AddStringToObject(json, "peft_type", "LORA") && cJSON_AddNullToObject(json, "task_type") &&
           add_base(json, adapter, base) && add_targets(json, adapter) && add_ranks(json, adapter) &&
           cJSON_AddNumberToObject(json, "lora_dropout", adapter->dropout) &&
           cJSON_AddStringToObject(json, "bias", "none") && cJSON_AddFalseToObject(json, "fan_in_fan_out") &&
           cJSON_AddFalseToObject(json, "use_rslora") && cJSON_AddFalseToObject(json, "use_dora") &&
           cJSON_AddTrueToObject(json, "inference_mode");
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
    SLAD_FAIL_IF(adapter->count == 0, SLAD_ERROR_INTERNAL, "An adapter without any pair; please report it");
    SLAD_TRY(slad_directory_create(context, folder));
    SLAD_TRY(write_tensors(context, folder, adapter));
    SLAD_TRY(write_config(context, folder, adapter));
cleanup:
    return status;
}
