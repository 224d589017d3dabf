/* Opening a model folder: its files, the tensors in them, and whether they are what config.json says. */
#include "base/files.h"
#include "base/json.h"
#include "base/memory.h"
#include "io/hugging_face_internal.h"
#include <stdio.h>
#include <string.h>

enum { CONFIG_LIMIT = 16 << 20, FILE_COUNT_LIMIT = 256, CLASS_LIMIT = 1000000, SHAPE_TEXT = 128 };

static const char prefix[] = "dinov2.";
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

static slad_status open_files(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    SLAD_TRY(
        slad_allocate(context, &model->files, FILE_COUNT_LIMIT, sizeof(slad_safetensors *), "the files of a model"));
    SLAD_TRY(slad_allocate(context, &model->file_names, FILE_COUNT_LIMIT, sizeof *model->file_names,
                           "the files of a model"));
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

/* A tensor by its full name, with the file that holds it. */
static const slad_safetensor *find_full(const slad_hf_model *model, slad_safetensors **file, const char *name)
{
    *file = model->files[0];
    if (model->index) {
        const char *shard = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(weight_map(model), name));
        *file = shard ? opened(model, shard) : NULL;
    }
    return *file ? slad_safetensors_find(*file, name) : NULL;
}

/* A tensor by its name without prefix. */
static const slad_safetensor *find(const slad_hf_model *model, slad_safetensors **file, const char *name)
{
    char full[SLAD_HF_NAME_SIZE + sizeof prefix];
    const bool in_head = strncmp(name, "classifier.", 11) == 0;
    const int length = snprintf(full, sizeof full, "%s%s", model->prefixed && !in_head ? prefix : "", name);
    if (length < 0 || (size_t)length >= sizeof full) return NULL;
    return find_full(model, file, full);
}

static bool same_shape(const slad_safetensor *tensor, const uint64_t *shape, size_t rank)
{
    return tensor->rank == rank && memcmp(tensor->shape, shape, rank * sizeof *shape) == 0;
}

static slad_status check_type(slad_context *context, const slad_safetensor *tensor, const slad_safetensors *file)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(tensor->type != SLAD_SAFETENSORS_F32 && tensor->type != SLAD_SAFETENSORS_F16 &&
                     tensor->type != SLAD_SAFETENSORS_BF16,
                 SLAD_ERROR_DATA, "%s: tensor \"%s\" is %s; weights must be F32, F16 or BF16, convert the model",
                 slad_safetensors_path(file), tensor->name, tensor->type_name);
cleanup:
    return status;
}

static uint32_t square_root(uint64_t square)
{
    uint64_t root = 0;
    while (root * root < square) root++;
    return (uint32_t)root;
}

/* The position table may have been made for another image size than config.json says; any square grid will do. */
static slad_status take_position_grid(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    slad_hf_config *config = &model->config;
    const slad_safetensor *table = find(model, &file, "embeddings.position_embeddings");
    if (!table || table->rank != 3) return SLAD_OK; /* the check of all tensors reports that */
    char text[SHAPE_TEXT];
    slad_safetensors_shape_text(text, sizeof text, table->shape, table->rank);
    const uint64_t patches = table->shape[1] > 0 ? table->shape[1] - 1 : 0;
    const uint32_t grid = patches <= (uint64_t)1 << 32 ? square_root(patches) : 0;
    SLAD_FAIL_IF(patches == 0 || (uint64_t)grid * grid != patches, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s, but \"image_size\" %u and \"patch_size\" %u of config.json ask for [1, 1 + "
                 "%u * %u, %u], or another square grid",
                 slad_safetensors_path(file), table->name, text, config->image_size, config->patch_size,
                 config->position_grid, config->position_grid, config->hidden_size);
    if (grid != config->position_grid) {
        slad_log(context, SLAD_LOG_INFO,
                 "%s: \"image_size\" %u and \"patch_size\" %u mean a grid of %u x %u, but the position table is %u x "
                 "%u, which is used",
                 model->config_path, config->image_size, config->patch_size, config->position_grid,
                 config->position_grid, grid, grid);
    }
    config->position_grid = grid;
cleanup:
    return status;
}

static slad_status check_slot(slad_context *context, const slad_hf_model *model, const slad_hf_slot *slot)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    const slad_safetensor *tensor = find(model, &file, slot->name);
    const bool in_layer = strncmp(slot->name, "encoder.layer.", 14) == 0;
    SLAD_FAIL_IF(!tensor && in_layer, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is missing, but \"num_hidden_layers\" of config.json is %u%s", model->folder,
                 slot->name, model->config.layers,
                 strstr(slot->name, "bias") && strstr(slot->name, "attention.attention") ? " and \"qkv_bias\" is true"
                                                                                         : "");
    SLAD_FAIL_IF(!tensor, SLAD_ERROR_DATA, "%s: tensor \"%s\" is missing; a model of type \"dinov2\" has it",
                 model->folder, slot->name);
    char found[SHAPE_TEXT], wanted[SHAPE_TEXT];
    slad_safetensors_shape_text(found, sizeof found, tensor->shape, tensor->rank);
    slad_safetensors_shape_text(wanted, sizeof wanted, slot->shape, slot->rank);
    SLAD_FAIL_IF(!same_shape(tensor, slot->shape, slot->rank), SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s, but %s of config.json ask for %s; the two belong to different models",
                 slad_safetensors_path(file), tensor->name, found, slot->fields, wanted);
    SLAD_TRY(check_type(context, tensor, file));
