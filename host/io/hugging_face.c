/* Opening a model: its files, and the tensors in them. */
#include "base/files.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "io/hugging_face_internal.h"
#include <stdio.h>
#include <string.h>

enum { CONFIG_LIMIT = 16 << 20, FILE_COUNT_LIMIT = 256 };

static const char config_name[] = "config.json";
static const char whole_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

/* The open file of that name, NULL if it is not open yet. */
static slad_safetensors *opened(const slad_hf_model *model, const char *name)
{
    for (size_t i = 0; i < model->file_count; i++) {
        if (strcmp(model->file_names[i], name) == 0) return model->files[i];
    }
    return NULL;
}

static slad_status open_file(slad_context *context, slad_hf_model *model, const char *name)
{
    slad_status status = SLAD_OK;
    char *path = NULL, *kept = NULL;
    SLAD_FAIL_IF(model->file_count == FILE_COUNT_LIMIT, SLAD_ERROR_DATA,
                 "%s: the model is spread over more than %d files", model->folder, FILE_COUNT_LIMIT);
    SLAD_TRY(slad_path_join(context, &path, model->folder, name));
    SLAD_TRY(slad_duplicate(context, &kept, name));
    SLAD_TRY(slad_safetensors_open(context, &model->files[model->file_count], path));
    model->file_names[model->file_count++] = kept;
    kept = NULL;
cleanup:
    slad_release(kept);
    slad_release(path);
    return status;
}

/* A name that stays inside the folder. */
static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

static const cJSON *weight_map(const slad_hf_model *model)
{
    return cJSON_GetObjectItemCaseSensitive(model->index, "weight_map");
}

static slad_status open_shards(slad_context *context, slad_hf_model *model, const char *path)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_json_read(context, &model->index, path));
    SLAD_FAIL_IF(!cJSON_IsObject(weight_map(model)), SLAD_ERROR_DATA, "%s: \"weight_map\" must be an object", path);
    const cJSON *entry = NULL;
    cJSON_ArrayForEach(entry, weight_map(model))
    {
        const char *name = cJSON_GetStringValue(entry);
        SLAD_FAIL_IF(!name || !is_plain_name(name), SLAD_ERROR_DATA,
                     "%s: tensor \"%s\": its file must be a plain name inside the folder", path, entry->string);
        if (!opened(model, name)) SLAD_TRY(open_file(context, model, name));
        SLAD_FAIL_IF(!slad_safetensors_find(opened(model, name), entry->string), SLAD_ERROR_DATA,
                     "%s: tensor \"%s\" is not in the file %s that it names", path, entry->string, name);
    }
cleanup:
    return status;
}

static slad_status allocate_files(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(
        slad_allocate(context, &model->files, FILE_COUNT_LIMIT, sizeof(slad_safetensors *), "the files of a model"));
    SLAD_TRY(slad_allocate(context, &model->file_names, FILE_COUNT_LIMIT, sizeof *model->file_names,
                           "the files of a model"));
cleanup:
    return status;
}

static slad_status open_files(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    SLAD_TRY(allocate_files(context, model));
    SLAD_TRY(slad_path_join(context, &path, model->folder, whole_name));
    if (slad_path_look(path) != SLAD_PATH_MISSING) {
        SLAD_TRY(open_file(context, model, whole_name));
    } else {
        slad_release(path);
        path = NULL;
        SLAD_TRY(slad_path_join(context, &path, model->folder, index_name));
        SLAD_FAIL_IF(slad_path_look(path) == SLAD_PATH_MISSING, SLAD_ERROR_DATA,
                     "%s: has neither %s nor %s; fetch the model again, or convert its weights to safetensors",
                     model->folder, whole_name, index_name);
        SLAD_TRY(open_shards(context, model, path));
    }
cleanup:
    slad_release(path);
    return status;
}

const slad_safetensor *slad_hf_find_full(const slad_hf_model *model, slad_safetensors **file, const char *name)
{
    *file = model->files[0];
    if (model->index) {
        const char *shard = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(weight_map(model), name));
        *file = shard ? opened(model, shard) : NULL;
    }
    return *file ? slad_safetensors_find(*file, name) : NULL;
}

const slad_safetensor *slad_hf_find(const slad_hf_model *model, slad_safetensors **file, const char *name)
{
    char full[2 * SLAD_HF_NAME_SIZE];
    const bool in_head = model->config.naming == SLAD_HF_TRANSFORMERS && strncmp(name, "classifier.", 11) == 0;
    const int length = snprintf(full, sizeof full, "%s%s", in_head ? "" : model->prefix, name);
    if (length < 0 || (size_t)length >= sizeof full) return NULL;
    return slad_hf_find_full(model, file, full);
}

