#include "cl/peak.h"
#include "base/threads.h"
#include <stdio.h>

enum { STEPS = 4096, MOST_REPEATS = 65536, LAUNCHES = 256 };
/* More than any cache holds, where the device has room for it. */
static const uint64_t bandwidth_bytes = UINT64_C(64) << 20;

static const slad_kernel_row multiply_add_row = {
    .file = "peak", .entry = "peak_multiply_add", .arguments = "tffu", .rule = SLAD_WORK_SINGLE};
static const slad_kernel_row triad_row = {
    .file = "peak", .entry = "peak_triad", .arguments = "tttfu", .rule = SLAD_WORK_ITEMS};
static const slad_kernel_row nothing_row = {
    .file = "peak", .entry = "peak_nothing", .arguments = "tu", .rule = SLAD_WORK_ITEMS};
static const unsigned chains[SLAD_PEAK_KERNELS] = {8, 12, 24};

double slad_peak_seconds(const slad_device *device, bool processor_time)
{
    return processor_time ? slad_processor_seconds() / (double)device->info.compute_units : slad_clock_seconds();
}

slad_status slad_peak_create(slad_device *device, slad_peak *peak, bool processor_time)
{
    slad_status status = SLAD_OK;
    const bool is_cpu = device->info.type == SLAD_DEVICE_CPU;
    *peak = (slad_peak){.device = device,
                        .processor_time = processor_time,
                        .items = (size_t)device->info.compute_units * (is_cpu ? 64 : 2048)};
    peak->sink_bytes = peak->items * device->features.vector_width * sizeof(cl_float);
    SLAD_TRY(slad_buffer_create(device, &peak->sink, peak->sink_bytes, "the peak benchmark"));
    for (unsigned i = 0; i < SLAD_PEAK_KERNELS; i++) {
        char defines[32];
        (void)snprintf(defines, sizeof defines, "-DCHAINS=%u", chains[i]);
        const slad_argument arguments[] = {slad_argument_buffer(peak->sink, 0), slad_argument_float(0.999),
                                           slad_argument_float(0.001), slad_argument_uint(STEPS)};
        SLAD_TRY(slad_launch_bind(device, &peak->launches[i], &multiply_add_row, defines, arguments, 4,
                                  (slad_work){.items = {peak->items}, .split_axis = -1}));
    }
cleanup:
    return status;
}

void slad_peak_free(slad_peak *peak)
{
    for (unsigned i = 0; i < SLAD_PEAK_KERNELS; i++) slad_launch_free(&peak->launches[i]);
    if (peak->sink) slad_buffer_free(peak->device, peak->sink, peak->sink_bytes);
    *peak = (slad_peak){0};
}

/* Seconds that `repeats` launches take, waited for at their end. */
static slad_status run_launches(slad_device *device, const slad_launch *launch, size_t repeats, bool processor_time,
                                double *seconds)
{
    slad_status status = SLAD_OK;
    const double start = slad_peak_seconds(device, processor_time);
    for (size_t i = 0; i < repeats; i++) SLAD_TRY(slad_launch_enqueue(device, launch));
    SLAD_TRY(slad_device_finish(device));
    *seconds = slad_peak_seconds(device, processor_time) - start;
cleanup:
    return status;
}

/* Doubles the launches until they fill half of `wanted` seconds; tells how many there were and what they took. */
static slad_status fill_turn(slad_device *device, const slad_launch *launch, bool processor_time, double wanted,
                             size_t *repeats, double *seconds)
{
    slad_status status = SLAD_OK;
    for (*repeats = 1; *repeats < MOST_REPEATS; *repeats *= 2) {
        SLAD_TRY(run_launches(device, launch, *repeats, processor_time, seconds));
        if (*seconds > wanted / 2) break;
    }
cleanup:
    return status;
}

