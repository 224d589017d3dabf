/* Buffers, programs from source, includes, launches, work-groups, faults. */
#include "cl/program_store.h"
#include "cl_fixture.h"

static const char scale_kernel[] =
    "#include \"common.h\"\n"
    "#include \"twice.h\"\n"
    "#include \"twice.h\"\n"
    "__kernel void scale(__global float *y, const uint y_offset, __global const float *x, const uint x_offset,\n"
    "                    const uint count, const float factor)\n"
    "{\n"
    "    const size_t i = get_global_id(0);\n"
    "    if (i < count) y[y_offset + i] = twice(x[x_offset + i]) * factor + ADDED;\n"
    "}\n";
static const char twice_header[] = "static float twice(float x)\n{\n    return 2.0f * x;\n}\n";

static const slad_kernel_row scale_row = {
    .file = "scale", .entry = "scale", .arguments = "ttuf", .rule = SLAD_WORK_ITEMS};

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
    cl_fixture_write(&fixture, "twice.h", twice_header);
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
    write_kernels("scale.cl", scale_kernel);
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
    assert_int_equal(slad_launch_bind(device, &launch, &scale_row, "-DADDED=0.5f", arguments, 4, work), SLAD_OK);
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

/* A kernel that does not compile: the message names all that is needed, and nothing is leaked. */
static void test_build_error(void **state)
{
    (void)state;
    write_kernels("scale.cl",
                  "#include \"common.h\"\n__kernel void scale(__global float *y)\n{\n    y[0] = nonsense;\n}\n");
    slad_device *device = open_with_kernels();
    slad_program *program = NULL;
    assert_int_equal(slad_program_get(device, &program, "scale", "-DADDED=1.0f"), SLAD_ERROR_BUILD);
    assert_null(program);
    const char *message = slad_context_message(fixture.context);
    const char *parts[] = {"scale.cl", device->info.name, device->info.driver, "-DADDED=1.0f", "nonsense"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) assert_non_null(strstr(message, parts[i]));
    slad_device_free(device);
}

static void test_sources(void **state)
{
    (void)state;
    char *source = NULL;
    size_t size = 0;
    write_kernels("scale.cl", scale_kernel);
    assert_int_equal(slad_program_read_source(fixture.context, &source, &size, fixture.folder, "scale"), SLAD_OK);
    assert_int_equal(strlen(source), size);
    const char *once = strstr(source, "static float twice");
    assert_non_null(once);
    assert_null(strstr(once + 1, "static float twice"));
    assert_null(strstr(source, "#include"));
    assert_non_null(strstr(source, "#line 4 \"scale.cl\"\n__kernel void scale"));
    slad_release(source);

    /* Built in: the same text as in the folder of sources. */
    char *built_in = NULL;
    assert_int_equal(slad_program_read_source(fixture.context, &built_in, &size, NULL, "maths_probe"), SLAD_OK);
    assert_int_equal(slad_program_read_source(fixture.context, &source, &size, SLAD_KERNEL_FOLDER, "maths_probe"),
                     SLAD_OK);
    assert_string_equal(source, built_in);
    slad_release(source);
    slad_release(built_in);
    assert_int_equal(slad_program_read_source(fixture.context, &source, &size, NULL, "no_such"), SLAD_ERROR_INTERNAL);
    assert_null(source);

    /* A folder must hold every file, the included ones too; nothing falls back silently. */
    assert_int_equal(slad_program_read_source(fixture.context, &source, &size, fixture.folder, "gemm"),
                     SLAD_ERROR_DATA);
    assert_non_null(strstr(slad_context_message(fixture.context), "gemm.cl"));
    assert_int_equal(slad_path_remove(fixture.context, cl_fixture_path(&fixture, "twice.h")), SLAD_OK);
    assert_int_equal(slad_program_read_source(fixture.context, &source, &size, fixture.folder, "scale"),
                     SLAD_ERROR_DATA);
    assert_non_null(strstr(slad_context_message(fixture.context), "twice.h"));
    assert_null(source);
}

