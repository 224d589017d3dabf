/* Writing a student as a folder that transformers loads as ...ForImageClassification. */
#include "base/files.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "base/number.h"
#include "io/hugging_face_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FULL_NAME_SIZE = SLAD_HF_NAME_SIZE + 32 };

/* A tensor of the file: the slot's name is the one without prefix. */
typedef struct student_tensor {
    slad_hf_slot slot;
    char full_name[FULL_NAME_SIZE];
} student_tensor;

/* Puts `item`, which may be NULL for lack of memory, in the place of a field. */
static bool set_field(cJSON *object, const char *field, cJSON *item)
{
    cJSON_DeleteItemFromObjectCaseSensitive(object, field);
    if (item && cJSON_AddItemToObject(object, field, item)) return true;
    cJSON_Delete(item);
    return false;
}

/* label2id needs every name once, and JSON needs UTF-8. */
static slad_status check_class_names(slad_context *context, const slad_hf_student *student)
{
    slad_status status = SLAD_OK;
    const char **sorted = NULL;
    SLAD_FAIL_IF(student->class_count == 0, SLAD_ERROR_INTERNAL, "a student without classes; please report it");
    SLAD_TRY(slad_allocate(context, &sorted, student->class_count, sizeof *sorted, "the names of classes"));
    for (uint32_t i = 0; i < student->class_count; i++) {
        sorted[i] = student->class_names[i];
        SLAD_FAIL_IF(!slad_text_is_utf8(sorted[i]), SLAD_ERROR_DATA,
                     "class %u: its name \"%s\" is not UTF-8, which config.json needs; rename its folder", i,
                     sorted[i]);
    }
    qsort((void *)sorted, student->class_count, sizeof *sorted, slad_text_compare);
    for (uint32_t i = 1; i < student->class_count; i++) {
        SLAD_FAIL_IF(strcmp(sorted[i - 1], sorted[i]) == 0, SLAD_ERROR_DATA, "two classes are named \"%s\"; rename one",
                     sorted[i]);
    }
cleanup:
    slad_release((void *)sorted);
    return status;
}

static bool add_labels(cJSON *json, const slad_hf_student *student)
{
    cJSON *names = cJSON_CreateObject();
    cJSON *numbers = cJSON_CreateObject();
    bool added = set_field(json, "id2label", names);
    added = set_field(json, "label2id", numbers) && added;
    for (uint32_t i = 0; added && i < student->class_count; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "%u", i);
        added = cJSON_AddStringToObject(names, number, student->class_names[i]) &&
                cJSON_AddNumberToObject(numbers, student->class_names[i], i);
    }
    return added && set_field(json, "num_labels", cJSON_CreateNumber(student->class_count));
}

/* The fields of a single file, which has no config.json. Ratios and the like are text, since readers in Python tell 1.0
 * from 1. */
static cJSON *describe(const slad_hf_config *config)
{
    const bool vit = config->type == SLAD_HF_VIT;
    char epsilon[SLAD_NUMBER_SIZE];
    cJSON *json = cJSON_CreateObject();
    slad_number_text(epsilon, 6, config->layer_norm_eps);
    bool added = json && cJSON_AddStringToObject(json, "model_type", slad_hf_type_name(config->type)) &&
                 cJSON_AddNumberToObject(json, "hidden_size", config->hidden_size) &&
                 cJSON_AddNumberToObject(json, "num_hidden_layers", config->layers) &&
                 cJSON_AddNumberToObject(json, "num_attention_heads", config->heads) &&
                 cJSON_AddNumberToObject(json, vit ? "intermediate_size" : "mlp_ratio",
                                         vit ? config->mlp_size : config->mlp_ratio) &&
                 cJSON_AddStringToObject(json, "hidden_act", "gelu") &&
                 cJSON_AddNumberToObject(json, "image_size", config->image_size) &&
                 cJSON_AddNumberToObject(json, "patch_size", config->patch_size) &&
                 cJSON_AddNumberToObject(json, "num_channels", config->channels) &&
                 cJSON_AddBoolToObject(json, "qkv_bias", config->qkv_bias) &&
                 cJSON_AddRawToObject(json, "layer_norm_eps", epsilon);
    if (added && !vit)
        added = cJSON_AddBoolToObject(json, "use_swiglu_ffn", config->gated) &&
                cJSON_AddRawToObject(json, "layerscale_value", "1.0");
    if (added && config->registers) added = cJSON_AddNumberToObject(json, "num_register_tokens", config->registers);
    if (added) return json;
    cJSON_Delete(json);
    return NULL;
}

