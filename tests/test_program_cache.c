/* The disk cache: kept binaries are used, anything doubtful is rebuilt, failed builds leave nothing; passed checks. */
#include "base/hash.h"
#include "base/threads.h"
#include "cl/program_store.h"
#include "cl_fixture.h"

static const char add_kernel[] = "#include \"added.h\"\n"
                                 "__kernel void add(__global float *y, const uint y_offset)\n"
                                 "{\n"
                                 "    y[y_offset] += ADDED;\n"
                                 "}\n";
static const slad_kernel_row add_row = {.file = "add", .entry = "add", .arguments = "t", .rule = SLAD_WORK_ITEMS};

static cl_fixture fixture;

static int start(void **state)
{
    (void)state;
    cl_fixture_start(&fixture);
    cl_fixture_write(&fixture, "add.cl", add_kernel);
    cl_fixture_write(&fixture, "added.h", "#define ADDED 3.0f\n");
    return 0;
}

static int end(void **state)
{
    (void)state;
    cl_fixture_end(&fixture);
    return 0;
}

static slad_device *open_with_cache(const char *cache)
{
    const slad_device_options options = {.cache_directory = cache, .kernels_directory = fixture.folder};
    return cl_fixture_open(&fixture, &options);
}

static char cache_folder[512];
static const char *cache(void)
{
    (void)snprintf(cache_folder, sizeof cache_folder, "%s/cache", fixture.folder);
    return cache_folder;
}

/* Opens, runs the kernel, closes. Returns whether the program came from the cache. */
static bool run(float expected)
{
    slad_device *device = open_with_cache(cache());
    cl_mem y = NULL;
    float result = 1.0F;
    slad_launch launch;
    assert_int_equal(slad_buffer_create(device, &y, sizeof result, "y"), SLAD_OK);
    assert_int_equal(slad_buffer_write(device, y, 0, &result, sizeof result), SLAD_OK);
    const slad_argument argument = slad_argument_buffer(y, 0);
    const slad_work work = {.split_axis = -1};
    assert_int_equal(slad_launch_bind(device, &launch, &add_row, "", &argument, 1, work), SLAD_OK);
    assert_int_equal(slad_launch_enqueue(device, &launch), SLAD_OK);
    assert_int_equal(slad_buffer_read(device, &result, y, 0, sizeof result), SLAD_OK);
    assert_float_equal(result, expected, 0.0);
    const slad_program_statistics statistics = slad_program_get_statistics(device);
    assert_int_equal(statistics.from_cache + statistics.compiled, 1);
    slad_launch_free(&launch);
    slad_buffer_free(device, y, sizeof result);
    slad_device_free(device);
    return statistics.from_cache == 1;
}

/* The path of the only cache file that ends so; fails if there is not exactly one. */
static const char *only_file(const char *ending)
{
    static char path[1024];
    char folder[600];
    slad_directory directory;
    size_t found = 0;
    (void)snprintf(folder, sizeof folder, "%s/programs", cache());
    assert_int_equal(slad_directory_read(fixture.context, &directory, folder), SLAD_OK);
    for (size_t i = 0; i < directory.count; i++) {
        const char *name = directory.entries[i].name;
        if (strlen(name) < strlen(ending) || strcmp(name + strlen(name) - strlen(ending), ending) != 0) continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, name);
        found++;
    }
    slad_directory_free(&directory);
    assert_int_equal(found, 1);
    return path;
}

static void test_second_start(void **state)
{
    (void)state;
    assert_false(run(4.0F));
    assert_true(run(4.0F));
    assert_true(run(4.0F));
    slad_device *device = open_with_cache(cache());
    assert_int_equal(slad_path_look(only_file(".bin")), SLAD_PATH_FILE);
    slad_device_free(device);
}

/* Nothing but the device decides what a program computes: any change of a source, of an included one, or of what steers
 * compilers, is another program. */
static void test_changes(void **state)
{
    (void)state;
    assert_false(run(4.0F));
    cl_fixture_write(&fixture, "added.h", "#define ADDED 5.0f\n");
    assert_false(run(6.0F));
    assert_true(run(6.0F));
    assert_int_equal(setenv("IGC_SLAD_TEST", "1", 1), 0);
    assert_false(run(6.0F));
    assert_int_equal(setenv("IGC_SLAD_TEST", "2", 1), 0);
    assert_false(run(6.0F));
    assert_int_equal(unsetenv("IGC_SLAD_TEST"), 0);
    assert_true(run(6.0F));
}

