/* Images without labels: what is found, how they join the training part, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/loader.h"
#include "data_folder.h"

enum { SIDE = 8, VALUES = 3 * SIDE * SIDE, LABELLED = 3, UNLABELLED = 4, BATCH = 2 };

static slad_dataset *open_labelled(data_folder *folder, const char *root, bool strict)
{
    static const char *const names[LABELLED] = {"train/a/1.ppm", "train/a/2.ppm", "train/b/1.ppm"};
    const slad_dataset_options options = {.strict = strict};
    slad_dataset *dataset = NULL;
    char path[128];
    for (unsigned i = 0; i < LABELLED; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", root, names[i]);
        write_image(folder, path, 9, 10, 30 * i);
    }
    (void)snprintf(path, sizeof path, "%s/val/a/1.ppm", root);
    write_image(folder, path, 9, 10, 200);
    if (slad_dataset_open(folder->context, &dataset, data_folder_path(folder, root), &options) != SLAD_OK)
        fail_msg("%s", slad_context_message(folder->context));
    return dataset;
}

/* In the order in which they are taken: by folder, then by name. */
static const char *const found[UNLABELLED] = {"b.ppm", "c/a.PPM", "c/d/x.ppm", "e/y.ppm"};

static void write_unlabelled(data_folder *folder, const char *root)
{
    char path[128];
    for (unsigned i = 0; i < UNLABELLED; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", root, found[i]);
        write_image(folder, path, 12, 11, 100 + 30 * i);
    }
    (void)snprintf(path, sizeof path, "%s/e/notes.txt", root);
    write_text(folder, path, "not an image");
    (void)snprintf(path, sizeof path, "%s/.hidden/z.ppm", root);
    write_text(folder, path, "not looked for");
}

static void add(data_folder *folder, slad_dataset *dataset, const char *relative)
{
    if (slad_dataset_add_unlabelled(folder->context, dataset, data_folder_path(folder, relative)) != SLAD_OK)
        fail_msg("%s", slad_context_message(folder->context));
}

static void folders_join_the_training_part(void **state)
{
    data_folder *folder = *state;
    slad_dataset *dataset = open_labelled(folder, "set", false);
    const uint64_t before = slad_dataset_fingerprint(dataset);
    write_unlabelled(folder, "more");
    data_folder_clear_log(folder);
    assert_int_equal(slad_dataset_unlabelled_count(dataset), 0);
    add(folder, dataset, "more");
    assert_int_equal(slad_dataset_unlabelled_count(dataset), UNLABELLED);
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_TRAIN), LABELLED);
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION), 1);
    assert_non_null(strstr(folder->log, "more: 1 files that are not images"));
    assert_non_null(strstr(folder->log, "more: 4 unlabelled images"));
    for (size_t i = 0; i < UNLABELLED; i++) {
        slad_image image = {0};
        char *name = NULL, wanted[64];
        (void)snprintf(wanted, sizeof wanted, "more/%s", found[i]);
        assert_int_equal(slad_dataset_item_name(folder->context, &name, dataset, SLAD_SPLIT_TRAIN, LABELLED + i),
                         SLAD_OK);
        assert_string_equal(name, data_folder_path(folder, wanted));
        slad_release(name);
        assert_int_equal(slad_dataset_label(dataset, SLAD_SPLIT_TRAIN, LABELLED + i), -1);
        assert_int_equal(slad_dataset_read_image(folder->context, &image, dataset, SLAD_SPLIT_TRAIN, LABELLED + i),
                         SLAD_OK);
        assert_int_equal(image.pixels[0], 100 + 30 * i);
        assert_int_equal(image.height, 12);
        slad_image_free(&image);
    }
    assert_int_equal(slad_dataset_label(dataset, SLAD_SPLIT_TRAIN, LABELLED - 1), 1);
    slad_image image = {0};
    assert_int_equal(slad_dataset_read_image(folder->context, &image, dataset, SLAD_SPLIT_TRAIN, LABELLED + UNLABELLED),
                     SLAD_ERROR_INTERNAL);
    /* The fingerprint tells that they are there, and which, but not where. */
    const uint64_t with = slad_dataset_fingerprint(dataset);
    assert_true(with != before);
    assert_true(slad_dataset_labelled_fingerprint(dataset) == before);
    slad_dataset_free(dataset);
    write_unlabelled(folder, "elsewhere/more");
    dataset = open_labelled(folder, "set", false);
    add(folder, dataset, "elsewhere/more");
    assert_true(slad_dataset_fingerprint(dataset) == with);
    slad_dataset_free(dataset);
    write_image(folder, "elsewhere/more/b.ppm", 3, 3, 0);
    dataset = open_labelled(folder, "set", false);
    add(folder, dataset, "elsewhere/more");
    assert_true(slad_dataset_fingerprint(dataset) != with);
    slad_dataset_free(dataset);
}

