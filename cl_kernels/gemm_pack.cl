/* Packs a layer's weight for the GEMM, with a low-rank adapter merged into it:
 *
 *     merged[o, i] = W[o, i] + scale * sum_r lora_B[o, r] lora_A[r, i]
 *
 * becomes B[k, n] with k = i, n = o, or, transposed, k = o, n = i, and B[k, n] lies at
 * (n / panel) * depth * panel + k * panel + n % panel. The last panel is filled up with zeros.
 *
 * A launch works on the rows o of one window, first_row .. first_row + rows - 1, which are those that its adapter
 * adapts; a weight with several adapters is packed by several launches. */
#include "common.h"

/* Rows o of the weight that a work-item takes at once, by VECTOR_WIDTH columns i. */
#define PACK_ROWS 8

/* Where things lie; in elements. */
typedef struct pack_sizes {
    uint rank, a_stride, first_row, block_rows, b_block_stride, b_row_stride;
} pack_sizes;

/* Remainders are written as subtractions throughout: for a division beside a remainder compilers make an instruction
 * that Oclgrind 21 does not know. */
static inline uint up_offset(const pack_sizes *sizes, uint o)
{
    const uint row = o - sizes->first_row, block = row / sizes->block_rows;
    return block * sizes->b_block_stride + (row - block * sizes->block_rows) * sizes->b_row_stride;
}

/* Where B[k, n] lies. */
static inline size_t packed_index(uint k, uint n, uint depth, uint panel)
{
    const uint index = n / panel;
    return ((size_t)index * depth + k) * panel + (n - index * panel);
}

/* What the adapter adds to one element of the window. */
static inline float adapter_element(__global const float *lora_a, __global const float *lora_b, const pack_sizes *sizes,
                                    uint o, uint i)
{
    __global const float *up = lora_b + up_offset(sizes, o);
    float delta = 0.0f;
    for (uint r = 0; r < sizes->rank; r++) delta = multiply_add(up[r], lora_a[r * sizes->a_stride + i], delta);
    return delta;
}

/* PACK_ROWS x VECTOR_WIDTH elements of what the adapter adds. */
static inline void adapter_block(floatv *value, __global const float *lora_a, __global const float *lora_b,
                                 const pack_sizes *sizes, uint first_o, uint first_i)
{
    uint up[PACK_ROWS];
#pragma unroll
    for (uint j = 0; j < PACK_ROWS; j++) {
        value[j] = (floatv)(0.0f);
        up[j] = up_offset(sizes, first_o + j);
    }
    for (uint r = 0; r < sizes->rank; r++) {
        const floatv down = vloadv(0, lora_a + r * sizes->a_stride + first_i);
#pragma unroll
        for (uint j = 0; j < PACK_ROWS; j++) value[j] = multiply_add((floatv)(lora_b[up[j] + r]), down, value[j]);
    }
}

/* Whether the block at (first_o, first_i) lies inside weight and window, and its place in B inside one panel. */
static inline int is_whole(uint first_o, uint first_i, uint end_row, uint in, uint transposed, uint panel)
{
    const uint first_n = transposed ? first_i : first_o, run = transposed ? VECTOR_WIDTH : PACK_ROWS;
    return first_i + VECTOR_WIDTH <= in && first_o + PACK_ROWS <= end_row &&
           first_n / panel == (first_n + run - 1) / panel;
}

/* Dimension 0: vectors of columns i; dimension 1: groups of PACK_ROWS rows o of the window. Both cover the weight as
 * filled up to whole panels: `columns` of B is `filled` then, and the other size is as it is; rows that fill up belong to
 * the window that ends with the weight. */
