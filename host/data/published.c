/* The trees of published data sets as their archives unpack, with their official splits:
 * CUB-200-2011 (Wah et al. 2011): images.txt, classes.txt, image_class_labels.txt and train_test_split.txt by numbers;
 * FGVC-Aircraft (Maji et al., arXiv 1306.5151): variants.txt, images_variant_{trainval,test}.txt;
 * DTD (Cimpoi et al. 2014): labels/{train,val,test}1.txt, the first of its ten splits, train and val together. */
#include "data/dataset_internal.h"

#include "base/files.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "data/index_file.h"
#include <stdlib.h>
#include <string.h>

enum { SIGNS = 3, CLASS_LIMIT = 65536 };

/* Rows at the lower edge of each FGVC-Aircraft image that name its owner; the set's README asks to remove them. */
enum { AIRCRAFT_BANNER = 20 };

typedef struct published_set {
    slad_dataset_form form;
    const char *signs[SIGNS]; /* files that tell the set */
    const char *place;        /* where they may lie below the folder of the archive, or NULL */
} published_set;

static const published_set sets[] = {
    {SLAD_FORM_CUB, {"images.txt", "image_class_labels.txt", "train_test_split.txt"}, NULL},
    {SLAD_FORM_AIRCRAFT, {"variants.txt", "images_variant_trainval.txt", "images_variant_test.txt"}, "data"},
    {SLAD_FORM_DTD, {"labels/train1.txt", "labels/val1.txt", "labels/test1.txt"}, NULL},
};

/* ---- Recognising ---- */

static slad_status has_signs(slad_context *context, bool *found, const published_set *set, const char *folder)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    *found = true;
    for (size_t i = 0; i < SIGNS && *found; i++) {
        SLAD_TRY(slad_path_join(context, &path, folder, set->signs[i]));
        *found = slad_path_look(path) == SLAD_PATH_FILE;
        slad_release(path);
        path = NULL;
    }
cleanup:
    slad_release(path);
    return status;
}

/* Looks for a set in one folder; *root stays NULL if there is none. */
static slad_status look_in(slad_context *context, slad_dataset_form *form, char **root, const char *folder)
{
    slad_status status = SLAD_OK;
    char *inner = NULL;
    for (size_t i = 0; i < sizeof sets / sizeof *sets && !*root; i++) {
        bool here = false, below = false;
        SLAD_TRY(has_signs(context, &here, &sets[i], folder));
        if (!here && sets[i].place) {
            SLAD_TRY(slad_path_join(context, &inner, folder, sets[i].place));
            SLAD_TRY(has_signs(context, &below, &sets[i], inner));
        }
        if (here) SLAD_TRY(slad_duplicate(context, root, folder));
        if (below) {
            *root = inner;
            inner = NULL;
        }
        if (here || below) *form = sets[i].form;
        slad_release(inner);
        inner = NULL;
    }
cleanup:
    slad_release(inner);
    return status;
}

slad_status slad_dataset_find_published(slad_context *context, slad_dataset_form *form, char **root, const char *path)
{
    slad_status status = SLAD_OK;
    slad_directory directory = {0};
    char *folder = NULL, *other = NULL;
    *root = NULL;
    SLAD_TRY(look_in(context, form, root, path));
    if (*root) goto cleanup;
    SLAD_TRY(slad_directory_read(context, &directory, path));
    for (size_t i = 0; i < directory.count; i++) {
        slad_dataset_form found;
        if (directory.entries[i].kind != SLAD_PATH_DIRECTORY || directory.entries[i].name[0] == '.') continue;
        SLAD_TRY(slad_path_join(context, &folder, path, directory.entries[i].name));
        SLAD_TRY(look_in(context, &found, &other, folder));
        SLAD_FAIL_IF(other && *root, SLAD_ERROR_DATA, "%s holds two data sets, %s and %s; give one of them", path,
                     *root, other);
        if (other) {
            *form = found;
            *root = other;
            other = NULL;
        }
        slad_release(folder);
        folder = NULL;
    }
cleanup:
    slad_release(folder);
    slad_release(other);
    slad_directory_free(&directory);
    if (status != SLAD_OK) {
        slad_release(*root);
        *root = NULL;
    }
    return status;
}

/* ---- What the three have in common ---- */

/* Adds an image that an index names. One that is not there is an error in any set: a part of an official split is not
 * that split. */
static slad_status add_listed(slad_context *context, slad_dataset *dataset, slad_split split, const char *relative,
                              int32_t label, const slad_index_file *file, const slad_index_line *line)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    SLAD_TRY(slad_index_check_path(context, file, line, relative));
    SLAD_TRY(slad_path_join(context, &path, dataset->root, relative));
    SLAD_FAIL_IF(slad_path_look(path) == SLAD_PATH_MISSING, SLAD_ERROR_DATA,
                 "%s:%zu: the image %s is missing; unpack the archive again", file->path, line->number, path);
    SLAD_TRY(slad_dataset_add_file(context, dataset, split, relative, label));
