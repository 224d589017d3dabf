/* Discovery and selection against drivers of our own: this program defines the four functions of OpenCL that discovery
 * asks, so that they can fail in every way that real ones do. */
#include "cl/discovery.h"
#include "cl_fixture.h"

enum { NOT_FOUND = -1001, MAX_DEVICES = 4 };

/* What one pretended device answers. */
typedef struct fake_device {
    const char *name, *vendor, *driver, *version, *profile;
    cl_device_type type;
    cl_uint units, clock;
    cl_bool little_endian, compiler;
    cl_device_info failing; /* the query that fails; 0: none */
} fake_device;

typedef struct fake_platform {
    const char *name;
    fake_device devices[MAX_DEVICES];
    cl_uint count;
    cl_int code; /* of clGetDeviceIDs */
} fake_platform;

static fake_platform platforms[3];
static cl_uint platform_count;
static cl_int platform_code;

cl_int CL_API_CALL clGetPlatformIDs(cl_uint capacity, cl_platform_id *ids, cl_uint *count)
{
    for (cl_uint i = 0; ids && i < capacity; i++) ids[i] = (cl_platform_id)(void *)&platforms[i];
    if (count) *count = platform_count;
    return platform_code;
}

cl_int CL_API_CALL clGetDeviceIDs(cl_platform_id platform, cl_device_type type, cl_uint capacity, cl_device_id *ids,
                                  cl_uint *count)
{
    fake_platform *fake = (fake_platform *)(void *)platform;
    (void)type;
    if (fake->code != CL_SUCCESS) return fake->code;
    for (cl_uint i = 0; ids && i < capacity; i++) ids[i] = (cl_device_id)(void *)&fake->devices[i];
    if (count) *count = fake->count;
    return fake->count > 0 ? CL_SUCCESS : CL_DEVICE_NOT_FOUND;
}

static cl_int answer(const void *value, size_t size, size_t capacity, void *out, size_t *given)
{
    if (out && capacity < size) return CL_INVALID_VALUE;
    if (out) memcpy(out, value, size);
    if (given) *given = size;
    return CL_SUCCESS;
}

cl_int CL_API_CALL clGetPlatformInfo(cl_platform_id platform, cl_platform_info property, size_t capacity, void *out,
                                     size_t *given)
{
    const fake_platform *fake = (const fake_platform *)(const void *)platform;
    const char *text = property == CL_PLATFORM_NAME      ? fake->name
                       : property == CL_PLATFORM_VERSION ? "OpenCL 3.0 test"
                                                         : NULL;
    if (!text) return property == 0x0920 ? answer("SHORT", 6, capacity, out, given) : CL_INVALID_VALUE;
    return answer(text, strlen(text) + 1, capacity, out, given);
}

static const char *text_of(const fake_device *fake, cl_device_info property)
{
    switch (property) {
    case CL_DEVICE_NAME:
        return fake->name;
    case CL_DEVICE_VENDOR:
        return fake->vendor;
    case CL_DRIVER_VERSION:
        return fake->driver;
    case CL_DEVICE_VERSION:
        return fake->version;
    case CL_DEVICE_PROFILE:
        return fake->profile;
    case CL_DEVICE_OPENCL_C_VERSION:
        return "OpenCL C 1.2";
    case CL_DEVICE_EXTENSIONS:
        return "cl_khr_fp16x cl_khr_fp64";
    default:
        return NULL;
    }
}

static cl_uint number_of(const fake_device *fake, cl_device_info property)
{
    switch (property) {
    case CL_DEVICE_MAX_COMPUTE_UNITS:
        return fake->units;
    case CL_DEVICE_MAX_CLOCK_FREQUENCY:
        return fake->clock;
    case CL_DEVICE_ENDIAN_LITTLE:
        return fake->little_endian;
    case CL_DEVICE_COMPILER_AVAILABLE:
        return fake->compiler;
    case CL_DEVICE_ADDRESS_BITS:
        return 64;
    default:
        return 1;
    }
}

