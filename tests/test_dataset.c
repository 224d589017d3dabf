/* Data sets of every form, good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <zlib.h>

#include "data/dataset.h"
#include "data_folder.h"

static slad_dataset *open_good(data_folder *folder, const char *relative)
{
    slad_dataset *dataset = NULL;
    if (slad_dataset_open(folder->context, &dataset, data_folder_path(folder, relative), NULL) != SLAD_OK)
        fail_msg("%s", slad_context_message(folder->context));
    return dataset;
}

/* Opening must fail with a message that holds both words. */
static void expect_bad(data_folder *folder, const char *relative, const char *word, const char *other)
{
    slad_dataset *dataset = NULL;
    const char *path = data_folder_path(folder, relative);
    assert_int_equal(slad_dataset_open(folder->context, &dataset, path, NULL), SLAD_ERROR_DATA);
    assert_null(dataset);
    const char *message = slad_context_message(folder->context);
    if (!strstr(message, word) || !strstr(message, other)) fail_msg("\"%s\" and \"%s\": %s", word, other, message);
}

static void expect_item(data_folder *folder, const slad_dataset *dataset, slad_split split, size_t index,
                        const char *relative, int32_t label)
{
    char *name = NULL;
    assert_int_equal(slad_dataset_item_name(folder->context, &name, dataset, split, index), SLAD_OK);
    assert_string_equal(name, data_folder_path(folder, relative));
    assert_int_equal(slad_dataset_label(dataset, split, index), label);
    slad_release(name);
}

static void write_tree(data_folder *folder, const char *root)
{
    static const char *const files[] = {"train/cat/b.ppm",     "train/cat/a.ppm",      "train/cat/c/x.ppm",
                                        "train/cat/c-1/y.PPM", "train/Dog/1.ppm",      "train/Dog/2.ppm",
                                        "val/cat/1.ppm",       "train/emu/only.ppm",   "val/Dog/1.ppm",
                                        "train/cat/._a.ppm",   "train/.hidden/bad.ppm"};
    char path[256];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", root, files[i]);
        write_image(folder, path, 2, 3, (unsigned)i);
    }
    (void)snprintf(path, sizeof path, "%s/train/cat/notes.txt", root);
    write_text(folder, path, "not an image");
}

static void folders_are_image_folders(void **state)
{
    data_folder *folder = *state;
    slad_image image = {0};
    write_tree(folder, "tree");
    data_folder_clear_log(folder);
    slad_dataset *dataset = open_good(folder, "tree");
    assert_int_equal(slad_dataset_get_form(dataset), SLAD_FORM_IMAGE_FOLDER);
    assert_int_equal(slad_dataset_class_count(dataset), 3);
    assert_string_equal(slad_dataset_class_name(dataset, 0), "Dog");
    assert_string_equal(slad_dataset_class_name(dataset, 1), "cat");
    assert_string_equal(slad_dataset_class_name(dataset, 2), "emu");
    assert_null(slad_dataset_class_name(dataset, 3));
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_TRAIN), 7);
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION), 2);
    /* torchvision's order: sorted by folder, "c-1" before "c/" only as whole paths. */
    expect_item(folder, dataset, SLAD_SPLIT_TRAIN, 0, "tree/train/Dog/1.ppm", 0);
    expect_item(folder, dataset, SLAD_SPLIT_TRAIN, 2, "tree/train/cat/a.ppm", 1);
    expect_item(folder, dataset, SLAD_SPLIT_TRAIN, 3, "tree/train/cat/b.ppm", 1);
    expect_item(folder, dataset, SLAD_SPLIT_TRAIN, 4, "tree/train/cat/c/x.ppm", 1);
    expect_item(folder, dataset, SLAD_SPLIT_TRAIN, 5, "tree/train/cat/c-1/y.PPM", 1);
    expect_item(folder, dataset, SLAD_SPLIT_VALIDATION, 1, "tree/val/cat/1.ppm", 1);
    assert_non_null(strstr(folder->log, "tree/train: 3 files that are not images"));
    assert_non_null(strstr(folder->log, "only 2 of the 3 classes"));
    assert_non_null(strstr(folder->log, "7 training and 2 validation images"));
    assert_int_equal(slad_dataset_read_image(folder->context, &image, dataset, SLAD_SPLIT_TRAIN, 2), SLAD_OK);
    assert_int_equal(image.height, 2);
    assert_int_equal(image.width, 3);
    assert_int_equal(image.pixels[5], 6);
    slad_image_free(&image);
    size_t height = 0, width = 0;
    assert_false(slad_dataset_tensor_size(dataset, &height, &width));
    slad_dataset_free(dataset);
}

