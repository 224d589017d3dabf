/* Making a trainer: networks, records, memory plan. */
#include "train/trainer.h"
#include "base/memory.h"
#include "train/features_loss.h"
#include "train/losses.h"
#include "train/shared_gradient.h"
#include <string.h>

uint64_t slad_trainer_steps_done(const slad_trainer *trainer)
{
    return trainer->step;
}

size_t slad_trainer_parameter_count(const slad_trainer *trainer)
{
    size_t count = 0;
    for (size_t i = 0; i < slad_store_trained_count(trainer->store); i++)
        count += slad_tensor_elements(slad_store_trained_at(trainer->store, i)->tensor);
    return count;
}

void slad_trainer_dismantle(slad_trainer *trainer)
{
    slad_executor_free(trainer->executor);
    slad_record_free(trainer->training.record);
    slad_record_free(trainer->evaluation.record);
    slad_record_free(trainer->exchange);
    slad_network_free(&trainer->teacher);
    slad_network_free(&trainer->student);
    slad_store_free(trainer->store);
    trainer->executor = NULL;
    trainer->training = trainer->evaluation = (slad_pass){0};
    trainer->exchange = NULL;
    trainer->store = NULL;
}

void slad_trainer_free(slad_trainer *trainer)
{
    if (!trainer) return;
    for (int i = 0; i < 2; i++)
        if (trainer->executor) (void)slad_executor_wait(trainer->executor, &trainer->flights[i].ticket);
    slad_trainer_dismantle(trainer);
    for (int i = 0; i < 2; i++) {
        slad_release(trainer->flights[i].pixels);
        slad_release(trainer->flights[i].labels);
        slad_release(trainer->flights[i].labels_2);
        slad_release(trainer->flights[i].mix);
        slad_release(trainer->flights[i].task_weights);
        slad_release(trainer->flights[i].kl_weights);
    }
    slad_release(trainer->samples);
    slad_release(trainer);
}

/* The two networks of a trainer, and what differs between them. */
typedef struct slad_role {
    slad_network *network;
    const slad_encoder *encoder;
    slad_adapt adapt;
    const char *model_prefix, *prefix;
    unsigned model; /* 0 teacher, 1 student */
} slad_role;

static slad_role teacher_of(slad_trainer *trainer)
{
    return (slad_role){
        &trainer->teacher, trainer->teacher_encoder, trainer->options.teacher_adapt, "teacher.model.", "teacher.", 0};
}

static slad_role student_of(slad_trainer *trainer)
{
    return (slad_role){
        &trainer->student, trainer->student_encoder, trainer->options.student_adapt, "student.model.", "student.", 1};
}

/* The encoder; of a frozen network all of it. */
static slad_status place_encoder(slad_trainer *trainer, const slad_role *role)
{
    if (role->adapt == SLAD_ADAPT_NONE) return SLAD_OK;
    if (role->adapt == SLAD_ADAPT_FROZEN)
        return slad_network_source_place(trainer->context, role->network, trainer->store, &trainer->frozen,
                                         role->model_prefix, trainer->image_size, trainer->options.position_mode, true);
    role->network->present = true;
    const slad_backbone_form form = {.prefix = role->model_prefix, .trained = role->adapt == SLAD_ADAPT_ALL};
    return slad_backbone_create(trainer->context, &role->network->backbone, trainer->store, role->encoder,
                                trainer->image_size, trainer->options.position_mode, &form);
}

static slad_status place_adapters(slad_trainer *trainer, const slad_role *role)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_network *network = role->network;
    const slad_train_options *options = &trainer->options;
    const slad_encoder_info *teacher = trainer->teacher_encoder ? &trainer->teacher_encoder->info : NULL;
    const slad_encoder_info *student = trainer->student_encoder ? &trainer->student_encoder->info : NULL;
    if (role->adapt != SLAD_ADAPT_LORA) return SLAD_OK;
    if (role->model == 0)
        SLAD_TRY(slad_adapter_plan_teacher(context, &network->plan, teacher, student, options));
    else
        SLAD_TRY(slad_adapter_plan_student(context, &network->plan, student, teacher, options));
    SLAD_TRY(slad_network_allocate_adapters(context, network));
    SLAD_TRY(slad_adapters_train(context, network->adapters, trainer->store, &network->plan));
cleanup:
    return status;
}