cl_int CL_API_CALL clGetDeviceInfo(cl_device_id device, cl_device_info property, size_t capacity, void *out,
                                   size_t *given)
{
    const fake_device *fake = (const fake_device *)(const void *)device;
    const char *text = text_of(fake, property);
    if (fake->failing == property) return CL_OUT_OF_RESOURCES;
    if (text) return answer(text, strlen(text) + 1, capacity, out, given);
    const cl_ulong bytes = 1 << 20;
    const cl_uint number = number_of(fake, property);
    const size_t size = 256, sizes[3] = {256, 256, 256};
    switch (property) {
    case CL_DEVICE_TYPE:
        return answer(&fake->type, sizeof fake->type, capacity, out, given);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
    case CL_DEVICE_LOCAL_MEM_SIZE:
    case CL_DEVICE_SINGLE_FP_CONFIG:
        return answer(&bytes, sizeof bytes, capacity, out, given);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE:
    case CL_DEVICE_MAX_PARAMETER_SIZE:
        return answer(&size, sizeof size, capacity, out, given);
    case CL_DEVICE_MAX_WORK_ITEM_SIZES:
        return answer(sizes, sizeof sizes, capacity, out, given);
    default:
        return answer(&number, sizeof number, capacity, out, given);
    }
}

static const fake_device plain_cpu = {.name = "Some CPU",
                                      .vendor = "Vendor",
                                      .driver = "1.0",
                                      .version = "OpenCL 1.2 x",
                                      .profile = "FULL_PROFILE",
                                      .type = CL_DEVICE_TYPE_CPU,
                                      .units = 8,
                                      .clock = 1000,
                                      .little_endian = CL_TRUE,
                                      .compiler = CL_TRUE};

static fake_device make(const char *name, cl_device_type type, cl_uint units)
{
    fake_device device = plain_cpu;
    device.name = name;
    device.type = type;
    device.units = units;
    return device;
}

static cl_fixture fixture;

static int start(void **state)
{
    (void)state;
    cl_fixture_start(&fixture);
    memset(platforms, 0, sizeof platforms);
    platform_count = 0;
    platform_code = CL_SUCCESS;
    return 0;
}

static int end(void **state)
{
    (void)state;
    cl_fixture_end(&fixture);
    return 0;
}

static void expect_none(const char *spec, const char *part)
{
    slad_device *device = NULL;
    const slad_device_options options = {.spec = spec, .cache_directory = ""};
    assert_int_equal(slad_device_open(fixture.context, &device, &options), SLAD_ERROR_NO_DEVICE);
    assert_null(device);
    if (!strstr(slad_context_message(fixture.context), part))
        fail_msg("\"%s\" does not contain \"%s\"", slad_context_message(fixture.context), part);
}

static void expect_chosen(const char *spec, const char *name)
{
    slad_discovery discovery;
    const slad_device *chosen = NULL;
    assert_int_equal(slad_discovery_run(fixture.context, &discovery), SLAD_OK);
    assert_int_equal(slad_discovery_select(fixture.context, &chosen, &discovery, spec), SLAD_OK);
    assert_string_equal(chosen->info.name, name);
    slad_discovery_free(&discovery);
}

static void test_no_driver(void **state)
{
    (void)state;
    slad_device_list list;
    platform_code = NOT_FOUND;
    assert_int_equal(slad_device_list_read(fixture.context, &list), SLAD_OK);
    assert_int_equal(list.count, 0);
    assert_int_equal(list.platform_count, 0);
    slad_device_list_free(&list);
    expect_none(NULL, "no OpenCL driver is installed");
    platform_code = CL_OUT_OF_HOST_MEMORY;
    expect_none(NULL, "no OpenCL driver is installed");
    assert_non_null(strstr(fixture.log, "CL_OUT_OF_HOST_MEMORY"));
}

