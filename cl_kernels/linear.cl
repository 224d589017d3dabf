/* Gradients of the trained parts of a linear layer y = x (W + scale B A)^T + b. The products with W itself are GEMMs.
 *
 * An adapter of rank r is skinny, so dW is never formed (H = x A^T, U = dy B; dB += dy^T H, dA += U^T x):
 *   linear_pack_factor   A or B, scaled, as [depth, padded rank] or [rank, depth]: whatever its strides, what is read next
 *                        lies next;
 *   linear_project       H or U, [rows, padded rank];
 *   linear_outer         left^T right, summed over one chunk of rows at a time, each chunk into a plane of its own;
 *   linear_reduce        adds the planes, in their order, to the gradient with its strides.
 * The same outer product and reduction give dW where W is trained, and linear_column_sums the bias' gradient. Chunks
 * depend on the sizes only, so no device sums in another order because it has more compute units.
 *
 * With dropout the adapter stays beside W (y += drop(x) A^T B^T, dx += mask / (1 - rate) (dy B) A):
 *   linear_drop            drop(x), for one adapter;
 *   linear_expand          y += H B^T;
 *   linear_expand_dropped  dx += mask / (1 - rate) (U A). */
#include "common.h"

/* Ranks that a work-item of linear_project takes at once; host/ops/linear_gradient.c knows it too. */
#if VECTOR_WIDTH == 16
#define RANK_WIDTH 16
typedef float16 rankv;
#define vload_rank  vload16
#define vstore_rank vstore16
#else
#define RANK_WIDTH  8
typedef float8 rankv;
#define vload_rank  vload8
#define vstore_rank vstore8
#endif

/* Rows that linear_project keeps in registers: enough independent sums to fill the pipeline, few enough to fit. */
#if ROW_LANES == 1
#define PROJECT_ROWS 8
#else
#define PROJECT_ROWS 4
#endif

/* Left columns that linear_outer keeps in registers; host/ops/linear_gradient.c knows it too. */
#define OUTER_COLUMNS 8

/* Dimension 0: padded rank. Dimension 1: place in the block. Dimension 2: block. Ranks past the end become zero. */
__kernel void linear_pack_factor(__global float *restrict packed, const uint packed_offset,
                                 __global const float *restrict factor, const uint factor_offset, const float scale,
                                 const uint rank, const uint padded_rank, const uint width, const uint blocks,
                                 const uint rank_stride, const uint width_stride, const uint block_stride,
                                 const uint packed_rank_stride, const uint packed_depth_stride)
{
    const uint j = get_global_id(0), k = get_global_id(1), block = get_global_id(2);
    if (j >= padded_rank || k >= width || block >= blocks) return;
    float value = 0.0f;
    if (j < rank)
        value =
            scale *
            factor[factor_offset + (size_t)j * rank_stride + (size_t)k * width_stride + (size_t)block * block_stride];
    packed[packed_offset + (size_t)j * packed_rank_stride + ((size_t)block * width + k) * packed_depth_stride] = value;
}

#if ROW_LANES > 1
/* The sum of a vector over the lanes of the row, in a fixed tree; valid in lane 0. */
GROUP_FUNCTION rankv sum_lanes(rankv part, __local rankv *scratch)
{
    const uint lane = ROW_LANE;
    scratch[lane] = part;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint half_count = ROW_LANES / 2; half_count > 0; half_count /= 2) {
        if (lane < half_count) scratch[lane] += scratch[lane + half_count];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const rankv whole = scratch[0];
    barrier(CLK_LOCAL_MEM_FENCE); /* before the next row's parts overwrite it */
    return whole;
}
#define SUM_LANES(part) sum_lanes((part), lane_scratch)
#else
#define SUM_LANES(part) (part)
#endif

/* product[rows, padded_rank] = x[rows, depth] packed[depth, padded_rank]; rows of x lie x_stride apart, so that it may be
 * some columns of a wider matrix. Dimension 0: the lanes, which share the depth. Dimension 1: `rows_per_group` rows. Dimension 2: RANK_WIDTH ranks. */
