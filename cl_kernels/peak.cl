/* What a device can do at most, for benchmarks (host/cl/peak.h); no step launches these. */
#include "common.h"

/* Independent chains of multiply-adds that a work-item keeps going. */
#ifndef CHAINS
#define CHAINS 8
#endif

/* Each chain is `steps` multiply-adds of a vector; the sums go to sink, so that no compiler leaves them out. */
__kernel void peak_multiply_add(__global float *sink, const uint sink_offset, const float factor, const float term,
                                const uint steps)
{
    floatv chain[CHAINS], total = (floatv)(0.0f);
#pragma unroll
    for (uint i = 0; i < CHAINS; i++) chain[i] = (floatv)((float)i);
    for (uint step = 0; step < steps; step++) {
#pragma unroll
        for (uint i = 0; i < CHAINS; i++) chain[i] = multiply_add(chain[i], (floatv)(factor), (floatv)(term));
    }
#pragma unroll
    for (uint i = 0; i < CHAINS; i++) total += chain[i];
    vstorev(total, get_global_id(0), sink + sink_offset);
}

/* z = x + factor * y over so many vectors: two reads and a write. */
__kernel void peak_triad(__global float *restrict z, const uint z_offset, __global const float *restrict x,
                         const uint x_offset, __global const float *restrict y, const uint y_offset, const float factor,
                         const uint vectors)
{
    const uint i = (uint)get_global_id(0);
    if (i >= vectors) return;
    vstorev(multiply_add((floatv)(factor), vloadv(i, y + y_offset), vloadv(i, x + x_offset)), i, z + z_offset);
}

/* What a launch costs by itself: with count 0 nothing is done. */
__kernel void peak_nothing(__global float *sink, const uint sink_offset, const uint count)
{
    const uint i = (uint)get_global_id(0);
    if (i < count) sink[sink_offset + i] = 0.0f;
}
