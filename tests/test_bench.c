/* slad_bench: what it tells is complete, its numbers fit together, and its limits hold. */
#include "formula.h"

#include "base/json.h"
#include "base/rates.h"
#include "cl/device.h"
#include "slad/bench.h"
#include "train/bench.h"

static slad_device *open_device(scratch *own)
{
    slad_device *device = NULL;
    const slad_device_options options = {.spec = getenv("TEST_DEVICE")};
    assert_int_equal(slad_device_open(own->context, &device, &options), SLAD_OK);
    return device;
}

static double number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!cJSON_IsNumber(item)) fail_msg("%s is missing", name);
    return item->valuedouble;
}

/* Runs it and checks what holds for every result. */
static cJSON *run(scratch *own, const slad_bench_options *options)
{
    cJSON *json = NULL;
    slad_bench_result result = {0};
    slad_device *device = open_device(own);
    slad_bench_options quick = *options;
    quick.turn_seconds = 1e-4;
    if (slad_bench(own->context, device, &result, &quick) != SLAD_OK)
        fail_msg("refused: %s", slad_context_message(own->context));
    assert_int_equal(device->allocated, 0);
    assert_int_equal(slad_json_parse(own->context, &json, result.json, strlen(result.json), "the result"), SLAD_OK);
    assert_non_null(strstr(result.markdown, "| kernels | sizes |"));
    assert_true(number(cJSON_GetObjectItem(json, "peak"), "gflops") > 0);
    assert_true(number(cJSON_GetObjectItem(cJSON_GetObjectItem(json, "peak"), "gb_per_s"), "median") > 0);
    slad_bench_result_free(&result);
    assert_null(result.json);
    slad_device_free(device);
    return json;
}

static void check_times(const cJSON *row, const char *unit)
{
    const cJSON *times = cJSON_GetObjectItem(row, unit);
    assert_true(number(times, "least") > 0);
    assert_true(number(times, "least") <= number(times, "median"));
    assert_true(number(times, "median") <= number(times, "greatest"));
    assert_int_equal((int)number(times, "count"), 5);
}

static const cJSON *find(const cJSON *rows, const char *name)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) if (strcmp(cJSON_GetObjectItem(row, "name")->valuestring, name) == 0) return row;
    fail_msg("there is no row %s", name);
    return NULL;
}

static void test_kernels(void **state)
{
    cJSON *json = run(*state, &(slad_bench_options){.batch = 1, .image_size = 14});
    const cJSON *kernels = cJSON_GetObjectItem(json, "kernels"), *row;
    static const char *const names[] = {"gemm",
                                        "attention",
                                        "attention backward",
                                        "layer_norm",
                                        "layer_norm backward",
                                        "layer_scale",
                                        "layer_scale backward",
                                        "gelu",
                                        "gelu backward",
                                        "loss and gradient",
                                        "optimizer"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) find(kernels, names[i]);
    cJSON_ArrayForEach(row, kernels) check_times(row, "us");
    row = find(kernels, "gemm"); /* rate x time is the work */
    const double flops = 2 * number(row, "rows") * number(row, "columns") * number(row, "depth");
    const double done = number(row, "gflops") * 1e3 * number(cJSON_GetObjectItem(row, "us"), "median");
    assert_true(fabs(done - flops) < 1e-6 * flops);
    assert_true(number(row, "rows") == 1 && number(row, "columns") == 768 && number(row, "depth") == 768);
    row = find(kernels, "attention");
    assert_true(number(row, "tokens") == 2 && number(row, "heads") == 12 && number(row, "head_width") == 64);
    assert_true(number(row, "of_peak") < 1.5);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "models")), 0);
    assert_int_equal((int)number(json, "left_out"), 0);
    cJSON_Delete(json);
}

