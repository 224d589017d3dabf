/* C[rows, columns] = A[rows, depth] * B[depth, columns] (+ bias[columns]) (+ C): the register-tile kernel.
 *
 * A work-item keeps TILE_ROWS x TILE_VECTORS vectors of C in registers while it walks the depth once; it needs no local
 * memory and no barrier. B is packed into panels of PANEL columns (host/gemm/gemm.h), so that what is read next lies
 * next. A and C are row-major with any row stride. Each element of C is summed in the order of the depth, so neither
 * the sizes of tiles nor the split among work-items change a result on devices with fma(). */
#include "common.h"

/* Rows of a tile: TILE_ROWS * TILE_VECTORS + TILE_VECTORS + 1 vectors should fit into the registers. */
#ifndef TILE_ROWS
#define TILE_ROWS 8
#endif
/* Vectors of VECTOR_WIDTH columns that a work-item takes of its panel. */
#ifndef TILE_VECTORS
#define TILE_VECTORS 2
#endif
/* Neighbouring work-items that share a panel, so that their loads of B join: 1 where a work-item is a CPU's thread. */
#ifndef TILE_LANES
#define TILE_LANES 1
#endif
#define PANEL (VECTOR_WIDTH * TILE_VECTORS * TILE_LANES)

/* The vector at c becomes sum (+ bias) (+ c); `count` of its elements lie inside the matrix. */
static inline void store_columns(__global float *c, __global const float *bias, floatv sum, uint count, uint use_bias,
                                 uint accumulate)
{
    if (count >= VECTOR_WIDTH) {
        if (use_bias) sum += vloadv(0, bias);
        if (accumulate) sum += vloadv(0, c);
        vstorev(sum, 0, c);
        return;
    }
    float elements[VECTOR_WIDTH];
    vstorev(sum, 0, elements);
    for (uint i = 0; i < count; i++) {
        float element = elements[i];
        if (use_bias) element += bias[i];
        if (accumulate) element += c[i];
        c[i] = element;
    }
}

/* Dimension 0: TILE_LANES work-items a panel. Dimension 1: one work-item for each `tiles_per_item` tiles of rows. */
__kernel void gemm_register_tile(__global float *restrict c, uint c_offset, __global const float *restrict a,
                                 uint a_offset, __global const float *restrict b, uint b_offset,
                                 __global const float *restrict bias, uint bias_offset, uint rows, uint columns,
                                 uint depth, uint a_stride, uint c_stride, uint tiles_per_item, uint use_bias,
                                 uint accumulate)
{
    const uint panel = (uint)get_global_id(0) / TILE_LANES;
    const uint first_column = panel * PANEL + (uint)get_global_id(0) % TILE_LANES * VECTOR_WIDTH;
    const uint first_row = (uint)get_global_id(1) * tiles_per_item * TILE_ROWS;
    if (first_column >= columns || first_row >= rows) return;
    const uint end_row = min(rows, first_row + tiles_per_item * TILE_ROWS);
    c += c_offset + first_column;
    a += a_offset;
    b += b_offset + (size_t)panel * depth * PANEL + (first_column - panel * PANEL);
    bias += bias_offset + (use_bias ? first_column : 0);

    for (uint row = first_row; row < end_row; row += TILE_ROWS) {
        /* Rows past the end are worked as copies of the last row and never stored: no second path for a last tile. */
        __global const float *a_row[TILE_ROWS];
        floatv sum[TILE_ROWS][TILE_VECTORS];
#pragma unroll
        for (uint r = 0; r < TILE_ROWS; r++) {
            a_row[r] = a + (size_t)min(row + r, rows - 1) * a_stride;
#pragma unroll
            for (uint v = 0; v < TILE_VECTORS; v++) sum[r][v] = (floatv)(0.0f);
        }
        __global const float *b_row = b;
        for (uint k = 0; k < depth; k++, b_row += PANEL) {
            floatv b_vector[TILE_VECTORS];
#pragma unroll
            for (uint v = 0; v < TILE_VECTORS; v++) b_vector[v] = vloadv(v * TILE_LANES, b_row);
#pragma unroll
            for (uint r = 0; r < TILE_ROWS; r++) {
                const floatv a_value = (floatv)(a_row[r][k]);
#pragma unroll
                for (uint v = 0; v < TILE_VECTORS; v++) {
                    sum[r][v] = multiply_add(a_value, b_vector[v], sum[r][v]);
                }
            }
        }
#pragma unroll
        for (uint r = 0; r < TILE_ROWS; r++) {
            if (row + r >= end_row) break;
#pragma unroll
            for (uint v = 0; v < TILE_VECTORS; v++) {
                const uint column = v * TILE_LANES * VECTOR_WIDTH;
                if (first_column + column >= columns) break;
                store_columns(c + (size_t)(row + r) * c_stride + column, bias + column, sum[r][v],
                              columns - first_column - column, use_bias, accumulate);
            }
        }
    }
}
