/* What a classification head reads of tokens [batch, tokens, columns]: the first token (CLS), and, if features is
 * 2 * columns, the mean of the tokens from `prefix` on. One work-item takes VECTOR_WIDTH columns, fewer at a row's end.
 */
#include "common.h"

/* The sum over the patches of one column, in their order. */
static inline float patch_sum(__global const float *patch, const uint patches, const uint columns)
{
    float sum = 0.0f;
    for (uint p = 0; p < patches; p++, patch += columns) sum += *patch;
    return sum;
}

/* pooled [batch, features]. Dimension 0: vectors of columns. Dimension 1: image. */
__kernel void pool_forward(__global float *pooled, const uint pooled_offset, __global const float *tokens,
                           const uint tokens_offset, const uint batch, const uint token_count, const uint columns,
                           const uint prefix, const uint features)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, image = get_global_id(1);
    if (column >= columns || image >= batch) return;
    const uint patches = token_count - prefix;
    pooled += pooled_offset + (size_t)image * features;
    tokens += tokens_offset + (size_t)image * token_count * columns;
    __global const float *patch = tokens + (size_t)prefix * columns;
    if (column + VECTOR_WIDTH <= columns) {
        vstorev(vloadv(0, tokens + column), 0, pooled + column);
        if (features == columns) return;
        floatv sum = (floatv)(0.0f);
        for (uint p = 0; p < patches; p++, patch += columns) sum += vloadv(0, patch + column);
        vstorev(sum / (float)patches, 0, pooled + columns + column);
        return;
    }
    for (uint j = column; j < columns; j++) {
        pooled[j] = tokens[j];
        if (features > columns) pooled[columns + j] = patch_sum(patch + j, patches, columns) / (float)patches;
    }
}

/* dtokens: of CLS its own gradient, of each patch the mean's divided by their number, of the others 0; added to what
 * dtokens holds if accumulate is 1. Dimension 0: vectors of columns. Dimension 1: token. Dimension 2: image. */
__kernel void pool_backward(__global float *dtokens, const uint dtokens_offset, __global const float *dpooled,
                            const uint dpooled_offset, const uint accumulate, const uint batch, const uint token_count,
                            const uint columns, const uint prefix, const uint features)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, token = get_global_id(1), image = get_global_id(2);
    if (column >= columns || token >= token_count || image >= batch) return;
    const int is_patch = token >= prefix && features > columns;
    const float share = token == 0 ? 1.0f : is_patch ? 1.0f / (float)(token_count - prefix) : 0.0f;
    dtokens += dtokens_offset + ((size_t)image * token_count + token) * columns;
    dpooled += dpooled_offset + (size_t)image * features + (is_patch ? columns : 0);
    if (column + VECTOR_WIDTH <= columns) {
        const floatv gradient = vloadv(0, dpooled + column) * share;
        vstorev(accumulate ? vloadv(0, dtokens + column) + gradient : gradient, 0, dtokens + column);
        return;
    }
    for (uint j = column; j < columns; j++)
        dtokens[j] = accumulate ? dtokens[j] + dpooled[j] * share : dpooled[j] * share;
}
