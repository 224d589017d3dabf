/* What is read of a run's folder, and the page that is made of it. */
#include "run_folder.h"

#include "base/json.h"
#include "train/report.h"
#include <math.h>

static const run_folder usual = {.name = "run",
                                 .method = "slad",
                                 .options = ",\"lr\":0.125",
                                 .fingerprint = "0123456789abcdef",
                                 .images = 30,
                                 .wrong_from = 4,
                                 .wrong_to = 10,
                                 .teacher = true};

static char *read_text(scratch *own, const char *name)
{
    char *text = NULL;
    size_t size;
    assert_int_equal(slad_file_read_all(own->context, &text, &size, scratch_path(own, name), 1 << 24), SLAD_OK);
    return text;
}

static void read_run(scratch *own, slad_run_record *record)
{
    if (slad_run_record_read(own->context, record, scratch_path(own, "run")) != SLAD_OK)
        fail_msg("%s", slad_context_message(own->context));
}

static void test_record(void **state)
{
    scratch *own = *state;
    slad_run_record record;
    slad_run_times times;
    size_t counted;
    run_folder_write(own, &usual);
    read_run(own, &record);
    assert_int_equal(record.history.step_count, 3);
    assert_true(record.history.steps[2].learning_rate == 0.05 && isnan(record.history.steps[2].loss_kl));
    assert_true(slad_run_record_kept(&record)->student_top1 == 0.8 && slad_run_record_kept(&record)->steps == 3);
    assert_true(slad_run_record_number(&record, "memory_plan", "total_bytes") == 1048576);
    assert_true(isnan(slad_run_record_number(&record, "memory_plan", "no")));
    assert_string_equal(slad_run_record_text(&record, "device", "name"), "D");
    assert_string_equal(slad_run_record_text(&record, "device", "no"), "");
    assert_true(record.has_predicted);
    assert_int_equal(slad_predicted_right(&record.predicted, &record.predicted.student, &counted), 24);
    assert_int_equal(counted, 30);
    /* batches of 4, 4 and 2 of 10 images, at 4, 8 and 8 images a second */
    assert_int_equal(slad_run_record_times(own->context, &times, &record), SLAD_OK);
    assert_true(fabs(times.steps - (1 + 0.5 + 0.25)) < 1e-12 && times.step == 0.5 && times.rate == 8);
    slad_run_record_free(&record);
}

/* Steps that a resumed run made twice, the beginning of a stage, and a line that was not finished. */
static void test_history(void **state)
{
    scratch *own = *state;
    slad_run_record record;
    run_folder_write(own, &usual);
    run_folder_file(own, &usual, "metrics.jsonl",
                    "{\"step\":0,\"loss\":5,\"conflict\":0.5,\"stage\":\"teacher\"}\n{\"step\":1,\"loss\":4,\"stage\":"
                    "\"teacher\"}\n"
                    "{\"step\":2,\"loss\":9,\"stage\":\"teacher\"}\n"
                    "{\"event\":\"eval\",\"step\":2,\"stage\":\"teacher\",\"teacher\":{\"top1\":0.1}}\n"
                    "{\"step\":1,\"loss\":3,\"stage\":\"teacher\"}\n{\"event\":\"other\",\"stage\":\"teacher\"}\n"
                    "{\"step\":0,\"loss\":2,\"stage\":\"student\"}\n{\"step\":1,\"lo");
    read_run(own, &record);
    assert_int_equal(record.history.step_count, 3);
    assert_true(record.history.steps[1].loss == 3 && record.history.steps[2].loss == 2);
    assert_string_equal(record.history.others[0], "conflict");
    assert_string_equal(record.history.others[1], "");
    assert_true(record.history.steps[0].others[0] == 0.5 && isnan(record.history.steps[1].others[0]));
    assert_int_equal(record.history.evaluation_count, 0);
    assert_int_equal(record.history.mark_count, 1);
    assert_true(record.history.marks[0] == 2);
    slad_run_record_free(&record);
    run_folder_file(own, &usual, "metrics.jsonl", "{\"step\":0}\n{\"step\":1,,}\n{\"step\":2}\n");
    assert_int_equal(slad_run_record_read(own->context, &record, scratch_path(own, "run")), SLAD_ERROR_DATA);
    assert_message(own, "metrics.jsonl, line 2");
    slad_run_record_free(&record);
}

