/* What all kernels share. OpenCL C 1.2, no extension. Each kernel file includes it first.
 *
 * The host sets the knobs below from what the device is (host/cl/device.h, slad_features); the defaults stand for a
 * device of which nothing is known. */
#ifndef SLAD_COMMON_H
#define SLAD_COMMON_H

/* Floats that a work-item loads and computes with at once: 4, 8 or 16. */
#ifndef VECTOR_WIDTH
#define VECTOR_WIDTH 4
#endif

/* Work-items that share one row in a row reduction: a power of two. 1: a work-item has its row alone; then neither
 * local memory nor barriers are used. Above 1 the work-group is (ROW_LANES, 1, 1). */
#ifndef ROW_LANES
#define ROW_LANES 1
#endif

/* 1: fma() is one fast instruction. 0: it may be emulated in integers, and must not be used. */
#ifndef HAS_FMA
#define HAS_FMA 0
#endif

/* Stands for minus infinity in masked attention scores and running maxima: infinities are not safe everywhere. */
#define MASKED_SCORE (-1.0e30f)

/* floatv: a vector of VECTOR_WIDTH floats; vloadv and vstorev as vloadn and vstoren: the offset counts vectors, and the
 * address needs the alignment of a float only. */
#if VECTOR_WIDTH == 16
typedef float16 floatv;
#define vloadv  vload16
#define vstorev vstore16
#elif VECTOR_WIDTH == 8
typedef float8 floatv;
#define vloadv  vload8
#define vstorev vstore8
#elif VECTOR_WIDTH == 4
typedef float4 floatv;
#define vloadv  vload4
#define vstorev vstore4
#else
#error "VECTOR_WIDTH must be 4, 8 or 16"
#endif

/* a * b + c for scalars and vectors, in the fastest way that the device has. */
#if HAS_FMA
#define multiply_add(a, b, c) fma(a, b, c)
#else
#define multiply_add(a, b, c) ((a) * (b) + (c))
#endif

/* Sum and maximum of the elements of a vector, always in the same order: halves are combined until one is left. They go
 * through an array, which compilers see through: from .lo, .hi and elements that are combined directly they make
 * shuffles that Oclgrind 21 misreads with --uninitialized (it takes place 12 for undefined, and crashes on undefined
 * places). */
static inline float sum4(float4 v)
{
    float element[4];
    vstore4(v, 0, element);
    return (element[0] + element[2]) + (element[1] + element[3]);
}

static inline float max4(float4 v)
{
    float element[4];
    vstore4(v, 0, element);
    return fmax(fmax(element[0], element[2]), fmax(element[1], element[3]));
}

static inline float horizontal_sum(floatv v)
{
    float element[VECTOR_WIDTH];
    vstorev(v, 0, element);
#if VECTOR_WIDTH == 16
    return sum4((vload4(0, element) + vload4(2, element)) + (vload4(1, element) + vload4(3, element)));
#elif VECTOR_WIDTH == 8
    return sum4(vload4(0, element) + vload4(1, element));
#else
    return sum4(vload4(0, element));
#endif
}

static inline float horizontal_max(floatv v)
{
    float element[VECTOR_WIDTH];
    vstorev(v, 0, element);
#if VECTOR_WIDTH == 16
    return max4(fmax(fmax(vload4(0, element), vload4(2, element)), fmax(vload4(1, element), vload4(3, element))));
#elif VECTOR_WIDTH == 8
    return max4(fmax(vload4(0, element), vload4(1, element)));
#else
    return max4(vload4(0, element));
#endif
}

/* The vector at x, of which only the first `count` elements are there; the others are 0. A count of VECTOR_WIDTH or more
 * is a whole vector. */
static inline floatv load_part(__global const float *x, const uint count)
{
    if (count >= VECTOR_WIDTH) return vloadv(0, x);
    float part[VECTOR_WIDTH];
    for (uint k = 0; k < VECTOR_WIDTH; k++) part[k] = k < count ? x[k] : 0.0f;
    return vloadv(0, part);
}

static inline void store_part(floatv value, __global float *y, const uint count)
{
    if (count >= VECTOR_WIDTH) {
        vstorev(value, 0, y);
        return;
    }
    float part[VECTOR_WIDTH];
    vstorev(value, 0, part);
    for (uint k = 0; k < count; k++) y[k] = part[k];
}

/* False for NaN and the infinities, whatever the compiler assumes about them: it looks at the exponent's bits. */
static inline int is_finite(float x)
{
    return (as_uint(x) & 0x7f800000u) != 0x7f800000u;
}

/* How a function is declared that reaches a barrier or asks for ids of its work-item, itself or through another one.
 * PoCL 3.1 makes loops over work-items of what it has inlined; a function that it leaves out of line (one with a
 * barrier two calls deep, called twice) shares its ids between threads, and gives wrong results now and then. */
#define GROUP_FUNCTION static inline __attribute__((always_inline))

/* Row reductions. A kernel with the work rule ROWS gives each row to ROW_LANES work-items; lane ROW_LANE takes the
 * row's elements ROW_LANE, ROW_LANE + ROW_LANES, ... and then all lanes call row_sum or row_max with their part and get
 * the whole. The tree has a fixed order. All lanes must reach the call: no return before it, and rows that do not exist
 * are worked with harmless values. `scratch` is declared once a kernel, and may be used for any number of reductions:
 *
 *     __kernel void example(...)
 *     {
 *         ROW_SCRATCH(scratch);
 *         const float total = row_sum(part, scratch);
 */
#if ROW_LANES > 1
#define ROW_LANE          row_lane()
#define ROW_SCRATCH(name) __local float name[ROW_LANES]

GROUP_FUNCTION uint row_lane(void)
{
    return (uint)get_local_id(0);
}

GROUP_FUNCTION float row_sum(float part, __local float *scratch)
{
    const uint lane = ROW_LANE;
    scratch[lane] = part;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint half_count = ROW_LANES / 2; half_count > 0; half_count /= 2) {
        if (lane < half_count) scratch[lane] += scratch[lane + half_count];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const float whole = scratch[0];
    barrier(CLK_LOCAL_MEM_FENCE); /* before the next reduction overwrites it */
    return whole;
}

GROUP_FUNCTION float row_max(float part, __local float *scratch)
{
    const uint lane = ROW_LANE;
    scratch[lane] = part;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint half_count = ROW_LANES / 2; half_count > 0; half_count /= 2) {
        if (lane < half_count) scratch[lane] = fmax(scratch[lane], scratch[lane + half_count]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const float whole = scratch[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return whole;
}
#else
#define ROW_LANE row_lane()
#define ROW_SCRATCH(name)
#define row_sum(part, scratch) (part)
#define row_max(part, scratch) (part)

/* A function, because compilers warn of conditions on a constant 0. */
GROUP_FUNCTION uint row_lane(void)
{
    return 0;
}
#endif

#endif