static void test_models(void **state)
{
    scratch *own = *state;
    char teacher[1024], student[1024];
    formula_write_model(own, teacher, "teacher", &(formula_encoder){"teacher.", 128, 2, 2, 4, 14, 2});
    formula_write_model(own, student, "student", &(formula_encoder){"student.", 64, 2, 1, 4, 14, 2});
    cJSON *json = run(own, &(slad_bench_options){.teacher = teacher, .student = student, .batch = 2, .image_size = 28});
    const cJSON *models = cJSON_GetObjectItem(json, "models"), *model;
    assert_int_equal(cJSON_GetArraySize(models), 3);
    cJSON_ArrayForEach(model, models)
    {
        check_times(model, "ms");
        const double batch = number(model, "images_per_s") * number(cJSON_GetObjectItem(model, "ms"), "median");
        assert_true(fabs(batch - 2000) < 1e-3);
        assert_true(number(model, "device_bytes") > 0);
    }
    /* A slad pair trains the teacher's adapters and both heads. */
    const double trained = 2 * 16 * (128 + 3 * 128) + SLAD_BENCH_CLASSES * (2.0 * 128 + 1 + 2 * 64 + 1);
    const double told = number(find(cJSON_GetObjectItem(json, "kernels"), "optimizer"), "trained");
    assert_true(told >= trained && told < trained + 64);
    cJSON_Delete(json);

    json = run(own, &(slad_bench_options){.student = student, .batch = 1, .image_size = 28});
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "models")), 2);
    find(cJSON_GetObjectItem(json, "models"), "training, student (lora)");
    cJSON_Delete(json);
}

/* What has not begun in time is counted. */
static void test_limit(void **state)
{
    cJSON *json = run(*state, &(slad_bench_options){.batch = 1, .image_size = 14, .max_seconds = 1e-3});
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "kernels")), 0);
    assert_int_equal((int)number(json, "left_out"), 8 + 2 * 4 + 2);
    assert_true(strlen(cJSON_GetObjectItem(json, "gemm")->valuestring) > 0);
    cJSON_Delete(json);
}

static void assert_refused(scratch *own, slad_bench_options options, slad_status expected, const char *text)
{
    slad_bench_result result;
    slad_device *device = open_device(own);
    options.turn_seconds = 1e-4;
    assert_int_equal(slad_bench(own->context, device, &result, &options), expected);
    assert_message(own, text);
    assert_null(result.json);
    assert_null(result.markdown);
    slad_device_free(device);
}

static void test_refused(void **state)
{
    scratch *own = *state;
    char student[1024];
    formula_write_model(own, student, "student", &(formula_encoder){"student.", 64, 2, 1, 4, 14, 2});
    assert_refused(own, (slad_bench_options){.repetitions = 4}, SLAD_ERROR_USAGE, "--repetitions");
    assert_refused(own, (slad_bench_options){.teacher = student}, SLAD_ERROR_USAGE, "--student");
    assert_refused(own, (slad_bench_options){.image_size = 13}, SLAD_ERROR_USAGE, "--image-size");
    assert_refused(own, (slad_bench_options){.student = student, .image_size = 30}, SLAD_ERROR_USAGE, "14 px");
    assert_refused(own, (slad_bench_options){.student = "/nowhere"}, SLAD_ERROR_DATA, "/nowhere");
}

static void test_rates(void **state)
{
    (void)state;
    slad_rates rates = {.count = 0};
    assert_true(slad_rates_median(&rates) == 0);
    const double given[] = {3, 1, 5, 2, 4};
    for (size_t i = 0; i < 5; i++) slad_rates_add(&rates, given[i]);
    const slad_measured measured = slad_rates_measured(&rates);
    assert_true(measured.least == 1 && measured.median == 3 && measured.greatest == 5 && measured.count == 5);
    assert_true(rates.all[0] == 3);
    for (size_t i = 0; i < SLAD_MOST_RATES; i++) slad_rates_add(&rates, 7);
    assert_int_equal(rates.count, SLAD_MOST_RATES);
    assert_true(slad_rates_best(&rates) == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rates, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_kernels, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_models, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_limit, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_refused, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