cleanup:
    slad_release(path);
    return status;
}

/* Sorts the names, of which none may stand twice. */
static slad_status check_names(slad_context *context, const slad_dataset *dataset, const char **names, size_t count)
{
    slad_status status = SLAD_OK;
    qsort((void *)names, count, sizeof *names, slad_text_compare);
    for (size_t i = 1; i < count; i++)
        SLAD_FAIL_IF(strcmp(names[i - 1], names[i]) == 0, SLAD_ERROR_DATA,
                     "%s: the lists name %s twice; unpack the archive again", dataset->root, names[i]);
cleanup:
    return status;
}

/* No two classes are called alike, no image stands in two parts, or twice in one, and each class has images to learn
 * from. */
static slad_status check_parts(slad_context *context, const slad_dataset *dataset)
{
    slad_status status = SLAD_OK;
    const slad_dataset_part *train = &dataset->parts[SLAD_SPLIT_TRAIN];
    const slad_dataset_part *test = &dataset->parts[SLAD_SPLIT_VALIDATION];
    const size_t count = train->count + test->count;
    const char **paths = NULL, **classes = NULL;
    bool *occurs = NULL;
    SLAD_TRY(slad_allocate(context, &paths, count, sizeof *paths, "image paths"));
    SLAD_TRY(slad_allocate(context, &classes, dataset->class_count, sizeof *classes, "class names"));
    SLAD_TRY(slad_allocate(context, &occurs, dataset->class_count, sizeof *occurs, "classes"));
    for (size_t i = 0; i < count; i++) paths[i] = i < train->count ? train->paths[i] : test->paths[i - train->count];
    for (size_t i = 0; i < dataset->class_count; i++) classes[i] = dataset->classes[i];
    SLAD_TRY(check_names(context, dataset, paths, count));
    SLAD_TRY(check_names(context, dataset, classes, dataset->class_count));
    for (size_t i = 0; i < train->count; i++) occurs[train->labels[i]] = true;
    for (size_t i = 0; i < dataset->class_count; i++)
        SLAD_FAIL_IF(!occurs[i], SLAD_ERROR_DATA, "%s: no training image is of the class %s; unpack the archive again",
                     dataset->root, dataset->classes[i]);
cleanup:
    slad_release((void *)paths);
    slad_release((void *)classes);
    slad_release(occurs);
    return status;
}

/* ---- CUB-200-2011: each list starts its lines with an image's number, or a class's ---- */

/* A list of CUB-200-2011, by number. */
typedef struct numbered {
    slad_index_file file;
    slad_index_line *lines; /* [file.count], number - 1: what follows the number on its line */
} numbered;

/* Lines by their numbers, 1 .. count, each once. */
static slad_status read_numbered(slad_context *context, numbered *list, const char *folder, const char *name)
{
    slad_status status = SLAD_OK;
    slad_index_file *file = &list->file;
    SLAD_TRY(slad_index_read(context, file, folder, name));
    SLAD_TRY(slad_allocate(context, &list->lines, file->count, sizeof *list->lines, "index"));
    for (size_t i = 0; i < file->count; i++) {
        const slad_index_line *line = &file->lines[i];
        size_t id = 0;
        char *rest = NULL;
        SLAD_TRY(slad_index_split(context, &rest, file, line));
        SLAD_TRY(slad_index_number(context, &id, file, line, line->text, 1, file->count));
        slad_index_line *place = &list->lines[id - 1];
        SLAD_FAIL_IF(place->text, SLAD_ERROR_DATA, "%s:%zu: the number %zu stands twice, first on line %zu", file->path,
                     line->number, id, place->number);
        *place = (slad_index_line){rest, line->number};
    }
cleanup:
    return status;
}

enum { CUB_IMAGES, CUB_CLASSES, CUB_LABELS, CUB_SPLIT, CUB_LISTS };

static slad_status take_cub_image(slad_context *context, slad_dataset *dataset, const numbered *lists, size_t i)
{
    slad_status status = SLAD_OK;
    const numbered *labels = &lists[CUB_LABELS], *split = &lists[CUB_SPLIT], *images = &lists[CUB_IMAGES];
    size_t label = 0, is_training = 0;
    char *relative = NULL;
    SLAD_TRY(slad_index_number(context, &label, &labels->file, &labels->lines[i], labels->lines[i].text, 1,
                               dataset->class_count));
    SLAD_TRY(slad_index_number(context, &is_training, &split->file, &split->lines[i], split->lines[i].text, 0, 1));
    SLAD_TRY(slad_path_join(context, &relative, "images", images->lines[i].text));
    SLAD_TRY(add_listed(context, dataset, is_training ? SLAD_SPLIT_TRAIN : SLAD_SPLIT_VALIDATION, relative,
                        (int32_t)label - 1, &images->file, &images->lines[i]));
cleanup:
    slad_release(relative);
    return status;
}

