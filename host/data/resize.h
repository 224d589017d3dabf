/* Resizing equal to Pillow's, bit for bit. Source: Pillow src/libImaging/Resample.c. */
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

/* Resamples the box [left, left+box_width) x [top, top+box_height) of source to height x width, as
 * Image.resize((width, height), filter, box) does: horizontal pass, then vertical, rounded to 8 bits in between, each
 * skipped where nothing changes. result must be empty; free it with slad_image_free. */
slad_status slad_image_resize(slad_context *context, slad_image *result, const slad_image *source, double left,
                              double top, double box_width, double box_height, size_t height, size_t width,
                              slad_filter filter);

#endif
