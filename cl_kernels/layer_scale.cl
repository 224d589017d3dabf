/* LayerScale: y = x + gamma z, and its gradients. Tensors [rows, columns] are worked as one run of elements, a vector a
 * work-item, so that no lane idles at the end of a row; gamma [columns] repeats. A vector that crosses the end of a row
 * or of the tensor goes element by element. */
#include "common.h"

/* Where the work-item's vector begins, and in which column. Dimension 0: vectors of the tensor. */
#define VECTOR_START ((uint)get_global_id(0) * VECTOR_WIDTH)

/* True if the whole vector lies in one row. */
static inline int is_whole(const uint start, const uint column, const uint elements, const uint columns)
{
    return start + VECTOR_WIDTH <= elements && column + VECTOR_WIDTH <= columns;
}

__kernel void layer_scale_forward(__global float *y, const uint y_offset, __global const float *x, const uint x_offset,
                                  __global const float *z, const uint z_offset, __global const float *gamma,
                                  const uint gamma_offset, const uint elements, const uint columns)
{
    const uint start = VECTOR_START, column = start % columns;
    y += y_offset;
    x += x_offset;
    z += z_offset;
    gamma += gamma_offset;
    if (is_whole(start, column, elements, columns)) {
        vstorev(multiply_add(vloadv(0, gamma + column), vloadv(0, z + start), vloadv(0, x + start)), 0, y + start);
        return;
    }
    for (uint i = start; i < min(start + VECTOR_WIDTH, elements); i++)
        y[i] = multiply_add(gamma[i % columns], z[i], x[i]);
}

/* dz = gamma dy, added to what dz holds if accumulate is 1. */
__kernel void layer_scale_backward(__global float *dz, const uint dz_offset, __global const float *dy,
                                   const uint dy_offset, __global const float *gamma, const uint gamma_offset,
                                   const uint accumulate, const uint elements, const uint columns)
{
    const uint start = VECTOR_START, column = start % columns;
    dz += dz_offset;
    dy += dy_offset;
    gamma += gamma_offset;
    if (is_whole(start, column, elements, columns)) {
        const floatv gradient = vloadv(0, gamma + column) * vloadv(0, dy + start);
        vstorev(accumulate ? vloadv(0, dz + start) + gradient : gradient, 0, dz + start);
        return;
    }
    for (uint i = start; i < min(start + VECTOR_WIDTH, elements); i++)
        dz[i] = accumulate ? dz[i] + gamma[i % columns] * dy[i] : gamma[i % columns] * dy[i];
}

/* The first stage of the gradient of gamma: partial [chunks, columns] receives the sums of dy z over each chunk of
 * `rows_per_chunk` rows. Dimension 0: vectors of columns. Dimension 1: chunk. */
__kernel void layer_scale_gamma(__global float *partial, const uint partial_offset, __global const float *dy,
                                const uint dy_offset, __global const float *z, const uint z_offset, const uint rows,
                                const uint columns, const uint rows_per_chunk)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, chunk = get_global_id(1);
    const uint first_row = chunk * rows_per_chunk;
    if (column >= columns || first_row >= rows) return;
    const uint count = min(rows_per_chunk, rows - first_row);
    dy += dy_offset + (size_t)first_row * columns;
    z += z_offset + (size_t)first_row * columns;
    partial += partial_offset + (size_t)chunk * columns;
    if (column + VECTOR_WIDTH <= columns) {
        floatv sum = (floatv)(0.0f);
        for (uint i = 0; i < count; i++)
            sum = multiply_add(vloadv(0, dy + (size_t)i * columns + column),
                               vloadv(0, z + (size_t)i * columns + column), sum);
        vstorev(sum, 0, partial + column);
        return;
    }
    for (uint j = column; j < columns; j++) {
        float sum = 0.0f;
        for (uint i = 0; i < count; i++)
            sum = multiply_add(dy[(size_t)i * columns + j], z[(size_t)i * columns + j], sum);
        partial[j] = sum;
    }
}

/* y = x + z: a branch without LayerScale. */
__kernel void layer_scale_sum(__global float *y, const uint y_offset, __global const float *x, const uint x_offset,
                              __global const float *z, const uint z_offset, const uint elements)
{
    const uint start = VECTOR_START;
    y += y_offset;
    x += x_offset;
    z += z_offset;
    if (start + VECTOR_WIDTH <= elements) {
        vstorev(vloadv(0, x + start) + vloadv(0, z + start), 0, y + start);
        return;
    }
    for (uint i = start; i < elements; i++) y[i] = x[i] + z[i];
}

/* dx = dy, added to what dx holds if accumulate is 1: the gradient of what enters the sum as it is. */
__kernel void layer_scale_residual(__global float *dx, const uint dx_offset, __global const float *dy,
                                   const uint dy_offset, const uint accumulate, const uint elements)
{
    const uint start = VECTOR_START;
    dx += dx_offset;
    dy += dy_offset;
    if (start + VECTOR_WIDTH <= elements) {
        vstorev(accumulate ? vloadv(0, dx + start) + vloadv(0, dy + start) : vloadv(0, dy + start), 0, dx + start);
        return;
    }
    for (uint i = start; i < elements; i++) dx[i] = accumulate ? dx[i] + dy[i] : dy[i];
}
