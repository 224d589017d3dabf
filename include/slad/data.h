/* Data sets and batches: folders of images, CSV lists, IDX files, tensor files, or batches that the caller fills. */
#ifndef SLAD_DATA_H
#define SLAD_DATA_H

#include "slad/context.h"
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum slad_split { SLAD_SPLIT_TRAIN, SLAD_SPLIT_VALIDATION } slad_split;

/* What a data set's authors measure classifiers by. */
typedef enum slad_measure { SLAD_MEASURE_TOP1, SLAD_MEASURE_MEAN_PER_CLASS } slad_measure;

typedef struct slad_dataset slad_dataset;

typedef struct slad_dataset_options {
    bool strict; /* a broken image is an error (DATA) instead of being skipped with a warning and counted */
} slad_dataset_options;

/* Opens what `path` is, and says in the log what that was:
 * - a folder with train/ and, if there is a validation part, val/, each with one folder of images a class
 * (torchvision's ImageFolder: classes are the folder names of train/ in byte order, images are found at any depth;
 * hidden files and files whose names do not end in jpg, jpeg, png, bmp, gif, tga, ppm, pgm or pnm are ignored and
 * counted in the log);
 * - a .csv file with the columns path, label and split, named in its first line, in any order and among others. Paths
 *   are relative to the file; labels are names, classes are those of the training rows in byte order; split is train,
 *   or val, valid, validation or test, which all mean validation;
 * - a folder with IDX files of the MNIST family ({train,t10k}-{images-idx3,labels-idx1}-ubyte, gzipped or not). There
 * are as many classes as the largest training label and one more;
 * - one .safetensors file with pixel_values F32 [N,3,H,W] and labels I64 [N], which is then a training part only, or a
 *   folder with train.safetensors and maybe val.safetensors. There are as many classes as the metadata num_classes
 * says, else as the largest label and one more;
 * - the tree of a published set as its archive unpacks, or a folder that holds just one of them, with its official
 *   split; an image that its lists name and that is not there is an error, since a part of a split is another split:
 *   - CUB-200-2011: train_test_split.txt, classes in the order of classes.txt;
 *   - FGVC-Aircraft: the variants in the order of variants.txt, trainval for training, test for validation. The lowest
 *     20 rows of each image, a banner that names its owner, are cropped before anything else, as the set's README asks;
 *   - DTD: split 1, train and val for training, test for validation, classes in byte order.
 * Opening reads no pixels of image files; it lists and checks. `options` may be NULL for the defaults. Free with
 * slad_dataset_free. Errors: SLAD_ERROR_DATA naming the file: nothing usable, an empty class folder, fewer than two
 * classes, a label out of range, a validation class that training does not have, a list that contradicts itself or
 * leads out of the set, masks for segmentation, which this version does not do. */
SLAD_API slad_status slad_dataset_open(slad_context *context, slad_dataset **dataset, const char *path,
                                       const slad_dataset_options *options);
SLAD_API void slad_dataset_free(slad_dataset *dataset);

/* Adds images without labels to the training part: every image in a folder, at any depth, named as the images of class
 * folders are; or, to a data set of tensor files, the pixel_values of a .safetensors file, whose labels are not read.
 * An epoch then covers both, shuffled together; batches give unlabelled images the label 0, task weight 0 and KL
 * weight 1. Once, before a loader is made. The fingerprint covers them. Errors: SLAD_ERROR_DATA naming the file: none
 * there, none readable, another kind or another size than the labelled ones; SLAD_ERROR_USAGE at a second call. */
SLAD_API slad_status slad_dataset_add_unlabelled(slad_context *context, slad_dataset *dataset, const char *path);
SLAD_API size_t slad_dataset_unlabelled_count(const slad_dataset *dataset);

/* Labelled images of a split; 0 for SLAD_SPLIT_VALIDATION when the set has no such part. */
SLAD_API size_t slad_dataset_count(const slad_dataset *dataset, slad_split split);
SLAD_API size_t slad_dataset_class_count(const slad_dataset *dataset);
/* The name of a class: the folder's, the CSV label, or its number in decimal. Owned by the data set; NULL past the end.
 */
SLAD_API const char *slad_dataset_class_name(const slad_dataset *dataset, size_t class_index);
/* The measure to report beside top-1: mean per-class accuracy for FGVC-Aircraft, top-1 for all others. */
SLAD_API slad_measure slad_dataset_measure(const slad_dataset *dataset);
/* "top1" or "mean_per_class", as in metrics.jsonl. */
SLAD_API const char *slad_measure_name(slad_measure measure);

/* A batch as the engine takes it, filled by a loader or by the caller. Pixels are normalised float32, channels first.
 * Rows past `count` are padding: they hold zeros, label 0 and weights 0. */
typedef struct slad_batch {
    float *pixel_values; /* [capacity, 3, height, width] */
    int32_t *labels;     /* [capacity], in 0 .. classes-1 */
    int32_t *labels_2;   /* [capacity], second labels of mixed images; NULL where no images are mixed */
    float *mix;          /* [capacity], share of `labels` in the target, 1 for a whole image; NULL with labels_2 */
    float *task_weights; /* [capacity], weight of each image in the task loss, 1 for a usual image */
    float *kl_weights;   /* [capacity], weight of each image in the distillation loss */
    uint32_t *indices;   /* [capacity], the image's index in its split; may be NULL in a caller's batch */
    size_t capacity, count, height, width;
} slad_batch;

#ifdef __cplusplus
}
#endif
#endif
