/* crop-flip against torchvision's rule and Pillow: fixtures/preprocess is written by oracle/make_preprocess.py. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "counter_image.h"
#include "data/preprocess.h"

static slad_context *context;

static void crops_follow_torchvision(void **state)
{
    (void)state;
    char line[512];
    size_t cases = 0;
    FILE *file = fopen(SLAD_FIXTURES "/preprocess/crops.txt", "r");
    assert_non_null(file);
    for (; fgets(line, sizeof line, file); cases++) {
        size_t height = 0, width = 0;
        double low = 0, high = 0;
        unsigned long long seed = 0;
        unsigned epoch = 0, sample = 0, flip = 0;
        slad_rectangle expected = {0};
        assert_int_equal(sscanf(line, "%zu %zu %lf %lf %llu %u %u %zu %zu %zu %zu %u", &height, &width, &low, &high,
                                &seed, &epoch, &sample, &expected.top, &expected.left, &expected.height,
                                &expected.width, &flip),
                         12);
        slad_random random = slad_random_start(seed, SLAD_RANDOM_AUGMENT, epoch, sample);
        const slad_rectangle crop = slad_random_crop(height, width, low, high, &random);
        assert_int_equal(crop.top, expected.top);
        assert_int_equal(crop.left, expected.left);
        assert_int_equal(crop.height, expected.height);
        assert_int_equal(crop.width, expected.width);
        assert_int_equal(slad_random_uniform(&random) < 0.5f, flip);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(cases, 80);
}

static void pixels_equal_pillow(void **state)
{
    (void)state;
    char line[512];
    size_t cases = 0;
    static float pixels[3 * 28 * 28];
    slad_preprocess p;
    assert_int_equal(slad_preprocess_read(context, &p, SLAD_FIXTURES "/preprocess/small"), SLAD_OK);
    FILE *file = fopen(SLAD_FIXTURES "/preprocess/crop_flip.txt", "r");
    assert_non_null(file);
    for (; fgets(line, sizeof line, file); cases++) {
        size_t height = 0, width = 0;
        double low = 0, high = 0;
        unsigned long long seed = 0, hash = 0;
        unsigned image_seed = 0, epoch = 0, sample = 0;
        slad_image image = {0};
        assert_int_equal(sscanf(line, "small %u %zu %zu %lf %lf %llu %u %u %llx", &image_seed, &height, &width, &low,
                                &high, &seed, &epoch, &sample, &hash),
                         9);
        assert_int_equal(counter_image(context, &image, image_seed, height, width), SLAD_OK);
        slad_random random = slad_random_start(seed, SLAD_RANDOM_AUGMENT, epoch, sample);
        assert_int_equal(slad_preprocess_crop_flip(context, pixels, &p, &image, low, high, &random), SLAD_OK);
        if (slad_hash_bytes(SLAD_HASH_START, pixels, sizeof pixels) != hash)
            fail_msg("%zu x %zu, sample %u differs", height, width, sample);
        slad_image_free(&image);
    }
    assert_int_equal(fclose(file), 0);
    assert_true(cases >= 20);
}

/* Shares of the image that crops cover, and how often they flip. Crops of at most half of this image always fit, so no
 * draw is refused and the means are those of the uniform distributions. */
static void draws_have_the_right_distribution(void **state)
{
    (void)state;
    const size_t height = 480, width = 640, draws = 4000;
    double area = 0.0, log_ratio = 0.0, smallest = 1.0, flips = 0.0, left = 0.0;
    for (size_t i = 0; i < draws; i++) {
        slad_random random = slad_random_start(7, SLAD_RANDOM_AUGMENT, 3, (uint32_t)i);
        const slad_rectangle crop = slad_random_crop(height, width, 0.1, 0.5, &random);
        assert_true(crop.top + crop.height <= height && crop.left + crop.width <= width);
        const double share = (double)(crop.height * crop.width) / (double)(height * width);
        const double ratio = (double)crop.width / (double)crop.height;
        assert_true(ratio > 0.745 && ratio < 1.342 && share < 0.505);
        area += share;
        log_ratio += log(ratio);
        if (share < smallest) smallest = share;
        if (width > crop.width) left += (double)crop.left / (double)(width - crop.width) - 0.5;
        flips += slad_random_uniform(&random) < 0.5f;
    }
    assert_true(smallest > 0.095 && smallest < 0.105);
    assert_true(fabs(area / (double)draws - 0.3) < 0.01);
    assert_true(fabs(log_ratio / (double)draws) < 0.03);
    assert_true(fabs(left / (double)draws) < 0.02);
    assert_true(fabs(flips / (double)draws - 0.5) < 0.03);
}

static int set_up(void **state)
{
    (void)state;
    return slad_context_create(&context, NULL, SLAD_LOG_WARNING) == SLAD_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    slad_context_free(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crops_follow_torchvision),
        cmocka_unit_test(pixels_equal_pillow),
        cmocka_unit_test(draws_have_the_right_distribution),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
