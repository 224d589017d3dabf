/* Comparisons of runs: groups, their numbers, tests between them, and what is said where there is none. */
#include "run_folder.h"

#include "base/json.h"
#include "slad/compare.h"
#include <math.h>

static const run_folder usual = {.name = "a0",
                                 .method = "slad",
                                 .fingerprint = "0123456789abcdef",
                                 .images = 100,
                                 .wrong_from = 0,
                                 .wrong_to = 20,
                                 .teacher = true};

/* Compares the runs of the test's folder; *json is to be deleted. */
static slad_status compare(scratch *own, cJSON **json, char **markdown, const char *const *names, size_t count)
{
    slad_comparison comparison;
    char folders[8][600], page[600];
    const char *runs[8];
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(folders[i], sizeof folders[i], "%s/%s", own->folder, names[i]);
        runs[i] = folders[i];
    }
    (void)snprintf(page, sizeof page, "%s/page.html", own->folder);
    const slad_compare_options options = {.runs = runs, .run_count = count, .page = page};
    const slad_status status = slad_compare(own->context, NULL, &comparison, &options);
    *json = NULL;
    if (status != SLAD_OK) return status;
    assert_int_equal(slad_json_parse(own->context, json, comparison.json, strlen(comparison.json), "json"), SLAD_OK);
    if (markdown) assert_int_equal(slad_duplicate(own->context, markdown, comparison.markdown), SLAD_OK);
    slad_comparison_free(&comparison);
    return status;
}

static const cJSON *at(const cJSON *json, const char *list, int index)
{
    const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItem(json, list), index);
    if (!item) fail_msg("there is no %s %d", list, index);
    return item;
}

static double number(const cJSON *json, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(json, name);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static void write_run(scratch *own, const char *name, const char *method, unsigned seed, size_t from, size_t to)
{
    run_folder run = usual;
    run.name = name;
    run.method = method;
    run.seed = seed;
    run.wrong_from = from;
    run.wrong_to = to;
    run_folder_write(own, &run);
}

/* Two groups of two seeds. Seed 0: 20 and 30 wrong, 10 of them the same; seed 1: 24 and 64 wrong, the first 24 the
 * same. */
static void test_groups(void **state)
{
    scratch *own = *state;
    static const char *const names[] = {"a0", "a1", "b1", "b0"};
    cJSON *json;
    char *markdown;
    write_run(own, "a0", "slad", 0, 0, 20);
    write_run(own, "a1", "slad", 1, 0, 24);
    write_run(own, "b0", "joint", 0, 10, 40);
    write_run(own, "b1", "joint", 1, 0, 64);
    assert_int_equal(compare(own, &json, &markdown, names, 4), SLAD_OK);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "groups")), 2);
    const cJSON *student = cJSON_GetObjectItem(at(json, "groups", 0), "student");
    assert_true(fabs(number(student, "mean") - 78) < 1e-9);
    assert_true(fabs(number(student, "deviation") - sqrt(8)) < 1e-9);
    assert_true(number(student, "low") == 76 && number(student, "high") == 80);
    assert_true(number(cJSON_GetObjectItem(at(json, "groups", 1), "step_s"), "mean") == 0.5);
    assert_true(number(at(json, "runs", 2), "group") == 1 && number(at(json, "runs", 2), "seed") == 1);
    const cJSON *pair = at(json, "significance", 0);
    assert_true(fabs(number(pair, "difference") - 25) < 1e-9);
    const cJSON *first = at(pair, "tests", 0), *second = at(pair, "tests", 1);
    assert_true(number(first, "seed") == 0 && number(first, "only_first") == 20 && number(first, "only_second") == 10);
    assert_true(fabs(number(first, "p") - erfc(9 / sqrt(60))) < 1e-9);
    assert_true(number(second, "only_first") == 40 && number(second, "only_second") == 0);
    assert_non_null(strstr(markdown, "| slad | 2 | 78.00 ± 2.83 | 100.00 ± 0.00 |"));
    assert_non_null(strstr(markdown, "| joint | -25.00 | 0.1, 7e-10 |"));
    slad_release(markdown);
    cJSON_Delete(json);
}

