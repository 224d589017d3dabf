/* Model folders of a DINOv2 of two layers, small enough to be made by every test, right or wrong in many ways. */
#ifndef SLAD_TESTS_TINY_MODEL_H
#define SLAD_TESTS_TINY_MODEL_H

#include "scratch.h"

#include "base/json.h"
#include "io/hugging_face.h"

typedef struct tiny {
    slad_hf_config config;
    const char *prefix;
    const char *without;  /* leave out this tensor */
    const char *mistyped; /* make this tensor I64 */
    const char *resized;  /* make this tensor longer by one along resized_axis */
    size_t resized_axis;
    bool classifier, extra_layer, mask, sharded;
    const char *fields; /* put behind the usual ones in config.json */
    const char *replaced_field, *replacement;
} tiny;

static inline tiny tiny_default(void)
{
    return (tiny){.config = {.hidden_size = 8,
                             .layers = 2,
                             .heads = 2,
                             .mlp_size = 32,
                             .image_size = 28,
                             .patch_size = 14,
                             .channels = 3,
                             .position_grid = 2,
                             .layer_norm_eps = 1e-6,
                             .qkv_bias = true,
                             .use_mask_token = true},
                  .prefix = "",
                  .mask = true,
                  .fields = ""};
}

typedef struct tensor_list {
    slad_safetensors_entry entries[64];
    char names[64][SLAD_HF_NAME_SIZE + 16];
    uint64_t shapes[64][SLAD_HF_MAX_RANK];
    float *data[64];
    size_t count;
} tensor_list;

/* The value that a tensor's element has in these models: any function of name and index will do. */
static inline float value_of(const char *name, uint64_t index)
{
    uint32_t hash = 0;
    for (; *name; name++) hash = hash * 31 + (unsigned char)*name;
    return (float)((hash + index * 2654435761u) % 1000) / 1000.0f - 0.5f;
}

static inline void add(tensor_list *list, const tiny *model, const char *name, size_t rank, const uint64_t *shape)
{
    if (model->without && strcmp(name, model->without) == 0) return;
    const size_t slot = list->count++;
    assert_true(slot < 64);
    const char *prefix = strncmp(name, "classifier.", 11) == 0 ? "" : model->prefix;
    (void)snprintf(list->names[slot], sizeof list->names[slot], "%s%s", prefix, name);
    uint64_t elements = 1;
    for (size_t i = 0; i < rank; i++) {
        list->shapes[slot][i] = shape[i];
        if (model->resized && strcmp(name, model->resized) == 0 && i == model->resized_axis) list->shapes[slot][i]++;
        elements *= list->shapes[slot][i];
    }
    const bool whole = model->mistyped && strcmp(name, model->mistyped) == 0;
    list->data[slot] = calloc(elements, sizeof(int64_t));
    assert_non_null(list->data[slot]);
    for (uint64_t i = 0; i < elements && !whole; i++) list->data[slot][i] = value_of(name, i);
    list->entries[slot] = (slad_safetensors_entry){.name = list->names[slot],
                                                   .type = whole ? SLAD_SAFETENSORS_I64 : SLAD_SAFETENSORS_F32,
                                                   .rank = rank,
                                                   .shape = list->shapes[slot],
                                                   .data = list->data[slot]};
}

static inline void list_tensors(tensor_list *list, const tiny *model)
{
    for (size_t i = 0; i < slad_hf_slot_count(&model->config); i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, &model->config, i);
        add(list, model, slot.name, slot.rank, slot.shape);
    }
    const uint64_t d = model->config.hidden_size;
    if (model->mask) add(list, model, "embeddings.mask_token", 2, (uint64_t[]){1, d});
    if (model->extra_layer) add(list, model, "encoder.layer.2.norm1.weight", 1, (uint64_t[]){d});
    if (model->classifier) {
        add(list, model, "classifier.weight", 2, (uint64_t[]){3, 2 * d});
        add(list, model, "classifier.bias", 1, (uint64_t[]){3});
    }
    add(list, model, "something.else", 1, (uint64_t[]){5});
}

