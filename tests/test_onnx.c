/* ONNX files: re-parsed by a reader of the test's own, for every type of model, within a file and beside it.
 * tests/oracle/check_onnx.py has onnx.checker and onnxruntime read them. */
#include "tiny_model.h"

#include "model/encoder_onnx.h"
#include "model/position.h"
#include "onnx_reader.h"
#include "slad/export.h"

enum { CLASSES = 3, SIZE = 42 };

static const char *const class_names[CLASSES] = {"a \"b\"", "\xc3\xa9", "c"};
static const float mean[3] = {0.5f, 0.25f, 0.125f}, deviation[3] = {1, 2, 4};

static slad_status fill(slad_context *context, float *destination, const char *name, uint64_t elements, void *user)
{
    (void)context;
    (void)user;
    for (uint64_t i = 0; i < elements; i++) destination[i] = value_of(name, i);
    return SLAD_OK;
}

static slad_encoder_onnx model_of(const slad_hf_config *config)
{
    return (slad_encoder_onnx){.config = config,
                               .image_size = SIZE,
                               .class_names = class_names,
                               .classes = CLASSES,
                               .image_mean = mean,
                               .image_std = deviation,
                               .fill = fill};
}

static onnx_model *write_and_read(scratch *own, const slad_encoder_onnx *model)
{
    if (slad_encoder_onnx_write(own->context, scratch_path(own, "out"), model) != SLAD_OK)
        fail_msg("%s", slad_context_message(own->context));
    onnx_model *read = onnx_open(own, "out");
    onnx_assert_sound(read);
    assert_int_equal(read->ir_version, 8);
    assert_int_equal(read->opset, 17);
    return read;
}

/* Matrices are turned for MatMul, the position table is resized, all else is as it was. */
static void assert_weights(const onnx_model *read, const slad_hf_config *config)
{
    const onnx_tensor *tensor = NULL;
    const char *name = "encoder.layer.1.attention.attention.key.weight";
    const size_t d = config->hidden_size, grid = SIZE / config->patch_size;
    const float *values = onnx_weights(read, name, &tensor);
    assert_int_equal(tensor->rank, 2);
    for (size_t row = 0; row < d; row++)
        for (size_t column = 0; column < d; column++)
            assert_true(values[column * d + row] == value_of(name, row * d + column));
    slad_hf_slot slot;
    assert_true(slad_hf_slot_of(&slot, config, SLAD_HF_FC1_WEIGHT, 0));
    values = onnx_weights(read, slot.name, &tensor);
    assert_int_equal(tensor->sizes[0], slot.shape[1]);
    assert_int_equal(tensor->sizes[1], slot.shape[0]);
    assert_true(values[1] == value_of(slot.name, d));
    values = onnx_weights(read, "classifier.weight", &tensor);
    assert_int_equal(tensor->sizes[0], CLASSES);
    assert_true(values[1] == value_of("classifier.weight", 1));
    float table[256], resized[256];
    for (size_t i = 0; i < (1 + (size_t)config->position_grid * config->position_grid) * d; i++)
        table[i] = value_of("embeddings.position_embeddings", i);
    assert_int_equal(
        slad_position_resize(NULL, resized, table, config->position_grid, grid, grid, d, config->position_mode),
        SLAD_OK);
    values = onnx_weights(read, "embeddings.position_embeddings", &tensor);
    assert_int_equal(tensor->sizes[1], 1 + grid * grid);
    assert_memory_equal(values, resized, (1 + grid * grid) * d * sizeof *values);
}

static slad_hf_config config_of(int kind)
{
    slad_hf_config config = tiny_default().config;
    config.position_mode = SLAD_POSITION_HUB;
    if (kind == 1) {
        config.type = SLAD_HF_DINOV2_WITH_REGISTERS;
        config.registers = 4;
    }
    if (kind == 2) config.gated = true;
    if (kind == 3) {
        config.type = SLAD_HF_VIT;
        config.qkv_bias = false;
    }
    return config;
}

static void test_structure(void **state)
{
    scratch *own = *state;
    for (int kind = 0; kind < 4; kind++) {
        const slad_hf_config config = config_of(kind);
        const slad_encoder_onnx model = model_of(&config);
        onnx_model *read = write_and_read(own, &model);
        assert_weights(read, &config);
        assert_int_equal(onnx_count(read, "LayerNormalization"), 2 * config.layers + 1);
        assert_int_equal(onnx_count(read, "Softmax"), config.layers);
        assert_int_equal(onnx_count(read, "Erf"), kind == 2 ? 0 : config.layers);
        assert_int_equal(onnx_count(read, "Sigmoid"), kind == 2 ? config.layers : 0);
        assert_int_equal(onnx_count(read, "ReduceMean"), kind == 3 ? 0 : 1);
        assert_int_equal(onnx_count(read, "Expand"), kind == 1 ? 2 : 1);
        onnx_close(read);
    }
}

