/* Whole encoders against transformers: the shapes of ViT-S/14 and ViT-B/14, and tiny ones of each other kind, at two
 * image sizes; and the same weights in every form of file. */
#include "formula.h"

#include "cl/device.h"
#include "train/inference.h"

/* The bound that the features must keep, absolute; values are about 5 at most. */
#define BOUND 2e-4

enum { STRIDE = 16, TINY_STRIDE = 3 };

typedef struct feature_case {
    const char *name;
    formula_variant model;
    size_t image_size;
    size_t stride; /* between the tokens of the fixture */
} feature_case;

static double largest_difference(const float *measured, const float *expected, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(measured[i]));
        const double difference = fabs((double)measured[i] - (double)expected[i]);
        if (difference > largest) largest = difference;
    }
    return largest;
}

static void compare(scratch *own, const feature_case *test, const float *tokens, size_t count, size_t width)
{
    slad_safetensors *file;
    char name[64];
    double worst = 0;
    const size_t prefix = 1 + test->model.registers;
    float *mean = calloc(width, sizeof *mean);
    assert_non_null(mean);
    assert_int_equal(slad_safetensors_open(own->context, &file, SLAD_FIXTURES "/features.safetensors"), SLAD_OK);
    (void)snprintf(name, sizeof name, "%s.tokens", test->name);
    float *expected = fixture_read(own, file, name, NULL);
    for (size_t t = 0; t < count; t += test->stride) {
        const double difference = largest_difference(tokens + t * width, expected + t / test->stride * width, width);
        if (difference > worst) worst = difference;
    }
    free(expected);
    for (size_t d = 0; d < width; d++) {
        double sum = 0;
        for (size_t t = prefix; t < count; t++) sum += (double)tokens[t * width + d];
        mean[d] = (float)(sum / (double)(count - prefix));
    }
    (void)snprintf(name, sizeof name, "%s.mean", test->name);
    expected = fixture_read(own, file, name, NULL);
    const double mean_difference = largest_difference(mean, expected, width);
    print_message("%s: tokens differ by %.2g at most, means by %.2g\n", test->name, worst, mean_difference);
    assert_true(worst <= BOUND);
    assert_true(mean_difference <= BOUND);
    free(expected);
    free(mean);
    slad_safetensors_close(file);
}

/* CLS, mean and the CLS of the last block, which the final LayerNorm turns into the first. */
static void check_outputs(slad_inference *inference, const formula_variant *variant, const float *result, size_t tokens)
{
    const formula_encoder *model = &variant->encoder;
    const size_t d = model->width, prefix = 1 + variant->registers;
    float *features = malloc(2 * d * sizeof *features), *block = malloc(d * sizeof *block);
    float *gamma = malloc(d * sizeof *gamma), *beta = malloc(d * sizeof *beta);
    char name[64];
    double mean = 0, square = 0;
    assert_true(features && block && gamma && beta);
    assert_int_equal(slad_inference_read(inference, features, inference->features), SLAD_OK);
    assert_int_equal(slad_inference_read(inference, block, inference->block_features[model->layers - 1]), SLAD_OK);
    (void)snprintf(name, sizeof name, "%slayernorm.weight", model->prefix);
    formula_tensor(gamma, d, name, 0.3, 1.0);
    (void)snprintf(name, sizeof name, "%slayernorm.bias", model->prefix);
    formula_tensor(beta, d, name, 0.2, 0);
    for (size_t i = 0; i < d; i++) mean += (double)block[i] / (double)d;
    for (size_t i = 0; i < d; i++) square += ((double)block[i] - mean) * ((double)block[i] - mean) / (double)d;
    for (size_t i = 0; i < d; i++) {
        double sum = 0;
        for (size_t t = prefix; t < tokens; t++) sum += (double)result[t * d + i];
        const double normal = ((double)block[i] - mean) / sqrt(square + 1e-6);
        assert_true(features[i] == result[i]);
        assert_true(fabs((double)features[d + i] - sum / (double)(tokens - prefix)) < 1e-5);
        assert_true(fabs((double)gamma[i] * normal + (double)beta[i] - (double)result[i]) < BOUND);
    }
    free(features);
    free(block);
    free(gamma);
    free(beta);
}

