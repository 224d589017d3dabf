/* The check of a GEMM's shape (slad_gemm_verify): it passes what is right, sees each of several broken kernels, and is
 * remembered; and what becomes of a failure at any point. */
#include "cl_fixture.h"

#include "gemm/gemm.h"

typedef struct gemm_bench {
    cl_fixture fixture;
    slad_device *device;
    slad_gemm *gemm;
} gemm_bench;

static void start(gemm_bench *bench)
{
    memset(bench, 0, sizeof *bench);
    cl_fixture_start(&bench->fixture);
    bench->device = cl_fixture_open(&bench->fixture, NULL);
}

static void end(gemm_bench *bench)
{
    slad_gemm_free(bench->gemm);
    assert_int_equal(bench->device->allocated, 0);
    slad_device_free(bench->device);
    cl_fixture_end(&bench->fixture);
}

/* "1" in TEST_VARIANTS keeps to a few shapes and the device's own features, for simulators. */
static bool few(void)
{
    const char *variants = getenv("TEST_VARIANTS");
    return variants && strcmp(variants, "1") == 0;
}

static void open_gemm(gemm_bench *bench, slad_gemm_provider provider)
{
    assert_int_equal(slad_gemm_create(bench->device, &bench->gemm, provider), SLAD_OK);
    print_message("%s on %s\n", slad_gemm_description(bench->gemm), bench->device->info.name);
}

static const slad_gemm_problem odd_problem = {.rows = 71, .columns = 45, .depth = 66, .a_stride = 67, .c_stride = 48};

static void verify_switches(const gemm_bench *bench)
{
    slad_gemm_problem problem = odd_problem;
    for (unsigned i = 0; i < 4; i++) {
        problem.bias = i % 2 == 1;
        problem.accumulate = i / 2 == 1;
        if (slad_gemm_verify(bench->gemm, &problem) != SLAD_OK)
            fail_msg("%s", slad_context_message(bench->fixture.context));
    }
}

static void test_verify_accepts(void **state)
{
    gemm_bench bench;
    (void)state;
    start(&bench);
    open_gemm(&bench, SLAD_GEMM_REGISTER_TILE);
    verify_switches(&bench);
    if (!few() && bench.device->info.max_work_group >= SLAD_GEMM_CLBLAST_LEAST_GROUP) {
        slad_gemm_free(bench.gemm);
        open_gemm(&bench, SLAD_GEMM_CLBLAST);
        verify_switches(&bench);
    }
    end(&bench);
}