static void fingerprint_tells_sets_apart(void **state)
{
    data_folder *folder = *state;
    write_tree(folder, "first");
    write_tree(folder, "second");
    slad_dataset *first = open_good(folder, "first"), *second = open_good(folder, "second");
    const uint64_t fingerprint = slad_dataset_fingerprint(first);
    assert_true(fingerprint == slad_dataset_fingerprint(second));
    slad_dataset_free(second);
    write_image(folder, "second/train/emu/only.ppm", 3, 3, 0); /* another size */
    second = open_good(folder, "second");
    assert_true(fingerprint != slad_dataset_fingerprint(second));
    slad_dataset_free(second);
    slad_dataset_free(first);
}

static void train_alone_is_enough(void **state)
{
    data_folder *folder = *state;
    write_image(folder, "alone/train/a/1.ppm", 1, 1, 0);
    write_image(folder, "alone/train/b/1.ppm", 1, 1, 0);
    data_folder_clear_log(folder);
    slad_dataset *dataset = open_good(folder, "alone");
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION), 0);
    assert_non_null(strstr(folder->log, "evaluation is left out"));
    slad_dataset_free(dataset);
}

static void bad_folders_are_named(void **state)
{
    data_folder *folder = *state;
    expect_bad(folder, "nowhere", "nowhere", "no such");
    write_text(folder, "nothing/readme.txt", "");
    expect_bad(folder, "nothing", "nothing", "holds no data set");
    write_text(folder, "something.txt", "");
    expect_bad(folder, "something.txt", "something.txt", "not a data set");
    write_text(folder, "no_classes/train/a.ppm", "");
    expect_bad(folder, "no_classes", "no_classes/train", "no class folders");
    write_image(folder, "empty_class/train/a/1.ppm", 1, 1, 0);
    write_text(folder, "empty_class/train/b/picture.webp", "");
    expect_bad(folder, "empty_class", "empty_class/train/b", "picture.webp");
    write_image(folder, "one_class/train/a/1.ppm", 1, 1, 0);
    expect_bad(folder, "one_class", "one_class", "only one class");
    write_image(folder, "unlike/train/a/1.ppm", 1, 1, 0);
    write_image(folder, "unlike/train/b/1.ppm", 1, 1, 0);
    write_image(folder, "unlike/val/c/1.ppm", 1, 1, 0);
    expect_bad(folder, "unlike", "unlike/val/c", "no class of this name");
    write_text(folder, "scenes/images/train/1.png", "");
    write_text(folder, "scenes/masks/train/1.png", "");
    expect_bad(folder, "scenes", "scenes", "segmentation");
    write_text(folder, "unusable/train/a/1.ppm", "");
    write_text(folder, "unusable/train/b/1.ppm", "");
    expect_bad(folder, "unusable", "unusable", "not one of the 2 training images");
}

static void strict_sets_want_every_file(void **state)
{
    data_folder *folder = *state;
    const slad_dataset_options strict = {.strict = true};
    slad_dataset *dataset = NULL;
    write_image(folder, "strict/train/a/1.ppm", 1, 1, 0);
    write_text(folder, "strict/train/b/1.ppm", "");
    dataset = open_good(folder, "strict");
    assert_false(slad_dataset_is_strict(dataset));
    slad_dataset_free(dataset);
    assert_int_equal(slad_dataset_open(folder->context, &dataset, data_folder_path(folder, "strict"), &strict),
                     SLAD_ERROR_DATA);
    assert_non_null(strstr(slad_context_message(folder->context), "strict/train/b/1.ppm"));
}

