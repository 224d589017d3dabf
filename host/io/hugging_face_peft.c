/* A model with adapters of PEFT on top, read as if they had been merged into its weights. */
#include "base/files.h"
#include "base/memory.h"
#include "io/hugging_face_internal.h"
#include "io/peft.h"
#include <stdio.h>
#include <string.h>

/* The sizes of the weight that a target of this model is; false if it has no such. */
static bool sizes_of(size_t *inputs, size_t *outputs, const slad_hf_config *config, slad_peft_target target)
{
    const size_t d = config->hidden_size, m = config->mlp_size;
    const bool gate = target == SLAD_PEFT_GATE || target == SLAD_PEFT_UP;
    *inputs = target == SLAD_PEFT_FC2 ? m : d;
    *outputs = d;
    if (target == SLAD_PEFT_QKV) *outputs = 3 * d;
    if (target == SLAD_PEFT_FC1) *outputs = config->gated ? 2 * m : m;
    if (gate) *outputs = m;
    return !gate || config->gated;
}

slad_status slad_peft_check(slad_context *context, const slad_peft *peft, const slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    const slad_hf_config *config = slad_hf_config_of(model);
    for (size_t i = 0; i < peft->count; i++) {
        const slad_peft_pair *pair = &peft->pairs[i];
        size_t inputs = 0, outputs = 0;
        const bool exists = sizes_of(&inputs, &outputs, config, pair->target);
        SLAD_FAIL_IF(pair->layer >= config->layers, SLAD_ERROR_DATA,
                     "%s adapts layer %zu (counted from 0), but %s has %u layers; the two belong to different models",
                     peft->folder, pair->layer, slad_hf_folder(model), config->layers);
        SLAD_FAIL_IF(
            !exists || pair->inputs != inputs || pair->outputs != outputs, SLAD_ERROR_DATA,
            "%s adapts %s of layer %zu as a weight of [%zu, %zu], but in %s it is %s[%zu, %zu]; the two belong "
            "to different models",
            peft->folder, slad_peft_target_name(pair->target), pair->layer, pair->outputs, pair->inputs,
            slad_hf_folder(model), exists ? "" : "not there; it would be ", outputs, inputs);
    }
    SLAD_FAIL_IF(peft->classes && peft->features != slad_hf_classifier_features(config), SLAD_ERROR_DATA,
                 "%s has a classifier of %zu features, but a classifier of %s reads %llu", peft->folder, peft->features,
                 slad_hf_folder(model), (unsigned long long)slad_hf_classifier_features(config));
cleanup:
    return status;
}

/* The adapter's classes instead of those of the model itself. */
static slad_status take_classes(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    enum { NUMBER_SIZE = 12 };
    const slad_peft *peft = model->adapter;
    if (!peft->classes) return SLAD_OK;
    slad_release((void *)model->class_names);
    slad_release(model->number_names);
    model->class_names = NULL;
    model->number_names = NULL;
    model->config.classes = (uint32_t)peft->classes;
    SLAD_TRY(slad_allocate(context, &model->class_names, peft->classes, sizeof *model->class_names, "class names"));
    SLAD_TRY(slad_allocate(context, &model->number_names, peft->classes, NUMBER_SIZE, "class names"));
    for (size_t i = 0; i < peft->classes; i++) {
        char *number = model->number_names + i * NUMBER_SIZE;
        (void)snprintf(number, NUMBER_SIZE, "%u", (unsigned)i);
        model->class_names[i] = peft->class_names ? peft->class_names[i] : number;
    }
cleanup:
    return status;
}

/* What is said of the preparation of images beside the adapter goes before what is said beside its base. */
static slad_status take_folder(slad_context *context, slad_hf_model *model, const char *folder)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    SLAD_TRY(slad_path_join(context, &path, folder, "preprocessor_config.json"));
    if (slad_path_look(path) != SLAD_PATH_FILE) goto cleanup;
    slad_release(model->folder);
    model->folder = NULL;
    SLAD_TRY(slad_duplicate(context, &model->folder, folder));
cleanup:
    slad_release(path);
    return status;
}

slad_status slad_hf_open_adapted(slad_context *context, slad_hf_model **out, const char *folder)
{
    slad_status status = SLAD_OK;
    slad_hf_model *model = NULL;
    slad_peft *peft = NULL;
    char *base = NULL;
    bool is_peft = false;
    *out = NULL;
    SLAD_TRY(slad_peft_open(context, &peft, folder));
    SLAD_TRY(slad_peft_base(context, &base, peft));
    SLAD_TRY(slad_peft_look(context, &is_peft, base));
    SLAD_FAIL_IF(is_peft, SLAD_ERROR_DATA,
                 "%s/adapter_config.json: the base model %s is an adapter itself; merge that into its model first",
                 folder, base);
    SLAD_TRY(slad_hf_open(context, &model, base));
    SLAD_TRY(slad_peft_check(context, peft, model));
    model->adapter = peft;
    peft = NULL;
    SLAD_TRY(take_classes(context, model));
    SLAD_TRY(take_folder(context, model, folder));
    slad_log(context, SLAD_LOG_INFO, "%s: %zu adapters are merged into %s", folder, model->adapter->count, base);
    *out = model;
    model = NULL;
cleanup:
    slad_release(base);
    slad_peft_close(peft);
    slad_hf_close(model);
    return status;
}

slad_status slad_hf_read_adapted(slad_context *context, float *destination, const slad_hf_model *model,
                                 const char *name)
{
    slad_status status = SLAD_OK;
    const slad_peft *peft = model->adapter;
    slad_hf_slot slot;
    slad_peft_target target;
    const bool bias = strcmp(name, "classifier.bias") == 0;
    if (peft->classes && (bias || strcmp(name, "classifier.weight") == 0)) {
        const float *values = bias ? peft->classifier_bias : peft->classifier_weight;
        memcpy(destination, values, peft->classes * (bias ? 1 : peft->features) * sizeof *values);
        return SLAD_OK;
    }
    SLAD_TRY(slad_hf_read_base(context, destination, model, name));
    if (slad_hf_slot_named(&slot, &model->config, name) && slad_peft_target_of(&target, slot.role))
        slad_peft_merge(destination, (size_t)slot.shape[0], slot.layer, target, peft->pairs, peft->count);
cleanup:
    return status;
}