__kernel void linear_project(__global float *restrict product, const uint product_offset,
                             __global const float *restrict x, const uint x_offset,
                             __global const float *restrict packed, const uint packed_offset, const uint rows,
                             const uint depth, const uint x_stride, const uint padded_rank, const uint rows_per_group)
{
#if ROW_LANES > 1
    __local rankv lane_scratch[ROW_LANES];
#endif
    const uint first_row = (uint)get_global_id(1) * rows_per_group;
    const uint rank = (uint)get_global_id(2) * RANK_WIDTH;
    const uint end_row = rank < padded_rank ? min(rows, first_row + rows_per_group) : 0;
    product += product_offset + rank;
    x += x_offset;
    packed += packed_offset + rank;

    for (uint row = first_row; row < end_row; row += PROJECT_ROWS) {
        /* Rows past the end are worked as copies of the last row and never stored. */
        __global const float *x_row[PROJECT_ROWS];
        rankv sum[PROJECT_ROWS];
#pragma unroll
        for (uint r = 0; r < PROJECT_ROWS; r++) {
            x_row[r] = x + (size_t)min(row + r, rows - 1) * x_stride;
            sum[r] = (rankv)(0.0f);
        }
        for (uint k = ROW_LANE; k < depth; k += ROW_LANES) {
            const rankv factor = vload_rank(0, packed + (size_t)k * padded_rank);
#pragma unroll
            for (uint r = 0; r < PROJECT_ROWS; r++) sum[r] = multiply_add((rankv)(x_row[r][k]), factor, sum[r]);
        }
#pragma unroll
        for (uint r = 0; r < PROJECT_ROWS; r++) {
            const rankv whole = SUM_LANES(sum[r]);
            if (ROW_LANE == 0 && row + r < end_row) vstore_rank(whole, 0, product + (size_t)(row + r) * padded_rank);
        }
    }
}

/* The plane of one chunk: plane[j, n] = sum over `count` rows m of left[m, j] right[m, n]. */
static inline void outer_vector(__global float *plane, __global const float *left, __global const float *right,
                                const uint count, const uint left_stride, const uint right_stride)
{
    floatv sum = (floatv)(0.0f);
    for (uint m = 0; m < count; m++, left += left_stride, right += right_stride)
        sum = multiply_add((floatv)(*left), vloadv(0, right), sum);
    vstorev(sum, 0, plane);
}

static inline void outer_scalar(__global float *plane, __global const float *left, __global const float *right,
                                const uint count, const uint left_stride, const uint right_stride)
{
    float sum = 0.0f;
    for (uint m = 0; m < count; m++, left += left_stride, right += right_stride) sum = multiply_add(*left, *right, sum);
    *plane = sum;
}

static inline void outer_tile(__global float *plane, __global const float *left, __global const float *right,
                              const uint count, const uint left_stride, const uint right_stride, const uint columns)
{
    floatv sum[OUTER_COLUMNS];
#pragma unroll
    for (uint j = 0; j < OUTER_COLUMNS; j++) sum[j] = (floatv)(0.0f);
    for (uint m = 0; m < count; m++, left += left_stride, right += right_stride) {
        const floatv vector = vloadv(0, right);
#pragma unroll
        for (uint j = 0; j < OUTER_COLUMNS; j++) sum[j] = multiply_add((floatv)(left[j]), vector, sum[j]);
    }
#pragma unroll
    for (uint j = 0; j < OUTER_COLUMNS; j++) vstorev(sum[j], 0, plane + (size_t)j * columns);
}

/* partial[chunk, left_columns, columns] = left[rows, left_columns]^T right[rows, columns], chunk by chunk of
 * `rows_per_chunk` rows; rows of right lie right_stride apart. Dimension 0: `vectors_per_item` vectors of columns. Dimension 1: OUTER_COLUMNS columns of left.
 * Dimension 2: chunk. */
