/* The loader: the same bytes whatever the number of threads, broken images, seeking, and its end at any time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "data/loader.h"
#include "data_folder.h"

enum { IMAGES = 11, BATCH = 4, BATCHES = 3, SIDE = 8, VALUES = 3 * SIDE * SIDE };

static const slad_loader_options plain = {.batch = BATCH, .workers = 2, .slots = 3, .seed = 5};

static slad_preprocess small_preprocess(void)
{
    slad_preprocess p = slad_preprocess_default();
    slad_preprocess_set_size(&p, SIDE);
    return p;
}

/* IMAGES images in two classes, of unlike sizes. */
static slad_dataset *open_images(data_folder *folder, const char *root, bool strict)
{
    const slad_dataset_options options = {.strict = strict};
    slad_dataset *dataset = NULL;
    char path[128];
    for (unsigned i = 0; i < IMAGES; i++) {
        (void)snprintf(path, sizeof path, "%s/train/%s/%02u.ppm", root, i < 6 ? "a" : "b", i);
        write_image(folder, path, 9 + i % 4, 12 - i % 5, i * 20);
    }
    assert_int_equal(slad_dataset_open(folder->context, &dataset, data_folder_path(folder, root), &options), SLAD_OK);
    return dataset;
}

static slad_loader *make_loader(data_folder *folder, const slad_dataset *dataset, const slad_preprocess *preprocess,
                                const slad_loader_options *options)
{
    slad_loader *loader = NULL;
    if (slad_loader_create(folder->context, &loader, dataset, SLAD_SPLIT_TRAIN, preprocess, options) != SLAD_OK)
        fail_msg("%s", slad_context_message(folder->context));
    return loader;
}

static const slad_batch *next_batch(data_folder *folder, slad_loader *loader)
{
    const slad_batch *batch = NULL;
    if (slad_loader_next(loader, &batch) != SLAD_OK) fail_msg("%s", slad_context_message(folder->context));
    assert_non_null(batch);
    return batch;
}

static uint64_t hash_batch(uint64_t hash, const slad_batch *batch)
{
    hash = slad_hash_bytes(hash, batch->pixel_values, batch->capacity * VALUES * sizeof(float));
    hash = slad_hash_bytes(hash, batch->labels, batch->capacity * sizeof(int32_t));
    hash = slad_hash_bytes(hash, batch->task_weights, batch->capacity * sizeof(float));
    hash = slad_hash_bytes(hash, batch->kl_weights, batch->capacity * sizeof(float));
    hash = slad_hash_bytes(hash, batch->indices, batch->capacity * sizeof(uint32_t));
    return slad_hash_bytes(hash, &batch->count, sizeof batch->count);
}

static void threads_do_not_change_a_byte(void **state)
{
    data_folder *folder = *state;
    const slad_preprocess preprocess = small_preprocess();
    slad_dataset *dataset = open_images(folder, "bytes", false);
    uint64_t hashes[4] = {0};
    const uint32_t workers[4] = {1, 4, 0, 9}, slots[4] = {2, 3, 5, 2};
    for (int run = 0; run < 4; run++) {
        slad_loader_options options = plain;
        options.workers = workers[run];
        options.slots = slots[run];
        options.shuffle = true;
        options.augmentation = SLAD_AUGMENT_CROP_FLIP;
        options.scale_low = 0.35;
        options.scale_high = 1.0;
        slad_loader *loader = make_loader(folder, dataset, &preprocess, &options);
        hashes[run] = SLAD_HASH_START;
        for (int i = 0; i < 2 * BATCHES; i++) {
            const slad_batch *batch = next_batch(folder, loader);
            hashes[run] = hash_batch(hashes[run], batch);
            slad_loader_release(loader, batch);
        }
        slad_loader_free(loader);
    }
    for (int run = 1; run < 4; run++) assert_true(hashes[run] == hashes[0]);
    slad_dataset_free(dataset);
}

