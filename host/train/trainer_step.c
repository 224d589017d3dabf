/* Running a trainer: steps that overlap with the host by one, and logits. */
#include "base/memory.h"
#include "cl/program.h"
#include "train/losses.h"
#include "train/schedule.h"
#include "train/trainer.h"
#include <math.h>
#include <string.h>

/* The rows of one micro-batch on the host. */
typedef struct slad_rows {
    const float *pixels;
    const int32_t *labels;
    const float *task_weights, *kl_weights;
    const int32_t *labels_2; /* NULL where nothing is mixed */
    const float *mix;
} slad_rows;

static slad_status check_batch(const slad_trainer *trainer, const slad_batch *batch)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(batch->height != trainer->image_size || batch->width != trainer->image_size, SLAD_ERROR_DATA,
                 "A batch of %zu x %zu pixels does not fit a trainer for %zu x %zu", batch->height, batch->width,
                 trainer->image_size, trainer->image_size);
    SLAD_FAIL_IF(batch->count > trainer->options.batch || batch->count > batch->capacity, SLAD_ERROR_DATA,
                 "A batch of %zu images exceeds --batch %u", batch->count, trainer->options.batch);
    for (size_t i = 0; i < batch->count; i++)
        SLAD_FAIL_IF(batch->labels[i] < 0 || (size_t)batch->labels[i] >= trainer->classes, SLAD_ERROR_DATA,
                     "Image %zu of a batch has label %d, but there are %zu classes", i, (int)batch->labels[i],
                     trainer->classes);
cleanup:
    return status;
}

/* Whether the batch is mixed as the record expects it: a target is never guessed. */
static slad_status check_mixing(const slad_trainer *trainer, const slad_batch *batch)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    const bool wanted = trainer->training.mix != NULL, given = batch->labels_2 && batch->mix;
    SLAD_FAIL_IF(wanted && !given, SLAD_ERROR_DATA,
                 "--mixup or --cutmix is set, but a batch has no second labels and mixing factors; give both, or leave "
                 "the options at 0");
    SLAD_FAIL_IF(!wanted && (batch->labels_2 || batch->mix), SLAD_ERROR_DATA,
                 "A batch has second labels or mixing factors, but neither --mixup nor --cutmix is set; set one, or "
                 "leave both NULL");
    for (size_t i = 0; wanted && i < batch->count; i++) {
        SLAD_FAIL_IF(batch->labels_2[i] < 0 || (size_t)batch->labels_2[i] >= trainer->classes, SLAD_ERROR_DATA,
                     "Image %zu of a batch has the second label %d, but there are %zu classes", i,
                     (int)batch->labels_2[i], trainer->classes);
        SLAD_FAIL_IF(!(batch->mix[i] >= 0.0f && batch->mix[i] <= 1.0f), SLAD_ERROR_DATA,
                     "Image %zu of a batch has the mixing factor %g; it must lie in 0 to 1", i, (double)batch->mix[i]);
    }
cleanup:
    return status;
}

static double inverse_sum(const float *weights, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)weights[i];
    return sum > 0 ? 1.0 / sum : 0.0;
}

