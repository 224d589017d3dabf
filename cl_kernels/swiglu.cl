/* SwiGLU: v = silu(u1) u2 with silu(a) = a s(a), s(a) = 1 / (1 + exp(-a)), and its gradients
 *     du1 = dv u2 s(u1) (1 + u1 (1 - s(u1))),   du2 = dv silu(u1).
 * A row of x [rows, 2 columns] holds u1 and then u2. Dimension 0: vectors of a row of v. Dimension 1: row. */
#include "common.h"

/* exp(-a), from which come s = 1 / (1 + e) and, without cancelling, 1 - s = e s. Below a = -80, where s is less than
 * 2e-35, it stays what it is there: no infinity comes up. */
static inline floatv negative_exponential(floatv a)
{
    return exp(fmin(-a, (floatv)(80.0f)));
}

__kernel void swiglu_forward(__global float *v, const uint v_offset, __global const float *x, const uint x_offset,
                             const uint rows, const uint columns)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, row = get_global_id(1);
    if (column >= columns || row >= rows) return;
    const uint count = columns - column;
    v += v_offset + (size_t)row * columns + column;
    x += x_offset + (size_t)row * 2 * columns + column;
    const floatv u1 = load_part(x, count);
    store_part(u1 / (1.0f + negative_exponential(u1)) * load_part(x + columns, count), v, count);
}

/* dx is added to if accumulate is 1. */
__kernel void swiglu_backward(__global float *dx, const uint dx_offset, __global const float *dv, const uint dv_offset,
                              __global const float *x, const uint x_offset, const uint accumulate, const uint rows,
                              const uint columns)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, row = get_global_id(1);
    if (column >= columns || row >= rows) return;
    const uint count = columns - column;
    dx += dx_offset + (size_t)row * 2 * columns + column;
    dv += dv_offset + (size_t)row * columns + column;
    x += x_offset + (size_t)row * 2 * columns + column;
    const floatv gradient = load_part(dv, count), u1 = load_part(x, count), u2 = load_part(x + columns, count);
    const floatv e = negative_exponential(u1), s = 1.0f / (1.0f + e);
    floatv du1 = gradient * u2 * s * multiply_add(u1, e * s, (floatv)(1.0f)), du2 = gradient * u1 * s;
    if (accumulate) {
        du1 += load_part(dx, count);
        du2 += load_part(dx + columns, count);
    }
    store_part(du1, dx, count);
    store_part(du2, dx + columns, count);
}