static void batches_give_them_no_task_weight(void **state)
{
    data_folder *folder = *state;
    slad_preprocess preprocess = slad_preprocess_default();
    slad_loader *loader = NULL;
    const slad_loader_options options = {.batch = BATCH,
                                         .workers = 3,
                                         .slots = 3,
                                         .seed = 4,
                                         .shuffle = true,
                                         .augmentation = SLAD_AUGMENT_CROP_FLIP,
                                         .scale_low = 0.4,
                                         .scale_high = 1};
    slad_preprocess_set_size(&preprocess, SIDE);
    slad_dataset *dataset = open_labelled(folder, "batches", false);
    write_unlabelled(folder, "unlabelled");
    write_text(folder, "unlabelled/c/d/x.ppm", "broken");
    add(folder, dataset, "unlabelled");
    assert_int_equal(slad_loader_create(folder->context, &loader, dataset, SLAD_SPLIT_TRAIN, &preprocess, &options),
                     SLAD_OK);
    assert_int_equal(slad_loader_batches(loader), 4); /* of seven images */
    bool interleaved = false;
    for (uint32_t epoch = 0; epoch < 3; epoch++) {
        bool seen[LABELLED + UNLABELLED] = {false};
        for (size_t b = 0; b < 4; b++) {
            const slad_batch *batch = NULL;
            assert_int_equal(slad_loader_next(loader, &batch), SLAD_OK);
            for (size_t row = 0; row < batch->count; row++) {
                const uint32_t index = batch->indices[row];
                const bool labelled = index < LABELLED, broken = index == LABELLED + 2;
                float pixels[VALUES] = {0};
                slad_image image = {0};
                slad_random random = slad_random_start(4, SLAD_RANDOM_AUGMENT, epoch, index);
                assert_false(seen[index]);
                seen[index] = true;
                interleaved = interleaved || (labelled && b > 1);
                assert_true(batch->task_weights[row] == (labelled ? 1.0f : 0.0f));
                assert_true(batch->kl_weights[row] == (broken ? 0.0f : 1.0f));
                assert_int_equal(batch->labels[row], index == 2 ? 1 : 0);
                if (!broken) {
                    assert_int_equal(slad_dataset_read_image(folder->context, &image, dataset, SLAD_SPLIT_TRAIN, index),
                                     SLAD_OK);
                    assert_int_equal(
                        slad_preprocess_crop_flip(folder->context, pixels, &preprocess, &image, 0.4, 1, &random),
                        SLAD_OK);
                }
                assert_memory_equal(batch->pixel_values + row * VALUES, pixels, sizeof pixels);
                slad_image_free(&image);
            }
            slad_loader_release(loader, batch);
        }
        for (size_t i = 0; i < LABELLED + UNLABELLED; i++) assert_true(seen[i]);
    }
    assert_true(interleaved);
    assert_int_equal(slad_loader_broken_count(loader), 1);
    assert_non_null(strstr(folder->log, "unlabelled/c/d/x.ppm"));
    slad_loader_free(loader);
    /* Evaluation does not see them. */
    assert_int_equal(
        slad_loader_create(folder->context, &loader, dataset, SLAD_SPLIT_VALIDATION, &preprocess, &options), SLAD_OK);
    assert_int_equal(slad_loader_batches(loader), 1);
    slad_loader_free(loader);
    slad_dataset_free(dataset);
}

