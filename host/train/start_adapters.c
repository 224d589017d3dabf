#include "train/start_adapters.h"
#include "base/memory.h"
#include "io/peft.h"
#include <string.h>

/* A network whose adapters are being set. */
typedef struct slad_starting {
    slad_context *context;
    slad_trainer *trainer;
    const slad_peft *peft;
    const slad_network *network;
    const char *option; /* "--teacher-adapter", for messages */
} slad_starting;

/* Rows of a block's weight that an adapter acts on. */
typedef struct slad_rows {
    slad_target target;
    size_t first, count;
} slad_rows;

/* Those of a pair: q, k and v are parts of qkv, a gate and what it gates of fc1. */
static slad_rows rows_of_pair(const slad_peft_pair *pair)
{
    const size_t rows = pair->outputs;
    switch (pair->target) {
    case SLAD_PEFT_PROJ:
        return (slad_rows){SLAD_TARGET_PROJ, 0, rows};
    case SLAD_PEFT_FC1:
    case SLAD_PEFT_GATE:
        return (slad_rows){SLAD_TARGET_FC1, 0, rows};
    case SLAD_PEFT_UP:
        return (slad_rows){SLAD_TARGET_FC1, rows, rows};
    case SLAD_PEFT_FC2:
        return (slad_rows){SLAD_TARGET_FC2, 0, rows};
    case SLAD_PEFT_K:
        return (slad_rows){SLAD_TARGET_QKV, rows, rows};
    case SLAD_PEFT_V:
        return (slad_rows){SLAD_TARGET_QKV, 2 * rows, rows};
    default:
        return (slad_rows){SLAD_TARGET_QKV, 0, rows};
    }
}

static slad_rows rows_of_item(const slad_planned_adapter *item)
{
    return (slad_rows){item->target, item->first_row, item->b.size[0] * item->b.size[1]};
}

static bool meet(const slad_rows *a, const slad_rows *b)
{
    return a->target == b->target && a->first < b->first + b->count && b->first < a->first + a->count;
}

/* Whether the item is where a pair can go. */
static bool takes(const slad_planned_adapter *item, const slad_peft_pair *pair)
{
    const slad_rows own = rows_of_item(item), given = rows_of_pair(pair);
    return item->layer == pair->layer && !item->is_private && meet(&own, &given);
}

/* Every pair must have a place of sufficient rank. */
static slad_status check_places(const slad_starting *starting)
{
    slad_context *context = starting->context;
    slad_status status = SLAD_OK;
    const slad_adapter_plan *plan = &starting->network->plan;
    const slad_train_options *options = &starting->trainer->options;
    for (size_t i = 0; i < starting->peft->count; i++) {
        const slad_peft_pair *pair = &starting->peft->pairs[i];
        const char *target = slad_peft_target_name(pair->target);
        const bool is_qkv = rows_of_pair(pair).target == SLAD_TARGET_QKV;
        bool found = false;
        for (size_t k = 0; k < plan->count && !found; k++) found = takes(&plan->items[k], pair);
        SLAD_FAIL_IF(!found && !is_qkv && options->lora_targets == SLAD_LORA_QKV, SLAD_ERROR_USAGE,
                     "%s %s adapts %s of layer %zu, which this run does not; give --lora-targets all", starting->option,
                     starting->peft->folder, target, pair->layer);
        SLAD_FAIL_IF(!found, SLAD_ERROR_USAGE,
                     "%s %s adapts %s of layer %zu, which this run leaves as it is; give --unmapped lora",
                     starting->option, starting->peft->folder, target, pair->layer);
        SLAD_FAIL_IF(pair->rank > options->lora_rank, SLAD_ERROR_USAGE,
                     "%s %s has rank %zu for %s of layer %zu, but --lora-rank is %u; give --lora-rank %zu",
                     starting->option, starting->peft->folder, pair->rank, target, pair->layer, options->lora_rank,
                     pair->rank);
    }
cleanup:
    return status;
}

static bool same_a(const slad_peft_pair *a, const slad_peft_pair *b)
{
    return a->rank == b->rank && memcmp(a->a, b->a, a->rank * a->inputs * sizeof *a->a) == 0;
}

