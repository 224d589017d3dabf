/* The device's peak of fused (or separate) multiply and add, measured: what GFLOP/s are a fraction of. */
#ifndef SLAD_BENCH_PEAK_H
#define SLAD_BENCH_PEAK_H

#include "cl/device.h"

enum { BENCH_PEAK_KERNELS = 3 };

typedef struct bench_peak {
    slad_device *device;
    cl_program program;
    cl_kernel kernels[BENCH_PEAK_KERNELS]; /* with unlike numbers of independent chains */
    unsigned chains[BENCH_PEAK_KERNELS];
    cl_mem sink;
    uint64_t sink_bytes;
    size_t items;
    double best; /* GFLOP/s, over all measurements so far */
} bench_peak;

/* Compiles chains of multiply-adds over vectors of the device's width, each chain independent of the others. */
slad_status bench_peak_create(slad_device *device, bench_peak *peak);
void bench_peak_free(bench_peak *peak);

/* Measures each kernel once for about `seconds` in all and raises peak->best. */
slad_status bench_peak_measure(bench_peak *peak, double seconds);

#endif
