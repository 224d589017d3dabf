/* How fast slad is on a device: kernels against the device's measured peaks, whole steps of training and inference. */
#ifndef SLAD_BENCH_H
#define SLAD_BENCH_H

#include "slad/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct slad_bench_options {
    /* Encoders, whose kernels are measured, and with them training and inference of whole models; both NULL: the
     * kernels of ViT-B/14 and ViT-S/14. teacher alone may be NULL: the student is trained alone then. */
    const char *teacher, *student;
    uint32_t batch, image_size; /* 0: 8 images of 224 px */
    uint32_t repetitions;       /* of each measurement, after a warm-up; 0: 5, which is the least */
    double turn_seconds;        /* a kernel is repeated for so long in each repetition; 0: 0.05 */
    double max_seconds;         /* what has not begun by then is left out and counted; 0: no limit */
    bool processor_time; /* rates of the processor time that this process got, for CPU devices on busy machines */
} slad_bench_options;

/* Texts, owned: slad_bench_result_free. */
typedef struct slad_bench_result {
    char *markdown; /* tables */
    /* slad, platform, device, driver, compute_units, gemm, time, repetitions, batch, image_size; peak: gflops,
     * gb_per_s; launch: us, round_trip_us; kernels: name, its sizes, us, gflops, of_peak, gb_per_s, of_bandwidth;
     * models: name, ms, images_per_s, gflops, of_peak, device_bytes, peak_resident_bytes; left_out. What was measured
     * several times is an object: median, least, greatest, count. */
    char *json;
} slad_bench_result;

/* Measures. A rate is that of the median time. Errors: SLAD_ERROR_USAGE (a range; processor time on a device that is no
 * CPU); those of slad_encoder_open and slad_trainer_create; SLAD_ERROR_INTERRUPTED. */
SLAD_API slad_status slad_bench(slad_context *context, slad_device *device, slad_bench_result *result,
                                const slad_bench_options *options);
SLAD_API void slad_bench_result_free(slad_bench_result *result);

#ifdef __cplusplus
}
#endif
#endif
