/* Choosing how a trainer spends the device's memory. What is chosen is a function of the models, the options and the
 * device's totals, never of what is free or of time. */
#include "train/trainer.h"
#include <stdio.h>

#define MIB (1024.0 * 1024.0)

enum { MOST_CHOICES = 64 }; /* a batch of at most 2^16 images has 17 halves */

/* What the plan must stay below, and in words whose limit that is. */
typedef struct memory_bound {
    uint64_t bytes;
    char words[320];
} memory_bound;

uint64_t slad_trainer_memory_limit(const slad_device *device)
{
    const uint64_t total = device->info.global_memory;
    return device->capabilities.unified_memory ? total / 10 * 6 : total / 10 * 8;
}

static memory_bound bound_of(const slad_trainer *trainer)
{
    const slad_device_info *info = &trainer->device->info;
    const uint64_t given = (uint64_t)trainer->options.memory_limit << 20, total = info->global_memory;
    memory_bound bound;
    if (given && given < total) {
        bound.bytes = given;
        (void)snprintf(bound.words, sizeof bound.words, "the %u MiB of --memory-limit", trainer->options.memory_limit);
        return bound;
    }
    bound.bytes = given || trainer->options.micro_batch ? total : slad_trainer_memory_limit(trainer->device);
    if (bound.bytes == total)
        (void)snprintf(bound.words, sizeof bound.words, "the %.0f MiB of device %s", (double)total / MIB, info->name);
    else
        (void)snprintf(bound.words, sizeof bound.words, "%.0f of the %.0f MiB of device %s, which are what can be used",
                       (double)bound.bytes / MIB, (double)total / MIB, info->name);
    return bound;
}

/* Rows of a GEMM (images times tokens) below which smaller micro-batches cost more than packing weights on use does:
 * every weight is then read for few rows. */
enum { LEAST_ROWS = 1024 };

static size_t rows_of_an_image(const slad_trainer *trainer)
{
    const slad_encoder *encoder = trainer->teacher_encoder ? trainer->teacher_encoder : trainer->student_encoder;
    const size_t side = trainer->image_size / (encoder->info.patch ? encoder->info.patch : 1);
    return 1 + encoder->info.registers + side * side;
}

/* Appends the choice with the wanted micro-batch, then with halves of it (rounded up) as long as they have that many
 * rows, at least down to one image for 0. */
static size_t add_halves(slad_memory_choice choices[MOST_CHOICES], size_t count, const slad_trainer *trainer,
                         slad_memory_choice choice, size_t least_rows)
{
    const slad_train_options *options = &trainer->options;
    choice.micro_batch = options->micro_batch ? options->micro_batch : options->batch;
    for (;; choice.micro_batch = (choice.micro_batch + 1) / 2) {
        choices[count++] = choice;
        const size_t next = (choice.micro_batch + 1) / 2;
        if (choice.micro_batch == 1 || next * rows_of_an_image(trainer) < least_rows) return count;
    }
}

/* All that may be chosen, what is preferred first. Smaller micro-batches are preferred as long as they are large enough
 * to keep a device busy; then weights are packed on use (a memory-bound pass before each GEMM), on GPUs as long as
 * micro-batches are large enough; then activations are computed twice, a third or more of a step's work. A micro-batch
 * that was given is kept as long as anything else helps. Returns their number. */
static size_t list_choices(slad_memory_choice choices[MOST_CHOICES], const slad_trainer *trainer)
{
    const slad_train_options *options = &trainer->options;
    const bool on = options->recompute == SLAD_RECOMPUTE_ON, off = options->recompute == SLAD_RECOMPUTE_OFF;
    const slad_memory_choice kept = {.recompute = on}, on_use = {.pack_on_use = true, .recompute = on};
    const slad_memory_choice recomputed = {.pack_on_use = true, .recompute = true};
    const size_t least = options->micro_batch ? SIZE_MAX : LEAST_ROWS;
    const bool is_cpu = trainer->device->features.row_lanes == 1;
    const size_t least_on_use = on || off || (is_cpu && !options->micro_batch) ? 0 : least;
    size_t count = add_halves(choices, 0, trainer, kept, least);
    count = add_halves(choices, count, trainer, on_use, least_on_use);
    return on || off ? count : add_halves(choices, count, trainer, recomputed, 0);
}

static void choice_text(char text[128], const slad_memory_choice *choice)
{
    (void)snprintf(text, 128, "micro-batches of %u%s%s", choice->micro_batch,
                   choice->pack_on_use ? ", weights packed on use" : "",
                   choice->recompute ? ", activations recomputed" : "");
}

/* The choice, and why it was not the one before it. refused: bytes of that, 0 where one buffer would have been too
 * large. */
