/* Model folders of Hugging Face: what is read, what is refused, and what is written for a student. */
#include "scratch.h"

#include "base/json.h"
#include "base/random.h"
#include "io/hugging_face.h"

/* A DINOv2 of two layers that is small enough to be made by every test. */
typedef struct tiny {
    slad_hf_config config;
    const char *prefix;
    const char *without; /* leave out this tensor (full name) */
    const char *resized; /* give this tensor one row too many */
    bool classifier, extra_layer, mask, sharded;
    const char *fields; /* put behind the usual ones in config.json */
    const char *replaced_field, *replacement;
} tiny;

static tiny tiny_default(void)
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
static float value_of(const char *name, uint64_t index)
{
    uint32_t hash = 0;
    for (; *name; name++) hash = hash * 31 + (unsigned char)*name;
    return (float)((hash + index * 2654435761u) % 1000) / 1000.0f - 0.5f;
}

static void add(tensor_list *list, const char *prefix, const char *name, size_t rank, const uint64_t *shape)
{
    const size_t slot = list->count++;
    assert_true(slot < 64);
    (void)snprintf(list->names[slot], sizeof list->names[slot], "%s%s", prefix, name);
    uint64_t elements = 1;
    for (size_t i = 0; i < rank; i++) {
        list->shapes[slot][i] = shape[i];
        elements *= shape[i];
    }
    list->data[slot] = malloc(sizeof(float) * elements);
    assert_non_null(list->data[slot]);
    for (uint64_t i = 0; i < elements; i++) list->data[slot][i] = value_of(name, i);
    list->entries[slot] =
        (slad_safetensors_entry){list->names[slot], SLAD_SAFETENSORS_F32, rank, list->shapes[slot], list->data[slot]};
}

static void list_tensors(tensor_list *list, const tiny *model)
{
    for (size_t i = 0; i < slad_hf_slot_count(&model->config); i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, &model->config, i);
        if (model->without && strcmp(slot.name, model->without) == 0) continue;
        if (model->resized && strcmp(slot.name, model->resized) == 0) slot.shape[0]++;
        add(list, model->prefix, slot.name, slot.rank, slot.shape);
    }
    const uint64_t d = model->config.hidden_size;
    if (model->mask) add(list, model->prefix, "embeddings.mask_token", 2, (uint64_t[]){1, d});
    if (model->extra_layer) add(list, model->prefix, "encoder.layer.2.norm1.weight", 1, (uint64_t[]){d});
    if (model->classifier) {
        add(list, "", "classifier.weight", 2, (uint64_t[]){3, 2 * d});
        add(list, "", "classifier.bias", 1, (uint64_t[]){3});
    }
    add(list, "", "something.else", 1, (uint64_t[]){5});
}

static void write_config(scratch *own, const tiny *model)
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

static void write_tensors(scratch *own, const tiny *model)
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

static slad_status open_tiny(scratch *own, slad_hf_model **model, const tiny *description)
{
    write_config(own, description);
    write_tensors(own, description);
    return slad_hf_open(own->context, model, own->folder);
}

static void assert_refused(scratch *own, const tiny *description, const char *first, const char *second)
{
    slad_hf_model *model = NULL;
    assert_int_equal(open_tiny(own, &model, description), SLAD_ERROR_DATA);
    assert_null(model);
    assert_message(own, first);
    assert_message(own, second);
}

/* Opens the model and reads every tensor back. */
static slad_hf_model *assert_read(scratch *own, const tiny *description)
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

