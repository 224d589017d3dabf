/* From an 8-bit image to the normalised tensor that the encoder expects, as Hugging Face's BitImageProcessor does. */
#ifndef SLAD_DATA_PREPROCESS_H
#define SLAD_DATA_PREPROCESS_H

#include "base/random.h"
#include "data/resize.h"

typedef struct slad_preprocess {
    /* Resize before the crop: the short side becomes shortest_edge (long = (int)(shortest_edge * long / short)), or, if
     * shortest_edge is 0, exactly resize_height x resize_width. */
    bool do_resize;
    size_t shortest_edge, resize_height, resize_width;
    slad_filter filter;
    bool do_center_crop;
    size_t crop_height, crop_width; /* what the tensor's sizes are, always set */
    double rescale_factor;          /* 1/255 */
    float mean[3], deviation[3];    /* after rescaling; (x - mean) / deviation */
} slad_preprocess;

/* Class defaults of BitImageProcessor with DINOv2's values: shortest edge 256, bicubic, crop 224, ImageNet mean and
 * deviation. */
slad_preprocess slad_preprocess_default(void);
/* Reads FOLDER/preprocessor_config.json over the defaults; a missing file keeps them (the log says so). `size` may be an
 * int, {shortest_edge}, or {height, width}; `crop_size` an int or {height, width}; unknown keys are ignored.
 * Errors: SLAD_ERROR_DATA naming file and field. */
slad_status slad_preprocess_read(slad_context *context, slad_preprocess *preprocess, const char *folder);
/* Makes the crop size x size, and scales shortest_edge by the same factor (rounded), as 256 is to 224. */
void slad_preprocess_set_size(slad_preprocess *preprocess, size_t size);
/* Writes preprocessor_config.json of a BitImageProcessor that does the same, for the exported student. */
slad_status slad_preprocess_write(slad_context *context, const slad_preprocess *preprocess, const char *path);

/* Evaluation: resize, centre crop with offset (size - crop) / 2 rounded down, zero padding where the image is smaller.
 * pixels: [3, crop_height, crop_width]. */
slad_status slad_preprocess_evaluate(slad_context *context, float *pixels, const slad_preprocess *preprocess,
                                     const slad_image *image);

/* Training augmentation crop-flip: RandomResizedCrop (scale, ratio 3/4 .. 4/3, log-uniform, 10 tries, then the central
 * fallback of torchvision) with the same filter, then a horizontal flip with probability 1/2. All draws come from
 * `random`, so the result is a function of (seed, epoch, sample). */
slad_status slad_preprocess_crop_flip(slad_context *context, float *pixels, const slad_preprocess *preprocess,
                                      const slad_image *image, double scale_low, double scale_high,
                                      slad_random *random);

#endif