static void csv_lists_are_read(void **state)
{
    data_folder *folder = *state;
    char absolute[512];
    write_image(folder, "list/a b.ppm", 2, 2, 9);
    write_image(folder, "list/sub/c,d.ppm", 1, 1, 5);
    (void)snprintf(absolute, sizeof absolute,
                   "\xEF\xBB\xBFsplit, \"label\",extra,path\r\n"
                   "train,zebra,1,a b.ppm\r\n"
                   "\r\n"
                   "train,\"a \"\"big\"\" cat\",\"two\nlines\", \"sub/c,d.ppm\" \n"
                   "valid, zebra ,,%s/list/a b.ppm\n"
                   "test,zebra,x,missing.ppm",
                   folder->root);
    write_text(folder, "list/set.csv", absolute);
    slad_dataset *dataset = open_good(folder, "list/set.csv");
    assert_int_equal(slad_dataset_get_form(dataset), SLAD_FORM_CSV);
    assert_int_equal(slad_dataset_class_count(dataset), 2);
    assert_string_equal(slad_dataset_class_name(dataset, 0), "a \"big\" cat");
    assert_string_equal(slad_dataset_class_name(dataset, 1), "zebra");
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_TRAIN), 2);
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION), 2);
    expect_item(folder, dataset, SLAD_SPLIT_TRAIN, 0, "list/a b.ppm", 1);
    expect_item(folder, dataset, SLAD_SPLIT_TRAIN, 1, "list/sub/c,d.ppm", 0);
    expect_item(folder, dataset, SLAD_SPLIT_VALIDATION, 0, "list/a b.ppm", 1);
    expect_item(folder, dataset, SLAD_SPLIT_VALIDATION, 1, "list/missing.ppm", 1);
    slad_image image = {0};
    assert_int_equal(slad_dataset_read_image(folder->context, &image, dataset, SLAD_SPLIT_VALIDATION, 0), SLAD_OK);
    assert_int_equal(image.pixels[0], 9);
    slad_image_free(&image);
    assert_int_equal(slad_dataset_read_image(folder->context, &image, dataset, SLAD_SPLIT_VALIDATION, 1),
                     SLAD_ERROR_DATA);
    slad_dataset_free(dataset);
}

static void bad_csv_lists_are_named_with_a_line(void **state)
{
    data_folder *folder = *state;
    static const struct {
        const char *text, *word, *other;
    } bad[] = {
        {"", "bad.csv", "path,label,split"},
        {"path,label\n", "bad.csv", "\"split\" is missing"},
        {"path,label,split,label\n", "bad.csv", "twice"},
        {"path,label,split\n", "bad.csv", "no training images"},
        {"path,label,split\na,b,train\nc,d,dev\n", "bad.csv:3", "\"dev\""},
        {"path,label,split\na,b,train\nc,d\n", "bad.csv:3", "2 fields"},
        {"path,label,split\na,b,train\nc,d,train,e\n", "bad.csv:3", "4 fields"},
        {"path,label,split\na,,train\n", "bad.csv:2", "label is empty"},
        {"path,label,split\n\na,\"b,train\n", "bad.csv:3", "no closing quote"},
        {"path,label,split\na,\"b\"c,train\n", "bad.csv:2", "comma"},
        {"path,label,split\na,b,train\na,c,train\na,d,val\n", "bad.csv:4", "\"d\""},
        {"path,label,split\na,b,train\nc,b,train\n", "bad.csv", "only one class"},
        {"path,label,split\na,b,train\nc,d,train\n", "bad.csv", "not one of the 2 training images"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(folder, "bad.csv", bad[i].text);
        expect_bad(folder, "bad.csv", bad[i].word, bad[i].other);
    }
    write_bytes(folder, "bad.csv", "path,label,split\n\0", 18);
    expect_bad(folder, "bad.csv", "bad.csv", "NUL");
}

static void write_idx(data_folder *folder, const char *relative, const unsigned char *bytes, size_t count, bool gzip)
{
    if (!gzip) {
        write_bytes(folder, relative, bytes, count);
        return;
    }
    write_text(folder, relative, "");
    gzFile file = gzopen(data_folder_path(folder, relative), "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, bytes, (unsigned)count), count);
    assert_int_equal(gzclose(file), Z_OK);
}

/* Two images of 2 x 3 with the bytes 10 ... 21, and the labels 2 and 0. */
static const unsigned char idx_images[] = {0, 0, 8,  3,  0,  0,  0,  2,  0,  0,  0,  2,  0,  0,
                                           0, 3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21};
static const unsigned char idx_labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 2, 0};

static void idx_files_are_read(void **state)
{
    data_folder *folder = *state;
    write_idx(folder, "idx/train-images-idx3-ubyte.gz", idx_images, sizeof idx_images, true);
    write_idx(folder, "idx/train-labels-idx1-ubyte", idx_labels, sizeof idx_labels, false);
    slad_dataset *dataset = open_good(folder, "idx");
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION), 0);
    const uint64_t fingerprint = slad_dataset_fingerprint(dataset);
    slad_dataset_free(dataset);
    write_idx(folder, "idx/t10k-images.idx3-ubyte", idx_images, sizeof idx_images, false);
    write_idx(folder, "idx/t10k-labels-idx1-ubyte.gz", idx_labels, sizeof idx_labels, true);
    dataset = open_good(folder, "idx");
    assert_true(fingerprint != slad_dataset_fingerprint(dataset));
    assert_int_equal(slad_dataset_get_form(dataset), SLAD_FORM_IDX);
    assert_int_equal(slad_dataset_class_count(dataset), 3);
    assert_string_equal(slad_dataset_class_name(dataset, 2), "2");
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_TRAIN), 2);
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION), 2);
    expect_item(folder, dataset, SLAD_SPLIT_TRAIN, 0, "idx/train-images-idx3-ubyte.gz#0", 2);
    slad_image image = {0};
    assert_int_equal(slad_dataset_read_image(folder->context, &image, dataset, SLAD_SPLIT_VALIDATION, 1), SLAD_OK);
    assert_int_equal(image.height, 2);
    assert_int_equal(image.width, 3);
    for (int i = 0; i < 18; i++) assert_int_equal(image.pixels[i], 16 + i / 3);
    slad_image_free(&image);
    slad_dataset_free(dataset);
}