/* What a row must hold, computed without a loader. */
static void check_row(data_folder *folder, const slad_dataset *dataset, const slad_preprocess *preprocess,
                      const slad_loader_options *options, uint32_t epoch, const slad_batch *batch, size_t row)
{
    slad_image image = {0};
    float pixels[VALUES];
    const uint32_t index = batch->indices[row];
    slad_random random = slad_random_start(options->seed, SLAD_RANDOM_AUGMENT, epoch, index);
    assert_int_equal(slad_dataset_read_image(folder->context, &image, dataset, SLAD_SPLIT_TRAIN, index), SLAD_OK);
    if (options->augmentation == SLAD_AUGMENT_CROP_FLIP)
        assert_int_equal(slad_preprocess_crop_flip(folder->context, pixels, preprocess, &image, options->scale_low,
                                                   options->scale_high, &random),
                         SLAD_OK);
    else
        assert_int_equal(slad_preprocess_evaluate(folder->context, pixels, preprocess, &image), SLAD_OK);
    assert_memory_equal(batch->pixel_values + row * VALUES, pixels, sizeof pixels);
    assert_int_equal(batch->labels[row], index < 6 ? 0 : 1);
    assert_true(batch->task_weights[row] == 1.0f && batch->kl_weights[row] == 1.0f);
    slad_image_free(&image);
}

static void rows_hold_what_they_should(void **state)
{
    data_folder *folder = *state;
    const slad_preprocess preprocess = small_preprocess();
    slad_dataset *dataset = open_images(folder, "rows", false);
    for (int augmented = 0; augmented < 2; augmented++) {
        slad_loader_options options = plain;
        options.shuffle = augmented;
        options.augmentation = augmented ? SLAD_AUGMENT_CROP_FLIP : SLAD_AUGMENT_NONE;
        options.scale_low = 0.2;
        options.scale_high = 0.9;
        slad_loader *loader = make_loader(folder, dataset, &preprocess, &options);
        assert_int_equal(slad_loader_batches(loader), BATCHES);
        uint32_t orders[2][IMAGES];
        for (uint32_t epoch = 0; epoch < 2; epoch++) {
            bool seen[IMAGES] = {false};
            for (size_t b = 0; b < BATCHES; b++) {
                const slad_batch *batch = next_batch(folder, loader);
                assert_int_equal(batch->count, b + 1 < BATCHES ? BATCH : IMAGES % BATCH);
                for (size_t row = 0; row < batch->count; row++) {
                    check_row(folder, dataset, &preprocess, &options, epoch, batch, row);
                    assert_false(seen[batch->indices[row]]);
                    seen[batch->indices[row]] = true;
                    orders[epoch][b * BATCH + row] = batch->indices[row];
                }
                slad_loader_release(loader, batch);
            }
        }
        assert_int_equal(memcmp(orders[0], orders[1], sizeof orders[0]) != 0, augmented);
        for (uint32_t i = 0; i < IMAGES && !augmented; i++) assert_int_equal(orders[0][i], i);
        slad_loader_free(loader);
    }
    slad_dataset_free(dataset);
}

static void padding_is_zero(void **state)
{
    data_folder *folder = *state;
    const slad_preprocess preprocess = small_preprocess();
    slad_dataset *dataset = open_images(folder, "padding", false);
    slad_loader *loader = make_loader(folder, dataset, &preprocess, &plain);
    /* The fifth epoch's padding lies where other epochs had images. */
    for (int i = 0; i < 5 * BATCHES; i++) {
        const slad_batch *batch = next_batch(folder, loader);
        assert_int_equal(batch->capacity, BATCH);
        for (size_t row = batch->count; row < batch->capacity; row++) {
            for (size_t k = 0; k < VALUES; k++) assert_true(batch->pixel_values[row * VALUES + k] == 0.0f);
            assert_int_equal(batch->labels[row], 0);
            assert_int_equal(batch->indices[row], 0);
            assert_true(batch->task_weights[row] == 0.0f && batch->kl_weights[row] == 0.0f);
        }
        slad_loader_release(loader, batch);
    }
    slad_loader_free(loader);
    slad_dataset_free(dataset);
}

