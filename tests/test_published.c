/* Published data sets in the trees that their archives unpack to, whole and damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/dataset.h"
#include "data_folder.h"

typedef struct text_file {
    const char *name, *text;
} text_file;

/* A set in small: its lists, and how its images are called. */
typedef struct small_set {
    const char *root;
    text_file lists[4];
    const char *images[5];
} small_set;

static const small_set cub = {
    "CUB_200_2011",
    {{"images.txt", "3 002.Emu/c.jpg\n1 001.Auk/a.jpg\n2 001.Auk/b.jpg\n4 002.Emu/d e.jpg\n"},
     {"classes.txt", "1 001.Auk\n2 002.Emu\n"},
     {"image_class_labels.txt", "1 1\r\n2 1\r\n3 2\r\n4 2\r\n"},
     {"train_test_split.txt", "1 1\n2 0\n3 0\n\n4 1"}},
    {"images/001.Auk/a.jpg", "images/001.Auk/b.jpg", "images/002.Emu/c.jpg", "images/002.Emu/d e.jpg"},
};

static const small_set aircraft = {
    "fgvc-aircraft-2013b/data",
    {{"variants.txt", "Yak-42\n707-320\nF-16A/B\n"},
     {"images_variant_trainval.txt", "0034309 707-320\n1025794 Yak-42\n1340192 F-16A/B\n"},
     {"images_variant_test.txt", "0061581 F-16A/B\n0103700 Yak-42\n"},
     {"families.txt", "not read\n"}},
    {"images/0034309.jpg", "images/1025794.jpg", "images/1340192.jpg", "images/0061581.jpg", "images/0103700.jpg"},
};

static const small_set dtd = {
    "dtd",
    {{"labels/train1.txt", "banded/banded_0002.jpg\nwoven/woven_0001.jpg\n"},
     {"labels/val1.txt", "braided/braided_0003.jpg\n"},
     {"labels/test1.txt", "woven/woven_0004.jpg\nbanded/banded_0005.jpg\n"},
     {"labels/train2.txt", "not read\n"}},
    {"images/banded/banded_0002.jpg", "images/woven/woven_0001.jpg", "images/braided/braided_0003.jpg",
     "images/woven/woven_0004.jpg", "images/banded/banded_0005.jpg"},
};

/* Images are told from one another by their first byte: their place in the list times 10. */
static void write_set(data_folder *folder, const char *parent, const small_set *set)
{
    char path[256];
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(path, sizeof path, "%s/%s/%s", parent, set->root, set->lists[i].name);
        write_text(folder, path, set->lists[i].text);
    }
    for (unsigned i = 0; i < 5 && set->images[i]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s/%s", parent, set->root, set->images[i]);
        write_image(folder, path, 24, 3, 10 * i);
    }
}

static slad_dataset *open_good(data_folder *folder, const char *relative)
{
    slad_dataset *dataset = NULL;
    if (slad_dataset_open(folder->context, &dataset, data_folder_path(folder, relative), NULL) != SLAD_OK)
        fail_msg("%s", slad_context_message(folder->context));
    return dataset;
}

static void expect_image(data_folder *folder, const slad_dataset *dataset, slad_split split, size_t index,
                         const char *name, int32_t label, unsigned first, size_t height)
{
    slad_image image = {0};
    char *path = NULL;
    assert_int_equal(slad_dataset_item_name(folder->context, &path, dataset, split, index), SLAD_OK);
    const char *ending = path + strlen(path) - strlen(name);
    assert_string_equal(ending, name);
    slad_release(path);
    assert_int_equal(slad_dataset_label(dataset, split, index), label);
    assert_int_equal(slad_dataset_read_image(folder->context, &image, dataset, split, index), SLAD_OK);
    assert_int_equal(image.pixels[0], first);
    assert_int_equal(image.height, height);
    assert_int_equal(image.width, 3);
    slad_image_free(&image);
}

