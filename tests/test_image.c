/* Decoding: fixtures/images is written by oracle/make_images.py with Pillow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/files.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/image.h"

#define FOLDER SLAD_FIXTURES "/images/"

static slad_context *context;

static size_t byte_at(const char *hexadecimal, size_t i)
{
    char text[3] = {hexadecimal[2 * i], hexadecimal[2 * i + 1], '\0'};
    return strtoul(text, NULL, 16);
}

static void check_pixels(const char *name, const slad_image *image, const char *hexadecimal, int tolerance)
{
    const size_t bytes = image->height * image->width * 3;
    assert_int_equal(strlen(hexadecimal), 2 * bytes);
    for (size_t i = 0; i < bytes; i++) {
        const int difference = (int)image->pixels[i] - (int)byte_at(hexadecimal, i);
        if (abs(difference) > tolerance)
            fail_msg("%s: value %zu is %d, not %d", name, i, image->pixels[i], (int)byte_at(hexadecimal, i));
    }
}

static void every_kind_equals_pillow(void **state)
{
    (void)state;
    char line[4096], name[64], pixels[2048], path[1024];
    size_t cases = 0;
    FILE *file = fopen(FOLDER "images.txt", "r");
    assert_non_null(file);
    for (; fgets(line, sizeof line, file); cases++) {
        int tolerance = 0;
        size_t height = 0, width = 0;
        slad_image image = {0};
        assert_int_equal(sscanf(line, "%63s %d %zu %zu %2047s", name, &tolerance, &height, &width, pixels), 5);
        (void)snprintf(path, sizeof path, FOLDER "%s", name);
        if (slad_image_read(context, &image, path) != SLAD_OK) fail_msg("%s", slad_context_message(context));
        assert_int_equal(image.height, height);
        assert_int_equal(image.width, width);
        check_pixels(name, &image, pixels, tolerance);
        assert_true(slad_image_has_known_name(name));
        slad_image_free(&image);
        assert_null(image.pixels);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(cases, 28);
}

static void broken_files_are_named_with_a_reason(void **state)
{
    (void)state;
    char line[256], name[64], reason[64], path[1024];
    size_t cases = 0;
    FILE *file = fopen(FOLDER "broken.txt", "r");
    assert_non_null(file);
    for (; fgets(line, sizeof line, file); cases++) {
        slad_image image = {0};
        assert_int_equal(sscanf(line, "%63s %63[^\n]", name, reason), 2);
        (void)snprintf(path, sizeof path, FOLDER "%s", name);
        if (slad_image_read(context, &image, path) != SLAD_ERROR_DATA) fail_msg("%s was not refused", name);
        assert_null(image.pixels);
        const char *message = slad_context_message(context);
        assert_ptr_equal(strstr(message, path), message);
        if (!strstr(message + strlen(path), reason) && !strstr(name, reason)) fail_msg("%s: %s", reason, message);
    }
    assert_int_equal(fclose(file), 0);
    assert_true(cases >= 16);
    slad_image image = {0};
    assert_int_equal(slad_image_read(context, &image, FOLDER "nowhere.png"), SLAD_ERROR_DATA);
    assert_non_null(strstr(slad_context_message(context), "nowhere.png"));
}

/* A side of 20,000 pixels is fine as long as the whole is not too large. */
static void long_side_is_read(void **state)
{
    (void)state;
    static const char header[] = "P6 20000 2 255\n";
    const size_t offset = sizeof header - 1, size = offset + (size_t)20000 * 2 * 3;
    unsigned char *bytes = NULL;
    slad_image image = {0};
    assert_int_equal(slad_allocate(context, &bytes, size, 1, "test"), SLAD_OK);
    memcpy(bytes, header, offset);
    bytes[size - 1] = 7;
    assert_int_equal(slad_image_decode(context, &image, bytes, size, "long"), SLAD_OK);
    assert_int_equal(image.width, 20000);
    assert_int_equal(image.pixels[119999], 7);
    slad_image_free(&image);
    assert_int_equal(slad_image_decode(context, &image, bytes, size - 1, "long"), SLAD_ERROR_DATA);
    assert_non_null(strstr(slad_context_message(context), "truncated"));
    slad_release(bytes);
}

