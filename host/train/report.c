#include "train/report.h"
#include "base/files.h"
#include "base/json.h"
#include "base/memory.h"
#include "train/run_cka.h"
#include "train/stages.h"
#include <math.h>
#include <string.h>

/* ---- summary.json ------------------------------------------------------------------------------------------------ */

/* CKA as JSON, or NULL. A run that is complete without it is still complete. */
static cJSON *measure_cka(slad_context *context, slad_device *device, const slad_run_record *record)
{
    slad_eval_result result = {0};
    const double fits = slad_run_record_number(record, NULL, "micro_batch"); /* on the device, in training */
    const slad_eval_options options = {
        .model = record->folder,
        .data = record->config.data,
        .batch = fits >= 1 && fits <= record->config.train.batch ? (uint32_t)fits : record->config.train.batch,
        .workers = record->config.train.workers,
        .image_size = (uint32_t)record->config.image_size};
    cJSON *cka = NULL;
    slad_log(context, SLAD_LOG_INFO, "Measuring the similarity of teacher and student, before and after training");
    const slad_status status = slad_run_eval(context, device, &result, &options);
    if (status != SLAD_OK)
        slad_log(context, SLAD_LOG_WARNING, "CKA was not measured: %s", slad_context_message(context));
    else if (result.cka.present)
        cka = slad_cka_json(&result.cka);
    slad_eval_result_free(&result);
    return cka;
}

static void add_accuracy(cJSON *summary, const char *name, double top1, double mean)
{
    if (!isfinite(top1)) return;
    cJSON *model = cJSON_AddObjectToObject(summary, name);
    cJSON_AddNumberToObject(model, "top1", top1);
    cJSON_AddNumberToObject(model, "mean_per_class", mean);
}

/* {"outcome", "steps", "images", "student", "teacher", "cka", "times": {"steps_s", "step_s", "images_per_s"}} */
static slad_status write_summary(slad_context *context, slad_run_record *record, slad_device *device,
                                 slad_status outcome, const slad_run_times *times)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    cJSON *summary = cJSON_CreateObject();
    cJSON *cka = cJSON_DetachItemFromObjectCaseSensitive(record->summary, "cka");
    const slad_history_evaluation *last = slad_run_record_kept(record);
    const bool measured =
        device && record->config.teacher && slad_run_record_number(record, "data", "validation_images") >= 4;
    SLAD_TRY(slad_path_join(context, &path, record->folder, SLAD_SUMMARY_FILE));
    if (measured) {
        cJSON_Delete(cka);
        cka = measure_cka(context, device, record);
    }
    cJSON_AddStringToObject(summary, "outcome", outcome == SLAD_OK ? "done" : slad_status_name(outcome));
    cJSON_AddNumberToObject(summary, "steps", (double)record->history.step_count);
    if (last) {
        cJSON_AddNumberToObject(summary, "images", last->images);
        add_accuracy(summary, "student", last->student_top1, last->student_mean);
        add_accuracy(summary, "teacher", last->teacher_top1, last->teacher_mean);
    }
    if (cka) cJSON_AddItemToObject(summary, "cka", cka);
    cka = NULL;
    cJSON *clock = cJSON_AddObjectToObject(summary, "times");
    cJSON_AddNumberToObject(clock, "steps_s", times->steps);
    cJSON_AddNumberToObject(clock, "step_s", times->step);
    cJSON_AddNumberToObject(clock, "images_per_s", times->rate);
    SLAD_TRY(slad_json_write(context, path, summary));
    cJSON_Delete(record->summary);
    record->summary = summary;
    summary = NULL;
cleanup:
    slad_release(path);
    cJSON_Delete(cka);
    cJSON_Delete(summary);
    return status;
}

/* ---- report.html ------------------------------------------------------------------------------------------------- */

static void add_tile(slad_html *page, const char *name, double percent)
{
    if (!isfinite(percent)) return;
    slad_html_add(page, "<div class=\"tile\"><b>");
    slad_html_fixed(page, percent, 2);
    slad_html_format(page, " %%</b><span>%s</span></div>", name);
}

static void add_count_tile(slad_html *page, const char *name, double count)
{
    if (!isfinite(count)) return;
    slad_html_add(page, "<div class=\"tile\"><b>");
    slad_html_count(page, count);
    slad_html_format(page, "</b><span>%s</span></div>", name);
}

