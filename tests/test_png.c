/* PNG images: what is written is read back, thumbnails fit, and equal images give equal bytes. */
#include "scratch.h"

#include "data/png.h"

static slad_image gradient(size_t height, size_t width)
{
    slad_image image = {.pixels = malloc(3 * height * width), .height = height, .width = width};
    assert_non_null(image.pixels);
    for (size_t i = 0; i < 3 * height * width; i++) image.pixels[i] = (unsigned char)(i * 7 + i / 11);
    return image;
}

static void check(scratch *own, size_t height, size_t width, size_t side, size_t small_height, size_t small_width)
{
    slad_image image = gradient(height, width), back = {0};
    unsigned char *png = NULL, *again = NULL;
    size_t size = 0, again_size = 0;
    assert_int_equal(slad_png_thumbnail(own->context, &png, &size, &image, side), SLAD_OK);
    assert_int_equal(slad_png_thumbnail(own->context, &again, &again_size, &image, side), SLAD_OK);
    assert_int_equal(size, again_size);
    assert_memory_equal(png, again, size);
    assert_int_equal(slad_image_decode(own->context, &back, png, size, "png"), SLAD_OK);
    assert_int_equal(back.height, small_height);
    assert_int_equal(back.width, small_width);
    if (height == small_height && width == small_width)
        assert_memory_equal(back.pixels, image.pixels, 3 * height * width);
    slad_image_free(&back);
    slad_release(png);
    slad_release(again);
    free(image.pixels);
}

static void test_round_trip(void **state)
{
    check(*state, 1, 1, 64, 1, 1);
    check(*state, 33, 17, 64, 33, 17);
    check(*state, 64, 64, 64, 64, 64);
}

static void test_thumbnails(void **state)
{
    check(*state, 200, 100, 50, 50, 25);
    check(*state, 100, 201, 50, 25, 50);
    check(*state, 1, 2000, 50, 1, 50);
}

static void test_refusals(void **state)
{
    scratch *own = *state;
    slad_image image = gradient(8, 8);
    const slad_image empty = {0};
    unsigned char *png = NULL;
    size_t size;
    assert_int_equal(slad_png_encode(own->context, &png, &size, &empty), SLAD_ERROR_USAGE);
    slad_fault_arm(own->context, 1);
    assert_int_equal(slad_png_encode(own->context, &png, &size, &image), SLAD_ERROR_OUT_OF_MEMORY);
    slad_fault_arm(own->context, 0);
    assert_null(png);
    free(image.pixels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_thumbnails, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_refusals, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