static slad_status place_head(slad_trainer *trainer, const slad_role *role)
{
    if (role->adapt == SLAD_ADAPT_NONE || role->adapt == SLAD_ADAPT_FROZEN) return SLAD_OK;
    return slad_head_create(&role->network->head, trainer->store, trainer->options.head, role->encoder->info.width,
                            trainer->classes, role->prefix, role->model, &trainer->options.seed);
}

/* Encoders, then adapters, then heads, the teacher before the student: the order of the trained slabs, and so of the
 * optimizer. */
static slad_status place_networks(slad_trainer *trainer)
{
    slad_status status = SLAD_OK;
    const slad_role roles[2] = {teacher_of(trainer), student_of(trainer)};
    for (int i = 0; i < 2; i++) SLAD_TRY(place_encoder(trainer, &roles[i]));
    for (int i = 0; i < 2; i++) SLAD_TRY(place_adapters(trainer, &roles[i]));
    for (int i = 0; i < 2; i++) SLAD_TRY(place_head(trainer, &roles[i]));
    SLAD_TRY(slad_features_loss_place(trainer));
    SLAD_TRY(slad_shared_gradient_place(trainer));
cleanup:
    return status;
}

static slad_status place_state(slad_trainer *trainer)
{
    slad_status status = SLAD_OK;
    const size_t values = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS, report = SLAD_REPORT, key = 4;
    SLAD_TRY(slad_store_state(trainer->store, &trainer->step_values, "step_values", SLAD_F32, 1, &values));
    SLAD_TRY(slad_store_state(trainer->store, &trainer->accumulators, "accumulators", SLAD_F32, 1, &sums));
    SLAD_TRY(slad_store_state(trainer->store, &trainer->report, "report", SLAD_F32, 1, &report));
    /* A stage without adapters has nothing to mask, and what no kernel reads has no memory. */
    if (trainer->options.lora_dropout > 0 &&
        (teacher_of(trainer).adapt == SLAD_ADAPT_LORA || student_of(trainer).adapt == SLAD_ADAPT_LORA))
        SLAD_TRY(slad_store_state(trainer->store, &trainer->mask_key, "mask_key", SLAD_I32, 1, &key));
cleanup:
    return status;
}

static const slad_tensor *record_logits(slad_record *record, const slad_network *network, const slad_tensor *tokens)
{
    return tokens ? slad_head_record(record, &network->head, tokens, network->backbone.prefix) : NULL;
}

/* Tokens of a network. Its adapters see masked inputs (dropout) only where they are trained. */
static const slad_tensor *record_tokens(slad_trainer *trainer, slad_pass *pass, slad_role role)
{
    const slad_dropout dropout = {trainer->options.lora_dropout, trainer->mask_key, pass->samples};
    const bool masked = pass->samples && role.adapt == SLAD_ADAPT_LORA;
    return slad_network_tokens(pass->record, role.network, pass->pixels, masked ? &dropout : NULL, NULL);
}

/* Records what both passes share. */
static slad_status record_forward(slad_trainer *trainer, slad_pass *pass, const char *name, bool training)
{
    slad_status status = SLAD_OK;
    const size_t size[4] = {trainer->choice.micro_batch, 3, trainer->image_size, trainer->image_size};
    SLAD_TRY(slad_record_create(trainer->context, &pass->record, trainer->store, name));
    pass->pixels = slad_record_input(pass->record, "pixels", SLAD_F32, 4, size, 0);
    if (training && trainer->mask_key) pass->samples = slad_record_input(pass->record, "samples", SLAD_I32, 1, size, 0);
    /* The teacher last: gradients are made in the reverse order, so that it writes to shared adapters first. */
    if (training && trainer->conflict) slad_gradient_conflict_student_begins(pass->record, trainer->conflict);
    pass->student_tokens = record_tokens(trainer, pass, student_of(trainer));
    pass->student_logits = record_logits(pass->record, &trainer->student, pass->student_tokens);
    if (training && trainer->conflict) slad_gradient_conflict_student_ends(pass->record, trainer->conflict);
    pass->teacher_tokens = record_tokens(trainer, pass, teacher_of(trainer));
    pass->teacher_logits = record_logits(pass->record, &trainer->teacher, pass->teacher_tokens);
    SLAD_TRY(slad_record_status(pass->record));
cleanup:
    return status;
}