static void folders_are_read_in_every_form(void **state)
{
    scratch *own = *state;
    for (int form = 0; form < 4; form++) {
        tiny description = tiny_default();
        description.prefix = form & 1 ? "dinov2." : "";
        description.sharded = form & 2;
        description.classifier = form & 1;
        description.fields = form == 1 ? ",\"id2label\":{\"2\":\"c\",\"0\":\"a\",\"1\":\"b\"}" : "";
        slad_hf_model *model = assert_read(own, &description);
        const slad_hf_config *config = slad_hf_config_of(model);
        assert_int_equal(config->hidden_size, 8);
        assert_int_equal(config->layers, 2);
        assert_int_equal(config->heads, 2);
        assert_int_equal(config->mlp_size, 32);
        assert_int_equal(config->image_size, 28);
        assert_int_equal(config->position_grid, 2);
        assert_true(config->layer_norm_eps == 1e-6);
        assert_int_equal(config->classes, form & 1 ? 3 : 0);
        if (form == 1) assert_string_equal(slad_hf_class_name(model, 2), "c");
        if (form == 3) assert_string_equal(slad_hf_class_name(model, 2), "2");
        assert_non_null(slad_hf_find(model, "embeddings.mask_token"));
        assert_null(slad_hf_find(model, "nothing"));
        float value = 0;
        assert_int_equal(slad_hf_read(own->context, &value, model, "nothing"), SLAD_ERROR_DATA);
        assert_message(own, "nothing");
        assert_string_equal(slad_hf_folder(model), own->folder);
        slad_hf_close(model);
        assert_int_equal(slad_path_remove(own->context, scratch_path(own, "model.safetensors")), SLAD_OK);
    }
    slad_hf_close(NULL);
}

static void missing_fields_have_the_defaults_of_transformers(void **state)
{
    scratch *own = *state;
    tiny description = tiny_default();
    description.config.position_grid = 16; /* 224 / 14 */
    description.replaced_field = "image_size";
    slad_hf_model *model = assert_read(own, &description);
    assert_int_equal(slad_hf_config_of(model)->image_size, 224);
    slad_hf_close(model);
    static const char *const fields[] = {"patch_size", "mlp_ratio", "qkv_bias"};
    for (size_t i = 0; i < 3; i++) {
        description = tiny_default();
        description.replaced_field = fields[i];
        slad_hf_close(assert_read(own, &description));
    }
    description = tiny_default();
    description.config.qkv_bias = false;
    description.mask = false;
    slad_hf_close(assert_read(own, &description));
}

static void other_position_grids_are_used(void **state)
{
    scratch *own = *state;
    tiny description = tiny_default();
    description.config.position_grid = 3;
    slad_hf_model *model = assert_read(own, &description);
    assert_int_equal(slad_hf_config_of(model)->position_grid, 3);
    assert_int_equal(slad_hf_config_of(model)->image_size, 28);
    slad_hf_close(model);
}

static void contradictions_name_field_and_tensor(void **state)
{
    static const struct {
        const char *field, *value, *first, *second;
    } cases[] = {
        {"hidden_size", "10", "\"hidden_size\"", "cls_token"},
        {"num_hidden_layers", "3", "\"num_hidden_layers\" of config.json is 3", "\"encoder.layer.2.norm1.weight\""},
        {"num_hidden_layers", "1", "\"num_hidden_layers\" of config.json is 1", "encoder.layer.1."},
        {"mlp_ratio", "2", "\"mlp_ratio\"", "encoder.layer.0.mlp.fc1.weight\" is [32, 8]"},
        {"patch_size", "7", "\"patch_size\"", "patch_embeddings.projection.weight"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny description = tiny_default();
        description.replaced_field = cases[i].field;
        description.replacement = cases[i].value;
        assert_refused(*state, &description, cases[i].first, cases[i].second);
    }
    tiny description = tiny_default();
    description.resized = "embeddings.position_embeddings";
    assert_refused(*state, &description, "\"hidden_size\"", "embeddings.position_embeddings\" is [2, 5, 8]");
    description = tiny_default();
    description.extra_layer = true;
    assert_refused(*state, &description, "\"num_hidden_layers\"", "encoder.layer.2.norm1.weight");
    description.prefix = "dinov2.";
    assert_refused(*state, &description, "\"num_hidden_layers\"", "dinov2.encoder.layer.2.norm1.weight");
}

static void every_tensor_is_asked_for(void **state)
{
    const tiny whole = tiny_default();
    for (size_t i = 0; i < slad_hf_slot_count(&whole.config); i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, &whole.config, i);
        tiny description = whole;
        description.without = slot.name;
        assert_refused(*state, &description, slot.name, "missing");
        description.without = NULL;
        description.resized = slot.name;
        assert_refused(*state, &description, slot.name, "ask for");
    }
}