/* Cut to every length near a boundary, or with one bit changed anywhere: rebuilt, and whole afterwards. */
static void test_damaged_files(void **state)
{
    (void)state;
    char *bytes = NULL;
    size_t size = 0;
    assert_false(run(4.0F));
    char path[1024];
    (void)snprintf(path, sizeof path, "%s", only_file(".bin"));
    assert_int_equal(slad_file_read_all(fixture.context, &bytes, &size, path, 1 << 28), SLAD_OK);
    const size_t lengths[] = {0, 1, 31, 32, 33, 200, size / 2, size - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        assert_int_equal(slad_file_write_all(fixture.context, path, bytes, lengths[i]), SLAD_OK);
        assert_false(run(4.0F));
        assert_true(run(4.0F));
    }
    const size_t places[] = {0, 7, 8, 16, 24, 32, 60, size / 2, size - 1};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        bytes[places[i]] = (char)(bytes[places[i]] ^ 0x10);
        assert_int_equal(slad_file_write_all(fixture.context, path, bytes, size), SLAD_OK);
        bytes[places[i]] = (char)(bytes[places[i]] ^ 0x10);
        assert_false(run(4.0F));
    }
    /* Bytes behind the end. */
    slad_release(bytes);
    assert_int_equal(slad_file_read_all(fixture.context, &bytes, &size, path, 1 << 28), SLAD_OK);
    assert_int_equal(slad_file_write_all(fixture.context, path, bytes, size + 1), SLAD_OK);
    assert_false(run(4.0F));
    slad_release(bytes);
    assert_true(run(4.0F));
}

/* A whole and valid file, but of another program: its key tells, whatever its name says. */
static void test_foreign_key(void **state)
{
    (void)state;
    char *bytes = NULL, first[1024];
    size_t size = 0;
    assert_false(run(4.0F));
    (void)snprintf(first, sizeof first, "%s", only_file(".bin"));
    assert_int_equal(slad_file_read_all(fixture.context, &bytes, &size, first, 1 << 28), SLAD_OK);
    assert_int_equal(slad_path_remove(fixture.context, first), SLAD_OK);
    cl_fixture_write(&fixture, "added.h", "#define ADDED 7.0f\n");
    assert_false(run(8.0F));
    assert_int_equal(slad_file_write_all(fixture.context, only_file(".bin"), bytes, size), SLAD_OK);
    assert_false(run(8.0F));
    assert_true(run(8.0F));
    slad_release(bytes);
}

static void test_failed_build_is_not_kept(void **state)
{
    (void)state;
    cl_fixture_write(&fixture, "add.cl", "__kernel void add(__global float *y) { nonsense }\n");
    slad_device *device = open_with_cache(cache());
    slad_program *program = NULL;
    assert_int_equal(slad_program_get(device, &program, "add", ""), SLAD_ERROR_BUILD);
    slad_device_free(device);
    char folder[600];
    (void)snprintf(folder, sizeof folder, "%s/programs", cache());
    assert_int_equal(slad_path_look(folder), SLAD_PATH_MISSING);
}

/* Where nothing can be written: said once, and the work goes on. */
static void test_unwritable(void **state)
{
    (void)state;
    slad_device *device = open_with_cache(cl_fixture_path(&fixture, "add.cl"));
    cl_kernel kernel = NULL;
    assert_int_equal(slad_kernel_create(device, &kernel, &add_row, ""), SLAD_OK);
    assert_int_equal(clReleaseKernel(kernel), CL_SUCCESS);
    slad_pass_remember(device, "add", "", "check");
    slad_pass_remember(device, "add", "", "another");
    slad_device_free(device);
    const char *warning = strstr(fixture.log, "not kept in");
    assert_non_null(warning);
    assert_null(strstr(warning + 1, "not kept in"));
    assert_string_equal(slad_context_message(fixture.context), "");
}

static void test_keep_all(void **state)
{
    (void)state;
    slad_device *device = open_with_cache(cache());
    cl_kernel kernel = NULL;
    assert_int_equal(slad_kernel_create(device, &kernel, &add_row, ""), SLAD_OK);
    slad_program_keep_all(device);
    assert_int_equal(slad_path_look(only_file(".bin")), SLAD_PATH_FILE);
    assert_int_equal(clReleaseKernel(kernel), CL_SUCCESS);
    slad_device_free(device);
    assert_true(run(4.0F));
}

