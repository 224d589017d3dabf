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
 * dropped (not blended), EXIF orientation is ignored, of an animation the first frame is taken. Read are JPEG
 * (baseline and progressive, 8 bits), PNG, BMP, GIF, TGA and binary PPM and PGM with a maximum of 255.
 * Unlike Pillow, 16 bits keep their high byte also where they are grey: Pillow clips those to 255, which leaves a white
 * picture. JPEG decoders differ by a few levels, and a CMYK JPEG without Adobe's marker in its colours.
 * Errors: SLAD_ERROR_DATA naming the path and the reason: not an image, truncated, more than SLAD_IMAGE_PIXEL_LIMIT
 * pixels. Peak memory is about twice the pixels' 3 bytes, more for 16 bits or alpha. */
slad_status slad_image_read(slad_context *context, slad_image *image, const char *path);
/* The same from memory; `origin` names it in messages. */
slad_status slad_image_decode(slad_context *context, slad_image *image, const unsigned char *bytes, size_t size,
                              const char *origin);
/* Frees the pixels and makes the image empty. */
void slad_image_free(slad_image *image);

/* Whether a file's name ends as the names of the formats above do, in either case. */
bool slad_image_has_known_name(const char *name);

#endif