static void unsupported_configurations_are_refused(void **state)
{
    static const struct {
        const char *field, *value, *message;
    } cases[] = {
        {"model_type", "\"vit\"", "\"dinov2\""},
        {"model_type", "\"dinov2_with_registers\"", "not supported"},
        {"model_type", NULL, "\"model_type\" is missing"},
        {"model_type", "7", "must be a string"},
        {"hidden_act", "\"relu\"", "\"gelu\""},
        {"use_swiglu_ffn", "true", "use_swiglu_ffn"},
        {"quantization_config", "{}", "quantization_config"},
        {"num_channels", "1", "num_channels"},
        {"hidden_size", "9", "multiple of \"num_attention_heads\""},
        {"hidden_size", "0", "hidden_size"},
        {"hidden_size", "1e9", "hidden_size"},
        {"hidden_size", "\"8\"", "whole number"},
        {"num_attention_heads", "3", "num_attention_heads"},
        {"num_hidden_layers", "2.5", "num_hidden_layers"},
        {"mlp_ratio", "-1", "mlp_ratio"},
        {"mlp_ratio", "0", "mlp_ratio"},
        {"patch_size", "29", "image_size"},
        {"image_size", "[28, 28]", "image_size"},
        {"layer_norm_eps", "-1", "layer_norm_eps"},
        {"qkv_bias", "1", "true or false"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny description = tiny_default();
        description.replaced_field = cases[i].field;
        description.replacement = cases[i].value;
        assert_refused(*state, &description, cases[i].message, "config.json");
    }
}

static void labels_must_fit_the_classifier(void **state)
{
    static const char *const fields[] = {
        ",\"id2label\":{\"0\":\"a\",\"1\":\"b\"}",
        ",\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"3\":\"c\"}",
        ",\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"02\":\"c\"}",
        ",\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"-1\":\"c\"}",
        ",\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"2\":\"c\",\"3\":\"d\"}",
        ",\"num_labels\":4",
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        tiny description = tiny_default();
        description.classifier = true;
        description.fields = fields[i];
        assert_refused(*state, &description, "classifier.weight", i == 5 ? "num_labels" : "id2label");
    }
    tiny description = tiny_default();
    description.classifier = true;
    description.fields = ",\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"2\":3}";
    assert_refused(*state, &description, "id2label", "must be a string");
}

static void broken_folders_are_refused(void **state)
{
    scratch *own = *state;
    slad_hf_model *model = NULL;
    assert_int_equal(slad_hf_open(own->context, &model, scratch_path(own, "none")), SLAD_ERROR_DATA);
    assert_message(own, "none: is not a folder");
    assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_ERROR_DATA);
    assert_message(own, "config.json");
    const tiny description = tiny_default();
    write_config(own, &description);
    assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_ERROR_DATA);
    assert_message(own, "model.safetensors.index.json");

    static const char *const indices[] = {
        "{\"weight_map\":{\"x\":\"../one.safetensors\"}}",
        "{\"weight_map\":{\"x\":\"/one.safetensors\"}}",
        "{\"weight_map\":{\"x\":\"..\"}}",
        "{\"weight_map\":{\"x\":\"\"}}",
        "{\"weight_map\":{\"x\":1}}",
        "{\"weight_map\":[]}",
        "{}",
        "{\"weight_map\":{}}",
        "{\"weight_map\":{\"x\":\"none.safetensors\"}}",
    };
    for (size_t i = 0; i < sizeof indices / sizeof indices[0]; i++) {
        const char *path = scratch_path(own, "model.safetensors.index.json");
        assert_int_equal(slad_file_write_all(own->context, path, indices[i], strlen(indices[i])), SLAD_OK);
        assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_ERROR_DATA);
        assert_null(model);
    }
}

static void lost_shards_are_noticed(void **state)
{
    scratch *own = *state;
    tiny description = tiny_default();
    description.sharded = true;
    slad_hf_close(assert_read(own, &description));
    slad_hf_model *model = NULL;
    char one[1024];
    (void)snprintf(one, sizeof one, "%s", scratch_path(own, "one.safetensors"));
    assert_int_equal(rename(one, scratch_path(own, "two.safetensors")), 0);
    assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_ERROR_DATA);
    assert_message(own, "one.safetensors");
}