static slad_status record_training(slad_trainer *trainer)
{
    slad_status status = SLAD_OK;
    slad_pass *pass = &trainer->training;
    const slad_train_options *options = &trainer->options;
    const size_t rows = trainer->choice.micro_batch;
    const slad_distillation losses = slad_losses_of(options);
    SLAD_TRY(record_forward(trainer, pass, "the training step", true));
    pass->labels = slad_record_input(pass->record, "labels", SLAD_I32, 1, &rows, (uint32_t)trainer->classes);
    pass->task_weights = slad_record_input(pass->record, "task_weights", SLAD_F32, 1, &rows, 0);
    pass->kl_weights = slad_record_input(pass->record, "kl_weights", SLAD_F32, 1, &rows, 0);
    if (options->mixup > 0 || options->cutmix > 0) {
        pass->labels_2 = slad_record_input(pass->record, "labels_2", SLAD_I32, 1, &rows, (uint32_t)trainer->classes);
        pass->mix = slad_record_input(pass->record, "mix", SLAD_F32, 1, &rows, 0);
    }
    (void)slad_distillation_loss(pass->record, pass->student_logits, pass->teacher_logits, pass->labels, pass->labels_2,
                                 pass->mix, pass->task_weights, pass->kl_weights, trainer->step_values,
                                 trainer->accumulators, &losses);
    slad_features_loss_record(trainer, pass);
    slad_record_set_recompute(pass->record, trainer->choice.recompute);
    SLAD_TRY(slad_record_differentiate(pass->record));
    if (trainer->conflict) SLAD_TRY(slad_gradient_conflict_report(pass->record, trainer->conflict, trainer->report));
    SLAD_TRY(slad_optimizer(pass->record, trainer->step_values, trainer->accumulators, trainer->report, options->clip));
    if (options->ema > 0) SLAD_TRY(slad_moving_average(pass->record, trainer->step_values, trainer->report));
    SLAD_TRY(slad_record_status(pass->record));
cleanup:
    return status;
}

static slad_status record_evaluation(slad_trainer *trainer)
{
    slad_status status = SLAD_OK;
    slad_pass *pass = &trainer->evaluation;
    SLAD_TRY(record_forward(trainer, pass, "evaluation", false));
    slad_record_output(pass->record, pass->student_logits, "student_logits");
    slad_record_output(pass->record, pass->teacher_logits, "teacher_logits");
    SLAD_TRY(slad_record_status(pass->record));
cleanup:
    return status;
}

static slad_status record_exchange(slad_trainer *trainer)
{
    slad_status status = SLAD_OK;
    if (trainer->options.ema <= 0) return SLAD_OK;
    SLAD_TRY(slad_record_create(trainer->context, &trainer->exchange, trainer->store, "the exchange of averages"));
    SLAD_TRY(slad_moving_average_exchange(trainer->exchange));
cleanup:
    return status;
}

slad_status slad_trainer_record(slad_trainer *trainer, slad_memory_choice choice)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    const slad_executor_options options = {.pack_on_use = choice.pack_on_use};
    trainer->choice = choice;
    SLAD_TRY(
        slad_store_create(context, &trainer->store, (size_t)(trainer->device->info.max_allocation / sizeof(float))));
    if (trainer->options.ema > 0) SLAD_TRY(slad_store_keep_averages(trainer->store));
    SLAD_TRY(place_networks(trainer));
    SLAD_TRY(place_state(trainer));
    SLAD_TRY(record_training(trainer));
    SLAD_TRY(record_evaluation(trainer));
    SLAD_TRY(record_exchange(trainer));
    SLAD_TRY(slad_executor_create_opencl(context, &trainer->executor, trainer->store, trainer->device, &options));
    SLAD_TRY(slad_executor_add(trainer->executor, trainer->training.record));
    SLAD_TRY(slad_executor_add(trainer->executor, trainer->evaluation.record));
    if (trainer->exchange) SLAD_TRY(slad_executor_add(trainer->executor, trainer->exchange));
    SLAD_TRY(slad_executor_plan(trainer->executor, &trainer->plan));
cleanup:
    return status;
}