static slad_status read_cub(slad_context *context, slad_dataset *dataset)
{
    static const char *const names[CUB_LISTS] = {"images.txt", "classes.txt", "image_class_labels.txt",
                                                 "train_test_split.txt"};
    slad_status status = SLAD_OK;
    numbered lists[CUB_LISTS] = {0};
    for (size_t i = 0; i < CUB_LISTS; i++) SLAD_TRY(read_numbered(context, &lists[i], dataset->root, names[i]));
    const size_t images = lists[CUB_IMAGES].file.count, classes = lists[CUB_CLASSES].file.count;
    for (size_t i = CUB_LABELS; i < CUB_LISTS; i++)
        SLAD_FAIL_IF(lists[i].file.count != images, SLAD_ERROR_DATA,
                     "%s has %zu lines, but images.txt names %zu images; unpack the archive again", lists[i].file.path,
                     lists[i].file.count, images);
    SLAD_FAIL_IF(classes > CLASS_LIMIT, SLAD_ERROR_DATA, "%s: more than %d classes", lists[CUB_CLASSES].file.path,
                 CLASS_LIMIT);
    SLAD_TRY(slad_allocate(context, &dataset->classes, classes, sizeof *dataset->classes, "class names"));
    dataset->class_count = classes;
    for (size_t i = 0; i < classes; i++)
        SLAD_TRY(slad_duplicate(context, &dataset->classes[i], lists[CUB_CLASSES].lines[i].text));
    for (size_t i = 0; i < images; i++) SLAD_TRY(take_cub_image(context, dataset, lists, i));
cleanup:
    for (size_t i = 0; i < CUB_LISTS; i++) {
        slad_index_free(&lists[i].file);
        slad_release(lists[i].lines);
    }
    return status;
}

/* ---- FGVC-Aircraft: variants, and lines of image and variant ---- */

typedef struct named_class {
    const char *name;
    int32_t label;
} named_class;

static int compare_classes(const void *left, const void *right)
{
    return strcmp(((const named_class *)left)->name, ((const named_class *)right)->name);
}

/* The classes, numbered as their lines are, and the same sorted by name. */
static slad_status read_variants(slad_context *context, named_class **sorted, slad_dataset *dataset)
{
    slad_status status = SLAD_OK;
    slad_index_file file = {0};
    SLAD_TRY(slad_index_read(context, &file, dataset->root, "variants.txt"));
    SLAD_FAIL_IF(file.count > CLASS_LIMIT, SLAD_ERROR_DATA, "%s: more than %d classes", file.path, CLASS_LIMIT);
    SLAD_TRY(slad_allocate(context, &dataset->classes, file.count, sizeof *dataset->classes, "class names"));
    SLAD_TRY(slad_allocate(context, sorted, file.count, sizeof **sorted, "class names"));
    dataset->class_count = file.count;
    for (size_t i = 0; i < file.count; i++) {
        SLAD_TRY(slad_duplicate(context, &dataset->classes[i], file.lines[i].text));
        (*sorted)[i] = (named_class){dataset->classes[i], (int32_t)i};
    }
    qsort(*sorted, file.count, sizeof **sorted, compare_classes);
    for (size_t i = 1; i < file.count; i++)
        SLAD_FAIL_IF(compare_classes(&(*sorted)[i - 1], &(*sorted)[i]) == 0, SLAD_ERROR_DATA,
                     "%s: the class %s stands twice; unpack the archive again", file.path, (*sorted)[i].name);
cleanup:
    slad_index_free(&file);
    return status;
}

static slad_status read_aircraft_part(slad_context *context, slad_dataset *dataset, slad_split split, const char *name,
                                      const named_class *sorted)
{
    slad_status status = SLAD_OK;
    slad_index_file file = {0};
    char *relative = NULL;
    SLAD_TRY(slad_index_read(context, &file, dataset->root, name));
    for (size_t i = 0; i < file.count; i++) {
        const slad_index_line *line = &file.lines[i];
        char *variant = NULL;
        SLAD_TRY(slad_index_split(context, &variant, &file, line));
        const named_class wanted = {variant, 0};
        const named_class *found = bsearch(&wanted, sorted, dataset->class_count, sizeof *sorted, compare_classes);
        SLAD_FAIL_IF(!found, SLAD_ERROR_DATA, "%s:%zu: variants.txt has no class \"%s\"; unpack the archive again",
                     file.path, line->number, variant);
        SLAD_TRY(slad_format(context, &relative, "images/%s.jpg", line->text));
        SLAD_TRY(add_listed(context, dataset, split, relative, found->label, &file, line));
        slad_release(relative);
        relative = NULL;
    }
cleanup:
    slad_release(relative);
    slad_index_free(&file);
    return status;
}