static void wrong_types_are_refused(void **state)
{
    scratch *own = *state;
    tiny description = tiny_default();
    description.without = "layernorm.bias";
    write_config(own, &description);
    tensor_list *list = calloc(1, sizeof *list);
    assert_non_null(list);
    list_tensors(list, &description);
    static const int64_t whole[8] = {0};
    static const uint64_t shape[1] = {8};
    list->entries[list->count] = (slad_safetensors_entry){"layernorm.bias", SLAD_SAFETENSORS_I64, 1, shape, whole};
    assert_int_equal(slad_safetensors_write(own->context, scratch_path(own, "model.safetensors"), list->entries,
                                            list->count + 1, NULL, 0),
                     SLAD_OK);
    for (size_t i = 0; i < list->count; i++) free(list->data[i]);
    free(list);
    slad_hf_model *model = NULL;
    assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_ERROR_DATA);
    assert_message(own, "layernorm.bias\" is I64");
}

/* What a test's student is filled with: twice the source's value. */
static slad_status fill_double(slad_context *context, float *destination, const char *name, uint64_t elements,
                               void *user)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(user && strcmp(name, user) == 0, SLAD_ERROR_DATA, "tensor \"%s\" cannot be given", name);
    for (uint64_t i = 0; i < elements; i++) destination[i] = 2.0f * value_of(name, i);
cleanup:
    return status;
}

static const char *const class_names[] = {"caf\xc3\xa9", "dog \"x\""};

static void check_student_config(scratch *own)
{
    cJSON *json = NULL;
    assert_int_equal(slad_json_read(own->context, &json, scratch_path(own, "student/config.json")), SLAD_OK);
    const cJSON *names = cJSON_GetObjectItemCaseSensitive(json, "id2label");
    assert_int_equal(cJSON_GetArraySize(names), 2);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(names, "1")), class_names[1]);
    const cJSON *numbers = cJSON_GetObjectItemCaseSensitive(json, "label2id");
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(numbers, class_names[1])) == 1);
    const cJSON *architectures = cJSON_GetObjectItemCaseSensitive(json, "architectures");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(architectures, 0)), "Dinov2ForImageClassification");
    assert_int_equal(cJSON_GetArraySize(architectures), 1);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "torch_dtype")), "float32");
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(json, "initializer_range")) == 0.02);
    assert_false(cJSON_HasObjectItem(json, "problem_type"));
    cJSON_Delete(json);

    /* transformers refuses the whole number 1 where a float is meant. */
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(slad_file_read_all(own->context, &bytes, &size, own->path, 1 << 20), SLAD_OK);
    assert_non_null(strstr(bytes, "\"layerscale_value\":\t1.0,"));
    assert_non_null(strstr(bytes, "\"hidden_size\":\t8,"));
    slad_release(bytes);
}

static void students_are_written_and_read(void **state)
{
    scratch *own = *state;
    for (int form = 0; form < 2; form++) {
        tiny description = tiny_default();
        description.classifier = form == 1;
        description.prefix = form == 1 ? "dinov2." : "";
        description.mask = form == 1;
        description.fields = ",\"problem_type\":\"regression\"";
        slad_hf_model *source = assert_read(own, &description);
        const slad_hf_student student = {
            .source = source, .class_names = class_names, .class_count = 2, .fill = fill_double};
        assert_int_equal(slad_hf_write_student(own->context, scratch_path(own, "student"), &student), SLAD_OK);
        check_student_config(own);
        slad_hf_model *model = NULL;
        assert_int_equal(slad_hf_open(own->context, &model, scratch_path(own, "student")), SLAD_OK);
        assert_int_equal(slad_hf_config_of(model)->classes, 2);
        assert_string_equal(slad_hf_class_name(model, 0), class_names[0]);
        float values[8 * 3 * 14 * 14];
        for (size_t i = 0; i < slad_hf_slot_count(slad_hf_config_of(model)); i++) {
            slad_hf_slot slot;
            slad_hf_slot_at(&slot, slad_hf_config_of(model), i);
            assert_int_equal(slad_hf_read(own->context, values, model, slot.name), SLAD_OK);
            for (uint64_t k = 0; k < slot.elements; k++) assert_true(values[k] == 2.0f * value_of(slot.name, k));
        }
        assert_int_equal(slad_hf_read(own->context, values, model, "classifier.weight"), SLAD_OK);
        for (uint64_t k = 0; k < 32; k++) assert_true(values[k] == 2.0f * value_of("classifier.weight", k));
        assert_int_equal(slad_hf_read(own->context, values, model, "embeddings.mask_token"), SLAD_OK);
        for (uint64_t k = 0; k < 8; k++)
            assert_true(values[k] == (form == 1 ? value_of("embeddings.mask_token", k) : 0.0f));
        slad_hf_close(model);
        slad_hf_close(source);
    }
}

