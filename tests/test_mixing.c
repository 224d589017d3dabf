/* Mixup and CutMix: boxes against timm, what mixing does to a batch, and batches of a loader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "data/loader.h"
#include "data/mixing.h"
#include "data_folder.h"
#include <math.h>

enum { ROWS = 6, HEIGHT = 4, WIDTH = 5, PLANE = HEIGHT * WIDTH, VALUES = 3 * PLANE, CLASSES = 9 };

static void boxes_are_timms(void **state)
{
    data_folder *folder = *state;
    char *text = NULL;
    size_t size = 0, cases = 0;
    assert_int_equal(slad_file_read_all(folder->context, &text, &size, SLAD_FIXTURES "/cutmix_cases.txt", 1 << 20),
                     SLAD_OK);
    for (char *line = text; *line; line = strchr(line, '\n') + 1) {
        size_t height, width, y, x;
        slad_rectangle wanted;
        double share, corrected;
        assert_int_equal(sscanf(line, "%zu %zu %lf %zu %zu %zu %zu %zu %zu %lf", &height, &width, &share, &y, &x,
                                &wanted.top, &wanted.left, &wanted.height, &wanted.width, &corrected),
                         10);
        const slad_rectangle box = slad_cutmix_box(&share, height, width, y, x);
        assert_int_equal(box.height, wanted.height);
        assert_int_equal(box.width, wanted.width);
        if (box.height * box.width > 0) {
            assert_int_equal(box.top, wanted.top);
            assert_int_equal(box.left, wanted.left);
        }
        assert_true(share == corrected);
        cases++;
    }
    assert_in_range(cases, 200, 1000);
    slad_release(text);
}

/* ---- One batch ---- */

typedef struct small_batch {
    float pixels[ROWS * VALUES], task[ROWS], kl[ROWS], mix[ROWS];
    int32_t labels[ROWS], labels_2[ROWS];
    slad_batch batch;
} small_batch;

static float pixel_of(size_t row, size_t i)
{
    return (float)(row + 1) * 0.37f + (float)i * 0.011f;
}

static void fill(small_batch *small, size_t count)
{
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t i = 0; i < VALUES; i++) small->pixels[row * VALUES + i] = row < count ? pixel_of(row, i) : 0;
        small->labels[row] = row < count ? (int32_t)row + 2 : 0;
        small->task[row] = small->kl[row] = row < count ? 1.0f : 0.0f;
        small->labels_2[row] = -7;
        small->mix[row] = NAN;
    }
    small->batch = (slad_batch){.pixel_values = small->pixels,
                                .labels = small->labels,
                                .labels_2 = small->labels_2,
                                .mix = small->mix,
                                .task_weights = small->task,
                                .kl_weights = small->kl,
                                .capacity = ROWS,
                                .count = count,
                                .height = HEIGHT,
                                .width = WIDTH};
}

static void expect_whole(const small_batch *small, size_t row)
{
    for (size_t i = 0; i < VALUES; i++) assert_true(small->pixels[row * VALUES + i] == pixel_of(row, i));
    assert_int_equal(small->labels_2[row], small->labels[row]);
    assert_true(small->mix[row] == 1.0f);
}

static void expect_mixed(const small_batch *small, size_t row, size_t partner, const slad_mixing *mixing)
{
    const slad_rectangle *box = &mixing->box;
    const float own = (float)mixing->share, rest = (float)(1 - mixing->share);
    for (size_t i = 0; i < VALUES; i++) {
        const size_t y = i % PLANE / WIDTH, x = i % WIDTH;
        const bool inside = y >= box->top && y < box->top + box->height && x >= box->left && x < box->left + box->width;
        const float wanted = mixing->has_box ? pixel_of(inside ? partner : row, i)
                                             : own * pixel_of(row, i) + rest * pixel_of(partner, i);
        assert_true(small->pixels[row * VALUES + i] == wanted);
    }
    assert_int_equal(small->labels[row], row + 2);
    assert_int_equal(small->labels_2[row], partner + 2);
    assert_true(small->mix[row] == own);
    assert_true(small->kl[row] == 1.0f);
}

static void expect_padding(const small_batch *small, size_t row)
{
    for (size_t i = 0; i < VALUES; i++) assert_true(small->pixels[row * VALUES + i] == 0.0f);
    assert_true(small->labels_2[row] == 0 && small->mix[row] == 0.0f);
    assert_true(small->task[row] == 0.0f && small->kl[row] == 0.0f);
}

static const slad_mixing kinds[] = {{.share = 0.3}, {.share = 0.7, .has_box = true, .box = {1, 2, 2, 3}}};

static void every_count(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < 2; kind++) {
        for (size_t count = 0; count <= ROWS; count++) {
            small_batch small;
            fill(&small, count);
            slad_mixing_apply(&small.batch, &kinds[kind]);
            for (size_t row = 0; row < ROWS; row++) {
                const size_t partner = count - 1 - row;
                if (row >= count)
                    expect_padding(&small, row);
                else if (row == partner)
                    expect_whole(&small, row);
                else
                    expect_mixed(&small, row, partner, &kinds[kind]);
            }
        }
    }
}