static void seeking_goes_anywhere(void **state)
{
    data_folder *folder = *state;
    const slad_preprocess preprocess = small_preprocess();
    slad_dataset *dataset = open_images(folder, "seek", false);
    slad_loader_options options = plain;
    options.shuffle = true;
    options.augmentation = SLAD_AUGMENT_CROP_FLIP;
    options.scale_low = options.scale_high = 0.5;
    options.workers = 4;
    slad_loader *loader = make_loader(folder, dataset, &preprocess, &options);
    uint64_t expected[4 * BATCHES];
    for (size_t i = 0; i < 4 * BATCHES; i++) {
        const slad_batch *batch = next_batch(folder, loader);
        expected[i] = hash_batch(SLAD_HASH_START, batch);
        slad_loader_release(loader, batch);
    }
    for (uint32_t round = 0; round < 60; round++) {
        const size_t at = (round * 7) % (4 * BATCHES - 1);
        assert_int_equal(slad_loader_seek(loader, (uint32_t)(at / BATCHES), at % BATCHES), SLAD_OK);
        if (round % 3 == 2) continue; /* seeks may follow one another */
        const slad_batch *held = next_batch(folder, loader);
        if (round % 3 == 0) assert_int_equal(slad_loader_seek(loader, 0, 1), SLAD_OK);
        assert_true(hash_batch(SLAD_HASH_START, held) == expected[at]);
        const slad_batch *second = next_batch(folder, loader);
        assert_true(hash_batch(SLAD_HASH_START, second) == expected[round % 3 == 0 ? 1 : at + 1]);
        slad_loader_release(loader, held);
        slad_loader_release(loader, second);
    }
    assert_int_equal(slad_loader_seek(loader, 0, BATCHES), SLAD_ERROR_USAGE);
    slad_loader_free(loader);
    slad_dataset_free(dataset);
}

static void batches_may_be_held_and_released_in_any_order(void **state)
{
    data_folder *folder = *state;
    const slad_preprocess preprocess = small_preprocess();
    slad_dataset *dataset = open_images(folder, "held", false);
    slad_loader *loader = make_loader(folder, dataset, &preprocess, &plain);
    const slad_batch *held[3] = {NULL}, *more = NULL;
    for (int i = 0; i < 3; i++) held[i] = next_batch(folder, loader);
    assert_int_equal(slad_loader_next(loader, &more), SLAD_ERROR_USAGE);
    assert_null(more);
    slad_loader_release(loader, held[1]);
    more = next_batch(folder, loader); /* batch 0 of the second epoch */
    assert_int_equal(more->indices[0], 0);
    assert_int_equal(held[0]->indices[1], 1);
    assert_int_equal(held[2]->indices[0], 8);
    slad_loader_release(loader, held[2]);
    slad_loader_release(loader, more);
    more = next_batch(folder, loader);
    assert_int_equal(more->indices[0], 4);
    slad_loader_free(loader); /* with two batches held */
    slad_dataset_free(dataset);
}

static size_t count_text(const char *text, const char *word)
{
    size_t count = 0;
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word)) count++;
    return count;
}

