/* Tensor files: images that were preprocessed elsewhere and are taken as they are. */
#include "data/dataset_internal.h"

#include "base/files.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

enum { TEXT_SIZE = 128, SIDE_LIMIT = 16384, CLASS_LIMIT = 65536 };

static slad_status find_tensor(slad_context *context, const slad_safetensor **tensor, const slad_safetensors *file,
                               const char *name, slad_safetensors_type type, const char *type_name)
{
    slad_status status = SLAD_OK;
    const char *path = slad_safetensors_path(file);
    *tensor = slad_safetensors_find(file, name);
    SLAD_FAIL_IF(!*tensor, SLAD_ERROR_DATA,
                 "%s: the tensor \"%s\" is missing; a data set holds pixel_values and labels", path, name);
    SLAD_FAIL_IF((*tensor)->type != type, SLAD_ERROR_DATA, "%s: \"%s\" is of type %s; it must be %s", path, name,
                 (*tensor)->type_name, type_name);
cleanup:
    return status;
}

/* has_size: the images of another file must have the same. */
static slad_status check_pixels(slad_context *context, slad_dataset *dataset, slad_dataset_part *part, bool has_size,
                                const slad_safetensor *pixels, const char *path)
{
    slad_status status = SLAD_OK;
    const uint64_t *shape = pixels->shape;
    char text[TEXT_SIZE];
    slad_safetensors_shape_text(text, sizeof text, shape, pixels->rank);
    SLAD_FAIL_IF(pixels->rank != 4 || shape[0] == 0 || shape[0] > INT32_MAX || shape[1] != 3 || shape[2] == 0 ||
                     shape[2] > SIDE_LIMIT || shape[3] == 0 || shape[3] > SIDE_LIMIT,
                 SLAD_ERROR_DATA, "%s: pixel_values has the shape %s; it must be [images, 3, height, width]", path,
                 text);
    SLAD_FAIL_IF(has_size && (shape[2] != dataset->height || shape[3] != dataset->width), SLAD_ERROR_DATA,
                 "%s: pixel_values has the shape %s, but images for training have %zu x %zu", path, text,
                 dataset->height, dataset->width);
    dataset->height = (size_t)shape[2];
    dataset->width = (size_t)shape[3];
    part->count = (size_t)shape[0];
    part->tensor = pixels;
cleanup:
    return status;
}

/* "num_classes" of the metadata, 0 if the file does not say. */
static slad_status read_class_count(slad_context *context, size_t *count, const slad_safetensors *file)
{
    slad_status status = SLAD_OK;
    const char *text = slad_safetensors_metadata(file, "num_classes");
    char *end = NULL;
    *count = 0;
    if (!text) return SLAD_OK;
    const long value = strtol(text, &end, 10);
    SLAD_FAIL_IF(end == text || *end != '\0' || value < 1 || value > CLASS_LIMIT, SLAD_ERROR_DATA,
                 "%s: the metadata num_classes is \"%s\"; it must be a number from 1 to %d",
                 slad_safetensors_path(file), text, CLASS_LIMIT);
    *count = (size_t)value;
cleanup:
    return status;
}

static slad_status read_labels(slad_context *context, slad_dataset_part *part, const slad_safetensor *labels,
                               size_t announced, size_t *class_count)
{
    slad_status status = SLAD_OK;
    const char *path = slad_safetensors_path(part->file);
    char text[TEXT_SIZE];
    slad_safetensors_shape_text(text, sizeof text, labels->shape, labels->rank);
    SLAD_FAIL_IF(labels->rank == 3, SLAD_ERROR_DATA,
                 "%s: labels has the shape %s, one for each pixel; segmentation is not done by this version", path,
                 text);
    SLAD_FAIL_IF(labels->rank != 1 || labels->shape[0] != part->count, SLAD_ERROR_DATA,
                 "%s: labels has the shape %s; it must be [%zu], one for each image", path, text, part->count);
    SLAD_TRY(slad_allocate(context, &part->labels, part->count, sizeof *part->labels, "labels"));
    const int32_t high = announced > 0 ? (int32_t)announced - 1 : CLASS_LIMIT - 1;
    SLAD_TRY(slad_safetensors_read_int32(context, part->labels, part->file, labels, 0, part->count, 0, high));
    for (size_t i = 0; i < part->count; i++)
        if ((size_t)part->labels[i] >= *class_count) *class_count = (size_t)part->labels[i] + 1;
cleanup:
    return status;
}

