/* Resizing equal to Pillow's, bit for bit. Source: Pillow src/libImaging/Resample.c and Geometry.c. */
#ifndef SLAD_DATA_RESIZE_H
#define SLAD_DATA_RESIZE_H

#include "data/image.h"

/* Numbers of the Hugging Face field "resample". */
typedef enum slad_filter {
    SLAD_FILTER_NEAREST = 0,
    SLAD_FILTER_LANCZOS = 1,
    SLAD_FILTER_BILINEAR = 2,
    SLAD_FILTER_BICUBIC = 3,
    SLAD_FILTER_BOX = 4,
    SLAD_FILTER_HAMMING = 5
} slad_filter;

typedef struct slad_rectangle {
    size_t top, left, height, width;
} slad_rectangle;

/* Resamples the box [left, left+box_width) x [top, top+box_height) of source to height x width, as
 * Image.resize((width, height), filter, box) of Pillow 13 does: two passes, rounded to 8 bits in between, each skipped
 * where nothing changes; the horizontal one comes first unless the height shrinks by more than twice as many pixels as
 * the width (Pillow before 13.0: always, so its results may differ by a level or two for images that are reduced and
 * more than twice as high as wide). result must be empty; free it with slad_image_free.
 * Errors: SLAD_ERROR_USAGE for an empty size or a box that is not inside the image; SLAD_ERROR_DATA if the result or
 * the image between the passes would have more than SLAD_IMAGE_PIXEL_LIMIT pixels; SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_image_resize(slad_context *context, slad_image *result, const slad_image *source, double left,
                              double top, double box_width, double box_height, size_t height, size_t width,
                              slad_filter filter);

/* The part `window` of what source.crop(crop).resize((width, height), filter) gives, without computing the rest: so
 * neither time nor memory grows with height * width, which a long thin image makes huge. Errors as above. */
slad_status slad_image_resize_window(slad_context *context, slad_image *result, const slad_image *source,
                                     slad_rectangle crop, size_t height, size_t width, slad_rectangle window,
                                     slad_filter filter);

#endif