/* Host rows for a last micro-batch that is not covered by the caller's batch. */
static slad_status allocate_flights(slad_trainer *trainer)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    const size_t rows = trainer->choice.micro_batch, pixels = rows * 3 * trainer->image_size * trainer->image_size;
    for (int i = 0; i < 2; i++) {
        slad_flight *flight = &trainer->flights[i];
        SLAD_TRY(slad_allocate(context, &flight->pixels, pixels, sizeof *flight->pixels, "a padded batch"));
        SLAD_TRY(slad_allocate(context, &flight->labels, rows, sizeof *flight->labels, "a padded batch"));
        SLAD_TRY(slad_allocate(context, &flight->labels_2, rows, sizeof *flight->labels_2, "a padded batch"));
        SLAD_TRY(slad_allocate(context, &flight->mix, rows, sizeof *flight->mix, "a padded batch"));
        SLAD_TRY(slad_allocate(context, &flight->task_weights, rows, sizeof(float), "a padded batch"));
        SLAD_TRY(slad_allocate(context, &flight->kl_weights, rows, sizeof(float), "a padded batch"));
    }
    SLAD_TRY(slad_allocate(context, &trainer->samples, trainer->options.batch + rows, sizeof *trainer->samples,
                           "places in a batch"));
    for (size_t i = 0; i < trainer->options.batch + rows; i++) trainer->samples[i] = (int32_t)i;
cleanup:
    return status;
}

/* What the options ask for must be there, and nothing else. */
static slad_status check_setup(slad_context *context, const slad_trainer_setup *setup)
{
    slad_status status = SLAD_OK;
    const slad_adapt teacher = setup->options->teacher_adapt;
    SLAD_FAIL_IF((teacher != SLAD_ADAPT_NONE) != (setup->teacher != NULL), SLAD_ERROR_USAGE,
                 setup->teacher ? "This method trains the student alone: leave --teacher out"
                                : "This method has a teacher beside the student: give --teacher DIR");
    SLAD_FAIL_IF(teacher == SLAD_ADAPT_FROZEN && setup->frozen.classes != setup->classes, SLAD_ERROR_DATA,
                 "The frozen teacher %s tells %zu classes apart, the data has %zu; it must have been trained on them",
                 slad_encoder_path(setup->teacher), setup->frozen.classes, setup->classes);
    if (setup->student) SLAD_TRY(slad_head_check(context, setup->options->head, setup->student));
    if (setup->teacher && teacher != SLAD_ADAPT_FROZEN)
        SLAD_TRY(slad_head_check(context, setup->options->head, setup->teacher));
    SLAD_FAIL_IF(setup->classes < 2, SLAD_ERROR_DATA, "There must be at least two classes, not %zu", setup->classes);
cleanup:
    return status;
}

slad_status slad_trainer_build(slad_context *context, slad_trainer **trainer, slad_device *device,
                               const slad_trainer_setup *setup)
{
    slad_status status = SLAD_OK;
    slad_trainer *made = NULL;
    *trainer = NULL;
    SLAD_TRY(check_setup(context, setup));
    SLAD_TRY(slad_allocate(context, &made, 1, sizeof *made, "the trainer"));
    made->context = context;
    made->device = device;
    made->options = *setup->options;
    made->teacher_encoder = setup->teacher;
    made->student_encoder = setup->student;
    made->frozen = setup->frozen;
    made->kept = setup->kept;
    made->run_options = setup->run_options ? *setup->run_options : *setup->options;
    made->stage = setup->stage;
    made->classes = setup->classes;
    made->image_size = setup->image_size;
    made->total_steps = setup->total_steps;
    SLAD_TRY(slad_trainer_plan_memory(made));
    SLAD_TRY(allocate_flights(made));
    SLAD_TRY(slad_executor_allocate(made->executor));
    *trainer = made;
    made = NULL;
cleanup:
    slad_trainer_free(made);
    return status;
}

slad_status slad_trainer_create(slad_context *context, slad_trainer **trainer, slad_device *device,
                                const slad_encoder *teacher, const slad_encoder *student, size_t classes,
                                size_t image_size, uint64_t total_steps, const slad_train_options *options)
{
    slad_status status = SLAD_OK;
    const slad_trainer_setup setup = {
        .teacher = teacher,
        .student = student,
        .options = options,
        .classes = classes,
        .image_size = image_size,
        .total_steps = total_steps,
        .frozen = {.encoder = teacher,
                   .head = teacher ? slad_head_kind_of(teacher) : options->head,
                   .classes = teacher ? teacher->info.classes : 0},
    };
    *trainer = NULL;
    SLAD_TRY(slad_train_options_check(context, options));
    SLAD_FAIL_IF(options->stages == SLAD_STAGES_TWO || options->head_init == SLAD_HEAD_INIT_PROBE, SLAD_ERROR_USAGE,
                 "A trainer is one stage of training: --stages two and --head-init probe take several, which "
                 "slad_run_train goes through");
    SLAD_TRY(slad_trainer_build(context, trainer, device, &setup));
cleanup:
    return status;
}
