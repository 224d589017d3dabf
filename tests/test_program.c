/* Buffers, programs from source, includes, launches, work-groups, faults. */
#include "cl/program_store.h"
#include "cl_fixture.h"

static const char SCALE_KERNEL[] =
    "#include \"common.h\"\n"
    "#include \"twice.h\"\n"
    "#include \"twice.h\"\n"
    "__kernel void scale(__global float *y, const uint y_offset, __global const float *x, const uint x_offset,\n"
    "                    const uint count, const float factor)\n"
    "{\n"
    "    const size_t i = get_global_id(0);\n"
    "    if (i < count) y[y_offset + i] = twice(x[x_offset + i]) * factor + ADDED;\n"
    "}\n";
static const char TWICE_HEADER[] = "static float twice(float x)\n{\n    return 2.0f * x;\n}\n";

static const slad_kernel_row SCALE = {.file = "scale", .entry = "scale", .arguments = "ttuf", .rule = SLAD_WORK_ITEMS};

static cl_fixture fixture;

static int start(void **state)
{
    (void)state;
    cl_fixture_start(&fixture);
    return 0;
}

static int end(void **state)
{
    (void)state;
    cl_fixture_end(&fixture);
    return 0;
}

/* A folder with the built-in common.h and the given kernel. */
static void write_kernels(const char *name, const char *text)
{
    char path[512], *common = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s/common.h", SLAD_KERNEL_FOLDER);
    assert_int_equal(slad_file_read_all(fixture.context, &common, &size, path, 1 << 20), SLAD_OK);
    cl_fixture_write(&fixture, "common.h", common);
    slad_release(common);
    cl_fixture_write(&fixture, "twice.h", TWICE_HEADER);
    cl_fixture_write(&fixture, name, text);
}

static slad_device *open_with_kernels(void)
{
    const slad_device_options options = {.cache_directory = "", .kernels_directory = fixture.folder};
    return cl_fixture_open(&fixture, &options);
}

enum { COUNT = 1000, X_OFFSET = 3, Y_OFFSET = 7, SENTINELS = 16 };

/* Runs y = 2 x factor + ADDED on what is bound, and checks it and what lies around it. */
static void check_scale(slad_device *device, const slad_launch *launch, cl_mem y, float factor, float added)
{
    float results[Y_OFFSET + COUNT + SENTINELS];
    for (size_t i = 0; i < Y_OFFSET + COUNT + SENTINELS; i++) results[i] = -77.0F;
    assert_int_equal(slad_buffer_write(device, y, 0, results, sizeof results), SLAD_OK);
    assert_int_equal(slad_launch_enqueue(device, launch), SLAD_OK);
    assert_int_equal(slad_buffer_read(device, results, y, 0, sizeof results), SLAD_OK);
    for (size_t i = 0; i < Y_OFFSET + COUNT + SENTINELS; i++) {
        const bool inside = i >= Y_OFFSET && i < Y_OFFSET + COUNT;
        const float expected = inside ? 2.0F * (float)(i - Y_OFFSET) * factor + added : -77.0F;
        assert_float_equal(results[i], expected, 1e-3);
    }
}

static void test_launch(void **state)
{
    (void)state;
    write_kernels("scale.cl", SCALE_KERNEL);
    slad_device *device = open_with_kernels();
    cl_mem x = NULL, y = NULL;
    const uint64_t x_bytes = (X_OFFSET + COUNT) * sizeof(float),
                   y_bytes = (Y_OFFSET + COUNT + SENTINELS) * sizeof(float);
    assert_int_equal(slad_buffer_create(device, &x, x_bytes, "x"), SLAD_OK);
    assert_int_equal(slad_buffer_create(device, &y, y_bytes, "y"), SLAD_OK);
    assert_int_equal(device->allocated, x_bytes + y_bytes);
    float values[COUNT];
    for (size_t i = 0; i < COUNT; i++) values[i] = (float)i;
    assert_int_equal(slad_buffer_write(device, x, X_OFFSET * sizeof(float), values, sizeof values), SLAD_OK);

    const slad_argument arguments[] = {slad_argument_buffer(y, Y_OFFSET), slad_argument_buffer(x, X_OFFSET),
                                       slad_argument_uint(COUNT), slad_argument_float(3.0)};
    slad_launch launch;
    const slad_work work = {.items = {COUNT}, .split_axis = 0};
    assert_int_equal(slad_launch_bind(device, &launch, &SCALE, "-DADDED=0.5f", arguments, 4, work), SLAD_OK);
    check_scale(device, &launch, y, 3.0F, 0.5F);
    assert_int_equal(slad_launch_set(device, &launch, 3, slad_argument_float(-1.0)), SLAD_OK);
    check_scale(device, &launch, y, -1.0F, 0.5F);
    device->features.max_groups_per_enqueue = 3;
    check_scale(device, &launch, y, -1.0F, 0.5F);
    slad_launch_free(&launch);

    slad_buffer_free(device, x, x_bytes);
    slad_buffer_free(device, y, y_bytes);
    assert_int_equal(device->allocated, 0);
    assert_int_equal(device->allocated_peak, x_bytes + y_bytes);
    slad_device_free(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_launch, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
