/* A position table resized to another grid, and its gradient: products with one small matrix an axis. The gradient is the
 * same with both matrices transposed, so that everything is gathered, in a fixed order. */
#include "common.h"

/* result[o, n, i] = the sum over k of matrix[n, k] x[o, k, i], added to what result holds if accumulate is 1. result
 * [outer, n_count, inner], x [outer, k_count, inner]; the matrix has strides, so that it may be read transposed. Most of
 * it is 0: an interpolation has a few taps. Dimension 0: vectors of inner. Dimension 1: n. Dimension 2: outer. */
__kernel void position_interpolation_axis(__global float *result, const uint result_offset, __global const float *x,
                                          const uint x_offset, __global const float *matrix, const uint matrix_offset,
                                          const uint accumulate, const uint outer, const uint n_count,
                                          const uint k_count, const uint inner, const uint n_stride,
                                          const uint k_stride)
{
    const uint start = (uint)get_global_id(0) * VECTOR_WIDTH, n = get_global_id(1), o = get_global_id(2);
    if (start >= inner || n >= n_count || o >= outer) return;
    const uint count = inner - start;
    result += result_offset + ((size_t)o * n_count + n) * inner + start;
    x += x_offset + (size_t)o * k_count * inner + start;
    matrix += matrix_offset + (size_t)n * n_stride;
    floatv sum = (floatv)(0.0f);
    for (uint k = 0; k < k_count; k++) {
        const float weight = matrix[(size_t)k * k_stride];
        if (weight != 0.0f) sum = multiply_add((floatv)(weight), load_part(x + (size_t)k * inner, count), sum);
    }
    if (accumulate) sum += load_part(result, count);
    store_part(sum, result, count);
}

/* The first row, which belongs to the class token: as it is, added to what target holds if accumulate is 1. Dimension 0:
 * vectors of columns. */
__kernel void position_interpolation_first(__global float *target, const uint target_offset,
                                           __global const float *source, const uint source_offset,
                                           const uint accumulate, const uint columns)
{
    const uint start = (uint)get_global_id(0) * VECTOR_WIDTH;
    if (start >= columns) return;
    const uint count = columns - start;
    target += target_offset + start;
    floatv value = load_part(source + source_offset + start, count);
    if (accumulate) value += load_part(target, count);
    store_part(value, target, count);
}
