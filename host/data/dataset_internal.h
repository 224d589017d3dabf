/* The parts of a data set, shared by the files that read its forms. */
#ifndef SLAD_DATA_DATASET_INTERNAL_H
#define SLAD_DATA_DATASET_INTERNAL_H

#include "base/safetensors.h"
#include "data/dataset.h"

typedef struct slad_dataset_part {
    size_t count;
    int32_t *labels;               /* [count]; NULL of a tensor file without labels */
    char **paths;                  /* [count], image files: relative to root, or absolute */
    uint64_t *sizes;               /* [count], bytes of the files, 0 for one that cannot be opened */
    char *origin;                  /* the file of images, of IDX and tensor files */
    unsigned char *pixels;         /* IDX: [count, height, width] */
    slad_safetensors *file;        /* tensor files */
    const slad_safetensor *tensor; /* pixel_values, [count, 3, height, width] */
    size_t path_capacity, label_capacity, size_capacity; /* of the arrays while they grow */
} slad_dataset_part;

struct slad_dataset {
    slad_dataset_form form;
    bool strict;
    char *root; /* the folder that paths start from */
    char **classes;
    size_t class_count;
    bool classes_announced; /* by the metadata of a tensor file: some may have no image */
    size_t height, width;   /* of IDX and tensor files */
    size_t banner;          /* rows at the lower edge of each image file that are no part of the picture */
    uint64_t fingerprint, labelled_fingerprint; /* without the unlabelled images */
    slad_dataset_part parts[2];                 /* by slad_split */
    slad_dataset_part unlabelled;               /* goes on behind the images of the training part; labels are -1 */
    char *unlabelled_root;
};

/* Each fills an empty data set from `path`, checks what is particular to its form, and leaves the parts that exist with
 * a count above 0. What was filled before an error is freed by the caller. */
slad_status slad_dataset_read_image_folder(slad_context *context, slad_dataset *dataset, const char *path);
slad_status slad_dataset_read_csv(slad_context *context, slad_dataset *dataset, const char *path);
slad_status slad_dataset_read_idx(slad_context *context, slad_dataset *dataset, const char *path);
slad_status slad_dataset_read_tensors(slad_context *context, slad_dataset *dataset, const char *path);
/* The same of a published set, whose form and root slad_dataset_find_published has told. */
slad_status slad_dataset_read_published(slad_context *context, slad_dataset *dataset);

/* Looks for a published set in a folder, or in one of the folders in it: *root, owned by the caller, becomes the folder
 * of its lists, NULL if there is none. Errors: SLAD_ERROR_DATA if there are two. */
slad_status slad_dataset_find_published(slad_context *context, slad_dataset_form *form, char **root, const char *path);
/* Whether a folder holds training images of the IDX form. */
slad_status slad_dataset_look_for_idx(slad_context *context, bool *found, const char *path);

/* Fill the unlabelled part from a folder of images at any depth, or from a tensor file, whose labels are not read. */
slad_status slad_dataset_read_unlabelled_folder(slad_context *context, slad_dataset *dataset, const char *path);
slad_status slad_dataset_read_unlabelled_tensors(slad_context *context, slad_dataset *dataset, const char *path);

/* Appends an image file to a part, with the size that it has now; takes over neither path nor anything else. */
slad_status slad_dataset_part_add_file(slad_context *context, slad_dataset_part *part, const char *root,
                                       const char *path, int32_t label);
/* The same for the part of a split. */
slad_status slad_dataset_add_file(slad_context *context, slad_dataset *dataset, slad_split split, const char *path,
                                  int32_t label);
/* Makes the classes of the distinct labels, in byte order; sorts `labels`. */
slad_status slad_dataset_collect_classes(slad_context *context, slad_dataset *dataset, const char **labels,
                                         size_t count);
/* The number of a class among classes in byte order, -1 if there is none of that name. */
int32_t slad_dataset_find_sorted_class(const slad_dataset *dataset, const char *name);
/* Gives the classes 0 .. count-1 their numbers as names. */
slad_status slad_dataset_number_classes(slad_context *context, slad_dataset *dataset, size_t count);

#endif
