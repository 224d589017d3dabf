/* What the attention kernels share: register tiles, as in gemm.cl, over rows that a work-item keeps in private memory.
 *
 * A work-item owns TILE_ROWS rows (queries, or keys) of one head and walks over the other side in chunks of at most
 * TILE_COLUMNS tokens. What it reads of the other side lies in panels of PANEL tokens, transposed: panel
 * [HEAD_DIM][PANEL], so that LANES tokens lie side by side in a vector. Nothing is shared between work-items: no local
 * memory, no barrier.
 *
 * The host chooses (host/ops/attention.c; the defaults are for looking at the kernels alone):
 *   HEAD_DIM      elements of a head, a multiple of 2 * LANES
 *   LANES         vector width of the tiles: 4, 8 or 16
 *   TILE_ROWS     rows of a work-item: as many as the registers carry with two vectors a row; 1 on GPUs, where many
 *                 work-items in flight do what a tall tile does on CPUs
 *   CHUNK_PANELS  panels of a chunk: many on CPUs, so that the running softmax is rescaled rarely; 1 on GPUs, so that
 *                 the scores of a chunk fit into registers */
#ifndef SLAD_ATTENTION_TILE_H
#define SLAD_ATTENTION_TILE_H
#include "common.h"

#ifndef HEAD_DIM
#define HEAD_DIM 64
#endif
#ifndef LANES
#define LANES VECTOR_WIDTH
#endif
#ifndef TILE_ROWS
#define TILE_ROWS 4
#endif
#ifndef CHUNK_PANELS
#define CHUNK_PANELS 1
#endif

#define PANEL         (2 * LANES)
#define TILE_COLUMNS  (CHUNK_PANELS * PANEL)
#define HEAD_VECTORS  (HEAD_DIM / LANES)
#define CHUNK_VECTORS (TILE_COLUMNS / LANES)

#if LANES == 16
typedef float16 lanev;
#define load_lanes     vload16
#define store_lanes    vstore16
#define as_bits        as_int16
#define as_lanes       as_float16
#define NUMBERED_LANES ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#elif LANES == 8
typedef float8 lanev;
#define load_lanes     vload8
#define store_lanes    vstore8
#define as_bits        as_int8
#define as_lanes       as_float8
#define NUMBERED_LANES ((int8)(0, 1, 2, 3, 4, 5, 6, 7))
#elif LANES == 4
typedef float4 lanev;
#define load_lanes     vload4
#define store_lanes    vstore4
#define as_bits        as_int4
#define as_lanes       as_float4
#define NUMBERED_LANES ((int4)(0, 1, 2, 3))
#else
#error "LANES must be 4, 8 or 16"
#endif

/* A row of a single-row tile lies in registers, if loops over it are unrolled; a wider head would find no room there.
 */
#if TILE_ROWS == 1 && HEAD_DIM <= 128
#define HEAD_UNROLL HEAD_DIM
#else
#define HEAD_UNROLL 1
#endif

#define LOG2_E 1.4426950408889634f

static inline float lanes_sum(lanev v)
{
#if LANES == 16
    const float8 half_sum = v.lo + v.hi;
    return sum4(half_sum.lo + half_sum.hi);
#elif LANES == 8
    return sum4(v.lo + v.hi);
#else
    return sum4(v);
#endif
}

static inline float lanes_max(lanev v)
{
#if LANES == 16
    const float8 half_max = fmax(v.lo, v.hi);
    return max4(fmax(half_max.lo, half_max.hi));
#elif LANES == 8
    return max4(fmax(v.lo, v.hi));
#else
    return max4(v);
#endif
}

/* 2 to the power y, at most 1.3 units in the last place from it for -125 <= y <= 127 (measured over 8 million values,
 * with and without fma), 0 below, NaN for NaN; softmax needs nothing above 0. y = n + f with n whole and |f| <= 1/2;
 * the polynomial is the minimax fit of 2^f of degree 6 with p(0) = 1. Adding ROUND leaves n + 127 in the low bits of
 * the sum, from where it is moved to a float's exponent. The built-in exp2 is as exact on PoCL and costs the forward
 * kernel 5 % there; but elsewhere its error may be larger, and that of a vector may be a call for each element. */
static inline lanev power_of_two(lanev y)
{
    const float ROUND = 12583039.0f; /* 1.5 * 2^23 + 127 */
    const lanev rounded = y + ROUND;
    const lanev f = y - (rounded - ROUND);
    lanev p = (lanev)(1.5353362e-4f);
    p = multiply_add(p, f, (lanev)(1.3398874e-3f));
    p = multiply_add(p, f, (lanev)(9.618437e-3f));
    p = multiply_add(p, f, (lanev)(5.5503324e-2f));
    p = multiply_add(p, f, (lanev)(2.4022648e-1f));
    p = multiply_add(p, f, (lanev)(6.931472e-1f));
    p = multiply_add(p, f, (lanev)(1.0f));
    return y < -125.0f ? (lanev)(0.0f) : p * as_lanes(as_bits(rounded) << 23);
}