/* As it unpacks, and from the folder above. */
static void cub_is_read(void **state)
{
    static const char *const places[] = {"birds/CUB_200_2011", "birds"};
    data_folder *folder = *state;
    uint64_t fingerprints[2];
    write_set(folder, "birds", &cub);
    write_text(folder, "birds/attributes.txt", "1 has_bill_shape::curved\n"); /* the archive brings it too */
    for (size_t i = 0; i < 2; i++) {
        data_folder_clear_log(folder);
        slad_dataset *dataset = open_good(folder, places[i]);
        assert_int_equal(slad_dataset_get_form(dataset), SLAD_FORM_CUB);
        assert_int_equal(slad_dataset_measure(dataset), SLAD_MEASURE_TOP1);
        assert_int_equal(slad_dataset_class_count(dataset), 2);
        assert_string_equal(slad_dataset_class_name(dataset, 1), "002.Emu");
        assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_TRAIN), 2);
        assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION), 2);
        expect_image(folder, dataset, SLAD_SPLIT_TRAIN, 0, "/images/001.Auk/a.jpg", 0, 0, 24);
        expect_image(folder, dataset, SLAD_SPLIT_TRAIN, 1, "/images/002.Emu/d e.jpg", 1, 30, 24);
        expect_image(folder, dataset, SLAD_SPLIT_VALIDATION, 0, "/images/001.Auk/b.jpg", 0, 10, 24);
        expect_image(folder, dataset, SLAD_SPLIT_VALIDATION, 1, "/images/002.Emu/c.jpg", 1, 20, 24);
        assert_non_null(strstr(folder->log, "CUB-200-2011 with its official split"));
        fingerprints[i] = slad_dataset_fingerprint(dataset);
        slad_dataset_free(dataset);
    }
    assert_true(fingerprints[0] == fingerprints[1]);
}

static void aircraft_is_read_without_its_banner(void **state)
{
    static const char *const places[] = {"planes/fgvc-aircraft-2013b/data", "planes/fgvc-aircraft-2013b", "planes"};
    data_folder *folder = *state;
    write_set(folder, "planes", &aircraft);
    for (size_t i = 0; i < 3; i++) {
        data_folder_clear_log(folder);
        slad_dataset *dataset = open_good(folder, places[i]);
        assert_int_equal(slad_dataset_get_form(dataset), SLAD_FORM_AIRCRAFT);
        assert_int_equal(slad_dataset_measure(dataset), SLAD_MEASURE_MEAN_PER_CLASS);
        assert_string_equal(slad_measure_name(slad_dataset_measure(dataset)), "mean_per_class");
        assert_int_equal(slad_dataset_class_count(dataset), 3);
        assert_string_equal(slad_dataset_class_name(dataset, 0), "Yak-42"); /* the order of variants.txt */
        assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_TRAIN), 3);
        assert_int_equal(slad_dataset_count(dataset, SLAD_SPLIT_VALIDATION), 2);
        expect_image(folder, dataset, SLAD_SPLIT_TRAIN, 0, "/images/0034309.jpg", 1, 0, 4);
        expect_image(folder, dataset, SLAD_SPLIT_TRAIN, 2, "/images/1340192.jpg", 2, 20, 4);
        expect_image(folder, dataset, SLAD_SPLIT_VALIDATION, 1, "/images/0103700.jpg", 0, 40, 4);
        assert_non_null(strstr(folder->log, "FGVC-Aircraft"));
        assert_non_null(strstr(folder->log, "mean per-class"));
        slad_dataset_free(dataset);
    }
    /* An image that is all banner is broken. */
    slad_image image = {0};
    write_image(folder, "planes/fgvc-aircraft-2013b/data/images/0034309.jpg", 20, 3, 0);
    slad_dataset *dataset = open_good(folder, "planes");
    assert_int_equal(slad_dataset_read_image(folder->context, &image, dataset, SLAD_SPLIT_TRAIN, 0), SLAD_ERROR_DATA);
    assert_non_null(strstr(slad_context_message(folder->context), "0034309.jpg"));
    assert_null(image.pixels);
    slad_dataset_free(dataset);
}