/* Without them an epoch is that of a set without them, batch for batch, and they come back. */
static void loaders_leave_them_out(void **state)
{
    data_folder *folder = *state;
    slad_preprocess preprocess = slad_preprocess_default();
    const slad_loader_options options = {.batch = BATCH, .workers = 2, .slots = 2, .seed = 9, .shuffle = true};
    slad_loader *loaders[2] = {NULL};
    slad_dataset *sets[2] = {open_labelled(folder, "restrict", false), open_labelled(folder, "restrict", false)};
    slad_preprocess_set_size(&preprocess, SIDE);
    write_unlabelled(folder, "restrict_more");
    add(folder, sets[1], "restrict_more");
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            slad_loader_create(folder->context, &loaders[i], sets[i], SLAD_SPLIT_TRAIN, &preprocess, &options),
            SLAD_OK);
    assert_int_equal(slad_loader_seek(loaders[1], 5, 1), SLAD_OK); /* batches are being filled */
    slad_loader_restrict(loaders[1], true);
    assert_int_equal(slad_loader_batches(loaders[1]), 2);
    for (int b = 0; b < 6; b++) {
        const slad_batch *batches[2] = {NULL};
        for (int i = 0; i < 2; i++) assert_int_equal(slad_loader_next(loaders[i], &batches[i]), SLAD_OK);
        assert_memory_equal(batches[0]->pixel_values, batches[1]->pixel_values, BATCH * VALUES * sizeof(float));
        assert_memory_equal(batches[0]->task_weights, batches[1]->task_weights, BATCH * sizeof(float));
        for (int i = 0; i < 2; i++) slad_loader_release(loaders[i], batches[i]);
    }
    slad_loader_restrict(loaders[1], false);
    assert_int_equal(slad_loader_batches(loaders[1]), 4);
    unsigned unlabelled = 0;
    for (int b = 0; b < 4; b++) {
        const slad_batch *batch = NULL;
        assert_int_equal(slad_loader_next(loaders[1], &batch), SLAD_OK);
        for (size_t row = 0; row < batch->count; row++) unlabelled += batch->task_weights[row] == 0.0f;
        slad_loader_release(loaders[1], batch);
    }
    assert_int_equal(unlabelled, UNLABELLED);
    for (int i = 0; i < 2; i++) slad_loader_free(loaders[i]);
    for (int i = 0; i < 2; i++) slad_dataset_free(sets[i]);
}

static void tensor_files_join_tensor_files(void **state)
{
    data_folder *folder = *state;
    const int64_t labels[] = {0, 1, 1};
    const slad_loader_options options = {.batch = 3, .workers = 1, .slots = 2};
    slad_dataset *dataset = NULL;
    slad_loader *loader = NULL;
    const slad_batch *batch = NULL;
    write_tensors(folder, "labelled.safetensors", 2, 4, labels, NULL);
    write_tensors(folder, "three.safetensors", 3, 4, labels, NULL);
    write_tensors(folder, "large.safetensors", 3, 5, labels, NULL);
    const uint64_t shape[] = {2, 3, 4, 4};
    float pixels[96];
    for (size_t i = 0; i < 96; i++) pixels[i] = 1000 + (float)i;
    const slad_safetensors_entry bare = {"pixel_values", SLAD_SAFETENSORS_F32, 4, shape, pixels};
    assert_int_equal(
        slad_safetensors_write(folder->context, data_folder_path(folder, "bare.safetensors"), &bare, 1, NULL, 0),
        SLAD_OK);
    assert_int_equal(
        slad_dataset_open(folder->context, &dataset, data_folder_path(folder, "labelled.safetensors"), NULL), SLAD_OK);
    const char *large = data_folder_path(folder, "large.safetensors");
    assert_int_equal(slad_dataset_add_unlabelled(folder->context, dataset, large), SLAD_ERROR_DATA);
    assert_non_null(strstr(slad_context_message(folder->context), "large.safetensors"));
    assert_int_equal(slad_dataset_unlabelled_count(dataset), 0);
    add(folder, dataset, "bare.safetensors");
    assert_int_equal(slad_loader_create(folder->context, &loader, dataset, SLAD_SPLIT_TRAIN, NULL, &options), SLAD_OK);
    assert_int_equal(slad_loader_next(loader, &batch), SLAD_OK);
    assert_true(batch->pixel_values[0] == 0 && batch->pixel_values[96] == 1000);
    assert_true(batch->task_weights[1] == 1 && batch->task_weights[2] == 0 && batch->kl_weights[2] == 1);
    slad_loader_release(loader, batch);
    assert_int_equal(slad_loader_next(loader, &batch), SLAD_OK);
    assert_true(batch->count == 1 && batch->pixel_values[0] == 1048 && batch->task_weights[0] == 0);
    slad_loader_free(loader);
    slad_dataset_free(dataset);
    /* The labels of a file that has some are not read. */
    assert_int_equal(
        slad_dataset_open(folder->context, &dataset, data_folder_path(folder, "labelled.safetensors"), NULL), SLAD_OK);
    add(folder, dataset, "three.safetensors");
    assert_int_equal(slad_dataset_label(dataset, SLAD_SPLIT_TRAIN, 3), -1);
    slad_dataset_free(dataset);
}