static void show_head(slad_html *page, const slad_run_record *record, const slad_run_times *times, slad_status outcome)
{
    const slad_history_evaluation *last = slad_run_record_kept(record);
    const cJSON *cka = cJSON_GetObjectItemCaseSensitive(record->summary, "cka");
    const cJSON *delta = cJSON_GetObjectItemCaseSensitive(cka, "delta");
    slad_stage stages[SLAD_MOST_STAGES];
    const double total =
        slad_run_record_number(record, NULL, "total_steps") * (double)slad_stages_of(stages, &record->config.train);
    slad_html_add(page, "<p class=\"soft\">Method ");
    slad_html_text(page, slad_run_record_text(record, "options", "method"));
    slad_html_add(page, ", begun ");
    slad_html_text(page, slad_run_record_text(record, NULL, "started"));
    slad_html_add(page, ", slad ");
    slad_html_text(page, slad_run_record_text(record, NULL, "slad_version"));
    slad_html_add(page, "</p>\n");
    if (outcome != SLAD_OK)
        slad_html_format(page, "<p class=\"bad\"><b>This run was not finished: %s.</b> It shows what there is.</p>\n",
                         slad_status_name(outcome));
    slad_html_add(page, "<div class=\"tiles\">");
    if (last) {
        add_tile(page, "student, top-1", 100 * last->student_top1);
        add_tile(page, "teacher, top-1", 100 * last->teacher_top1);
        add_tile(page, "student, mean per class", 100 * last->student_mean);
        add_count_tile(page, "images evaluated", last->images);
    }
    if (cJSON_IsNumber(delta)) add_tile(page, "Delta-CKA", delta->valuedouble);
    add_count_tile(page, "steps", (double)record->history.step_count);
    if ((double)record->history.step_count < total) add_count_tile(page, "steps planned", total);
    add_count_tile(page, "trained parameters", slad_run_record_number(record, NULL, "trained_parameters"));
    if (times->rate > 0) add_count_tile(page, "images a second", round(times->rate));
    slad_html_add(page, "</div>\n");
}

/* The columns of the history, one array each. */
enum {
    COLUMN_STEP,
    COLUMN_LOSS,
    COLUMN_STUDENT,
    COLUMN_TEACHER,
    COLUMN_KL,
    COLUMN_FEATURE,
    COLUMN_RATE,
    COLUMN_OTHERS,
    COLUMNS = COLUMN_OTHERS + SLAD_HISTORY_OTHERS
};

static slad_status show_steps(slad_context *context, slad_html *page, const slad_history *history)
{
    slad_status status = SLAD_OK;
    const size_t count = history->step_count;
    double *columns[COLUMNS] = {NULL};
    for (size_t c = 0; c < COLUMNS; c++)
        SLAD_TRY(slad_allocate(context, &columns[c], count, sizeof **columns, "the curves of a report"));
    for (size_t i = 0; i < count; i++) {
        const slad_history_step *step = &history->steps[i];
        columns[COLUMN_STEP][i] = (double)i;
        columns[COLUMN_LOSS][i] = step->loss;
        columns[COLUMN_STUDENT][i] = step->loss_student;
        columns[COLUMN_TEACHER][i] = step->loss_teacher;
        columns[COLUMN_KL][i] = step->loss_kl;
        columns[COLUMN_FEATURE][i] = step->loss_feature;
        columns[COLUMN_RATE][i] = step->learning_rate;
        for (size_t k = 0; k < SLAD_HISTORY_OTHERS; k++) columns[COLUMN_OTHERS + k][i] = step->others[k];
    }
    const slad_series losses[] = {
        {"weighted sum", columns[COLUMN_STEP], columns[COLUMN_LOSS], count, false},
        {"student", columns[COLUMN_STEP], columns[COLUMN_STUDENT], count, false},
        {"teacher", columns[COLUMN_STEP], columns[COLUMN_TEACHER], count, false},
        {"distillation", columns[COLUMN_STEP], columns[COLUMN_KL], count, false},
        {"features", columns[COLUMN_STEP], columns[COLUMN_FEATURE], count, false},
    };
    const slad_series rates[] = {{"adapters", columns[COLUMN_STEP], columns[COLUMN_RATE], count, false}};
    const slad_chart loss_chart = {"Losses", "step", true, "", history->marks, history->mark_count};
    const slad_chart rate_chart = {"Learning rate", "step", true, "", history->marks, history->mark_count};
    slad_chart_draw(page, &loss_chart, losses, sizeof losses / sizeof *losses);
    slad_chart_draw(page, &rate_chart, rates, 1);
    for (size_t k = 0; k < SLAD_HISTORY_OTHERS && history->others[k][0]; k++) {
        const slad_series other = {history->others[k], columns[COLUMN_STEP], columns[COLUMN_OTHERS + k], count, false};
        const slad_chart chart = {history->others[k], "step", false, "", history->marks, history->mark_count};
        slad_chart_draw(page, &chart, &other, 1);
    }
cleanup:
    for (size_t c = 0; c < COLUMNS; c++) slad_release(columns[c]);
    return status;
}

