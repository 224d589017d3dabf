/* The devices that this machine has: listing, opening, buffers, the accuracy of their maths. */
#include "cl_fixture.h"

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

static void test_list(void **state)
{
    (void)state;
    slad_device_list list;
    assert_int_equal(slad_device_list_read(fixture.context, &list), SLAD_OK);
    for (size_t i = 0; i < list.count; i++) {
        const slad_device_info *info = &list.devices[i];
        print_message("%u:%u %s (%s), driver %s: %s\n", info->platform_index, info->device_index, info->name,
                      info->platform, info->driver, info->usable ? "usable" : info->reason);
        assert_true(info->usable || info->reason[0]);
        assert_true(!info->usable || (info->max_allocation > 0 && info->max_work_group > 0 && info->compute_units > 0));
    }
    slad_device_list_free(&list);
}

static void test_open_by_index(void **state)
{
    (void)state;
    char spec[32];
    slad_device *device = cl_fixture_open(&fixture, NULL);
    const slad_device_info first = *slad_device_get_info(device);
    slad_device_free(device);
    (void)snprintf(spec, sizeof spec, "%u:%u", first.platform_index, first.device_index);
    const slad_device_options options = {.spec = spec, .cache_directory = ""};
    device = cl_fixture_open(&fixture, &options);
    assert_string_equal(slad_device_get_info(device)->name, first.name);
    slad_device_free(device);
    slad_device_free(NULL);
}

static void test_buffers(void **state)
{
    (void)state;
    enum { BYTES = 4099 };
    slad_device *device = cl_fixture_open(&fixture, NULL);
    cl_mem buffer = NULL;
    unsigned char bytes[BYTES], expected[BYTES] = {0};
    memset(bytes, 0xAA, sizeof bytes);
    assert_int_equal(slad_buffer_create(device, &buffer, BYTES, "test"), SLAD_OK);
    assert_int_equal(slad_buffer_read(device, bytes, buffer, 0, BYTES), SLAD_OK);
    assert_memory_equal(bytes, expected, BYTES);
    for (size_t i = 0; i < BYTES; i++) bytes[i] = expected[i] = (unsigned char)(i * 7);
    assert_int_equal(slad_buffer_write(device, buffer, 0, bytes, BYTES), SLAD_OK);
    /* Ranges of every alignment: nothing beside them changes. */
    const uint64_t ranges[][2] = {{16, 32}, {52, 8}, {68, 16}, {101, 3}, {106, 4}, {200, 0}, {4098, 1}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        assert_int_equal(slad_buffer_zero(device, buffer, ranges[i][0], ranges[i][1]), SLAD_OK);
        memset(expected + ranges[i][0], 0, (size_t)ranges[i][1]);
    }
    assert_int_equal(slad_buffer_write(device, buffer, 300, "abc", 3), SLAD_OK);
    const unsigned char part[] = {'a', 'b', 'c'};
    memcpy(expected + 300, part, sizeof part);
    assert_int_equal(slad_buffer_read(device, bytes, buffer, 0, BYTES), SLAD_OK);
    assert_memory_equal(bytes, expected, BYTES);
    cl_event event = NULL;
    assert_int_equal(slad_buffer_upload(device, &event, buffer, 400, part, sizeof part), SLAD_OK);
    if (event) assert_int_equal(clReleaseEvent(event), CL_SUCCESS);
    memcpy(expected + 400, part, sizeof part);
    assert_int_equal(slad_buffer_read(device, bytes, buffer, 0, BYTES), SLAD_OK);
    assert_memory_equal(bytes, expected, BYTES);
    assert_int_equal(slad_buffer_read(device, bytes, buffer, 300, 3), SLAD_OK);
    assert_memory_equal(bytes, "abc", 3);
    slad_buffer_free(device, buffer, BYTES);
    assert_int_equal(slad_buffer_create(device, &buffer, 0, "empty"), SLAD_OK);
    slad_buffer_free(device, buffer, 0);
    slad_buffer_free(device, NULL, 100);
    assert_int_equal(device->allocated, 0);
    slad_device_free(device);
}

static void test_buffer_limits(void **state)
{
    (void)state;
    slad_device *device = cl_fixture_open(&fixture, NULL);
    cl_mem buffer = NULL;
    assert_int_equal(slad_buffer_create(device, &buffer, device->info.max_allocation + 1, "logits"),
                     SLAD_ERROR_OUT_OF_MEMORY);
    assert_null(buffer);
    assert_non_null(strstr(slad_context_message(fixture.context), "logits"));
    assert_non_null(strstr(slad_context_message(fixture.context), device->info.name));
    device->allocated = device->info.global_memory - 100;
    assert_int_equal(slad_buffer_create(device, &buffer, 101, "activations"), SLAD_ERROR_OUT_OF_MEMORY);
    assert_non_null(strstr(slad_context_message(fixture.context), "activations"));
    device->allocated = 0;
    slad_device_free(device);
}

static void test_details(void **state)
{
    (void)state;
    slad_device *device = cl_fixture_open(&fixture, NULL);
    slad_device_details details;
    assert_int_equal(slad_device_get_details(device, &details), SLAD_OK);
    const slad_capabilities *measured = &details.capabilities;
    print_message("exp %.2f, log %.2f, erf %.2f, rsqrt %.2f, tanh %.2f ulp\n", measured->exp_ulp, measured->log_ulp,
                  measured->erf_ulp, measured->rsqrt_ulp, measured->tanh_ulp);
    /* The full profile of OpenCL allows 3, 3, 16, 2 and 5; what is far beyond is a broken driver or a broken probe.
     * A correctly rounded result is up to half a unit off, so less cannot have been measured. */
    const double errors[] = {measured->exp_ulp, measured->log_ulp, measured->erf_ulp, measured->rsqrt_ulp,
                             measured->tanh_ulp};
    for (size_t i = 0; i < 5; i++) assert_true(errors[i] > 0.2 && errors[i] < 64.0);
    assert_true(details.feature_count > 5);
    assert_int_equal(details.quirk_count, device->quirk_count);
    assert_int_equal(device->allocated, 0);
    slad_device_free(device);
}

/* Opening, measuring and closing while one allocation or OpenCL call after the other fails. */
static void test_faults(void **state)
{
    (void)state;
    const slad_device_options options = {.spec = getenv("TEST_DEVICE"), .cache_directory = ""};
    unsigned failures = 0;
    for (uint64_t countdown = 1;; countdown++) {
        slad_device *device = NULL;
        slad_fault_arm(fixture.context, countdown);
        slad_status status = slad_device_open(fixture.context, &device, &options);
        if (status == SLAD_OK) status = slad_device_measure_maths(device);
        const bool struck = !slad_fault_pending(fixture.context);
        slad_fault_arm(fixture.context, 0);
        assert_true(status == SLAD_OK || struck);
        failures += status != SLAD_OK;
        if (device) assert_int_equal(device->allocated, 0);
        slad_device_free(device);
        if (!struck) break;
    }
    assert_true(failures > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_list, start, end),
        cmocka_unit_test_setup_teardown(test_open_by_index, start, end),
        cmocka_unit_test_setup_teardown(test_buffers, start, end),
        cmocka_unit_test_setup_teardown(test_buffer_limits, start, end),
        cmocka_unit_test_setup_teardown(test_details, start, end),
        cmocka_unit_test_setup_teardown(test_faults, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
