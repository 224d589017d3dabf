/* Reading adapters that peft wrote. Names: src/peft/utils/save_and_load.py of peft. */
#include "base/files.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "base/safetensors.h"
#include "io/peft_internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHAPE_TEXT = 128, CLASS_LIMIT = 1000000 };

static const char prefix[] = "base_model.model.";
static const char classifier_weight[] = "base_model.model.classifier.weight";
static const char classifier_bias[] = "base_model.model.classifier.bias";
static const char suffix_a[] = ".lora_A.weight", suffix_b[] = ".lora_B.weight";

/* A folder being read. */
typedef struct slad_peft_reading {
    slad_peft *peft;
    slad_peft_config config;
    slad_safetensors *file;
    size_t capacity;
} slad_peft_reading;

slad_status slad_peft_look(slad_context *context, bool *is_peft, const char *folder)
{
    static const char *const names[2] = {"adapter_config.json", "config.json"};
    slad_status status = SLAD_OK;
    bool there[2] = {false, false};
    char *path = NULL;
    for (int i = 0; i < 2; i++) {
        SLAD_TRY(slad_path_join(context, &path, folder, names[i]));
        there[i] = slad_path_look(path) == SLAD_PATH_FILE;
        slad_release(path);
        path = NULL;
    }
cleanup:
    *is_peft = there[0] && !there[1];
    slad_release(path);
    return status;
}

/* Reads a tensor of a number of dimensions that has elements. */
static slad_status read_values(slad_context *context, float **values, const slad_peft_reading *reading,
                               const slad_safetensor *tensor, size_t rank)
{
    slad_status status = SLAD_OK;
    char text[SHAPE_TEXT];
    slad_safetensors_shape_text(text, sizeof text, tensor->shape, tensor->rank);
    SLAD_FAIL_IF(tensor->rank != rank || tensor->elements == 0, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s; it must have %zu dimensions and be not empty",
                 slad_safetensors_path(reading->file), tensor->name, text, rank);
    SLAD_TRY(slad_allocate(context, values, (size_t)tensor->elements, sizeof **values, tensor->name));
    SLAD_TRY(slad_safetensors_read_float(context, *values, reading->file, tensor, 0, tensor->elements));
    for (uint64_t i = 0; i < tensor->elements; i++)
        SLAD_FAIL_IF(!isfinite((*values)[i]), SLAD_ERROR_DATA, "%s: tensor \"%s\" holds a value that is not finite",
                     slad_safetensors_path(reading->file), tensor->name);
cleanup:
    return status;
}

/* The two tensors of a module must fit each other and the rank that the configuration gives them. */
static slad_status check_pair(slad_context *context, const slad_peft_reading *reading, const slad_safetensor *a,
                              const slad_safetensor *b, double rank)
{
    slad_status status = SLAD_OK;
    char text_a[SHAPE_TEXT], text_b[SHAPE_TEXT];
    slad_safetensors_shape_text(text_a, sizeof text_a, a->shape, a->rank);
    slad_safetensors_shape_text(text_b, sizeof text_b, b->shape, b->rank);
    SLAD_FAIL_IF(a->rank != 2 || b->rank != 2 || a->shape[0] != b->shape[1], SLAD_ERROR_DATA,
                 "%s: tensors \"%s\" %s and \"%s\" %s must be [r, inputs] and [outputs, r]",
                 slad_safetensors_path(reading->file), a->name, text_a, b->name, text_b);
    SLAD_FAIL_IF((double)a->shape[0] != rank, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s, but \"r\" and \"rank_pattern\" of adapter_config.json say rank %g",
                 slad_safetensors_path(reading->file), a->name, text_a, rank);
cleanup:
    return status;
}