__kernel void linear_outer(__global float *restrict partial, const uint partial_offset,
                           __global const float *restrict left, const uint left_offset,
                           __global const float *restrict right, const uint right_offset, const uint rows,
                           const uint left_columns, const uint left_stride, const uint columns, const uint right_stride,
                           const uint rows_per_chunk, const uint vectors_per_item)
{
    const uint chunk = get_global_id(2), first_row = chunk * rows_per_chunk;
    const uint first_left = (uint)get_global_id(1) * OUTER_COLUMNS;
    if (first_row >= rows || first_left >= left_columns) return;
    const uint count = min(rows_per_chunk, rows - first_row);
    const uint first_column = (uint)get_global_id(0) * vectors_per_item * VECTOR_WIDTH;
    const uint end_column = min(columns, first_column + vectors_per_item * VECTOR_WIDTH);
    const uint end_left = min(left_columns, first_left + OUTER_COLUMNS);
    partial += partial_offset + (size_t)chunk * left_columns * columns;
    left += left_offset + (size_t)first_row * left_stride;
    right += right_offset + (size_t)first_row * right_stride;

    uint column = first_column;
    for (; column + VECTOR_WIDTH <= end_column; column += VECTOR_WIDTH) {
        if (first_left + OUTER_COLUMNS <= left_columns) {
            outer_tile(partial + (size_t)first_left * columns + column, left + first_left, right + column, count,
                       left_stride, right_stride, columns);
        } else {
            for (uint j = first_left; j < end_left; j++)
                outer_vector(partial + (size_t)j * columns + column, left + j, right + column, count, left_stride,
                             right_stride);
        }
    }
    for (; column < end_column; column++)
        for (uint j = first_left; j < end_left; j++)
            outer_scalar(partial + (size_t)j * columns + column, left + j, right + column, count, left_stride,
                         right_stride);
}

/* partial[chunk, columns]: the sum of each column over the chunk's rows. Dimension 0: column. Dimension 1: chunk. */
__kernel void linear_column_sums(__global float *restrict partial, const uint partial_offset,
                                 __global const float *restrict x, const uint x_offset, const uint rows,
                                 const uint columns, const uint rows_per_chunk)
{
    const uint column = get_global_id(0), chunk = get_global_id(1), first_row = chunk * rows_per_chunk;
    if (column >= columns || first_row >= rows) return;
    const uint end_row = min(rows, first_row + rows_per_chunk);
    float sum = 0.0f;
    for (uint row = first_row; row < end_row; row++) sum += x[x_offset + (size_t)row * columns + column];
    partial[partial_offset + (size_t)chunk * columns + column] = sum;
}

/* target[j, block, n] += the sum over the chunks of partial[chunk, j, block * width + n]. Dimension 0: n, below width.
 * Dimension 1: j, below target_rows (planes may have more rows: plane_rows). Dimension 2: block. */
__kernel void linear_reduce(__global float *restrict target, const uint target_offset,
                            __global const float *restrict partial, const uint partial_offset, const uint chunks,
                            const uint plane_rows, const uint target_rows, const uint width, const uint blocks,
                            const uint row_stride, const uint width_stride, const uint block_stride)
{
    const uint n = get_global_id(0), j = get_global_id(1), block = get_global_id(2);
    if (n >= width || j >= target_rows || block >= blocks) return;
    const uint columns = width * blocks;
    __global const float *place = partial + partial_offset + (size_t)j * columns + (size_t)block * width + n;
    float sum = 0.0f;
    for (uint chunk = 0; chunk < chunks; chunk++) sum += place[(size_t)chunk * plane_rows * columns];
    target[target_offset + (size_t)j * row_stride + (size_t)n * width_stride + (size_t)block * block_stride] += sum;
}

/* ---- dropout ---- */

/* Rows that linear_expand and linear_expand_dropped keep in registers; host/ops/linear_products.c knows it too. */
#define EXPAND_ROWS 4

/* A vector of columns holds this many blocks of four random words. */
#if VECTOR_WIDTH == 16
typedef uint4 blockv;
#define vstore_block  vstore4
#define BLOCK_INDICES (uint4)(0, 1, 2, 3)
#elif VECTOR_WIDTH == 8
typedef uint2 blockv;
#define vstore_block  vstore2
#define BLOCK_INDICES (uint2)(0, 1)
#else
typedef uint blockv;
#define vstore_block(value, offset, place) (*(place) = (value))
#define BLOCK_INDICES                      0
#endif
#define BLOCKS (VECTOR_WIDTH / 4)

/* What a mask is a function of, beside the element: see host/reference/linear.h. */
typedef struct dropout_site {
    uint seed_low, seed_high, step_low, last; /* last: step high and the adapter's stream */
    uint threshold;                           /* words below it drop their element */
    float scale;                              /* of what is kept */
} dropout_site;

