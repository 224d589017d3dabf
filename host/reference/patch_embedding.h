/* Images to tokens in plain C. */
#ifndef SLAD_REFERENCE_PATCH_EMBEDDING_H
#define SLAD_REFERENCE_PATCH_EMBEDDING_H

#include <stddef.h>

typedef struct slad_reference_patches {
    size_t batch, channels, height, width; /* of the images; height and width are multiples of patch */
    size_t patch;                          /* side of a patch in pixels */
    size_t columns;                        /* d: width of a token */
} slad_reference_patches;

/* With P = (height / patch) * (width / patch) patches in row-major order:
 *   tokens[b, 0]     = class_token + position[0]
 *   tokens[b, 1 + p] = weight * patch p of image b + bias + position[1 + p]
 * tokens [batch, 1 + P, d]; pixels [batch, channels, height, width]; weight [d, channels, patch, patch] (a convolution
 * with stride = kernel); bias, class_token [d]; position [1 + P, d]. */
void slad_reference_patch_embedding(float *tokens, const float *pixels, const float *weight, const float *bias,
                                    const float *class_token, const float *position,
                                    const slad_reference_patches *sizes);

#endif