/* Takes the module of a lora_A tensor together with its lora_B. */
static slad_status take_module(slad_context *context, slad_peft_reading *reading, const slad_safetensor *a)
{
    slad_status status = SLAD_OK;
    slad_peft *peft = reading->peft;
    const slad_peft_config *config = &reading->config;
    const size_t length = strlen(a->name) - (sizeof suffix_a - 1);
    slad_peft_pair pair = {0};
    char *name = NULL, *module = NULL;
    SLAD_TRY(slad_format(context, &module, "%.*s", (int)(length - (sizeof prefix - 1)), a->name + sizeof prefix - 1));
    SLAD_FAIL_IF(
        !slad_peft_find_module(&pair.layer, &pair.target, module), SLAD_ERROR_DATA,
        "%s: tensor \"%s\" adapts a layer that cannot be adapted here; adapters may be on q, k, v, their fused "
        "qkv, the attention's projection and the layers of the MLP",
        slad_safetensors_path(reading->file), a->name);
    SLAD_FAIL_IF(!slad_peft_config_has_layer(config, pair.layer), SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is there, but \"layers_to_transform\" of adapter_config.json does not name layer "
                 "%zu; the two belong to different adapters",
                 slad_safetensors_path(reading->file), a->name, pair.layer);
    SLAD_TRY(slad_format(context, &name, "%s%s%s", prefix, module, suffix_b));
    const slad_safetensor *b = slad_safetensors_find(reading->file, name);
    SLAD_FAIL_IF(!b, SLAD_ERROR_DATA, "%s: tensor \"%s\" is missing beside \"%s\"",
                 slad_safetensors_path(reading->file), name, a->name);
    const double rank = slad_peft_number_of(&config->rank, module);
    SLAD_TRY(check_pair(context, reading, a, b, rank));
    pair.scale = slad_peft_number_of(&config->alpha, module) / (config->rank_stabilised ? sqrt(rank) : rank);
    pair.rank = (size_t)a->shape[0];
    pair.inputs = (size_t)a->shape[1];
    pair.outputs = (size_t)b->shape[0];
    SLAD_TRY(slad_grow(context, &peft->pairs, &reading->capacity, peft->count + 1, sizeof pair, "adapters"));
    slad_peft_pair *kept = &peft->pairs[peft->count++];
    *kept = pair;
    SLAD_TRY(read_values(context, &kept->a, reading, a, 2));
    SLAD_TRY(read_values(context, &kept->b, reading, b, 2));
cleanup:
    slad_release(name);
    slad_release(module);
    return status;
}

/* What a tensor is that is neither of an adapter nor of the classifier. */
static slad_status refuse(slad_context *context, const slad_peft_reading *reading, const char *name)
{
    slad_status status = SLAD_OK;
    const char *why = "is not one that a Vision Transformer with plain LoRA and a saved classifier has";
    if (strstr(name, "lora_magnitude_vector"))
        why = "belongs to DoRA, which is not read";
    else if (slad_text_ends_with(name, ".lora_B.bias"))
        why = "is a bias of an adapter (lora_bias), which is not read";
    else if (strstr(name, "lora_embedding_"))
        why = "adapts an embedding, which is not read";
    SLAD_FAIL_IF(true, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" %s; merge the adapter with merge_and_unload of peft and give the merged model "
                 "instead",
                 slad_safetensors_path(reading->file), name, why);
cleanup:
    return status;
}

static slad_status take_tensor(slad_context *context, slad_peft_reading *reading, const slad_safetensor *tensor)
{
    slad_status status = SLAD_OK;
    const char *name = tensor->name;
    const bool ours = strncmp(name, prefix, sizeof prefix - 1) == 0;
    if (ours && slad_text_ends_with(name, suffix_a)) return take_module(context, reading, tensor);
    if (strcmp(name, classifier_weight) == 0 || strcmp(name, classifier_bias) == 0) return SLAD_OK;
    if (!ours || !slad_text_ends_with(name, suffix_b)) return refuse(context, reading, name);
    char *other = NULL;
    SLAD_TRY(slad_format(context, &other, "%.*s%s", (int)(strlen(name) - (sizeof suffix_b - 1)), name, suffix_a));
    SLAD_FAIL_IF(!slad_safetensors_find(reading->file, other), SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is missing beside \"%s\"", slad_safetensors_path(reading->file), other, name);
cleanup:
    slad_release(other);
    return status;
}

static bool saves_classifier(const slad_peft_config *config)
{
    const cJSON *name = NULL;
    cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(config->json, "modules_to_save"))
    {
        const char *text = cJSON_GetStringValue(name);
        if (text && strcmp(text, "classifier") == 0) return true;
    }
    return false;
}

static slad_status take_classifier(slad_context *context, slad_peft_reading *reading)
{
    slad_status status = SLAD_OK;
    slad_peft *peft = reading->peft;
    const char *path = slad_safetensors_path(reading->file);
    const slad_safetensor *weight = slad_safetensors_find(reading->file, classifier_weight);
    const slad_safetensor *bias = slad_safetensors_find(reading->file, classifier_bias);
    SLAD_FAIL_IF(!weight != !bias || (!weight && saves_classifier(&reading->config)), SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is missing, though %s", path, weight ? classifier_bias : classifier_weight,
                 weight || bias ? "the other of the classifier is there"
                                : "\"modules_to_save\" of adapter_config.json names the classifier");
    if (!weight) return SLAD_OK;
    SLAD_TRY(read_values(context, &peft->classifier_weight, reading, weight, 2));
    SLAD_TRY(read_values(context, &peft->classifier_bias, reading, bias, 1));
    SLAD_FAIL_IF(weight->shape[0] != bias->shape[0] || weight->shape[0] > CLASS_LIMIT, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" must have one value for each of the %llu rows of \"%s\", at most %d", path,
                 classifier_bias, (unsigned long long)weight->shape[0], classifier_weight, CLASS_LIMIT);
    peft->classes = (size_t)weight->shape[0];
    peft->features = (size_t)weight->shape[1];
cleanup:
    return status;
}