/* TILE_ROWS rows of HEAD_DIM elements, times factor. Rows past the last token repeat it. */
static inline void load_rows(float *rows, __global const float *source, uint stride, uint first, uint tokens,
                             float factor)
{
    for (uint r = 0; r < TILE_ROWS; r++) {
        __global const float *row = source + (size_t)min(first + r, tokens - 1) * stride;
#pragma unroll HEAD_UNROLL
        for (uint d = 0; d < HEAD_DIM; d++) rows[r * HEAD_DIM + d] = row[d] * factor;
    }
}

/* Writes the rows that exist, or adds to what is there. Each row has a factor. */
static inline void store_rows(__global float *target, const lanev *rows, uint stride, uint first, uint tokens,
                              const float *factors, uint accumulate)
{
    for (uint r = 0; r < TILE_ROWS && first + r < tokens; r++) {
        __global float *row = target + (size_t)(first + r) * stride;
#pragma unroll HEAD_UNROLL
        for (uint v = 0; v < HEAD_VECTORS; v++) {
            const lanev values = rows[r * HEAD_VECTORS + v] * factors[r];
            store_lanes(accumulate ? load_lanes(v, row) + values : values, v, row);
        }
    }
}

/* c[r] = sum over d of a[r][d] * panel[d]: TILE_ROWS x PANEL products of rows with the tokens of a panel. c has
 * c_stride vectors a row. */
static inline void multiply_panel(lanev *c, const uint c_stride, const float *a, __global const float *panel)
{
    lanev sums[TILE_ROWS][2];
#pragma unroll
    for (uint r = 0; r < TILE_ROWS; r++) sums[r][0] = sums[r][1] = (lanev)(0.0f);
#pragma unroll HEAD_UNROLL
    for (uint d = 0; d < HEAD_DIM; d++) {
        const lanev left = load_lanes(2 * d, panel), right = load_lanes(2 * d + 1, panel);
#pragma unroll
        for (uint r = 0; r < TILE_ROWS; r++) {
            const lanev x = (lanev)(a[r * HEAD_DIM + d]);
            sums[r][0] = multiply_add(x, left, sums[r][0]);
            sums[r][1] = multiply_add(x, right, sums[r][1]);
        }
    }
#pragma unroll
    for (uint r = 0; r < TILE_ROWS; r++) {
        c[r * c_stride] = sums[r][0];
        c[r * c_stride + 1] = sums[r][1];
    }
}

/* c[r] += sum over k of weights[r][k] * rows[k], for `count` rows of HEAD_DIM elements that lie `stride` apart. */
static inline void add_weighted_rows(lanev *c, const lanev *weights, __global const float *rows, uint stride,
                                     uint count)
{
    const float *w = (const float *)weights;
#pragma unroll HEAD_UNROLL
    for (uint v = 0; v < HEAD_VECTORS; v += 2) {
        __global const float *part = rows + v * LANES;
        lanev sums[TILE_ROWS][2];
#pragma unroll
        for (uint r = 0; r < TILE_ROWS; r++) {
            sums[r][0] = c[r * HEAD_VECTORS + v];
            sums[r][1] = c[r * HEAD_VECTORS + v + 1];
        }
#if CHUNK_PANELS == 1
#pragma unroll
#endif
        for (uint k = 0; k < (CHUNK_PANELS == 1 ? TILE_COLUMNS : count); k++) {
            if (CHUNK_PANELS == 1 && k >= count) continue; /* no break: the loop is to unroll */
            const lanev left = load_lanes(0, part + (size_t)k * stride),
                        right = load_lanes(1, part + (size_t)k * stride);
#pragma unroll
            for (uint r = 0; r < TILE_ROWS; r++) {
                const lanev x = (lanev)(w[r * TILE_COLUMNS + k]);
                sums[r][0] = multiply_add(x, left, sums[r][0]);
                sums[r][1] = multiply_add(x, right, sums[r][1]);
            }
        }
#pragma unroll
        for (uint r = 0; r < TILE_ROWS; r++) {
            c[r * HEAD_VECTORS + v] = sums[r][0];
            c[r * HEAD_VECTORS + v + 1] = sums[r][1];
        }
    }
}

/* Panels of a chunk. Chunks are of equal size, so that the last one is not a small rest. */
static inline uint chunk_size(uint panels)
{
    const uint chunks = (panels + CHUNK_PANELS - 1) / CHUNK_PANELS;
    return (panels + chunks - 1) / chunks;
}

/* Panels of the chunk that begins at `panel`; a constant where chunks are of one panel, so that a chunk of scores can
 * stay in registers. */
static inline uint chunk_panels(uint panel, uint panels, uint size)
{
    return CHUNK_PANELS == 1 ? 1 : min(size, panels - panel);
}

#endif
