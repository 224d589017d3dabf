#include "train/run_record.h"
#include "base/files.h"
#include "base/json.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* More than ten million steps: nobody reads a report of that. */
enum { METRICS_LIMIT = 1 << 30 };

static double number_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

/* A run that was killed and resumed has the steps since its last checkpoint once more: the later ones count. */
static void forget_repeated(slad_history *history, double step, size_t first)
{
    while (history->step_count > first && history->steps[history->step_count - 1].step >= step) history->step_count--;
    while (history->evaluation_count &&
           history->evaluations[history->evaluation_count - 1].steps > (double)history->step_count)
        history->evaluation_count--;
}

/* Numbers that are none of the usual ones, as far as there is room. */
static void take_others(slad_history *history, slad_history_step *step, const cJSON *line)
{
    static const char *const known[] = {"step",    "epoch",        "loss", "loss_student", "loss_teacher",
                                        "loss_kl", "loss_feature", "lr",   "images_per_s"};
    const cJSON *item;
    for (size_t i = 0; i < SLAD_HISTORY_OTHERS; i++) step->others[i] = NAN;
    cJSON_ArrayForEach(item, line)
    {
        size_t place = 0;
        bool is_known = !cJSON_IsNumber(item) || strlen(item->string) >= sizeof history->others[0];
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            is_known = is_known || strcmp(item->string, known[i]) == 0;
        if (is_known) continue;
        while (place < SLAD_HISTORY_OTHERS && history->others[place][0] &&
               strcmp(history->others[place], item->string) != 0)
            place++;
        if (place == SLAD_HISTORY_OTHERS) continue;
        memcpy(history->others[place], item->string, strlen(item->string) + 1);
        step->others[place] = item->valuedouble;
    }
}

static slad_status add_step(slad_context *context, slad_history *history, const cJSON *line, size_t first)
{
    slad_status status = SLAD_OK;
    slad_history_step step = {
        .step = number_of(line, "step"),
        .epoch = number_of(line, "epoch"),
        .loss = number_of(line, "loss"),
        .loss_student = number_of(line, "loss_student"),
        .loss_teacher = number_of(line, "loss_teacher"),
        .loss_kl = number_of(line, "loss_kl"),
        .loss_feature = number_of(line, "loss_feature"),
        .learning_rate = number_of(line, "lr"),
        .rate = number_of(line, "images_per_s"),
    };
    take_others(history, &step, line);
    forget_repeated(history, step.step, first);
    SLAD_TRY(slad_grow(context, &history->steps, &history->step_capacity, history->step_count + 1,
                       sizeof *history->steps, "the steps of a run"));
    history->steps[history->step_count++] = step;
cleanup:
    return status;
}

static slad_status add_evaluation(slad_context *context, slad_history *history, const cJSON *line)
{
    slad_status status = SLAD_OK;
    const cJSON *student = cJSON_GetObjectItemCaseSensitive(line, "student");
    const cJSON *teacher = cJSON_GetObjectItemCaseSensitive(line, "teacher");
    const cJSON *measure = cJSON_GetObjectItemCaseSensitive(line, "measure");
    SLAD_TRY(slad_grow(context, &history->evaluations, &history->evaluation_capacity, history->evaluation_count + 1,
                       sizeof *history->evaluations, "the evaluations of a run"));
    history->evaluations[history->evaluation_count++] = (slad_history_evaluation){
        .steps = (double)history->step_count,
        .epoch = number_of(line, "epoch"),
        .images = number_of(line, "images"),
        .student_top1 = number_of(student, "top1"),
        .student_mean = number_of(student, "mean_per_class"),
        .teacher_top1 = number_of(teacher, "top1"),
        .teacher_mean = number_of(teacher, "mean_per_class"),
        .by_class = cJSON_IsString(measure) &&
                    strcmp(measure->valuestring, slad_measure_name(SLAD_MEASURE_MEAN_PER_CLASS)) == 0,
    };
cleanup:
    return status;
}

/* The stage that the lines before were of: its name, and its first step's index. */
typedef struct stage_place {
    char name[32];
    size_t first;
} stage_place;

static slad_status begin_stage(slad_context *context, slad_history *history, stage_place *stage, const cJSON *line)
{
    slad_status status = SLAD_OK;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, "stage");
    const char *name = cJSON_IsString(item) ? item->valuestring : "";
    if (strncmp(stage->name, name, sizeof stage->name - 1) == 0) return SLAD_OK;
    (void)strncpy(stage->name, name, sizeof stage->name - 1);
    stage->first = history->step_count;
    if (history->step_count == 0) return SLAD_OK;
    SLAD_TRY(slad_grow(context, &history->marks, &history->mark_capacity, history->mark_count + 1,
                       sizeof *history->marks, "the stages of a run"));
    history->marks[history->mark_count++] = (double)history->step_count;
cleanup:
    return status;
}

static slad_status add_line(slad_context *context, slad_history *history, stage_place *stage, const char *text,
                            size_t length, const char *origin)
{
    slad_status status = SLAD_OK;
    cJSON *line = NULL;
    SLAD_TRY(slad_json_parse(context, &line, text, length, origin));
    const cJSON *event = cJSON_GetObjectItemCaseSensitive(line, "event");
    SLAD_TRY(begin_stage(context, history, stage, line));
    if (!event)
        SLAD_TRY(add_step(context, history, line, stage->first));
    else if (cJSON_IsString(event) && strcmp(event->valuestring, "eval") == 0)
        SLAD_TRY(add_evaluation(context, history, line));
cleanup:
    cJSON_Delete(line);
    return status;
}

