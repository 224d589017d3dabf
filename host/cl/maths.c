/* How exact the device's maths functions are. */
#include "base/memory.h"
#include "cl/launch.h"
#include <math.h>

enum { FUNCTIONS = 5, INPUTS = 4096 };
static const double worst_ulp = 1e9;

static const slad_kernel_row maths_probe = {
    .file = "maths_probe", .entry = "maths_probe", .arguments = "ttu", .rule = SLAD_WORK_ITEMS};

typedef struct probed_function {
    double (*exact)(double x);
    /* Where training uses it, within what a float without denormals holds. */
    double low, high;
    bool by_exponent; /* inputs are 2^x for x in low .. high */
} probed_function;

static double reciprocal_root(double x)
{
    return 1.0 / sqrt(x);
}

/* In the order of the kernel. */
static const probed_function probed[FUNCTIONS] = {
    {exp, -87.0, 88.0, false}, {log, -126.0, 127.0, true},
    {erf, -4.0, 4.0, false},   {reciprocal_root, -126.0, 127.0, true},
    {tanh, -9.0, 9.0, false},
};

static float input_of(const probed_function *function, size_t i)
{
    const double at = function->low + (function->high - function->low) * ((double)i + 0.5) / INPUTS;
    return (float)(function->by_exponent ? exp2(at) : at);
}

/* |result - exact| in units of the last place of a float of the size of exact. */
static double error_in_ulp(float result, double exact)
{
    enum { FRACTION_BITS = 23, LOWEST_EXPONENT = -126 };
    if (!isfinite(result)) return worst_ulp;
    int exponent = LOWEST_EXPONENT;
    if (exact != 0.0 && ilogb(exact) > exponent) exponent = ilogb(exact);
    const double error = fabs((double)result - exact) / ldexp(1.0, exponent - FRACTION_BITS);
    return error < worst_ulp ? error : worst_ulp;
}

static slad_status run_probe(slad_device *device, float *results, const float *inputs)
{
    slad_status status = SLAD_OK;
    const uint64_t bytes = (uint64_t)FUNCTIONS * INPUTS * sizeof(float);
    cl_mem result_buffer = NULL, input_buffer = NULL;
    slad_launch launch = {0};
    SLAD_TRY(slad_buffer_create(device, &result_buffer, bytes, "results of the maths probe"));
    SLAD_TRY(slad_buffer_create(device, &input_buffer, bytes, "inputs of the maths probe"));
    SLAD_TRY(slad_buffer_write(device, input_buffer, 0, inputs, bytes));
    const slad_argument arguments[] = {slad_argument_buffer(result_buffer, 0), slad_argument_buffer(input_buffer, 0),
                                       slad_argument_uint(INPUTS)};
    const slad_work work = {.items = {INPUTS}, .split_axis = 0};
    SLAD_TRY(slad_launch_bind(device, &launch, &maths_probe, "", arguments, 3, work));
    SLAD_TRY(slad_launch_enqueue(device, &launch));
    SLAD_TRY(slad_buffer_read(device, results, result_buffer, 0, bytes));
cleanup:
    slad_launch_free(&launch);
    slad_buffer_free(device, result_buffer, bytes);
    slad_buffer_free(device, input_buffer, bytes);
    return status;
}

slad_status slad_device_measure_maths(slad_device *device)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    slad_capabilities *capabilities = &device->capabilities;
    float *inputs = NULL, *results = NULL;
    double worst[FUNCTIONS] = {0};
    if (capabilities->exp_ulp >= 0.0) return SLAD_OK;
    SLAD_TRY(slad_allocate(context, &inputs, (size_t)FUNCTIONS * INPUTS, sizeof *inputs, "the maths probe"));
    SLAD_TRY(slad_allocate(context, &results, (size_t)FUNCTIONS * INPUTS, sizeof *results, "the maths probe"));
    for (size_t i = 0; i < (size_t)FUNCTIONS * INPUTS; i++) inputs[i] = input_of(&probed[i / INPUTS], i % INPUTS);
    SLAD_TRY(run_probe(device, results, inputs));
    for (size_t i = 0; i < (size_t)FUNCTIONS * INPUTS; i++) {
        const double error = error_in_ulp(results[i], probed[i / INPUTS].exact((double)inputs[i]));
        worst[i / INPUTS] = fmax(worst[i / INPUTS], error);
    }
    capabilities->exp_ulp = worst[0];
    capabilities->log_ulp = worst[1];
    capabilities->erf_ulp = worst[2];
    capabilities->rsqrt_ulp = worst[3];
    capabilities->tanh_ulp = worst[4];
cleanup:
    slad_release(inputs);
    slad_release(results);
    return status;
}
