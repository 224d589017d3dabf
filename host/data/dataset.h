/* Inside of a data set: what the loader needs beyond include/slad/data.h. */
#ifndef SLAD_DATA_DATASET_H
#define SLAD_DATA_DATASET_H

#include "data/preprocess.h"
#include "slad/data.h"

typedef enum slad_dataset_form {
    SLAD_FORM_IMAGE_FOLDER,
    SLAD_FORM_CSV,
    SLAD_FORM_IDX,
    SLAD_FORM_TENSORS,
    SLAD_FORM_CUB,
    SLAD_FORM_AIRCRAFT,
    SLAD_FORM_DTD
} slad_dataset_form;

slad_dataset_form slad_dataset_get_form(const slad_dataset *dataset);
/* For training: that each class has an image in the training part. Errors: SLAD_ERROR_DATA naming file and class; only
 * a warning where a file's num_classes says that there are so many. */
slad_status slad_dataset_check_classes(slad_context *context, const slad_dataset *dataset);
/* Tensor files only: sizes of pixel_values; false for other forms. */
bool slad_dataset_tensor_size(const slad_dataset *dataset, size_t *height, size_t *width);
/* Unlabelled images stand behind those of the training part: index slad_dataset_count(dataset, SLAD_SPLIT_TRAIN) is the
 * first, in all that follow. The label of one is -1. */
int32_t slad_dataset_label(const slad_dataset *dataset, slad_split split, size_t index);
/* The path of an image for messages and reports: a file's, or "file.idx#17". Release *text. */
slad_status slad_dataset_item_name(slad_context *context, char **text, const slad_dataset *dataset, slad_split split,
                                   size_t index);
/* Decodes one image (not for tensor files). Safe from several threads, each with a context of its own or none. IDX
 * images are grey repeated to RGB; FGVC-Aircraft's lose their banner, the lowest 20 rows. Errors: those of
 * slad_image_read. */
slad_status slad_dataset_read_image(slad_context *context, slad_image *image, const slad_dataset *dataset,
                                    slad_split split, size_t index);
/* Copies one image's normalised values (tensor files only): pixels [3, height, width]. */
slad_status slad_dataset_read_tensor(slad_context *context, float *pixels, const slad_dataset *dataset,
                                     slad_split split, size_t index);
/* A hash over names, file sizes and labels of all images (of IDX files also their pixels), for config.json. It does not
 * depend on where the data set lies. */
uint64_t slad_dataset_fingerprint(const slad_dataset *dataset);
/* The same without the unlabelled images, for what was measured on the labelled ones. */
uint64_t slad_dataset_labelled_fingerprint(const slad_dataset *dataset);
bool slad_dataset_is_strict(const slad_dataset *dataset);

#endif