/* With --keep best the best student's evaluation counts, but only of the last stage. */
static void test_keep_best(void **state)
{
    static const char *const evaluation =
        "{\"event\":\"eval\",\"step\":0,\"stage\":\"%s\",\"student\":{\"top1\":%s},\"epoch\":%d}\n";
    static const char *const values[][2] = {{"a", "0.9"}, {"b", "0.5"}, {"b", "0.7"}, {"b", "0.7"}, {"b", "0.6"}};
    scratch *own = *state;
    for (int best = 0; best < 2; best++) {
        char lines[1024] = "";
        slad_run_record record;
        run_folder run = usual;
        run.options = best ? ",\"keep\":\"best\"" : NULL;
        run_folder_write(own, &run);
        for (int i = 0; i < 5; i++) {
            const size_t used = strlen(lines);
            int written =
                snprintf(lines + used, sizeof lines - used, "{\"step\":%d,\"stage\":\"%s\"}\n", i, values[i][0]);
            (void)snprintf(lines + used + written, sizeof lines - used - (size_t)written, evaluation, values[i][0],
                           values[i][1], i);
        }
        run_folder_file(own, &run, "metrics.jsonl", lines);
        read_run(own, &record);
        assert_true(slad_run_record_kept(&record)->epoch == (best ? 2 : 4));
        slad_run_record_free(&record);
    }
}

/* The page holds both texts, one behind the other. */
static void assert_order(const char *page, const char *first, const char *second)
{
    size_t at = 0;
    while (page[at] && strncmp(page + at, first, strlen(first)) != 0) at++;
    if (!page[at]) fail_msg("the page lacks \"%s\"", first);
    while (page[at] && strncmp(page + at, second, strlen(second)) != 0) at++;
    if (!page[at]) fail_msg("the page lacks \"%s\" behind \"%s\"", second, first);
}

/* Of many classes the pairs that are confused are listed, most often first. */
static void test_many_classes(void **state)
{
    scratch *own = *state;
    char folder[600];
    run_folder run = usual;
    run.classes = 40;
    run.images = 400;
    run.wrong_from = 0;
    run.wrong_to = 45;
    run_folder_write(own, &run);
    (void)snprintf(folder, sizeof folder, "%s/run", own->folder);
    assert_int_equal(slad_report_write(own->context, NULL, folder, SLAD_OK), SLAD_OK);
    char *page = read_text(own, "run/report.html");
    assert_non_null(strstr(page, "The 20 pairs"));
    static const char *const twice = "<td>&lt;4&gt;</td><td>&lt;5&gt;</td><td>2</td><td>10</td>";
    static const char *const once = "<td>&lt;5&gt;</td><td>&lt;6&gt;</td><td>1</td><td>10</td>";
    assert_order(page, twice, once);
    slad_release(page);
}

static void test_predictions(void **state)
{
    scratch *own = *state;
    slad_predicted predicted;
    run_folder_write(own, &usual);
    assert_int_equal(slad_predicted_read(own->context, &predicted, scratch_path(own, "run"), 2), SLAD_ERROR_DATA);
    assert_int_equal(slad_predicted_read(own->context, &predicted, scratch_path(own, "run"), 3), SLAD_OK);
    assert_true(predicted.validation && predicted.teacher.classes[7] == 1);
    assert_string_equal(predicted.fingerprint, "0123456789abcdef");
    slad_predicted_free(&predicted);
    /* A batch out of order, with a broken image, and a logit that is no number. */
    const float logits[3][3] = {{0, 2, 1}, {5, 0, 0}, {NAN, 1, 0}};
    int32_t labels[] = {1, 0, 0};
    float weights[] = {1, 0, 1};
    uint32_t indices[] = {2, 0, 1};
    const slad_batch batch = {.labels = labels, .task_weights = weights, .indices = indices, .capacity = 3, .count = 3};
    assert_int_equal(slad_predicted_start(own->context, &predicted, 3, true, false), SLAD_OK);
    slad_predicted_add(&predicted, &batch, &logits[0][0], NULL, 3);
    assert_true(predicted.labels[0] == -1 && predicted.labels[1] == 0 && predicted.labels[2] == 1);
    assert_true(predicted.student.classes[1] == 1 && predicted.student.classes[2] == 1);
    assert_true(fabs((double)predicted.student.probabilities[2] - 1 / (1 + exp(-2) + exp(-1))) < 1e-6);
    slad_predicted_free(&predicted);
}