__kernel void gemm_pack(__global float *restrict packed, uint packed_offset, __global const float *restrict weight,
                        uint weight_offset, __global const float *restrict lora_a, uint lora_a_offset,
                        __global const float *restrict lora_b, uint lora_b_offset, uint out, uint in, uint panel,
                        uint transposed, uint first_row, uint rows, uint rank, uint a_stride, uint block_rows,
                        uint b_block_stride, uint b_row_stride, float scale)
{
    const pack_sizes sizes = {rank, a_stride, first_row, block_rows, b_block_stride, b_row_stride};
    const uint first_i = (uint)get_global_id(0) * VECTOR_WIDTH;
    const uint first_o = first_row + (uint)get_global_id(1) * PACK_ROWS;
    const uint depth = transposed ? out : in, columns = transposed ? in : out, end_row = first_row + rows;
    const uint filled = (columns + panel - 1) / panel * panel;
    const uint end_i = transposed ? filled : in, end_o = transposed || end_row < out ? end_row : filled;
    if (first_i >= end_i || first_o >= end_o) return;
    packed += packed_offset;
    weight += weight_offset;
    lora_a += lora_a_offset;
    lora_b += lora_b_offset;

    if (!is_whole(first_o, first_i, end_row, in, transposed, panel)) {
        for (uint o = first_o; o < min(first_o + PACK_ROWS, end_o); o++) {
            for (uint i = first_i; i < min(first_i + VECTOR_WIDTH, end_i); i++) {
                const uint n = transposed ? i : o, k = transposed ? o : i;
                float value = 0.0f;
                if (o < end_row && i < in)
                    value =
                        multiply_add(scale, adapter_element(lora_a, lora_b, &sizes, o, i), weight[(size_t)o * in + i]);
                packed[packed_index(k, n, depth, panel)] = value;
            }
        }
        return;
    }

    floatv value[PACK_ROWS];
    adapter_block(value, lora_a, lora_b, &sizes, first_o, first_i);
#pragma unroll
    for (uint j = 0; j < PACK_ROWS; j++)
        value[j] = multiply_add((floatv)(scale), value[j], vloadv(0, weight + (size_t)(first_o + j) * in + first_i));
    packed += packed_index(transposed ? first_o : first_i, transposed ? first_i : first_o, depth, panel);
    if (transposed) {
#pragma unroll
        for (uint j = 0; j < PACK_ROWS; j++) vstorev(value[j], 0, packed + j * panel);
    } else {
        float element[PACK_ROWS][VECTOR_WIDTH];
#pragma unroll
        for (uint j = 0; j < PACK_ROWS; j++) vstorev(value[j], 0, element[j]);
#pragma unroll
        for (uint i = 0; i < VECTOR_WIDTH; i++) {
#pragma unroll
            for (uint j = 0; j < PACK_ROWS; j++) packed[i * panel + j] = element[j][i];
        }
    }
}

/* The same for a window that was packed before: adds what one more adapter gives. */
__kernel void gemm_pack_add(__global float *restrict packed, uint packed_offset, __global const float *restrict lora_a,
                            uint lora_a_offset, __global const float *restrict lora_b, uint lora_b_offset, uint out,
                            uint in, uint panel, uint transposed, uint first_row, uint rows, uint rank, uint a_stride,
                            uint block_rows, uint b_block_stride, uint b_row_stride, float scale)
{
    const pack_sizes sizes = {rank, a_stride, first_row, block_rows, b_block_stride, b_row_stride};
    const uint first_i = (uint)get_global_id(0) * VECTOR_WIDTH;
    const uint first_o = first_row + (uint)get_global_id(1) * PACK_ROWS;
    const uint depth = transposed ? out : in, end_row = first_row + rows;
    if (first_i >= in || first_o >= end_row) return;
    packed += packed_offset;
    lora_a += lora_a_offset;
    lora_b += lora_b_offset;

    if (!is_whole(first_o, first_i, end_row, in, transposed, panel)) {
        for (uint o = first_o; o < min(first_o + PACK_ROWS, end_row); o++) {
            for (uint i = first_i; i < min(first_i + VECTOR_WIDTH, in); i++) {
                __global float *place = packed + packed_index(transposed ? o : i, transposed ? i : o, depth, panel);
                *place = multiply_add(scale, adapter_element(lora_a, lora_b, &sizes, o, i), *place);
            }
        }
        return;
    }

    floatv value[PACK_ROWS];
    adapter_block(value, lora_a, lora_b, &sizes, first_o, first_i);
    packed += packed_index(transposed ? first_o : first_i, transposed ? first_i : first_o, depth, panel);
    if (transposed) {
#pragma unroll
        for (uint j = 0; j < PACK_ROWS; j++)
            vstorev(multiply_add((floatv)(scale), value[j], vloadv(0, packed + j * panel)), 0, packed + j * panel);
    } else {
        float element[PACK_ROWS][VECTOR_WIDTH];
#pragma unroll
        for (uint j = 0; j < PACK_ROWS; j++) vstorev(value[j], 0, element[j]);
#pragma unroll
        for (uint i = 0; i < VECTOR_WIDTH; i++) {
#pragma unroll
            for (uint j = 0; j < PACK_ROWS; j++)
                packed[i * panel + j] = multiply_add(scale, element[j][i], packed[i * panel + j]);
        }
    }
}
