/* The self-test: every kernel passes; a kernel that computes something else is caught, by name; a pass is remembered.
 */
#include "scratch.h"

#include "cl/device.h"
#include "cl/program.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"

static slad_status open_device(scratch *own, slad_device **device, const char *kernels)
{
    char cache[1024];
    (void)snprintf(cache, sizeof cache, "%s/cache", own->folder);
    const slad_device_options options = {
        .spec = getenv("TEST_DEVICE"), .cache_directory = cache, .kernels_directory = kernels};
    return slad_device_open(own->context, device, &options);
}

static void test_every_kernel(void **state)
{
    scratch *own = *state;
    slad_device *device;
    slad_self_test result;
    assert_int_equal(open_device(own, &device, NULL), SLAD_OK);
    assert_int_equal(slad_device_self_test(device, &result), SLAD_OK);
    for (size_t i = 0; i < result.count; i++)
        if (!result.kernels[i].passed) fail_msg("%s is off by %.3g", result.kernels[i].kernel, result.kernels[i].error);
    assert_true(result.count >= 20 && result.failed == 0);
    slad_self_test_free(&result);
    slad_device_free(device);
}

/* Copies the kernel sources, replacing `from` in gelu.cl. */
static void copy_kernels(scratch *own, char *folder, const char *from, const char *to)
{
    slad_directory directory;
    char path[1600];
    (void)snprintf(folder, 1024, "%s/kernels", own->folder);
    assert_int_equal(slad_directory_create(own->context, folder), SLAD_OK);
    assert_int_equal(slad_directory_read(own->context, &directory, SLAD_KERNEL_FOLDER), SLAD_OK);
    for (size_t i = 0; i < directory.count; i++) {
        char *text;
        size_t size;
        (void)snprintf(path, sizeof path, "%s/%s", SLAD_KERNEL_FOLDER, directory.entries[i].name);
        assert_int_equal(slad_file_read_all(own->context, &text, &size, path, 1u << 20), SLAD_OK);
        (void)snprintf(path, sizeof path, "%s/%s", folder, directory.entries[i].name);
        char *place = strcmp(directory.entries[i].name, "gelu.cl") == 0 ? strstr(text, from) : NULL;
        for (size_t k = 0; place && to[k]; k++) place[k] = to[k];
        assert_int_equal(slad_file_write_all(own->context, path, text, size), SLAD_OK);
        slad_release(text);
    }
    slad_directory_free(&directory);
}

static void test_wrong_kernel(void **state)
{
    scratch *own = *state;
    slad_device *device;
    slad_self_test_result result;
    char folder[1024];
    size_t caught = 0;
    /* the density of the normal distribution becomes a little too small */
    copy_kernels(own, folder, "0.3989422804f", "0.3989322804f");
    assert_int_equal(open_device(own, &device, folder), SLAD_OK);
    for (size_t i = 0; i < slad_gelu_kernel_count; i++) {
        const slad_kernel_row *row = &slad_gelu_kernels[i];
        const slad_status status = slad_self_test_ensure(device, row, "");
        if (status == SLAD_OK) continue;
        assert_int_equal(status, SLAD_ERROR_SELF_TEST);
        assert_message(own, row->entry);
        assert_message(own, slad_device_get_info(device)->name);
        assert_message(own, slad_device_get_info(device)->driver);
        assert_int_equal(slad_self_test_run(device, row, "", &result), SLAD_ERROR_SELF_TEST);
        assert_true(result.error > row->tolerance);
        assert_int_equal(slad_self_test_ensure(device, row, ""),
                         SLAD_ERROR_SELF_TEST); /* a failure is not remembered */
        caught++;
    }
    assert_true(caught > 0);
    slad_device_free(device);
}

/* A program that is specialised is tested as it is used. */
static void test_specialisation(void **state)
{
    scratch *own = *state;
    slad_device *device;
    slad_self_test_result result;
    assert_int_equal(open_device(own, &device, NULL), SLAD_OK);
    const unsigned before = slad_program_get_statistics(device).compiled;
    for (size_t i = 0; i < slad_attention_kernel_count; i++)
        assert_int_equal(slad_self_test_run(device, &slad_attention_kernels[i], "-DHEAD_DIM=24", &result), SLAD_OK);
    const unsigned specialised = slad_program_get_statistics(device).compiled;
    assert_true(specialised > before);
    assert_int_equal(slad_self_test_run(device, &slad_attention_kernels[0], "", &result), SLAD_OK);
    assert_true(slad_program_get_statistics(device).compiled > specialised);
    slad_device_free(device);
}

