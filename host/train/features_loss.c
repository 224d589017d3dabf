#include "train/features_loss.h"
#include "base/random.h"
#include <math.h>

/* The head of the teacher is drawn as 0, that of the student as 1. */
enum { RANDOM_PROJECTION = 2 };

static slad_status fill_projection(slad_context *context, void *destination, size_t elements, const void *user,
                                   size_t index)
{
    const uint64_t *seed = user;
    slad_random random = slad_random_start(*seed, SLAD_RANDOM_HEAD, RANDOM_PROJECTION, 0);
    const double bound = 1.0 / sqrt((double)index);
    float *values = destination;
    (void)context;
    for (size_t i = 0; i < elements; i++)
        values[i] = (float)(bound * (2.0 * (double)slad_random_uniform(&random) - 1.0));
    return SLAD_OK;
}

static size_t patches_of(const slad_network *network)
{
    return network->backbone.tokens - network->backbone.prefix;
}

slad_status slad_features_loss_place(slad_trainer *trainer)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    const slad_train_options *options = &trainer->options;
    if (options->feature_loss == SLAD_FEATURE_LOSS_NONE) return SLAD_OK;
    const size_t patches = patches_of(&trainer->student), teacher_patches = patches_of(&trainer->teacher);
    SLAD_FAIL_IF(
        options->feature_loss == SLAD_FEATURE_LOSS_PATCH && patches != teacher_patches, SLAD_ERROR_USAGE,
        "--feature-loss patch compares patch by patch, but the student cuts an image of %zu pixels a side into "
        "%zu patches and the teacher into %zu; use --feature-loss cls",
        trainer->image_size, patches, teacher_patches);
    const size_t width = trainer->student_encoder->info.width;
    const size_t size[2] = {trainer->teacher_encoder->info.width, width};
    SLAD_TRY(slad_store_trained(trainer->store, &trainer->projection, "student.projection.weight", 2, size,
                                SLAD_GROUP_HEADS, true, fill_projection, &trainer->options.seed, width));
cleanup:
    return status;
}

void slad_features_loss_record(const slad_trainer *trainer, const slad_pass *pass)
{
    slad_record *record = pass->record;
    const slad_train_options *options = &trainer->options;
    const slad_weight projection = {.weight = trainer->projection};
    const bool patches = options->feature_loss == SLAD_FEATURE_LOSS_PATCH;
    const slad_feature_distillation parameters = {
        .alpha = options->alpha_feature,
        .compared = patches ? 1 + patches_of(&trainer->student) : 1,
    };
    if (options->feature_loss == SLAD_FEATURE_LOSS_NONE) return;
    const slad_tensor *features = pass->student_tokens;
    if (!patches) features = slad_pool(record, features, SLAD_POOL_CLS, trainer->student.backbone.prefix);
    (void)slad_feature_loss(record, slad_linear(record, features, &projection, NULL), pass->teacher_tokens,
                            pass->kl_weights, trainer->step_values, trainer->accumulators, &parameters);
}
