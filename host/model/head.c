#include "model/head.h"
#include "base/random.h"
#include <stdio.h>

#define INITIAL_DEVIATION 0.01

size_t slad_head_features(slad_head_kind kind, size_t width)
{
    return kind == SLAD_HEAD_CLS ? width : 2 * width;
}

slad_status slad_head_check(slad_context *context, slad_head_kind kind, const slad_encoder *encoder)
{
    slad_status status = SLAD_OK;
    const slad_encoder_info *info = &encoder->info;
    SLAD_FAIL_IF(slad_head_features(kind, info->width) > info->classifier_features, SLAD_ERROR_USAGE,
                 "%s is a ViT, whose classifier reads the class token alone and cannot hold the mean of the patches; "
                 "give --head cls",
                 slad_encoder_path(encoder));
cleanup:
    return status;
}

slad_head_kind slad_head_kind_of(const slad_encoder *encoder)
{
    return encoder->info.classifier_features == encoder->info.width ? SLAD_HEAD_CLS : SLAD_HEAD_CLS_MEAN;
}

static slad_status fill_weight(slad_context *context, void *destination, size_t elements, const void *user,
                               size_t index)
{
    const uint64_t *seed = user;
    slad_random random = slad_random_start(*seed, SLAD_RANDOM_HEAD, (uint32_t)index, 0);
    float *values = destination;
    (void)context;
    for (size_t i = 0; i < elements; i++) values[i] = (float)(INITIAL_DEVIATION * (double)slad_random_normal(&random));
    return SLAD_OK;
}

slad_status slad_head_create(slad_head *head, slad_store *store, slad_head_kind kind, size_t width, size_t classes,
                             const char *prefix, unsigned model, const uint64_t *seed)
{
    const size_t size[2] = {classes, slad_head_features(kind, width)};
    char name[96];
    slad_status status = SLAD_OK;
    head->kind = kind;
    snprintf(name, sizeof name, "%shead.weight", prefix);
    SLAD_TRY(slad_store_trained(store, &head->weight, name, 2, size, SLAD_GROUP_HEADS, true, fill_weight, seed, model));
    snprintf(name, sizeof name, "%shead.bias", prefix);
    SLAD_TRY(slad_store_trained(store, &head->bias, name, 1, size, SLAD_GROUP_HEADS, false, NULL, NULL, 0));
cleanup:
    return status;
}

slad_status slad_head_place(slad_head *head, slad_store *store, slad_head_kind kind, size_t width, size_t classes,
                            const char *prefix, slad_fill fill, const void *user)
{
    const size_t size[2] = {classes, slad_head_features(kind, width)};
    char name[96];
    slad_status status = SLAD_OK;
    head->kind = kind;
    snprintf(name, sizeof name, "%shead.weight", prefix);
    SLAD_TRY(slad_store_frozen(store, &head->weight, name, SLAD_F32, 2, size, fill, user, 0));
    snprintf(name, sizeof name, "%shead.bias", prefix);
    SLAD_TRY(slad_store_frozen(store, &head->bias, name, SLAD_F32, 1, size, fill, user, 1));
cleanup:
    return status;
}

const slad_tensor *slad_head_record(slad_record *record, const slad_head *head, const slad_tensor *tokens,
                                    size_t prefix)
{
    const slad_weight weight = {.weight = head->weight};
    const slad_pool_kind kind = head->kind == SLAD_HEAD_CLS ? SLAD_POOL_CLS : SLAD_POOL_CLS_MEAN;
    return slad_linear(record, slad_pool(record, tokens, kind, prefix), &weight, head->bias);
}
