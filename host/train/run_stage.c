/* One stage of a run: its steps, checkpoints and evaluations. */
#include "base/files.h"
#include "base/memory.h"
#include "base/threads.h"
#include "slad/export.h"
#include "train/run_training.h"
#include <math.h>

bool slad_run_in_last_stage(const slad_run *run)
{
    return run->stage + 1 == run->stage_count;
}

/* The run's number of the stage's first step. */
static uint64_t first_step(const slad_run *run)
{
    return slad_run_steps_before(run, run->stage);
}

/* As metrics call it; NULL for a run of one stage. */
static const char *stage_name(const slad_run *run)
{
    return run->stage_count > 1 ? slad_stage_name(run->stages[run->stage].kind) : NULL;
}

static bool keeps_best(const slad_run *run)
{
    return run->options->train.keep == SLAD_KEEP_BEST && run->validation && slad_run_in_last_stage(run);
}

static slad_status write_step(slad_run *run, const slad_step_report *report)
{
    const double now = slad_clock_seconds();
    const double rate = (double)run->held_images / (now > run->last_report ? now - run->last_report : 1e-9);
    const uint64_t epoch = report->step / run->steps_per_epoch;
    const slad_metrics_step line = {
        .step = first_step(run) + report->step,
        .epoch = (double)epoch,
        .stage = stage_name(run),
        .loss = report->loss,
        .has_student = !isnan(report->loss_student),
        .has_teacher = !isnan(report->loss_teacher),
        .has_kl = !isnan(report->loss_kl),
        .loss_student = report->loss_student,
        .loss_teacher = report->loss_teacher,
        .loss_kl = report->loss_kl,
        .has_feature = !isnan(report->loss_feature),
        .loss_feature = report->loss_feature,
        .has_shared = !isnan(report->shared_cosine),
        .shared_teacher_norm = report->shared_teacher_norm,
        .shared_student_norm = report->shared_student_norm,
        .shared_cosine = report->shared_cosine,
        .learning_rate = report->learning_rate,
        .images_per_second = rate,
    };
    run->last_report = now;
    run->rate = run->rate > 0 ? 0.9 * run->rate + 0.1 * rate : rate;
    if (!run->evaluated) run->accuracy = report->accuracy;
    const slad_status status = slad_metrics_write_step(run->context, run->metrics, &line);
    const double left = (double)(run->total_steps - report->step - 1) * run->options->train.batch / run->rate;
    const slad_progress progress = {stage_name(run) ? stage_name(run) : "training",
                                    report->step + 1,
                                    run->total_steps,
                                    (int32_t)line.epoch,
                                    report->loss,
                                    run->accuracy,
                                    run->rate,
                                    left};
    slad_progress_report(run->context, &progress);
    return status;
}

/* Ends the step in flight. */
static slad_status land(slad_run *run)
{
    slad_status status = SLAD_OK;
    slad_step_report report;
    bool has_report;
    status = slad_trainer_finish(run->trainer, &report, &has_report);
    if (has_report) {
        const slad_status written = write_step(run, &report);
        if (status == SLAD_OK) status = written;
    }
    if (run->held) slad_loader_release(run->training, run->held);
    run->held = NULL;
    return status;
}

static slad_status take_step(slad_run *run)
{
    slad_status status = SLAD_OK;
    const slad_batch *batch = NULL;
    slad_step_report report;
    bool has_report = false;
    SLAD_TRY(slad_loader_next(run->training, &batch));
    for (size_t i = 0; i < batch->count; i++) run->learnt = run->learnt || batch->kl_weights[i] != 0.0f;
    status = slad_trainer_step(run->trainer, batch, &report, &has_report);
    if (has_report) {
        const slad_status written = write_step(run, &report);
        if (status == SLAD_OK) status = written;
    }
    if (run->held) slad_loader_release(run->training, run->held);
    run->held = batch;
    run->held_images = batch->count;
cleanup:
    return status;
}

