/* Recognising data sets, and what all forms have in common. */
#include "data/dataset_internal.h"

#include "base/files.h"
#include "base/hash.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

static const char *const form_names[] = {
    [SLAD_FORM_IMAGE_FOLDER] = "class folders of images",
    [SLAD_FORM_CSV] = "a CSV list of images",
    [SLAD_FORM_IDX] = "IDX files",
    [SLAD_FORM_TENSORS] = "tensor files",
    [SLAD_FORM_CUB] = "CUB-200-2011 with its official split",
    [SLAD_FORM_AIRCRAFT] = "FGVC-Aircraft, trainval against test, without the banner of 20 rows of each image",
    [SLAD_FORM_DTD] = "DTD with its official split 1, train and val together against test",
};

static void part_free(slad_dataset_part *part)
{
    for (size_t i = 0; part->paths && i < part->count; i++) slad_release(part->paths[i]);
    slad_release((void *)part->paths);
    slad_release(part->labels);
    slad_release(part->sizes);
    slad_release(part->origin);
    slad_release(part->pixels);
    slad_safetensors_close(part->file);
}

void slad_dataset_free(slad_dataset *dataset)
{
    if (!dataset) return;
    part_free(&dataset->parts[SLAD_SPLIT_TRAIN]);
    part_free(&dataset->parts[SLAD_SPLIT_VALIDATION]);
    part_free(&dataset->unlabelled);
    slad_release(dataset->unlabelled_root);
    for (size_t i = 0; dataset->classes && i < dataset->class_count; i++) slad_release(dataset->classes[i]);
    slad_release((void *)dataset->classes);
    slad_release(dataset->root);
    slad_release(dataset);
}

/* The part that an image of a split stands in, and its index and root there. */
static const slad_dataset_part *find_part(const slad_dataset *dataset, slad_split split, size_t *index,
                                          const char **root)
{
    const slad_dataset_part *part = &dataset->parts[split];
    *root = dataset->root;
    if (split != SLAD_SPLIT_TRAIN || *index < part->count) return part;
    *index -= part->count;
    *root = dataset->unlabelled_root;
    return &dataset->unlabelled;
}

/* The path of an image file, owned by the caller. */
static slad_status full_path(slad_context *context, char **path, const slad_dataset_part *part, const char *root,
                             size_t index)
{
    const char *relative = part->paths[index];
    if (relative[0] == '/') return slad_duplicate(context, path, relative);
    return slad_path_join(context, path, root, relative);
}

/* Bytes of a file, 0 if it cannot be opened: the loader will say why. */
static uint64_t file_size(const char *path)
{
    slad_file *file = NULL;
    if (slad_file_open(NULL, &file, path) != SLAD_OK) return 0;
    const uint64_t size = slad_file_size(file);
    slad_file_close(file);
    return size;
}

slad_status slad_dataset_part_add_file(slad_context *context, slad_dataset_part *part, const char *root,
                                       const char *path, int32_t label)
{
    slad_status status = SLAD_OK;
    char *full = NULL;
    const size_t i = part->count, needed = i + 1;
    SLAD_TRY(slad_grow(context, &part->paths, &part->path_capacity, needed, sizeof *part->paths, "image paths"));
    SLAD_TRY(slad_grow(context, &part->labels, &part->label_capacity, needed, sizeof *part->labels, "labels"));
    SLAD_TRY(slad_grow(context, &part->sizes, &part->size_capacity, needed, sizeof *part->sizes, "file sizes"));
    SLAD_TRY(slad_duplicate(context, &part->paths[i], path));
    part->count++;
    part->labels[i] = label;
    SLAD_TRY(full_path(context, &full, part, root, i));
    part->sizes[i] = file_size(full);
cleanup:
    slad_release(full);
    return status;
}

slad_status slad_dataset_add_file(slad_context *context, slad_dataset *dataset, slad_split split, const char *path,
                                  int32_t label)
{
    return slad_dataset_part_add_file(context, &dataset->parts[split], dataset->root, path, label);
}

slad_status slad_dataset_collect_classes(slad_context *context, slad_dataset *dataset, const char **labels,
                                         size_t count)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_allocate(context, &dataset->classes, count, sizeof *dataset->classes, "class names"));
    if (count > 0) qsort((void *)labels, count, sizeof *labels, slad_text_compare);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && strcmp(labels[i - 1], labels[i]) == 0) continue;
        SLAD_TRY(slad_duplicate(context, &dataset->classes[dataset->class_count], labels[i]));
        dataset->class_count++;
    }