static unsigned char *read_fixture(const char *name, size_t *size)
{
    char path[1024];
    char *bytes = NULL;
    (void)snprintf(path, sizeof path, FOLDER "%s", name);
    assert_int_equal(slad_file_read_all(context, &bytes, size, path, 1u << 20), SLAD_OK);
    return (unsigned char *)bytes;
}

/* What a camera appends to a JPEG, even if it looks like a broken table, does not matter; the same inside does. */
static void only_the_jpeg_itself_counts(void **state)
{
    (void)state;
    static const unsigned char table[] = {0xFF, 0xC4, 0x00, 0x20, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
                                          0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    size_t size = 0;
    slad_image image = {0};
    unsigned char *bytes = read_fixture("rgb.jpg", &size), *longer = NULL;
    assert_int_equal(slad_allocate(context, &longer, size + sizeof table, 1, "test"), SLAD_OK);
    memcpy(longer, bytes, size);
    memcpy(longer + size, table, sizeof table);
    assert_int_equal(slad_image_decode(context, &image, longer, size + sizeof table, "behind"), SLAD_OK);
    slad_image_free(&image);
    memcpy(longer + 2, table, sizeof table);
    memcpy(longer + 2 + sizeof table, bytes + 2, size - 2);
    assert_int_equal(slad_image_decode(context, &image, longer, size + sizeof table, "inside"), SLAD_ERROR_DATA);
    assert_non_null(strstr(slad_context_message(context), "Huffman"));
    slad_release(bytes);
    slad_release(longer);
}

/* Bits flipped at random behind the header: whatever comes back, it is a status, and the sanitizers are content. */
static void damaged_files_do_no_harm(void **state)
{
    (void)state;
    static const char *const names[] = {"rgb.png",  "palette.png", "grey_16.png",      "rgb.jpg",     "subsampled.jpg",
                                        "cmyk.jpg", "grey.jpg",    "progressive.jpeg", "palette.gif", "animated.gif"};
    size_t refused = 0;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        size_t size = 0;
        unsigned char *bytes = read_fixture(names[n], &size);
        for (uint32_t round = 0; round < 200; round++) {
            slad_random random = slad_random_start(11, SLAD_RANDOM_VERIFY, (uint32_t)n, round);
            slad_image image = {0};
            const size_t at = 30 + slad_random_below(&random, (uint32_t)size - 30);
            const unsigned char kept = bytes[at];
            bytes[at] ^= (unsigned char)(1u << slad_random_below(&random, 8));
            const slad_status status = slad_image_decode(context, &image, bytes, size, names[n]);
            assert_true(status == SLAD_OK || status == SLAD_ERROR_DATA);
            assert_true((status == SLAD_OK) == (image.pixels != NULL));
            refused += status != SLAD_OK;
            slad_image_free(&image);
            bytes[at] = kept;
        }
        slad_release(bytes);
    }
    assert_true(refused > 100);
}

static void names_are_recognised(void **state)
{
    (void)state;
    static const char *const images[] = {"a.jpg", "b.JPEG", "c.d.Png", ".bmp", "x.gif", "x.TGA", "x.ppm", "x.pgm"};
    static const char *const others[] = {"a", "jpg", "a.jpgx", "a.jp", "a.", "a.txt", "a.webp", "a.tif", "a.jpg.txt"};
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) assert_true(slad_image_has_known_name(images[i]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(slad_image_has_known_name(others[i]));
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
        cmocka_unit_test(every_kind_equals_pillow), cmocka_unit_test(broken_files_are_named_with_a_reason),
        cmocka_unit_test(long_side_is_read),        cmocka_unit_test(only_the_jpeg_itself_counts),
        cmocka_unit_test(damaged_files_do_no_harm), cmocka_unit_test(names_are_recognised),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
