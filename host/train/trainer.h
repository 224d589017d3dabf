/* The inside of a trainer, shared by trainer.c (making it), trainer_memory.c (fitting it), trainer_step.c (running it)
 * and trainer_state.c (files). */
#ifndef SLAD_TRAIN_TRAINER_H
#define SLAD_TRAIN_TRAINER_H

#include "graph/executor.h"
#include "slad/train.h"
#include "train/network_source.h"

/* One forward pass as a record: its inputs and what is read back. */
typedef struct slad_pass {
    slad_record *record;
    const slad_tensor *pixels, *labels, *task_weights, *kl_weights; /* the last three in training only */
    const slad_tensor *labels_2, *mix;                              /* where images are mixed, else NULL */
    const slad_tensor *samples;                                     /* with LoRA dropout, else NULL */
    const slad_tensor *student_tokens, *teacher_tokens;             /* after the final LayerNorm */
    const slad_tensor *student_logits, *teacher_logits;
} slad_pass;

/* What a step in flight reads and writes on the host. Two of them take turns, so that the host prepares one while the
 * device works on the other. */
typedef struct slad_flight {
    float step_values[SLAD_STEP_VALUES];
    float report[SLAD_REPORT];
    float *pixels; /* a last micro-batch that the caller's batch does not cover, [micro_batch, 3, H, W] */
    int32_t *labels, *labels_2;
    int32_t mask_key[4]; /* of dropout: seed and step of which the masks are functions */
    float *task_weights, *kl_weights, *mix;
    slad_ticket ticket;
    uint64_t step;
    double learning_rate;
    bool under_way;
} slad_flight;

/* How a trainer spends memory, slad_trainer_plan_memory. */
typedef struct slad_memory_choice {
    uint32_t micro_batch; /* images at once on the device */
    bool pack_on_use;     /* slad_executor_options */
    bool recompute;       /* slad_record_set_recompute */
} slad_memory_choice;

struct slad_trainer {
    slad_context *context;
    slad_device *device;
    slad_train_options options;
    const slad_encoder *teacher_encoder, *student_encoder; /* NULL: there is none */
    slad_network_source frozen;                            /* of a frozen teacher */
    const slad_safetensors *kept;                          /* what a stage before trained; NULL: nothing */
    slad_train_options run_options;                        /* of the whole run, which export goes by */
    uint32_t stage;                                        /* of the run, from 0 */
    bool exchanged; /* the averages are where the values were, slad_trainer_exchange */
    size_t classes, image_size;
    uint64_t total_steps, step;
    slad_memory_choice choice;
    slad_store *store;
    slad_executor *executor;
    slad_network teacher, student;
    slad_pass training, evaluation;
    const slad_gradient_conflict *conflict; /* NULL: nothing is shared */
    const slad_tensor *projection;          /* of --feature-loss, else NULL */
    slad_record *exchange;                  /* NULL: no averages */
    const slad_tensor *step_values, *accumulators, *report;
    const slad_tensor *mask_key; /* NULL: no dropout */
    int32_t *samples;            /* 0, 1, ...: places in the batch, for more than any micro-batch covers */
    slad_memory_plan plan;
    slad_flight flights[2];
    bool half_made; /* a step could not be enqueued to its end: gradients hold a part of it */
    bool torn;      /* the same while values were moving: some may have, so that nothing is saved */
};

/* One stage of training. */
typedef struct slad_trainer_setup {
    const slad_encoder *teacher, *student; /* NULL where the options say that there is none (SLAD_ADAPT_NONE) */
    const slad_train_options *options;     /* of this stage, checked */
    size_t classes, image_size;
    uint64_t total_steps;                  /* of this stage */
    slad_network_source frozen;            /* the teacher's values where it is frozen; its encoder is `teacher` */
    const slad_safetensors *kept;          /* of the stage before, for state files; or NULL */
    const slad_train_options *run_options; /* of the whole run; NULL: this stage is all of it */
    uint32_t stage;                        /* of the run, from 0 */
} slad_trainer_setup;

/* As slad_trainer_create, which makes the stage that its options describe. What frozen points to must outlive the
 * trainer. */
slad_status slad_trainer_build(slad_context *context, slad_trainer **trainer, slad_device *device,
                               const slad_trainer_setup *setup);

/* What optimizer.safetensors holds of each trained tensor, and under which prefix: all that resuming needs, in one file
 * that is replaced as a whole. */
typedef struct slad_state_kind {
    slad_slab_kind kind;
    const char *prefix;
} slad_state_kind;
enum { SLAD_RESUME_KINDS = 4 };
/* Returns their number: averages only where the trainer has them. */
size_t slad_resume_kinds(slad_state_kind kinds[SLAD_RESUME_KINDS], const slad_trainer *trainer);

/* Writes optimizer.safetensors: all that slad_trainer_resume needs. */
slad_status slad_trainer_save_optimizer(slad_trainer *trainer, const char *folder);
/* Writes what was trained, or its moving average where there is one, to FOLDER/NAME; with_kept: and what stages before
 * trained of a frozen teacher. */
slad_status slad_trainer_save_values(slad_trainer *trainer, const char *folder, const char *name, bool with_kept);

/* Where the checkpoint of a run's folder stands: its stage, and the steps of that stage that are done. Errors:
 * SLAD_ERROR_DATA. */
slad_status slad_checkpoint_place(slad_context *context, uint64_t *stage, uint64_t *step, const char *folder);

/* Trained values and their moving averages change places, where there are averages: before evaluation and export, and
 * again before the next step. */
slad_status slad_trainer_exchange(slad_trainer *trainer);

/* Sets trained tensors from a file that holds any of them (some: tensors of other stages are passed over). */
slad_status slad_trainer_start_from(slad_trainer *trainer, const char *path);

/* Bytes that a plan may take of the device unless options say more: its total memory less what drivers, the host (where
 * memory is shared) and the display need. A function of the device's totals only, so that the same machine always
 * chooses the same. */
uint64_t slad_trainer_memory_limit(const slad_device *device);
/* Records everything for a choice and plans it; nothing is allocated on the device. */
slad_status slad_trainer_record(slad_trainer *trainer, slad_memory_choice choice);
/* Gives back all that slad_trainer_record made, but not what the caller of slad_trainer_build gave. */
void slad_trainer_dismantle(slad_trainer *trainer);
/* Records the first choice whose plan stays below the limit (the order stands in trainer_memory.c), and says what it
 * chose and why. Errors: SLAD_ERROR_OUT_OF_MEMORY with what would fit. */
slad_status slad_trainer_plan_memory(slad_trainer *trainer);

#endif
