/* Images to tokens: patches are unfolded into rows, a GEMM projects them, and what it gave becomes tokens. */
#include "common.h"

/* patches [batch * grid_height * grid_width, channels * patch * patch] of pixels [batch, channels, height, width], each
 * row in the order channel, y, x. Dimension 0: channel and y inside the patch. Dimension 1: patch. */
__kernel void patch_embedding_unfold(__global float *patches, const uint patches_offset, __global const float *pixels,
                                     const uint pixels_offset, const uint batch, const uint channels,
                                     const uint grid_height, const uint grid_width, const uint patch)
{
    const uint line = get_global_id(0), p = get_global_id(1), grid = grid_height * grid_width;
    if (line >= channels * patch || p >= batch * grid) return;
    /* Rests without %: LLVM makes a freeze of / beside %, which Oclgrind does not know. */
    const uint channel = line / patch, y = line - channel * patch;
    const uint image = p / grid, place = p - image * grid, grid_row = place / grid_width;
    const uint top = grid_row * patch, left = (place - grid_row * grid_width) * patch;
    const uint height = grid_height * patch, width = grid_width * patch;
    pixels += pixels_offset + (((size_t)image * channels + channel) * height + top + y) * width + left;
    patches += patches_offset + ((size_t)p * channels * patch + line) * patch;
    for (uint x = 0; x < patch; x++) patches[x] = pixels[x];
}

/* tokens [batch, 1 + grid, columns]: first the class token, then the projected patches [batch * grid, columns], each
 * plus its position [1 + grid, columns]. Dimension 0: vectors of columns. Dimension 1: token. Dimension 2: image. */
__kernel void patch_embedding_assemble(__global float *tokens, const uint tokens_offset,
                                       __global const float *projected, const uint projected_offset,
                                       __global const float *class_token, const uint class_token_offset,
                                       __global const float *position, const uint position_offset, const uint batch,
                                       const uint grid, const uint columns)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, token = get_global_id(1), image = get_global_id(2);
    if (column >= columns || token > grid || image >= batch) return;
    __global const float *source = class_token + class_token_offset;
    if (token > 0) source = projected + projected_offset + ((size_t)image * grid + token - 1) * columns;
    tokens += tokens_offset + ((size_t)image * (1 + grid) + token) * columns;
    position += position_offset + (size_t)token * columns;
    if (column + VECTOR_WIDTH <= columns) {
        vstorev(vloadv(0, source + column) + vloadv(0, position + column), 0, tokens + column);
        return;
    }
    for (uint j = column; j < columns; j++) tokens[j] = source[j] + position[j];
}