/* What follows the last newline is a line that was not finished, of a machine that went off. */
static slad_status read_history(slad_context *context, slad_history *history, const char *path)
{
    slad_status status = SLAD_OK;
    char *bytes = NULL, *origin = NULL;
    size_t size = 0, number = 1;
    stage_place stage = {"", 0};
    if (slad_path_look(path) != SLAD_PATH_FILE) return SLAD_OK;
    SLAD_TRY(slad_file_read_all(context, &bytes, &size, path, METRICS_LIMIT));
    for (const char *at = bytes, *end; (end = memchr(at, '\n', size - (size_t)(at - bytes))); at = end + 1) {
        SLAD_TRY(slad_format(context, &origin, "%s, line %zu", path, number++));
        SLAD_TRY(add_line(context, history, &stage, at, (size_t)(end - at), origin));
        slad_release(origin);
        origin = NULL;
    }
cleanup:
    slad_release(bytes);
    slad_release(origin);
    return status;
}

static slad_status read_parts(slad_context *context, slad_run_record *record)
{
    slad_status status = SLAD_OK;
    char *config = NULL, *metrics = NULL, *summary = NULL, *predictions = NULL;
    SLAD_TRY(slad_path_join(context, &config, record->folder, "config.json"));
    SLAD_TRY(slad_path_join(context, &metrics, record->folder, "metrics.jsonl"));
    SLAD_TRY(slad_path_join(context, &summary, record->folder, SLAD_SUMMARY_FILE));
    SLAD_TRY(slad_path_join(context, &predictions, record->folder, SLAD_PREDICTED_FILE));
    SLAD_TRY(slad_run_config_read(context, &record->config, record->folder));
    SLAD_TRY(slad_json_read(context, &record->json, config));
    SLAD_TRY(read_history(context, &record->history, metrics));
    if (slad_path_look(summary) == SLAD_PATH_FILE) SLAD_TRY(slad_json_read(context, &record->summary, summary));
    if (slad_path_look(predictions) == SLAD_PATH_FILE) {
        SLAD_TRY(slad_predicted_read(context, &record->predicted, record->folder, record->config.classes));
        record->has_predicted = true;
    }
cleanup:
    slad_release(config);
    slad_release(metrics);
    slad_release(summary);
    slad_release(predictions);
    return status;
}

slad_status slad_run_record_read(slad_context *context, slad_run_record *record, const char *folder)
{
    slad_status status = SLAD_OK;
    *record = (slad_run_record){0};
    SLAD_TRY(slad_duplicate(context, &record->folder, folder));
    SLAD_TRY(read_parts(context, record));
cleanup:
    return status;
}

void slad_run_record_free(slad_run_record *record)
{
    slad_release(record->folder);
    slad_run_config_free(&record->config);
    cJSON_Delete(record->json);
    cJSON_Delete(record->summary);
    slad_release(record->history.steps);
    slad_release(record->history.evaluations);
    slad_release(record->history.marks);
    slad_predicted_free(&record->predicted);
    *record = (slad_run_record){0};
}

static const cJSON *object_of(const slad_run_record *record, const char *object)
{
    return object ? cJSON_GetObjectItemCaseSensitive(record->json, object) : record->json;
}

double slad_run_record_number(const slad_run_record *record, const char *object, const char *name)
{
    return number_of(object_of(record, object), name);
}

const char *slad_run_record_text(const slad_run_record *record, const char *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object_of(record, object), name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

const slad_history_evaluation *slad_run_record_kept(const slad_run_record *record)
{
    const slad_history *history = &record->history;
    const double begin = history->mark_count ? history->marks[history->mark_count - 1] : 0;
    const slad_history_evaluation *kept = NULL;
    for (size_t i = 0; i < history->evaluation_count; i++) {
        const slad_history_evaluation *other = &history->evaluations[i];
        const bool replaces = record->config.train.keep != SLAD_KEEP_BEST || !kept || kept->steps <= begin ||
                              other->student_top1 > kept->student_top1;
        if (replaces) kept = other;
    }
    return kept;
}

static int compare_numbers(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

slad_status slad_run_record_times(slad_context *context, slad_run_times *times, const slad_run_record *record)
{
    slad_status status = SLAD_OK;
    const slad_history *history = &record->history;
    const double unlabelled = slad_run_record_number(record, "data", "unlabelled_images");
    const double labelled = slad_run_record_number(record, "data", "train_images");
    const double batch = record->config.train.batch, images = labelled + (unlabelled > 0 ? unlabelled : 0);
    const double per_epoch = fmax(1, ceil(images / batch)), rest = images - (per_epoch - 1) * batch;
    const size_t last_stage = history->mark_count ? (size_t)history->marks[history->mark_count - 1] : 0;
    double *rates = NULL;
    size_t count = 0;
    *times = (slad_run_times){0};
    SLAD_TRY(slad_allocate(context, &rates, history->step_count, sizeof *rates, "the rates of steps"));
    for (size_t i = 0; i < history->step_count; i++) {
        const slad_history_step *step = &history->steps[i];
        const bool last = fmod(step->step, per_epoch) == per_epoch - 1;
        if (!(step->rate > 0)) continue;
        times->steps += (last ? rest : batch) / step->rate;
        if (i >= last_stage) rates[count++] = step->rate;
    }
    if (count == 0) goto cleanup;
    qsort(rates, count, sizeof *rates, compare_numbers);
    times->rate = rates[count / 2];
    times->step = batch / times->rate;
cleanup:
    slad_release(rates);
    return status;
}