static void misfits_are_named(void **state)
{
    data_folder *folder = *state;
    const int64_t labels[] = {0, 1};
    slad_dataset *images = open_labelled(folder, "misfits", false), *strict = open_labelled(folder, "misfits", true);
    slad_dataset *tensors = NULL;
    write_tensors(folder, "pair.safetensors", 2, 4, labels, NULL);
    write_text(folder, "hollow/notes.txt", "");
    write_text(folder, "ruins/a.ppm", "");
    write_image(folder, "partly/a.ppm", 3, 3, 0);
    write_text(folder, "partly/b.ppm", "");
    assert_int_equal(slad_dataset_open(folder->context, &tensors, data_folder_path(folder, "pair.safetensors"), NULL),
                     SLAD_OK);
    const struct {
        slad_dataset *dataset;
        const char *path, *other;
    } bad[] = {
        {images, "nowhere", "check the path"},
        {images, "hollow", "notes.txt"},
        {images, "hollow/notes.txt", "a folder of images"},
        {images, "pair.safetensors", "same kind"},
        {images, "ruins", "not one of the 1 unlabelled images"},
        {strict, "partly", "partly/b.ppm"},
        {tensors, "partly", "same kind"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *path = data_folder_path(folder, bad[i].path);
        assert_int_equal(slad_dataset_add_unlabelled(folder->context, bad[i].dataset, path), SLAD_ERROR_DATA);
        const char *message = slad_context_message(folder->context);
        if (!strstr(message, path) || !strstr(message, bad[i].other)) fail_msg("%s: %s", bad[i].path, message);
        assert_int_equal(slad_dataset_unlabelled_count(bad[i].dataset), 0);
    }
    add(folder, images, "partly");
    assert_int_equal(slad_dataset_unlabelled_count(images), 2);
    assert_int_equal(slad_dataset_add_unlabelled(folder->context, images, data_folder_path(folder, "partly")),
                     SLAD_ERROR_USAGE);
    assert_int_equal(slad_dataset_unlabelled_count(images), 2);
    slad_dataset_free(images);
    slad_dataset_free(strict);
    slad_dataset_free(tensors);
}

static void failing_allocations_leave_nothing(void **state)
{
    data_folder *folder = *state;
    slad_dataset *dataset = open_labelled(folder, "faults", false);
    slad_status status = SLAD_ERROR_OUT_OF_MEMORY;
    uint64_t countdown = 1;
    write_unlabelled(folder, "faults_more");
    for (; status != SLAD_OK && countdown < 500; countdown++) {
        slad_fault_arm(folder->context, countdown);
        status = slad_dataset_add_unlabelled(folder->context, dataset, data_folder_path(folder, "faults_more"));
        assert_true(status == SLAD_OK || status == SLAD_ERROR_OUT_OF_MEMORY);
        assert_int_equal(slad_dataset_unlabelled_count(dataset), status == SLAD_OK ? UNLABELLED : 0);
    }
    slad_fault_arm(folder->context, 0);
    assert_in_range(countdown, 15, 499);
    slad_dataset_free(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_join_the_training_part),
        cmocka_unit_test(batches_give_them_no_task_weight),
        cmocka_unit_test(loaders_leave_them_out),
        cmocka_unit_test(tensor_files_join_tensor_files),
        cmocka_unit_test(misfits_are_named),
        cmocka_unit_test(failing_allocations_leave_nothing),
    };
    return cmocka_run_group_tests(tests, data_folder_open, data_folder_close);
}
