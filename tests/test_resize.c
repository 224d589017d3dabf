/* Resizing against Pillow: fixtures/resize_cases.txt is written by oracle/make_resize.py. */
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
#include "data/resize.h"

static slad_context *context;

typedef struct resize_case {
    unsigned seed;
    size_t height, width;
    int filter;
    double left, top, right, bottom;
    size_t result_height, result_width;
    unsigned long long hash;
    char bytes[128]; /* of a small result, in hexadecimal */
} resize_case;

static bool parse_case(resize_case *c, const char *line)
{
    c->bytes[0] = '\0';
    return sscanf(line, "%u %zu %zu %d %lf %lf %lf %lf %zu %zu %llx %127s", &c->seed, &c->height, &c->width, &c->filter,
                  &c->left, &c->top, &c->right, &c->bottom, &c->result_height, &c->result_width, &c->hash,
                  c->bytes) >= 11;
}

static void check_case(const resize_case *c)
{
    slad_image image = {0}, result = {0};
    assert_int_equal(counter_image(context, &image, c->seed, c->height, c->width), SLAD_OK);
    assert_int_equal(slad_image_resize(context, &result, &image, c->left, c->top, c->right - c->left,
                                       c->bottom - c->top, c->result_height, c->result_width, (slad_filter)c->filter),
                     SLAD_OK);
    assert_int_equal(result.height, c->result_height);
    assert_int_equal(result.width, c->result_width);
    const size_t bytes = result.height * result.width * 3;
    for (size_t i = 0; c->bytes[0] && i < bytes; i++) {
        unsigned value = 0;
        assert_int_equal(sscanf(c->bytes + 2 * i, "%2x", &value), 1);
        assert_int_equal(result.pixels[i], value);
    }
    if (slad_hash_bytes(SLAD_HASH_START, result.pixels, bytes) != c->hash)
        fail_msg("filter %d, %zu x %zu to %zu x %zu differs from Pillow", c->filter, c->height, c->width,
                 c->result_height, c->result_width);
    slad_image_free(&image);
    slad_image_free(&result);
}

static void equals_pillow(void **state)
{
    (void)state;
    char line[512];
    size_t cases = 0;
    FILE *file = fopen(SLAD_FIXTURES "/resize_cases.txt", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        resize_case c;
        assert_true(parse_case(&c, line));
        check_case(&c);
        cases++;
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(cases, 182);
}

/* A window of the result is what cutting it out of the whole result gives. */
static void window_is_a_part_of_the_whole(void **state)
{
    (void)state;
    const slad_rectangle crop = {3, 5, 41, 31};
    const size_t sizes[][2] = {{20, 60}, {90, 12}, {41, 31}, {41, 50}, {15, 31}, {7, 200}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int filter = 0; filter <= SLAD_FILTER_HAMMING; filter++) {
            const size_t height = sizes[i][0], width = sizes[i][1];
            const slad_rectangle all = {0, 0, height, width};
            const slad_rectangle window = {height / 3, width / 4, height - height / 3 - 1, width / 2};
            slad_image image = {0}, whole = {0}, part = {0};
            assert_int_equal(counter_image(context, &image, 9, 50, 40), SLAD_OK);
            assert_int_equal(
                slad_image_resize_window(context, &whole, &image, crop, height, width, all, (slad_filter)filter),
                SLAD_OK);
            assert_int_equal(
                slad_image_resize_window(context, &part, &image, crop, height, width, window, (slad_filter)filter),
                SLAD_OK);
            for (size_t y = 0; y < window.height; y++)
                assert_memory_equal(part.pixels + y * window.width * 3,
                                    whole.pixels + ((window.top + y) * width + window.left) * 3, window.width * 3);
            slad_image_free(&image);
            slad_image_free(&whole);
            slad_image_free(&part);
        }
    }
}

/* The crop is cut out before it is resized: its neighbours do not shine in. */
static void crop_comes_before_resize(void **state)
{
    (void)state;
    const slad_rectangle crop = {8, 4, 10, 12}, all = {0, 0, 25, 25};
    slad_image image = {0}, cut = {0}, direct = {0}, expected = {0};
    assert_int_equal(counter_image(context, &image, 4, 30, 30), SLAD_OK);
    assert_int_equal(
        slad_image_resize(context, &cut, &image, 4.0, 8.0, 12.0, 10.0, crop.height, crop.width, SLAD_FILTER_NEAREST),
        SLAD_OK);
    assert_int_equal(slad_image_resize(context, &expected, &cut, 0.0, 0.0, 12.0, 10.0, 25, 25, SLAD_FILTER_BICUBIC),
                     SLAD_OK);
    assert_int_equal(slad_image_resize_window(context, &direct, &image, crop, 25, 25, all, SLAD_FILTER_BICUBIC),
                     SLAD_OK);
    assert_memory_equal(direct.pixels, expected.pixels, (size_t)25 * 25 * 3);
    slad_image_free(&image);
    slad_image_free(&cut);
    slad_image_free(&direct);
    slad_image_free(&expected);
}