void slad_hf_warn_of_position(slad_context *context, const slad_hf_config *config, slad_position_mode mode, size_t grid,
                              const char *place)
{
    const slad_position_mode owner = slad_hf_transformers_mode(config->type);
    const slad_position_mode used = mode == SLAD_POSITION_AUTO ? config->position_mode : mode;
    if (used == owner || grid == config->position_grid) return; /* a table of the right size is never resized */
    slad_log(context, SLAD_LOG_WARNING,
             "%s: positions are resized from %u x %u to %zu x %zu by the rule \"%s\", as config.json says for slad; "
             "transformers does not read that and has \"%s\" for this type, so that its logits differ a little; "
             "--pos-embed %s trains what transformers computes",
             place, config->position_grid, config->position_grid, grid, grid, slad_hf_mode_name(used),
             slad_hf_mode_name(owner), slad_hf_mode_name(owner));
}

/* Says how positions were resized in training where that is not what transformers does; the source's word for it, if it
 * has one, is replaced. */
static bool set_position_mode(slad_context *context, cJSON *json, const slad_hf_student *student, const char *folder)
{
    const slad_hf_config *config = &student->source->config;
    const slad_position_mode mode =
        student->position_mode == SLAD_POSITION_AUTO ? config->position_mode : student->position_mode;
    cJSON_DeleteItemFromObjectCaseSensitive(json, SLAD_HF_MODE_FIELD);
    if (mode == slad_hf_transformers_mode(config->type)) return true;
    slad_hf_warn_of_position(context, config, mode, student->grid, folder);
    return cJSON_AddStringToObject(json, SLAD_HF_MODE_FIELD, slad_hf_mode_name(mode)) != NULL;
}

/* What the student's classifier, and its tensors, make of the source's fields. */
static bool change_fields(slad_context *context, cJSON *json, const slad_hf_student *student, const char *folder)
{
    const slad_hf_config *config = &student->source->config;
    const char *const architectures[] = {slad_hf_architecture(config->type)};
    /* What describes the source's head or its files would be wrong for the student. */
    cJSON_DeleteItemFromObjectCaseSensitive(json, "problem_type");
    cJSON_DeleteItemFromObjectCaseSensitive(json, "auto_map");
    cJSON_DeleteItemFromObjectCaseSensitive(json, "dtype");
    if (!set_field(json, "architectures", cJSON_CreateStringArray(architectures, 1)) || !add_labels(json, student) ||
        !set_field(json, "torch_dtype", cJSON_CreateString("float32")) ||
        !set_position_mode(context, json, student, folder))
        return false;
    /* transformers gives the position table the size that this field says. */
    return config->position_grid == config->image_size / config->patch_size ||
           set_field(json, "image_size", cJSON_CreateNumber((double)config->position_grid * config->patch_size));
}

static slad_status write_config(slad_context *context, const char *folder, const slad_hf_student *student)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    const slad_hf_model *source = student->source;
    cJSON *json = source->verbatim ? cJSON_Duplicate(source->verbatim, true) : describe(&source->config);
    SLAD_FAIL_IF(!json || !change_fields(context, json, student, folder), SLAD_ERROR_OUT_OF_MEMORY,
                 "%s: no host memory for config.json", folder);
    SLAD_TRY(slad_path_join(context, &path, folder, "config.json"));
    SLAD_TRY(slad_json_write(context, path, json));
cleanup:
    slad_release(path);
    cJSON_Delete(json);
    return status;
}

static void set_tensor(student_tensor *tensor, const char *name, size_t rank, uint64_t rows, uint64_t columns)
{
    tensor->slot = (slad_hf_slot){.rank = rank, .shape = {rows, columns}, .elements = rows * columns};
    (void)snprintf(tensor->slot.name, sizeof tensor->slot.name, "%s", name);
}

