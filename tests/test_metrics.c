/* The lines of metrics.jsonl. */
#include "scratch.h"

#include "base/json.h"
#include "io/metrics.h"
#include <math.h>

static void assert_file(scratch *own, const char *path, const char *expected)
{
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(slad_file_read_all(own->context, &bytes, &size, path, 1 << 20), SLAD_OK);
    assert_string_equal(bytes, expected);
    slad_release(bytes);
}

static void steps_have_their_keys(void **state)
{
    scratch *own = *state;
    const char *path = scratch_path(own, "metrics.jsonl");
    slad_metrics *metrics = NULL;
    assert_int_equal(slad_metrics_open(own->context, &metrics, path, true), SLAD_OK);
    slad_metrics_step step = {.step = 3000000000u,
                              .epoch = 2,
                              .loss = 0.1,
                              .has_student = true,
                              .has_teacher = true,
                              .has_kl = true,
                              .loss_student = 1.0 / 3.0,
                              .loss_teacher = 2.0,
                              .loss_kl = 1.25e-7,
                              .learning_rate = 5e-4,
                              .images_per_second = 123.4567890123};
    assert_int_equal(slad_metrics_write_step(own->context, metrics, &step), SLAD_OK);
    step.step++;
    step.has_teacher = step.has_kl = false;
    step.loss = NAN;
    step.loss_student = -INFINITY;
    assert_int_equal(slad_metrics_write_step(own->context, metrics, &step), SLAD_OK);
    static const char expected[] =
        "{\"step\":3000000000,\"epoch\":2,\"loss\":0.1,\"loss_student\":0.333333333,\"loss_teacher\":2,"
        "\"loss_kl\":1.25e-07,\"lr\":0.0005,\"images_per_s\":123.456789}\n"
        "{\"step\":3000000001,\"epoch\":2,\"loss\":null,\"loss_student\":null,\"lr\":0.0005,"
        "\"images_per_s\":123.456789}\n";
    assert_file(own, path, expected); /* before the file is closed */
    slad_metrics_close(metrics);
    slad_metrics_close(NULL);
}

static void objects_are_written_as_one_line(void **state)
{
    scratch *own = *state;
    const char *path = scratch_path(own, "metrics.jsonl");
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "event", "eval\nnew \"line\"");
    cJSON *student = cJSON_AddObjectToObject(object, "student");
    cJSON_AddNumberToObject(student, "top1", 0.12345678912345);
    cJSON_AddNumberToObject(student, "images", 12345678901.0);
    cJSON_AddNumberToObject(student, "below", -0.0);
    const double list[] = {1e300, 0.5, NAN};
    cJSON_AddItemToObject(object, "list", cJSON_CreateDoubleArray(list, 3));
    cJSON_AddBoolToObject(object, "flag", true);
    cJSON_AddNullToObject(object, "nothing");
    slad_metrics *metrics = NULL;
    assert_int_equal(slad_metrics_open(own->context, &metrics, path, true), SLAD_OK);
    assert_int_equal(slad_metrics_write(own->context, metrics, object), SLAD_OK);
    slad_metrics_close(metrics);
    assert_true(cJSON_IsNumber(cJSON_GetObjectItem(student, "top1"))); /* the caller's object is left alone */
    cJSON_Delete(object);
    static const char line[] = "{\"event\":\"eval\\nnew \\\"line\\\"\",\"student\":{\"top1\":0.123456789,"
                               "\"images\":12345678901,\"below\":0},\"list\":[1e+300,0.5,null],\"flag\":true,"
                               "\"nothing\":null}\n";
    assert_file(own, path, line);
    cJSON *back = NULL;
    assert_int_equal(slad_json_parse(own->context, &back, line, sizeof line - 1, "line"), SLAD_OK);
    cJSON_Delete(back);
}

/* Nine digits give back every float32. */
static void losses_keep_their_bits(void **state)
{
    scratch *own = *state;
    const char *path = scratch_path(own, "metrics.jsonl");
    static const float losses[] = {0.1f, 1.0f / 3.0f, 16777217.0f, 1.17549435e-38f, 3.40282347e38f, 2.30258509f};
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        slad_metrics *metrics = NULL;
        assert_int_equal(slad_metrics_open(own->context, &metrics, path, true), SLAD_OK);
        const slad_metrics_step step = {.loss = (double)losses[i]};
        assert_int_equal(slad_metrics_write_step(own->context, metrics, &step), SLAD_OK);
        slad_metrics_close(metrics);
        cJSON *json = NULL;
        double value = 0;
        assert_int_equal(slad_json_read(own->context, &json, path), SLAD_OK);
        assert_int_equal(slad_json_get_number(own->context, &value, json, "loss", true, 0, 1e39, path), SLAD_OK);
        assert_true((float)value == losses[i]);
        cJSON_Delete(json);
    }
}

static void lines_are_added_to_a_file_that_is_continued(void **state)
{
    scratch *own = *state;
    const char *path = scratch_path(own, "metrics.jsonl");
    cJSON *object = cJSON_CreateObject();
    slad_metrics *metrics = NULL;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(slad_metrics_open(own->context, &metrics, path, i == 0), SLAD_OK);
        assert_int_equal(slad_metrics_write(own->context, metrics, object), SLAD_OK);
        slad_metrics_close(metrics);
    }
    assert_file(own, path, "{}\n{}\n");
    cJSON_Delete(object);
}

static void failures_are_reported(void **state)
{
    scratch *own = *state;
    slad_metrics *metrics = NULL;
    assert_int_equal(slad_metrics_open(own->context, &metrics, scratch_path(own, "no/such"), true), SLAD_ERROR_WRITE);
    assert_null(metrics);
    assert_message(own, "no/such");
    const slad_metrics_step step = {.loss = 1};
    bool struck = true;
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_fault_arm(own->context, countdown);
        slad_status status = slad_metrics_open(own->context, &metrics, scratch_path(own, "metrics.jsonl"), true);
        if (status == SLAD_OK) status = slad_metrics_write_step(own->context, metrics, &step);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        slad_metrics_close(metrics);
        metrics = NULL;
        assert_true(countdown < 100);
    }
    FILE *full = fopen("/dev/full", "wb");
    if (!full) return;
    (void)fclose(full);
    assert_int_equal(slad_metrics_open(own->context, &metrics, "/dev/full", false), SLAD_OK);
    assert_int_equal(slad_metrics_write_step(own->context, metrics, &step), SLAD_ERROR_WRITE);
    assert_message(own, "/dev/full");
    slad_metrics_close(metrics);
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(steps_have_their_keys),  WITH_SCRATCH(objects_are_written_as_one_line),
        WITH_SCRATCH(losses_keep_their_bits), WITH_SCRATCH(lines_are_added_to_a_file_that_is_continued),
        WITH_SCRATCH(failures_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