static void student_takes_the_size_of_its_table(void **state)
{
    scratch *own = *state;
    tiny description = tiny_default();
    description.config.position_grid = 3;
    slad_hf_model *source = assert_read(own, &description), *model = NULL;
    const slad_hf_student student = {
        .source = source, .class_names = class_names, .class_count = 2, .fill = fill_double};
    assert_int_equal(slad_hf_write_student(own->context, scratch_path(own, "student"), &student), SLAD_OK);
    slad_hf_close(source);
    assert_int_equal(slad_hf_open(own->context, &model, scratch_path(own, "student")), SLAD_OK);
    assert_int_equal(slad_hf_config_of(model)->image_size, 42);
    assert_int_equal(slad_hf_config_of(model)->position_grid, 3);
    slad_hf_close(model);
}

static void students_that_cannot_be_written_are_refused(void **state)
{
    scratch *own = *state;
    const tiny description = tiny_default();
    slad_hf_model *source = assert_read(own, &description);
    char folder[1024];
    (void)snprintf(folder, sizeof folder, "%s", scratch_path(own, "student"));
    static char stop[] = "layernorm.bias";
    slad_hf_student student = {
        .source = source, .class_names = class_names, .class_count = 2, .fill = fill_double, .user = stop};
    assert_int_equal(slad_hf_write_student(own->context, folder, &student), SLAD_ERROR_DATA);
    assert_message(own, "cannot be given");
    slad_directory directory;
    assert_int_equal(slad_directory_read(own->context, &directory, folder), SLAD_OK);
    assert_int_equal(directory.count, 0);
    slad_directory_free(&directory);

    student.user = NULL;
    static const char *const twice[] = {"same", "same"}, *const latin[] = {"caf\xe9", "x"};
    student.class_names = twice;
    assert_int_equal(slad_hf_write_student(own->context, folder, &student), SLAD_ERROR_DATA);
    assert_message(own, "\"same\"");
    student.class_names = latin;
    assert_int_equal(slad_hf_write_student(own->context, folder, &student), SLAD_ERROR_DATA);
    assert_message(own, "UTF-8");
    student.class_names = class_names;
    assert_int_equal(slad_hf_write_student(own->context, scratch_path(own, "config.json/student"), &student),
                     SLAD_ERROR_WRITE);
    slad_hf_close(source);
}

/* With each allocation made to fail in turn. */
static void no_memory_is_reported(void **state)
{
    scratch *own = *state;
    tiny description = tiny_default();
    description.sharded = true;
    description.classifier = true;
    slad_hf_close(assert_read(own, &description));
    bool struck = true;
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_hf_model *model = NULL;
        slad_fault_arm(own->context, countdown);
        slad_status status = slad_hf_open(own->context, &model, own->folder);
        if (status == SLAD_OK) {
            const slad_hf_student student = {
                .source = model, .class_names = class_names, .class_count = 2, .fill = fill_double};
            status = slad_hf_write_student(own->context, scratch_path(own, "student"), &student);
        }
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        slad_hf_close(model);
        assert_true(countdown < 1000);
    }
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(folders_are_read_in_every_form),
        WITH_SCRATCH(missing_fields_have_the_defaults_of_transformers),
        WITH_SCRATCH(other_position_grids_are_used),
        WITH_SCRATCH(contradictions_name_field_and_tensor),
        WITH_SCRATCH(every_tensor_is_asked_for),
        WITH_SCRATCH(unsupported_configurations_are_refused),
        WITH_SCRATCH(labels_must_fit_the_classifier),
        WITH_SCRATCH(broken_folders_are_refused),
        WITH_SCRATCH(lost_shards_are_noticed),
        WITH_SCRATCH(wrong_types_are_refused),
        WITH_SCRATCH(students_are_written_and_read),
        WITH_SCRATCH(student_takes_the_size_of_its_table),
        WITH_SCRATCH(students_that_cannot_be_written_are_refused),
        WITH_SCRATCH(no_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
