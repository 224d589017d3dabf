/* The device's peak of fused (or separate) multiply and add, measured: what GFLOP/s are a fraction of. */
#ifndef SLAD_BENCH_PEAK_H
#define SLAD_BENCH_PEAK_H

#include "cl/device.h"

enum { BENCH_PEAK_KERNELS = 3, BENCH_MAX_RATES = 1024 };

/* The rates of repeated measurements. */
typedef struct bench_rates {
    double all[BENCH_MAX_RATES];
    size_t count;
} bench_rates;

/* Adds a rate, or nothing when there is no more room. */
void bench_rates_add(bench_rates *rates, double rate);
/* 0 if there are none. */
double bench_rates_best(const bench_rates *rates);
double bench_rates_median(const bench_rates *rates);

typedef struct bench_peak {
    slad_device *device;
    cl_program program;
    cl_kernel kernels[BENCH_PEAK_KERNELS]; /* with unlike numbers of independent chains */
    unsigned chains[BENCH_PEAK_KERNELS];
    cl_mem sink;
    uint64_t sink_bytes;
    size_t items;
    bool cpu_time;
    bench_rates rates[BENCH_PEAK_KERNELS]; /* GFLOP/s */
    double best; /* GFLOP/s: so far the best kernel's best rate, or, of processor time, its median */
} bench_peak;

/* The time now, in seconds. cpu_time: of the processors that this process had, divided by the device's compute units,
 * so that a CPU device that is kept busy is timed as if the process had the machine alone. The system may book the last
 * milliseconds of a thread late: medians over turns of 50 ms or more are what to look at then. */
double bench_seconds(const slad_device *device, bool cpu_time);

/* Compiles chains of multiply-adds over vectors of the device's width, each chain independent of the others. */
slad_status bench_peak_create(slad_device *device, bench_peak *peak, bool cpu_time);
void bench_peak_free(bench_peak *peak);

/* Measures each kernel once, for about `seconds` each, and sets peak->best. */
slad_status bench_peak_measure(bench_peak *peak, double seconds);

#endif