cleanup:
    return status;
}

int32_t slad_dataset_find_sorted_class(const slad_dataset *dataset, const char *name)
{
    if (dataset->class_count == 0) return -1;
    char **found = bsearch(&name, dataset->classes, dataset->class_count, sizeof *dataset->classes, slad_text_compare);
    return found ? (int32_t)(found - dataset->classes) : -1;
}

slad_status slad_dataset_number_classes(slad_context *context, slad_dataset *dataset, size_t count)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_allocate(context, &dataset->classes, count, sizeof *dataset->classes, "class names"));
    dataset->class_count = count;
    for (size_t i = 0; i < count; i++) SLAD_TRY(slad_format(context, &dataset->classes[i], "%zu", i));
cleanup:
    return status;
}

static slad_status look_for(slad_context *context, bool *found, const char *folder, const char *name,
                            slad_path_kind kind)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    SLAD_TRY(slad_path_join(context, &path, folder, name));
    *found = slad_path_look(path) == kind;
cleanup:
    slad_release(path);
    return status;
}

static const char forms_hint[] = "a folder with train/ and val/ of class folders, a .csv file with the columns "
                                 "path,label,split, a folder of IDX files, or .safetensors files with pixel_values "
                                 "and labels, or the unpacked CUB-200-2011, FGVC-Aircraft or DTD";

/* *root: of a published set, else NULL. */
static slad_status recognise_folder(slad_context *context, slad_dataset_form *form, char **root, const char *path)
{
    slad_status status = SLAD_OK;
    bool classes = false, tensors = false, idx = false, images = false, masks = false;
    SLAD_TRY(look_for(context, &classes, path, "train", SLAD_PATH_DIRECTORY));
    SLAD_TRY(look_for(context, &tensors, path, "train.safetensors", SLAD_PATH_FILE));
    SLAD_TRY(slad_dataset_look_for_idx(context, &idx, path));
    if (!classes && !tensors && !idx) {
        SLAD_TRY(slad_dataset_find_published(context, form, root, path));
        if (*root) return SLAD_OK;
    }
    SLAD_TRY(look_for(context, &images, path, "images", SLAD_PATH_DIRECTORY));
    SLAD_TRY(look_for(context, &masks, path, "masks", SLAD_PATH_DIRECTORY));
    SLAD_FAIL_IF(!classes && !tensors && !idx && images && masks, SLAD_ERROR_DATA,
                 "%s: images/ with masks/ is a data set for segmentation, which this version does not do; give %s",
                 path, forms_hint);
    SLAD_FAIL_IF(!classes && !tensors && !idx, SLAD_ERROR_DATA, "%s: the folder holds no data set; give %s", path,
                 forms_hint);
    *form = classes ? SLAD_FORM_IMAGE_FOLDER : tensors ? SLAD_FORM_TENSORS : SLAD_FORM_IDX;
cleanup:
    return status;
}

static slad_status recognise(slad_context *context, slad_dataset_form *form, char **root, const char *path)
{
    slad_status status = SLAD_OK;
    const slad_path_kind kind = slad_path_look(path);
    SLAD_FAIL_IF(kind == SLAD_PATH_MISSING, SLAD_ERROR_DATA, "%s: there is no such data set; check the path", path);
    if (kind == SLAD_PATH_DIRECTORY) {
        SLAD_TRY(recognise_folder(context, form, root, path));
    } else {
        const bool is_csv = slad_text_ends_with(path, ".csv") || slad_text_ends_with(path, ".CSV");
        SLAD_FAIL_IF(kind != SLAD_PATH_FILE || (!is_csv && !slad_text_ends_with(path, ".safetensors")), SLAD_ERROR_DATA,
                     "%s: not a data set that is known; give %s", path, forms_hint);
        *form = is_csv ? SLAD_FORM_CSV : SLAD_FORM_TENSORS;
    }
cleanup:
    return status;
}