static slad_status show_accuracy(slad_context *context, slad_html *page, const slad_history *history)
{
    slad_status status = SLAD_OK;
    const size_t count = history->evaluation_count;
    double *values = NULL;
    SLAD_TRY(slad_allocate(context, &values, 3 * count, sizeof *values, "the curves of a report"));
    for (size_t i = 0; i < count; i++) {
        values[i] = history->evaluations[i].steps;
        values[count + i] = 100 * history->evaluations[i].student_top1;
        values[2 * count + i] = 100 * history->evaluations[i].teacher_top1;
    }
    const slad_series series[] = {{"student", values, values + count, count, true},
                                  {"teacher", values, values + 2 * count, count, true}};
    const slad_chart chart = {"Top-1 accuracy", "steps done", false, " %", history->marks, history->mark_count};
    slad_chart_draw(page, &chart, series, sizeof series / sizeof *series);
cleanup:
    slad_release(values);
    return status;
}

static void show_plan(slad_html *page, const slad_run_record *record)
{
    static const char *const rows[][2] = {{"weights_bytes", "weights"},
                                          {"trained_bytes", "trained values, gradients, moments"},
                                          {"activation_bytes", "activations"},
                                          {"total_bytes", "all, with the rest"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const double bytes = slad_run_record_number(record, "memory_plan", rows[i][0]);
        if (!isfinite(bytes)) continue;
        slad_html_add(page, "<tr><td>memory: ");
        slad_html_add(page, rows[i][1]);
        slad_html_add(page, "</td><td>");
        slad_html_bytes(page, bytes);
        slad_html_add(page, "</td></tr>\n");
    }
}

static void show_text(slad_html *page, const char *name, const char *text)
{
    if (!text[0]) return;
    slad_html_field(page, name);
    slad_html_text(page, text);
    slad_html_add(page, "</td></tr>\n");
}

static void show_running(slad_html *page, const slad_run_record *record, const slad_run_times *times)
{
    static const char *const device[][2] = {{"platform", "platform"}, {"name", "device"},
                                            {"vendor", "vendor"},     {"driver", "driver"},
                                            {"version", "version"},   {"gemm", "matrix products"}};
    slad_html_section(page, "Time, memory, device");
    slad_html_add(page, "<table class=\"fields\">\n");
    if (times->rate > 0) {
        slad_html_field(page, "training steps, without evaluation");
        slad_html_seconds(page, times->steps);
        slad_html_add(page, "</td></tr>\n");
        slad_html_field(page, "a step (median, last stage)");
        slad_html_number(page, 1000 * times->step, 4);
        slad_html_add(page, " ms, ");
        slad_html_number(page, times->rate, 4);
        slad_html_add(page, " images a second</td></tr>\n");
    }
    show_plan(page, record);
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        show_text(page, device[i][1], slad_run_record_text(record, "device", device[i][0]));
    slad_html_add(page, "</table>\n");
    slad_html_end_section(page);
}

static void show_inputs(slad_html *page, const slad_run_record *record)
{
    slad_html_section(page, "Models and data");
    slad_html_add(page, "<table class=\"fields\">\n");
    show_text(page, "teacher", slad_run_record_text(record, NULL, "teacher"));
    show_text(page, "student", slad_run_record_text(record, NULL, "student"));
    show_text(page, "started from", slad_run_record_text(record, NULL, "init"));
    show_text(page, "data", slad_run_record_text(record, "data", "path"));
    show_text(page, "fingerprint", slad_run_record_text(record, "data", "fingerprint"));
    slad_html_field(page, "training images");
    slad_html_count(page, slad_run_record_number(record, "data", "train_images"));
    slad_html_add(page, "</td></tr>\n");
    slad_html_field(page, "validation images");
    slad_html_count(page, slad_run_record_number(record, "data", "validation_images"));
    slad_html_format(page, "</td></tr>\n<tr><td>classes</td><td>%zu</td></tr>\n", record->config.classes);
    slad_html_format(page, "<tr><td>image size</td><td>%zu</td></tr></table>\n", record->config.image_size);
    slad_html_end_section(page);
}

/* All options; those that differ from the method's defaults are marked. */
static void show_options(slad_html *page, const slad_run_record *record)
{
    slad_train_options defaults = slad_train_options_default();
    char value[SLAD_OPTION_TEXT], usual[SLAD_OPTION_TEXT];
    slad_train_options_set_method(&defaults, record->config.train.method);
    slad_html_section(page, "Options");
    slad_html_add(page, "<p class=\"soft\">In bold: other than the method's default.</p><div class=\"wide\"><table "
                        "class=\"fields\"><tr><th>option</th><th>value</th><th>default</th></tr>\n");
    for (size_t i = 0; i < slad_train_option_count(); i++) {
        const char *name = slad_train_option_at(i)->name;
        if (!slad_train_options_get(&record->config.train, name, value) ||
            !slad_train_options_get(&defaults, name, usual))
            continue;
        const bool changed = strcmp(value, usual) != 0;
        slad_html_format(page, "<tr%s><td>--%s</td><td>", changed ? " class=\"changed\"" : "", name);
        slad_html_text(page, value);
        slad_html_add(page, "</td><td>");
        if (changed) slad_html_text(page, usual);
        slad_html_add(page, "</td></tr>\n");
    }
    slad_html_add(page, "</table></div>\n");
    slad_html_end_section(page);
}

/* A page without pictures is better than none: the data may have gone since. */
static void show_samples(slad_context *context, slad_html *page, const slad_run_record *record)
{
    const size_t length = page->length;
    if (page->status != SLAD_OK) return;
    slad_report_quietly(context, true);
    const slad_status status = slad_report_samples(context, page, record);
    slad_report_quietly(context, false);
    if (status == SLAD_OK) return;
    slad_log(context, SLAD_LOG_WARNING, "The report has no sample pictures: %s", slad_context_message(context));
    if (page->status == SLAD_OK) page->length = length;
}

static slad_status write_page(slad_context *context, const slad_run_record *record, const slad_run_times *times,
                              slad_status outcome)
{
    slad_status status = SLAD_OK;
    slad_html page = {0};
    char *path = NULL, *title = NULL;
    const char *name = strrchr(record->folder, '/');
    SLAD_TRY(slad_format(context, &title, "Run %s", name && name[1] ? name + 1 : record->folder));
    slad_html_begin(&page, context, title);
    SLAD_TRY(slad_path_join(context, &path, record->folder, "report.html"));
    show_head(&page, record, times, outcome);
    slad_html_section(&page, "Curves");
    SLAD_TRY(show_accuracy(context, &page, &record->history));
    SLAD_TRY(show_steps(context, &page, &record->history));
    slad_html_end_section(&page);
    slad_report_confusion(&page, record);
    slad_report_cka(&page, cJSON_GetObjectItemCaseSensitive(record->summary, "cka"));
    show_samples(context, &page, record);
    show_running(&page, record, times);
    show_inputs(&page, record);
    show_options(&page, record);
    SLAD_TRY(slad_html_write(&page, path));
cleanup:
    slad_html_free(&page);
    slad_release(path);
    slad_release(title);
    return status;
}

slad_status slad_report_write(slad_context *context, slad_device *device, const char *folder, slad_status outcome)
{
    slad_status status = SLAD_OK;
    slad_run_record record;
    slad_run_times times;
    SLAD_TRY(slad_run_record_read(context, &record, folder));
    SLAD_TRY(slad_run_record_times(context, &times, &record));
    SLAD_TRY(write_summary(context, &record, device, outcome, &times));
    SLAD_TRY(write_page(context, &record, &times, outcome));
cleanup:
    slad_run_record_free(&record);
    return status;
}