/* One platform has no devices, one fails; the devices of the third are still found. */
static void test_bad_platforms(void **state)
{
    (void)state;
    slad_device_list list;
    platform_count = 3;
    platforms[0] = (fake_platform){.name = "Empty"};
    platforms[1] = (fake_platform){.name = "Broken", .code = CL_OUT_OF_RESOURCES};
    platforms[2] = (fake_platform){.name = "Good", .devices = {plain_cpu}, .count = 1};
    assert_int_equal(slad_device_list_read(fixture.context, &list), SLAD_OK);
    assert_int_equal(list.platform_count, 3);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.devices[0].platform_index, 2);
    assert_string_equal(list.devices[0].platform, "Good");
    assert_true(list.devices[0].usable);
    assert_string_equal(list.platforms[0].name, "Empty");
    assert_non_null(strstr(list.platforms[0].reason, "offers none"));
    assert_string_equal(list.platforms[1].name, "Broken");
    assert_non_null(strstr(list.platforms[1].reason, "CL_OUT_OF_RESOURCES"));
    assert_int_equal(list.platforms[2].devices, 1);
    assert_string_equal(list.platforms[2].reason, "");
    slad_device_list_free(&list);
    assert_non_null(strstr(fixture.log, "\"Broken\" failed"));
    platform_count = 2;
    expect_none(NULL, "none offers a device");
}

/* Each query in turn fails: the device is listed, unusable, and says which. */
static void test_failing_queries(void **state)
{
    (void)state;
    const cl_device_info queries[] = {
        CL_DEVICE_NAME,          CL_DEVICE_VENDOR,
        CL_DRIVER_VERSION,       CL_DEVICE_VERSION,
        CL_DEVICE_PROFILE,       CL_DEVICE_EXTENSIONS,
        CL_DEVICE_TYPE,          CL_DEVICE_GLOBAL_MEM_SIZE,
        CL_DEVICE_ADDRESS_BITS,  CL_DEVICE_LOCAL_MEM_TYPE,
        CL_DEVICE_AVAILABLE,     CL_DEVICE_SINGLE_FP_CONFIG,
        CL_DEVICE_ENDIAN_LITTLE, CL_DEVICE_MAX_CLOCK_FREQUENCY,
    };
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        slad_device_list list;
        platform_count = 1;
        platforms[0] = (fake_platform){.name = "P", .devices = {plain_cpu, plain_cpu}, .count = 2};
        platforms[0].devices[0].failing = queries[i];
        assert_int_equal(slad_device_list_read(fixture.context, &list), SLAD_OK);
        assert_int_equal(list.count, 2);
        assert_false(list.devices[0].usable);
        assert_non_null(strstr(list.devices[0].reason, "failed to tell"));
        assert_true(list.devices[1].usable);
        slad_device_list_free(&list);
    }
}

static void expect_unusable(fake_device device, const char *reason)
{
    slad_device_list list;
    platform_count = 1;
    platforms[0] = (fake_platform){.name = "P", .devices = {device}, .count = 1};
    assert_int_equal(slad_device_list_read(fixture.context, &list), SLAD_OK);
    assert_false(list.devices[0].usable);
    assert_non_null(strstr(list.devices[0].reason, reason));
    slad_device_list_free(&list);
    expect_none("0:0", reason);
}

static void test_unusable(void **state)
{
    (void)state;
    fake_device device = plain_cpu;
    device.little_endian = CL_FALSE;
    expect_unusable(device, "little-endian");
    device = plain_cpu;
    device.compiler = CL_FALSE;
    device.profile = "EMBEDDED_PROFILE";
    expect_unusable(device, "compiled offline");
    device = plain_cpu;
    device.version = "OpenCL 1.1 Mesa";
    expect_unusable(device, "OpenCL 1.2");
}