/* Says and writes what an evaluation found. */
static slad_status report_evaluation(slad_run *run, const slad_evaluation *student, const slad_evaluation *teacher,
                                     uint64_t steps_done)
{
    slad_status status = SLAD_OK;
    cJSON *json = NULL;
    const int64_t epoch = (int64_t)((steps_done + run->steps_per_epoch - 1) / run->steps_per_epoch) - 1;
    const int64_t step = (int64_t)(first_step(run) + steps_done) - 1;
    SLAD_TRY(slad_run_eval_json(run->context, &json, student, teacher, step, epoch));
    if (stage_name(run)) cJSON_AddStringToObject(json, "stage", stage_name(run));
    SLAD_TRY(slad_metrics_write(run->context, run->metrics, json));
    if (student->present && teacher->present)
        slad_log(run->context, SLAD_LOG_INFO, "Epoch %lld: student top-1 %.2f %%, teacher top-1 %.2f %% of %llu images",
                 (long long)epoch, 100 * student->top1, 100 * teacher->top1, (unsigned long long)student->images);
    else
        slad_log(run->context, SLAD_LOG_INFO, "Epoch %lld: %s top-1 %.2f %% of %llu images", (long long)epoch,
                 student->present ? "student" : "teacher", 100 * (student->present ? student : teacher)->top1,
                 (unsigned long long)(student->present ? student : teacher)->images);
cleanup:
    cJSON_Delete(json);
    return status;
}

/* Evaluates the moving average where there is one, and leaves the trainer as it was. */
static slad_status evaluate_values(slad_run *run, slad_evaluation *student, slad_evaluation *teacher,
                                   slad_predicted *predicted)
{
    slad_status status = slad_trainer_exchange(run->trainer);
    if (status != SLAD_OK) return status;
    status = slad_trainer_evaluate(run->trainer, student, teacher, predicted, run->validation,
                                   slad_dataset_count(run->dataset, SLAD_SPLIT_VALIDATION));
    const slad_status back = slad_trainer_exchange(run->trainer);
    return status != SLAD_OK ? status : back;
}

static slad_status evaluate(slad_run *run, uint64_t steps_done)
{
    slad_status status = SLAD_OK;
    slad_evaluation student = {0}, teacher = {0};
    slad_predicted predicted = {0};
    if (!run->validation) return SLAD_OK;
    SLAD_TRY(evaluate_values(run, &student, &teacher, &predicted));
    student.measure = teacher.measure = slad_dataset_measure(run->dataset);
    run->accuracy = student.present ? student.top1 : teacher.top1;
    run->evaluated = true;
    const bool best = keeps_best(run) && run->accuracy > run->best;
    /* Files before the line of metrics: who is stopped between them evaluates again. */
    if (best) SLAD_TRY(slad_trainer_save_values(run->trainer, run->options->out, "state.safetensors", true));
    if (best) run->best = run->accuracy;
    if (best || !keeps_best(run)) {
        slad_predicted_describe(&predicted, run->dataset, SLAD_SPLIT_VALIDATION);
        SLAD_TRY(slad_predicted_write(run->context, &predicted, run->options->out));
    }
    SLAD_TRY(report_evaluation(run, &student, &teacher, steps_done));
cleanup:
    slad_evaluation_free(&student);
    slad_evaluation_free(&teacher);
    slad_predicted_free(&predicted);
    run->last_report = slad_clock_seconds();
    return status;
}

/* A checkpoint. state.safetensors stays that of the best evaluation where that is wanted and there is one. */
static slad_status save(slad_run *run)
{
    slad_status status = SLAD_OK;
    if (!keeps_best(run) || run->best < 0)
        SLAD_TRY(slad_trainer_save_values(run->trainer, run->options->out, "state.safetensors", true));
    SLAD_TRY(slad_trainer_save_optimizer(run->trainer, run->options->out));
    run->last_checkpoint = slad_clock_seconds();
cleanup:
    return status;
}

/* What a run leaves: the values that state.safetensors holds. */
slad_status slad_run_export_results(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const size_t classes = slad_dataset_class_count(run->dataset);
    const char **names = NULL;
    char *path = NULL;
    SLAD_TRY(slad_allocate(context, &names, classes, sizeof *names, "class names"));
    for (size_t i = 0; i < classes; i++) names[i] = slad_dataset_class_name(run->dataset, i);
    if (keeps_best(run) && run->best >= 0) {
        SLAD_TRY(slad_path_join(context, &path, run->options->out, "state.safetensors"));
        SLAD_TRY(slad_trainer_start_from(run->trainer, path));
    } else {
        SLAD_TRY(slad_trainer_exchange(run->trainer));
    }
    SLAD_TRY(slad_trainer_export(run->trainer, run->options->out, names));
cleanup:
    slad_release(path);
    slad_release(names);
    return status;
}