/* The name of the one safetensors file of a folder, model.safetensors if that is there. The caller releases. */
static slad_status only_file(slad_context *context, char **name, const slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_directory directory = {0};
    const char *found = NULL;
    bool certain = true;
    SLAD_TRY(slad_directory_read(context, &directory, model->folder));
    for (size_t i = 0; i < directory.count; i++) {
        const slad_directory_entry *entry = &directory.entries[i];
        if (entry->kind != SLAD_PATH_FILE || !slad_text_ends_with(entry->name, ".safetensors")) continue;
        certain = !found || strcmp(entry->name, whole_name) == 0;
        found = certain || strcmp(found, whole_name) != 0 ? entry->name : found;
        if (strcmp(found, whole_name) == 0) certain = true;
    }
    SLAD_FAIL_IF(!found, SLAD_ERROR_DATA,
                 "%s: is missing, and there is no safetensors file beside it; give the folder of a model, or a single "
                 "file in the naming of facebookresearch/dinov2 or timm",
                 model->config_path);
    SLAD_FAIL_IF(!certain, SLAD_ERROR_DATA,
                 "%s: is missing, and there are several safetensors files beside it; give one of them by name",
                 model->config_path);
    SLAD_TRY(slad_duplicate(context, name, found));
cleanup:
    slad_directory_free(&directory);
    return status;
}

/* A folder, or a file that may be a model; hub serves files that PyTorch pickles, which are code and not data. */
static slad_status check_path(slad_context *context, const char *path)
{
    slad_status status = SLAD_OK;
    const slad_path_kind kind = slad_path_look(path);
    const bool pickle =
        slad_text_ends_with(path, ".pth") || slad_text_ends_with(path, ".pt") || slad_text_ends_with(path, ".bin");
    if (kind == SLAD_PATH_DIRECTORY) return SLAD_OK;
    SLAD_FAIL_IF(kind == SLAD_PATH_FILE && pickle, SLAD_ERROR_DATA,
                 "%s: pickled files of PyTorch are not read; convert it in Python: safetensors.torch.save_file("
                 "torch.load(\"%s\"), \"model.safetensors\")",
                 path, path);
    SLAD_FAIL_IF(kind != SLAD_PATH_FILE || !slad_text_ends_with(path, ".safetensors"), SLAD_ERROR_DATA,
                 "%s: is not a folder, and no .safetensors file; give the folder with config.json and %s of a model, "
                 "or a file in the naming of facebookresearch/dinov2 or timm",
                 path, whole_name);
cleanup:
    return status;
}

static slad_status open_single(slad_context *context, slad_hf_model *model, const char *path)
{
    slad_status status = SLAD_OK;
    slad_release(model->config_path);
    model->config_path = NULL;
    SLAD_TRY(slad_duplicate(context, &model->config_path, path));
    SLAD_TRY(allocate_files(context, model));
    SLAD_TRY(slad_duplicate(context, &model->file_names[0], path));
    SLAD_TRY(slad_safetensors_open(context, &model->files[0], path));
    model->file_count = 1;
    SLAD_TRY(slad_checkpoint_take(context, model));
cleanup:
    if (status != SLAD_OK && model->file_count == 0 && model->file_names) slad_release(model->file_names[0]);
    return status;
}

static slad_status open_single_inside(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    char *name = NULL, *path = NULL;
    SLAD_TRY(only_file(context, &name, model));
    SLAD_TRY(slad_path_join(context, &path, model->folder, name));
    SLAD_TRY(open_single(context, model, path));
cleanup:
    slad_release(path);
    slad_release(name);
    return status;
}

static slad_status read_config(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    char *bytes = NULL;
    size_t size = 0;
    SLAD_TRY(slad_file_read_all(context, &bytes, &size, model->config_path, CONFIG_LIMIT));
    SLAD_TRY(slad_json_parse(context, &model->json, bytes, size, model->config_path));
    SLAD_TRY(slad_json_parse_verbatim(context, &model->verbatim, bytes, size, model->config_path));
cleanup:
    slad_release(bytes);
    return status;
}

/* timm keeps a config.json of its own beside its files: it has "architecture" and no "model_type". */
static bool is_of_timm(const slad_hf_model *model)
{
    return !cJSON_GetObjectItemCaseSensitive(model->json, "model_type") &&
           cJSON_IsString(cJSON_GetObjectItemCaseSensitive(model->json, "architecture"));
}

static slad_status open_folder(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_path_join(context, &model->config_path, model->folder, config_name));
    if (slad_path_look(model->config_path) == SLAD_PATH_MISSING) return open_single_inside(context, model);
    SLAD_TRY(read_config(context, model));
    if (is_of_timm(model)) {
        cJSON_Delete(model->json);
        cJSON_Delete(model->verbatim);
        model->json = model->verbatim = NULL;
        return open_single_inside(context, model);
    }
    SLAD_TRY(slad_hf_take_config(context, model));
    SLAD_TRY(open_files(context, model));
    SLAD_TRY(slad_hf_check_tensors(context, model));
