/* Softmax attention, backward (method.md section 7). With p recomputed from the row logsumexp, and
 * D = rowsum(dout * out):
 *
 *     dv = p^T dout,  dp = dout v^T,  ds = p * (dp - D),  dq = scale * ds k,  dk = scale * ds^T q
 *
 * One kernel gathers dq for blocks of queries, another dk and dv for blocks of keys; each computes the scores that it
 * needs. That is 7 products instead of 5, but no two work-items write to one place: no atomics, and one fixed order of
 * all sums. */
#include "attention_tile.h"

/* Behind the last token the logsumexp is so large that p becomes 0. */
#define PADDED_LOGSUMEXP 1.0e30f

/* statistics [2, batch, heads, padded]: the logsumexp in units of log 2, then D; `padded` is tokens rounded up to whole
 * panels. Dimension 0: places, 1: heads, 2: images. */
__kernel void attention_statistics(__global float *restrict statistics, uint statistics_offset,
                                   __global const float *restrict dout, uint dout_offset,
                                   __global const float *restrict out, uint out_offset,
                                   __global const float *restrict logsumexp, uint logsumexp_offset, uint tokens,
                                   uint heads, uint batch)
{
    const uint token = (uint)get_global_id(0), head = (uint)get_global_id(1), image = (uint)get_global_id(2);
    const uint padded = (tokens + PANEL - 1) / PANEL * PANEL;
    if (token >= padded || head >= heads || image >= batch) return;
    const size_t series = (size_t)image * heads + head;
    const size_t row = ((size_t)image * tokens + min(token, tokens - 1)) * heads * HEAD_DIM + head * HEAD_DIM;
    __global float *logsumexps = statistics + statistics_offset + series * padded;
    __global float *sums = logsumexps + (size_t)batch * heads * padded;
    dout += dout_offset + row;
    out += out_offset + row;
    lanev sum = (lanev)(0.0f);
    for (uint v = 0; v < HEAD_VECTORS; v++) sum = multiply_add(load_lanes(v, dout), load_lanes(v, out), sum);
    logsumexps[token] =
        token < tokens ? logsumexp[logsumexp_offset + series * tokens + token] * LOG2_E : PADDED_LOGSUMEXP;
    sums[token] = lanes_sum(sum);
}

/* The q block of dqkv; key_panels and value_panels are as attention_pack makes them. Dimension 0: blocks of TILE_ROWS
 * queries, 1: heads, 2: images. */
__kernel void attention_backward_queries(__global float *restrict dqkv, uint dqkv_offset,
                                         __global const float *restrict qkv, uint qkv_offset,
                                         __global const float *restrict dout, uint dout_offset,
                                         __global const float *restrict key_panels, uint key_panels_offset,
                                         __global const float *restrict value_panels, uint value_panels_offset,
                                         __global const float *restrict statistics, uint statistics_offset, uint tokens,
                                         uint heads, uint batch, float scale, uint accumulate)
{
    const uint first = (uint)get_global_id(0) * TILE_ROWS, head = (uint)get_global_id(1),
               image = (uint)get_global_id(2);
    if (first >= tokens || head >= heads || image >= batch) return;
    const uint width = heads * HEAD_DIM, stride = 3 * width;
    const uint panel_count = (tokens + PANEL - 1) / PANEL, padded = panel_count * PANEL;
    const uint chunk = chunk_size(panel_count);
    const size_t series = (size_t)image * heads + head, panel_size = HEAD_DIM * PANEL;
    const size_t start = (size_t)image * tokens * stride + head * HEAD_DIM;
    key_panels += key_panels_offset + series * panel_count * panel_size;
    value_panels += value_panels_offset + series * panel_count * panel_size;
    statistics += statistics_offset + series * padded;
    qkv += qkv_offset + start;

    float queries[TILE_ROWS * HEAD_DIM], douts[TILE_ROWS * HEAD_DIM], logsumexp[TILE_ROWS], sum[TILE_ROWS];
    lanev result[TILE_ROWS * HEAD_VECTORS], dscores[TILE_ROWS * CHUNK_VECTORS], dweights[TILE_ROWS * 2];
    load_rows(queries, qkv, stride, first, tokens, scale * LOG2_E);
    load_rows(douts, dout + dout_offset + (size_t)image * tokens * width + head * HEAD_DIM, width, first, tokens, 1.0f);
    for (uint r = 0; r < TILE_ROWS; r++) {
        const uint token = min(first + r, tokens - 1);
        logsumexp[r] = statistics[token];
        sum[r] = statistics[(size_t)batch * heads * padded + token];
    }
#pragma unroll HEAD_UNROLL
    for (uint i = 0; i < TILE_ROWS * HEAD_VECTORS; i++) result[i] = (lanev)(0.0f);
    for (uint panel = 0; panel < panel_count; panel += chunk) {
        const uint count = chunk_panels(panel, panel_count, chunk);
        for (uint i = 0; i < count; i++) {
            multiply_panel(&dscores[2 * i], CHUNK_VECTORS, queries, key_panels + (panel + i) * panel_size);
            multiply_panel(dweights, 2, douts, value_panels + (panel + i) * panel_size);
#pragma unroll
            for (uint r = 0; r < TILE_ROWS; r++) {
                lanev *row = &dscores[r * CHUNK_VECTORS + 2 * i];
                row[0] = power_of_two(row[0] - logsumexp[r]) * (dweights[2 * r] - sum[r]);
                row[1] = power_of_two(row[1] - logsumexp[r]) * (dweights[2 * r + 1] - sum[r]);
            }
        }
        add_weighted_rows(result, dscores, qkv + width + (size_t)panel * PANEL * stride, stride,
                          min(tokens - panel * PANEL, count * PANEL));
    }
    for (uint r = 0; r < TILE_ROWS; r++) sum[r] = scale;
    store_rows(dqkv + dqkv_offset + start, result, stride, first, tokens, sum, accumulate);
}