/* Files that include each other end; a chain that is too long is an error. */
static void test_include_chains(void **state)
{
    (void)state;
    char *source = NULL, name[32], text[64];
    size_t size = 0;
    cl_fixture_write(&fixture, "loop.cl", "#include \"loop.h\"\nA");
    cl_fixture_write(&fixture, "loop.h", "  #  include \"loop.h\"\nB");
    assert_int_equal(slad_program_read_source(fixture.context, &source, &size, fixture.folder, "loop"), SLAD_OK);
    assert_non_null(strstr(source, "\nB\n"));
    assert_non_null(strstr(source, "\nA\n"));
    slad_release(source);
    cl_fixture_write(&fixture, "deep.cl", "#include \"0.h\"\n");
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "%u.h", i);
        (void)snprintf(text, sizeof text, "#include \"%u.h\"\n", i + 1);
        cl_fixture_write(&fixture, name, text);
    }
    assert_int_equal(slad_program_read_source(fixture.context, &source, &size, fixture.folder, "deep"),
                     SLAD_ERROR_DATA);
    assert_null(source);
}

/* What is bound wrongly is an error that names the kernel, before anything runs. */
static void test_wrong_arguments(void **state)
{
    (void)state;
    write_kernels("scale.cl", scale_kernel);
    slad_device *device = open_with_kernels();
    const slad_work work = {.items = {4}, .split_axis = -1};
    const slad_argument good[] = {slad_argument_buffer(NULL, 0), slad_argument_buffer(NULL, 0), slad_argument_uint(0),
                                  slad_argument_float(1.0)};
    slad_argument swapped[4];
    memcpy(swapped, good, sizeof swapped);
    swapped[2] = good[3];
    slad_launch launch;
    const slad_kernel_row short_row = {.file = "scale", .entry = "scale", .arguments = "ttu"};
    const slad_kernel_row absent_row = {.file = "scale", .entry = "no_such", .arguments = "ttuf"};
    assert_int_equal(slad_launch_bind(device, &launch, &scale_row, "-DADDED=0.0f", good, 4, work), SLAD_OK);
    assert_int_equal(slad_launch_set(device, &launch, 4, good[3]), SLAD_ERROR_INTERNAL);
    assert_int_equal(slad_launch_set(device, &launch, 2, good[3]), SLAD_ERROR_INTERNAL);
    slad_launch_free(&launch);
    assert_int_equal(slad_launch_bind(device, &launch, &scale_row, "-DADDED=0.0f", good, 3, work), SLAD_ERROR_INTERNAL);
    assert_non_null(strstr(slad_context_message(fixture.context), "scale"));
    assert_int_equal(slad_launch_bind(device, &launch, &scale_row, "-DADDED=0.0f", swapped, 4, work),
                     SLAD_ERROR_INTERNAL);
    assert_int_equal(slad_launch_bind(device, &launch, &short_row, "-DADDED=0.0f", good, 3, work), SLAD_ERROR_INTERNAL);
    assert_int_equal(slad_launch_bind(device, &launch, &absent_row, "-DADDED=0.0f", good, 4, work),
                     SLAD_ERROR_INTERNAL);
    assert_null(launch.kernel);
    slad_device_free(device);
}

static const char rows_kernel[] =
    "#include \"common.h\"\n"
    "__kernel void rows(__global float *y, const uint y_offset, const uint rows, const uint columns)\n"
    "{\n"
    "    ROW_SCRATCH(scratch);\n"
    "    const uint row = (uint)get_global_id(1);\n"
    "    float sum = 0.0f, largest = MASKED_SCORE;\n"
    "    for (uint i = ROW_LANE; row < rows && i < columns; i += ROW_LANES) {\n"
    "        sum += (float)(row + i);\n"
    "        largest = fmax(largest, -(float)(row + i));\n"
    "    }\n"
    "    sum = row_sum(sum, scratch);\n"
    "    largest = row_max(largest, scratch);\n"
    "    if (row < rows && ROW_LANE == 0) {\n"
    "        y[y_offset + 2 * row] = sum;\n"
    "        y[y_offset + 2 * row + 1] = largest;\n"
    "    }\n"
    "}\n";