static slad_status read_form(slad_context *context, slad_dataset *dataset, const char *path)
{
    switch (dataset->form) {
    case SLAD_FORM_IMAGE_FOLDER:
        return slad_dataset_read_image_folder(context, dataset, path);
    case SLAD_FORM_CSV:
        return slad_dataset_read_csv(context, dataset, path);
    case SLAD_FORM_IDX:
        return slad_dataset_read_idx(context, dataset, path);
    case SLAD_FORM_TENSORS:
        return slad_dataset_read_tensors(context, dataset, path);
    case SLAD_FORM_CUB:
    case SLAD_FORM_AIRCRAFT:
    case SLAD_FORM_DTD:
        break;
    }
    return slad_dataset_read_published(context, dataset);
}

/* Hashes what tells one data set from another without reading images: names, sizes, labels; of IDX files the pixels. */
static uint64_t hash_part(uint64_t hash, const slad_dataset *dataset, const slad_dataset_part *part)
{
    const uint64_t sizes[3] = {part->count, dataset->height, dataset->width};
    hash = slad_hash_bytes(hash, sizes, sizeof sizes);
    if (part->count == 0) return hash;
    if (part->labels) hash = slad_hash_bytes(hash, part->labels, part->count * sizeof *part->labels);
    for (size_t i = 0; part->paths && i < part->count; i++) {
        hash = slad_hash_text(hash, part->paths[i]);
        hash = slad_hash_bytes(hash, &part->sizes[i], sizeof part->sizes[i]);
    }
    if (part->pixels) hash = slad_hash_bytes(hash, part->pixels, part->count * dataset->height * dataset->width);
    return hash;
}

static uint64_t hash_dataset(const slad_dataset *dataset)
{
    uint64_t hash = SLAD_HASH_START;
    for (size_t i = 0; i < dataset->class_count; i++) hash = slad_hash_text(hash, dataset->classes[i]);
    hash = hash_part(hash, dataset, &dataset->parts[SLAD_SPLIT_TRAIN]);
    return hash_part(hash, dataset, &dataset->parts[SLAD_SPLIT_VALIDATION]);
}

/* `before`: images that stand in front of the part's; `name` says which part it is. */
static slad_status check_files(slad_context *context, const slad_dataset *dataset, const slad_dataset_part *part,
                               const char *root, size_t before, const char *name, const char *path)
{
    slad_status status = SLAD_OK;
    char *missing = NULL;
    size_t readable = 0;
    SLAD_FAIL_IF(part->count > INT32_MAX - before, SLAD_ERROR_DATA, "%s: more than 2^31 - 1 %s images; give fewer",
                 path, name);
    if (!part->paths) goto cleanup;
    for (size_t i = 0; i < part->count; i++) {
        readable += part->sizes[i] > 0;
        if (part->sizes[i] > 0 || !dataset->strict) continue;
        SLAD_TRY(full_path(context, &missing, part, root, i));
        SLAD_FAIL_IF(true, SLAD_ERROR_DATA, "%s: the image is empty or cannot be opened; replace it", missing);
    }
    SLAD_FAIL_IF(readable == 0 && part->count > 0, SLAD_ERROR_DATA,
                 "%s: not one of the %zu %s images can be opened; check the paths and the permissions", path,
                 part->count, name);
cleanup:
    slad_release(missing);
    return status;
}

slad_status slad_dataset_open(slad_context *context, slad_dataset **out, const char *path,
                              const slad_dataset_options *options)
{
    slad_status status = SLAD_OK;
    slad_dataset *dataset = NULL;
    *out = NULL;
    SLAD_TRY(slad_allocate(context, &dataset, 1, sizeof *dataset, "data set"));
    dataset->strict = options && options->strict;
    SLAD_TRY(recognise(context, &dataset->form, &dataset->root, path));
    SLAD_TRY(read_form(context, dataset, path));
    const size_t train = dataset->parts[SLAD_SPLIT_TRAIN].count, held_out = dataset->parts[SLAD_SPLIT_VALIDATION].count;
    SLAD_FAIL_IF(train == 0, SLAD_ERROR_DATA, "%s: there are no training images; give %s", path, forms_hint);
    SLAD_FAIL_IF(dataset->class_count < 2, SLAD_ERROR_DATA,
                 "%s: there is only one class; classification needs at least two", path);
    SLAD_TRY(check_files(context, dataset, &dataset->parts[SLAD_SPLIT_TRAIN], dataset->root, 0, "training", path));
    SLAD_TRY(
        check_files(context, dataset, &dataset->parts[SLAD_SPLIT_VALIDATION], dataset->root, 0, "validation", path));
    dataset->fingerprint = dataset->labelled_fingerprint = hash_dataset(dataset);
    slad_log(context, SLAD_LOG_INFO, "%s: %s, %zu classes, %zu training and %zu validation images%s", path,
             form_names[dataset->form], dataset->class_count, train, held_out,
             held_out > 0 ? "" : "; evaluation is left out");
    if (slad_dataset_measure(dataset) == SLAD_MEASURE_MEAN_PER_CLASS)
        slad_log(context, SLAD_LOG_INFO, "%s: this set's own measure is the mean per-class accuracy", path);
    *out = dataset;
    dataset = NULL;
cleanup:
    slad_dataset_free(dataset);
    return status;
}