/* *announced: the number of classes that the first file names, 0 if none does. */
static slad_status read_part(slad_context *context, slad_dataset *dataset, slad_split split, const char *path,
                             size_t *announced, size_t *class_count)
{
    slad_status status = SLAD_OK;
    slad_dataset_part *part = &dataset->parts[split];
    const slad_safetensor *pixels = NULL, *labels = NULL;
    size_t own_count = 0;
    SLAD_TRY(slad_duplicate(context, &part->origin, path));
    SLAD_TRY(slad_safetensors_open(context, &part->file, path));
    SLAD_TRY(find_tensor(context, &pixels, part->file, "pixel_values", SLAD_SAFETENSORS_F32, "F32"));
    SLAD_TRY(find_tensor(context, &labels, part->file, "labels", SLAD_SAFETENSORS_I64, "I64"));
    SLAD_TRY(check_pixels(context, dataset, part, split == SLAD_SPLIT_VALIDATION, pixels, path));
    SLAD_TRY(read_class_count(context, &own_count, part->file));
    SLAD_FAIL_IF(own_count > 0 && *announced > 0 && own_count != *announced, SLAD_ERROR_DATA,
                 "%s: the metadata num_classes is %zu, but that of the training file is %zu", path, own_count,
                 *announced);
    if (own_count > 0) *announced = own_count;
    SLAD_TRY(read_labels(context, part, labels, *announced, class_count));
    SLAD_FAIL_IF(*announced > 0 && *class_count > *announced, SLAD_ERROR_DATA,
                 "%s: the metadata num_classes is %zu, but a label of the training file is %zu", path, *announced,
                 *class_count - 1);
cleanup:
    return status;
}

slad_status slad_dataset_read_unlabelled_tensors(slad_context *context, slad_dataset *dataset, const char *path)
{
    slad_status status = SLAD_OK;
    slad_dataset_part *part = &dataset->unlabelled;
    const slad_safetensor *pixels = NULL;
    SLAD_TRY(slad_duplicate(context, &part->origin, path));
    SLAD_TRY(slad_safetensors_open(context, &part->file, path));
    SLAD_TRY(find_tensor(context, &pixels, part->file, "pixel_values", SLAD_SAFETENSORS_F32, "F32"));
    SLAD_TRY(check_pixels(context, dataset, part, true, pixels, path));
cleanup:
    return status;
}

slad_status slad_dataset_read_tensors(slad_context *context, slad_dataset *dataset, const char *path)
{
    slad_status status = SLAD_OK;
    char *train = NULL, *validation = NULL;
    size_t announced = 0, class_count = 0;
    if (slad_path_look(path) == SLAD_PATH_DIRECTORY) {
        SLAD_TRY(slad_path_join(context, &train, path, "train.safetensors"));
        SLAD_TRY(slad_path_join(context, &validation, path, "val.safetensors"));
        SLAD_TRY(read_part(context, dataset, SLAD_SPLIT_TRAIN, train, &announced, &class_count));
        if (slad_path_look(validation) != SLAD_PATH_MISSING)
            SLAD_TRY(read_part(context, dataset, SLAD_SPLIT_VALIDATION, validation, &announced, &class_count));
    } else {
        SLAD_TRY(read_part(context, dataset, SLAD_SPLIT_TRAIN, path, &announced, &class_count));
    }
    dataset->classes_announced = announced > 0;
    SLAD_TRY(slad_dataset_number_classes(context, dataset, announced > 0 ? announced : class_count));
cleanup:
    slad_release(train);
    slad_release(validation);
    return status;
}