static void long_thin_image_needs_little_memory(void **state)
{
    (void)state;
    const slad_rectangle crop = {0, 0, 20000, 1};
    const slad_rectangle window = {2559888, 16, 224, 224};
    slad_image image = {0}, result = {0};
    assert_int_equal(counter_image(context, &image, 2, 20000, 1), SLAD_OK);
    assert_int_equal(
        slad_image_resize_window(context, &result, &image, crop, 5120000, 256, window, SLAD_FILTER_BICUBIC), SLAD_OK);
    assert_int_equal(result.height, 224);
    slad_image_free(&result);
    const slad_rectangle all = {0, 0, 5120000, 256};
    assert_int_equal(slad_image_resize_window(context, &result, &image, crop, 5120000, 256, all, SLAD_FILTER_BICUBIC),
                     SLAD_ERROR_DATA);
    assert_null(result.pixels);
    const size_t beyond_int = (size_t)1 << 32;
    const slad_rectangle first = {0, 0, 1, 1};
    assert_int_equal(
        slad_image_resize_window(context, &result, &image, crop, beyond_int, 1, first, SLAD_FILTER_NEAREST),
        SLAD_ERROR_DATA);
    slad_image_free(&image);
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    const slad_rectangle outside = {0, 0, 9, 11}, inside = {0, 0, 10, 10}, too_far = {5, 0, 6, 10},
                         empty = {0, 0, 0, 1};
    slad_image image = {0}, result = {0};
    assert_int_equal(counter_image(context, &image, 2, 10, 10), SLAD_OK);
    const double boxes[][4] = {{-1, 0, 5, 5}, {0, 0, 11, 10}, {0, 0, 0, 5}, {0, 3, 5, 8}, {0, 0, nan(""), 1}};
    for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++)
        assert_int_equal(slad_image_resize(context, &result, &image, boxes[i][0], boxes[i][1], boxes[i][2], boxes[i][3],
                                           5, 5, SLAD_FILTER_BOX),
                         SLAD_ERROR_USAGE);
    assert_int_equal(slad_image_resize(context, &result, &image, 0, 0, 10, 10, 0, 5, SLAD_FILTER_BOX),
                     SLAD_ERROR_USAGE);
    assert_int_equal(slad_image_resize_window(context, &result, &image, outside, 10, 10, inside, SLAD_FILTER_BICUBIC),
                     SLAD_ERROR_USAGE);
    assert_int_equal(slad_image_resize_window(context, &result, &image, inside, 10, 10, too_far, SLAD_FILTER_BICUBIC),
                     SLAD_ERROR_USAGE);
    assert_int_equal(slad_image_resize_window(context, &result, &image, inside, 10, 10, empty, SLAD_FILTER_BICUBIC),
                     SLAD_ERROR_USAGE);
    assert_null(result.pixels);
    slad_image_free(&image);
}

/* Each allocation in turn fails: a status comes back, and nothing leaks (the sanitizers watch). */
static void survives_failing_allocations(void **state)
{
    (void)state;
    slad_image image = {0}, result = {0};
    assert_int_equal(counter_image(context, &image, 2, 30, 20), SLAD_OK);
    uint64_t countdown = 1;
    for (; countdown < 100; countdown++) {
        slad_fault_arm(context, countdown);
        const slad_status status =
            slad_image_resize(context, &result, &image, 0, 0, 20, 30, 12, 25, SLAD_FILTER_LANCZOS);
        if (status == SLAD_OK) break;
        assert_int_equal(status, SLAD_ERROR_OUT_OF_MEMORY);
        assert_null(result.pixels);
    }
    slad_fault_arm(context, 0);
    assert_in_range(countdown, 5, 50);
    slad_image_free(&image);
    slad_image_free(&result);
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
        cmocka_unit_test(equals_pillow),
        cmocka_unit_test(window_is_a_part_of_the_whole),
        cmocka_unit_test(crop_comes_before_resize),
        cmocka_unit_test(long_thin_image_needs_little_memory),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