/* The k and v blocks of dqkv; query_panels and dout_panels are as attention_pack makes them. Dimension 0: blocks of
 * TILE_ROWS keys, 1: heads, 2: images. */
__kernel void attention_backward_keys(__global float *restrict dqkv, uint dqkv_offset,
                                      __global const float *restrict qkv, uint qkv_offset,
                                      __global const float *restrict dout, uint dout_offset,
                                      __global const float *restrict query_panels, uint query_panels_offset,
                                      __global const float *restrict dout_panels, uint dout_panels_offset,
                                      __global const float *restrict statistics, uint statistics_offset, uint tokens,
                                      uint heads, uint batch, float scale, uint accumulate)
{
    const uint first = (uint)get_global_id(0) * TILE_ROWS, head = (uint)get_global_id(1),
               image = (uint)get_global_id(2);
    if (first >= tokens || head >= heads || image >= batch) return;
    const uint width = heads * HEAD_DIM, stride = 3 * width;
    const uint panel_count = (tokens + PANEL - 1) / PANEL, padded = panel_count * PANEL;
    const uint chunk = chunk_size(panel_count);
    const size_t series = (size_t)image * heads + head, panel_size = HEAD_DIM * PANEL;
    const size_t start = (size_t)image * tokens * stride + head * HEAD_DIM;
    query_panels += query_panels_offset + series * panel_count * panel_size;
    dout_panels += dout_panels_offset + series * panel_count * panel_size;
    statistics += statistics_offset + series * padded;
    qkv += qkv_offset + start;
    dout += dout_offset + (size_t)image * tokens * width + head * HEAD_DIM;

    float keys[TILE_ROWS * HEAD_DIM], values[TILE_ROWS * HEAD_DIM], factors[TILE_ROWS];
    lanev dkeys[TILE_ROWS * HEAD_VECTORS], dvalues[TILE_ROWS * HEAD_VECTORS];
    lanev weights[TILE_ROWS * CHUNK_VECTORS], dscores[TILE_ROWS * CHUNK_VECTORS];
    load_rows(keys, qkv + width, stride, first, tokens, scale * LOG2_E);
    load_rows(values, qkv + 2 * width, stride, first, tokens, 1.0f);
#pragma unroll HEAD_UNROLL
    for (uint i = 0; i < TILE_ROWS * HEAD_VECTORS; i++) dkeys[i] = dvalues[i] = (lanev)(0.0f);
    for (uint panel = 0; panel < panel_count; panel += chunk) {
        const uint count = chunk_panels(panel, panel_count, chunk), valid = min(tokens - panel * PANEL, count * PANEL);
        for (uint i = 0; i < count; i++) {
            multiply_panel(&weights[2 * i], CHUNK_VECTORS, keys, query_panels + (panel + i) * panel_size);
            multiply_panel(&dscores[2 * i], CHUNK_VECTORS, values, dout_panels + (panel + i) * panel_size);
            __global const float *logsumexp = statistics + (panel + i) * PANEL;
            __global const float *sum = logsumexp + (size_t)batch * heads * padded;
#pragma unroll
            for (uint v = 0; v < 2; v++) {
                const lanev column_logsumexp = load_lanes(v, logsumexp), column_sum = load_lanes(v, sum);
#pragma unroll
                for (uint r = 0; r < TILE_ROWS; r++) {
                    const uint place = r * CHUNK_VECTORS + 2 * i + v;
                    weights[place] = power_of_two(weights[place] - column_logsumexp);
                    dscores[place] = weights[place] * (dscores[place] - column_sum);
                }
            }
        }
        add_weighted_rows(dvalues, weights, dout + (size_t)panel * PANEL * width, width, valid);
        add_weighted_rows(dkeys, dscores, qkv + (size_t)panel * PANEL * stride, stride, valid);
    }
    for (uint r = 0; r < TILE_ROWS; r++) factors[r] = scale;
    store_rows(dqkv + dqkv_offset + start + width, dkeys, stride, first, tokens, factors, accumulate);
    for (uint r = 0; r < TILE_ROWS; r++) factors[r] = 1.0f;
    store_rows(dqkv + dqkv_offset + start + 2 * width, dvalues, stride, first, tokens, factors, accumulate);
}