static void set_step_values(const slad_trainer *trainer, slad_flight *flight, const slad_batch *batch)
{
    const slad_train_options *options = &trainer->options;
    const double factor = slad_schedule_factor(options->schedule, options->warmup, trainer->step, trainer->total_steps);
    const double t = (double)trainer->step + 1.0;
    float *values = flight->step_values;
    values[SLAD_STEP_INVERSE_TASK] = (float)inverse_sum(batch->task_weights, batch->count);
    values[SLAD_STEP_INVERSE_KL] = (float)inverse_sum(batch->kl_weights, batch->count);
    values[SLAD_STEP_BIAS_1] = (float)(1.0 / (1.0 - pow(SLAD_ADAM_BETA_1, t)));
    values[SLAD_STEP_BIAS_2] = (float)(1.0 / (1.0 - pow(SLAD_ADAM_BETA_2, t)));
    values[SLAD_STEP_DECAY] = (float)options->weight_decay;
    values[SLAD_STEP_AVERAGE] = (float)slad_schedule_average_share(options->ema, trainer->step);
    values[SLAD_STEP_RATES + SLAD_GROUP_ADAPTERS] = (float)(factor * options->learning_rate);
    values[SLAD_STEP_RATES + SLAD_GROUP_ADAPTERS_B] = (float)(factor * options->learning_rate * options->lora_plus);
    values[SLAD_STEP_RATES + SLAD_GROUP_HEADS] = (float)(factor * options->head_learning_rate);
    flight->step = trainer->step;
    const uint32_t key[4] = {(uint32_t)options->seed, (uint32_t)(options->seed >> 32), (uint32_t)trainer->step,
                             (uint32_t)(trainer->step >> 32)};
    memcpy(flight->mask_key, key, sizeof key);
    const bool beyond_heads = options->student_adapt > SLAD_ADAPT_PROBE || options->teacher_adapt == SLAD_ADAPT_LORA ||
                              options->teacher_adapt == SLAD_ADAPT_ALL;
    flight->learning_rate = factor * (beyond_heads ? options->learning_rate : options->head_learning_rate);
}

static size_t image_floats(const slad_trainer *trainer)
{
    return 3 * trainer->image_size * trainer->image_size;
}

/* The batch's own rows where it covers the whole micro-batch, else a copy padded with weight 0. */
static slad_rows rows_of(const slad_trainer *trainer, slad_flight *flight, const slad_batch *batch, size_t first)
{
    const size_t rows = trainer->choice.micro_batch, floats = image_floats(trainer);
    if (first + rows <= batch->count)
        return (slad_rows){batch->pixel_values + first * floats,
                           batch->labels + first,
                           batch->task_weights + first,
                           batch->kl_weights + first,
                           batch->labels_2 ? batch->labels_2 + first : NULL,
                           batch->mix ? batch->mix + first : NULL};
    const size_t own = batch->count - first;
    memset(flight->pixels, 0, rows * floats * sizeof(float));
    memset(flight->labels, 0, rows * sizeof *flight->labels);
    memset(flight->task_weights, 0, rows * sizeof(float));
    memset(flight->kl_weights, 0, rows * sizeof(float));
    memcpy(flight->pixels, batch->pixel_values + first * floats, own * floats * sizeof(float));
    memcpy(flight->labels, batch->labels + first, own * sizeof *flight->labels);
    memcpy(flight->task_weights, batch->task_weights + first, own * sizeof(float));
    memcpy(flight->kl_weights, batch->kl_weights + first, own * sizeof(float));
    memset(flight->labels_2, 0, rows * sizeof *flight->labels_2);
    memset(flight->mix, 0, rows * sizeof *flight->mix);
    if (batch->labels_2) memcpy(flight->labels_2, batch->labels_2 + first, own * sizeof *flight->labels_2);
    if (batch->mix) memcpy(flight->mix, batch->mix + first, own * sizeof *flight->mix);
    return (slad_rows){flight->pixels,     flight->labels,   flight->task_weights,
                       flight->kl_weights, flight->labels_2, flight->mix};
}

static slad_status enqueue_micro_batch(slad_trainer *trainer, slad_flight *flight, slad_rows rows, size_t first)
{
    slad_executor *executor = trainer->executor;
    const slad_pass *pass = &trainer->training;
    slad_status status = SLAD_OK;
    slad_ticket *ticket = &flight->ticket;
    SLAD_TRY(slad_executor_upload(executor, pass->record, pass->pixels, rows.pixels, ticket));
    SLAD_TRY(slad_executor_upload(executor, pass->record, pass->labels, rows.labels, ticket));
    SLAD_TRY(slad_executor_upload(executor, pass->record, pass->task_weights, rows.task_weights, ticket));
    SLAD_TRY(slad_executor_upload(executor, pass->record, pass->kl_weights, rows.kl_weights, ticket));
    if (pass->mix) {
        SLAD_TRY(slad_executor_upload(executor, pass->record, pass->labels_2, rows.labels_2, ticket));
        SLAD_TRY(slad_executor_upload(executor, pass->record, pass->mix, rows.mix, ticket));
    }
    if (pass->samples)
        SLAD_TRY(slad_executor_upload(executor, pass->record, pass->samples, trainer->samples + first, ticket));
    SLAD_TRY(slad_executor_run(executor, pass->record, SLAD_PHASE_MICRO_BATCH));
cleanup:
    return status;
}