static void test_ends(void **state)
{
    static const char *const keys[4] = {"class_names", "image_mean", "image_std", "slad_version"};
    static const char *const values[3] = {"[\"a \\\"b\\\"\",\"\xc3\xa9\",\"c\"]", "[0.5,0.25,0.125]", "[1,2,4]"};
    scratch *own = *state;
    const slad_hf_config config = config_of(0);
    const slad_encoder_onnx model = model_of(&config);
    onnx_model *read = write_and_read(own, &model);
    assert_int_equal(read->input_count, 1);
    assert_string_equal(read->inputs[0].name, "pixel_values");
    assert_string_equal(read->inputs[0].open, "batch");
    assert_int_equal(read->inputs[0].rank, 4);
    assert_int_equal(read->inputs[0].sizes[1], 3);
    assert_int_equal(read->inputs[0].sizes[2], SIZE);
    assert_int_equal(read->inputs[0].sizes[3], SIZE);
    assert_int_equal(read->output_count, 1);
    assert_string_equal(read->outputs[0].name, "logits");
    assert_string_equal(read->outputs[0].open, "batch");
    assert_int_equal(read->outputs[0].rank, 2);
    assert_int_equal(read->outputs[0].sizes[1], CLASSES);
    assert_int_equal(read->pair_count, 4);
    for (int i = 0; i < 4; i++) assert_string_equal(read->keys[i], keys[i]);
    for (int i = 0; i < 3; i++) assert_string_equal(read->values[i], values[i]);
    onnx_close(read);
}

/* What is too large for one file has its weights beside it, the same values; a file of one piece leaves none behind. */
static void test_external(void **state)
{
    scratch *own = *state;
    const slad_hf_config config = config_of(0);
    slad_encoder_onnx model = model_of(&config);
    model.inline_limit = 12000;
    onnx_model *read = write_and_read(own, &model);
    assert_non_null(read->data);
    assert_weights(read, &config);
    uint64_t place = 0;
    for (size_t i = 0; i < read->tensor_count; i++) {
        if (read->tensors[i].raw) continue;
        assert_int_equal(read->tensors[i].offset, place);
        place += read->tensors[i].length;
    }
    assert_int_equal(place, read->data_size);
    onnx_close(read);
    model.inline_limit = 0;
    read = write_and_read(own, &model);
    assert_null(read->data);
    onnx_close(read);
}

static void test_refused(void **state)
{
    scratch *own = *state;
    const slad_hf_config config = config_of(0);
    slad_encoder_onnx model = model_of(&config);
    model.image_size = SIZE + 1;
    assert_int_equal(slad_encoder_onnx_write(own->context, scratch_path(own, "out"), &model), SLAD_ERROR_USAGE);
    assert_message(own, "43");
    model.image_size = SIZE;
    assert_int_equal(slad_file_write_all(own->context, scratch_path(own, "file"), "x", 1), SLAD_OK);
    assert_int_equal(slad_encoder_onnx_write(own->context, scratch_path(own, "file"), &model), SLAD_ERROR_WRITE);
}

/* A model folder as it is, through the door that the program uses. */
static void test_model_folder(void **state)
{
    scratch *own = *state;
    tiny model = tiny_default();
    model.config.heads = 1; /* of width 8, the least that kernels take */
    char folder[512], out[600];
    unsigned written = 0;
    model.classifier = true;
    write_config(own, &model);
    write_tensors(own, &model);
    (void)snprintf(folder, sizeof folder, "%s", own->folder);
    (void)snprintf(out, sizeof out, "%s/out", folder);
    const char preprocess[] = "{\"size\": 48, \"crop_size\": 42}";
    assert_int_equal(slad_file_write_all(own->context, scratch_path(own, "preprocessor_config.json"), preprocess,
                                         sizeof preprocess - 1),
                     SLAD_OK);
    slad_run_export_options options = {folder, out, 0};
    assert_int_equal(slad_run_export(own->context, NULL, &options), SLAD_ERROR_DATA);
    assert_message(own, "--what student and --what onnx");
    options.parts = SLAD_EXPORT_ONNX;
    if (slad_run_export(own->context, &written, &options) != SLAD_OK)
        fail_msg("%s", slad_context_message(own->context));
    assert_int_equal(written, SLAD_EXPORT_ONNX);
    onnx_model *read = onnx_open(own, "out/onnx");
    onnx_assert_sound(read);
    assert_int_equal(read->inputs[0].sizes[2], 42);
    assert_string_equal(read->values[0], "[\"0\",\"1\",\"2\"]");
    onnx_close(read);
    assert_int_equal(slad_path_look(scratch_path(own, "out/onnx/preprocessor_config.json")), SLAD_PATH_FILE);
    assert_int_equal(slad_run_export(own->context, &written, &options), SLAD_ERROR_USAGE);
    assert_message(own, "exists already");
    model.classifier = false;
    write_tensors(own, &model);
    (void)snprintf(out, sizeof out, "%s/other", folder);
    assert_int_equal(slad_run_export(own->context, NULL, &options), SLAD_ERROR_DATA);
    assert_message(own, "no classifier");
    assert_int_equal(slad_path_look(scratch_path(own, "other/onnx")), SLAD_PATH_MISSING);
}

/* With each allocation made to fail in turn. */
static void test_no_memory(void **state)
{
    scratch *own = *state;
    bool struck = true;
    const slad_hf_config config = config_of(1);
    const slad_encoder_onnx model = model_of(&config);
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_fault_arm(own->context, countdown);
        const slad_status status = slad_encoder_onnx_write(own->context, scratch_path(own, "out"), &model);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        assert_true(countdown < 20000);
    }
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(test_structure), WITH_SCRATCH(test_ends),         WITH_SCRATCH(test_external),
        WITH_SCRATCH(test_refused),   WITH_SCRATCH(test_model_folder), WITH_SCRATCH(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
