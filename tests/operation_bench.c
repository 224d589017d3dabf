/* Devices of the operation tests, kernels by themselves, and numbers. */
#include "base/memory.h"
#include "base/random.h"
#include "cl/device.h"
#include "operation_check.h"
#include "ops/kernel_table.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Features of a variant besides the device's own. */
typedef struct variant_features {
    unsigned row_lanes, vector_width, block_group_size;
    bool has_fma;
} variant_features;

/* As GPUs are driven; as CPUs are; and the widths and the arithmetic between. */
static const variant_features variant_table[OPERATION_VARIANTS - 1] = {
    {64, 4, 64, true}, {1, 16, 1, true}, {4, 8, 1, false}};

static slad_device *open_device(const operation_bench *bench)
{
    slad_device *device = NULL;
    const slad_device_options options = {.spec = getenv("TEST_DEVICE"), .cache_directory = ""};
    if (slad_device_open(bench->context, &device, &options) != SLAD_OK)
        fail_msg("no device to test on: %s", slad_context_message(bench->context));
    return device;
}

/* Most work-items of a group that shares a row: some drivers allow a kernel fewer than the device. */
static unsigned row_lanes_allowed(const operation_bench *bench, slad_device *device)
{
    cl_kernel kernel;
    size_t most = 0;
    if (slad_kernel_create(device, &kernel, &slad_layer_norm_kernels[0], "") != SLAD_OK)
        fail_msg("%s", slad_context_message(bench->context));
    assert_int_equal(clGetKernelWorkGroupInfo(kernel, device->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most, NULL),
                     CL_SUCCESS);
    clReleaseKernel(kernel);
    return (unsigned)most;
}

static void open_variant(operation_bench *bench, variant_features features)
{
    const slad_features *own = &bench->variants[0]->features;
    for (bool fits = false; !fits;) {
        if (features.row_lanes == own->row_lanes && features.vector_width == own->vector_width) return;
        slad_device *device = open_device(bench);
        device->features.row_lanes = features.row_lanes;
        device->features.vector_width = features.vector_width;
        device->features.block_group_size = features.block_group_size;
        device->features.has_fma = features.has_fma && own->has_fma;
        fits = features.row_lanes <= row_lanes_allowed(bench, device);
        if (fits) {
            bench->variants[bench->variant_count++] = device;
        } else {
            slad_device_free(device);
            features.row_lanes /= 2;
        }
    }
}

int operation_bench_open(void **state)
{
    operation_bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    *state = bench;
    assert_int_equal(slad_context_create(&bench->context, NULL, SLAD_LOG_ERROR), SLAD_OK);
    bench->device = bench->variants[bench->variant_count++] = open_device(bench);
    print_message("device: %s (%s, driver %s)\n", bench->device->info.name, bench->device->info.platform,
                  bench->device->info.driver);
    const char *limit = getenv("TEST_VARIANTS");
    if (limit && strcmp(limit, "1") == 0) return 0;
    for (size_t i = 0; i + 1 < OPERATION_VARIANTS; i++) open_variant(bench, variant_table[i]);
    return 0;
}

int operation_bench_close(void **state)
{
    operation_bench *bench = *state;
    for (size_t i = 0; i < bench->variant_count; i++) slad_device_free(bench->variants[i]);
    slad_context_free(bench->context);
    free(bench);
    return 0;
}

/* A quiet NaN of a pattern that no arithmetic makes: whoever reads past a tensor cannot go unseen either. */
#define SENTINEL 0x7fedbeefu
#define GUARD    64 /* elements before and behind each tensor */

/* A tensor between its guards, on the host. */
static uint32_t *guarded(const operation_argument *argument)
{
    uint32_t *words = malloc((argument->elements + 2 * GUARD) * sizeof *words);
    assert_non_null(words);
    for (size_t i = 0; i < GUARD; i++) words[i] = words[GUARD + argument->elements + i] = SENTINEL;
    memcpy(words + GUARD, argument->data, argument->elements * sizeof *words);
    return words;
}

static void check_guards(const char *kernel, size_t index, const operation_argument *argument, const uint32_t *words)
{
    for (size_t i = 0; i < GUARD; i++) {
        if (words[i] != SENTINEL) fail_msg("%s wrote argument %zu at element -%zu", kernel, index, (size_t)GUARD - i);
        if (words[GUARD + argument->elements + i] != SENTINEL)
            fail_msg("%s wrote argument %zu %zu elements past its end", kernel, index, i);
    }
    if (!argument->written && memcmp(words + GUARD, argument->data, argument->elements * sizeof *words) != 0)
        fail_msg("%s changed argument %zu, which it may only read", kernel, index);
}

void operation_launch(operation_bench *bench, const slad_kernel_row *row, const char *defines,
                      operation_argument *arguments, size_t count, slad_work work)
{
    enum { MOST = 32 };
    slad_device *device = bench->device;
    slad_argument bound[MOST];
    slad_launch launch;
    assert_true(count <= MOST);
    for (size_t i = 0; i < count; i++) {
        bound[i] = arguments[i].value;
        if (arguments[i].letter != 't') continue;
        const uint64_t bytes = (arguments[i].elements + 2 * GUARD) * sizeof(uint32_t);
        uint32_t *words = guarded(&arguments[i]);
        cl_mem buffer;
        assert_int_equal(slad_buffer_create(device, &buffer, bytes, "a tensor under test"), SLAD_OK);
        assert_int_equal(slad_buffer_write(device, buffer, 0, words, bytes), SLAD_OK);
        free(words);
        bound[i] = slad_argument_buffer(buffer, GUARD);
    }
    if (slad_launch_bind(device, &launch, row, defines, bound, count, work) != SLAD_OK ||
        slad_launch_enqueue(device, &launch) != SLAD_OK || slad_device_finish(device) != SLAD_OK)
        fail_msg("%s: %s", row->entry, slad_context_message(bench->context));
    slad_launch_free(&launch);
    for (size_t i = 0; i < count; i++) {
        if (arguments[i].letter != 't') continue;
        const uint64_t bytes = (arguments[i].elements + 2 * GUARD) * sizeof(uint32_t);
        uint32_t *words = guarded(&arguments[i]);
        assert_int_equal(slad_buffer_read(device, words, bound[i].buffer, 0, bytes), SLAD_OK);
        check_guards(row->entry, i, &arguments[i], words);
        if (arguments[i].written) memcpy(arguments[i].data, words + GUARD, arguments[i].elements * sizeof *words);
        slad_buffer_free(device, bound[i].buffer, bytes);
        free(words);
    }
}

double operation_error(const float *values, const float *expected, size_t count)
{
    double largest = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite((double)values[i]) || !isfinite((double)expected[i]))
            fail_msg("element %zu is %g, expected %g", i, (double)values[i], (double)expected[i]);
        const double difference = fabs((double)values[i] - (double)expected[i]);
        if (difference > largest) largest = difference;
        squares += (double)expected[i] * (double)expected[i];
    }
    const double signal = sqrt(squares / (double)count);
    return largest / (signal > 0 ? signal : 1);
}

void operation_fill(float *values, size_t count, uint32_t stream, double mean, double deviation)
{
    slad_random random = slad_random_start(1, SLAD_RANDOM_VERIFY, stream, 0);
    for (size_t i = 0; i < count; i++) values[i] = (float)(mean + deviation * (double)slad_random_normal(&random));
}
