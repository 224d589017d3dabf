/* The device's maths functions over given inputs, for `slad devices`. The five functions have a row of `count` inputs
 * and of `count` results each, in the order exp, log, erf, rsqrt, tanh: results[f][i] = function f of inputs[f][i]. */
#include "common.h"

__kernel void maths_probe(__global float *results, const uint results_offset, __global const float *inputs,
                          const uint inputs_offset, const uint count)
{
    const uint i = (uint)get_global_id(0);
    if (i >= count) return;
    __global const float *x = inputs + inputs_offset + i;
    __global float *y = results + results_offset + i;
    y[0 * count] = exp(x[0 * count]);
    y[1 * count] = log(x[1 * count]);
    y[2 * count] = erf(x[2 * count]);
    y[3 * count] = rsqrt(x[3 * count]);
    y[4 * count] = tanh(x[4 * count]);
}
