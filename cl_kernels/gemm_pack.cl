/* Packs a layer's weight for the GEMM, with a low-rank adapter merged into it:
 *
 *     merged[o, i] = W[o, i] + scale * sum_r lora_B[o, r] lora_A[r, i]
 *
 * becomes B[k, n] with k = i, n = o, or, transposed, k = o, n = i, and B[k, n] lies at
 * (n / panel) * depth * panel + k * panel + n % panel. The last panel is filled up with zeros. */
#include "common.h"

/* Rows o of the weight that a work-item takes at once, by VECTOR_WIDTH columns i. */
#define PACK_ROWS 8

/* Where things lie; in elements. */
typedef struct pack_sizes {
    uint out, in, rank, a_stride, block_rows, b_block_stride, b_row_stride;
} pack_sizes;

/* Remainders are written as subtractions throughout: for a division beside a remainder compilers make an instruction
 * that Oclgrind 21 does not know. */
static inline uint up_offset(const pack_sizes *sizes, uint o)
{
    const uint block = o / sizes->block_rows;
    return block * sizes->b_block_stride + (o - block * sizes->block_rows) * sizes->b_row_stride;
}

/* Where B[k, n] lies. */
static inline size_t packed_index(uint k, uint n, uint depth, uint panel)
{
    const uint index = n / panel;
    return ((size_t)index * depth + k) * panel + (n - index * panel);
}

/* One element, 0 outside the weight. */
static inline float merged_element(__global const float *weight, __global const float *lora_a,
                                   __global const float *lora_b, const pack_sizes *sizes, float scale, uint o, uint i)
{
    if (o >= sizes->out || i >= sizes->in) return 0.0f;
    __global const float *up = lora_b + up_offset(sizes, o);
    float delta = 0.0f;
    for (uint r = 0; r < sizes->rank; r++) delta = multiply_add(up[r], lora_a[r * sizes->a_stride + i], delta);
    return multiply_add(scale, delta, weight[(size_t)o * sizes->in + i]);
}

/* Dimension 0: vectors of columns i; dimension 1: groups of PACK_ROWS rows o. Both cover the weight as filled up to
 * whole panels: `columns` of B is `filled` then, and the other size is as it is. */
__kernel void gemm_pack(__global float *restrict packed, uint packed_offset, __global const float *restrict weight,
                        uint weight_offset, __global const float *restrict lora_a, uint lora_a_offset,
                        __global const float *restrict lora_b, uint lora_b_offset, uint out, uint in, uint panel,
                        uint transposed, uint rank, uint a_stride, uint block_rows, uint b_block_stride,
                        uint b_row_stride, float scale)
{
    const pack_sizes sizes = {out, in, rank, a_stride, block_rows, b_block_stride, b_row_stride};
    const uint first_i = (uint)get_global_id(0) * VECTOR_WIDTH, first_o = (uint)get_global_id(1) * PACK_ROWS;
    const uint depth = transposed ? out : in, columns = transposed ? in : out;
    const uint filled = (columns + panel - 1) / panel * panel;
    const uint end_i = transposed ? filled : in, end_o = transposed ? out : filled;
    if (first_i >= end_i || first_o >= end_o) return;
    packed += packed_offset;
    weight += weight_offset;
    lora_a += lora_a_offset;
    lora_b += lora_b_offset;

    const uint first_n = transposed ? first_i : first_o, first_k = transposed ? first_o : first_i;
    const uint run = transposed ? VECTOR_WIDTH : PACK_ROWS;
    const int whole = first_i + VECTOR_WIDTH <= in && first_o + PACK_ROWS <= out && first_n / panel == (first_n + run - 1) / panel;
    if (!whole) {
        for (uint o = first_o; o < min(first_o + PACK_ROWS, end_o); o++) {
            for (uint i = first_i; i < min(first_i + VECTOR_WIDTH, end_i); i++) {
                const uint n = transposed ? i : o, k = transposed ? o : i;
                packed[packed_index(k, n, depth, panel)] =
                    merged_element(weight, lora_a, lora_b, &sizes, scale, o, i);
            }
        }
        return;
    }

    floatv value[PACK_ROWS];
    uint up[PACK_ROWS];
#pragma unroll
    for (uint j = 0; j < PACK_ROWS; j++) {
        value[j] = (floatv)(0.0f);
        up[j] = up_offset(&sizes, first_o + j);
    }
    for (uint r = 0; r < rank; r++) {
        const floatv down = vloadv(0, lora_a + r * a_stride + first_i);
#pragma unroll
        for (uint j = 0; j < PACK_ROWS; j++) value[j] = multiply_add((floatv)(lora_b[up[j] + r]), down, value[j]);
    }
#pragma unroll
    for (uint j = 0; j < PACK_ROWS; j++) {
        value[j] = multiply_add((floatv)(scale), value[j], vloadv(0, weight + (size_t)(first_o + j) * in + first_i));
    }
    packed += packed_index(first_k, first_n, depth, panel);
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