cleanup:
    return status;
}

/* A layer too many is a contradiction; anything else that is not known is not used. */
static slad_status check_extra(slad_context *context, const slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    for (size_t f = 0; f < model->file_count; f++) {
        const slad_safetensors *file = model->files[f];
        for (size_t i = 0; i < slad_safetensors_count(file); i++) {
            const char *name = slad_safetensors_at(file, i)->name;
            const bool prefixed = strncmp(name, prefix, sizeof prefix - 1) == 0;
            int64_t layer = -1;
            const bool known = slad_hf_name_is_known(prefixed ? name + sizeof prefix - 1 : name, &layer);
            SLAD_FAIL_IF(known && prefixed == model->prefixed && layer >= model->config.layers, SLAD_ERROR_DATA,
                         "%s: tensor \"%s\" exists, but \"num_hidden_layers\" of config.json is %u; the two belong to "
                         "different models",
                         slad_safetensors_path(file), name, model->config.layers);
            const bool head = strcmp(name, "classifier.weight") == 0 || strcmp(name, "classifier.bias") == 0;
            if (!head && !(known && prefixed == model->prefixed))
                slad_log(context, SLAD_LOG_DEBUG, "%s: tensor \"%s\" is not used", slad_safetensors_path(file), name);
        }
    }
cleanup:
    return status;
}

static slad_status take_classifier(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL, *bias_file = NULL;
    const slad_safetensor *weight = find(model, &file, "classifier.weight");
    const slad_safetensor *bias = find(model, &bias_file, "classifier.bias");
    if (!weight && !bias) return SLAD_OK;
    SLAD_FAIL_IF(!weight || !bias, SLAD_ERROR_DATA, "%s: tensor \"classifier.%s\" is missing beside \"classifier.%s\"",
                 model->folder, weight ? "bias" : "weight", weight ? "weight" : "bias");
    char text[SHAPE_TEXT];
    slad_safetensors_shape_text(text, sizeof text, weight->shape, weight->rank);
    const uint64_t features = 2 * (uint64_t)model->config.hidden_size;
    SLAD_FAIL_IF(
        weight->rank != 2 || weight->shape[1] != features || weight->shape[0] == 0 || weight->shape[0] > CLASS_LIMIT,
        SLAD_ERROR_DATA,
        "%s: tensor \"classifier.weight\" is %s, but \"hidden_size\" %u of config.json asks for [classes, %llu]",
        slad_safetensors_path(file), text, model->config.hidden_size, (unsigned long long)features);
    SLAD_FAIL_IF(
        !same_shape(bias, weight->shape, 1), SLAD_ERROR_DATA,
        "%s: tensor \"classifier.bias\" must have one value for each of the %llu rows of \"classifier.weight\"",
        slad_safetensors_path(bias_file), (unsigned long long)weight->shape[0]);
    SLAD_TRY(check_type(context, weight, file));
    SLAD_TRY(check_type(context, bias, bias_file));
    model->config.classes = (uint32_t)weight->shape[0];
    SLAD_TRY(slad_hf_take_classes(context, model));
cleanup:
    return status;
}

static slad_status check_tensors(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    model->prefixed = !find_full(model, &file, "embeddings.cls_token") &&
                      find_full(model, &file, "dinov2.embeddings.cls_token") != NULL;
    SLAD_TRY(take_position_grid(context, model));
    const size_t count = slad_hf_slot_count(&model->config);
    for (size_t i = 0; i < count; i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, &model->config, i);
        SLAD_TRY(check_slot(context, model, &slot));
    }
    SLAD_TRY(take_classifier(context, model));
    SLAD_TRY(check_extra(context, model));
cleanup:
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

slad_status slad_hf_open(slad_context *context, slad_hf_model **out, const char *folder)
{
    slad_status status = SLAD_OK;
    slad_hf_model *model = NULL;
    *out = NULL;
    SLAD_TRY(slad_allocate(context, &model, 1, sizeof *model, "a model folder"));
    SLAD_TRY(slad_duplicate(context, &model->folder, folder));
    SLAD_TRY(slad_path_join(context, &model->config_path, folder, "config.json"));
    SLAD_FAIL_IF(slad_path_look(folder) != SLAD_PATH_DIRECTORY, SLAD_ERROR_DATA,
                 "%s: is not a folder; give the folder with config.json and %s of a model", folder, whole_name);
    SLAD_TRY(read_config(context, model));
    SLAD_TRY(slad_hf_take_config(context, model));
    SLAD_TRY(open_files(context, model));
    SLAD_TRY(check_tensors(context, model));
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
    slad_release((void *)model->files);
    slad_release((void *)model->file_names);
    slad_release((void *)model->class_names);
    slad_release(model->number_names);
    cJSON_Delete(model->index);
    cJSON_Delete(model->verbatim);
    cJSON_Delete(model->json);
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

const slad_safetensor *slad_hf_find(const slad_hf_model *model, const char *name)
{
    slad_safetensors *file = NULL;
    return find(model, &file, name);
}

slad_status slad_hf_read(slad_context *context, float *destination, const slad_hf_model *model, const char *name)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    const slad_safetensor *tensor = find(model, &file, name);
    SLAD_FAIL_IF(!tensor, SLAD_ERROR_DATA, "%s: tensor \"%s\" is missing", model->folder, name);
    SLAD_TRY(slad_safetensors_read_float(context, destination, file, tensor, 0, tensor->elements));
cleanup:
    return status;
}