static void dtd_is_read(void **state)
{
    static const char *const places[] = {"textures/dtd", "textures"};
    data_folder *folder = *state;
    write_set(folder, "textures", &dtd);
    for (size_t i = 0; i < 2; i++) {
        data_folder_clear_log(folder);
        slad_dataset *dataset = open_good(folder, places[i]);
        assert_int_equal(slad_dataset_get_form(dataset), SLAD_FORM_DTD);
        assert_int_equal(slad_dataset_measure(dataset), SLAD_MEASURE_TOP1);
        assert_int_equal(slad_dataset_class_count(dataset), 3);
        assert_string_equal(slad_dataset_class_name(dataset, 1), "braided");
        expect_image(folder, dataset, SLAD_SPLIT_TRAIN, 1, "/images/woven/woven_0001.jpg", 2, 10, 24);
        expect_image(folder, dataset, SLAD_SPLIT_TRAIN, 2, "/images/braided/braided_0003.jpg", 1, 20, 24);
        expect_image(folder, dataset, SLAD_SPLIT_VALIDATION, 0, "/images/woven/woven_0004.jpg", 2, 30, 24);
        expect_image(folder, dataset, SLAD_SPLIT_VALIDATION, 1, "/images/banded/banded_0005.jpg", 0, 40, 24);
        assert_non_null(strstr(folder->log, "official split 1"));
        slad_dataset_free(dataset);
    }
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

static void two_sets_in_a_folder_are_refused(void **state)
{
    data_folder *folder = *state;
    write_set(folder, "several", &cub);
    write_set(folder, "several", &dtd);
    expect_bad(folder, "several", "CUB_200_2011", "several/dtd");
}

typedef struct damage {
    const small_set *set;
    const char *list, *text, *word, *other; /* the list's new text, what the message must hold */
} damage;

static const damage damages[] = {
    {&cub, "images.txt", "1 001.Auk/a.jpg\n1 001.Auk/b.jpg\n3 002.Emu/c.jpg\n4 002.Emu/d e.jpg\n", "images.txt:2",
     "twice"},
    {&cub, "images.txt", "1 001.Auk/a.jpg\n2 001.Auk/b.jpg\n9 002.Emu/c.jpg\n4 002.Emu/d e.jpg\n", "images.txt:3",
     "1 to 4"},
    {&cub, "images.txt", "1 001.Auk/a.jpg\n2 001.Auk/a.jpg\n3 002.Emu/c.jpg\n4 002.Emu/d e.jpg\n", "001.Auk/a.jpg",
     "twice"},
    {&cub, "images.txt", "1 001.Auk/a.jpg\n2 gone.jpg\n3 002.Emu/c.jpg\n4 002.Emu/d e.jpg\n", "images.txt:2",
     "images/gone.jpg is missing"},
    {&cub, "images.txt", "1 001.Auk/a.jpg\n2 001.Auk/../../../x.jpg\n3 002.Emu/c.jpg\n4 a\n", "images.txt:2",
     "leads out"},
    {&cub, "images.txt", "1 001.Auk/a.jpg\n2\n", "images.txt:2", "two fields"},
    {&cub, "images.txt", " \n\n", "images.txt", "empty"},
    {&cub, "images.txt", "1 001.Auk/a.jpg\n", "image_class_labels.txt", "4 lines"},
    {&cub, "image_class_labels.txt", "1 1\n2 1\n3 3\n4 2\n", "image_class_labels.txt:3", "1 to 2"},
    {&cub, "image_class_labels.txt", "1 1\n2 0\n3 2\n4 2\n", "image_class_labels.txt:2", "1 to 2"},
    {&cub, "image_class_labels.txt", "1 1\n2 -1\n3 2\n4 2\n", "image_class_labels.txt:2", "\"-1\""},
    {&cub, "image_class_labels.txt", "1 1\n2 99999999999999999999999\n3 2\n4 2\n", "image_class_labels.txt:2", "1 to"},
    {&cub, "train_test_split.txt", "1 1\n2 0\n3 0\n4 2\n", "train_test_split.txt:4", "0 to 1"},
    {&cub, "train_test_split.txt", "1 1\n2 1\n3 0\n4 0\n", "002.Emu", "no training image"},
    {&cub, "classes.txt", "1 001.Auk\n2 002.Emu\n1 more\n", "classes.txt:3", "twice"},
    {&cub, "classes.txt", "1 001.Auk\n2 002.Emu\n3 003.Owl\n", "003.Owl", "no training image"},
    {&cub, "classes.txt", "1 001.Auk\n2 001.Auk\n", "001.Auk", "twice"},
    {&aircraft, "variants.txt", "Yak-42\n707-320\nF-16A/B\nYak-42\n", "variants.txt", "Yak-42 stands twice"},
    {&aircraft, "images_variant_test.txt", "0061581 Concorde\n", "images_variant_test.txt:1", "\"Concorde\""},
    {&aircraft, "images_variant_test.txt", "0034309 707-320\n", "0034309.jpg", "twice"},
    {&aircraft, "images_variant_test.txt", "../0034309 707-320\n", "images_variant_test.txt:1", "leads out"},
    {&aircraft, "images_variant_test.txt", "0099999 707-320\n", "images_variant_test.txt:1", "0099999.jpg is missing"},
    {&aircraft, "images_variant_trainval.txt", "0034309 707-320\n1025794\n", "images_variant_trainval.txt:2", "two"},
    {&aircraft, "images_variant_trainval.txt", "0034309 707-320\n1025794 Yak-42\n", "F-16A/B", "no training image"},
    {&dtd, "labels/test1.txt", "banded/banded_0002.jpg\n", "banded_0002.jpg", "twice"},
    {&dtd, "labels/test1.txt", "woven/woven_0004.jpg\n/etc/passwd\n", "test1.txt:2", "CLASS/image"},
    {&dtd, "labels/val1.txt", "braided/braided_0003.jpg\nwoven/../../../x.jpg\n", "val1.txt:2", "leads out"},
    {&dtd, "labels/val1.txt", "braided/braided_0009.jpg\n", "val1.txt:1", "braided_0009.jpg is missing"},
    {&dtd, "labels/val1.txt", "braided_0003.jpg\n", "val1.txt:1", "CLASS/image"},
    {&dtd, "labels/train1.txt", "banded/banded_0002.jpg\n", "test1.txt:1", "woven"},
};

static void damaged_lists_are_named_with_a_line(void **state)
{
    data_folder *folder = *state;
    char root[128], list[192];
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const damage *d = &damages[i];
        (void)snprintf(root, sizeof root, "damaged/%zu", i);
        (void)snprintf(list, sizeof list, "%s/%s/%s", root, d->set->root, d->list);
        write_set(folder, root, d->set);
        write_text(folder, list, d->text);
        expect_bad(folder, root, d->word, d->other);
    }
    write_set(folder, "nul", &cub);
    write_bytes(folder, "nul/CUB_200_2011/classes.txt", "1 a\0\n2 b", 8);
    expect_bad(folder, "nul", "classes.txt", "NUL");
    assert_int_equal(remove(data_folder_path(folder, "nul/CUB_200_2011/classes.txt")), 0);
    expect_bad(folder, "nul", "classes.txt is missing", "unpack");
}

