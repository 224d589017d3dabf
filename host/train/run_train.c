/* A whole training run. */
#include "base/files.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "base/threads.h"
#include "io/metrics.h"
#include "slad/export.h"
#include "train/report.h"
#include "train/run.h"
#include "train/run_config.h"
#include <math.h>
#include <string.h>

typedef struct slad_run {
    slad_context *context;
    const slad_run_options *options;
    slad_encoder *teacher, *student;
    slad_dataset *dataset;
    slad_preprocess preprocess;
    size_t image_size;
    slad_loader *training, *validation; /* validation NULL: the set has no such part */
    slad_trainer *trainer;
    slad_metrics *metrics;
    size_t steps_per_epoch;
    uint64_t total_steps;
    double last_report; /* clock */
    double rate;        /* images a second, smoothed for the progress bar */
    double accuracy;    /* of the last evaluation, else of the last batch */
    bool evaluated;
    const slad_batch *held; /* of the step in flight */
    size_t held_images;
    bool learnt;     /* from at least one image that was not broken */
    bool reportable; /* the folder is this run's */
} slad_run;

static const char *const run_files[] = {
    "config.json",     "metrics.jsonl",   "state.safetensors", "optimizer.safetensors", "student",
    "student-adapter", "teacher-adapter", "report.html",       SLAD_PREDICTED_FILE,     "summary.json"};

/* Whether path is folder, or lies below it; both absolute. */
static bool lies_in(const char *path, const char *folder)
{
    const size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Refuses to replace a file or folder of an old run that this run reads until its end. */
static slad_status check_replacing(slad_context *context, const char *old, const slad_run_options *options)
{
    slad_status status = SLAD_OK;
    const char *const inputs[] = {options->teacher, options->student, options->data};
    char *folder = NULL, *input = NULL;
    SLAD_TRY(slad_path_absolute(context, &folder, old));
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        if (!inputs[i] || slad_path_look(inputs[i]) == SLAD_PATH_MISSING) continue;
        SLAD_TRY(slad_path_absolute(context, &input, inputs[i]));
        SLAD_FAIL_IF(lies_in(input, folder), SLAD_ERROR_USAGE,
                     "%s belongs to the run that --overwrite would replace; choose another --out", inputs[i]);
        slad_release(input);
        input = NULL;
    }
cleanup:
    slad_release(folder);
    slad_release(input);
    return status;
}

/* Creates the folder and proves that it can be written to. A run that it holds already stays until its replacement is
 * ready to start: a mistyped path must not cost it. */
static slad_status prepare_folder(slad_context *context, const slad_run_options *options)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    const slad_path_kind kind = slad_path_look(options->out);
    SLAD_FAIL_IF(options->out[0] == '\0', SLAD_ERROR_USAGE, "--out is empty; name a folder");
    SLAD_FAIL_IF(kind != SLAD_PATH_MISSING && kind != SLAD_PATH_DIRECTORY, SLAD_ERROR_USAGE,
                 "--out %s is no folder; choose another", options->out);
    SLAD_TRY(slad_directory_create(context, options->out));
    for (size_t i = 0; i < sizeof run_files / sizeof *run_files; i++) {
        SLAD_TRY(slad_path_join(context, &path, options->out, run_files[i]));
        const bool exists = slad_path_look(path) != SLAD_PATH_MISSING;
        SLAD_FAIL_IF(exists && !options->overwrite, SLAD_ERROR_USAGE,
                     "%s already holds a run (%s); choose another --out, or give --overwrite", options->out,
                     run_files[i]);
        if (exists) SLAD_TRY(check_replacing(context, path, options));
        slad_release(path);
        path = NULL;
    }
    SLAD_TRY(slad_directory_test_writing(context, options->out));
cleanup:
    slad_release(path);
    return status;
}

/* Leaves nothing of another run in the folder. */
static slad_status clear_folder(slad_context *context, const char *folder)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    for (size_t i = 0; i < sizeof run_files / sizeof *run_files; i++) {
        SLAD_TRY(slad_path_join(context, &path, folder, run_files[i]));
        SLAD_TRY(slad_path_remove(context, path));
        slad_release(path);
        path = NULL;
    }
cleanup:
    slad_release(path);
    return status;
}

