/* train/ and val/ with one folder a class, as torchvision's ImageFolder takes them. */
#include "data/dataset_internal.h"

#include "base/files.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

/* A folder that links to one above it would be walked for ever. */
enum { DEPTH_LIMIT = 32 };

/* The files of one class, before they are sorted. */
typedef struct found_file {
    char *path;       /* relative to the data set */
    size_t directory; /* length of the path's folder */
} found_file;

typedef struct class_walk {
    found_file *files;
    size_t count, capacity;
    size_t *ignored;     /* files that are no images by their names, over all classes */
    char **ignored_path; /* one of them */
} class_walk;

static void walk_free(class_walk *walk)
{
    for (size_t i = 0; i < walk->count; i++) slad_release(walk->files[i].path);
    slad_release(walk->files);
}

/* By folder, then by name, as torchvision orders them: neither is the order of whole paths. */
static int compare_files(const void *left, const void *right)
{
    const found_file *a = left, *b = right;
    const size_t shorter = a->directory < b->directory ? a->directory : b->directory;
    const int folders = memcmp(a->path, b->path, shorter);
    if (folders != 0) return folders;
    if (a->directory != b->directory) return a->directory < b->directory ? -1 : 1;
    return strcmp(a->path + a->directory, b->path + b->directory);
}

static slad_status take_file(slad_context *context, class_walk *walk, const char *relative, const char *name)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    SLAD_TRY(slad_path_join(context, &path, relative, name));
    if (name[0] == '.' || !slad_image_has_known_name(name)) {
        (*walk->ignored)++;
        if (!*walk->ignored_path) {
            *walk->ignored_path = path;
            path = NULL;
        }
        goto cleanup;
    }
    SLAD_TRY(slad_grow(context, &walk->files, &walk->capacity, walk->count + 1, sizeof *walk->files, "image files"));
    walk->files[walk->count++] = (found_file){path, strlen(relative)};
    path = NULL;
cleanup:
    slad_release(path);
    return status;
}

static slad_status walk_folder(slad_context *context, class_walk *walk, const char *root, const char *relative,
                               unsigned depth)
{
    slad_status status = SLAD_OK;
    slad_directory directory = {0};
    char *path = NULL, *deeper = NULL;
    SLAD_TRY(slad_path_join(context, &path, root, relative));
    SLAD_FAIL_IF(depth > DEPTH_LIMIT, SLAD_ERROR_DATA, "%s: more than %d folders deep; is there a link to itself?",
                 path, DEPTH_LIMIT);
    SLAD_TRY(slad_directory_read(context, &directory, path));
    for (size_t i = 0; i < directory.count; i++) {
        const slad_directory_entry *entry = &directory.entries[i];
        if (entry->kind != SLAD_PATH_DIRECTORY) {
            SLAD_TRY(take_file(context, walk, relative, entry->name));
        } else if (entry->name[0] != '.') {
            SLAD_TRY(slad_path_join(context, &deeper, relative, entry->name));
            SLAD_TRY(walk_folder(context, walk, root, deeper, depth + 1));
            slad_release(deeper);
            deeper = NULL;
        }
    }
cleanup:
    slad_release(deeper);
    slad_release(path);
    slad_directory_free(&directory);
    return status;
}

/* Adds the images of one class folder, named relative to the data set. */
static slad_status read_class(slad_context *context, slad_dataset *dataset, slad_split split, const char *relative,
                              int32_t label, size_t *ignored, char **ignored_path)
{
    slad_status status = SLAD_OK;
    class_walk walk = {.ignored = ignored, .ignored_path = ignored_path};
    SLAD_TRY(walk_folder(context, &walk, dataset->root, relative, 0));
    SLAD_FAIL_IF(walk.count == 0, SLAD_ERROR_DATA,
                 "%s/%s: the class has no image (jpg, jpeg, png, bmp, gif, tga, ppm, pgm); add some or remove the "
                 "folder%s%s",
                 dataset->root, relative, *ignored_path ? "; ignored are files such as " : "",
                 *ignored_path ? *ignored_path : "");
    qsort(walk.files, walk.count, sizeof *walk.files, compare_files);
    for (size_t i = 0; i < walk.count; i++)
        SLAD_TRY(slad_dataset_add_file(context, dataset, split, walk.files[i].path, label));
cleanup:
    walk_free(&walk);
    return status;
}