/* {"names": [...]} in the file's metadata. Names that are no such list are left out: other programs may use the key. */
static slad_status take_class_names(slad_context *context, slad_peft_reading *reading)
{
    slad_status status = SLAD_OK;
    slad_peft *peft = reading->peft;
    const char *text = slad_safetensors_metadata(reading->file, SLAD_PEFT_NAMES_KEY);
    cJSON *json = NULL;
    const cJSON *name = NULL;
    size_t index = 0;
    if (!text || !peft->classes) return SLAD_OK;
    SLAD_TRY(slad_json_parse(context, &json, text, strlen(text), slad_safetensors_path(reading->file)));
    const cJSON *names = cJSON_GetObjectItemCaseSensitive(json, "names");
    if (!cJSON_IsArray(names) || (size_t)cJSON_GetArraySize(names) != peft->classes) goto cleanup;
    SLAD_TRY(slad_allocate(context, &peft->class_names, peft->classes, sizeof *peft->class_names, "class names"));
    cJSON_ArrayForEach(name, names)
    {
        SLAD_FAIL_IF(!cJSON_IsString(name), SLAD_ERROR_DATA, "%s: \"%s\" of its metadata must hold names only",
                     slad_safetensors_path(reading->file), SLAD_PEFT_NAMES_KEY);
        SLAD_TRY(slad_duplicate(context, &peft->class_names[index++], name->valuestring));
    }
cleanup:
    cJSON_Delete(json);
    return status;
}

static int compare_pairs(const void *left, const void *right)
{
    const slad_peft_pair *a = left, *b = right;
    if (a->layer != b->layer) return a->layer < b->layer ? -1 : 1;
    return (a->target > b->target) - (a->target < b->target);
}

static bool same_pair(const slad_peft_pair *a, const slad_peft_pair *b)
{
    return a->rank == b->rank && a->inputs == b->inputs && a->outputs == b->outputs && a->scale == b->scale &&
           memcmp(a->a, b->a, a->rank * a->inputs * sizeof *a->a) == 0 &&
           memcmp(a->b, b->b, a->outputs * a->rank * sizeof *a->b) == 0;
}

static void free_pair(slad_peft_pair *pair)
{
    slad_release(pair->a);
    slad_release(pair->b);
    *pair = (slad_peft_pair){0};
}

/* Whether the two change the same weights under different names. */
static bool overlap(const slad_peft_pair *a, const slad_peft_pair *b)
{
    if (a->layer != b->layer) return false;
    return (a->target == SLAD_PEFT_QKV && b->target > SLAD_PEFT_QKV && b->target <= SLAD_PEFT_V) ||
           (a->target == SLAD_PEFT_FC1 && (b->target == SLAD_PEFT_GATE || b->target == SLAD_PEFT_UP));
}

/* Sorts, and takes those that stand there twice, under the names of two versions of a library, once. */
static slad_status settle_pairs(slad_context *context, slad_peft *peft)
{
    slad_status status = SLAD_OK;
    size_t kept = 0;
    SLAD_FAIL_IF(peft->count == 0, SLAD_ERROR_DATA, "%s: adapter_model.safetensors holds no adapter", peft->folder);
    qsort(peft->pairs, peft->count, sizeof *peft->pairs, compare_pairs);
    for (size_t i = 0; i < peft->count; i++) {
        slad_peft_pair *pair = &peft->pairs[i], *last = kept ? &peft->pairs[kept - 1] : NULL;
        const bool twice = last && compare_pairs(last, pair) == 0;
        SLAD_FAIL_IF(twice && !same_pair(last, pair), SLAD_ERROR_DATA,
                     "%s: adapter_model.safetensors has two different adapters for %s of layer %zu", peft->folder,
                     slad_peft_target_name(pair->target), pair->layer);
        if (twice) {
            free_pair(pair);
            continue;
        }
        const slad_peft_pair moved = *pair;
        *pair = (slad_peft_pair){0};
        peft->pairs[kept++] = moved;
    }
    peft->count = kept;
    for (size_t i = 0; i < kept; i++)
        for (size_t j = i + 1; j < kept && j <= i + SLAD_PEFT_TARGETS; j++)
            SLAD_FAIL_IF(overlap(&peft->pairs[i], &peft->pairs[j]), SLAD_ERROR_DATA,
                         "%s: adapter_model.safetensors adapts %s of layer %zu, and %s, which is a part of it, too",
                         peft->folder, slad_peft_target_name(peft->pairs[i].target), peft->pairs[i].layer,
                         slad_peft_target_name(peft->pairs[j].target));
cleanup:
    return status;
}