static slad_status enqueue_step(slad_trainer *trainer, slad_flight *flight, const slad_batch *batch)
{
    slad_executor *executor = trainer->executor;
    slad_record *record = trainer->training.record;
    slad_status status = SLAD_OK;
    set_step_values(trainer, flight, batch);
    SLAD_TRY(slad_executor_upload(executor, record, trainer->step_values, flight->step_values, &flight->ticket));
    if (trainer->mask_key)
        SLAD_TRY(slad_executor_upload(executor, record, trainer->mask_key, flight->mask_key, &flight->ticket));
    for (size_t first = 0; first < batch->count; first += trainer->choice.micro_batch)
        SLAD_TRY(enqueue_micro_batch(trainer, flight, rows_of(trainer, flight, batch, first), first));
    trainer->torn = true; /* until all of the update is under way */
    SLAD_TRY(slad_executor_run(executor, record, SLAD_PHASE_STEP));
    SLAD_TRY(slad_executor_download(executor, record, trainer->report, flight->report, &flight->ticket));
    trainer->torn = false;
    flight->under_way = true;
cleanup:
    if (status != SLAD_OK) trainer->half_made = true;
    return status;
}

static void read_report(const slad_trainer *trainer, const slad_flight *flight, slad_step_report *report)
{
    const slad_distillation losses = slad_losses_of(&trainer->options);
    const float *sums = flight->report;
    const bool student = trainer->student.present;
    const bool teacher = trainer->teacher.present && trainer->options.teacher_adapt != SLAD_ADAPT_FROZEN;
    const bool both = student && trainer->teacher.present;
    *report = (slad_step_report){
        .step = flight->step,
        .loss_student = student ? (double)sums[SLAD_SUM_STUDENT] : NAN,
        .loss_teacher = teacher ? (double)sums[SLAD_SUM_TEACHER] : NAN,
        .loss_kl = both ? (double)sums[SLAD_SUM_KL] : NAN,
        .loss_feature = trainer->projection ? (double)sums[SLAD_SUM_FEATURE] : NAN,
        .gradient_norm = (double)sums[SLAD_REPORT_NORM],
        .shared_teacher_norm = trainer->conflict ? (double)sums[SLAD_REPORT_SHARED_TEACHER_NORM] : NAN,
        .shared_student_norm = trainer->conflict ? (double)sums[SLAD_REPORT_SHARED_STUDENT_NORM] : NAN,
        .shared_cosine = trainer->conflict ? (double)sums[SLAD_REPORT_SHARED_COSINE] : NAN,
        .learning_rate = flight->learning_rate,
        .accuracy = (double)sums[student ? SLAD_SUM_STUDENT_RIGHT : SLAD_SUM_TEACHER_RIGHT],
        .skipped = sums[SLAD_REPORT_SKIPPED] != 0.0f,
    };
    if (student) report->loss += losses.alpha_student * report->loss_student;
    if (teacher) report->loss += losses.alpha_teacher * report->loss_teacher;
    if (both) report->loss += losses.alpha_kl * report->loss_kl;
    if (trainer->projection) report->loss += trainer->options.alpha_feature * report->loss_feature;
}

/* Waits for a step in flight and reports it; nothing happens if there is none. */
static slad_status land(slad_trainer *trainer, slad_flight *flight, slad_step_report *report, bool *has_report)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_step_report own;
    if (has_report) *has_report = false;
    if (!flight->under_way) return SLAD_OK;
    flight->under_way = false;
    SLAD_TRY(slad_executor_wait(trainer->executor, &flight->ticket));
    read_report(trainer, flight, &own);
    if (own.step == 0) slad_program_keep_all(trainer->device); /* every kernel has run: a killed run keeps them */
    if (report) *report = own;
    if (has_report) *has_report = true;
    SLAD_FAIL_IF(
        own.skipped || !isfinite(own.loss), SLAD_ERROR_DIVERGED,
        "Training diverged at step %llu: loss %g, gradient norm %g. %s. Lower --lr or --head-lr, or set --clip",
        (unsigned long long)own.step, own.loss, own.gradient_norm,
        own.skipped ? "It moved no value, and the last good ones are kept"
                    : "Its gradients were finite, so that it still moved the values");