/* By address: a returned struct makes Clang emit noalias scopes, which Oclgrind 21 does not know. */
static inline void set_site(dropout_site *site, __global const int *key, uint stream, uint threshold, float scale)
{
    site->seed_low = as_uint(key[0]);
    site->seed_high = as_uint(key[1]);
    site->step_low = as_uint(key[2]);
    site->last = 0x80000000u | (as_uint(key[3]) & 0x7fffu) << 16 | stream;
    site->threshold = threshold;
    site->scale = scale;
}

/* 0 or scale for VECTOR_WIDTH neighbouring elements of one token: Philox4x32-10 of the blocks from first_block on. */
static inline floatv dropout_factors(const dropout_site *site, uint sample, uint first_block)
{
    blockv c0 = (blockv)(first_block) + BLOCK_INDICES, c1 = (blockv)(sample), c2 = (blockv)(site->step_low);
    blockv c3 = (blockv)(site->last);
    uint k0 = site->seed_low, k1 = site->seed_high;
    for (uint round = 0; round < 10; round++) {
        const blockv left_high = mul_hi((blockv)(0xD2511F53u), c0), left_low = (blockv)(0xD2511F53u) * c0;
        const blockv right_high = mul_hi((blockv)(0xCD9E8D57u), c2), right_low = (blockv)(0xCD9E8D57u) * c2;
        c0 = right_high ^ c1 ^ (blockv)(k0);
        c1 = right_low;
        c2 = left_high ^ c3 ^ (blockv)(k1);
        c3 = left_low;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    uint word[4][BLOCKS];
    float element[VECTOR_WIDTH];
    vstore_block(c0, 0, word[0]);
    vstore_block(c1, 0, word[1]);
    vstore_block(c2, 0, word[2]);
    vstore_block(c3, 0, word[3]);
#pragma unroll
    for (uint i = 0; i < VECTOR_WIDTH; i++) element[i] = word[i & 3][i >> 2] >= site->threshold ? site->scale : 0.0f;
    return vloadv(0, element);
}

/* The factors of the columns from `column` on, of row `row` of x [rows, columns] with `tokens` rows an image. */
static inline floatv row_factors(const dropout_site *site, __global const int *samples, uint row, uint column,
                                 uint columns, uint tokens)
{
    const uint image = row / tokens, token = row - image * tokens;
    return dropout_factors(site, as_uint(samples[image]), token * ((columns + 3) / 4) + column / 4);
}

/* dropped = drop(x), both [rows, columns]. Dimension 0: vectors of columns. Dimension 1: row. */
__kernel void linear_drop(__global float *restrict dropped, const uint dropped_offset, __global const float *restrict x,
                          const uint x_offset, __global const int *restrict key, const uint key_offset,
                          __global const int *restrict samples, const uint samples_offset, const uint rows,
                          const uint columns, const uint tokens, const uint stream, const uint threshold,
                          const float scale)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, row = get_global_id(1);
    if (column >= columns || row >= rows) return;
    dropout_site site;
    set_site(&site, key + key_offset, stream, threshold, scale);
    const floatv factors = row_factors(&site, samples + samples_offset, row, column, columns, tokens);
    dropped += dropped_offset + (size_t)row * columns + column;
    x += x_offset + (size_t)row * columns + column;
    if (column + VECTOR_WIDTH <= columns) {
        vstorev(factors * vloadv(0, x), 0, dropped);
    } else {
        float element[VECTOR_WIDTH];
        vstorev(factors, 0, element);
        for (uint i = 0; i < columns - column; i++) dropped[i] = element[i] * x[i];
    }
}

/* sum[r] = left[row + r] factor[.., column ..] over the rank, for VECTOR_WIDTH columns of EXPAND_ROWS rows. Rows past the
 * end are worked as copies of the last one. */
