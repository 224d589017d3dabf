/* Model folders of Hugging Face: what is read and what is refused; test_single_files.c has the other forms. */
#include "tiny_model.h"

/* The names and shapes of transformers' Dinov2Model with one layer, width 8, MLP 32, 2 x 2 patches of 14 pixels. */
static void slots_are_those_of_transformers(void **state)
{
    (void)state;
    static const struct {
        const char *name, *shape;
    } known[] = {
        {"embeddings.cls_token", "[1, 1, 8]"},
        {"embeddings.position_embeddings", "[1, 5, 8]"},
        {"embeddings.patch_embeddings.projection.weight", "[8, 3, 14, 14]"},
        {"embeddings.patch_embeddings.projection.bias", "[8]"},
        {"encoder.layer.0.norm1.weight", "[8]"},
        {"encoder.layer.0.norm1.bias", "[8]"},
        {"encoder.layer.0.attention.attention.query.weight", "[8, 8]"},
        {"encoder.layer.0.attention.attention.query.bias", "[8]"},
        {"encoder.layer.0.attention.attention.key.weight", "[8, 8]"},
        {"encoder.layer.0.attention.attention.key.bias", "[8]"},
        {"encoder.layer.0.attention.attention.value.weight", "[8, 8]"},
        {"encoder.layer.0.attention.attention.value.bias", "[8]"},
        {"encoder.layer.0.attention.output.dense.weight", "[8, 8]"},
        {"encoder.layer.0.attention.output.dense.bias", "[8]"},
        {"encoder.layer.0.layer_scale1.lambda1", "[8]"},
        {"encoder.layer.0.norm2.weight", "[8]"},
        {"encoder.layer.0.norm2.bias", "[8]"},
        {"encoder.layer.0.mlp.fc1.weight", "[32, 8]"},
        {"encoder.layer.0.mlp.fc1.bias", "[32]"},
        {"encoder.layer.0.mlp.fc2.weight", "[8, 32]"},
        {"encoder.layer.0.mlp.fc2.bias", "[8]"},
        {"encoder.layer.0.layer_scale2.lambda1", "[8]"},
        {"layernorm.weight", "[8]"},
        {"layernorm.bias", "[8]"},
    };
    enum { COUNT = sizeof known / sizeof known[0] };
    slad_hf_config config = tiny_default().config;
    config.layers = 1;
    for (int bias = 1; bias >= 0; bias--) {
        config.qkv_bias = bias != 0;
        size_t index = 0;
        for (size_t i = 0; i < COUNT; i++) {
            if (!bias && strstr(known[i].name, "attention.attention") && strstr(known[i].name, "bias")) continue;
            slad_hf_slot slot;
            char shape[64];
            slad_hf_slot_at(&slot, &config, index++);
            slad_safetensors_shape_text(shape, sizeof shape, slot.shape, slot.rank);
            assert_string_equal(slot.name, known[i].name);
            assert_string_equal(shape, known[i].shape);
        }
        assert_int_equal(slad_hf_slot_count(&config), index);
    }
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
        float mask[8];
        assert_int_equal(slad_hf_read_mask(own->context, mask, model), SLAD_OK);
        for (uint64_t k = 0; k < 8; k++) assert_true(mask[k] == value_of("embeddings.mask_token", k));
        float value = 0;
        assert_int_equal(slad_hf_read(own->context, &value, model, "nothing"), SLAD_ERROR_DATA);
        assert_message(own, "nothing");
        assert_string_equal(slad_hf_folder(model), own->folder);
        slad_hf_close(model);
        assert_int_equal(slad_path_remove(own->context, scratch_path(own, "model.safetensors")), SLAD_OK);
    }
    slad_hf_close(NULL);
}

