/* Images that need no file: each byte is a function of a seed and its position, as in tests/oracle/counter_image.py. */
#ifndef SLAD_TESTS_COUNTER_IMAGE_H
#define SLAD_TESTS_COUNTER_IMAGE_H

#include "base/memory.h"
#include "data/image.h"

/* An even seed gives noise over a slope, an odd one only black and white. Free with slad_image_free. */
static inline slad_status counter_image(slad_context *context, slad_image *image, uint32_t seed, size_t height,
                                        size_t width)
{
    slad_status status = SLAD_OK;
    const size_t bytes = height * width * 3;
    SLAD_TRY(slad_allocate(context, &image->pixels, bytes, 1, "test image"));
    image->height = height;
    image->width = width;
    for (size_t i = 0; i < bytes; i++) {
        uint32_t value = (uint32_t)i * 2654435761u + seed * 0x9E3779B9u;
        value ^= value >> 15;
        value *= 0x85EBCA6Bu;
        value ^= value >> 13;
        image->pixels[i] = (unsigned char)(seed % 2 ? (value & 1u) * 255u : value % 64u + (uint32_t)(i * 192 / bytes));
    }
cleanup:
    return status;
}

#endif
