/* Students written as Hugging Face folders. */
#include "tiny_model.h"

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

static void assert_field(const cJSON *json, const char *field, const char *value)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, field);
    if (!value) assert_null(item);
    if (value) assert_string_equal(cJSON_GetStringValue(item), value);
}

/* The folder that a student of this form is written to, opened again. */
static slad_hf_model *write_form(scratch *own, const tiny *description, slad_position_mode mode)
{
    slad_hf_model *source = assert_read(own, description), *model = NULL;
    const slad_hf_student student = {
        .source = source, .class_names = class_names, .class_count = 2, .position_mode = mode, .fill = fill_double};
    assert_int_equal(slad_hf_write_student(own->context, scratch_path(own, "student"), &student), SLAD_OK);
    slad_hf_close(source);
    if (slad_hf_open(own->context, &model, scratch_path(own, "student")) != SLAD_OK)
        fail_msg("%s", slad_context_message(own->context));
    return model;
}

static void check_form(scratch *own, const tiny *description)
{
    static const char *const names[] = {"Dinov2ForImageClassification", "Dinov2WithRegistersForImageClassification",
                                        "ViTForImageClassification"};
    const slad_hf_config *wanted = &description->config;
    slad_hf_model *model = write_form(own, description, SLAD_POSITION_AUTO);
    const slad_hf_config *found = slad_hf_config_of(model);
    cJSON *json = NULL;
    assert_int_equal(slad_json_read(own->context, &json, scratch_path(own, "student/config.json")), SLAD_OK);
    const cJSON *architectures = cJSON_GetObjectItemCaseSensitive(json, "architectures");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(architectures, 0)), names[wanted->type]);
    cJSON_Delete(json);
    assert_int_equal(found->naming, SLAD_HF_TRANSFORMERS);
    assert_int_equal(found->type, wanted->type);
    assert_int_equal(found->mlp_size, wanted->mlp_size);
    assert_int_equal(found->gated, wanted->gated);
    assert_int_equal(found->registers, wanted->registers);
    assert_int_equal(found->position_grid, wanted->position_grid);
    assert_int_equal(found->heads, wanted->heads);
    assert_int_equal(found->qkv_bias, wanted->qkv_bias);
    assert_true(found->layer_norm_eps == wanted->layer_norm_eps);
    assert_int_equal(found->position_mode, wanted->position_mode);
    assert_int_equal(found->classes, 2);
    float *values = malloc((size_t)65536 * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < slad_hf_slot_count(found); i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, found, i);
        assert_int_equal(slad_hf_read(own->context, values, model, slot.name), SLAD_OK);
        for (uint64_t k = 0; k < slot.elements; k++) assert_true(values[k] == 2.0f * value_of(slot.name, k));
    }
    assert_int_equal(slad_hf_read_mask(own->context, values, model), SLAD_OK);
    for (uint64_t k = 0; k < 64; k++)
        assert_true(values[k] == (description->mask ? value_of("embeddings.mask_token", k) : 0.0f));
    free(values);
    slad_hf_close(model);
}

static void students_of_every_form_are_folders_of_transformers(void **state)
{
    for (int naming = SLAD_HF_TRANSFORMERS; naming <= SLAD_HF_TIMM; naming++)
        for (int type = SLAD_HF_DINOV2; type < SLAD_HF_TYPES; type++)
            for (int gated = 0; gated < 2; gated++) {
                if (type == SLAD_HF_VIT && (gated || naming == SLAD_HF_HUB)) continue;
                const tiny description = tiny_of((slad_hf_naming)naming, (slad_hf_type)type, gated);
                check_form(*state, &description);
            }
}

/* config.json says how positions were resized only where transformers does it otherwise. */
static void position_rules_stay_with_the_student(void **state)
{
    static const struct {
        slad_hf_naming naming;
        slad_hf_type type;
        slad_position_mode mode;
        const char *field;
    } cases[] = {
        {SLAD_HF_TRANSFORMERS, SLAD_HF_DINOV2, SLAD_POSITION_AUTO, NULL},
        {SLAD_HF_TRANSFORMERS, SLAD_HF_DINOV2, SLAD_POSITION_HUB, "hub"},
        {SLAD_HF_TRANSFORMERS, SLAD_HF_DINOV2_WITH_REGISTERS, SLAD_POSITION_ANTIALIAS, NULL},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, SLAD_POSITION_AUTO, "hub"},
        {SLAD_HF_HUB, SLAD_HF_DINOV2, SLAD_POSITION_TRANSFORMERS, NULL},
        {SLAD_HF_HUB, SLAD_HF_DINOV2_WITH_REGISTERS, SLAD_POSITION_AUTO, NULL},
        {SLAD_HF_TIMM, SLAD_HF_DINOV2, SLAD_POSITION_AUTO, "antialias"},
    };
    scratch *own = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const tiny description = tiny_of(cases[i].naming, cases[i].type, false);
        slad_hf_model *model = write_form(own, &description, cases[i].mode);
        cJSON *json = NULL;
        assert_int_equal(slad_hf_config_of(model)->position_mode,
                         cases[i].mode == SLAD_POSITION_AUTO ? description.config.position_mode : cases[i].mode);
        slad_hf_close(model);
        assert_int_equal(slad_json_read(own->context, &json, scratch_path(own, "student/config.json")), SLAD_OK);
        assert_field(json, "slad_pos_embed", cases[i].field);
        cJSON_Delete(json);
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
    const tiny description = tiny_default();
    slad_hf_model *source = assert_read(own, &description);
    const slad_hf_student student = {
        .source = source, .class_names = class_names, .class_count = 2, .fill = fill_double};
    bool struck = true;
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_fault_arm(own->context, countdown);
        const slad_status status = slad_hf_write_student(own->context, scratch_path(own, "student"), &student);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        assert_true(countdown < 1000);
    }
    slad_hf_close(source);
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(students_are_written_and_read),
        WITH_SCRATCH(students_of_every_form_are_folders_of_transformers),
        WITH_SCRATCH(position_rules_stay_with_the_student),
        WITH_SCRATCH(student_takes_the_size_of_its_table),
        WITH_SCRATCH(students_that_cannot_be_written_are_refused),
        WITH_SCRATCH(no_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