slad_status slad_peak_measure(slad_peak *peak, double seconds)
{
    slad_status status = SLAD_OK;
    const slad_device *device = peak->device;
    for (unsigned i = 0; i < SLAD_PEAK_KERNELS; i++) {
        double taken = 0;
        size_t repeats = 1;
        SLAD_TRY(fill_turn(peak->device, &peak->launches[i], peak->processor_time, seconds, &repeats, &taken));
        const double flops = 2.0 * STEPS * chains[i] * device->features.vector_width * (double)peak->items;
        slad_rates_add(&peak->rates[i], flops * (double)repeats / taken * 1e-9);
    }
    peak->best = 0;
    for (unsigned i = 0; i < SLAD_PEAK_KERNELS; i++) {
        const double rate =
            peak->processor_time ? slad_rates_median(&peak->rates[i]) : slad_rates_best(&peak->rates[i]);
        if (rate > peak->best) peak->best = rate;
    }
cleanup:
    return status;
}

slad_status slad_peak_bandwidth(slad_device *device, slad_measured *rates, size_t repetitions, double turn_seconds,
                                bool processor_time)
{
    slad_status status = SLAD_OK;
    const uint64_t room = device->info.global_memory / 16;
    uint64_t bytes = bandwidth_bytes < room ? bandwidth_bytes : room;
    if (bytes > device->info.max_allocation) bytes = device->info.max_allocation;
    const size_t vectors = (size_t)(bytes / sizeof(float)) / device->features.vector_width;
    cl_mem buffers[3] = {NULL, NULL, NULL};
    slad_launch launch = {0};
    slad_rates all = {.count = 0};
    size_t repeats;
    double seconds = 0;
    for (unsigned i = 0; i < 3; i++)
        SLAD_TRY(slad_buffer_create(device, &buffers[i], bytes, "the bandwidth benchmark"));
    const slad_argument arguments[] = {slad_argument_buffer(buffers[0], 0), slad_argument_buffer(buffers[1], 0),
                                       slad_argument_buffer(buffers[2], 0), slad_argument_float(0.5),
                                       slad_argument_uint(vectors)};
    SLAD_TRY(slad_launch_bind(device, &launch, &triad_row, "", arguments, 5,
                              (slad_work){.items = {vectors}, .split_axis = -1}));
    SLAD_TRY(run_launches(device, &launch, 1, processor_time, &seconds));
    SLAD_TRY(fill_turn(device, &launch, processor_time, 2 * turn_seconds, &repeats, &seconds));
    const double moved = 3e-9 * (double)(vectors * device->features.vector_width * sizeof(float) * repeats);
    for (size_t i = 0; i < repetitions; i++) {
        SLAD_TRY(run_launches(device, &launch, repeats, processor_time, &seconds));
        slad_rates_add(&all, moved / seconds);
    }
    *rates = slad_rates_measured(&all);
cleanup:
    slad_launch_free(&launch);
    for (unsigned i = 0; i < 3; i++) slad_buffer_free(device, buffers[i], bytes);
    return status;
}

slad_status slad_peak_launch_cost(slad_device *device, slad_measured *launch, slad_measured *round_trip,
                                  size_t repetitions, bool processor_time)
{
    slad_status status = SLAD_OK;
    const uint64_t bytes = sizeof(float);
    cl_mem sink = NULL;
    slad_launch nothing = {0};
    slad_rates many = {.count = 0}, waited = {.count = 0};
    double seconds = 0;
    SLAD_TRY(slad_buffer_create(device, &sink, bytes, "the launch benchmark"));
    const slad_argument arguments[] = {slad_argument_buffer(sink, 0), slad_argument_uint(0)};
    SLAD_TRY(slad_launch_bind(device, &nothing, &nothing_row, "", arguments, 2,
                              (slad_work){.items = {1}, .split_axis = -1}));
    SLAD_TRY(run_launches(device, &nothing, LAUNCHES, processor_time, &seconds));
    for (size_t i = 0; i < repetitions; i++) {
        SLAD_TRY(run_launches(device, &nothing, LAUNCHES, processor_time, &seconds));
        slad_rates_add(&many, seconds / LAUNCHES);
        const double start = slad_peak_seconds(device, processor_time);
        for (size_t k = 0; k < LAUNCHES; k++) SLAD_TRY(run_launches(device, &nothing, 1, processor_time, &seconds));
        slad_rates_add(&waited, (slad_peak_seconds(device, processor_time) - start) / LAUNCHES);
    }
    *launch = slad_rates_measured(&many);
    *round_trip = slad_rates_measured(&waited);
cleanup:
    slad_launch_free(&nothing);
    slad_buffer_free(device, sink, bytes);
    return status;
}
