/* Whole encoders against transformers: the shapes of ViT-S/14 and ViT-B/14 at two image sizes. */
#include "formula.h"

#include "cl/device.h"
#include "train/inference.h"

/* The bound that the features must keep, absolute; values are about 5 at most. */
#define BOUND  2e-4
#define STRIDE 16

typedef struct feature_case {
    const char *name;
    formula_encoder model;
    size_t image_size;
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
    float *mean = calloc(width, sizeof *mean);
    assert_non_null(mean);
    assert_int_equal(slad_safetensors_open(own->context, &file, SLAD_FIXTURES "/features.safetensors"), SLAD_OK);
    (void)snprintf(name, sizeof name, "%s.tokens", test->name);
    float *expected = fixture_read(own, file, name, NULL);
    for (size_t t = 0; t < count; t += STRIDE) {
        const double difference = largest_difference(tokens + t * width, expected + t / STRIDE * width, width);
        if (difference > worst) worst = difference;
    }
    free(expected);
    for (size_t d = 0; d < width; d++) {
        double sum = 0;
        for (size_t t = 1; t < count; t++) sum += (double)tokens[t * width + d];
        mean[d] = (float)(sum / (double)(count - 1));
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
static void check_outputs(slad_inference *inference, const formula_encoder *model, const float *result, size_t tokens)
{
    const size_t d = model->width;
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
        for (size_t t = 1; t < tokens; t++) sum += (double)result[t * d + i];
        const double normal = ((double)block[i] - mean) / sqrt(square + 1e-6);
        assert_true(features[i] == result[i]);
        assert_true(fabs((double)features[d + i] - sum / (double)(tokens - 1)) < 1e-5);
        assert_true(fabs((double)gamma[i] * normal + (double)beta[i] - (double)result[i]) < BOUND);
    }
    free(features);
    free(block);
    free(gamma);
    free(beta);
}

static void check_features(scratch *own, const feature_case *test)
{
    char folder[1024], name[32];
    slad_device *device;
    slad_encoder *encoder;
    slad_inference inference;
    const slad_device_options options = {.spec = getenv("TEST_DEVICE")};
    const size_t pixels_count = 3 * test->image_size * test->image_size;
    formula_write_model(own, folder, test->name, &test->model);
    assert_int_equal(slad_device_open(own->context, &device, &options), SLAD_OK);
    assert_int_equal(slad_encoder_open(own->context, &encoder, folder), SLAD_OK);
    const slad_network_source source = {.encoder = encoder};
    assert_int_equal(slad_inference_create(own->context, &inference, device, &source, 1, test->image_size,
                                           SLAD_POSITION_AUTO, SLAD_WANT_TOKENS | SLAD_WANT_FEATURES),
                     SLAD_OK);
    const size_t tokens = inference.network.backbone.tokens;
    float *pixels = malloc(pixels_count * sizeof *pixels),
          *result = malloc(tokens * test->model.width * sizeof *result);
    assert_non_null(pixels);
    assert_non_null(result);
    (void)snprintf(name, sizeof name, "image%zu", test->image_size);
    formula_tensor(pixels, pixels_count, name, 2.0, 0);
    assert_int_equal(slad_inference_run(&inference, pixels), SLAD_OK);
    assert_int_equal(slad_inference_read(&inference, result, inference.tokens), SLAD_OK);
    compare(own, test, result, tokens, test->model.width);
    check_outputs(&inference, &test->model, result, tokens);
    free(pixels);
    free(result);
    slad_inference_free(&inference);
    slad_encoder_free(encoder);
    slad_device_free(device);
    assert_int_equal(slad_path_remove(own->context, folder), SLAD_OK);
}

#define SMALL                                                                                                          \
    (formula_encoder)                                                                                                  \
    {                                                                                                                  \
        "s.", 384, 12, 6, 4, 14, 37                                                                                    \
    }
#define BASE                                                                                                           \
    (formula_encoder)                                                                                                  \
    {                                                                                                                  \
        "b.", 768, 12, 12, 4, 14, 37                                                                                   \
    }

static void test_small(void **state)
{
    check_features(*state, &(feature_case){"s224", SMALL, 224});
    check_features(*state, &(feature_case){"s126", SMALL, 126});
}

static void test_base(void **state)
{
    check_features(*state, &(feature_case){"b224", BASE, 224});
    check_features(*state, &(feature_case){"b126", BASE, 126});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_small, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_base, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