/* All tensors of the student's file. The caller releases *out. */
static slad_status list_tensors(slad_context *context, student_tensor **out, size_t *count,
                                const slad_hf_student *student)
{
    slad_status status = SLAD_OK;
    const slad_hf_config *config = &student->source->config;
    const size_t slots = slad_hf_slot_count(config);
    SLAD_TRY(slad_allocate(context, out, slots + 3, sizeof **out, "the tensors of a student"));
    student_tensor *tensors = *out;
    for (size_t i = 0; i < slots; i++) slad_hf_slot_at(&tensors[i].slot, config, i);
    size_t used = slots;
    if (config->use_mask_token) set_tensor(&tensors[used++], "embeddings.mask_token", 2, 1, config->hidden_size);
    for (size_t i = 0; i < used; i++)
        (void)snprintf(tensors[i].full_name, sizeof tensors[i].full_name, "%s.%s", slad_hf_type_name(config->type),
                       tensors[i].slot.name);
    for (size_t i = 0; i < 2; i++) {
        static const char *const names[] = {"classifier.weight", "classifier.bias"};
        student_tensor *tensor = &tensors[used++];
        set_tensor(tensor, names[i], 2 - i, student->class_count, i == 0 ? slad_hf_classifier_features(config) : 1);
        (void)snprintf(tensor->full_name, sizeof tensor->full_name, "%s", names[i]);
    }
    *count = used;
cleanup:
    return status;
}

static slad_status fill(slad_context *context, float *values, const slad_hf_student *student, const slad_hf_slot *slot)
{
    if (strcmp(slot->name, "embeddings.mask_token") != 0)
        return student->fill(context, values, slot->name, slot->elements, student->user);
    return slad_hf_read_mask(context, values, student->source);
}

static slad_status write_tensors(slad_context *context, const char *folder, const slad_hf_student *student)
{
    slad_status status = SLAD_OK;
    student_tensor *tensors = NULL;
    slad_safetensors_entry *entries = NULL;
    slad_safetensors_writer *writer = NULL;
    float *values = NULL;
    char *path = NULL;
    size_t count = 0;
    uint64_t largest = 0;
    SLAD_TRY(list_tensors(context, &tensors, &count, student));
    SLAD_TRY(slad_allocate(context, &entries, count, sizeof *entries, "the tensors of a student"));
    for (size_t i = 0; i < count; i++) {
        entries[i] = (slad_safetensors_entry){.name = tensors[i].full_name,
                                              .type = SLAD_SAFETENSORS_F32,
                                              .rank = tensors[i].slot.rank,
                                              .shape = tensors[i].slot.shape};
        if (tensors[i].slot.elements > largest) largest = tensors[i].slot.elements;
    }
    SLAD_TRY(slad_allocate(context, &values, (size_t)largest, sizeof *values, "the largest tensor of a student"));
    SLAD_TRY(slad_path_join(context, &path, folder, "model.safetensors"));
    SLAD_TRY(slad_safetensors_writer_begin(context, &writer, path, entries, count, NULL, 0));
    for (size_t i = 0; i < count; i++) {
        const size_t entry = slad_safetensors_writer_order(writer, i);
        SLAD_TRY(fill(context, values, student, &tensors[entry].slot));
        SLAD_TRY(slad_safetensors_writer_append(writer, entry, values, tensors[entry].slot.elements));
    }
    slad_safetensors_writer *finishing = writer;
    writer = NULL;
    SLAD_TRY(slad_safetensors_writer_finish(finishing));
cleanup:
    slad_safetensors_writer_abandon(writer);
    slad_release(path);
    slad_release(values);
    slad_release(entries);
    slad_release(tensors);
    return status;
}

slad_status slad_hf_write_student(slad_context *context, const char *folder, const slad_hf_student *student)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(check_class_names(context, student));
    SLAD_TRY(slad_directory_create(context, folder));
    SLAD_TRY(write_tensors(context, folder, student));
    SLAD_TRY(write_config(context, folder, student));
cleanup:
    return status;
}
