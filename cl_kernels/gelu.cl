/* GELU, exact: v = u Phi(u), and its gradient du = dv (Phi(u) + u phi(u)), with phi and Phi the density and the
 * distribution function of the standard normal distribution.
 *
 * Both are computed from a = |u| through the upper tail Phi(-a), which does not cancel:
 *     u Phi(u)            = max(u, 0) - a Phi(-a)
 *     Phi(u) + u phi(u)   = s where u < 0, 1 - s elsewhere, with s = Phi(-a) - a phi(a)
 *     Phi(-a)             = phi(a) M(a), M the Mills ratio
 * M is smooth and slow: a polynomial of degree 7 in t = 1 / (1 + 0.26 a) has a relative error below 3.5e-7 for all
 * a <= 14 (minimax, by iteratively reweighted least squares against 40 digits), beyond which phi(a) is 0 in fp32. So
 * the driver's erf is not needed, whose speed and accuracy vary much, and one exponential serves both functions. The
 * error of v and of the slope Phi + u phi stays below 4e-7 for all |u| <= 8; tests/test_gelu.c measures it. */
#include "common.h"

#if VECTOR_WIDTH == 16
#define as_floatv as_float16
#define as_intv   as_int16
#elif VECTOR_WIDTH == 8
#define as_floatv as_float8
#define as_intv   as_int8
#else
#define as_floatv as_float4
#define as_intv   as_int4
#endif

#define INVERSE_ROOT_2_PI 0.3989422804f

/* Adding it to a number below 2^22 in size leaves the nearest integer in the low bits of the sum. */
#define ROUNDING_SHIFT 12582912.0f

/* phi(a) = exp(-a a / 2) / sqrt(2 pi) by 2^(whole + part) with part in [-1/2, 1/2], where Taylor's polynomial of degree
 * 6 of 2^part has a relative error below 2e-7. Powers below 2^-125 stay there, which is as good as 0. */
static inline floatv normal_density(floatv a)
{
    const floatv power = fmax(a * a * -0.7213475204f, (floatv)(-125.0f));
    const floatv shifted = power + ROUNDING_SHIFT;
    const floatv part = power - (shifted - ROUNDING_SHIFT);
    floatv y = (floatv)(1.540353039e-4f);
    y = multiply_add(y, part, (floatv)(1.333355815e-3f));
    y = multiply_add(y, part, (floatv)(9.618129108e-3f));
    y = multiply_add(y, part, (floatv)(5.550410866e-2f));
    y = multiply_add(y, part, (floatv)(2.402265070e-1f));
    y = multiply_add(y, part, (floatv)(6.931471806e-1f));
    y = multiply_add(y, part, (floatv)(1.0f));
    return y * INVERSE_ROOT_2_PI * as_floatv((as_intv(shifted) << 23) + (127 << 23));
}

/* M(a) = Phi(-a) / phi(a) for a >= 0. */
static inline floatv mills_ratio(floatv a)
{
    const floatv t = 1.0f / multiply_add(a, (floatv)(0.26f), (floatv)(1.0f));
    floatv y = (floatv)(-1.93602642e-1f);
    y = multiply_add(y, t, (floatv)(6.17437072e-1f));
    y = multiply_add(y, t, (floatv)(-3.39498242e-1f));
    y = multiply_add(y, t, (floatv)(4.81731062e-1f));
    y = multiply_add(y, t, (floatv)(1.50973194e-1f));
    y = multiply_add(y, t, (floatv)(2.78152716e-1f));
    y = multiply_add(y, t, (floatv)(2.58031107e-1f));
    return multiply_add(y, t, (floatv)(8.94531179e-5f));
}

static inline floatv gelu(floatv u)
{
    const floatv a = fabs(u);
    return fmax(u, (floatv)(0.0f)) - a * (normal_density(a) * mills_ratio(a));
}

static inline floatv gelu_slope(floatv u)
{
    const floatv a = fabs(u);
    const floatv s = normal_density(a) * (mills_ratio(a) - a);
    return select(1.0f - s, s, u < 0.0f);
}

/* Dimension 0: vectors of the tensor. */
__kernel void gelu_forward(__global float *v, const uint v_offset, __global const float *u, const uint u_offset,
                           const uint elements)
{
    const uint start = (uint)get_global_id(0) * VECTOR_WIDTH;
    if (start >= elements) return;
    v += v_offset + start;
    u += u_offset + start;
    if (start + VECTOR_WIDTH <= elements) {
        vstorev(gelu(vloadv(0, u)), 0, v);
    } else {
        store_part(gelu(load_part(u, elements - start)), v, elements - start);
    }
}

/* du is added to if accumulate is 1. Dimension 0: vectors of the tensor. */
__kernel void gelu_backward(__global float *du, const uint du_offset, __global const float *dv, const uint dv_offset,
                            __global const float *u, const uint u_offset, const uint accumulate, const uint elements)
{
    const uint start = (uint)get_global_id(0) * VECTOR_WIDTH;
    if (start >= elements) return;
    du += du_offset + start;
    dv += dv_offset + start;
    u += u_offset + start;
    if (start + VECTOR_WIDTH <= elements) {
        const floatv gradient = vloadv(0, dv) * gelu_slope(vloadv(0, u));
        vstorev(accumulate ? vloadv(0, du) + gradient : gradient, 0, du);
    } else {
        const uint count = elements - start;
        const floatv gradient = load_part(dv, count) * gelu_slope(load_part(u, count));
        store_part(accumulate ? load_part(du, count) + gradient : gradient, du, count);
    }
}