static void test_page(void **state)
{
    scratch *own = *state;
    char folder[600];
    run_folder_write(own, &usual);
    (void)snprintf(folder, sizeof folder, "%s/run", own->folder);
    assert_int_equal(slad_report_write(own->context, NULL, folder, SLAD_OK), SLAD_OK);
    char *first = read_text(own, "run/report.html");
    static const char *const parts[] = {"80.00 %", "Confusion", "&lt;cat&gt;", "b&amp;w",           "Losses",
                                        "--lr",    "0.125",     "1.0 MiB",     "class=\"changed\"", "</html>"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(first, parts[i])) fail_msg("the report lacks \"%s\"", parts[i]);
    assert_null(strstr(first, "<cat>"));
    assert_null(strstr(first, "not finished"));
    assert_null(strstr(first, "Sample predictions"));
    assert_int_equal(slad_report_write(own->context, NULL, folder, SLAD_OK), SLAD_OK);
    char *again = read_text(own, "run/report.html");
    assert_string_equal(first, again);
    slad_release(first);
    slad_release(again);
    assert_int_equal(slad_report_write(own->context, NULL, folder, SLAD_ERROR_INTERRUPTED), SLAD_OK);
    first = read_text(own, "run/report.html");
    assert_non_null(strstr(first, "not finished: interrupted"));
    slad_release(first);
    cJSON *summary = NULL;
    assert_int_equal(slad_json_read(own->context, &summary, scratch_path(own, "run/summary.json")), SLAD_OK);
    assert_string_equal(cJSON_GetObjectItem(summary, "outcome")->valuestring, "interrupted");
    assert_true(cJSON_GetObjectItem(cJSON_GetObjectItem(summary, "times"), "step_s")->valuedouble == 0.5);
    cJSON_Delete(summary);
}

/* CKA that was measured once stays when the page is made again. */
static void test_cka_stays(void **state)
{
    scratch *own = *state;
    char folder[600];
    run_folder_write(own, &usual);
    (void)snprintf(folder, sizeof folder, "%s/run", own->folder);
    run_folder_file(
        own, &usual, "summary.json",
        "{\"cka\":{\"output\":{\"cls\":0.5,\"mean\":null},\"layers\":[{\"student\":0,\"teacher\":1,\"cka\":0.25},"
        "{\"student\":1,\"teacher\":3,\"cka\":0.75}],\"pretrained\":{\"output\":{\"cls\":0.625,\"mean\":1},"
        "\"layers\":[]},\"delta\":20}}");
    assert_int_equal(slad_report_write(own->context, NULL, folder, SLAD_OK), SLAD_OK);
    char *page = read_text(own, "run/report.html"), *summary = read_text(own, "run/summary.json");
    assert_non_null(strstr(page, "0.6250</td><td>0.5000"));
    assert_non_null(strstr(page, "teacher block 3</td><td>–</td><td>0.7500"));
    assert_non_null(strstr(page, "20.00 %"));
    assert_non_null(strstr(summary, "0.625"));
    slad_release(page);
    slad_release(summary);
}

static void test_faults(void **state)
{
    scratch *own = *state;
    char folder[600];
    bool struck = true;
    run_folder_write(own, &usual);
    (void)snprintf(folder, sizeof folder, "%s/run", own->folder);
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_fault_arm(own->context, countdown);
        const slad_status status = slad_report_write(own->context, NULL, folder, SLAD_OK);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_true(status == SLAD_OK || (struck && status == SLAD_ERROR_OUT_OF_MEMORY));
        assert_true(countdown < 5000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_record, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_history, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_keep_best, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_many_classes, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_predictions, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_page, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_cka_stays, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_faults, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