/* Tokens of one image by the model at path, whose other outputs are checked against them. The caller frees. */
static float *tokens_of(scratch *own, size_t *tokens, const char *path, const formula_variant *model, size_t image_size,
                        slad_position_mode mode)
{
    char name[32];
    slad_device *device;
    slad_encoder *encoder;
    slad_inference inference;
    const slad_device_options options = {.spec = getenv("TEST_DEVICE")};
    const size_t pixels_count = 3 * image_size * image_size;
    assert_int_equal(slad_device_open(own->context, &device, &options), SLAD_OK);
    if (slad_encoder_open(own->context, &encoder, path) != SLAD_OK) fail_msg("%s", slad_context_message(own->context));
    const slad_network_source source = {.encoder = encoder};
    assert_int_equal(slad_inference_create(own->context, &inference, device, &source, 1, image_size, mode,
                                           SLAD_WANT_TOKENS | SLAD_WANT_FEATURES),
                     SLAD_OK);
    *tokens = inference.network.backbone.tokens;
    float *pixels = malloc(pixels_count * sizeof *pixels),
          *result = malloc(*tokens * model->encoder.width * sizeof *result);
    assert_non_null(pixels);
    assert_non_null(result);
    (void)snprintf(name, sizeof name, "image%zu", image_size);
    formula_tensor(pixels, pixels_count, name, 2.0, 0);
    assert_int_equal(slad_inference_run(&inference, pixels), SLAD_OK);
    assert_int_equal(slad_inference_read(&inference, result, inference.tokens), SLAD_OK);
    check_outputs(&inference, model, result, *tokens);
    free(pixels);
    slad_inference_free(&inference);
    slad_encoder_free(encoder);
    slad_device_free(device);
    return result;
}

static void check_features(scratch *own, const feature_case *test)
{
    char path[1024];
    size_t tokens;
    formula_write_variant(own, path, test->name, &test->model);
    float *result = tokens_of(own, &tokens, path, &test->model, test->image_size, SLAD_POSITION_AUTO);
    compare(own, test, result, tokens, test->model.encoder.width);
    free(result);
    assert_int_equal(slad_path_remove(own->context, path), SLAD_OK);
}

#define SMALL                                                                                                          \
    {                                                                                                                  \
        .encoder = { "s.", 384, 12, 6, 4, 14, 37 }                                                                     \
    }
#define BASE                                                                                                           \
    {                                                                                                                  \
        .encoder = { "b.", 768, 12, 12, 4, 14, 37 }                                                                    \
    }

static void test_small(void **state)
{
    check_features(*state, &(feature_case){"s224", SMALL, 224, STRIDE});
    check_features(*state, &(feature_case){"s126", SMALL, 126, STRIDE});
}

static void test_base(void **state)
{
    check_features(*state, &(feature_case){"b224", BASE, 224, STRIDE});
    check_features(*state, &(feature_case){"b126", BASE, 126, STRIDE});
}

static formula_variant tiny(const char *prefix, slad_hf_type type, size_t registers, bool gated)
{
    return (formula_variant){.encoder = {prefix, 128, 2, 2, 4, type == SLAD_HF_VIT ? 16 : 14, 5},
                             .type = type,
                             .registers = registers,
                             .gated = gated};
}