static inline void expand_tile(floatv *sum, __global const float *left, __global const float *factor, const uint row,
                               const uint rows, const uint rank, const uint left_stride, const uint factor_stride)
{
    __global const float *left_row[EXPAND_ROWS];
#pragma unroll
    for (uint r = 0; r < EXPAND_ROWS; r++) {
        left_row[r] = left + (size_t)min(row + r, rows - 1) * left_stride;
        sum[r] = (floatv)(0.0f);
    }
    for (uint j = 0; j < rank; j++) {
        const floatv vector = vloadv(0, factor + (size_t)j * factor_stride);
#pragma unroll
        for (uint r = 0; r < EXPAND_ROWS; r++) sum[r] = multiply_add((floatv)(left_row[r][j]), vector, sum[r]);
    }
}

static inline float expand_element(__global const float *left, __global const float *factor, const uint rank,
                                   const uint factor_stride)
{
    float sum = 0.0f;
    for (uint j = 0; j < rank; j++) sum = multiply_add(left[j], factor[(size_t)j * factor_stride], sum);
    return sum;
}

/* target[rows, columns] += left[rows, rank] factor[rank, columns]; rows lie target_stride, left_stride and factor_stride
 * apart. Dimension 0: vectors of columns. Dimension 1: EXPAND_ROWS rows. */
__kernel void linear_expand(__global float *restrict target, const uint target_offset,
                            __global const float *restrict left, const uint left_offset,
                            __global const float *restrict factor, const uint factor_offset, const uint rows,
                            const uint rank, const uint left_stride, const uint factor_stride, const uint columns,
                            const uint target_stride)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, row = (uint)get_global_id(1) * EXPAND_ROWS;
    if (column >= columns || row >= rows) return;
    const uint end_row = min(row + EXPAND_ROWS, rows);
    target += target_offset;
    left += left_offset;
    factor += factor_offset + column;
    if (column + VECTOR_WIDTH <= columns) {
        floatv sum[EXPAND_ROWS];
        expand_tile(sum, left, factor, row, rows, rank, left_stride, factor_stride);
#pragma unroll
        for (uint r = 0; r < EXPAND_ROWS; r++) {
            __global float *place = target + (size_t)(row + r) * target_stride + column;
            if (row + r < end_row) vstorev(vloadv(0, place) + sum[r], 0, place);
        }
        return;
    }
    for (uint m = row; m < end_row; m++)
        for (uint n = column; n < columns; n++)
            target[(size_t)m * target_stride + n] +=
                expand_element(left + (size_t)m * left_stride, factor + (n - column), rank, factor_stride);
}

/* target[rows, columns] += mask / (1 - rate) (left[rows, rank] factor[rank, columns]). Dimensions as of linear_expand. */
__kernel void linear_expand_dropped(__global float *restrict target, const uint target_offset,
                                    __global const float *restrict left, const uint left_offset,
                                    __global const float *restrict factor, const uint factor_offset,
                                    __global const int *restrict key, const uint key_offset,
                                    __global const int *restrict samples, const uint samples_offset, const uint rows,
                                    const uint rank, const uint left_stride, const uint factor_stride,
                                    const uint columns, const uint tokens, const uint stream, const uint threshold,
                                    const float scale)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, row = (uint)get_global_id(1) * EXPAND_ROWS;
    if (column >= columns || row >= rows) return;
    const uint end_row = min(row + EXPAND_ROWS, rows);
    dropout_site site;
    set_site(&site, key + key_offset, stream, threshold, scale);
    target += target_offset;
    left += left_offset;
    factor += factor_offset + column;
    samples += samples_offset;
    if (column + VECTOR_WIDTH <= columns) {
        floatv sum[EXPAND_ROWS];
        expand_tile(sum, left, factor, row, rows, rank, left_stride, factor_stride);
#pragma unroll
        for (uint r = 0; r < EXPAND_ROWS; r++) {
            if (row + r >= end_row) continue;
            __global float *place = target + (size_t)(row + r) * columns + column;
            const floatv factors = row_factors(&site, samples, row + r, column, columns, tokens);
            vstorev(multiply_add(factors, sum[r], vloadv(0, place)), 0, place);
        }
        return;
    }
    for (uint m = row; m < end_row; m++) {
        float element[VECTOR_WIDTH];
        vstorev(row_factors(&site, samples, m, column, columns, tokens), 0, element);
        for (uint n = column; n < columns; n++)
            target[(size_t)m * columns + n] +=
                element[n - column] *
                expand_element(left + (size_t)m * left_stride, factor + (n - column), rank, factor_stride);
    }
}
