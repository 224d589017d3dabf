/* Colours and blur against torchvision on Pillow images: fixtures/preprocess is written by oracle/make_colour.py. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "counter_image.h"
#include "data/colour.h"
#include "data/preprocess.h"

static slad_context *context;

/* 64 levels of each channel, with low bits that make them all of the 256. */
static void colour_cube(slad_image *image)
{
    static const uint32_t factors[] = {2654435761u, 40503u, 97u};
    *image = (slad_image){.height = 512, .width = 512};
    assert_int_equal(slad_allocate(context, &image->pixels, (size_t)3 * 512 * 512, 1, "colour cube"), SLAD_OK);
    for (uint32_t i = 0; i < 512 * 512; i++)
        for (uint32_t c = 0; c < 3; c++)
            image->pixels[3 * i + c] = (unsigned char)((i >> 6 * c & 63u) << 2 | (i * factors[c] >> 24 & 3u));
}

static void picture(slad_image *image, int seed, size_t height, size_t width)
{
    if (seed < 0)
        colour_cube(image);
    else
        assert_int_equal(counter_image(context, image, (uint32_t)seed, height, width), SLAD_OK);
}

static void make_grey(slad_image *image, double factor)
{
    (void)factor;
    slad_make_grey(image);
}

static void colours_equal_torchvision(void **state)
{
    static const struct {
        const char *name;
        void (*adjust)(slad_image *image, double factor);
    } kinds[] = {{"brightness", slad_adjust_brightness},
                 {"contrast", slad_adjust_contrast},
                 {"saturation", slad_adjust_saturation},
                 {"hue", slad_adjust_hue},
                 {"grey", make_grey}};
    char line[256], name[32];
    size_t cases = 0, kind = 0;
    (void)state;
    FILE *file = fopen(SLAD_FIXTURES "/preprocess/colour.txt", "r");
    assert_non_null(file);
    for (; fgets(line, sizeof line, file); cases++) {
        slad_image image = {0};
        int seed = 0;
        size_t height = 0, width = 0;
        double factor = 0;
        unsigned long long hash = 0;
        assert_int_equal(sscanf(line, "%31s %d %zu %zu %lf %llx", name, &seed, &height, &width, &factor, &hash), 6);
        while (kind < 5 && strcmp(kinds[kind].name, name) != 0) kind++;
        assert_true(kind < 5);
        picture(&image, seed, height, width);
        kinds[kind].adjust(&image, factor);
        if (slad_hash_bytes(SLAD_HASH_START, image.pixels, 3 * height * width) != hash) fail_msg("differs: %s", line);
        slad_image_free(&image);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(cases, 140);
}

static void blurs_equal_torchvision_within_a_level(void **state)
{
    static char line[4096];
    size_t cases = 0, off = 0, bytes = 0;
    (void)state;
    FILE *file = fopen(SLAD_FIXTURES "/preprocess/blur.txt", "r");
    assert_non_null(file);
    for (; fgets(line, sizeof line, file); cases++) {
        slad_image image = {0};
        int seed = 0, start = 0;
        size_t height = 0, width = 0;
        double sigma = 0;
        assert_int_equal(sscanf(line, "%d %zu %zu %lf %n", &seed, &height, &width, &sigma, &start), 4);
        picture(&image, seed, height, width);
        assert_int_equal(slad_blur(context, &image, sigma), SLAD_OK);
        for (size_t i = 0; i < 3 * height * width; i++, bytes++) {
            unsigned wanted = 0;
            assert_int_equal(sscanf(line + start + 2 * i, "%2x", &wanted), 1);
            const int difference = abs((int)image.pixels[i] - (int)wanted);
            assert_in_range(difference, 0, 1);
            off += difference > 0;
        }
        slad_image_free(&image);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(cases, 20);
    assert_true(off * 200 < bytes); /* only where a sum lies between two levels */
}

/* Images that are smaller than the kernel, down to one pixel; a constant stays as it is. */
static void blurs_of_small_images(void **state)
{
    (void)state;
    for (size_t height = 1; height < 7; height++) {
        for (size_t width = 1; width < 7; width++) {
            slad_image image = {0};
            assert_int_equal(counter_image(context, &image, 0, height, width), SLAD_OK);
            memset(image.pixels, 77, 3 * height * width);
            assert_int_equal(slad_blur(context, &image, 2.0), SLAD_OK);
            for (size_t i = 0; i < 3 * height * width; i++) assert_int_equal(image.pixels[i], 77);
            slad_image_free(&image);
        }
    }
    slad_image image = {0};
    assert_int_equal(counter_image(context, &image, 0, 5, 5), SLAD_OK);
    slad_fault_arm(context, 1);
    assert_int_equal(slad_blur(context, &image, 1.0), SLAD_ERROR_OUT_OF_MEMORY);
    slad_fault_arm(context, 0);
    slad_image_free(&image);
}

/* How often each distortion is met among many samples, told from what it does to an image of one colour and a point. */
static void distortions_have_their_probabilities(void **state)
{
    enum { SAMPLES = 4000, SIDE = 9 };
    double coloured = 0, grey = 0, blurred = 0;
    (void)state;
    for (uint32_t sample = 0; sample < SAMPLES; sample++) {
        slad_image image = {0}, again = {0};
        slad_random random = slad_random_start(1, SLAD_RANDOM_AUGMENT, 0, sample), same = random;
        assert_int_equal(counter_image(context, &image, 0, SIDE, SIDE), SLAD_OK);
        assert_int_equal(counter_image(context, &again, 0, SIDE, SIDE), SLAD_OK);
        for (size_t i = 0; i < SIDE * SIDE; i++) {
            image.pixels[3 * i] = again.pixels[3 * i] = 180;
            image.pixels[3 * i + 1] = again.pixels[3 * i + 1] = i == 40 ? 130 : 90;
            image.pixels[3 * i + 2] = again.pixels[3 * i + 2] = 40;
        }
        assert_int_equal(slad_distort(context, &image, &random), SLAD_OK);
        assert_int_equal(slad_distort(context, &again, &same), SLAD_OK);
        assert_memory_equal(image.pixels, again.pixels, 3 * SIDE * SIDE);
        const unsigned char *corner = image.pixels, *beside = image.pixels + 3 * 39;
        grey += corner[0] == corner[1] && corner[1] == corner[2];
        coloured += corner[0] != corner[1] && (corner[0] != 180 || corner[1] != 90 || corner[2] != 40);
        blurred += memcmp(beside, corner, 3) != 0;
        slad_image_free(&image);
        slad_image_free(&again);
    }
    assert_true(fabs(grey / SAMPLES - 0.2) < 0.025);
    assert_true(fabs(coloured / SAMPLES - 0.8 * 0.8) < 0.03);
    assert_true(blurred / SAMPLES > 0.06 && blurred / SAMPLES < 0.115); /* the smallest sigmas do nothing */
}

/* The same crop and flip as crop-flip, then other values; a function of the draws. */
static void strong_is_crop_flip_and_more(void **state)
{
    enum { SIDE = 14, VALUES = 3 * SIDE * SIDE };
    static float plain[VALUES], strong[VALUES], wanted[VALUES];
    slad_preprocess preprocess = slad_preprocess_default();
    size_t equal = 0;
    (void)state;
    slad_preprocess_set_size(&preprocess, SIDE);
    for (uint32_t sample = 0; sample < 200; sample++) {
        slad_image image = {0}, patch = {0};
        slad_random random = slad_random_start(2, SLAD_RANDOM_AUGMENT, 3, sample), same = random, third = random;
        assert_int_equal(counter_image(context, &image, sample, 20, 24), SLAD_OK);
        assert_int_equal(slad_preprocess_crop_flip(context, plain, &preprocess, &image, 0.4, 0.9, &random), SLAD_OK);
        assert_int_equal(slad_preprocess_strong(context, strong, &preprocess, &image, 0.4, 0.9, &same), SLAD_OK);
        const slad_rectangle crop = slad_random_crop(20, 24, 0.4, 0.9, &third), all = {0, 0, SIDE, SIDE};
        const bool flip = slad_random_uniform(&third) < 0.5f;
        assert_int_equal(slad_image_resize_window(context, &patch, &image, crop, SIDE, SIDE, all, preprocess.filter),
                         SLAD_OK);
        assert_int_equal(slad_distort(context, &patch, &third), SLAD_OK);
        for (size_t i = 0; i < VALUES; i++) {
            const size_t c = i / (SIDE * SIDE), y = i / SIDE % SIDE, x = flip ? SIDE - 1 - i % SIDE : i % SIDE;
            const float level = (float)(patch.pixels[3 * (y * SIDE + x) + c] * preprocess.rescale_factor);
            wanted[i] = (level - preprocess.mean[c]) / preprocess.deviation[c];
        }
        assert_memory_equal(strong, wanted, sizeof wanted);
        equal += slad_hash_bytes(SLAD_HASH_START, strong, sizeof strong) ==
                 slad_hash_bytes(SLAD_HASH_START, plain, sizeof plain);
        slad_image_free(&image);
        slad_image_free(&patch);
    }
    assert_in_range(equal, 10, 60); /* 0.2 * 0.8 * 0.9 of 200 */
}

static int open_context(void **state)
{
    (void)state;
    return slad_context_create(&context, NULL, SLAD_LOG_ERROR) == SLAD_OK ? 0 : -1;
}

static int close_context(void **state)
{
    (void)state;
    slad_context_free(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colours_equal_torchvision),    cmocka_unit_test(blurs_equal_torchvision_within_a_level),
        cmocka_unit_test(blurs_of_small_images),        cmocka_unit_test(distortions_have_their_probabilities),
        cmocka_unit_test(strong_is_crop_flip_and_more),
    };
    return cmocka_run_group_tests(tests, open_context, close_context);
}
