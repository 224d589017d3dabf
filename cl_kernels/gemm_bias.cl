/* C[rows, columns] = bias[columns] (+ C): what a GEMM without a bias of its own is told to add to. */
#include "common.h"

/* Dimension 0: vectors of columns; dimension 1: rows. */
__kernel void gemm_bias(__global float *c, uint c_offset, __global const float *bias, uint bias_offset, uint rows,
                        uint columns, uint c_stride, uint accumulate)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, row = (uint)get_global_id(1);
    if (column >= columns || row >= rows) return;
    c += c_offset + (size_t)row * c_stride + column;
    bias += bias_offset + column;
    if (column + VECTOR_WIDTH <= columns) {
        floatv sum = vloadv(0, bias);
        if (accumulate) sum += vloadv(0, c);
        vstorev(sum, 0, c);
        return;
    }
    for (uint i = 0; column + i < columns; i++) c[i] = accumulate ? c[i] + bias[i] : bias[i];
}
