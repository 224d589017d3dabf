/* Decoding images through stb_image, checked before a pixel is allocated. */
#ifndef SLAD_DATA_IMAGE_H
#define SLAD_DATA_IMAGE_H

#include "base/error.h"
#include <stddef.h>

/* 8-bit RGB, rows top to bottom. */
typedef struct slad_image {
    unsigned char *pixels; /* [height, width, 3] */
    size_t height, width;
} slad_image;

#define SLAD_IMAGE_PIXEL_LIMIT 178000000u /* design: larger images count as broken */

/* Decodes a file as Pillow's Image.open(path).convert("RGB") would: grey is repeated, a palette is looked up, alpha is
 * dropped (not blended), 16 bits keep their high byte, EXIF orientation is ignored. Errors: SLAD_ERROR_DATA naming the
 * path and the reason: not an image, truncated, more than SLAD_IMAGE_PIXEL_LIMIT pixels. */
slad_status slad_image_read(slad_context *context, slad_image *image, const char *path);
/* The same from memory; `origin` names it in messages. */
slad_status slad_image_decode(slad_context *context, slad_image *image, const unsigned char *bytes, size_t size,
                              const char *origin);
void slad_image_free(slad_image *image);

#endif