/* Puts the rows that pair and item have in common into B [rows, item->rank], in the scale of the item. */
static void put_rows(float *b, const slad_planned_adapter *item, const slad_peft_pair *pair)
{
    const slad_rows own = rows_of_item(item), given = rows_of_pair(pair);
    const size_t first = own.first > given.first ? own.first : given.first;
    const size_t own_end = own.first + own.count, given_end = given.first + given.count;
    const size_t end = own_end < given_end ? own_end : given_end;
    const double ratio = pair->scale / item->scale;
    for (size_t row = first; row < end; row++)
        for (size_t k = 0; k < pair->rank; k++)
            b[(row - own.first) * item->rank + k] =
                (float)(ratio * (double)pair->b[(row - given.first) * pair->rank + k]);
}

static slad_status write_factor(const slad_starting *starting, const slad_factor *factor, const float *values)
{
    slad_context *context = starting->context;
    slad_status status = SLAD_OK;
    const slad_trained *trained = slad_store_trained_find(starting->trainer->store, factor->name);
    SLAD_FAIL_IF(!trained, SLAD_ERROR_INTERNAL, "%s is not trained; please report it", factor->name);
    SLAD_TRY(slad_executor_write_slab(starting->trainer->executor, trained->tensor, SLAD_SLAB_TRAINED, values));
cleanup:
    return status;
}

static slad_status read_factor(const slad_starting *starting, float *values, const slad_factor *factor)
{
    slad_context *context = starting->context;
    slad_status status = SLAD_OK;
    const slad_trained *trained = slad_store_trained_find(starting->trainer->store, factor->name);
    SLAD_FAIL_IF(!trained, SLAD_ERROR_INTERNAL, "%s is not trained; please report it", factor->name);
    SLAD_TRY(slad_executor_read_slab(starting->trainer->executor, trained->tensor, SLAD_SLAB_TRAINED, values));
cleanup:
    return status;
}

/* Sets an adapter to the pairs that act on its rows; without any it stays as it is. */
static slad_status start_item(const slad_starting *starting, const slad_planned_adapter *item)
{
    slad_context *context = starting->context;
    slad_status status = SLAD_OK;
    const slad_peft_pair *first = NULL;
    const size_t inputs = item->a.size[1], rows = rows_of_item(item).count;
    float *a = NULL, *b = NULL;
    SLAD_TRY(slad_allocate(context, &a, item->rank * inputs, sizeof *a, item->a.name));
    SLAD_TRY(slad_allocate(context, &b, rows * item->rank, sizeof *b, item->b.name));
    for (size_t i = 0; i < starting->peft->count; i++) {
        const slad_peft_pair *pair = &starting->peft->pairs[i];
        if (!takes(item, pair)) continue;
        if (!first) first = pair;
        SLAD_FAIL_IF(!same_a(first, pair), SLAD_ERROR_USAGE,
                     "%s %s has adapters of their own for %s and %s of layer %zu, but this run has one for both; %s",
                     starting->option, starting->peft->folder, slad_peft_target_name(first->target),
                     slad_peft_target_name(pair->target), item->layer,
                     item->target == SLAD_TARGET_QKV ? "give --lora-form split"
                                                     : "merge the folder with slad export and give that model");
        put_rows(b, item, pair);
    }
    if (!first) goto cleanup;
    SLAD_TRY(read_factor(starting, a, &item->a));
    memcpy(a, first->a, first->rank * inputs * sizeof *a);
    SLAD_TRY(write_factor(starting, &item->a, a));
    SLAD_TRY(write_factor(starting, &item->b, b));
cleanup:
    slad_release(a);
    slad_release(b);
    return status;
}

/* Whether all columns of the classifier from `from` on are zero: how a head that reads the class token alone is written
 * for transformers. */
static bool zero_from(const slad_peft *peft, size_t from)
{
    for (size_t row = 0; row < peft->classes; row++)
        for (size_t k = from; k < peft->features; k++)
            if (peft->classifier_weight[row * peft->features + k] != 0.0f) return false;
    return true;
}

