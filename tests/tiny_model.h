/* Models of two layers in every form that is read, small enough to be made by every test, right or wrong in many ways.
 */
#ifndef SLAD_TESTS_TINY_MODEL_H
#define SLAD_TESTS_TINY_MODEL_H

#include "own_names.h"
#include "scratch.h"

#include "base/json.h"
#include "io/hugging_face.h"

typedef struct tiny {
    slad_hf_config config;
    const char *prefix;
    const char *file;     /* of a whole model; NULL: model.safetensors */
    const char *without;  /* leave out this tensor, by the name it has in the file */
    const char *mistyped; /* make this tensor I64 */
    const char *resized;  /* make this tensor longer by one along resized_axis */
    size_t resized_axis;
    bool classifier, extra_layer, mask, sharded;
    const char *extra;  /* one more tensor */
    const char *fields; /* put behind the usual ones in config.json */
    const char *replaced_field, *replacement;
} tiny;

static inline tiny tiny_default(void)
{
    return (tiny){.config = {.type = SLAD_HF_DINOV2,
                             .naming = SLAD_HF_TRANSFORMERS,
                             .hidden_size = 8,
                             .layers = 2,
                             .heads = 2,
                             .mlp_size = 32,
                             .mlp_ratio = 4,
                             .image_size = 28,
                             .patch_size = 14,
                             .channels = 3,
                             .position_grid = 2,
                             .layer_norm_eps = 1e-6,
                             .qkv_bias = true,
                             .use_mask_token = true,
                             .position_mode = SLAD_POSITION_TRANSFORMERS},
                  .prefix = "",
                  .mask = true,
                  .fields = ""};
}