static void assert_same_config(const slad_hf_config *found, const slad_hf_config *wanted)
{
    assert_int_equal(found->type, wanted->type);
    assert_int_equal(found->naming, wanted->naming);
    assert_int_equal(found->hidden_size, wanted->hidden_size);
    assert_int_equal(found->layers, wanted->layers);
    assert_int_equal(found->heads, wanted->heads);
    assert_int_equal(found->mlp_size, wanted->mlp_size);
    assert_int_equal(found->image_size, wanted->image_size);
    assert_int_equal(found->patch_size, wanted->patch_size);
    assert_int_equal(found->position_grid, wanted->position_grid);
    assert_int_equal(found->registers, wanted->registers);
    assert_int_equal(found->gated, wanted->gated);
    assert_int_equal(found->qkv_bias, wanted->qkv_bias);
    assert_int_equal(found->position_mode, wanted->position_mode);
    assert_true(found->layer_norm_eps == wanted->layer_norm_eps);
}

/* Every type in every naming, values and what is deduced. */
static void every_form_is_read(void **state)
{
    scratch *own = *state;
    for (int naming = SLAD_HF_TRANSFORMERS; naming <= SLAD_HF_TIMM; naming++)
        for (int type = SLAD_HF_DINOV2; type < SLAD_HF_TYPES; type++)
            for (int form = 0; form < 4; form++) {
                const bool gated = form & 1, bias = !(form & 2);
                if (type == SLAD_HF_VIT && (gated || naming == SLAD_HF_HUB)) continue;
                tiny description = tiny_of((slad_hf_naming)naming, (slad_hf_type)type, gated);
                description.config.qkv_bias = bias;
                if (naming != SLAD_HF_TRANSFORMERS && form == 1) description.prefix = "model.backbone.";
                slad_hf_model *model = assert_read(own, &description);
                assert_same_config(slad_hf_config_of(model), &description.config);
                slad_hf_close(model);
            }
}

static void types_contradict_their_tensors(void **state)
{
    static const struct {
        slad_hf_type type;
        const char *field, *value, *first, *second;
    } cases[] = {
        {SLAD_HF_DINOV2_WITH_REGISTERS, "num_register_tokens", "5", "\"num_register_tokens\"", "[1, 4, 64]"},
        {SLAD_HF_DINOV2_WITH_REGISTERS, "num_register_tokens", "0", "\"num_register_tokens\"", "config.json"},
        {SLAD_HF_DINOV2_WITH_REGISTERS, "use_swiglu_ffn", "true", "weights_in", "missing"},
        {SLAD_HF_DINOV2_WITH_REGISTERS, "model_type", "\"vit\"", "layernorm_before", "missing"},
        {SLAD_HF_VIT, "intermediate_size", "128", "\"intermediate_size\"", "intermediate.dense.weight\" is [96, 64]"},
        {SLAD_HF_VIT, "model_type", "\"dinov2\"", "norm1.weight", "missing"},
        {SLAD_HF_DINOV2, "model_type", "\"dinov2_with_registers\"", "register_tokens", "missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny description = tiny_of(SLAD_HF_TRANSFORMERS, cases[i].type, false);
        description.replaced_field = cases[i].field;
        description.replacement = cases[i].value;
        assert_model_refused(*state, &description, cases[i].first, cases[i].second);
    }
}

/* A classifier of vit reads the class token alone. */
static void classifiers_have_the_width_of_their_type(void **state)
{
    for (int type = SLAD_HF_DINOV2; type < SLAD_HF_TYPES; type++) {
        tiny description = tiny_of(SLAD_HF_TRANSFORMERS, (slad_hf_type)type, false);
        char prefix[SLAD_HF_NAME_SIZE];
        (void)snprintf(prefix, sizeof prefix, "%s.", slad_hf_type_name((slad_hf_type)type));
        description.prefix = prefix;
        description.classifier = true;
        slad_hf_model *model = assert_read(*state, &description);
        assert_int_equal(slad_hf_config_of(model)->classes, 3);
        slad_hf_close(model);
        description.resized = "classifier.weight";
        description.resized_axis = 1;
        assert_model_refused(*state, &description, type == SLAD_HF_VIT ? "[3, 65]" : "[3, 129]", "\"hidden_size\" 64");
    }
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
        assert_model_refused(*state, &description, cases[i].first, cases[i].second);
    }
    tiny description = tiny_default();
    description.resized = "embeddings.position_embeddings";
    assert_model_refused(*state, &description, "\"hidden_size\"", "embeddings.position_embeddings\" is [2, 5, 8]");
    description.resized_axis = 1;
    assert_model_refused(*state, &description, "another square grid", "embeddings.position_embeddings\" is [1, 6, 8]");
    description = tiny_default();
    description.extra_layer = true;
    assert_model_refused(*state, &description, "\"num_hidden_layers\"", "encoder.layer.2.norm1.weight");
    description.prefix = "dinov2.";
    assert_model_refused(*state, &description, "\"num_hidden_layers\"", "dinov2.encoder.layer.2.norm1.weight");
}