cleanup:
    return status;
}

/* Waits for all copies under way, so that the caller's batches are its own again. */
static void let_go_of_batches(slad_trainer *trainer)
{
    for (int i = 0; i < 2; i++) (void)slad_executor_wait(trainer->executor, &trainer->flights[i].ticket);
}

slad_status slad_trainer_step(slad_trainer *trainer, const slad_batch *batch, slad_step_report *report,
                              bool *has_report)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    if (has_report) *has_report = false;
    SLAD_FAIL_IF(
        trainer->half_made, SLAD_ERROR_INTERNAL,
        "Step %llu failed half-way, so the gradients hold a part of it; make a new trainer and go on from what "
        "was saved",
        (unsigned long long)trainer->step);
    SLAD_TRY(check_batch(trainer, batch));
    SLAD_TRY(check_mixing(trainer, batch));
    SLAD_FAIL_IF(batch->count == 0, SLAD_ERROR_DATA, "Step %llu was given a batch without images",
                 (unsigned long long)trainer->step);
    SLAD_TRY(enqueue_step(trainer, &trainer->flights[trainer->step % 2], batch));
    trainer->step++;
    SLAD_TRY(land(trainer, &trainer->flights[trainer->step % 2], report, has_report));
cleanup:
    if (status != SLAD_OK) let_go_of_batches(trainer);
    return status;
}

slad_status slad_trainer_finish(slad_trainer *trainer, slad_step_report *report, bool *has_report)
{
    if (has_report) *has_report = false;
    if (trainer->step == 0) return SLAD_OK;
    return land(trainer, &trainer->flights[(trainer->step - 1) % 2], report, has_report);
}

slad_status slad_trainer_exchange(slad_trainer *trainer)
{
    slad_status status = SLAD_OK;
    if (!trainer->exchange || trainer->step == 0) return SLAD_OK;
    SLAD_TRY(slad_executor_run(trainer->executor, trainer->exchange, SLAD_PHASE_STEP));
    trainer->exchanged = !trainer->exchanged;
cleanup:
    return status;
}

/* Copies the first `count` rows of the logits that the evaluation pass made. */
static slad_status read_logits(slad_trainer *trainer, float *destination, const slad_tensor *logits, size_t count,
                               float *rows)
{
    if (!destination || !logits) return SLAD_OK;
    const slad_status status = slad_executor_read(trainer->executor, trainer->evaluation.record, logits, rows);
    if (status == SLAD_OK) memcpy(destination, rows, count * trainer->classes * sizeof *rows);
    return status;
}

slad_status slad_trainer_logits(slad_trainer *trainer, float *student, float *teacher, const slad_batch *batch)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    const slad_pass *pass = &trainer->evaluation;
    const size_t rows = trainer->choice.micro_batch, classes = trainer->classes;
    float *logits = NULL;
    slad_flight *flight = &trainer->flights[trainer->step % 2]; /* not under way: its step was reported */
    SLAD_TRY(check_batch(trainer, batch));
    SLAD_TRY(slad_allocate(context, &logits, rows * classes, sizeof *logits, "logits"));
    for (size_t first = 0; first < batch->count; first += rows) {
        const size_t count = batch->count - first < rows ? batch->count - first : rows;
        const slad_rows own = rows_of(trainer, flight, batch, first);
        SLAD_TRY(slad_executor_write(trainer->executor, pass->record, pass->pixels, own.pixels));
        SLAD_TRY(slad_executor_run(trainer->executor, pass->record, SLAD_PHASE_MICRO_BATCH));
        SLAD_TRY(read_logits(trainer, student ? student + first * classes : NULL, pass->student_logits, count, logits));
        SLAD_TRY(read_logits(trainer, teacher ? teacher + first * classes : NULL, pass->teacher_logits, count, logits));
    }
cleanup:
    slad_release(logits);
    return status;
}
