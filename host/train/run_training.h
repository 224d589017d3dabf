/* The inside of a training run, shared by run_train.c (its course), run_stage.c (one stage), run_folder.c (its folder)
 * and run_resume.c (going on with one that was stopped). */
#ifndef SLAD_TRAIN_RUN_TRAINING_H
#define SLAD_TRAIN_RUN_TRAINING_H

#include "io/metrics.h"
#include "train/run.h"
#include "train/run_config.h"
#include "train/run_model.h"
#include "train/stages.h"

/* Where a stopped run goes on, and what its metrics say of evaluations. */
typedef struct slad_resume_point {
    bool resuming;
    uint64_t stage, step; /* the stage of the checkpoint, and the steps of it that are done */
    bool evaluated;       /* the last of these steps has its evaluation */
    double best;          /* top-1 of the best evaluation of the last stage so far, -1: none */
} slad_resume_point;

typedef struct slad_run {
    slad_context *context;
    slad_device *device;
    const slad_run_options *options;
    slad_encoder *teacher, *student;
    slad_run_model frozen; /* of --teacher-adapt frozen: what --teacher names */
    slad_dataset *dataset;
    slad_preprocess preprocess;
    size_t image_size;
    slad_loader *training, *validation; /* validation NULL: the set has no such part */
    slad_metrics *metrics;
    size_t steps_per_epoch; /* of the stage under way */
    uint64_t total_steps;   /* likewise */
    slad_stage stages[SLAD_MOST_STAGES];
    size_t stage_count, stage;       /* the one under way */
    slad_safetensors *teacher_state; /* what the first of two stages trained */
    slad_trainer *trainer;
    slad_resume_point resume;

    double last_report;     /* clock */
    double last_checkpoint; /* clock */
    double rate;            /* images a second, smoothed for the progress bar */
    double accuracy;        /* of the last evaluation, else of the last batch */
    bool evaluated;
    double best;            /* top-1 of the evaluation that state.safetensors is kept of (--keep best), -1: none */
    const slad_batch *held; /* of the step in flight */
    size_t held_images;
    bool learnt;     /* from at least one image that was not broken */
    bool reportable; /* the folder is this run's */
} slad_run;

/* run_folder.c: creates the folder and proves that it can be written to. A run that it holds already stays until its
 * replacement is ready to start: a mistyped path must not cost it. With resume it must hold a run. */
slad_status slad_run_folder_prepare(slad_context *context, const slad_run_options *options);
/* Leaves nothing of another run in the folder. */
slad_status slad_run_folder_clear(slad_context *context, const char *folder);

/* run_resume.c: finds the checkpoint of the folder, checks that the options given agree with those of the run, and cuts
 * metrics.jsonl back to the checkpoint. Errors: SLAD_ERROR_USAGE for a contradiction, naming the option;
 * SLAD_ERROR_DATA. */
slad_status slad_run_find_checkpoint(slad_run *run);

/* run_train.c: steps of a stage, and those of all stages before it (of all, for stage_count). A stage that distils
 * covers unlabelled images too. */
uint64_t slad_run_stage_steps(const slad_run *run, size_t stage);
uint64_t slad_run_steps_before(const slad_run *run, size_t stage);

/* run_stage.c: trains the stage whose trainer run->trainer is, from trainer->step on: steps, checkpoints, evaluations.
 * After an error that leaves values as they were, what was trained is saved. */
slad_status slad_run_stage(slad_run *run);
/* Errors that leave the trained values as they were: a step that diverged is skipped on the device. */
bool slad_run_values_survive(slad_status status);
/* Merged student and adapters, from the trainer of the last stage. */
slad_status slad_run_export_results(slad_run *run);
bool slad_run_in_last_stage(const slad_run *run);

#endif