static void check_rows(slad_device *device, unsigned lanes, unsigned most_groups)
{
    enum { ROWS = 13, COLUMNS = 37 };
    static const slad_kernel_row row = {.file = "rows", .entry = "rows", .arguments = "tuu", .rule = SLAD_WORK_ROWS};
    float results[2 * ROWS];
    cl_mem y = NULL;
    slad_launch launch;
    device->features.row_lanes = lanes;
    device->features.max_groups_per_enqueue = most_groups;
    assert_int_equal(slad_buffer_create(device, &y, sizeof results, "y"), SLAD_OK);
    const slad_argument arguments[] = {slad_argument_buffer(y, 0), slad_argument_uint(ROWS),
                                       slad_argument_uint(COLUMNS)};
    slad_work work = {.items = {lanes, ROWS}, .split_axis = 1};
    char defines[32];
    (void)snprintf(defines, sizeof defines, "-DLANES=%u", lanes); /* another program for other lanes */
    assert_int_equal(slad_launch_bind(device, &launch, &row, defines, arguments, 3, work), SLAD_OK);
    assert_int_equal(slad_launch_enqueue(device, &launch), SLAD_OK);
    assert_int_equal(slad_buffer_read(device, results, y, 0, sizeof results), SLAD_OK);
    for (unsigned i = 0; i < ROWS; i++) {
        assert_float_equal(results[2 * i], (float)(COLUMNS * (2 * i + COLUMNS - 1)) / 2.0F, 1e-3);
        assert_float_equal(results[2 * i + 1], -(float)i, 0.0);
    }
    slad_launch_free(&launch);
    work.items[0] = lanes + 1;
    assert_int_equal(slad_launch_bind(device, &launch, &row, defines, arguments, 3, work), SLAD_ERROR_INTERNAL);
    slad_buffer_free(device, y, sizeof results);
}

static void test_row_reductions(void **state)
{
    (void)state;
    write_kernels("rows.cl", rows_kernel);
    slad_device *device = open_with_kernels();
    check_rows(device, 1, 0);
    check_rows(device, 4, 0);
    check_rows(device, 32, 0);
    check_rows(device, 2, 1);
    check_rows(device, 8, 5);
    slad_device_free(device);
}

static const char groups_kernel[] =
    "__kernel void loose(__global float *y, const uint y_offset)\n"
    "{\n"
    "    y[y_offset] = 0.0f;\n"
    "}\n"
    "__kernel __attribute__((reqd_work_group_size(2, 3, 1))) void fixed_group(__global float *y, const uint y_offset)\n"
    "{\n"
    "    y[y_offset] = 0.0f;\n"
    "}\n";

static void expect_group(slad_device *device, const slad_kernel_row *row, slad_work work, size_t local0, size_t local1,
                         size_t global0, size_t global1)
{
    const slad_argument argument = slad_argument_buffer(NULL, 0);
    slad_launch launch;
    if (slad_launch_bind(device, &launch, row, "", &argument, 1, work) != SLAD_OK)
        fail_msg("%s", slad_context_message(fixture.context));
    assert_int_equal(launch.local[0], local0);
    assert_int_equal(launch.local[1], local1);
    assert_int_equal(launch.local[2], 1);
    assert_int_equal(launch.global[0], global0);
    assert_int_equal(launch.global[1], global1);
    slad_launch_free(&launch);
}

