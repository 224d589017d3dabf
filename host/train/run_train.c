/* A whole training run: its stages, one after the other. */
#include "base/files.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "train/report.h"
#include "train/run_training.h"
#include "train/start_adapters.h"
#include <stdio.h>
#include <string.h>

/* What config.json and the student's folder will name must be UTF-8; found out now, and not when all is trained. */
static slad_status check_names(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const slad_run_options *options = run->options;
    const char *const inputs[] = {options->teacher,    options->student,         options->data,           options->init,
                                  options->unlabelled, options->teacher_adapter, options->student_adapter};
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
                     "%s: the class name \"%s\" is not UTF-8, which config.json needs; rename it", options->data, name);
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
    if (options->train.teacher_adapt == SLAD_ADAPT_FROZEN)
        SLAD_TRY(slad_run_model_open(context, &run->frozen, options->teacher, true));
    else if (options->teacher)
        SLAD_TRY(slad_encoder_open(context, &run->teacher, options->teacher));
    SLAD_TRY(slad_encoder_open(context, &run->student, options->student));
    SLAD_TRY(slad_start_adapters_check(context, options, run->teacher, run->student));
    SLAD_TRY(slad_dataset_open(context, &run->dataset, options->data, &data_options));
    SLAD_FAIL_IF(slad_dataset_count(run->dataset, SLAD_SPLIT_TRAIN) == 0, SLAD_ERROR_DATA, "%s has no training images",
                 options->data);
    SLAD_TRY(slad_dataset_check_classes(context, run->dataset));
    if (options->unlabelled) SLAD_TRY(slad_dataset_add_unlabelled(context, run->dataset, options->unlabelled));
    SLAD_TRY(check_names(run));
    run->image_size = options->train.image_size;
    SLAD_TRY(slad_run_preprocess(context, &run->preprocess, &run->image_size, options->student, run->dataset));
    slad_hf_warn_of_position(context, slad_hf_config_of(run->student->files), options->train.position_mode,
                             run->image_size / slad_encoder_get_info(run->student)->patch, options->student);
cleanup:
    return status;
}

static slad_status open_loaders(slad_run *run)
{
    slad_context *context = run->context;
    static const slad_augmentation augmentations[] = {
        [SLAD_AUGMENTATION_NONE] = SLAD_AUGMENT_NONE,
        [SLAD_AUGMENTATION_CROP_FLIP] = SLAD_AUGMENT_CROP_FLIP,
        [SLAD_AUGMENTATION_STRONG] = SLAD_AUGMENT_STRONG,
    };
    slad_status status = SLAD_OK;
    const slad_train_options *train = &run->options->train;
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
        slad_log(context, SLAD_LOG_WARNING, "%s has no validation part: evaluation is left out%s", run->options->data,
                 train->keep == SLAD_KEEP_BEST ? ", and --keep best keeps the last state" : "");
    } else {
        options.shuffle = false;
        options.augmentation = SLAD_AUGMENT_NONE;
        options.mixup = options.cutmix = 0;
        options.slots = 2;
        SLAD_TRY(slad_loader_create(context, &run->validation, run->dataset, SLAD_SPLIT_VALIDATION, &run->preprocess,
                                    &options));
    }
cleanup:
    return status;
}

/* Unlabelled images count in the KL only. */
static bool distils(const slad_stage *stage)
{
    return stage->options.teacher_adapt != SLAD_ADAPT_NONE && stage->options.alpha_kl > 0;
}

static size_t epoch_steps(const slad_run *run, size_t stage)
{
    const size_t batch = run->options->train.batch;
    size_t images = slad_dataset_count(run->dataset, SLAD_SPLIT_TRAIN);
    if (distils(&run->stages[stage])) images += slad_dataset_unlabelled_count(run->dataset);
    return (images + batch - 1) / batch;
}

uint64_t slad_run_stage_steps(const slad_run *run, size_t stage)
{
    const slad_train_options *options = &run->options->train;
    return options->steps ? options->steps : (uint64_t)options->epochs * epoch_steps(run, stage);
}

uint64_t slad_run_steps_before(const slad_run *run, size_t stage)
{
    uint64_t steps = 0;
    for (size_t i = 0; i < stage; i++) steps += slad_run_stage_steps(run, i);
    return steps;
}

/* config.json and metrics.jsonl, new or gone on with. */
static slad_status open_records(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const slad_run_options *options = run->options;
    const bool resuming = run->resume.resuming;
    char *path = NULL;
    run->reportable = true;
    if (!resuming) SLAD_TRY(slad_run_folder_clear(context, options->out));
    SLAD_TRY(slad_path_join(context, &path, options->out, "metrics.jsonl"));
    SLAD_TRY(slad_metrics_open(context, &run->metrics, path, !resuming));
    SLAD_TRY(slad_metrics_add_events(context, run->metrics, options->out,
                                     resuming ? slad_run_steps_before(run, run->resume.stage) + run->resume.step : 0));
cleanup:
    slad_release(path);
    return status;
}

