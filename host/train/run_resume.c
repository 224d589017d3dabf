/* Going on with a run that was stopped. */
#include "base/files.h"
#include "base/json.h"
#include "base/memory.h"
#include "train/run_training.h"
#include <string.h>

/* Metrics larger than this are no metrics of ours. */
#define METRICS_LIMIT ((size_t)1 << 31)

struct slad_run_start {
    slad_run_config config;
};

slad_status slad_run_start_read(slad_context *context, slad_run_start **start, slad_run_options *options,
                                const char *run)
{
    slad_status status = SLAD_OK;
    slad_run_start *made = NULL;
    *start = NULL;
    SLAD_FAIL_IF(!slad_path_is_run(context, run), SLAD_ERROR_USAGE,
                 "%s holds no run with a checkpoint to resume; leave --resume out", run);
    SLAD_TRY(slad_allocate(context, &made, 1, sizeof *made, "the options of a run"));
    SLAD_TRY(slad_run_config_read(context, &made->config, run));
    const slad_run_config *config = &made->config;
    *options = (slad_run_options){
        .teacher = config->teacher,
        .student = config->student,
        .data = config->data,
        .init = config->init,
        .teacher_adapter = config->teacher_adapter,
        .student_adapter = config->student_adapter,
        .unlabelled = config->unlabelled,
        .strict_data = config->strict_data,
        .resume = true,
        .skip_cka = options->skip_cka,
        .train = config->train,
    };
    *start = made;
    made = NULL;
cleanup:
    slad_release(made);
    return status;
}

void slad_run_start_free(slad_run_start *start)
{
    if (!start) return;
    slad_run_config_free(&start->config);
    slad_release(start);
}

/* An option that was given must be the one that the run was started with; only the loader's threads never change a
 * result. */
static slad_status check_options(slad_context *context, const slad_train_options *given,
                                 const slad_train_options *started)
{
    slad_status status = SLAD_OK;
    char mine[SLAD_OPTION_TEXT], theirs[SLAD_OPTION_TEXT];
    for (size_t i = 0; i < slad_train_option_count(); i++) {
        const char *name = slad_train_option_at(i)->name;
        if (strcmp(name, "workers") == 0 || !slad_train_options_get(given, name, mine) ||
            !slad_train_options_get(started, name, theirs))
            continue;
        SLAD_FAIL_IF(strcmp(mine, theirs) != 0, SLAD_ERROR_USAGE,
                     "--%s is %s, but the run was started with %s; leave it out, or start a new run", name, mine,
                     theirs);
    }
cleanup:
    return status;
}

static slad_status check_path(slad_context *context, const char *option, const char *given, const char *started)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    if (given) SLAD_TRY(slad_path_absolute(context, &path, given));
    SLAD_FAIL_IF((path == NULL) != (started == NULL) || (path && strcmp(path, started) != 0), SLAD_ERROR_USAGE,
                 "%s is %s, but the run was started with %s; leave it out, or start a new run", option,
                 path ? path : "not given", started ? started : "none");
cleanup:
    slad_release(path);
    return status;
}

static slad_status check_agreement(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const slad_run_options *options = run->options;
    slad_run_config config;
    SLAD_TRY(slad_run_config_read(context, &config, options->out));
    SLAD_TRY(check_options(context, &options->train, &config.train));
    SLAD_TRY(check_path(context, "--teacher", options->teacher, config.teacher));
    SLAD_TRY(check_path(context, "--student", options->student, config.student));
    SLAD_TRY(check_path(context, "--data", options->data, config.data));
    SLAD_FAIL_IF((options->init == NULL) != (config.init == NULL) ||
                     (options->init && strcmp(options->init, config.init) != 0),
                 SLAD_ERROR_USAGE, "--init is not what the run was started with; leave it out");
    SLAD_TRY(check_path(context, "--unlabelled", options->unlabelled, config.unlabelled));
    SLAD_TRY(check_path(context, "--teacher-adapter", options->teacher_adapter, config.teacher_adapter));
    SLAD_TRY(check_path(context, "--student-adapter", options->student_adapter, config.student_adapter));
cleanup:
    slad_run_config_free(&config);
    return status;
}

/* Whether a line of metrics is of a step that the checkpoint holds; what it says of evaluations is noted. */
static bool belongs(slad_run *run, const cJSON *line)
{
    const uint64_t first = slad_run_steps_before(run, run->resume.stage), done = first + run->resume.step;
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(line, "step");
    const cJSON *event = cJSON_GetObjectItemCaseSensitive(line, "event");
    if (!cJSON_IsNumber(step) || step->valuedouble < 0 || step->valuedouble >= (double)done) return false;
    if (!cJSON_IsString(event) || strcmp(event->valuestring, "eval") != 0) return true;
    const cJSON *student = cJSON_GetObjectItemCaseSensitive(line, "student");
    const cJSON *top1 = cJSON_GetObjectItemCaseSensitive(student, "top1");
    if (step->valuedouble + 1 == (double)done) run->resume.evaluated = true;
    const bool last_stage = run->resume.stage + 1 == run->stage_count && step->valuedouble >= (double)first;
    if (last_stage && cJSON_IsNumber(top1) && top1->valuedouble > run->resume.best)
        run->resume.best = top1->valuedouble;
    return true;
}

/* Cuts metrics.jsonl back to the steps of the checkpoint; a line that a killed program left torn goes too. */
static slad_status cut_metrics(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    char *path = NULL, *text = NULL;
    slad_writer *writer = NULL;
    size_t size = 0;
    SLAD_TRY(slad_path_join(context, &path, run->options->out, "metrics.jsonl"));
    if (slad_path_look(path) == SLAD_PATH_MISSING) {
        slad_log(context, SLAD_LOG_WARNING, "%s is not there: what the steps before the checkpoint measured is lost",
                 path);
        goto cleanup;
    }
    SLAD_TRY(slad_file_read_all(context, &text, &size, path, METRICS_LIMIT));
    SLAD_TRY(slad_writer_open(context, &writer, path));
    for (char *line = text, *end; (end = memchr(line, '\n', size - (size_t)(line - text))); line = end + 1) {
        cJSON *json = cJSON_ParseWithLength(line, (size_t)(end - line));
        const bool kept = json && belongs(run, json);
        cJSON_Delete(json);
        if (kept) SLAD_TRY(slad_writer_write(writer, line, (size_t)(end + 1 - line)));
    }
    slad_writer *finished = writer;
    writer = NULL;
    SLAD_TRY(slad_writer_finish(finished));
cleanup:
    slad_writer_abandon(writer);
    slad_release(text);
    slad_release(path);
    return status;
}

slad_status slad_run_find_checkpoint(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    slad_resume_point *resume = &run->resume;
    *resume = (slad_resume_point){.resuming = true, .best = -1};
    SLAD_TRY(check_agreement(run));
    SLAD_TRY(slad_checkpoint_place(context, &resume->stage, &resume->step, run->options->out));
    SLAD_FAIL_IF(resume->stage >= run->stage_count || resume->step > slad_run_stage_steps(run, resume->stage),
                 SLAD_ERROR_DATA, "The checkpoint of %s is of step %llu of stage %llu, which this run does not have",
                 run->options->out, (unsigned long long)resume->step, (unsigned long long)resume->stage);
    SLAD_TRY(cut_metrics(run));
    run->best = resume->best;
    slad_log(context, SLAD_LOG_INFO, "Going on with %s after %llu of %llu steps", run->options->out,
             (unsigned long long)(slad_run_steps_before(run, resume->stage) + resume->step),
             (unsigned long long)slad_run_steps_before(run, run->stage_count));
cleanup:
    return status;
}