/* Options that differ stand in the label, presets of the method do not. */
static void test_labels(void **state)
{
    scratch *own = *state;
    static const char *const names[] = {"a", "b", "c", "d"};
    run_folder run = usual;
    cJSON *json;
    run.name = "a";
    run_folder_write(own, &run);
    run.name = "b";
    run.options = ",\"tau\":4";
    run_folder_write(own, &run);
    run.name = "c";
    run.options = ",\"share\":\"none\"";
    run.method = "joint";
    run_folder_write(own, &run);
    run.name = "d";
    run.options = NULL;
    run.method = "lora";
    run.teacher = false;
    run_folder_write(own, &run);
    assert_int_equal(compare(own, &json, NULL, names, 4), SLAD_OK);
    static const char *const labels[] = {"slad", "slad, tau 4", "joint", "lora"};
    for (int i = 0; i < 4; i++)
        assert_string_equal(cJSON_GetObjectItem(at(json, "groups", i), "label")->valuestring, labels[i]);
    assert_null(cJSON_GetObjectItem(at(json, "groups", 3), "teacher"));
    cJSON_Delete(json);
}

/* What sets groups apart is called by its name, and no name of a folder ends a cell of the table. */
static void test_names(void **state)
{
    scratch *own = *state;
    static const char *const names[] = {"a", "b", "c\xff\n"};
    run_folder run = usual;
    cJSON *json;
    char *markdown;
    run.name = "a";
    run_folder_write(own, &run);
    run.name = "b";
    run.student = "/models/s|t\\n\\u001b[31m";
    run_folder_write(own, &run);
    run.name = "c\xff\n";
    run.student = "/models/s";
    run.fingerprint = "fedcba9876543210";
    run_folder_write(own, &run);
    assert_int_equal(compare(own, &json, &markdown, names, 3), SLAD_OK);
    assert_string_equal(cJSON_GetObjectItem(at(json, "groups", 0), "label")->valuestring, "slad, student s");
    assert_non_null(strstr(markdown, "| slad, student s\\|t  [31m | 1 |"));
    assert_non_null(strstr(markdown, "c\xef\xbf\xbd  was not trained to its end\n"));
    assert_null(strchr(markdown, '\x1b'));
    slad_release(markdown);
    cJSON_Delete(json);
}

static void assert_note(const cJSON *json, const char *part)
{
    const cJSON *note;
    cJSON_ArrayForEach(note, cJSON_GetObjectItem(json, "notes")) if (strstr(note->valuestring, part)) return;
    fail_msg("no note says \"%s\"", part);
}

static void test_no_significance(void **state)
{
    scratch *own = *state;
    static const char *const other[] = {"a0", "b0"}, *const seeds[] = {"a0", "b7"}, *const without[] = {"a0", "c0"};
    run_folder run = usual;
    cJSON *json;
    write_run(own, "a0", "slad", 0, 0, 20);
    write_run(own, "b7", "joint", 7, 0, 20);
    write_run(own, "c0", "joint", 0, 0, 20);
    run.name = "b0";
    run.fingerprint = "fedcba9876543210";
    run_folder_write(own, &run);
    assert_int_equal(compare(own, &json, NULL, other, 2), SLAD_OK);
    assert_note(json, "fingerprints 0123456789abcdef and fedcba9876543210");
    assert_note(json, "trained on different data");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(at(json, "significance", 0), "tests")), 0);
    cJSON_Delete(json);
    assert_int_equal(compare(own, &json, NULL, seeds, 2), SLAD_OK);
    assert_note(json, "slad and joint have no seed in common");
    assert_note(json, "a0 was not trained to its end");
    cJSON_Delete(json);
    assert_int_equal(slad_path_remove(own->context, scratch_path(own, "c0/predictions.safetensors")), SLAD_OK);
    assert_int_equal(compare(own, &json, NULL, without, 2), SLAD_OK);
    assert_note(json, "c0 has no predictions");
    cJSON_Delete(json);
}

static void test_refusals(void **state)
{
    scratch *own = *state;
    static const char *const names[] = {"a0", "missing"};
    cJSON *json;
    write_run(own, "a0", "slad", 0, 0, 20);
    assert_int_equal(compare(own, &json, NULL, names, 2), SLAD_ERROR_DATA);
    assert_message(own, "missing/config.json");
    assert_int_equal(compare(own, &json, NULL, names, 0), SLAD_ERROR_USAGE);
    bool struck = true;
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_comparison comparison;
        char folder[600];
        (void)snprintf(folder, sizeof folder, "%s/a0", own->folder);
        const char *run = folder;
        const slad_compare_options options = {.runs = &run, .run_count = 1};
        slad_fault_arm(own->context, countdown);
        const slad_status status = slad_compare(own->context, NULL, &comparison, &options);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        slad_comparison_free(&comparison);
        assert_true(countdown < 5000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_groups, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_labels, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_names, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_no_significance, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_refusals, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