/* The file in the run's folder that holds what a stage trained. */
static slad_status stage_file(slad_run *run, char **path, slad_stage_kind kind)
{
    char name[32];
    (void)snprintf(name, sizeof name, "%s.safetensors", slad_stage_name(kind));
    return slad_path_join(run->context, path, run->options->out, name);
}

/* A frozen teacher tells the classes apart by their order: they must be the data's. A folder whose classes have no
 * names is trusted. */
static slad_status check_frozen_classes(slad_run *run, const slad_network_source *frozen)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const size_t classes = slad_dataset_class_count(run->dataset);
    SLAD_FAIL_IF(frozen->classes != classes, SLAD_ERROR_DATA,
                 "The frozen teacher %s tells %zu classes apart, the data has %zu; it must have been trained on them",
                 run->options->teacher, frozen->classes, classes);
    for (size_t i = 0; i < classes; i++) {
        const char *theirs = slad_run_model_class_name(&run->frozen, i),
                   *ours = slad_dataset_class_name(run->dataset, i);
        SLAD_FAIL_IF(
            strncmp(theirs, "LABEL_", 6) != 0 && strcmp(theirs, ours) != 0, SLAD_ERROR_DATA,
            "Class %zu is %s to the frozen teacher %s, but %s in the data; both must have the same classes in the "
            "same order",
            i, theirs, run->options->teacher, ours);
    }
cleanup:
    return status;
}

/* What the teacher's stage trained: its file, or state.safetensors of a run that had ended and is gone on with. */
static slad_status open_teacher_state(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    char *path = NULL;
    SLAD_TRY(stage_file(run, &path, SLAD_STAGE_TEACHER));
    if (run->resume.resuming && slad_path_look(path) == SLAD_PATH_MISSING) {
        slad_release(path);
        path = NULL;
        SLAD_TRY(slad_path_join(context, &path, run->options->out, "state.safetensors"));
    }
    SLAD_TRY(slad_safetensors_open(context, &run->teacher_state, path));
cleanup:
    slad_release(path);
    return status;
}

/* The frozen teacher of a stage: what the stage before trained, or what --teacher names. */
static slad_status find_frozen(slad_run *run, slad_trainer_setup *setup)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const slad_train_options *options = &run->options->train;
    if (setup->options->teacher_adapt != SLAD_ADAPT_FROZEN) return SLAD_OK;
    if (options->teacher_adapt == SLAD_ADAPT_FROZEN) {
        SLAD_TRY(slad_run_model_frozen(context, &setup->frozen, &run->frozen));
        SLAD_TRY(check_frozen_classes(run, &setup->frozen));
        setup->teacher = setup->frozen.encoder;
    } else {
        SLAD_TRY(open_teacher_state(run));
        setup->kept = run->teacher_state;
        setup->frozen = (slad_network_source){
            .encoder = run->teacher,
            .state = run->teacher_state,
            .prefix = "teacher.",
            .adapt = options->teacher_adapt,
            .options = options,
            .student = slad_encoder_get_info(run->student),
            .head = options->head,
            .classes = slad_dataset_class_count(run->dataset),
        };
    }
cleanup:
    return status;
}

/* Values that training starts from: adapters of PEFT, --init, a probe's heads; or the checkpoint. */
static slad_status set_values(slad_run *run)
{
    slad_status status = SLAD_OK;
    const slad_run_options *options = run->options;
    const bool resuming = run->resume.resuming && run->resume.stage == run->stage;
    char *path = NULL;
    const slad_train_options *train = &run->stages[run->stage].options;
    if (resuming) return slad_trainer_resume(run->trainer, options->out);
    if (options->teacher_adapter && train->teacher_adapt == SLAD_ADAPT_LORA)
        SLAD_TRY(slad_trainer_start_adapters(run->trainer, options->teacher_adapter, true));
    if (options->student_adapter && train->student_adapt == SLAD_ADAPT_LORA)
        SLAD_TRY(slad_trainer_start_adapters(run->trainer, options->student_adapter, false));
    if (options->init) SLAD_TRY(slad_trainer_load(run->trainer, options->init));
    if (run->stage > 0 && run->stages[0].kind == SLAD_STAGE_PROBE) {
        SLAD_TRY(stage_file(run, &path, SLAD_STAGE_PROBE));
        SLAD_TRY(slad_trainer_start_from(run->trainer, path));
    }
cleanup:
    slad_release(path);
    return status;
}

