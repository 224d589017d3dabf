/* Preprocessing against transformers: fixtures/preprocess is written by oracle/make_preprocess.py. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/files.h"
#include "base/hash.h"
#include "counter_image.h"
#include "data/preprocess.h"

static slad_context *context;
static char folder[] = "/tmp/slad-test-preprocess-XXXXXX";

static float *allocate_pixels(const slad_preprocess *p)
{
    float *pixels = NULL;
    assert_int_equal(slad_allocate(context, &pixels, p->crop_height * p->crop_width, 3 * sizeof *pixels, "pixels"),
                     SLAD_OK);
    return pixels;
}

static void equals_transformers(void **state)
{
    (void)state;
    char line[512], name[64], path[1024];
    size_t cases = 0;
    FILE *file = fopen(SLAD_FIXTURES "/preprocess/evaluate.txt", "r");
    assert_non_null(file);
    for (; fgets(line, sizeof line, file); cases++) {
        unsigned seed = 0;
        size_t height = 0, width = 0, result_height = 0, result_width = 0;
        unsigned long long hash = 0;
        float first = 0, last = 0;
        slad_preprocess p;
        slad_image image = {0};
        assert_int_equal(sscanf(line, "%63s %u %zu %zu %zu %zu %llx %f %f", name, &seed, &height, &width,
                                &result_height, &result_width, &hash, &first, &last),
                         9);
        (void)snprintf(path, sizeof path, SLAD_FIXTURES "/preprocess/%s", name);
        assert_int_equal(slad_preprocess_read(context, &p, path), SLAD_OK);
        assert_int_equal(p.crop_height, result_height);
        assert_int_equal(p.crop_width, result_width);
        assert_int_equal(counter_image(context, &image, seed, height, width), SLAD_OK);
        float *pixels = allocate_pixels(&p);
        assert_int_equal(slad_preprocess_evaluate(context, pixels, &p, &image), SLAD_OK);
        const size_t count = 3 * p.crop_height * p.crop_width;
        assert_float_equal(pixels[0], first, 1e-6f);
        assert_float_equal(pixels[count - 1], last, 1e-6f);
        if (slad_hash_bytes(SLAD_HASH_START, pixels, count * sizeof *pixels) != hash)
            fail_msg("%s: %zu x %zu differs from transformers", name, height, width);
        slad_image_free(&image);
        slad_release(pixels);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(cases, 72);
}

static void missing_file_means_dinov2(void **state)
{
    (void)state;
    const slad_preprocess expected = slad_preprocess_default();
    slad_preprocess p = {0};
    assert_int_equal(slad_preprocess_read(context, &p, folder), SLAD_OK);
    assert_int_equal(p.shortest_edge, 256);
    assert_int_equal(p.crop_height, 224);
    assert_int_equal(p.filter, SLAD_FILTER_BICUBIC);
    assert_memory_equal(p.mean, expected.mean, sizeof p.mean);
}

/* Unless config.json is a ViT's, which has ViTImageProcessor's values; a single file has no folder at all. */
static void missing_file_means_the_models_type(void **state)
{
    (void)state;
    static const char config[] = "{\"model_type\":\"vit\"}";
    char path[1024];
    slad_preprocess p = {0};
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(slad_file_write_all(context, path, config, strlen(config)), SLAD_OK);
    assert_int_equal(slad_preprocess_read(context, &p, folder), SLAD_OK);
    assert_int_equal(p.shortest_edge, 0);
    assert_int_equal(p.resize_height, 224);
    assert_int_equal(p.crop_width, 224);
    assert_int_equal(p.filter, SLAD_FILTER_BILINEAR);
    assert_true(p.mean[0] == 0.5f && p.deviation[2] == 0.5f);
    assert_int_equal(slad_preprocess_read(context, &p, path), SLAD_OK);
    assert_int_equal(p.shortest_edge, 256);
    assert_true(p.mean[0] == 0.485f);
    assert_int_equal(slad_path_remove(context, path), SLAD_OK);
}

static void size_scales_what_comes_before_the_crop(void **state)
{
    (void)state;
    slad_preprocess p = slad_preprocess_default();
    slad_preprocess_set_size(&p, 112);
    assert_int_equal(p.shortest_edge, 128);
    assert_int_equal(p.crop_height, 112);
    assert_int_equal(p.crop_width, 112);
    p = slad_preprocess_default();
    slad_preprocess_set_size(&p, 518);
    assert_int_equal(p.shortest_edge, 592);
    p = slad_preprocess_default();
    p.shortest_edge = p.crop_height = p.crop_width = 224;
    slad_preprocess_set_size(&p, 28);
    assert_int_equal(p.shortest_edge, 28);
    assert_int_equal(slad_preprocess_read(context, &p, SLAD_FIXTURES "/preprocess/vit"), SLAD_OK);
    slad_preprocess_set_size(&p, 56);
    assert_int_equal(p.shortest_edge, 0);
    assert_int_equal(p.resize_height, 56);
    assert_int_equal(p.resize_width, 56);
}