/* What config.json and the student's folder will name must be UTF-8; found out now, and not when all is trained. */
static slad_status check_names(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const char *const inputs[] = {run->options->teacher, run->options->student, run->options->data, run->options->init};
    char *path = NULL;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        if (!inputs[i]) continue;
        SLAD_TRY(slad_path_absolute(context, &path, inputs[i]));
        SLAD_FAIL_IF(!slad_text_is_utf8(path), SLAD_ERROR_DATA,
                     "%s: the path is not UTF-8, which config.json needs; rename it", path);
        slad_release(path);
        path = NULL;
    }
    for (size_t i = 0; i < slad_dataset_class_count(run->dataset); i++) {
        const char *name = slad_dataset_class_name(run->dataset, i);
        SLAD_FAIL_IF(!slad_text_is_utf8(name), SLAD_ERROR_DATA,
                     "%s: the class name \"%s\" is not UTF-8, which config.json needs; rename it", run->options->data,
                     name);
    }
cleanup:
    slad_release(path);
    return status;
}

static slad_status open_models_and_data(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const slad_run_options *options = run->options;
    const slad_dataset_options data_options = {options->strict_data};
    if (options->teacher) SLAD_TRY(slad_encoder_open(context, &run->teacher, options->teacher));
    SLAD_TRY(slad_encoder_open(context, &run->student, options->student));
    SLAD_TRY(slad_dataset_open(context, &run->dataset, options->data, &data_options));
    SLAD_FAIL_IF(slad_dataset_count(run->dataset, SLAD_SPLIT_TRAIN) == 0, SLAD_ERROR_DATA, "%s has no training images",
                 options->data);
    SLAD_TRY(check_names(run));
    run->image_size = options->train.image_size;
    SLAD_TRY(slad_run_preprocess(context, &run->preprocess, &run->image_size, options->student, run->dataset));
cleanup:
    return status;
}

static slad_status open_loaders(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const slad_train_options *train = &run->options->train;
    static const slad_augmentation augmentations[] = {
        [SLAD_AUGMENTATION_NONE] = SLAD_AUGMENT_NONE,
        [SLAD_AUGMENTATION_CROP_FLIP] = SLAD_AUGMENT_CROP_FLIP,
        [SLAD_AUGMENTATION_STRONG] = SLAD_AUGMENT_STRONG,
    };
    const bool tensors = slad_dataset_get_form(run->dataset) == SLAD_FORM_TENSORS;
    slad_loader_options options = {
        .batch = train->batch,
        .workers = train->workers,
        .slots = 4,
        .seed = train->seed,
        .shuffle = train->shuffle,
        .augmentation = augmentations[train->augment],
        .scale_low = train->crop_scale[0],
        .scale_high = train->crop_scale[1],
        .mixup = train->mixup,
        .cutmix = train->cutmix,
    };
    if (tensors && options.augmentation != SLAD_AUGMENT_NONE) {
        slad_log(context, SLAD_LOG_INFO, "Tensor files are never augmented: --augment %s has no effect",
                 train->augment == SLAD_AUGMENTATION_STRONG ? "strong" : "crop-flip");
        options.augmentation = SLAD_AUGMENT_NONE;
    }
    SLAD_TRY(slad_loader_create(context, &run->training, run->dataset, SLAD_SPLIT_TRAIN, &run->preprocess, &options));
    if (slad_dataset_count(run->dataset, SLAD_SPLIT_VALIDATION) == 0) {
        slad_log(context, SLAD_LOG_WARNING, "%s has no validation part: evaluation is left out", run->options->data);
    } else {
        options.shuffle = false;
        options.augmentation = SLAD_AUGMENT_NONE;
        options.mixup = options.cutmix = 0;
        options.slots = 2;
        SLAD_TRY(slad_loader_create(context, &run->validation, run->dataset, SLAD_SPLIT_VALIDATION, &run->preprocess,
                                    &options));
    }
    run->steps_per_epoch = slad_loader_batches(run->training);
    run->total_steps = train->steps ? train->steps : (uint64_t)train->epochs * run->steps_per_epoch;
cleanup:
    return status;
}