bool slad_run_values_survive(slad_status status)
{
    return status == SLAD_ERROR_INTERRUPTED || status == SLAD_ERROR_DIVERGED || status == SLAD_ERROR_DATA ||
           status == SLAD_ERROR_OUT_OF_MEMORY;
}

/* Writes what was trained so far, so that it stays usable; keeps the first error. */
static slad_status rescue(slad_run *run, slad_status reason)
{
    const slad_status landed = land(run);
    slad_status status = save(run);
    if (status == SLAD_OK && slad_run_in_last_stage(run)) status = slad_run_export_results(run);
    if (status == SLAD_OK)
        slad_log(run->context, SLAD_LOG_INFO, "What was trained so far is in %s; --resume --out %s goes on with it",
                 run->options->out, run->options->out);
    if (reason == SLAD_ERROR_INTERRUPTED && landed != SLAD_OK) return landed;
    return reason == SLAD_ERROR_INTERRUPTED && status != SLAD_OK ? status : reason;
}

/* Whether an evaluation is due after this many steps: the end of every eval_every-th epoch. */
static bool evaluation_is_due(const slad_run *run, uint64_t steps_done)
{
    const double every = run->options->train.eval_every;
    const uint64_t epochs = steps_done / run->steps_per_epoch;
    if (every <= 0 || steps_done % run->steps_per_epoch) return false;
    return floor((double)epochs / every) > floor((double)(epochs - 1) / every);
}

/* Whether a checkpoint is due in the middle of an epoch. */
static bool checkpoint_is_due(const slad_run *run, uint64_t steps_done)
{
    const slad_train_options *options = &run->options->train;
    if (options->checkpoint_steps && steps_done % options->checkpoint_steps == 0) return true;
    return options->checkpoint_minutes > 0 &&
           slad_clock_seconds() - run->last_checkpoint >= 60 * options->checkpoint_minutes;
}

/* What is due after a step: a checkpoint, an evaluation. */
static slad_status after_step(slad_run *run, uint64_t steps_done)
{
    slad_status status = SLAD_OK;
    const bool epoch_ends = steps_done % run->steps_per_epoch == 0;
    run->resume.evaluated = false;
    if (!epoch_ends && !checkpoint_is_due(run, steps_done)) return SLAD_OK;
    SLAD_TRY(land(run));
    SLAD_TRY(save(run));
    if (!epoch_ends || !evaluation_is_due(run, steps_done)) return SLAD_OK;
    SLAD_TRY(evaluate(run, steps_done));
    run->resume.evaluated = true;
cleanup:
    return status;
}

static slad_status take_steps(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    for (uint64_t done = slad_trainer_steps_done(run->trainer); done < run->total_steps;) {
        SLAD_FAIL_IF(slad_cancelled(context), SLAD_ERROR_INTERRUPTED, "Interrupted after %llu of %llu steps",
                     (unsigned long long)(first_step(run) + done),
                     (unsigned long long)slad_run_steps_before(run, run->stage_count));
        SLAD_TRY(take_step(run));
        SLAD_TRY(after_step(run, ++done));
    }
    SLAD_TRY(land(run));
    SLAD_FAIL_IF(!run->learnt && !run->resume.resuming, SLAD_ERROR_DATA,
                 "%s: every training image of these %llu steps is broken; the warnings above say why",
                 run->options->data, (unsigned long long)run->total_steps);
cleanup:
    return status;
}

slad_status slad_run_stage(slad_run *run)
{
    slad_status status = SLAD_OK;
    const uint64_t done = slad_trainer_steps_done(run->trainer);
    const uint64_t epoch = done / run->steps_per_epoch;
    run->last_report = run->last_checkpoint = slad_clock_seconds();
    SLAD_TRY(slad_loader_seek(run->training, (uint32_t)epoch, (size_t)(done % run->steps_per_epoch)));
    /* stopped between the checkpoint at an epoch's end and its evaluation */
    if (done && done < run->total_steps && !run->resume.evaluated && evaluation_is_due(run, done))
        SLAD_TRY(evaluate(run, done));
    SLAD_TRY(take_steps(run));
    SLAD_TRY(save(run));
    if (!run->resume.evaluated) SLAD_TRY(evaluate(run, run->total_steps));
cleanup:
    if (slad_run_values_survive(status)) status = rescue(run, status);
    return status;
}
