/* Images to tokens: patches are unfolded into rows, a linear layer projects them, and what it gave becomes tokens, behind
 * the class token and the registers; and the gradients of all that. Tokens are [batch, 1 + registers + grid, columns]. */
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

/* tokens: the class token plus the first position; the registers as they are; the projected patches
 * [batch * grid, columns], each plus its position [1 + grid, columns]. Dimension 0: vectors of columns. Dimension 1:
 * token. Dimension 2: image. */
__kernel void patch_embedding_assemble(__global float *tokens, const uint tokens_offset,
                                       __global const float *projected, const uint projected_offset,
                                       __global const float *class_token, const uint class_token_offset,
                                       __global const float *registers, const uint registers_offset,
                                       __global const float *position, const uint position_offset, const uint batch,
                                       const uint register_count, const uint grid, const uint columns)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, token = get_global_id(1), image = get_global_id(2);
    const uint prefix = 1 + register_count;
    if (column >= columns || token >= prefix + grid || image >= batch) return;
    const uint count = columns - column;
    tokens += tokens_offset + ((size_t)image * (prefix + grid) + token) * columns + column;
    if (token > 0 && token < prefix) {
        store_part(load_part(registers + registers_offset + (size_t)(token - 1) * columns + column, count), tokens,
                   count);
        return;
    }
    __global const float *source = class_token + class_token_offset;
    if (token > 0) source = projected + projected_offset + ((size_t)image * grid + token - prefix) * columns;
    const uint place = token > 0 ? token - register_count : 0;
    position += position_offset + (size_t)place * columns + column;
    store_part(load_part(source + column, count) + load_part(position, count), tokens, count);
}

/* dprojected [batch * grid, columns]: the gradients of the tokens behind `prefix` others, added to what dprojected holds
 * if accumulate is 1. Dimension 0: vectors of columns. Dimension 1: patch. Dimension 2: image. */
__kernel void patch_embedding_gather(__global float *dprojected, const uint dprojected_offset,
                                     __global const float *dtokens, const uint dtokens_offset, const uint accumulate,
                                     const uint batch, const uint prefix, const uint grid, const uint columns)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, p = get_global_id(1), image = get_global_id(2);
    if (column >= columns || p >= grid || image >= batch) return;
    const uint count = columns - column;
    dprojected += dprojected_offset + ((size_t)image * grid + p) * columns + column;
    dtokens += dtokens_offset + ((size_t)image * (prefix + grid) + prefix + p) * columns + column;
    floatv gradient = load_part(dtokens, count);
    if (accumulate) gradient += load_part(dprojected, count);
    store_part(gradient, dprojected, count);
}

/* target [rows, columns]: for what every image adds to its tokens, the sum of their gradients over the images, in their
 * order, added to what target holds if accumulate is 1. Row 0 is token `first`, row t > 0 token `first` + t + `skip`.
 * Dimension 0: vectors of columns. Dimension 1: row. */
__kernel void patch_embedding_sums(__global float *target, const uint target_offset, __global const float *dtokens,
                                   const uint dtokens_offset, const uint accumulate, const uint batch,
                                   const uint token_count, const uint first, const uint skip, const uint rows,
                                   const uint columns)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, row = get_global_id(1);
    if (column >= columns || row >= rows) return;
    const uint count = columns - column, token = first + row + (row > 0 ? skip : 0);
    target += target_offset + (size_t)row * columns + column;
    dtokens += dtokens_offset + (size_t)token * columns + column;
    floatv sum = (floatv)(0.0f);
    for (uint image = 0; image < batch; image++, dtokens += (size_t)token_count * columns)
        sum += load_part(dtokens, count);
    if (accumulate) sum += load_part(target, count);
    store_part(sum, target, count);
}