static void bad_idx_files_are_named(void **state)
{
    data_folder *folder = *state;
    unsigned char images[sizeof idx_images], labels[sizeof idx_labels];
    memcpy(images, idx_images, sizeof images);
    memcpy(labels, idx_labels, sizeof labels);
    write_idx(folder, "bad/train-images-idx3-ubyte", images, sizeof images, false);
    expect_bad(folder, "bad", "train-labels-idx1-ubyte", "missing");
    write_idx(folder, "bad/train-labels-idx1-ubyte", labels, sizeof labels, false);
    write_idx(folder, "bad/train-images-idx3-ubyte", images, sizeof images - 1, false);
    expect_bad(folder, "bad", "train-images-idx3-ubyte", "28");
    images[3] = 1;
    write_idx(folder, "bad/train-images-idx3-ubyte", images, sizeof images, false);
    expect_bad(folder, "bad", "train-images-idx3-ubyte", "not an IDX file of images");
    memcpy(images, idx_images, sizeof images);
    images[4] = 0xFF; /* four thousand million images */
    write_idx(folder, "bad/train-images-idx3-ubyte", images, sizeof images, false);
    expect_bad(folder, "bad", "train-images-idx3-ubyte", "not an IDX file of images");
    assert_int_equal(remove(data_folder_path(folder, "bad/train-images-idx3-ubyte")), 0);
    memcpy(images, idx_images, sizeof images);
    images[5] = 0x40; /* four million */
    write_idx(folder, "bad/train-images-idx3-ubyte.gz", images, sizeof images, true);
    expect_bad(folder, "bad", "train-images-idx3-ubyte.gz", "not an IDX file");
    images[5] = 0;
    write_idx(folder, "bad/train-images-idx3-ubyte.gz", images, sizeof images - 2, true);
    expect_bad(folder, "bad", "train-images-idx3-ubyte.gz", "28 bytes");
    images[7] = 1; /* one image, and bytes left over */
    write_idx(folder, "bad/train-images-idx3-ubyte.gz", images, sizeof images, true);
    expect_bad(folder, "bad", "train-images-idx3-ubyte.gz", "22 bytes");
    write_text(folder, "bad/train-images-idx3-ubyte.gz", "This was never packed at all.");
    expect_bad(folder, "bad", "train-images-idx3-ubyte.gz", "gzip");
    write_idx(folder, "bad/train-images-idx3-ubyte.gz", idx_images, sizeof idx_images, true);
    labels[7] = 1;
    write_idx(folder, "bad/train-labels-idx1-ubyte", labels, sizeof labels - 1, false);
    expect_bad(folder, "bad", "train-labels-idx1-ubyte", "1 labels");
    write_idx(folder, "bad/train-labels-idx1-ubyte", idx_labels, sizeof idx_labels, false);
    memcpy(labels, idx_labels, sizeof labels);
    labels[9] = 7;
    write_idx(folder, "bad/t10k-labels-idx1-ubyte", labels, sizeof labels, false);
    expect_bad(folder, "bad", "t10k-images-idx3-ubyte", "missing");
    write_idx(folder, "bad/t10k-images-idx3-ubyte", idx_images, sizeof idx_images, false);
    expect_bad(folder, "bad", "t10k-labels-idx1-ubyte", "label 1 is 7");
}