slad_status slad_dataset_add_unlabelled(slad_context *context, slad_dataset *dataset, const char *path)
{
    slad_status status = SLAD_OK;
    slad_dataset_part *part = &dataset->unlabelled;
    const bool folder = slad_path_look(path) == SLAD_PATH_DIRECTORY, tensors = dataset->form == SLAD_FORM_TENSORS;
    SLAD_FAIL_IF(part->count > 0, SLAD_ERROR_USAGE, "%s: the data set has unlabelled images already", path);
    SLAD_FAIL_IF(slad_path_look(path) == SLAD_PATH_MISSING, SLAD_ERROR_DATA,
                 "%s: there are no such unlabelled images; check the path", path);
    SLAD_FAIL_IF(!folder && (slad_path_look(path) != SLAD_PATH_FILE || !slad_text_ends_with(path, ".safetensors")),
                 SLAD_ERROR_DATA,
                 "%s: unlabelled images are a folder of images, or a .safetensors file with pixel_values", path);
    SLAD_FAIL_IF(folder == tensors, SLAD_ERROR_DATA,
                 "%s: unlabelled images must be of the same kind as the labelled ones: %s", path,
                 tensors ? "a .safetensors file with pixel_values" : "a folder of images");
    if (folder)
        SLAD_TRY(slad_dataset_read_unlabelled_folder(context, dataset, path));
    else
        SLAD_TRY(slad_dataset_read_unlabelled_tensors(context, dataset, path));
    SLAD_TRY(check_files(context, dataset, part, dataset->unlabelled_root, dataset->parts[SLAD_SPLIT_TRAIN].count,
                         "unlabelled", path));
    dataset->fingerprint = hash_part(dataset->fingerprint, dataset, part);
    slad_log(context, SLAD_LOG_INFO, "%s: %zu unlabelled images", path, part->count);
cleanup:
    if (status != SLAD_OK && status != SLAD_ERROR_USAGE) {
        part_free(part);
        slad_release(dataset->unlabelled_root);
        *part = (slad_dataset_part){0};
        dataset->unlabelled_root = NULL;
    }
    return status;
}

size_t slad_dataset_unlabelled_count(const slad_dataset *dataset)
{
    return dataset->unlabelled.count;
}

size_t slad_dataset_count(const slad_dataset *dataset, slad_split split)
{
    return dataset->parts[split].count;
}

size_t slad_dataset_class_count(const slad_dataset *dataset)
{
    return dataset->class_count;
}

const char *slad_dataset_class_name(const slad_dataset *dataset, size_t class_index)
{
    return class_index < dataset->class_count ? dataset->classes[class_index] : NULL;
}

slad_measure slad_dataset_measure(const slad_dataset *dataset)
{
    return dataset->form == SLAD_FORM_AIRCRAFT ? SLAD_MEASURE_MEAN_PER_CLASS : SLAD_MEASURE_TOP1;
}

const char *slad_measure_name(slad_measure measure)
{
    return measure == SLAD_MEASURE_MEAN_PER_CLASS ? "mean_per_class" : "top1";
}

slad_dataset_form slad_dataset_get_form(const slad_dataset *dataset)
{
    return dataset->form;
}

bool slad_dataset_tensor_size(const slad_dataset *dataset, size_t *height, size_t *width)
{
    if (dataset->form != SLAD_FORM_TENSORS) return false;
    *height = dataset->height;
    *width = dataset->width;
    return true;
}

int32_t slad_dataset_label(const slad_dataset *dataset, slad_split split, size_t index)
{
    const char *root = NULL;
    const slad_dataset_part *part = find_part(dataset, split, &index, &root);
    return part == &dataset->unlabelled ? -1 : part->labels[index];
}

