/* Images to tokens, and the gradients of what makes them, in plain C. The projection between unfolding and assembling
 * is a linear layer (reference/linear.h). Sums in double. */
#ifndef SLAD_REFERENCE_PATCH_EMBEDDING_H
#define SLAD_REFERENCE_PATCH_EMBEDDING_H

#include <stdbool.h>
#include <stddef.h>

typedef struct slad_reference_images {
    size_t batch, channels, height, width; /* height and width are multiples of patch */
    size_t patch;                          /* side of a patch in pixels */
} slad_reference_images;

/* patches [batch * P, channels * patch * patch] of pixels [batch, channels, height, width]: each patch a row in the
 * order channel, y, x; the P = (height / patch) * (width / patch) patches of an image in row-major order. */
void slad_reference_patch_unfold(float *patches, const float *pixels, const slad_reference_images *sizes);

typedef struct slad_reference_tokens {
    size_t batch, registers, patches; /* an image has 1 + registers + patches tokens */
    size_t columns;                   /* d: width of a token */
} slad_reference_tokens;

/* With R registers and P patches:
 *   tokens[b, 0]         = class_token + position[0]
 *   tokens[b, 1 + i]     = registers[i]                              i < R
 *   tokens[b, 1 + R + p] = projected[b P + p] + position[1 + p]      p < P
 * tokens [batch, 1 + R + P, d]; projected [batch * P, d]; class_token [d]; registers [R, d]; position [1 + P, d]. */
void slad_reference_patch_assemble(float *tokens, const float *projected, const float *class_token,
                                   const float *registers, const float *position, const slad_reference_tokens *sizes);

/* dprojected[b P + p] = dtokens[b, 1 + R + p]. accumulate: adds. */
void slad_reference_patch_gather(float *dprojected, const float *dtokens, bool accumulate,
                                 const slad_reference_tokens *sizes);

/* target [rows, d]: the sum over the images of dtokens[b, t], t = first for row 0 and first + row + skip for others:
 * the class token is (first 0, one row), the registers (1, R rows), the positions (0, 1 + P rows, skip R).
 * accumulate: adds. */
void slad_reference_patch_sums(float *target, const float *dtokens, bool accumulate, size_t first, size_t skip,
                               size_t rows, const slad_reference_tokens *sizes);

#endif