/* A folder of kernels in which `from` of one file is replaced by `to`. */
static void write_broken_kernels(const cl_fixture *fixture, const char *file, const char *from, const char *to)
{
    static const char *const names[] = {"common.h", "gemm.cl", "gemm_bias.cl", "gemm_pack.cl"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[512], broken[1 << 15];
        char *text = NULL;
        size_t size = 0;
        (void)snprintf(path, sizeof path, "%s/%s", SLAD_KERNEL_FOLDER, names[i]);
        assert_int_equal(slad_file_read_all(fixture->context, &text, &size, path, 1 << 20), SLAD_OK);
        const char *at = strcmp(names[i], file) == 0 ? strstr(text, from) : NULL;
        if (strcmp(names[i], file) == 0 && !at) fail_msg("%s no longer holds \"%s\"", file, from);
        if (at) {
            (void)snprintf(broken, sizeof broken, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
            cl_fixture_write(fixture, names[i], broken);
        } else {
            cl_fixture_write(fixture, names[i], text);
        }
        slad_release(text);
    }
}

/* Kernels with one fault each, as a miscompiling driver might give: the check must see every one. None of them writes
 * further than the guards that the check puts around its result. */
static void test_verify_catches(void **state)
{
    static const struct {
        const char *file, *from, *to;
        bool bias, accumulate;
    } faults[] = {
        {"gemm.cl", "k < depth; k++", "k + 1 < depth; k++", false, false},
        {"gemm.cl", "i < count; i++", "i < VECTOR_WIDTH; i++", false, false},
        {"gemm.cl", "if (use_bias) sum += vloadv(0, bias);", "", true, false},
        {"gemm.cl", "if (accumulate) element += c[i];", "", false, true},
        {"gemm.cl", "(floatv)(a_row[r][k])", "(floatv)(as_float(as_uint(a_row[r][k]) & 0xffffe000u))", false, false},
        {"gemm.cl", "row + r >= end_row", "row + r + 1 >= end_row", false, false},
        {"gemm_pack.cl", "element[j][i]", "element[j][0]", false, false},
        {"gemm_pack.cl", "const uint n = transposed ? i : o", "const uint n = transposed ? i : first_o", false, false},
    };
    (void)state;
    for (size_t i = 0; i < (few() ? 2 : sizeof faults / sizeof faults[0]); i++) {
        gemm_bench bench;
        start(&bench);
        slad_device_free(bench.device);
        write_broken_kernels(&bench.fixture, faults[i].file, faults[i].from, faults[i].to);
        bench.device = cl_fixture_open(
            &bench.fixture, &(slad_device_options){.cache_directory = "", .kernels_directory = bench.fixture.folder});
        assert_int_equal(slad_gemm_create(bench.device, &bench.gemm, SLAD_GEMM_REGISTER_TILE), SLAD_OK);
        slad_gemm_problem problem = odd_problem;
        problem.bias = faults[i].bias;
        problem.accumulate = faults[i].accumulate;
        if (slad_gemm_verify(bench.gemm, &problem) != SLAD_ERROR_SELF_TEST)
            fail_msg("fault %zu went unseen: %s", i, faults[i].from);
        assert_non_null(strstr(slad_context_message(bench.fixture.context), bench.device->info.name));
        assert_non_null(strstr(slad_context_message(bench.fixture.context), "71 x 45 x 66"));
        end(&bench);
    }
}

static void test_verify_remembers(void **state)
{
    gemm_bench bench;
    (void)state;
    start(&bench);
    for (int run = 0; run < 3; run++) {
        slad_device_free(bench.device);
        bench.device = cl_fixture_open(&bench.fixture, &(slad_device_options){.cache_directory = bench.fixture.folder});
        assert_int_equal(slad_gemm_create(bench.device, &bench.gemm, SLAD_GEMM_REGISTER_TILE), SLAD_OK);
        slad_gemm_problem problem = odd_problem;
        if (run == 2) problem.rows++;
        assert_int_equal(slad_gemm_verify(bench.gemm, &problem), SLAD_OK);
        if (run == 1) {
            assert_int_equal(bench.device->allocated_peak, 0);
        } else {
            assert_int_not_equal(bench.device->allocated_peak, 0);
        }
        slad_gemm_free(bench.gemm);
        bench.gemm = NULL;
    }
    end(&bench);
}

/* A failure at any point gives a status and leaves nothing behind. */
static void test_faults(void **state)
{
    (void)state;
    if (few()) skip();
    static const slad_gemm_provider providers[] = {SLAD_GEMM_REGISTER_TILE, SLAD_GEMM_CLBLAST};
    for (size_t p = 0; p < 2; p++) {
        gemm_bench bench;
        start(&bench);
        if (p == 1 && bench.device->info.max_work_group < SLAD_GEMM_CLBLAST_LEAST_GROUP) {
            end(&bench);
            break;
        }
        slad_gemm_problem problem = odd_problem;
        problem.bias = true;
        bool struck = true;
        for (uint64_t countdown = 1; struck; countdown++) {
            assert_true(countdown < 2000);
            slad_fault_arm(bench.fixture.context, countdown);
            slad_status status = slad_gemm_create(bench.device, &bench.gemm, providers[p]);
            if (status == SLAD_OK) status = slad_gemm_verify(bench.gemm, &problem);
            struck = !slad_fault_pending(bench.fixture.context);
            slad_fault_arm(bench.fixture.context, 0);
            assert_true(struck == (status != SLAD_OK));
            slad_gemm_free(bench.gemm);
            bench.gemm = NULL;
            assert_int_equal(bench.device->allocated, 0);
        }
        end(&bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verify_accepts),
        cmocka_unit_test(test_verify_catches),
        cmocka_unit_test(test_verify_remembers),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