static slad_status read_folder(slad_context *context, slad_peft_reading *reading)
{
    slad_status status = SLAD_OK;
    slad_peft *peft = reading->peft;
    const char *base = NULL;
    char *path = NULL;
    SLAD_TRY(slad_peft_config_read(context, &reading->config, peft->folder));
    const cJSON *named = cJSON_GetObjectItemCaseSensitive(reading->config.json, "base_model_name_or_path");
    if (named && !cJSON_IsNull(named))
        SLAD_TRY(slad_json_get_string(context, &base, reading->config.json, "base_model_name_or_path", false,
                                      reading->config.path));
    if (base) SLAD_TRY(slad_duplicate(context, &peft->base, base));
    SLAD_TRY(slad_path_join(context, &path, peft->folder, "adapter_model.safetensors"));
    SLAD_FAIL_IF(slad_path_look(path) == SLAD_PATH_MISSING, SLAD_ERROR_DATA,
                 "%s: has no adapter_model.safetensors; save the adapter with safe_serialization", peft->folder);
    SLAD_TRY(slad_safetensors_open(context, &reading->file, path));
    for (size_t i = 0; i < slad_safetensors_count(reading->file); i++)
        SLAD_TRY(take_tensor(context, reading, slad_safetensors_at(reading->file, i)));
    SLAD_TRY(take_classifier(context, reading));
    SLAD_TRY(take_class_names(context, reading));
    SLAD_TRY(settle_pairs(context, peft));
cleanup:
    slad_release(path);
    return status;
}

slad_status slad_peft_open(slad_context *context, slad_peft **peft, const char *folder)
{
    slad_status status = SLAD_OK;
    slad_peft_reading reading = {0};
    *peft = NULL;
    SLAD_TRY(slad_allocate(context, &reading.peft, 1, sizeof *reading.peft, "adapters"));
    SLAD_TRY(slad_duplicate(context, &reading.peft->folder, folder));
    SLAD_TRY(read_folder(context, &reading));
    *peft = reading.peft;
    reading.peft = NULL;
cleanup:
    slad_safetensors_close(reading.file);
    slad_peft_config_free(&reading.config);
    slad_peft_close(reading.peft);
    return status;
}

void slad_peft_close(slad_peft *peft)
{
    if (!peft) return;
    for (size_t i = 0; i < peft->count; i++) free_pair(&peft->pairs[i]);
    for (size_t i = 0; peft->class_names && i < peft->classes; i++) slad_release(peft->class_names[i]);
    slad_release((void *)peft->class_names);
    slad_release(peft->pairs);
    slad_release(peft->classifier_weight);
    slad_release(peft->classifier_bias);
    slad_release(peft->base);
    slad_release(peft->folder);
    slad_release(peft);
}

slad_status slad_peft_base(slad_context *context, char **path, const slad_peft *peft)
{
    slad_status status = SLAD_OK;
    char *absolute = NULL, *beside = NULL;
    *path = NULL;
    SLAD_FAIL_IF(!peft->base || peft->base[0] == '\0', SLAD_ERROR_DATA,
                 "%s/adapter_config.json: \"base_model_name_or_path\" is empty; put the folder of the base model there",
                 peft->folder);
    SLAD_TRY(slad_path_absolute(context, &absolute, peft->folder));
    *strrchr(absolute, '/') = '\0';
    SLAD_TRY(slad_path_join(context, &beside, absolute, peft->base));
    const char *found = peft->base[0] != '/' && slad_path_look(beside) != SLAD_PATH_MISSING ? beside : peft->base;
    SLAD_FAIL_IF(slad_path_look(found) == SLAD_PATH_MISSING, SLAD_ERROR_DATA,
                 "%s/adapter_config.json: the base model \"%s\" is not on this machine; fetch it and put its folder "
                 "into \"base_model_name_or_path\"",
                 peft->folder, peft->base);
    SLAD_TRY(slad_duplicate(context, path, found));
cleanup:
    slad_release(beside);
    slad_release(absolute);
    return status;
}
