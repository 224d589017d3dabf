/* Writing PNG images to memory, for reports. */
#ifndef SLAD_DATA_PNG_H
#define SLAD_DATA_PNG_H

#include "data/image.h"

/* The file's bytes, *size of them; release *bytes. Equal images give equal bytes. Errors: SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_png_encode(slad_context *context, unsigned char **bytes, size_t *size, const slad_image *image);

/* The same of the image made to fit into a square of `side` pixels; a smaller one keeps its size. */
slad_status slad_png_thumbnail(slad_context *context, unsigned char **bytes, size_t *size, const slad_image *image,
                               size_t side);

#endif