static slad_status open_trainer(slad_run *run, slad_device *device)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const slad_run_options *options = run->options;
    char *path = NULL;
    SLAD_TRY(slad_trainer_create(context, &run->trainer, device, run->teacher, run->student,
                                 slad_dataset_class_count(run->dataset), run->image_size, run->total_steps,
                                 &options->train));
    if (options->init) SLAD_TRY(slad_trainer_load(run->trainer, options->init));
    SLAD_TRY(clear_folder(context, options->out));
    SLAD_TRY(slad_run_config_write(context, options->out, options, run->trainer, run->dataset));
    SLAD_TRY(slad_path_join(context, &path, options->out, "metrics.jsonl"));
    SLAD_TRY(slad_metrics_open(context, &run->metrics, path, true));
    run->reportable = true;
    SLAD_TRY(slad_metrics_add_events(context, run->metrics, options->out, 0));
    slad_log(context, SLAD_LOG_INFO, "Training %zu values for %llu steps of %u images, on %s",
             slad_trainer_parameter_count(run->trainer), (unsigned long long)run->total_steps, options->train.batch,
             slad_device_get_info(device)->name);
cleanup:
    slad_release(path);
    return status;
}

static slad_status write_step(slad_run *run, const slad_step_report *report)
{
    const double now = slad_clock_seconds();
    const double rate = (double)run->held_images / (now > run->last_report ? now - run->last_report : 1e-9);
    const uint64_t epoch = report->step / run->steps_per_epoch;
    const slad_metrics_step line = {
        .step = report->step,
        .epoch = (double)epoch,
        .loss = report->loss,
        .has_student = true,
        .has_teacher = run->teacher != NULL,
        .has_kl = run->teacher != NULL,
        .loss_student = report->loss_student,
        .loss_teacher = report->loss_teacher,
        .loss_kl = report->loss_kl,
        .has_feature = run->options->train.feature_loss != SLAD_FEATURE_LOSS_NONE,
        .loss_feature = report->loss_feature,
        .learning_rate = report->learning_rate,
        .images_per_second = rate,
    };
    run->last_report = now;
    run->rate = run->rate > 0 ? 0.9 * run->rate + 0.1 * rate : rate;
    if (!run->evaluated) run->accuracy = report->accuracy;
    const slad_status status = slad_metrics_write_step(run->context, run->metrics, &line);
    const double left = (double)(run->total_steps - report->step - 1) * run->options->train.batch / run->rate;
    const slad_progress progress = {"training",   report->step + 1, run->total_steps, (int32_t)line.epoch,
                                    report->loss, run->accuracy,    run->rate,        left};
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
    for (size_t i = 0; i < batch->count; i++) run->learnt = run->learnt || batch->task_weights[i] != 0.0f;
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

static slad_status evaluate(slad_run *run, uint64_t steps_done)
{
    slad_status status = SLAD_OK;
    slad_evaluation student = {0}, teacher = {0};
    slad_predicted predicted = {0};
    cJSON *json = NULL;
    if (!run->validation) return SLAD_OK;
    SLAD_TRY(slad_trainer_evaluate(run->trainer, &student, &teacher, &predicted, run->validation,
                                   slad_dataset_count(run->dataset, SLAD_SPLIT_VALIDATION)));
    student.measure = teacher.measure = slad_dataset_measure(run->dataset);
    run->accuracy = student.top1;
    run->evaluated = true;
    const int64_t epoch = (int64_t)((steps_done + run->steps_per_epoch - 1) / run->steps_per_epoch) - 1;
    SLAD_TRY(slad_run_eval_json(run->context, &json, &student, &teacher, (int64_t)steps_done - 1, epoch));
    SLAD_TRY(slad_metrics_write(run->context, run->metrics, json));
    slad_predicted_describe(&predicted, run->dataset, SLAD_SPLIT_VALIDATION);
    SLAD_TRY(slad_predicted_write(run->context, &predicted, run->options->out));
    if (teacher.present)
        slad_log(run->context, SLAD_LOG_INFO, "Epoch %lld: student top-1 %.2f %%, teacher top-1 %.2f %% of %llu images",
                 (long long)epoch, 100 * student.top1, 100 * teacher.top1, (unsigned long long)student.images);
    else
        slad_log(run->context, SLAD_LOG_INFO, "Epoch %lld: student top-1 %.2f %% of %llu images", (long long)epoch,
                 100 * student.top1, (unsigned long long)student.images);
cleanup:
    cJSON_Delete(json);
    slad_evaluation_free(&student);
    slad_evaluation_free(&teacher);
    slad_predicted_free(&predicted);
    run->last_report = slad_clock_seconds();
    return status;
}

static slad_status export_results(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const size_t classes = slad_dataset_class_count(run->dataset);
    const char **names = NULL;
    SLAD_TRY(slad_allocate(context, &names, classes, sizeof *names, "class names"));
    for (size_t i = 0; i < classes; i++) names[i] = slad_dataset_class_name(run->dataset, i);
    SLAD_TRY(slad_trainer_export(run->trainer, run->options->out, names));
cleanup:
    slad_release(names);
    return status;
}

/* Errors that leave the trained values as they were: a step that diverged is skipped on the device. */
static bool values_survive(slad_status status)
{
    return status == SLAD_ERROR_INTERRUPTED || status == SLAD_ERROR_DIVERGED || status == SLAD_ERROR_DATA ||
           status == SLAD_ERROR_OUT_OF_MEMORY;
}

/* Writes what was trained so far, so that it stays usable; keeps the first error. */
static slad_status rescue(slad_run *run, slad_status reason)
{
    const slad_status landed = land(run);
    slad_status status = slad_trainer_save(run->trainer, run->options->out);
    if (status == SLAD_OK) status = export_results(run);
    if (status == SLAD_OK) slad_log(run->context, SLAD_LOG_INFO, "What was trained so far is in %s", run->options->out);
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

static slad_status train(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    bool fresh_evaluation = false;
    run->last_report = slad_clock_seconds();
    for (uint64_t done = 0; done < run->total_steps;) {
        SLAD_FAIL_IF(slad_cancelled(context), SLAD_ERROR_INTERRUPTED, "Interrupted after %llu of %llu steps",
                     (unsigned long long)done, (unsigned long long)run->total_steps);
        SLAD_TRY(take_step(run));
        done++;
        fresh_evaluation = false;
        if (done % run->steps_per_epoch) continue;
        SLAD_TRY(land(run));
        SLAD_TRY(slad_trainer_save(run->trainer, run->options->out));
        if (!evaluation_is_due(run, done)) continue;
        SLAD_TRY(evaluate(run, done));
        fresh_evaluation = true;
    }
    SLAD_TRY(land(run));
    SLAD_FAIL_IF(!run->learnt, SLAD_ERROR_DATA,
                 "%s: every training image of these %llu steps is broken; the warnings above say why",
                 run->options->data, (unsigned long long)run->total_steps);
    SLAD_TRY(slad_trainer_save(run->trainer, run->options->out));
    if (!fresh_evaluation) SLAD_TRY(evaluate(run, run->total_steps));
    SLAD_TRY(export_results(run));
cleanup:
    if (values_survive(status)) status = rescue(run, status);
    return status;
}

static void count_broken(const slad_run *run)
{
    const size_t training = run->training ? slad_loader_broken_count(run->training) : 0;
    const size_t validation = run->validation ? slad_loader_broken_count(run->validation) : 0;
    if (training || validation)
        slad_log(run->context, SLAD_LOG_WARNING, "%zu broken training and %zu broken validation images were skipped",
                 training, validation);
}

static void close_run(slad_run *run)
{
    count_broken(run);
    if (run->trainer) (void)slad_trainer_finish(run->trainer, NULL, NULL);
    slad_metrics_close(run->metrics);
    if (run->held) slad_loader_release(run->training, run->held);
    slad_trainer_free(run->trainer);
    slad_loader_free(run->training);
    slad_loader_free(run->validation);
    slad_dataset_free(run->dataset);
    slad_encoder_free(run->teacher);
    slad_encoder_free(run->student);
}

slad_status slad_run_train(slad_context *context, slad_device *device, const slad_run_options *options)
{
    slad_status status = SLAD_OK;
    slad_run run = {.context = context, .options = options};
    SLAD_TRY(slad_train_options_check(context, &options->train));
    SLAD_TRY(prepare_folder(context, options));
    SLAD_TRY(open_models_and_data(&run));
    SLAD_TRY(open_loaders(&run));
    SLAD_TRY(open_trainer(&run, device));
    SLAD_TRY(train(&run));
cleanup:
    close_run(&run);
    if (run.reportable && (status == SLAD_OK || values_survive(status))) {
        const bool measured = status == SLAD_OK && !options->skip_cka;
        const slad_status reported = slad_report_write(context, measured ? device : NULL, options->out, status);
        if (status == SLAD_OK) status = reported;
    }
    if (status == SLAD_OK)
        slad_log(context, SLAD_LOG_INFO, "Done: the merged student is in %s/student, a report in %s/report.html",
                 options->out, options->out);
    return status;
}