static void tensor_files_are_read(void **state)
{
    data_folder *folder = *state;
    const int64_t labels[] = {1, 0, 4};
    size_t height = 0, width = 0;
    float pixels[3 * 2 * 2] = {0};
    write_tensors(folder, "one.safetensors", 3, 2, labels, NULL);
    slad_dataset *dataset = open_good(folder, "one.safetensors");
    assert_int_equal(slad_dataset_get_form(dataset), SLAD_FORM_TENSORS);
    assert_int_equal(slad_dataset_class_count(dataset), 5);
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_TRAIN), 3);
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION), 0);
    assert_true(slad_dataset_tensor_size(dataset, &height, &width));
    assert_int_equal(height, 2);
    assert_int_equal(width, 2);
    expect_item(folder, dataset, SLAD_SPLIT_TRAIN, 2, "one.safetensors#2", 4);
    assert_int_equal(slad_dataset_read_tensor(folder->context, pixels, dataset, SLAD_SPLIT_TRAIN, 2), SLAD_OK);
    for (int i = 0; i < 12; i++) assert_true(pixels[i] == (float)(24 + i));
    assert_int_equal(slad_dataset_read_tensor(folder->context, pixels, dataset, SLAD_SPLIT_TRAIN, 3),
                     SLAD_ERROR_INTERNAL);
    slad_dataset_free(dataset);

    write_tensors(folder, "pair/train.safetensors", 2, 2, labels, "7");
    write_tensors(folder, "pair/val.safetensors", 3, 2, labels, NULL);
    dataset = open_good(folder, "pair");
    assert_int_equal(slad_dataset_class_count(dataset), 7);
    assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION), 3);
    slad_dataset_free(dataset);
}

static slad_status check_classes(data_folder *folder, const char *relative)
{
    slad_dataset *dataset = open_good(folder, relative);
    const slad_status status = slad_dataset_check_classes(folder->context, dataset);
    slad_dataset_free(dataset);
    return status;
}

/* What is trained must have been seen; only a file that names the number of its classes may have more. */
static void empty_classes_are_named(void **state)
{
    data_folder *folder = *state;
    const int64_t labels[] = {1, 0, 4};
    write_tensors(folder, "gap.safetensors", 3, 2, labels, NULL);
    assert_int_equal(check_classes(folder, "gap.safetensors"), SLAD_ERROR_DATA);
    const char *message = slad_context_message(folder->context);
    assert_non_null(
        strstr(message, "gap.safetensors: of 5 classes, 2 have no training image, the first of them class 2"));
    write_tensors(folder, "gap.safetensors", 3, 2, labels, "6");
    assert_int_equal(check_classes(folder, "gap.safetensors"), SLAD_OK);
    write_idx(folder, "gap/train-images-idx3-ubyte", idx_images, sizeof idx_images, false);
    write_idx(folder, "gap/train-labels-idx1-ubyte", idx_labels, sizeof idx_labels, false);
    assert_int_equal(check_classes(folder, "gap"), SLAD_ERROR_DATA);
    message = slad_context_message(folder->context);
    assert_non_null(strstr(message, "train-images-idx3-ubyte: of 3 classes, 1 have no training image"));
    assert_int_equal(check_classes(folder, "tree"), SLAD_OK);
}