static void failing_allocations_leave_nothing(void **state)
{
    static const small_set *const all[] = {&cub, &aircraft, &dtd};
    data_folder *folder = *state;
    for (size_t i = 0; i < 3; i++) {
        char root[64];
        (void)snprintf(root, sizeof root, "faults/%zu", i);
        write_set(folder, root, all[i]);
        slad_status status = SLAD_ERROR_OUT_OF_MEMORY;
        uint64_t countdown = 1;
        for (; status != SLAD_OK && countdown < 2000; countdown++) {
            slad_dataset *dataset = NULL;
            slad_fault_arm(folder->context, countdown);
            status = slad_dataset_open(folder->context, &dataset, data_folder_path(folder, root), NULL);
            assert_true(status == SLAD_OK || status == SLAD_ERROR_OUT_OF_MEMORY);
            assert_int_equal(dataset != NULL, status == SLAD_OK);
            slad_dataset_free(dataset);
        }
        slad_fault_arm(folder->context, 0);
        assert_in_range(countdown, 40, 1999);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cub_is_read),
        cmocka_unit_test(aircraft_is_read_without_its_banner),
        cmocka_unit_test(dtd_is_read),
        cmocka_unit_test(two_sets_in_a_folder_are_refused),
        cmocka_unit_test(damaged_lists_are_named_with_a_line),
        cmocka_unit_test(failing_allocations_leave_nothing),
    };
    return cmocka_run_group_tests(tests, data_folder_open, data_folder_close);
}