static void test_selection(void **state)
{
    (void)state;
    platform_count = 2;
    platforms[0] = (fake_platform){
        .name = "First Platform",
        .devices = {plain_cpu, make("Small GPU", CL_DEVICE_TYPE_GPU, 2), make("Board", CL_DEVICE_TYPE_ACCELERATOR, 99)},
        .count = 3};
    platforms[1] =
        (fake_platform){.name = "Second Platform",
                        .devices = {make("Big GPU", CL_DEVICE_TYPE_GPU, 64), make("Huge GPU", CL_DEVICE_TYPE_GPU, 99)},
                        .count = 2};
    platforms[1].devices[1].little_endian = CL_FALSE;
    expect_chosen(NULL, "Big GPU");
    expect_chosen("0:1", "Small GPU");
    expect_chosen("first platform", "Small GPU");
    expect_chosen("board", "Board");
    expect_chosen("some cpu", "Some CPU");
    expect_chosen("gpu", "Big GPU");
    expect_chosen("short", "Big GPU");
    expect_none("2:0", "1:0 Big GPU");
    expect_none("sho", "Some CPU (First Platform)");
    expect_none("", "no device answers");
    expect_none("1:1", "little-endian");
    expect_none("1:01", "no device answers");

    platform_count = 1;
    platforms[0].count = 1;
    expect_chosen(NULL, "Some CPU");
    platforms[0].devices[0] = make("Board", CL_DEVICE_TYPE_ACCELERATOR, 1);
    expect_none(NULL, "accelerators must be named");
}

/* A device that would have been chosen is never passed over in silence, and no other is worth a word. */
static void test_passed_over(void **state)
{
    (void)state;
    platform_count = 1;
    platforms[0] = (fake_platform){
        .name = "P",
        .devices = {plain_cpu, make("Big GPU", CL_DEVICE_TYPE_GPU, 64), make("Board", CL_DEVICE_TYPE_ACCELERATOR, 99)},
        .count = 3};
    platforms[0].devices[2].little_endian = CL_FALSE;
    expect_chosen(NULL, "Big GPU");
    assert_null(strstr(fixture.log, "would come first"));
    platforms[0].devices[1].little_endian = CL_FALSE;
    expect_chosen("0:0", "Some CPU");
    assert_null(strstr(fixture.log, "would come first"));
    expect_chosen(NULL, "Some CPU");
    const char *said = strstr(fixture.log, "device 0:1, Big GPU, would come first but cannot be used: ");
    assert_non_null(said);
    assert_non_null(strstr(said, "little-endian"));
    assert_non_null(strstr(said, "Using Some CPU instead"));
}

static void test_capabilities(void **state)
{
    (void)state;
    slad_discovery discovery;
    platform_count = 1;
    platforms[0] = (fake_platform){.name = "P", .devices = {plain_cpu}, .count = 1};
    assert_int_equal(slad_discovery_run(fixture.context, &discovery), SLAD_OK);
    const slad_capabilities *capabilities = &discovery.devices[0].capabilities;
    assert_false(capabilities->fp16); /* cl_khr_fp16x is another extension */
    assert_true(capabilities->fp64);
    assert_true(capabilities->full_profile);
    assert_true(capabilities->exp_ulp < 0.0);
    slad_discovery_free(&discovery);
}

/* Every allocation of discovery fails once. */
static void test_faults(void **state)
{
    (void)state;
    platform_count = 1;
    platforms[0] = (fake_platform){.name = "P", .devices = {plain_cpu}, .count = 1};
    for (uint64_t countdown = 1;; countdown++) {
        slad_device_list list;
        slad_fault_arm(fixture.context, countdown);
        const slad_status status = slad_device_list_read(fixture.context, &list);
        const bool struck = !slad_fault_pending(fixture.context);
        slad_fault_arm(fixture.context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        slad_device_list_free(&list);
        if (!struck) break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_driver, start, end),
        cmocka_unit_test_setup_teardown(test_bad_platforms, start, end),
        cmocka_unit_test_setup_teardown(test_failing_queries, start, end),
        cmocka_unit_test_setup_teardown(test_unusable, start, end),
        cmocka_unit_test_setup_teardown(test_selection, start, end),
        cmocka_unit_test_setup_teardown(test_passed_over, start, end),
        cmocka_unit_test_setup_teardown(test_capabilities, start, end),
        cmocka_unit_test_setup_teardown(test_faults, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