cleanup:
    return status;
}

slad_status slad_hf_open(slad_context *context, slad_hf_model **out, const char *path)
{
    slad_status status = SLAD_OK;
    slad_hf_model *model = NULL;
    const slad_path_kind kind = slad_path_look(path);
    bool is_peft = false;
    *out = NULL;
    SLAD_TRY(check_path(context, path));
    SLAD_TRY(slad_peft_look(context, &is_peft, path));
    if (is_peft) return slad_hf_open_adapted(context, out, path);
    SLAD_TRY(slad_allocate(context, &model, 1, sizeof *model, "a model"));
    SLAD_TRY(slad_duplicate(context, &model->folder, path));
    SLAD_TRY(kind == SLAD_PATH_FILE ? open_single(context, model, path) : open_folder(context, model));
    *out = model;
    model = NULL;
cleanup:
    slad_hf_close(model);
    return status;
}

void slad_hf_close(slad_hf_model *model)
{
    if (!model) return;
    for (size_t i = 0; i < model->file_count; i++) {
        slad_safetensors_close(model->files[i]);
        slad_release(model->file_names[i]);
    }
    slad_peft_close(model->adapter);
    slad_release((void *)model->files);
    slad_release((void *)model->file_names);
    slad_release((void *)model->class_names);
    slad_release(model->number_names);
    cJSON_Delete(model->index);
    cJSON_Delete(model->verbatim);
    cJSON_Delete(model->json);
    slad_release(model->prefix);
    slad_release(model->config_path);
    slad_release(model->folder);
    slad_release(model);
}

const slad_hf_config *slad_hf_config_of(const slad_hf_model *model)
{
    return &model->config;
}

const char *slad_hf_folder(const slad_hf_model *model)
{
    return model->folder;
}

const char *slad_hf_class_name(const slad_hf_model *model, uint32_t class_index)
{
    return model->class_names[class_index];
}

/* A slot of a single file: q, k and v are rows of one tensor; a position table without a row for the class token, whose
 * position timm has added to the token itself, gets one of zeros. */
static slad_status read_own(slad_context *context, float *destination, const slad_hf_model *model,
                            const slad_hf_slot *slot)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    slad_hf_slot own;
    uint64_t first = 0, lead = 0;
    slad_checkpoint_slot(&own, &model->config, slot);
    const slad_safetensor *tensor = slad_hf_find(model, &file, own.name);
    SLAD_FAIL_IF(!tensor, SLAD_ERROR_DATA, "%s: tensor \"%s\" is missing", model->folder, own.name);
    if (slot->role == SLAD_HF_POSITION) lead = slot->elements - tensor->elements;
    if (slot->role == SLAD_HF_KEY_WEIGHT || slot->role == SLAD_HF_KEY_BIAS) first = slot->elements;
    if (slot->role == SLAD_HF_VALUE_WEIGHT || slot->role == SLAD_HF_VALUE_BIAS) first = 2 * slot->elements;
    memset(destination, 0, (size_t)lead * sizeof *destination);
    SLAD_TRY(slad_safetensors_read_float(context, destination + lead, file, tensor, first, slot->elements - lead));
cleanup:
    return status;
}

slad_status slad_hf_read(slad_context *context, float *destination, const slad_hf_model *model, const char *name)
{
    return model->adapter ? slad_hf_read_adapted(context, destination, model, name)
                          : slad_hf_read_base(context, destination, model, name);
}

slad_status slad_hf_read_base(slad_context *context, float *destination, const slad_hf_model *model, const char *name)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    slad_hf_slot slot;
    if (model->config.naming != SLAD_HF_TRANSFORMERS && slad_hf_slot_named(&slot, &model->config, name))
        return read_own(context, destination, model, &slot);
    const slad_safetensor *tensor =
        model->config.naming == SLAD_HF_TRANSFORMERS ? slad_hf_find(model, &file, name) : NULL;
    SLAD_FAIL_IF(!tensor, SLAD_ERROR_DATA, "%s: tensor \"%s\" is missing", model->folder, name);
    SLAD_TRY(slad_safetensors_read_float(context, destination, file, tensor, 0, tensor->elements));
cleanup:
    return status;
}

slad_status slad_hf_read_mask(slad_context *context, float *destination, const slad_hf_model *model)
{
    slad_safetensors *file = NULL;
    const bool own = model->config.naming != SLAD_HF_TRANSFORMERS;
    const slad_safetensor *mask = slad_hf_find(model, &file, own ? "mask_token" : "embeddings.mask_token");
    if (mask && mask->elements == model->config.hidden_size)
        return slad_safetensors_read_float(context, destination, file, mask, 0, mask->elements);
    memset(destination, 0, model->config.hidden_size * sizeof *destination);
    return SLAD_OK;
}