slad_status slad_dataset_item_name(slad_context *context, char **text, const slad_dataset *dataset, slad_split split,
                                   size_t index)
{
    const char *root = NULL;
    const slad_dataset_part *part = find_part(dataset, split, &index, &root);
    if (part->paths) return full_path(context, text, part, root, index);
    return slad_format(context, text, "%s#%zu", part->origin, index);
}

slad_status slad_dataset_read_image(slad_context *context, slad_image *image, const slad_dataset *dataset,
                                    slad_split split, size_t index)
{
    slad_status status = SLAD_OK;
    const char *root = NULL;
    const slad_dataset_part *part = find_part(dataset, split, &index, &root);
    const size_t banner = part == &dataset->unlabelled ? 0 : dataset->banner;
    char *path = NULL;
    *image = (slad_image){0};
    SLAD_FAIL_IF(index >= part->count || (!part->paths && !part->pixels), SLAD_ERROR_INTERNAL,
                 "image %zu of %zu cannot be read from this data set; please report it", index, part->count);
    if (part->paths) {
        SLAD_TRY(full_path(context, &path, part, root, index));
        SLAD_TRY(slad_image_read(context, image, path));
        SLAD_FAIL_IF(image->height <= banner, SLAD_ERROR_DATA,
                     "%s: the image has %zu rows, of which the lowest %zu are no part of the picture; replace it", path,
                     image->height, banner);
        image->height -= banner;
        goto cleanup;
    }
    const size_t values = dataset->height * dataset->width;
    SLAD_TRY(slad_allocate(context, &image->pixels, values, 3, "image"));
    image->height = dataset->height;
    image->width = dataset->width;
    for (size_t i = 0; i < values; i++) memset(image->pixels + 3 * i, part->pixels[index * values + i], 3);
cleanup:
    if (status != SLAD_OK) slad_image_free(image);
    slad_release(path);
    return status;
}

slad_status slad_dataset_read_tensor(slad_context *context, float *pixels, const slad_dataset *dataset,
                                     slad_split split, size_t index)
{
    slad_status status = SLAD_OK;
    const char *root = NULL;
    const slad_dataset_part *part = find_part(dataset, split, &index, &root);
    const uint64_t values = (uint64_t)3 * dataset->height * dataset->width;
    SLAD_FAIL_IF(index >= part->count || !part->tensor, SLAD_ERROR_INTERNAL,
                 "tensor %zu of %zu cannot be read from this data set; please report it", index, part->count);
    SLAD_TRY(slad_safetensors_read_float(context, pixels, part->file, part->tensor, index * values, values));
cleanup:
    return status;
}

uint64_t slad_dataset_fingerprint(const slad_dataset *dataset)
{
    return dataset->fingerprint;
}

uint64_t slad_dataset_labelled_fingerprint(const slad_dataset *dataset)
{
    return dataset->labelled_fingerprint;
}

bool slad_dataset_is_strict(const slad_dataset *dataset)
{
    return dataset->strict;
}

slad_status slad_dataset_check_classes(slad_context *context, const slad_dataset *dataset)
{
    slad_status status = SLAD_OK;
    const slad_dataset_part *part = &dataset->parts[SLAD_SPLIT_TRAIN];
    const char *place = part->origin ? part->origin : dataset->root;
    size_t empty = 0, first = 0;
    bool *seen = NULL;
    SLAD_TRY(slad_allocate(context, &seen, dataset->class_count, sizeof *seen, "the classes that have images"));
    for (size_t i = 0; part->labels && i < part->count; i++) seen[part->labels[i]] = true;
    for (size_t i = dataset->class_count; i-- > 0;) {
        if (seen[i]) continue;
        empty++;
        first = i;
    }
    if (empty && dataset->classes_announced)
        slad_log(context, SLAD_LOG_WARNING, "%s: %zu of the %zu classes that num_classes announces have no image",
                 place, empty, dataset->class_count);
    SLAD_FAIL_IF(empty && !dataset->classes_announced, SLAD_ERROR_DATA,
                 "%s: of %zu classes, %zu have no training image, the first of them class %s; add images, or number "
                 "the labels from 0 without gaps",
                 place, dataset->class_count, empty, dataset->classes[first]);
cleanup:
    slad_release(seen);
    return status;
}