static void broken_images_are_skipped_with_a_warning(void **state)
{
    data_folder *folder = *state;
    const slad_preprocess preprocess = small_preprocess();
    slad_dataset *dataset = open_images(folder, "broken", false);
    write_text(folder, "broken/train/a/02.ppm", "P6 5 5 255\nshort");
    write_text(folder, "broken/train/b/07.ppm", "");
    assert_int_equal(remove(data_folder_path(folder, "broken/train/b/10.ppm")), 0);
    data_folder_clear_log(folder);
    slad_loader *loader = make_loader(folder, dataset, &preprocess, &plain);
    for (int i = 0; i < 3 * BATCHES; i++) {
        const slad_batch *batch = next_batch(folder, loader);
        for (size_t row = 0; row < batch->count; row++) {
            const uint32_t index = batch->indices[row];
            const bool broken = index == 2 || index == 7 || index == 10;
            assert_true(batch->task_weights[row] == (broken ? 0.0f : 1.0f));
            assert_true(batch->kl_weights[row] == (broken ? 0.0f : 1.0f));
            assert_int_equal(batch->labels[row], index < 6 || broken ? 0 : 1);
            for (size_t k = 0; k < VALUES && broken; k++) assert_true(batch->pixel_values[row * VALUES + k] == 0.0f);
        }
        slad_loader_release(loader, batch);
        if (i == 0) assert_int_equal(slad_loader_broken_count(loader), 1);
    }
    assert_int_equal(slad_loader_broken_count(loader), 3);
    assert_int_equal(count_text(folder->log, "skipped: "), 3);
    assert_int_equal(count_text(folder->log, "broken/train/a/02.ppm: the image file is truncated"), 1);
    assert_int_equal(count_text(folder->log, "\n0 "), 0); /* nothing at the level of errors */
    assert_int_equal(count_text(folder->log, "broken/train/b/10.ppm"), 1);
    slad_loader_free(loader);
    slad_dataset_free(dataset);
}

static void strict_sets_stop_at_a_broken_image(void **state)
{
    data_folder *folder = *state;
    const slad_preprocess preprocess = small_preprocess();
    slad_dataset *dataset = open_images(folder, "exact", true);
    const slad_batch *batch = NULL;
    write_text(folder, "exact/train/a/05.ppm", "P6 5 5 255\nshort");
    write_text(folder, "exact/train/b/06.ppm", "neither");
    for (uint32_t workers = 1; workers <= 4; workers++) {
        slad_loader_options options = plain;
        options.workers = workers;
        slad_loader *loader = make_loader(folder, dataset, &preprocess, &options);
        slad_loader_release(loader, next_batch(folder, loader));
        /* Of two broken images in a batch the first is named, and asking again gives the same answer. */
        for (int i = 0; i < 2; i++) {
            assert_int_equal(slad_loader_next(loader, &batch), SLAD_ERROR_DATA);
            assert_null(batch);
            assert_non_null(strstr(slad_context_message(folder->context), "exact/train/a/05.ppm"));
        }
        assert_int_equal(slad_loader_seek(loader, 0, 2), SLAD_OK);
        slad_loader_release(loader, next_batch(folder, loader));
        slad_loader_free(loader);
    }
    slad_dataset_free(dataset);
}

static void nothing_but_broken_images_is_an_error(void **state)
{
    data_folder *folder = *state;
    const slad_preprocess preprocess = small_preprocess();
    slad_dataset *dataset = NULL;
    const slad_batch *batch = NULL;
    for (int i = 0; i < 6; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "ruins/train/%c/%d.png", 'a' + i % 2, i);
        write_text(folder, path, "no picture");
    }
    assert_int_equal(slad_dataset_open(folder->context, &dataset, data_folder_path(folder, "ruins"), NULL), SLAD_OK);
    slad_loader *loader = make_loader(folder, dataset, &preprocess, &plain);
    slad_loader_release(loader, next_batch(folder, loader));
    assert_int_equal(slad_loader_next(loader, &batch), SLAD_ERROR_DATA);
    assert_non_null(strstr(slad_context_message(folder->context), "all 6 images"));
    slad_loader_free(loader);
    slad_dataset_free(dataset);
}