/* Rows 0 and 5, 1 and 4, 2 and 3 are partners. */
static void broken_and_unlabelled_partners(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < 2; kind++) {
        small_batch small;
        fill(&small, ROWS);
        small.task[5] = small.kl[5] = 0; /* broken */
        small.task[1] = 0;               /* unlabelled */
        memset(small.pixels + 5 * VALUES, 0, VALUES * sizeof(float));
        small.labels[5] = 0;
        slad_mixing_apply(&small.batch, &kinds[kind]);
        expect_whole(&small, 0);
        assert_true(small.task[0] == 1.0f && small.task[5] == 0.0f && small.kl[5] == 0.0f);
        for (size_t i = 0; i < VALUES; i++) assert_true(small.pixels[5 * VALUES + i] == 0.0f);
        assert_true(small.mix[5] == 1.0f && small.labels_2[5] == 0);
        expect_mixed(&small, 1, 4, &kinds[kind]);
        expect_mixed(&small, 4, 1, &kinds[kind]);
        assert_true(small.task[1] == 0.0f && small.task[4] == 0.0f);
        expect_mixed(&small, 2, 3, &kinds[kind]);
        assert_true(small.task[2] == 1.0f && small.task[3] == 1.0f);
    }
}

static void a_share_of_one_leaves_all_as_it_was(void **state)
{
    (void)state;
    small_batch small;
    const slad_mixing whole = {.share = 1, .has_box = true};
    fill(&small, ROWS);
    small.task[2] = 0;
    slad_mixing_apply(&small.batch, &whole);
    for (size_t row = 0; row < ROWS; row++) expect_whole(&small, row);
    assert_true(small.task[3] == 1.0f);
}

/* ---- Draws ---- */

static void draws_are_of_their_distributions(void **state)
{
    enum { COUNT = 20000 };
    double sums[3] = {0}, boxes = 0;
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        slad_random random = slad_random_start(3, SLAD_RANDOM_MIX, 0, i), again = random;
        const slad_mixing mixup = slad_mixing_draw(&random, 0.4, 0, 100, 100);
        random = again;
        const slad_mixing cutmix = slad_mixing_draw(&random, 0, 1, 100, 100);
        random = again;
        const slad_mixing either = slad_mixing_draw(&random, 0.4, 1, 100, 100);
        assert_true(!mixup.has_box && cutmix.has_box);
        assert_true(mixup.share >= 0 && mixup.share <= 1 && cutmix.share >= 0 && cutmix.share <= 1);
        assert_true(cutmix.box.top + cutmix.box.height <= 100 && cutmix.box.left + cutmix.box.width <= 100);
        sums[0] += mixup.share;
        sums[1] += (mixup.share - 0.5) * (mixup.share - 0.5);
        sums[2] += cutmix.share;
        boxes += either.has_box;
        random = again;
        const slad_mixing same = slad_mixing_draw(&random, 0, 1, 100, 100);
        assert_true(same.share == cutmix.share && same.box.top == cutmix.box.top);
    }
    assert_true(fabs(sums[0] / COUNT - 0.5) < 0.01);
    assert_true(fabs(sums[1] / COUNT - 0.25 / (2 * 0.4 + 1)) < 0.005); /* the variance of Beta(0.4, 0.4) */
    assert_true(sums[2] / COUNT > 0.55); /* boxes that are cut at the border leave more of the image */
    assert_true(fabs(boxes / COUNT - 0.5) < 0.015);
    slad_random random = slad_random_start(3, SLAD_RANDOM_MIX, 0, 0);
    assert_true(slad_mixing_draw(&random, 0, 0, 8, 8).share == 1);
}

/* ---- A loader ---- */

enum { IMAGES = 11, BATCH = 4, BATCHES = 3, SIDE = 8, IMAGE = 3 * SIDE * SIDE };

static slad_loader *make_loader(data_folder *folder, const slad_dataset *dataset, const slad_preprocess *preprocess,
                                uint32_t workers, double mixup, double cutmix)
{
    slad_loader *loader = NULL;
    const slad_loader_options options = {.batch = BATCH,
                                         .workers = workers,
                                         .slots = 3,
                                         .seed = 5,
                                         .shuffle = true,
                                         .augmentation = SLAD_AUGMENT_CROP_FLIP,
                                         .scale_low = 0.3,
                                         .scale_high = 1,
                                         .mixup = mixup,
                                         .cutmix = cutmix};
    assert_int_equal(slad_loader_create(folder->context, &loader, dataset, SLAD_SPLIT_TRAIN, preprocess, &options),
                     SLAD_OK);
    return loader;
}