static slad_status open_trainer(slad_run *run)
{
    slad_context *context = run->context;
    slad_status status = SLAD_OK;
    const slad_stage *stage = &run->stages[run->stage];
    const slad_run_options *options = run->options;
    slad_loader_restrict(run->training, !distils(stage));
    run->steps_per_epoch = epoch_steps(run, run->stage);
    run->total_steps = slad_run_stage_steps(run, run->stage);
    slad_trainer_setup setup = {
        .teacher = stage->options.teacher_adapt == SLAD_ADAPT_NONE ? NULL : run->teacher,
        .student = stage->options.student_adapt == SLAD_ADAPT_NONE ? NULL : run->student,
        .options = &stage->options,
        .run_options = &options->train,
        .classes = slad_dataset_class_count(run->dataset),
        .image_size = run->image_size,
        .total_steps = run->total_steps,
        .stage = (uint32_t)run->stage,
    };
    SLAD_TRY(find_frozen(run, &setup));
    SLAD_TRY(slad_trainer_build(context, &run->trainer, run->device, &setup));
    SLAD_TRY(set_values(run));
    if (!run->metrics) SLAD_TRY(open_records(run));
    if (run->resume.resuming && run->resume.stage == run->stage)
        SLAD_TRY(slad_run_config_agree(context, options->out, run->trainer, run->dataset));
    else
        SLAD_TRY(slad_run_config_write(context, options->out, options, run->trainer, run->dataset));
    slad_log(context, SLAD_LOG_INFO, "%s %zu values for %llu steps of %u images, on %s",
             run->stage_count > 1 ? slad_stage_name(stage->kind) : "Training",
             slad_trainer_parameter_count(run->trainer), (unsigned long long)run->total_steps, options->train.batch,
             slad_device_get_info(run->device)->name);
cleanup:
    return status;
}

static void close_trainer(slad_run *run)
{
    if (run->trainer) (void)slad_trainer_finish(run->trainer, NULL, NULL);
    if (run->held) slad_loader_release(run->training, run->held);
    run->held = NULL;
    slad_trainer_free(run->trainer);
    slad_safetensors_close(run->teacher_state);
    run->trainer = NULL;
    run->teacher_state = NULL;
}

/* One stage after the other; of each but the last, what it trained stays in a file of its own until the end. */
static slad_status train(slad_run *run)
{
    slad_status status = SLAD_OK;
    char name[32];
    for (run->stage = run->resume.stage; run->stage < run->stage_count; run->stage++) {
        SLAD_TRY(open_trainer(run));
        SLAD_TRY(slad_run_stage(run));
        run->resume.evaluated = false;
        if (slad_run_in_last_stage(run)) break;
        (void)snprintf(name, sizeof name, "%s.safetensors", slad_stage_name(run->stages[run->stage].kind));
        SLAD_TRY(slad_trainer_save_values(run->trainer, run->options->out, name, false));
        close_trainer(run);
    }
    SLAD_TRY(slad_run_export_results(run));
cleanup:
    return status;
}

/* state.safetensors holds all of it by now. */
static slad_status remove_stage_files(slad_run *run)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    for (size_t i = 0; i + 1 < run->stage_count; i++) {
        SLAD_TRY(stage_file(run, &path, run->stages[i].kind));
        SLAD_TRY(slad_path_remove(run->context, path));
        slad_release(path);
        path = NULL;
    }
cleanup:
    slad_release(path);
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
    close_trainer(run);
    slad_metrics_close(run->metrics);
    slad_loader_free(run->training);
    slad_loader_free(run->validation);
    slad_dataset_free(run->dataset);
    slad_run_model_close(&run->frozen);
    slad_encoder_free(run->teacher);
    slad_encoder_free(run->student);
}

slad_status slad_run_train(slad_context *context, slad_device *device, const slad_run_options *options)
{
    slad_status status = SLAD_OK;
    slad_run run = {.context = context, .device = device, .options = options, .best = -1};
    SLAD_TRY(slad_train_options_check(context, &options->train));
    SLAD_FAIL_IF((options->train.teacher_adapt != SLAD_ADAPT_NONE) != (options->teacher != NULL), SLAD_ERROR_USAGE,
                 options->teacher ? "This method trains the student alone: leave --teacher out"
                                  : "This method has a teacher beside the student: give --teacher DIR");
    SLAD_FAIL_IF(
        options->unlabelled && (options->train.teacher_adapt == SLAD_ADAPT_NONE || options->train.alpha_kl == 0),
        SLAD_ERROR_USAGE, "--unlabelled images count in the distillation loss only, and %s; leave it out, or distil",
        options->train.alpha_kl == 0 ? "--alpha-kl is 0" : "this method has no teacher");
    if (options->train.loss == SLAD_LOSS_CONVEX && options->train.alpha_kl == 1)
        slad_log(context, SLAD_LOG_WARNING,
                 "--loss convex with --alpha-kl 1 weighs the student's labels by 0: it learns from the teacher alone; "
                 "lower --alpha-kl to let it see them");
    SLAD_TRY(slad_run_folder_prepare(context, options));
    SLAD_TRY(open_models_and_data(&run));
    SLAD_TRY(open_loaders(&run));
    run.stage_count = slad_stages_of(run.stages, &options->train);
    if (options->resume) SLAD_TRY(slad_run_find_checkpoint(&run));
    SLAD_TRY(train(&run));
    SLAD_TRY(remove_stage_files(&run));
cleanup:
    close_run(&run);
    if (run.reportable && (status == SLAD_OK || slad_run_values_survive(status))) {
        const bool measured = status == SLAD_OK && !options->skip_cka;
        const slad_status reported = slad_report_write(context, measured ? device : NULL, options->out, status);
        if (status == SLAD_OK) status = reported;
    }
    if (status == SLAD_OK)
        slad_log(context, SLAD_LOG_INFO, "Done: the merged student is in %s/student, a report in %s/report.html",
                 options->out, options->out);
    return status;
}
