/* See the header. The kernel stands here and not in cl_kernels, because no step launches it. */
#include "peak.h"
#include "base/threads.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STEPS = 4096 };

static const char source[] =
    "#define JOIN_(a, b) a##b\n"
    "#define JOIN(a, b) JOIN_(a, b)\n"
    "typedef JOIN(float, WIDTH) floatv;\n"
    "#if HAS_FMA\n"
    "#define multiply_add(a, b, c) fma(a, b, c)\n"
    "#else\n"
    "#define multiply_add(a, b, c) mad(a, b, c)\n"
    "#endif\n"
    "#define PEAK(name, CHAINS)                                                             \\\n"
    "    __kernel void name(__global float *sink, float factor, float term, uint steps)     \\\n"
    "    {                                                                                  \\\n"
    "        floatv chain[CHAINS], total = (floatv)(0.0f);                                  \\\n"
    "        _Pragma(\"unroll\") for (uint i = 0; i < CHAINS; i++) chain[i] = (floatv)(i);  \\\n"
    "        for (uint step = 0; step < steps; step++) {                                    \\\n"
    "            _Pragma(\"unroll\") for (uint i = 0; i < CHAINS; i++)                      \\\n"
    "                chain[i] = multiply_add(chain[i], (floatv)(factor), (floatv)(term));   \\\n"
    "        }                                                                              \\\n"
    "        _Pragma(\"unroll\") for (uint i = 0; i < CHAINS; i++) total += chain[i];       \\\n"
    "        JOIN(vstore, WIDTH)(total, get_global_id(0), sink);                            \\\n"
    "    }\n"
    "PEAK(peak_8, 8)\n"
    "PEAK(peak_12, 12)\n"
    "PEAK(peak_24, 24)\n";

double bench_seconds(const slad_device *device, bool cpu_time)
{
    if (!cpu_time) return slad_clock_seconds();
    return (double)clock() / CLOCKS_PER_SEC / (double)device->info.compute_units;
}

void bench_rates_add(bench_rates *rates, double rate)
{
    if (rates->count < BENCH_MAX_RATES) rates->all[rates->count++] = rate;
}

static int compare_rates(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The rate at a place of the sorted order. */
static double rate_at(const bench_rates *rates, size_t place)
{
    bench_rates sorted = *rates;
    if (rates->count == 0) return 0;
    qsort(sorted.all, sorted.count, sizeof sorted.all[0], compare_rates);
    return sorted.all[place];
}

double bench_rates_best(const bench_rates *rates)
{
    return rate_at(rates, rates->count - 1);
}

double bench_rates_median(const bench_rates *rates)
{
    return rate_at(rates, rates->count / 2);
}

static slad_status create_kernel(bench_peak *peak, unsigned index, const char *name, unsigned chains)
{
    slad_status status = SLAD_OK;
    slad_device *device = peak->device;
    slad_context *context = device->context;
    const cl_float factor = 0.999f, term = 0.001f;
    const cl_uint steps = STEPS;
    cl_int code = CL_SUCCESS;
    peak->kernels[index] = clCreateKernel(peak->program, name, &code);
    SLAD_FAIL_IF(code != CL_SUCCESS, SLAD_ERROR_BUILD, "the kernel %s could not be made on %s", name,
                 device->info.name);
    peak->chains[index] = chains;
    SLAD_CL_TRY(clSetKernelArg(peak->kernels[index], 0, sizeof(cl_mem), &peak->sink));
    SLAD_CL_TRY(clSetKernelArg(peak->kernels[index], 1, sizeof factor, &factor));
    SLAD_CL_TRY(clSetKernelArg(peak->kernels[index], 2, sizeof term, &term));
    SLAD_CL_TRY(clSetKernelArg(peak->kernels[index], 3, sizeof steps, &steps));
cleanup:
    return status;
}

slad_status bench_peak_create(slad_device *device, bench_peak *peak, bool cpu_time)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    const char *text = source;
    const bool is_cpu = device->info.type == SLAD_DEVICE_CPU;
    char options[96];
    cl_int code = CL_SUCCESS;
    *peak = (bench_peak){
        .device = device, .cpu_time = cpu_time, .items = (size_t)device->info.compute_units * (is_cpu ? 64 : 2048)};
    (void)snprintf(options, sizeof options, "-cl-mad-enable -DWIDTH=%u -DHAS_FMA=%d", device->features.vector_width,
                   device->features.has_fma);
    peak->sink_bytes = peak->items * device->features.vector_width * sizeof(cl_float);
    SLAD_TRY(slad_buffer_create(device, &peak->sink, peak->sink_bytes, "the peak benchmark"));
    peak->program = clCreateProgramWithSource(device->cl, 1, &text, NULL, &code);
    SLAD_FAIL_IF(code != CL_SUCCESS || clBuildProgram(peak->program, 1, &device->id, options, NULL, NULL) != CL_SUCCESS,
                 SLAD_ERROR_BUILD, "the peak benchmark does not compile on %s (%s)", device->info.name, options);
    SLAD_TRY(create_kernel(peak, 0, "peak_8", 8));
    SLAD_TRY(create_kernel(peak, 1, "peak_12", 12));
    SLAD_TRY(create_kernel(peak, 2, "peak_24", 24));
cleanup:
    return status;
}

void bench_peak_free(bench_peak *peak)
{
    for (unsigned i = 0; i < BENCH_PEAK_KERNELS; i++) {
        if (peak->kernels[i]) (void)clReleaseKernel(peak->kernels[i]);
    }
    if (peak->program) (void)clReleaseProgram(peak->program);
    if (peak->sink) slad_buffer_free(peak->device, peak->sink, peak->sink_bytes);
    *peak = (bench_peak){0};
}

/* Seconds that `repeats` launches of a kernel take. */
static slad_status run_launches(bench_peak *peak, unsigned index, size_t repeats, double *seconds)
{
    slad_status status = SLAD_OK;
    slad_device *device = peak->device;
    /* Given, because a driver that chooses may put all items into one group, and so on one core. */
    const size_t group = device->features.block_group_size;
    const double start = bench_seconds(device, peak->cpu_time);
    for (size_t i = 0; i < repeats; i++) {
        SLAD_CL_TRY(
            clEnqueueNDRangeKernel(device->queue, peak->kernels[index], 1, NULL, &peak->items, &group, 0, NULL, NULL));
    }
    SLAD_TRY(slad_device_finish(device));
    *seconds = bench_seconds(device, peak->cpu_time) - start;
cleanup:
    return status;
}

slad_status bench_peak_measure(bench_peak *peak, double seconds)
{
    slad_status status = SLAD_OK;
    const slad_device *device = peak->device;
    for (unsigned i = 0; i < BENCH_PEAK_KERNELS; i++) {
        double taken = 0;
        size_t repeats = 1;
        for (; repeats < 65536; repeats *= 2) {
            SLAD_TRY(run_launches(peak, i, repeats, &taken));
            if (taken > seconds / 2) break;
        }
        const double flops = 2.0 * STEPS * peak->chains[i] * device->features.vector_width * (double)peak->items;
        bench_rates_add(&peak->rates[i], flops * (double)repeats / taken * 1e-9);
    }
    peak->best = 0;
    for (unsigned i = 0; i < BENCH_PEAK_KERNELS; i++) {
        const double rate = peak->cpu_time ? bench_rates_median(&peak->rates[i]) : bench_rates_best(&peak->rates[i]);
        if (rate > peak->best) peak->best = rate;
    }
cleanup:
    return status;
}