/* One of another form, of width 64 (as single files need it). */
static inline tiny tiny_of(slad_hf_naming naming, slad_hf_type type, bool gated)
{
    tiny made = tiny_default();
    slad_hf_config *config = &made.config;
    config->naming = naming;
    config->type = type;
    config->hidden_size = 64;
    config->heads = 1;
    config->patch_size = 2;
    config->image_size = 6;
    config->position_grid = 3;
    config->registers = type == SLAD_HF_DINOV2_WITH_REGISTERS ? 4 : 0;
    config->gated = gated;
    config->mlp_size = type == SLAD_HF_VIT ? 96 : gated ? 176 : 256; /* 176: two thirds of 256, in steps of 8 */
    config->mlp_ratio = type == SLAD_HF_VIT ? 0 : 4;
    config->layer_norm_eps = type == SLAD_HF_VIT && naming == SLAD_HF_TRANSFORMERS ? 1e-12 : 1e-6;
    made.mask = naming != SLAD_HF_TIMM && type != SLAD_HF_VIT;
    config->use_mask_token = type != SLAD_HF_VIT;
    config->position_mode = type == SLAD_HF_DINOV2_WITH_REGISTERS || naming == SLAD_HF_TIMM ? SLAD_POSITION_ANTIALIAS
                            : naming == SLAD_HF_HUB                                         ? SLAD_POSITION_HUB
                                                    : SLAD_POSITION_TRANSFORMERS;
    return made;
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

static inline bool part_of(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

/* timm's files of models with registers have the class token's position in the token itself. */
static inline bool position_is_added(const tiny *model)
{
    return model->config.naming == SLAD_HF_TIMM && model->config.registers > 0;
}

/* The value that a tensor of a model must have, by the name that transformers gives it. */
static inline float expected_value(const tiny *model, const char *name, uint64_t index)
{
    static const char positions[] = "embeddings.position_embeddings";
    if (position_is_added(model) && strcmp(name, "embeddings.cls_token") == 0)
        return value_of(name, index) + value_of(positions, index);
    if (position_is_added(model) && strcmp(name, positions) == 0 && index < model->config.hidden_size) return 0.0f;
    return value_of(name, index);
}

/* The same for the file's tensor, which for hub and timm holds query, key and value, each of a third of its elements,
 * or positions from the second row on. */
static inline float stored_value(const tiny *model, const char *name, uint64_t index, uint64_t elements)
{
    static const char *const parts[3] = {"query", "key", "value"};
    const char *part = strstr(name, "query");
    char other[SLAD_HF_NAME_SIZE];
    if (model->config.naming == SLAD_HF_TRANSFORMERS) return expected_value(model, name, index);
    if (part_of(name, "position_embeddings") && position_is_added(model)) index += model->config.hidden_size;
    if (!part) return expected_value(model, name, index);
    (void)snprintf(other, sizeof other, "%.*s%s%s", (int)(part - name), name, parts[index / (elements / 3) % 3],
                   part + strlen("query"));
    return value_of(other, index % (elements / 3));
}

static inline void add(tensor_list *list, const tiny *model, const char *name, size_t rank, const uint64_t *shape)
{
    const bool own = model->config.naming != SLAD_HF_TRANSFORMERS;
    char called[SLAD_HF_NAME_SIZE];
    if (own && (part_of(name, "attention.key") || part_of(name, "attention.value"))) return;
    own_name(called, model->config.naming, name);
    if (model->without && strcmp(called, model->without) == 0) return;
    const size_t slot = list->count++;
    assert_true(slot < 64);
    const char *prefix = strncmp(name, "classifier.", 11) == 0 ? "" : model->prefix;
    (void)snprintf(list->names[slot], sizeof list->names[slot], "%s%s", prefix, called);
    uint64_t elements = 1;
    for (size_t i = 0; i < rank; i++) {
        list->shapes[slot][i] = shape[i];
        if (own && i == 0 && part_of(name, "attention.query")) list->shapes[slot][i] *= 3;
        if (i == 1 && part_of(name, "position_embeddings") && position_is_added(model)) list->shapes[slot][i]--;
        if (model->resized && strcmp(called, model->resized) == 0 && i == model->resized_axis) list->shapes[slot][i]++;
        elements *= list->shapes[slot][i];
    }
    const bool whole = model->mistyped && strcmp(called, model->mistyped) == 0;
    list->data[slot] = calloc(elements, sizeof(int64_t));
    assert_non_null(list->data[slot]);
    for (uint64_t i = 0; i < elements && !whole; i++) list->data[slot][i] = stored_value(model, name, i, elements);
    list->entries[slot] = (slad_safetensors_entry){.name = list->names[slot],
                                                   .type = whole ? SLAD_SAFETENSORS_I64 : SLAD_SAFETENSORS_F32,
                                                   .rank = rank,
                                                   .shape = list->shapes[slot],
                                                   .data = list->data[slot]};
}

static inline void list_tensors(tensor_list *list, const tiny *model)
{
    const uint64_t d = model->config.hidden_size;
    const bool own = model->config.naming != SLAD_HF_TRANSFORMERS;
    for (size_t i = 0; i < slad_hf_slot_count(&model->config); i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, &model->config, i);
        add(list, model, slot.name, slot.rank, slot.shape);
    }
    if (model->mask) add(list, model, "embeddings.mask_token", 2, (uint64_t[]){1, d});
    if (model->extra_layer)
        add(list, model, own ? "blocks.2.norm1.bias" : "encoder.layer.2.norm1.weight", 1, (uint64_t[]){d});
    if (model->classifier) {
        add(list, model, "classifier.weight", 2, (uint64_t[]){3, slad_hf_classifier_features(&model->config)});
        add(list, model, "classifier.bias", 1, (uint64_t[]){3});
    }
    if (model->extra) add(list, model, model->extra, 1, (uint64_t[]){5});
    add(list, model, "something.else", 1, (uint64_t[]){5});
}

static inline void write_config(scratch *own, const tiny *model)
{
    const slad_hf_config *config = &model->config;
    char text[2048];
    const bool vit = config->type == SLAD_HF_VIT;
    char registers[48];
    (void)snprintf(registers, sizeof registers, "\"num_register_tokens\":%u,", config->registers);
    (void)snprintf(text, sizeof text,
                   "{\"model_type\":\"%s\",\"hidden_size\":%u,\"num_hidden_layers\":%u,\"num_attention_heads\":%u,"
                   "\"%s\":%u,\"image_size\":%u,\"patch_size\":%u,\"qkv_bias\":%s,\"torch_dtype\":\"bfloat16\",%s%s"
                   "\"architectures\":[\"Dinov2Model\"],\"initializer_range\":0.02,\"layerscale_value\":1.0%s}",
                   slad_hf_type_name(config->type), config->hidden_size, config->layers, config->heads,
                   vit ? "intermediate_size" : "mlp_ratio", vit ? config->mlp_size : config->mlp_ratio,
                   config->image_size, config->patch_size, config->qkv_bias ? "true" : "false",
                   config->gated ? "\"use_swiglu_ffn\":true," : "", config->registers ? registers : "", model->fields);
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
        const char *path = scratch_path(own, model->file ? model->file : "model.safetensors");
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

/* A folder, or for hub and timm a single file. */
static inline slad_status open_tiny(scratch *own, slad_hf_model **model, const tiny *description)
{
    const bool single = description->config.naming != SLAD_HF_TRANSFORMERS;
    write_tensors(own, description);
    if (single)
        return slad_hf_open(own->context, model,
                            scratch_path(own, description->file ? description->file : "model.safetensors"));
    write_config(own, description);
    return slad_hf_open(own->context, model, own->folder);
}

/* Every tensor is read and is what it should be. */
static inline void assert_values(scratch *own, const slad_hf_model *model, const tiny *description)
{
    for (size_t i = 0; i < slad_hf_slot_count(slad_hf_config_of(model)); i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, slad_hf_config_of(model), i);
        float *values = malloc((size_t)(slot.elements + 1) * sizeof *values);
        assert_non_null(values);
        values[slot.elements] = 77.0f;
        assert_int_equal(slad_hf_read(own->context, values, model, slot.name), SLAD_OK);
        for (uint64_t k = 0; k < slot.elements; k++)
            if (!(values[k] == expected_value(description, slot.name, k)))
                fail_msg("element %llu of %s is %g", (unsigned long long)k, slot.name, (double)values[k]);
        assert_true(values[slot.elements] == 77.0f);
        free(values);
    }
}

/* Opens the model and reads every tensor back. */
static inline slad_hf_model *assert_read(scratch *own, const tiny *description)
{
    slad_hf_model *model = NULL;
    if (open_tiny(own, &model, description) != SLAD_OK) fail_msg("refused: %s", slad_context_message(own->context));
    assert_values(own, model, description);
    return model;
}

static inline void assert_model_refused(scratch *own, const tiny *description, const char *first, const char *second)
{
    slad_hf_model *model = NULL;
    assert_int_equal(open_tiny(own, &model, description), SLAD_ERROR_DATA);
    assert_null(model);
    assert_message(own, first);
    assert_message(own, second);
}

#endif