static slad_status start_head(const slad_starting *starting)
{
    slad_context *context = starting->context;
    slad_status status = SLAD_OK;
    const slad_trainer *trainer = starting->trainer;
    const slad_peft *peft = starting->peft;
    const slad_head *head = &starting->network->head;
    const size_t width = slad_encoder_get_info(starting->network->backbone.encoder)->width;
    const size_t features = slad_head_features(trainer->options.head, width);
    float *weight = NULL;
    if (!peft->classes) return SLAD_OK;
    if (peft->classes != trainer->classes || peft->features < features || !zero_from(peft, features)) {
        slad_log(context, SLAD_LOG_WARNING,
                 "%s %s: its classifier has %zu classes and reads %zu features, this run's head has %zu and reads %zu; "
                 "it is not used",
                 starting->option, peft->folder, peft->classes, peft->features, trainer->classes, features);
        return SLAD_OK;
    }
    SLAD_TRY(slad_allocate(context, &weight, peft->classes * features, sizeof *weight, "the classifier"));
    for (size_t row = 0; row < peft->classes; row++)
        memcpy(weight + row * features, peft->classifier_weight + row * peft->features, features * sizeof *weight);
    SLAD_TRY(slad_executor_write_slab(trainer->executor, head->weight, SLAD_SLAB_TRAINED, weight));
    SLAD_TRY(slad_executor_write_slab(trainer->executor, head->bias, SLAD_SLAB_TRAINED, peft->classifier_bias));
cleanup:
    slad_release(weight);
    return status;
}

/* Whether the options train adapters of the network's own. */
static slad_status check_options(slad_context *context, const slad_train_options *options, bool teacher)
{
    slad_status status = SLAD_OK;
    const slad_adapt adapt = teacher ? options->teacher_adapt : options->student_adapt;
    SLAD_FAIL_IF(adapt != SLAD_ADAPT_LORA, SLAD_ERROR_USAGE,
                 "--%s-adapter starts LoRA adapters, which this run does not train; give --%s-adapt lora",
                 teacher ? "teacher" : "student", teacher ? "teacher" : "student");
    SLAD_FAIL_IF(!teacher && options->share != SLAD_SHARE_NONE, SLAD_ERROR_USAGE,
                 "--student-adapter needs --share none: with --share the student's adapters are the teacher's, which "
                 "--teacher-adapter starts");
cleanup:
    return status;
}

static slad_status check_folder(slad_context *context, const char *folder, const slad_encoder *encoder,
                                const slad_train_options *options, bool teacher)
{
    slad_status status = SLAD_OK;
    slad_peft *peft = NULL;
    if (!folder) return SLAD_OK;
    SLAD_TRY(check_options(context, options, teacher));
    SLAD_TRY(slad_peft_open(context, &peft, folder));
    SLAD_TRY(slad_peft_check(context, peft, encoder->files));
cleanup:
    slad_peft_close(peft);
    return status;
}

slad_status slad_start_adapters_check(slad_context *context, const slad_run_options *options,
                                      const slad_encoder *teacher, const slad_encoder *student)
{
    slad_status status = SLAD_OK;
    const char *const models[2] = {options->teacher, options->student}, *const roles[2] = {"teacher", "student"};
    for (int i = 0; i < 2; i++) {
        bool is_peft = false;
        const bool trained = i == 1 || options->train.teacher_adapt != SLAD_ADAPT_FROZEN;
        if (models[i] && trained) SLAD_TRY(slad_peft_look(context, &is_peft, models[i]));
        SLAD_FAIL_IF(is_peft, SLAD_ERROR_USAGE,
                     "--%s %s is a folder of adapters; give their base model, and the folder with --%s-adapter",
                     roles[i], models[i], roles[i]);
    }
    SLAD_TRY(check_folder(context, options->teacher_adapter, teacher, &options->train, true));
    SLAD_TRY(check_folder(context, options->student_adapter, student, &options->train, false));
cleanup:
    return status;
}

slad_status slad_trainer_start_adapters(slad_trainer *trainer, const char *folder, bool teacher)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    slad_peft *peft = NULL;
    const slad_encoder *encoder = teacher ? trainer->teacher_encoder : trainer->student_encoder;
    const char *option = teacher ? "--teacher-adapter" : "--student-adapter";
    SLAD_TRY(check_options(context, &trainer->options, teacher));
    SLAD_TRY(slad_peft_open(context, &peft, folder));
    SLAD_TRY(slad_peft_check(context, peft, encoder->files));
    const slad_starting starting = {context, trainer, peft, teacher ? &trainer->teacher : &trainer->student, option};
    SLAD_TRY(check_places(&starting));
    for (size_t i = 0; i < starting.network->plan.count; i++)
        if (!starting.network->plan.items[i].is_private)
            SLAD_TRY(start_item(&starting, &starting.network->plan.items[i]));
    SLAD_TRY(start_head(&starting));
    slad_log(context, SLAD_LOG_INFO, "%s: training starts from %zu adapters of %s", option, peft->count, folder);
cleanup:
    slad_peft_close(peft);
    return status;
}