/* The label of a class of val/, or the next label for one of train/. */
static slad_status find_class(slad_context *context, int32_t *label, slad_dataset *dataset, slad_split split,
                              const char *name)
{
    slad_status status = SLAD_OK;
    if (split == SLAD_SPLIT_TRAIN) {
        SLAD_TRY(slad_duplicate(context, &dataset->classes[dataset->class_count], name));
        *label = (int32_t)dataset->class_count++;
        return SLAD_OK;
    }
    for (size_t i = 0; i < dataset->class_count; i++) {
        if (strcmp(dataset->classes[i], name) != 0) continue;
        *label = (int32_t)i;
        return SLAD_OK;
    }
    SLAD_FAIL_IF(true, SLAD_ERROR_DATA,
                 "%s/val/%s: train/ has no class of this name; rename the folder, or add the class to train/",
                 dataset->root, name);
cleanup:
    return status;
}

static void log_ignored(slad_context *context, const char *path, size_t ignored, const char *example)
{
    if (ignored > 0)
        slad_log(context, SLAD_LOG_INFO, "%s: %zu files that are not images by their names are ignored%s%s", path,
                 ignored, example ? ", for example " : "", example ? example : "");
}

static slad_status read_split(slad_context *context, slad_dataset *dataset, slad_split split, const char *folder)
{
    slad_status status = SLAD_OK;
    slad_directory directory = {0};
    char *path = NULL, *relative = NULL, *ignored_path = NULL;
    size_t ignored = 0, classes = 0;
    SLAD_TRY(slad_path_join(context, &path, dataset->root, folder));
    SLAD_TRY(slad_directory_read(context, &directory, path));
    if (split == SLAD_SPLIT_TRAIN)
        SLAD_TRY(slad_allocate(context, &dataset->classes, directory.count, sizeof *dataset->classes, "class names"));
    for (size_t i = 0; i < directory.count; i++) {
        const slad_directory_entry *entry = &directory.entries[i];
        int32_t label = 0;
        if (entry->kind != SLAD_PATH_DIRECTORY || entry->name[0] == '.') {
            ignored++;
            continue;
        }
        SLAD_TRY(find_class(context, &label, dataset, split, entry->name));
        SLAD_TRY(slad_path_join(context, &relative, folder, entry->name));
        SLAD_TRY(read_class(context, dataset, split, relative, label, &ignored, &ignored_path));
        slad_release(relative);
        relative = NULL;
        classes++;
    }
    SLAD_FAIL_IF(classes == 0, SLAD_ERROR_DATA, "%s: there are no class folders; put the images of each class into one",
                 path);
    if (split == SLAD_SPLIT_VALIDATION && classes < dataset->class_count)
        slad_log(context, SLAD_LOG_WARNING, "%s: only %zu of the %zu classes of train/ have validation images", path,
                 classes, dataset->class_count);
    log_ignored(context, path, ignored, ignored_path);
cleanup:
    slad_release(path);
    slad_release(relative);
    slad_release(ignored_path);
    slad_directory_free(&directory);
    return status;
}

slad_status slad_dataset_read_unlabelled_folder(slad_context *context, slad_dataset *dataset, const char *path)
{
    slad_status status = SLAD_OK;
    size_t ignored = 0;
    char *ignored_path = NULL;
    class_walk walk = {.ignored = &ignored, .ignored_path = &ignored_path};
    SLAD_TRY(slad_duplicate(context, &dataset->unlabelled_root, path));
    SLAD_TRY(walk_folder(context, &walk, path, "", 0));
    SLAD_FAIL_IF(walk.count == 0, SLAD_ERROR_DATA,
                 "%s: the folder holds no image (jpg, jpeg, png, bmp, gif, tga, ppm, pgm)%s%s", path,
                 ignored_path ? "; ignored are files such as " : "", ignored_path ? ignored_path : "");
    qsort(walk.files, walk.count, sizeof *walk.files, compare_files);
    for (size_t i = 0; i < walk.count; i++)
        SLAD_TRY(slad_dataset_part_add_file(context, &dataset->unlabelled, path, walk.files[i].path, -1));
    log_ignored(context, path, ignored, ignored_path);
cleanup:
    slad_release(ignored_path);
    walk_free(&walk);
    return status;
}

slad_status slad_dataset_read_image_folder(slad_context *context, slad_dataset *dataset, const char *path)
{
    slad_status status = SLAD_OK;
    char *validation = NULL;
    SLAD_TRY(slad_duplicate(context, &dataset->root, path));
    SLAD_TRY(read_split(context, dataset, SLAD_SPLIT_TRAIN, "train"));
    SLAD_TRY(slad_path_join(context, &validation, path, "val"));
    if (slad_path_look(validation) != SLAD_PATH_MISSING)
        SLAD_TRY(read_split(context, dataset, SLAD_SPLIT_VALIDATION, "val"));
cleanup:
    slad_release(validation);
    return status;
}
