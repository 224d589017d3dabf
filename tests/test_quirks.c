/* The quirk table: globs, version ranges, features, unusable devices, and the rules for rows. */
#include "cl/discovery.h"
#include "cl/quirks.h"
#include "cl_fixture.h"

static slad_device make_device(const char *platform, const char *vendor, const char *name, const char *driver)
{
    slad_device device = {.info = {.usable = true, .max_work_group = 256, .local_memory = 32768}};
    (void)snprintf(device.info.platform, sizeof device.info.platform, "%s", platform);
    (void)snprintf(device.info.vendor, sizeof device.info.vendor, "%s", vendor);
    (void)snprintf(device.info.name, sizeof device.info.name, "%s", name);
    (void)snprintf(device.info.driver, sizeof device.info.driver, "%s", driver);
    slad_features_set_defaults(&device);
    return device;
}

static void test_globs(void **state)
{
    (void)state;
    assert_true(slad_glob_matches("*", ""));
    assert_true(slad_glob_matches("*", "anything"));
    assert_true(slad_glob_matches("mali-g?1*", "Mali-G71 r0p1"));
    assert_true(slad_glob_matches("*ab*ab", "xabyabzab"));
    assert_true(slad_glob_matches("Oclgrind", "OCLGRIND"));
    assert_false(slad_glob_matches("Oclgrind", "Oclgrind Simulator"));
    assert_false(slad_glob_matches("mali-g?1*", "Mali-G7"));
    assert_false(slad_glob_matches("*ab*ab", "xab"));
    assert_false(slad_glob_matches("", "x"));
    assert_true(slad_glob_matches("", ""));
}

static void test_versions(void **state)
{
    (void)state;
    assert_int_equal(slad_version_compare("20.09", "20.9"), 0);
    assert_true(slad_version_compare("3.1+debian", "3.1") == 0);
    assert_true(slad_version_compare("3.10", "3.9") > 0);
    assert_true(slad_version_compare("3.1", "3.1.1") < 0);
    assert_true(slad_version_compare("3.1.0", "3.1") == 0);
    assert_true(slad_version_compare("Oclgrind 21.10", "21.9") > 0);
    assert_true(slad_version_compare("535.104.05 CUDA 12", "535.104.6") < 0);
    assert_true(slad_version_compare("1.", "1.0") == 0);
}

static void test_ranges(void **state)
{
    (void)state;
    const slad_quirk table[] = {
        {"Plat*", "*", "*", "2.0", "3.0", "row_lanes", 7, "r", "e"},
        {"*", "Ven?or", "*", "", "2.5", "use_clblast", 1, "r", "e"},
        {"*", "*", "Other", "1", "", "vector_width", 9, "r", "e"},
    };
    slad_device device = make_device("Platform", "Vendor", "Device", "driver 2.4");
    slad_quirks_apply(&device, table, 3);
    assert_int_equal(device.quirk_count, 2);
    assert_ptr_equal(device.quirks[0], &table[0]);
    assert_int_equal(device.features.row_lanes, 7);
    assert_true(device.features.use_clblast);
    assert_int_not_equal(device.features.vector_width, 9);

    /* `to` is outside of the range, `from` inside. */
    device = make_device("Platform", "Vendor", "Device", "3.0");
    slad_quirks_apply(&device, table, 3);
    assert_int_equal(device.quirk_count, 0);
    device = make_device("Platform", "x", "Device", "2.0");
    slad_quirks_apply(&device, table, 3);
    assert_int_equal(device.quirk_count, 1);
    /* A driver that tells no version is in no range. */
    device = make_device("Platform", "Vendor", "Device", "unknown");
    slad_quirks_apply(&device, table, 3);
    assert_int_equal(device.quirk_count, 0);
}

static void test_unusable(void **state)
{
    (void)state;
    const slad_quirk table[] = {
        {"*", "*", "*", "", "2", "unusable", 1, "computes wrong results", "e"},
        {"*", "*", "*", "", "2", "unusable", 1, "a second reason", "e"},
    };
    slad_device device = make_device("Platform", "Vendor", "Device", "1.9");
    slad_quirks_apply(&device, table, 2);
    assert_false(device.info.usable);
    assert_string_equal(device.info.reason, "computes wrong results");
    device = make_device("Intel Gen OCL Driver", "Intel", "Intel(R) HD Graphics IvyBridge M GT2", "1.3");
    slad_quirks_apply(&device, slad_quirk_table, slad_quirk_count);
    assert_false(device.info.usable);
}

/* More rows than a device has room for are cut, not written past the end. */
static void test_many_rows(void **state)
{
    (void)state;
    slad_quirk table[SLAD_MAX_QUIRKS + 8];
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        table[i] = (slad_quirk){"*", "*", "*", "1", "", "group_size", (int)i, "r", "e"};
    slad_device device = make_device("Platform", "Vendor", "Device", "1.9");
    slad_quirks_apply(&device, table, sizeof table / sizeof table[0]);
    assert_int_equal(device.quirk_count, SLAD_MAX_QUIRKS);
}

/* platforms/quirks.def states these rules. */
static void test_rules_for_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < slad_quirk_count; i++) {
        const slad_quirk *row = &slad_quirk_table[i];
        slad_features features = {0};
        assert_true(strcmp(row->feature, "unusable") == 0 || slad_features_set(&features, row->feature, row->value));
        assert_true(row->driver_from[0] || row->driver_to[0]);
        assert_true(strlen(row->reason) > 10);
        assert_true(strncmp(row->evidence, "https://", 8) == 0 || strncmp(row->evidence, "oclgrind ", 9) == 0);
    }
}

static void test_features_by_name(void **state)
{
    (void)state;
    slad_features features = {0};
    slad_device_feature list[SLAD_MAX_FEATURES];
    assert_true(slad_features_set(&features, "row_lanes", 32));
    assert_true(slad_features_set(&features, "has_fma", 5));
    assert_false(slad_features_set(&features, "row_lane", 1));
    assert_int_equal(features.row_lanes, 32);
    assert_true(features.has_fma);
    const size_t count = slad_features_list(list, &features);
    bool seen = false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, "row_lanes") == 0) seen = list[i].value == 32;
    }
    assert_true(seen);
}

static void test_default_features(void **state)
{
    (void)state;
    slad_device device = {.info = {.type = SLAD_DEVICE_GPU, .max_work_group = 48, .local_memory = 32768}};
    slad_features_set_defaults(&device);
    assert_int_equal(device.features.row_lanes, 32);
    assert_int_equal(device.features.group_size, 32);
    assert_int_equal(device.features.vector_width, 4);
    assert_true(device.features.use_clblast);
    device.info.max_work_group = 1024;
    device.info.local_memory = 128;
    slad_features_set_defaults(&device);
    assert_int_equal(device.features.row_lanes, 8);
    assert_int_equal(device.features.group_size, 64);

    device.info.type = SLAD_DEVICE_CPU;
    const unsigned native[] = {1, 4, 8, 16, 32}, expected[] = {4, 4, 8, 16, 16};
    for (size_t i = 0; i < 5; i++) {
        device.capabilities.native_float_width = native[i];
        slad_features_set_defaults(&device);
        assert_int_equal(device.features.vector_width, expected[i]);
        assert_int_equal(device.features.row_lanes, 1);
        assert_int_equal(device.features.block_group_size, 1);
        assert_false(device.features.use_clblast);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_globs),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_unusable),
        cmocka_unit_test(test_many_rows),
        cmocka_unit_test(test_rules_for_rows),
        cmocka_unit_test(test_features_by_name),
        cmocka_unit_test(test_default_features),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