static void log_plan(const slad_trainer *trainer, const slad_memory_choice *before, uint64_t refused,
                     const memory_bound *bound)
{
    const slad_memory_plan *plan = &trainer->plan;
    char chosen[128], other[128];
    choice_text(chosen, &trainer->choice);
    slad_log(trainer->context, SLAD_LOG_INFO,
             "Memory plan for %s: weights %.1f MiB, trained values with gradients and moments %.1f MiB, "
             "activations %.1f MiB, batch %.1f MiB, scratch %.1f MiB: %.1f of the device's %.0f MiB",
             chosen, (double)(plan->frozen + plan->packed) / MIB,
             (double)(plan->trained + plan->gradients + plan->moments) / MIB, (double)plan->arena / MIB,
             (double)(plan->inputs + plan->state) / MIB, (double)(plan->gemm_scratch + plan->staging) / MIB,
             (double)plan->device_total / MIB, (double)trainer->device->info.global_memory / MIB);
    if (!before) return;
    choice_text(other, before);
    if (refused)
        slad_log(trainer->context, SLAD_LOG_INFO, "Chosen because %s would need %.0f MiB, more than %s", other,
                 (double)refused / MIB, bound->words);
    else
        slad_log(trainer->context, SLAD_LOG_INFO, "Chosen because %s would need a larger buffer than the device allows",
                 other);
}

/* The choice that comes after one that was refused. Where an allocation itself failed, only smaller micro-batches can
 * help. The last if there is none. */
static size_t choice_after(const slad_memory_choice *choices, size_t count, size_t refused, bool smaller)
{
    for (size_t i = refused + 1; i < count; i++)
        if (!smaller || choices[i].micro_batch < choices[refused].micro_batch) return i;
    return count - 1;
}

/* What was tried: index of the choice that was built, and of the one before it, which needs `bytes` (0: more in one
 * buffer than the device allows). */
typedef struct memory_trial {
    size_t taken, refused;
    uint64_t bytes;
} memory_trial;

/* Builds the first of the choices whose plan stays below the bound, else the last. */
static slad_status build_what_fits(slad_trainer *trainer, const slad_memory_choice *choices, size_t count,
                                   const memory_bound *bound, memory_trial *trial)
{
    slad_status status = SLAD_OK;
    *trial = (memory_trial){0};
    slad_report_quietly(trainer->context, true);
    for (;;) {
        status = slad_trainer_record(trainer, choices[trial->taken]);
        const bool failed = status == SLAD_ERROR_OUT_OF_MEMORY;
        const bool too_large = failed || (status == SLAD_OK && trainer->plan.device_total > bound->bytes);
        if (!too_large || trial->taken + 1 == count) break;
        trial->bytes = failed ? 0 : trainer->plan.device_total;
        trial->refused = trial->taken;
        trial->taken = choice_after(choices, count, trial->taken, failed);
        slad_trainer_dismantle(trainer);
    }
    slad_report_quietly(trainer->context, false);
    if (status == SLAD_OK) return status;
    slad_trainer_dismantle(trainer); /* what went wrong must be said: once more, aloud */
    return slad_trainer_record(trainer, choices[trial->taken]);
}

slad_status slad_trainer_plan_memory(slad_trainer *trainer)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_memory_choice choices[MOST_CHOICES] = {{0}};
    const size_t count = list_choices(choices, trainer);
    const memory_bound bound = bound_of(trainer);
    const uint32_t given = trainer->options.micro_batch;
    memory_trial trial;
    SLAD_TRY(build_what_fits(trainer, choices, count, &bound, &trial));
    const double needed = (double)trainer->plan.device_total / MIB;
    SLAD_FAIL_IF(trainer->plan.device_total > bound.bytes, SLAD_ERROR_OUT_OF_MEMORY,
                 "Even one image at a time, with weights packed on use and activations %s, needs %.0f MiB, more than "
                 "%s; choose a smaller model or --image-size%s%s",
                 trainer->choice.recompute ? "recomputed" : "kept", needed, bound.words,
                 trainer->choice.recompute ? "" : ", --recompute auto",
                 trainer->options.memory_limit ? ", or a larger --memory-limit" : "");
    SLAD_FAIL_IF(given && trainer->choice.micro_batch != given, SLAD_ERROR_OUT_OF_MEMORY,
                 "--micro-batch %u needs more than %s, or more in one buffer than it allows; --micro-batch %u would "
                 "fit, with %.0f MiB",
                 given, bound.words, trainer->choice.micro_batch, needed);
    log_plan(trainer, trial.taken ? &choices[trial.refused] : NULL, trial.bytes, &bound);
cleanup:
    return status;
}