static void test_passes(void **state)
{
    (void)state;
    slad_device *device = open_with_cache(cache());
    assert_false(slad_pass_recall(device, "add", "", "self-test add"));
    slad_pass_remember(device, "add", "", "self-test add");
    slad_pass_remember(device, "add", "", "gemm 8x8x8");
    slad_pass_remember(device, "add", "", "gemm 8x8x8");
    slad_pass_remember(device, "add", "", "two\nlines");
    slad_device_free(device);

    device = open_with_cache(cache());
    assert_true(slad_pass_recall(device, "add", "", "self-test add"));
    assert_true(slad_pass_recall(device, "add", "", "gemm 8x8x8"));
    assert_false(slad_pass_recall(device, "add", "", "gemm 8x8x80"));
    assert_false(slad_pass_recall(device, "add", "", "gemm 8x8x"));
    assert_false(slad_pass_recall(device, "add", "", "lines"));
    assert_false(slad_pass_recall(device, "add", "-DX", "self-test add"));
    slad_device_free(device);

    char *bytes = NULL, path[1024];
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s", only_file(".passes"));
    assert_int_equal(slad_file_read_all(fixture.context, &bytes, &size, path, 1 << 20), SLAD_OK);
    const char *twice = strstr(bytes, "gemm 8x8x8\n");
    assert_null(strstr(twice + 1, "gemm 8x8x8\n"));
    /* Cut inside the last line: only that one is forgotten. Damaged key: all are. */
    assert_int_equal(slad_file_write_all(fixture.context, path, bytes, size - 1), SLAD_OK);
    device = open_with_cache(cache());
    assert_true(slad_pass_recall(device, "add", "", "self-test add"));
    assert_false(slad_pass_recall(device, "add", "", "gemm 8x8x8"));
    bytes[60] ^= 1;
    assert_int_equal(slad_file_write_all(fixture.context, path, bytes, size), SLAD_OK);
    assert_false(slad_pass_recall(device, "add", "", "self-test add"));
    slad_pass_remember(device, "add", "", "self-test add");
    assert_true(slad_pass_recall(device, "add", "", "self-test add"));
    slad_device_free(device);
    slad_release(bytes);

    cl_fixture_write(&fixture, "added.h", "#define ADDED 9.0f\n");
    device = open_with_cache(cache());
    assert_false(slad_pass_recall(device, "add", "", "self-test add"));
    slad_device_free(device);
    device = open_with_cache("");
    slad_pass_remember(device, "add", "", "x");
    assert_false(slad_pass_recall(device, "add", "", "x"));
    slad_device_free(device);
}

enum { WRITERS = 4, ROUNDS = 40, BINARY = 100000 };

typedef struct writer {
    slad_device device;
    slad_program_store store;
    slad_program program;
    unsigned char binary[BINARY];
    unsigned bad_reads;
} writer;

/* Writes and reads the same cache file over and over. */
static void write_and_read(void *user)
{
    writer *self = user;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned char *binary = NULL;
        size_t size = 0;
        slad_program_cache_save(&self->device, &self->program, self->binary, BINARY);
        const bool found = slad_program_cache_load(&self->store, &self->program, &binary, &size);
        bool same = found && size == BINARY;
        for (size_t i = 1; same && i < size; i++) same = binary[i] == binary[0];
        self->bad_reads += !same;
        slad_release(binary);
    }
}

/* Several at once write different binaries under one key: every reader sees one of them whole. */
static void test_concurrent_writers(void **state)
{
    (void)state;
    static writer writers[WRITERS];
    slad_thread *threads[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) {
        writer *self = &writers[i];
        self->device.context = fixture.context;
        self->device.programs = &self->store;
        assert_int_equal(slad_context_create(&self->store.quiet, NULL, SLAD_LOG_ERROR), SLAD_OK);
        assert_int_equal(slad_duplicate(fixture.context, &self->store.cache_folder, fixture.folder), SLAD_OK);
        self->program.key = "one key";
        self->program.key_size = strlen(self->program.key);
        self->program.name = "shared";
        memset(self->binary, (int)(i + 1), BINARY);
        assert_int_equal(slad_thread_start(fixture.context, &threads[i], write_and_read, self), SLAD_OK);
    }
    for (unsigned i = 0; i < WRITERS; i++) slad_thread_join(threads[i]);
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(writers[i].bad_reads, 0);
        assert_non_null(writers[i].store.cache_folder); /* no writer gave up */
        slad_release(writers[i].store.cache_folder);
        slad_context_free(writers[i].store.quiet);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_second_start, start, end),
        cmocka_unit_test_setup_teardown(test_changes, start, end),
        cmocka_unit_test_setup_teardown(test_damaged_files, start, end),
        cmocka_unit_test_setup_teardown(test_foreign_key, start, end),
        cmocka_unit_test_setup_teardown(test_failed_build_is_not_kept, start, end),
        cmocka_unit_test_setup_teardown(test_unwritable, start, end),
        cmocka_unit_test_setup_teardown(test_keep_all, start, end),
        cmocka_unit_test_setup_teardown(test_passes, start, end),
        cmocka_unit_test_setup_teardown(test_concurrent_writers, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
