/* Gradients of the trained parts of a linear layer y = x (W + scale B A)^T + b. The products with W itself are GEMMs.
 *
 * An adapter of rank r is skinny, so dW is never formed (H = x A^T, U = dy B; dB += dy^T H, dA += U^T x):
 *   linear_pack_factor   A or B, scaled, as [depth, padded rank]: whatever its strides, what is read next lies next;
 *   linear_project       H or U, [rows, padded rank];
 *   linear_outer         left^T right, summed over one chunk of rows at a time, each chunk into a plane of its own;
 *   linear_reduce        adds the planes, in their order, to the gradient with its strides.
 * The same outer product and reduction give dW where W is trained, and linear_column_sums the bias' gradient. Chunks
 * depend on the sizes only, so no device sums in another order because it has more compute units. */
#include "common.h"

/* Ranks that a work-item of linear_project takes at once; host/ops/linear_gradient.c knows it too. */
#if VECTOR_WIDTH == 16
#define RANK_WIDTH 16
typedef float16 rankv;
#define vload_rank  vload16
#define vstore_rank vstore16
#else
#define RANK_WIDTH 8
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
                                 const uint rank_stride, const uint width_stride, const uint block_stride)
{
    const uint j = get_global_id(0), k = get_global_id(1), block = get_global_id(2);
    if (j >= padded_rank || k >= width || block >= blocks) return;
    float value = 0.0f;
    if (j < rank)
        value = scale * factor[factor_offset + (size_t)j * rank_stride + (size_t)k * width_stride +
                               (size_t)block * block_stride];
    packed[packed_offset + ((size_t)block * width + k) * padded_rank + j] = value;
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
                             const uint depth, const uint x_stride, const uint padded_rank,
                             const uint rows_per_group)
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
    for (uint m = 0; m < count; m++, left += left_stride, right += right_stride)
        sum = multiply_add(*left, *right, sum);
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
                           const uint left_columns, const uint left_stride, const uint columns,
                           const uint right_stride, const uint rows_per_chunk, const uint vectors_per_item)
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