static void test_memory_of_passes(void **state)
{
    scratch *own = *state;
    slad_device *device;
    const slad_kernel_row *row = &slad_gelu_kernels[0];
    char what[128];
    (void)snprintf(what, sizeof what, "self-test %s", row->entry);
    assert_int_equal(open_device(own, &device, NULL), SLAD_OK);
    if (!device->features.cache_programs) skip();
    assert_false(slad_pass_recall(device, row->file, "", what));
    assert_int_equal(slad_self_test_ensure(device, row, ""), SLAD_OK);
    assert_true(slad_pass_recall(device, row->file, "", what));
    slad_device_free(device);
    assert_int_equal(open_device(own, &device, NULL), SLAD_OK);
    assert_true(slad_pass_recall(device, row->file, "", what));
    slad_device_free(device);
}

/* Memory that is missing while a self-test is recorded is told as that. */
static void test_without_memory(void **state)
{
    scratch *own = *state;
    size_t failures = 0;
    bool struck = true;
    for (uint64_t point = 1; struck; point++) {
        slad_store *store;
        slad_record *record;
        assert_int_equal(slad_store_create(own->context, &store, 1u << 20), SLAD_OK);
        assert_int_equal(slad_record_create(own->context, &record, store, "linear"), SLAD_OK);
        slad_fault_arm(own->context, point);
        slad_status status = slad_linear_kernels[0].self_test(own->context, record);
        if (status == SLAD_OK) status = slad_record_status(record);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        failures += struck;
        slad_record_free(record);
        slad_store_free(store);
    }
    assert_true(failures > 10);
}

/* The same while one runs, wherever the device fails; no copy outlives what it copies to. */
static void test_failing_device(void **state)
{
    scratch *own = *state;
    slad_device *device;
    slad_self_test_result result;
    uint64_t point = 1;
    size_t failures = 0;
    assert_int_equal(open_device(own, &device, NULL), SLAD_OK);
    for (bool struck = true; struck; point += 1 + point / 8) {
        slad_fault_arm(own->context, point);
        const slad_status status = slad_self_test_run(device, &slad_linear_kernels[0], "", &result);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        if (status == SLAD_OK) continue;
        assert_int_equal(status, SLAD_ERROR_OUT_OF_MEMORY);
        failures++;
    }
    assert_true(failures > 10);
    slad_device_free(device);
}

/* A plan that failed is half made, and is not taken for a whole one. */
static void test_failed_plan(void **state)
{
    scratch *own = *state;
    slad_device *device;
    slad_store *store;
    slad_record *record;
    slad_executor *executor;
    slad_memory_plan plan;
    const slad_kernel_row *row = &slad_gelu_kernels[0];
    const slad_executor_options options = {.skip_self_test = true};
    assert_int_equal(open_device(own, &device, NULL), SLAD_OK);
    assert_int_equal(slad_store_create(own->context, &store, 1u << 20), SLAD_OK);
    assert_int_equal(slad_record_create(own->context, &record, store, "gelu"), SLAD_OK);
    assert_int_equal(row->self_test(own->context, record), SLAD_OK);
    assert_int_equal(slad_executor_create_opencl(own->context, &executor, store, device, &options), SLAD_OK);
    assert_int_equal(slad_executor_add(executor, record), SLAD_OK);
    slad_fault_arm(own->context, 3);
    assert_int_equal(slad_executor_plan(executor, &plan), SLAD_ERROR_OUT_OF_MEMORY);
    slad_fault_arm(own->context, 0);
    assert_int_equal(slad_executor_plan(executor, &plan), SLAD_ERROR_INTERNAL);
    assert_message(own, "half made");
    slad_executor_free(executor);
    slad_record_free(record);
    slad_store_free(store);
    slad_device_free(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_kernel, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_wrong_kernel, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_specialisation, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_memory_of_passes, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_without_memory, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_failing_device, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_failed_plan, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