static inline void write_config(scratch *own, const tiny *model)
{
    const slad_hf_config *config = &model->config;
    char text[2048];
    (void)snprintf(text, sizeof text,
                   "{\"model_type\":\"dinov2\",\"hidden_size\":%u,\"num_hidden_layers\":%u,\"num_attention_heads\":%u,"
                   "\"mlp_ratio\":%u,\"image_size\":%u,\"patch_size\":%u,\"qkv_bias\":%s,\"torch_dtype\":\"bfloat16\","
                   "\"architectures\":[\"Dinov2Model\"],\"initializer_range\":0.02,\"layerscale_value\":1.0%s}",
                   config->hidden_size, config->layers, config->heads, config->mlp_size / config->hidden_size,
                   config->image_size, config->patch_size, config->qkv_bias ? "true" : "false", model->fields);
    cJSON *json = NULL;
    assert_int_equal(slad_json_parse_verbatim(own->context, &json, text, strlen(text), "tiny"), SLAD_OK);
    if (model->replaced_field) {
        cJSON_DeleteItemFromObjectCaseSensitive(json, model->replaced_field);
        if (model->replacement) cJSON_AddRawToObject(json, model->replaced_field, model->replacement);
    }
    assert_int_equal(slad_json_write(own->context, scratch_path(own, "config.json"), json), SLAD_OK);
    cJSON_Delete(json);
}

static inline void write_tensors(scratch *own, const tiny *model)
{
    tensor_list *list = calloc(1, sizeof *list);
    assert_non_null(list);
    list_tensors(list, model);
    if (!model->sharded) {
        const char *path = scratch_path(own, "model.safetensors");
        assert_int_equal(slad_safetensors_write(own->context, path, list->entries, list->count, NULL, 0), SLAD_OK);
    } else {
        cJSON *index = cJSON_CreateObject();
        cJSON *map = cJSON_AddObjectToObject(index, "weight_map");
        const size_t half = list->count / 2;
        for (size_t i = 0; i < list->count; i++)
            cJSON_AddStringToObject(map, list->names[i], i < half ? "one.safetensors" : "two.safetensors");
        assert_int_equal(
            slad_safetensors_write(own->context, scratch_path(own, "one.safetensors"), list->entries, half, NULL, 0),
            SLAD_OK);
        assert_int_equal(slad_safetensors_write(own->context, scratch_path(own, "two.safetensors"),
                                                list->entries + half, list->count - half, NULL, 0),
                         SLAD_OK);
        assert_int_equal(slad_json_write(own->context, scratch_path(own, "model.safetensors.index.json"), index),
                         SLAD_OK);
        cJSON_Delete(index);
    }
    for (size_t i = 0; i < list->count; i++) free(list->data[i]);
    free(list);
}

static inline slad_status open_tiny(scratch *own, slad_hf_model **model, const tiny *description)
{
    write_config(own, description);
    write_tensors(own, description);
    return slad_hf_open(own->context, model, own->folder);
}

/* Opens the model and reads every tensor back. */
static inline slad_hf_model *assert_read(scratch *own, const tiny *description)
{
    slad_hf_model *model = NULL;
    if (open_tiny(own, &model, description) != SLAD_OK) fail_msg("refused: %s", slad_context_message(own->context));
    float values[8 * 3 * 14 * 14 + 1];
    for (size_t i = 0; i < slad_hf_slot_count(slad_hf_config_of(model)); i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, slad_hf_config_of(model), i);
        assert_true(slot.elements < sizeof values / sizeof values[0]);
        values[slot.elements] = 77.0f;
        assert_int_equal(slad_hf_read(own->context, values, model, slot.name), SLAD_OK);
        for (uint64_t k = 0; k < slot.elements; k++) assert_true(values[k] == value_of(slot.name, k));
        assert_true(values[slot.elements] == 77.0f);
    }
    return model;
}

#endif