static void test_kinds(void **state)
{
    const struct {
        const char *names[2];
        formula_variant model;
    } kinds[] = {
        {{"vit5", "vit8"}, tiny("vit.", SLAD_HF_VIT, 0, false)},
        {{"gate5", "gate8"}, tiny("gate.", SLAD_HF_DINOV2, 0, true)},
        {{"reg5", "reg8"}, tiny("reg.", SLAD_HF_DINOV2_WITH_REGISTERS, 4, false)},
        {{"reggate5", "reggate8"}, tiny("reggate.", SLAD_HF_DINOV2_WITH_REGISTERS, 2, true)},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (size_t k = 0; k < 2; k++) {
            const size_t size = (k ? 8 : 5) * kinds[i].model.encoder.patch;
            check_features(*state, &(feature_case){kinds[i].names[k], kinds[i].model, size, TINY_STRIDE});
        }
}

/* Folders and single files of the same weights give the same bytes, whatever the grid. */
static void test_forms(void **state)
{
    scratch *own = *state;
    const formula_variant models[] = {
        tiny("plain.", SLAD_HF_DINOV2, 0, false),
        tiny("gate.", SLAD_HF_DINOV2, 0, true),
        tiny("reg.", SLAD_HF_DINOV2_WITH_REGISTERS, 4, false),
        tiny("reggate.", SLAD_HF_DINOV2_WITH_REGISTERS, 2, true),
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        for (size_t grid = 5; grid <= 6; grid++) {
            float *results[3];
            size_t tokens = 0;
            for (int naming = SLAD_HF_TRANSFORMERS; naming <= SLAD_HF_TIMM; naming++) {
                char path[1024];
                formula_variant model = models[i];
                model.naming = (slad_hf_naming)naming;
                formula_write_variant(own, path, "model", &model);
                results[naming] = tokens_of(own, &tokens, path, &model, 14 * grid, SLAD_POSITION_HUB);
                assert_int_equal(tokens, 1 + model.registers + grid * grid);
            }
            for (int naming = SLAD_HF_HUB; naming <= SLAD_HF_TIMM; naming++)
                assert_memory_equal(results[naming], results[0], tokens * 128 * sizeof(float));
            for (int naming = 0; naming < 3; naming++) free(results[naming]);
        }
}

static void assert_trained(const slad_store *store, const char *name, const char *shape, bool decay)
{
    char found[96];
    const slad_trained *trained = slad_store_trained_find(store, name);
    if (!trained) {
        fail_msg("%s is not trained", name);
        return;
    }
    slad_tensor_shape_text(found, trained->tensor);
    assert_string_equal(found, shape);
    assert_int_equal(trained->decay, decay);
    assert_int_equal(trained->group, SLAD_GROUP_ADAPTERS);
}

static void check_trained_names(const slad_store *store, slad_hf_type type)
{
    const bool vit = type == SLAD_HF_VIT;
    assert_trained(store, "student.model.embeddings.cls_token", "[128]", false);
    assert_trained(store, "student.model.embeddings.position_embeddings", "[26, 128]", false);
    assert_trained(store, "student.model.embeddings.patch_embeddings.projection.weight",
                   vit ? "[128, 768]" : "[128, 588]", true);
    assert_trained(store, "student.model.embeddings.patch_embeddings.projection.bias", "[128]", false);
    assert_trained(store, "student.model.encoder.layer.1.attention.attention.{query,key,value}.weight", "[384, 128]",
                   true);
    assert_trained(store, "student.model.encoder.layer.1.attention.attention.{query,key,value}.bias", "[384]", false);
    assert_trained(store, "student.model.encoder.layer.0.attention.output.dense.weight", "[128, 128]", true);
    assert_trained(store, "student.model.layernorm.bias", "[128]", false);
    if (vit) {
        assert_trained(store, "student.model.encoder.layer.0.layernorm_after.weight", "[128]", false);
        assert_trained(store, "student.model.encoder.layer.0.output.dense.weight", "[128, 512]", true);
    } else {
        assert_trained(store, "student.model.embeddings.register_tokens", "[2, 128]", false);
        assert_trained(store, "student.model.encoder.layer.0.layer_scale2.lambda1", "[128]", false);
        assert_trained(store, "student.model.encoder.layer.0.mlp.weights_in.weight", "[688, 128]", true);
    }
}

/* The tokens of an encoder that is trained, before the first step. The caller frees. */
static float *trained_tokens(scratch *own, const char *path, const formula_variant *model, size_t image_size)
{
    slad_device *device;
    slad_encoder *encoder;
    slad_store *store;
    slad_record *record;
    slad_executor *executor;
    slad_backbone backbone;
    slad_memory_plan plan;
    char name[32];
    const slad_device_options options = {.spec = getenv("TEST_DEVICE")};
    const slad_backbone_form form = {.prefix = "student.model.", .trained = true};
    const size_t size[4] = {1, 3, image_size, image_size}, count = 3 * image_size * image_size;
    assert_int_equal(slad_device_open(own->context, &device, &options), SLAD_OK);
    assert_int_equal(slad_encoder_open(own->context, &encoder, path), SLAD_OK);
    assert_int_equal(slad_store_create(own->context, &store, 1 << 24), SLAD_OK);
    assert_int_equal(
        slad_backbone_create(own->context, &backbone, store, encoder, image_size, SLAD_POSITION_AUTO, &form), SLAD_OK);
    check_trained_names(store, model->type);
    assert_int_equal(slad_record_create(own->context, &record, store, "a trained encoder"), SLAD_OK);
    const slad_tensor *input = slad_record_input(record, "pixels", SLAD_F32, 4, size, 0);
    const slad_tensor *output = slad_backbone_record(record, &backbone, input, NULL, NULL, NULL);
    slad_record_output(record, output, "tokens");
    if (slad_record_status(record) != SLAD_OK) fail_msg("%s", slad_context_message(own->context));
    assert_int_equal(slad_executor_create_opencl(own->context, &executor, store, device, NULL), SLAD_OK);
    assert_int_equal(slad_executor_add(executor, record), SLAD_OK);
    assert_int_equal(slad_executor_plan(executor, &plan), SLAD_OK);
    assert_int_equal(slad_executor_allocate(executor), SLAD_OK);
    float *pixels = malloc(count * sizeof *pixels), *result = malloc(backbone.tokens * 128 * sizeof *result);
    assert_true(pixels && result);
    (void)snprintf(name, sizeof name, "image%zu", image_size);
    formula_tensor(pixels, count, name, 2.0, 0);
    assert_int_equal(slad_executor_write(executor, record, input, pixels), SLAD_OK);
    assert_int_equal(slad_executor_run(executor, record, SLAD_PHASE_MICRO_BATCH), SLAD_OK);
    assert_int_equal(slad_executor_read(executor, record, output, result), SLAD_OK);
    free(pixels);
    slad_executor_free(executor);
    slad_record_free(record);
    slad_backbone_free(&backbone);
    slad_store_free(store);
    slad_encoder_free(encoder);
    slad_device_free(device);
    return result;
}

/* An encoder whose every tensor is trained starts as the frozen one, its position table resized in each pass. */
static void test_trained(void **state)
{
    scratch *own = *state;
    const formula_variant models[] = {tiny("vit.", SLAD_HF_VIT, 0, false),
                                      tiny("reggate.", SLAD_HF_DINOV2_WITH_REGISTERS, 2, true)};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        for (size_t grid = 5; grid <= 8; grid += 3) {
            char path[1024];
            size_t tokens;
            const size_t size = grid * models[i].encoder.patch;
            formula_write_variant(own, path, "model", &models[i]);
            float *frozen = tokens_of(own, &tokens, path, &models[i], size, SLAD_POSITION_AUTO);
            float *trained = trained_tokens(own, path, &models[i], size);
            assert_true(largest_difference(trained, frozen, tokens * 128) <= 2e-5);
            free(frozen);
            free(trained);
        }
}

/* The classifier of transformers' vit has no room for the mean of the patches. */
static void test_heads(void **state)
{
    scratch *own = *state;
    const formula_variant vit = tiny("vit.", SLAD_HF_VIT, 0, false);
    const slad_device_options device_options = {.spec = getenv("TEST_DEVICE")};
    slad_train_options options = slad_train_options_default();
    char path[1024];
    slad_device *device;
    slad_encoder *encoder;
    slad_trainer *trainer;
    slad_train_options_set_method(&options, SLAD_METHOD_PROBE);
    formula_write_variant(own, path, "vit", &vit);
    assert_int_equal(slad_device_open(own->context, &device, &device_options), SLAD_OK);
    assert_int_equal(slad_encoder_open(own->context, &encoder, path), SLAD_OK);
    assert_int_equal(slad_encoder_get_info(encoder)->classifier_features, 128);
    assert_int_equal(slad_head_kind_of(encoder), SLAD_HEAD_CLS);
    assert_int_equal(slad_trainer_create(own->context, &trainer, device, NULL, encoder, 3, 80, 2, &options),
                     SLAD_ERROR_USAGE);
    assert_message(own, "--head cls");
    options.head = SLAD_HEAD_CLS;
    assert_int_equal(slad_trainer_create(own->context, &trainer, device, NULL, encoder, 3, 80, 2, &options), SLAD_OK);
    slad_trainer_free(trainer);
    slad_encoder_free(encoder);
    slad_device_free(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_base, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_kinds, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_trained, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_heads, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_forms, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
