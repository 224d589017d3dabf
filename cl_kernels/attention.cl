/* Softmax attention, forward (method.md sections 6.3 and 7):
 *
 *     scores = scale * q k^T,  p = softmax over the keys,  out = p v,  logsumexp = log sum exp(scores)
 *
 * of each head by itself. qkv is [batch, tokens, 3 * heads * HEAD_DIM] with the blocks q, k, v. Scores exist for one
 * work-item's queries and one chunk of keys at a time; what was summed over earlier chunks is rescaled when a larger
 * score appears. How work-items are scheduled changes no sum. */
#include "attention_tile.h"

/* Transposes the columns of `heads` heads, from `first_column` of rows `stride` apart, to panels
 * [batch, heads, panels, HEAD_DIM, PANEL]. Places past the last token repeat it. Dimension 0: panels, 1: heads,
 * 2: images. */
__kernel void attention_pack(__global float *restrict panels, uint panels_offset, __global const float *restrict source,
                             uint source_offset, uint first_column, uint stride, uint tokens, uint heads, uint batch)
{
    const uint panel = (uint)get_global_id(0), head = (uint)get_global_id(1), image = (uint)get_global_id(2);
    const uint panel_count = (tokens + PANEL - 1) / PANEL;
    if (panel >= panel_count || head >= heads || image >= batch) return;
    panels += panels_offset + (((size_t)image * heads + head) * panel_count + panel) * HEAD_DIM * PANEL;
    source += source_offset + (size_t)image * tokens * stride + first_column + head * HEAD_DIM;
    for (uint t = 0; t < PANEL; t += 4) {
        const uint token = panel * PANEL + t, last = tokens - 1;
        __global const float *row0 = source + (size_t)min(token, last) * stride;
        __global const float *row1 = source + (size_t)min(token + 1, last) * stride;
        __global const float *row2 = source + (size_t)min(token + 2, last) * stride;
        __global const float *row3 = source + (size_t)min(token + 3, last) * stride;
        for (uint d = 0; d < HEAD_DIM; d++)
            vstore4((float4)(row0[d], row1[d], row2[d], row3[d]), 0, panels + d * PANEL + t);
    }
}

/* One row of scores of a chunk, base 2, becomes weights 2^(score - maximum); maximum and sum are those of all chunks so
 * far. Returns the factor for what was summed before. A NaN never wins the maximum, but it stays in the sum. */
static inline float softmax_chunk(lanev *scores, uint vectors, uint valid, float *maximum, float *sum)
{
    lanev chunk_maximum = (lanev)(MASKED_SCORE);
    for (uint v = 0; v < vectors; v++) {
        if ((v + 1) * LANES > valid)
            scores[v] = NUMBERED_LANES < (int)valid - (int)(v * LANES) ? scores[v] : (lanev)(MASKED_SCORE);
        chunk_maximum = scores[v] > chunk_maximum ? scores[v] : chunk_maximum;
    }
    const float new_maximum = fmax(*maximum, lanes_max(chunk_maximum));
    const float factor = power_of_two((lanev)(*maximum - new_maximum)).x;
    lanev chunk_sum = (lanev)(0.0f);
    for (uint v = 0; v < vectors; v++) {
        const lanev weight = power_of_two(scores[v] - new_maximum);
        scores[v] = weight;
        chunk_sum += weight;
    }
    *sum = *sum * factor + lanes_sum(chunk_sum);
    *maximum = new_maximum;
    return factor;
}

/* out [batch, tokens, heads * HEAD_DIM], logsumexp [batch, heads, tokens]; keys: the panels of all keys. Dimension 0:
 * blocks of TILE_ROWS queries, 1: heads, 2: images. */
__kernel void attention_forward(__global float *restrict out, uint out_offset, __global float *restrict logsumexp,
                                uint logsumexp_offset, __global const float *restrict qkv, uint qkv_offset,
                                __global const float *restrict keys, uint keys_offset, uint tokens, uint heads,
                                uint batch, float scale)
{
    const uint first = (uint)get_global_id(0) * TILE_ROWS, head = (uint)get_global_id(1),
               image = (uint)get_global_id(2);
    if (first >= tokens || head >= heads || image >= batch) return;
    const uint width = heads * HEAD_DIM, stride = 3 * width;
    const uint panel_count = (tokens + PANEL - 1) / PANEL, chunk = chunk_size(panel_count);
    const size_t series = (size_t)image * heads + head;
    qkv += qkv_offset + (size_t)image * tokens * stride + head * HEAD_DIM;
    keys += keys_offset + series * panel_count * HEAD_DIM * PANEL;

    float queries[TILE_ROWS * HEAD_DIM], maximum[TILE_ROWS], sum[TILE_ROWS];
    lanev result[TILE_ROWS * HEAD_VECTORS], scores[TILE_ROWS * CHUNK_VECTORS];
    load_rows(queries, qkv, stride, first, tokens, scale * LOG2_E);
#pragma unroll HEAD_UNROLL
    for (uint i = 0; i < TILE_ROWS * HEAD_VECTORS; i++) result[i] = (lanev)(0.0f);
    for (uint r = 0; r < TILE_ROWS; r++) {
        maximum[r] = MASKED_SCORE;
        sum[r] = 0.0f;
    }
    for (uint panel = 0; panel < panel_count; panel += chunk) {
        const uint count = chunk_panels(panel, panel_count, chunk), valid = min(tokens - panel * PANEL, count * PANEL);
        for (uint i = 0; i < count; i++)
            multiply_panel(&scores[2 * i], CHUNK_VECTORS, queries, keys + (size_t)(panel + i) * HEAD_DIM * PANEL);
        for (uint r = 0; r < TILE_ROWS; r++) {
            const float factor = softmax_chunk(&scores[r * CHUNK_VECTORS], 2 * count, valid, &maximum[r], &sum[r]);
#pragma unroll HEAD_UNROLL
            for (uint v = 0; v < HEAD_VECTORS; v++) result[r * HEAD_VECTORS + v] *= factor;
        }
        add_weighted_rows(result, scores, qkv + 2 * width + (size_t)panel * PANEL * stride, stride, valid);
    }
    for (uint r = 0; r < TILE_ROWS; r++) {
        if (first + r < tokens)
            logsumexp[logsumexp_offset + series * tokens + first + r] = maximum[r] / LOG2_E + log(sum[r]);
        sum[r] = 1.0f / sum[r];
    }
    store_rows(out + out_offset + (size_t)image * tokens * width + head * HEAD_DIM, result, width, first, tokens, sum,
               0);
}