static void write_file(const char *text)
{
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/preprocessor_config.json", folder);
    assert_int_equal(slad_file_write_all(context, path, text, strlen(text)), SLAD_OK);
}

static void written_file_reads_as_the_same(void **state)
{
    (void)state;
    static const char *const names[] = {"dinov2", "small", "padded", "unresized", "stretched", "bare", "vit", "raw"};
    char path[1024];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        slad_preprocess p, back;
        memset(&p, 0, sizeof p);
        memset(&back, 0, sizeof back);
        (void)snprintf(path, sizeof path, SLAD_FIXTURES "/preprocess/%s", names[i]);
        assert_int_equal(slad_preprocess_read(context, &p, path), SLAD_OK);
        (void)snprintf(path, sizeof path, "%s/preprocessor_config.json", folder);
        assert_int_equal(slad_preprocess_write(context, &p, path), SLAD_OK);
        assert_int_equal(slad_preprocess_read(context, &back, folder), SLAD_OK);
        assert_int_equal(p.do_resize, back.do_resize);
        assert_int_equal(p.shortest_edge, back.shortest_edge);
        assert_int_equal(p.resize_height, back.resize_height);
        assert_int_equal(p.resize_width, back.resize_width);
        assert_int_equal(p.filter, back.filter);
        assert_int_equal(p.do_center_crop, back.do_center_crop);
        assert_int_equal(p.crop_height, back.crop_height);
        assert_int_equal(p.crop_width, back.crop_width);
        assert_true(p.rescale_factor == back.rescale_factor);
        assert_memory_equal(p.mean, back.mean, sizeof p.mean);
        assert_memory_equal(p.deviation, back.deviation, sizeof p.deviation);
    }
    char *text = NULL;
    size_t size = 0;
    slad_preprocess p = slad_preprocess_default();
    assert_int_equal(slad_preprocess_write(context, &p, path), SLAD_OK);
    assert_int_equal(slad_file_read_all(context, &text, &size, path, 65536), SLAD_OK);
    assert_non_null(strstr(text, "0.485,")); /* not 0.48500001430511475 */
    slad_release(text);
}

static void bad_files_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *word;
    } bad[] = {
        {"[]", "preprocessor_config.json"},
        {"{\"size\": \"big\"}", "size"},
        {"{\"size\": 0}", "size"},
        {"{\"size\": 1000000}", "size"},
        {"{\"size\": {\"height\": 3}}", "size"},
        {"{\"size\": {\"shortest_edge\": 3, \"longest_edge\": 9}}", "longest_edge"},
        {"{\"crop_size\": {\"shortest_edge\": 3}}", "crop_size"},
        {"{\"crop_size\": [3, 4]}", "crop_size"},
        {"{\"crop_size\": 3.5}", "crop_size"},
        {"{\"resample\": 6}", "resample"},
        {"{\"resample\": \"bicubic\"}", "resample"},
        {"{\"image_mean\": [1, 2]}", "image_mean"},
        {"{\"image_std\": [1, 0, 1]}", "image_std"},
        {"{\"image_std\": \"a\"}", "image_std"},
        {"{\"rescale_factor\": 0}", "rescale_factor"},
        {"{\"do_resize\": 1}", "do_resize"},
        {"{\"do_center_crop\": false}", "do_center_crop"},
        {"{\"do_center_crop\": false, \"do_resize\": false, \"size\": {\"height\": 3, \"width\": 3}}",
         "do_center_crop"},
        {"{\"image_processor_type\": 3}", "image_processor_type"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        slad_preprocess p = {.crop_height = 77};
        write_file(bad[i].text);
        assert_int_equal(slad_preprocess_read(context, &p, folder), SLAD_ERROR_DATA);
        assert_non_null(strstr(slad_context_message(context), bad[i].word));
        assert_non_null(strstr(slad_context_message(context), folder));
        assert_int_equal(p.crop_height, 77);
    }
}

/* A picture of 1 x 20000 pixels would be enlarged to 3.9 GB before it is cropped. */
static void long_thin_images_are_cheap(void **state)
{
    (void)state;
    slad_image image = {0};
    const slad_preprocess p = slad_preprocess_default();
    assert_int_equal(counter_image(context, &image, 2, 1, 20000), SLAD_OK);
    float *pixels = allocate_pixels(&p);
    assert_int_equal(slad_preprocess_evaluate(context, pixels, &p, &image), SLAD_OK);
    for (size_t i = 0; i < (size_t)3 * 224 * 224; i++) assert_true(isfinite(pixels[i]));
    slad_image_free(&image);
    slad_release(pixels);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    return slad_context_create(&context, NULL, SLAD_LOG_WARNING) == SLAD_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    (void)slad_path_remove(context, folder);
    slad_context_free(context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_file_means_dinov2),
        cmocka_unit_test(missing_file_means_the_models_type),
        cmocka_unit_test(equals_transformers),
        cmocka_unit_test(size_scales_what_comes_before_the_crop),
        cmocka_unit_test(written_file_reads_as_the_same),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(long_thin_images_are_cheap),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