static void bad_tensor_files_are_named(void **state)
{
    data_folder *folder = *state;
    const int64_t labels[] = {1, 0, 4}, negative[] = {0, -1, 1}, zeros[] = {0, 0, 0};
    write_tensors(folder, "bad.safetensors", 3, 2, labels, "4");
    expect_bad(folder, "bad.safetensors", "bad.safetensors", "labels");
    write_tensors(folder, "bad.safetensors", 3, 2, negative, NULL);
    expect_bad(folder, "bad.safetensors", "bad.safetensors", "-1");
    write_tensors(folder, "bad.safetensors", 3, 2, zeros, NULL);
    expect_bad(folder, "bad.safetensors", "bad.safetensors", "only one class");
    write_tensors(folder, "bad.safetensors", 3, 2, labels, "many");
    expect_bad(folder, "bad.safetensors", "bad.safetensors", "num_classes");
    write_text(folder, "bad.safetensors", "short");
    expect_bad(folder, "bad.safetensors", "bad.safetensors", "bad.safetensors");
    write_tensors(folder, "odd/train.safetensors", 3, 2, labels, "5");
    write_tensors(folder, "odd/val.safetensors", 3, 3, labels, "5");
    expect_bad(folder, "odd", "val.safetensors", "[3, 3, 3, 3]");
    write_tensors(folder, "odd/val.safetensors", 3, 2, labels, "6");
    expect_bad(folder, "odd", "val.safetensors", "num_classes");

    const uint64_t pixel_shape[] = {1, 1, 2, 2}, mask_shape[] = {1, 2, 2}, good_shape[] = {1, 3, 2, 2};
    const float pixels[12] = {0};
    const int64_t masks[4] = {0};
    slad_safetensors_entry entries[] = {
        {"pixel_values", SLAD_SAFETENSORS_F32, 4, pixel_shape, pixels},
        {"labels", SLAD_SAFETENSORS_I64, 3, mask_shape, masks},
    };
    const char *path = data_folder_path(folder, "shape.safetensors");
    assert_int_equal(slad_safetensors_write(folder->context, path, entries, 2, NULL, 0), SLAD_OK);
    expect_bad(folder, "shape.safetensors", "shape.safetensors", "[1, 1, 2, 2]");
    entries[0].shape = good_shape;
    assert_int_equal(slad_safetensors_write(folder->context, path, entries, 2, NULL, 0), SLAD_OK);
    expect_bad(folder, "shape.safetensors", "shape.safetensors", "segmentation");
    entries[1] = (slad_safetensors_entry){"labels", SLAD_SAFETENSORS_F32, 1, pixel_shape, pixels};
    assert_int_equal(slad_safetensors_write(folder->context, path, entries, 2, NULL, 0), SLAD_OK);
    expect_bad(folder, "shape.safetensors", "\"labels\"", "I64");
    assert_int_equal(slad_safetensors_write(folder->context, path, entries, 1, NULL, 0), SLAD_OK);
    expect_bad(folder, "shape.safetensors", "\"labels\"", "missing");
}

/* Every allocation of opening fails once: a status, no data set, and no leak (the sanitizers watch). */
static void survives_failing_allocations(void **state)
{
    data_folder *folder = *state;
    static const char *const sets[] = {"tree", "list/set.csv", "idx", "pair"};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        slad_dataset *dataset = NULL;
        slad_status status = SLAD_ERROR_OUT_OF_MEMORY;
        uint64_t countdown = 1;
        for (; status != SLAD_OK && countdown < 2000; countdown++) {
            slad_fault_arm(folder->context, countdown);
            status = slad_dataset_open(folder->context, &dataset, data_folder_path(folder, sets[i]), NULL);
            assert_true(status == SLAD_OK || status == SLAD_ERROR_OUT_OF_MEMORY);
            assert_true((status == SLAD_OK) == (dataset != NULL));
        }
        slad_fault_arm(folder->context, 0);
        assert_in_range(countdown, 10, 1999);
        slad_dataset_free(dataset);
        data_folder_clear_log(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_are_image_folders),
        cmocka_unit_test(fingerprint_tells_sets_apart),
        cmocka_unit_test(train_alone_is_enough),
        cmocka_unit_test(bad_folders_are_named),
        cmocka_unit_test(strict_sets_want_every_file),
        cmocka_unit_test(csv_lists_are_read),
        cmocka_unit_test(bad_csv_lists_are_named_with_a_line),
        cmocka_unit_test(idx_files_are_read),
        cmocka_unit_test(bad_idx_files_are_named),
        cmocka_unit_test(tensor_files_are_read),
        cmocka_unit_test(empty_classes_are_named),
        cmocka_unit_test(bad_tensor_files_are_named),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, data_folder_open, data_folder_close);
}