static void test_groups(void **state)
{
    (void)state;
    write_kernels("groups.cl", groups_kernel);
    slad_device *device = open_with_kernels();
    const slad_kernel_row items = {.file = "groups", .entry = "loose", .arguments = "t", .rule = SLAD_WORK_ITEMS};
    const slad_kernel_row blocks = {.file = "groups", .entry = "loose", .arguments = "t", .rule = SLAD_WORK_SINGLE};
    const slad_kernel_row fixed = {.file = "groups", .entry = "fixed_group", .arguments = "t", .rule = SLAD_WORK_ITEMS};
    device->features.group_size = 16;
    device->features.block_group_size = 1;
    expect_group(device, &items, (slad_work){.items = {1000, 1}, .split_axis = -1}, 16, 1, 1008, 1);
    expect_group(device, &items, (slad_work){.items = {5, 100}, .split_axis = -1}, 8, 2, 8, 100);
    expect_group(device, &items, (slad_work){.items = {0, 0}, .split_axis = -1}, 1, 1, 1, 1);
    expect_group(device, &items, (slad_work){.items = {10, 10}, .group = {3, 2}, .split_axis = -1}, 3, 2, 12, 10);
    expect_group(device, &blocks, (slad_work){.items = {1000, 3}, .split_axis = -1}, 1, 1, 1000, 3);
    expect_group(device, &fixed, (slad_work){.items = {5, 5}, .split_axis = -1}, 2, 3, 6, 6);
    /* Larger than the device allows: halved until it fits. */
    const size_t wanted = 4 * (size_t)device->info.max_work_group;
    const slad_argument argument = slad_argument_buffer(NULL, 0);
    slad_launch launch;
    const slad_work large = {.items = {wanted}, .group = {wanted}, .split_axis = -1};
    assert_int_equal(slad_launch_bind(device, &launch, &items, "", &argument, 1, large), SLAD_OK);
    assert_true(launch.local[0] <= device->info.max_work_group && wanted % launch.local[0] == 0);
    assert_int_equal(launch.global[0], wanted);
    slad_launch_free(&launch);
    slad_device_free(device);
}

/* Binding and running while one allocation or OpenCL call after the other fails: an error or a right result, and the
 * device works afterwards. */
static void test_faults(void **state)
{
    (void)state;
    write_kernels("rows.cl", rows_kernel);
    const slad_kernel_row row = {.file = "rows", .entry = "rows", .arguments = "tuu", .rule = SLAD_WORK_ROWS};
    slad_device *device = open_with_kernels();
    const unsigned lanes = device->features.row_lanes;
    cl_mem y = NULL;
    assert_int_equal(slad_buffer_create(device, &y, 64, "y"), SLAD_OK);
    const slad_argument arguments[] = {slad_argument_buffer(y, 0), slad_argument_uint(1), slad_argument_uint(1)};
    const slad_work work = {.items = {lanes, 1}, .split_axis = -1};
    unsigned failures = 0;
    for (uint64_t countdown = 1;; countdown++) {
        char defines[32];
        slad_launch launch = {0};
        (void)snprintf(defines, sizeof defines, "-DTURN=%u", (unsigned)countdown);
        slad_fault_arm(fixture.context, countdown);
        slad_status status = slad_launch_bind(device, &launch, &row, defines, arguments, 3, work);
        if (status == SLAD_OK) status = slad_launch_enqueue(device, &launch);
        if (status == SLAD_OK) status = slad_device_finish(device);
        const bool struck = !slad_fault_pending(fixture.context);
        slad_fault_arm(fixture.context, 0);
        assert_int_equal(status != SLAD_OK, struck);
        failures += struck;
        slad_launch_free(&launch);
        if (!struck) break;
    }
    assert_true(failures > 15);
    slad_buffer_free(device, y, 64);
    slad_device_free(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_launch, start, end),
        cmocka_unit_test_setup_teardown(test_build_error, start, end),
        cmocka_unit_test_setup_teardown(test_sources, start, end),
        cmocka_unit_test_setup_teardown(test_include_chains, start, end),
        cmocka_unit_test_setup_teardown(test_wrong_arguments, start, end),
        cmocka_unit_test_setup_teardown(test_row_reductions, start, end),
        cmocka_unit_test_setup_teardown(test_groups, start, end),
        cmocka_unit_test_setup_teardown(test_faults, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
