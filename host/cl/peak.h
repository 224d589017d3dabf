/* The device's peaks, measured: what a kernel's GFLOP/s and GB/s are a fraction of; and what a launch costs. */
#ifndef SLAD_CL_PEAK_H
#define SLAD_CL_PEAK_H

#include "base/rates.h"
#include "cl/launch.h"

enum { SLAD_PEAK_KERNELS = 3 };

/* The peak of multiply and add, fused where that is fast: independent chains over vectors of the device's width. */
typedef struct slad_peak {
    slad_device *device;
    slad_launch launches[SLAD_PEAK_KERNELS]; /* with unlike numbers of independent chains */
    cl_mem sink;
    uint64_t sink_bytes;
    size_t items;
    bool processor_time;
    slad_rates rates[SLAD_PEAK_KERNELS]; /* GFLOP/s */
    double best; /* GFLOP/s: so far the best kernel's best rate, or, of processor time, its median */
} slad_peak;

/* The time now, in seconds. processor_time: of the processors that this process had, divided by the device's compute
 * units, so that a CPU device that is kept busy is timed as if the process had the machine alone. The system may book
 * the last milliseconds of a thread late: medians over turns of 50 ms or more are what to look at then. */
double slad_peak_seconds(const slad_device *device, bool processor_time);

/* Free with slad_peak_free, also after an error. Errors: SLAD_ERROR_BUILD, SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_peak_create(slad_device *device, slad_peak *peak, bool processor_time);
void slad_peak_free(slad_peak *peak);
/* Measures each kernel once, for about `seconds` each, and sets peak->best. */
slad_status slad_peak_measure(slad_peak *peak, double seconds);

/* GB/s of z = x + factor y over vectors that no cache holds, each byte counted once, `repetitions` turns of about
 * `turn_seconds`. */
slad_status slad_peak_bandwidth(slad_device *device, slad_measured *rates, size_t repetitions, double turn_seconds,
                                bool processor_time);
/* Seconds that a launch of a kernel that does nothing takes: of many behind one another, and (round_trip) of one that
 * is waited for. */
slad_status slad_peak_launch_cost(slad_device *device, slad_measured *launch, slad_measured *round_trip,
                                  size_t repetitions, bool processor_time);

#endif