static slad_status read_aircraft(slad_context *context, slad_dataset *dataset)
{
    slad_status status = SLAD_OK;
    named_class *sorted = NULL;
    dataset->banner = AIRCRAFT_BANNER;
    SLAD_TRY(read_variants(context, &sorted, dataset));
    SLAD_TRY(read_aircraft_part(context, dataset, SLAD_SPLIT_TRAIN, "images_variant_trainval.txt", sorted));
    SLAD_TRY(read_aircraft_part(context, dataset, SLAD_SPLIT_VALIDATION, "images_variant_test.txt", sorted));
cleanup:
    slad_release(sorted);
    return status;
}

/* ---- DTD: lines of CLASS/image ---- */

/* Adds the images of a list, and cuts its lines to the names of their classes. */
static slad_status read_dtd_list(slad_context *context, slad_index_file *file, slad_dataset *dataset, slad_split split,
                                 const char *name)
{
    slad_status status = SLAD_OK;
    char *relative = NULL;
    SLAD_TRY(slad_index_read(context, file, dataset->root, name));
    for (size_t i = 0; i < file->count; i++) {
        const slad_index_line *line = &file->lines[i];
        char *slash = strchr(line->text, '/');
        SLAD_FAIL_IF(!slash || slash == line->text, SLAD_ERROR_DATA,
                     "%s:%zu: \"%s\" names no class; it must be CLASS/image", file->path, line->number, line->text);
        SLAD_TRY(slad_path_join(context, &relative, "images", line->text));
        SLAD_TRY(add_listed(context, dataset, split, relative, 0, file, line));
        *slash = '\0';
        slad_release(relative);
        relative = NULL;
    }
cleanup:
    slad_release(relative);
    return status;
}

/* The labels of a list's images, which stand from `first` on in their part. */
static slad_status label_dtd_list(slad_context *context, slad_dataset *dataset, slad_split split, size_t first,
                                  const slad_index_file *file)
{
    slad_status status = SLAD_OK;
    for (size_t i = 0; i < file->count; i++) {
        const int32_t label = slad_dataset_find_sorted_class(dataset, file->lines[i].text);
        SLAD_FAIL_IF(label < 0, SLAD_ERROR_DATA, "%s:%zu: no training image is of the class %s", file->path,
                     file->lines[i].number, file->lines[i].text);
        dataset->parts[split].labels[first + i] = label;
    }
cleanup:
    return status;
}

static slad_status read_dtd(slad_context *context, slad_dataset *dataset)
{
    slad_status status = SLAD_OK;
    slad_index_file train = {0}, validation = {0}, test = {0};
    const char **labels = NULL;
    SLAD_TRY(read_dtd_list(context, &train, dataset, SLAD_SPLIT_TRAIN, "labels/train1.txt"));
    SLAD_TRY(read_dtd_list(context, &validation, dataset, SLAD_SPLIT_TRAIN, "labels/val1.txt"));
    SLAD_TRY(read_dtd_list(context, &test, dataset, SLAD_SPLIT_VALIDATION, "labels/test1.txt"));
    const size_t count = train.count + validation.count;
    SLAD_TRY(slad_allocate(context, &labels, count, sizeof *labels, "labels"));
    for (size_t i = 0; i < count; i++)
        labels[i] = i < train.count ? train.lines[i].text : validation.lines[i - train.count].text;
    SLAD_TRY(slad_dataset_collect_classes(context, dataset, labels, count));
    SLAD_TRY(label_dtd_list(context, dataset, SLAD_SPLIT_TRAIN, 0, &train));
    SLAD_TRY(label_dtd_list(context, dataset, SLAD_SPLIT_TRAIN, train.count, &validation));
    SLAD_TRY(label_dtd_list(context, dataset, SLAD_SPLIT_VALIDATION, 0, &test));
cleanup:
    slad_release((void *)labels);
    slad_index_free(&train);
    slad_index_free(&validation);
    slad_index_free(&test);
    return status;
}

slad_status slad_dataset_read_published(slad_context *context, slad_dataset *dataset)
{
    slad_status status = SLAD_OK;
    if (dataset->form == SLAD_FORM_CUB)
        SLAD_TRY(read_cub(context, dataset));
    else if (dataset->form == SLAD_FORM_AIRCRAFT)
        SLAD_TRY(read_aircraft(context, dataset));
    else
        SLAD_TRY(read_dtd(context, dataset));
    SLAD_TRY(check_parts(context, dataset));
cleanup:
    return status;
}