/* What a mixing loader gives is what mixing makes of a plain loader's batch. */
static void expect_batch(const slad_batch *mixed, const slad_batch *plain, double mixup, double cutmix, uint32_t epoch,
                         uint32_t position)
{
    slad_random random = slad_random_start(5, SLAD_RANDOM_MIX, epoch, position);
    const slad_mixing mixing = slad_mixing_draw(&random, mixup, cutmix, SIDE, SIDE);
    float pixels[BATCH * IMAGE], task[BATCH], mix[BATCH];
    int32_t labels_2[BATCH];
    slad_batch wanted = *plain;
    assert_null(plain->labels_2);
    assert_null(plain->mix);
    memcpy(pixels, plain->pixel_values, sizeof pixels);
    memcpy(task, plain->task_weights, sizeof task);
    wanted.pixel_values = pixels;
    wanted.task_weights = task;
    wanted.labels_2 = labels_2;
    wanted.mix = mix;
    slad_mixing_apply(&wanted, &mixing);
    assert_memory_equal(mixed->pixel_values, pixels, sizeof pixels);
    assert_memory_equal(mixed->task_weights, task, sizeof task);
    assert_memory_equal(mixed->labels, plain->labels, sizeof labels_2);
    assert_memory_equal(mixed->labels_2, labels_2, sizeof labels_2);
    assert_memory_equal(mixed->mix, mix, sizeof mix);
    assert_memory_equal(mixed->indices, plain->indices, BATCH * sizeof *mixed->indices);
}

static void loaders_mix_their_batches(void **state)
{
    static const double alphas[][2] = {{0.8, 0}, {0, 1}, {0.2, 1}};
    static const uint32_t threads[] = {1, 5};
    data_folder *folder = *state;
    slad_preprocess preprocess = slad_preprocess_default();
    slad_dataset *dataset = NULL;
    char path[64];
    slad_preprocess_set_size(&preprocess, SIDE);
    for (unsigned i = 0; i < IMAGES; i++) {
        (void)snprintf(path, sizeof path, "mixed/train/%c/%02u.ppm", i < 6 ? 'a' : 'b', i);
        write_image(folder, path, 9 + i % 4, 12 - i % 5, i * 20);
    }
    write_text(folder, "mixed/train/a/03.ppm", "broken");
    assert_int_equal(slad_dataset_open(folder->context, &dataset, data_folder_path(folder, "mixed"), NULL), SLAD_OK);
    for (size_t i = 0; i < 6; i++) {
        const double mixup = alphas[i / 2][0], cutmix = alphas[i / 2][1];
        slad_loader *mixing = make_loader(folder, dataset, &preprocess, threads[i % 2], mixup, cutmix);
        slad_loader *plain = make_loader(folder, dataset, &preprocess, 2, 0, 0);
        const slad_batch *mixed = NULL, *whole = NULL;
        for (uint32_t b = 0; b < 4 * BATCHES; b++) {
            /* Going on, and going back or ahead. */
            const uint32_t epoch = b % 5 == 4 ? 2 : b / BATCHES, position = b % BATCHES;
            if (b % 5 == 4 || b % 5 == 0) assert_int_equal(slad_loader_seek(mixing, epoch, position), SLAD_OK);
            assert_int_equal(slad_loader_seek(plain, epoch, position), SLAD_OK);
            assert_int_equal(slad_loader_next(mixing, &mixed), SLAD_OK);
            assert_int_equal(slad_loader_next(plain, &whole), SLAD_OK);
            expect_batch(mixed, whole, mixup, cutmix, epoch, position);
            slad_loader_release(mixing, mixed);
            slad_loader_release(plain, whole);
        }
        slad_loader_free(mixing);
        slad_loader_free(plain);
    }
    slad_dataset_free(dataset);
}

static void bad_alphas_are_refused(void **state)
{
    data_folder *folder = *state;
    const int64_t labels[] = {0, 1};
    const double bad[][2] = {{-1, 0}, {0, NAN}, {INFINITY, 0}};
    slad_dataset *dataset = NULL;
    slad_loader *loader = NULL;
    write_tensors(folder, "two.safetensors", 2, 4, labels, NULL);
    assert_int_equal(slad_dataset_open(folder->context, &dataset, data_folder_path(folder, "two.safetensors"), NULL),
                     SLAD_OK);
    for (size_t i = 0; i < 3; i++) {
        const slad_loader_options options = {.batch = 2, .slots = 2, .mixup = bad[i][0], .cutmix = bad[i][1]};
        assert_int_equal(slad_loader_create(folder->context, &loader, dataset, SLAD_SPLIT_TRAIN, NULL, &options),
                         SLAD_ERROR_USAGE);
        assert_null(loader);
    }
    slad_dataset_free(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boxes_are_timms),
        cmocka_unit_test(every_count),
        cmocka_unit_test(broken_and_unlabelled_partners),
        cmocka_unit_test(a_share_of_one_leaves_all_as_it_was),
        cmocka_unit_test(draws_are_of_their_distributions),
        cmocka_unit_test(loaders_mix_their_batches),
        cmocka_unit_test(bad_alphas_are_refused),
    };
    return cmocka_run_group_tests(tests, data_folder_open, data_folder_close);
}
