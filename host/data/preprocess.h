/* From an 8-bit image to the normalised tensor that the encoder expects, as Hugging Face's BitImageProcessor does (its
 * Pillow backend, bit for bit). */
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
    double rescale_factor;          /* 1/255; 1 where the file says do_rescale: false */
    float mean[3], deviation[3];    /* after rescaling; (x - mean) / deviation; 0 and 1 for do_normalize: false */
} slad_preprocess;

/* The values of facebook/dinov2-*: shortest edge 256, bicubic, crop 224, ImageNet mean and deviation. */
slad_preprocess slad_preprocess_default(void);

/* Reads FOLDER/preprocessor_config.json. Without the file, and for a model that is a single file, *preprocess becomes
 * slad_preprocess_default, or ViTImageProcessor's where FOLDER/config.json is of type vit, and the log says so; a key
 * that the file lacks or sets to null takes transformers' default of the class it names: BitImageProcessor's (shortest
 * edge 224, bicubic, crop 224, CLIP's mean and deviation), or ViTImageProcessor's (224 x 224, bilinear, no crop, 0.5
 * and 0.5). `size` may be an int, {shortest_edge}, or {height, width}; `crop_size` an int or {height, width}; unknown
 * keys are ignored. Errors: SLAD_ERROR_DATA naming file and field, also where images would keep unlike sizes
 * (do_center_crop false without {height, width}). */
slad_status slad_preprocess_read(slad_context *context, slad_preprocess *preprocess, const char *folder);

/* Makes the crop size x size, and scales what the image is resized to before by the same factor (rounded), as 256 is to
 * 224. size > 0. */
void slad_preprocess_set_size(slad_preprocess *preprocess, size_t size);

/* Writes preprocessor_config.json of a BitImageProcessor that does the same, for the exported student. */
slad_status slad_preprocess_write(slad_context *context, const slad_preprocess *preprocess, const char *path);

/* Evaluation: resize, then centre crop at (size - crop) / 2 rounded down; where the image is smaller, black is put
 * around it, the image at (crop - size) / 2 rounded up. Only what the crop keeps is computed, so memory does not grow
 * with the aspect ratio. pixels: [3, crop_height, crop_width]. Errors: those of slad_image_resize_window. */
slad_status slad_preprocess_evaluate(slad_context *context, float *pixels, const slad_preprocess *preprocess,
                                     const slad_image *image);

/* Training augmentation crop-flip: RandomResizedCrop (scale, ratio 3/4 .. 4/3, log-uniform, 10 tries, then the central
 * fallback of torchvision) with the same filter, then a horizontal flip with probability 1/2. All draws come from
 * `random`, so the result is a function of (seed, epoch, sample). */
slad_status slad_preprocess_crop_flip(slad_context *context, float *pixels, const slad_preprocess *preprocess,
                                      const slad_image *image, double scale_low, double scale_high,
                                      slad_random *random);

/* The same crop and flip of the same `random`, then the distortions of slad_distort (data/colour.h) at the tensor's
 * size. */
slad_status slad_preprocess_strong(slad_context *context, float *pixels, const slad_preprocess *preprocess,
                                   const slad_image *image, double scale_low, double scale_high, slad_random *random);

/* The crop that slad_preprocess_crop_flip takes of an image of height x width > 0. */
slad_rectangle slad_random_crop(size_t height, size_t width, double scale_low, double scale_high, slad_random *random);

#endif