static void tensors_are_copied(void **state)
{
    data_folder *folder = *state;
    const int64_t labels[] = {2, 0, 1, 1, 0};
    slad_dataset *dataset = NULL;
    slad_loader_options options = plain;
    options.augmentation = SLAD_AUGMENT_CROP_FLIP; /* ignored */
    options.scale_low = options.scale_high = 1.0;
    write_tensors(folder, "five.safetensors", 5, 4, labels, NULL);
    assert_int_equal(slad_dataset_open(folder->context, &dataset, data_folder_path(folder, "five.safetensors"), NULL),
                     SLAD_OK);
    slad_loader *loader = make_loader(folder, dataset, NULL, &options);
    const slad_batch *batch = NULL;
    for (size_t first = 0; first < 5; first += BATCH) {
        batch = next_batch(folder, loader);
        assert_int_equal(batch->height, 4);
        assert_int_equal(batch->width, 4);
        for (size_t row = 0; row < batch->count; row++) {
            assert_int_equal(batch->labels[row], labels[first + row]);
            for (size_t k = 0; k < 48; k++)
                assert_true(batch->pixel_values[row * 48 + k] == (float)((first + row) * 48 + k));
        }
        slad_loader_release(loader, batch);
    }
    slad_loader_free(loader);
    slad_dataset_free(dataset);
}

static void ends_at_any_time(void **state)
{
    data_folder *folder = *state;
    const slad_preprocess preprocess = small_preprocess();
    slad_dataset *dataset = open_images(folder, "end", false);
    for (uint32_t round = 0; round < 40; round++) {
        slad_loader_options options = plain;
        options.workers = 1 + round % 5;
        slad_loader *loader = make_loader(folder, dataset, &preprocess, &options);
        for (uint32_t i = 0; i < round % 4; i++) slad_loader_release(loader, next_batch(folder, loader));
        if (round % 8 == 7) assert_int_equal(slad_loader_seek(loader, 3, 1), SLAD_OK);
        slad_loader_free(loader);
    }
    slad_loader_free(NULL);
    slad_dataset_free(dataset);
}

static void bad_options_and_failing_allocations(void **state)
{
    data_folder *folder = *state;
    const slad_preprocess preprocess = small_preprocess();
    slad_dataset *dataset = open_images(folder, "options", false);
    slad_loader *loader = NULL;
    slad_loader_options options[6] = {plain, plain, plain, plain, plain, plain};
    options[0].batch = 0;
    options[1].slots = 1;
    options[2].workers = 100000;
    for (int i = 3; i < 6; i++) options[i].augmentation = SLAD_AUGMENT_CROP_FLIP;
    options[4].scale_low = 0.5;
    options[4].scale_high = 0.4;
    options[5].scale_low = 0.5;
    options[5].scale_high = 1.1;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(
            slad_loader_create(folder->context, &loader, dataset, SLAD_SPLIT_TRAIN, &preprocess, &options[i]),
            SLAD_ERROR_USAGE);
        assert_null(loader);
    }
    assert_int_equal(slad_loader_create(folder->context, &loader, dataset, SLAD_SPLIT_VALIDATION, &preprocess, &plain),
                     SLAD_ERROR_DATA);
    slad_status status = SLAD_ERROR_OUT_OF_MEMORY;
    uint64_t countdown = 1;
    for (; status != SLAD_OK && countdown < 200; countdown++) {
        slad_fault_arm(folder->context, countdown);
        status = slad_loader_create(folder->context, &loader, dataset, SLAD_SPLIT_TRAIN, &preprocess, &plain);
        assert_true(status == SLAD_OK || status == SLAD_ERROR_OUT_OF_MEMORY);
    }
    slad_fault_arm(folder->context, 0);
    assert_in_range(countdown, 20, 199);
    slad_loader_free(loader);
    slad_dataset_free(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_change_a_byte),
        cmocka_unit_test(rows_hold_what_they_should),
        cmocka_unit_test(padding_is_zero),
        cmocka_unit_test(seeking_goes_anywhere),
        cmocka_unit_test(batches_may_be_held_and_released_in_any_order),
        cmocka_unit_test(broken_images_are_skipped_with_a_warning),
        cmocka_unit_test(strict_sets_stop_at_a_broken_image),
        cmocka_unit_test(nothing_but_broken_images_is_an_error),
        cmocka_unit_test(tensors_are_copied),
        cmocka_unit_test(ends_at_any_time),
        cmocka_unit_test(bad_options_and_failing_allocations),
    };
    return cmocka_run_group_tests(tests, data_folder_open, data_folder_close);
}