static void every_tensor_is_asked_for(void **state)
{
    const tiny whole = tiny_default();
    for (size_t i = 0; i < slad_hf_slot_count(&whole.config); i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, &whole.config, i);
        tiny description = whole;
        description.without = slot.name;
        assert_model_refused(*state, &description, slot.name, "missing");
        description.without = NULL;
        description.resized = slot.name;
        assert_model_refused(*state, &description, slot.name, "ask for");
    }
}

static void unsupported_configurations_are_refused(void **state)
{
    static const struct {
        const char *field, *value, *message;
    } cases[] = {
        {"model_type", "\"beit\"", "\"dinov2\""},
        {"model_type", "\"dinov2_with_register\"", "not supported"},
        {"model_type", NULL, "\"model_type\" is missing"},
        {"model_type", "7", "must be a string"},
        {"hidden_act", "\"relu\"", "\"gelu\""},
        {"use_swiglu_ffn", "1", "use_swiglu_ffn"},
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
        {"layer_norm_eps", "1.5", "layer_norm_eps"},
        {"layer_norm_eps", "\"1e-6\"", "layer_norm_eps"},
        {"slad_pos_embed", "\"auto\"", "slad_pos_embed"},
        {"qkv_bias", "1", "true or false"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny description = tiny_default();
        description.replaced_field = cases[i].field;
        description.replacement = cases[i].value;
        assert_model_refused(*state, &description, cases[i].message, "config.json");
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
        assert_model_refused(*state, &description, "classifier.weight", i == 5 ? "num_labels" : "id2label");
    }
    tiny description = tiny_default();
    description.classifier = true;
    description.fields = ",\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"2\":3}";
    assert_model_refused(*state, &description, "id2label", "must be a string");
}

static void classifiers_must_be_whole(void **state)
{
    static const struct {
        const char *without, *mistyped, *resized;
        size_t axis;
        const char *first, *second;
    } cases[] = {
        {"classifier.bias", NULL, NULL, 0, "\"classifier.bias\" is missing", "classifier.weight"},
        {"classifier.weight", NULL, NULL, 0, "\"classifier.weight\" is missing", "classifier.bias"},
        {NULL, "classifier.weight", NULL, 0, "classifier.weight\" is I64", "F32"},
        {NULL, "classifier.bias", NULL, 0, "classifier.bias\" is I64", "F32"},
        {NULL, NULL, "classifier.weight", 1, "classifier.weight\" is [3, 17]", "\"hidden_size\" 8"},
        {NULL, NULL, "classifier.weight", 0, "classifier.bias", "4 rows"},
        {NULL, NULL, "classifier.bias", 0, "classifier.bias", "3 rows"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny description = tiny_default();
        description.classifier = true;
        description.without = cases[i].without;
        description.mistyped = cases[i].mistyped;
        description.resized = cases[i].resized;
        description.resized_axis = cases[i].axis;
        assert_model_refused(*state, &description, cases[i].first, cases[i].second);
    }
}

static void broken_folders_are_refused(void **state)
{
    scratch *own = *state;
    slad_hf_model *model = NULL;
    assert_int_equal(slad_hf_open(own->context, &model, scratch_path(own, "none")), SLAD_ERROR_DATA);
    assert_message(own, "none: is not a folder");
    static const char pickle[] = "PK";
    assert_int_equal(slad_file_write_all(own->context, scratch_path(own, "vits14.pth"), pickle, 2), SLAD_OK);
    assert_int_equal(slad_hf_open(own->context, &model, scratch_path(own, "vits14.pth")), SLAD_ERROR_DATA);
    assert_message(own, "vits14.pth: pickled files");
    assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_ERROR_DATA);
    assert_message(own, "config.json");
    const tiny description = tiny_default();
    write_config(own, &description);
    assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_ERROR_DATA);
    assert_message(own, "model.safetensors.index.json");

    static const struct {
        const char *text, *message;
    } indices[] = {
        {"{\"weight_map\":{\"x\":\"../one.safetensors\"}}", "plain name"},
        {"{\"weight_map\":{\"x\":\"/one.safetensors\"}}", "plain name"},
        {"{\"weight_map\":{\"x\":\"..\"}}", "plain name"},
        {"{\"weight_map\":{\"x\":\"\"}}", "plain name"},
        {"{\"weight_map\":{\"x\":1}}", "plain name"},
        {"{\"weight_map\":[]}", "\"weight_map\""},
        {"{}", "\"weight_map\""},
        {"{\"weight_map\":{}}", "embeddings.cls_token"},
        {"{\"weight_map\":{\"x\":\"none.safetensors\"}}", "none.safetensors"},
        {"{\"weight_map\":{\"x\":\"empty.safetensors\"}}", "\"x\" is not in the file empty.safetensors"},
    };
    assert_int_equal(slad_safetensors_write(own->context, scratch_path(own, "empty.safetensors"), NULL, 0, NULL, 0),
                     SLAD_OK);
    for (size_t i = 0; i < sizeof indices / sizeof indices[0]; i++) {
        const char *path = scratch_path(own, "model.safetensors.index.json");
        assert_int_equal(slad_file_write_all(own->context, path, indices[i].text, strlen(indices[i].text)), SLAD_OK);
        assert_int_equal(slad_hf_open(own->context, &model, own->folder), SLAD_ERROR_DATA);
        assert_null(model);
        assert_message(own, indices[i].message);
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
    tiny description = tiny_default();
    description.mistyped = "layernorm.bias";
    assert_model_refused(*state, &description, "layernorm.bias\" is I64", "model.safetensors");
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
        const slad_status status = slad_hf_open(own->context, &model, own->folder);
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
        cmocka_unit_test(slots_are_those_of_transformers),
        WITH_SCRATCH(folders_are_read_in_every_form),
        WITH_SCRATCH(every_form_is_read),
        WITH_SCRATCH(types_contradict_their_tensors),
        WITH_SCRATCH(classifiers_have_the_width_of_their_type),
        WITH_SCRATCH(missing_fields_have_the_defaults_of_transformers),
        WITH_SCRATCH(other_position_grids_are_used),
        WITH_SCRATCH(contradictions_name_field_and_tensor),
        WITH_SCRATCH(every_tensor_is_asked_for),
        WITH_SCRATCH(unsupported_configurations_are_refused),
        WITH_SCRATCH(labels_must_fit_the_classifier),
        WITH_SCRATCH(classifiers_must_be_whole),
        WITH_SCRATCH(broken_folders_are_refused),
        WITH_SCRATCH(lost_shards_are_noticed),
        WITH_SCRATCH(wrong_types_are_refused),
        WITH_SCRATCH(no_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
