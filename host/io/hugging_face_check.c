/* Whether the tensors of a folder are what its config.json says. */
#include "base/memory.h"
#include "io/hugging_face_internal.h"
#include <stdio.h>
#include <string.h>

enum { CLASS_LIMIT = 1000000, SHAPE_TEXT = 128 };

bool slad_hf_same_shape(const slad_safetensor *tensor, const uint64_t *shape, size_t rank)
{
    return tensor->rank == rank && memcmp(tensor->shape, shape, rank * sizeof *shape) == 0;
}

slad_status slad_hf_check_type(slad_context *context, const slad_safetensor *tensor, const slad_safetensors *file)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(tensor->type != SLAD_SAFETENSORS_F32 && tensor->type != SLAD_SAFETENSORS_F16 &&
                     tensor->type != SLAD_SAFETENSORS_BF16,
                 SLAD_ERROR_DATA, "%s: tensor \"%s\" is %s; weights must be F32, F16 or BF16, convert the model",
                 slad_safetensors_path(file), tensor->name, tensor->type_name);
cleanup:
    return status;
}

uint32_t slad_hf_square_root(uint64_t square)
{
    uint64_t root = 0;
    if (square > (uint64_t)1 << 32) return 0;
    while (root * root < square) root++;
    return (uint32_t)root;
}

/* The position table may have been made for another image size than config.json says; any square grid will do. */
static slad_status take_position_grid(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    slad_hf_config *config = &model->config;
    const slad_safetensor *table = slad_hf_find(model, &file, "embeddings.position_embeddings");
    if (!table || table->rank != 3) return SLAD_OK; /* the check of all tensors reports that */
    char text[SHAPE_TEXT];
    slad_safetensors_shape_text(text, sizeof text, table->shape, table->rank);
    const uint64_t patches = table->shape[1] > 0 ? table->shape[1] - 1 : 0;
    const uint32_t grid = slad_hf_square_root(patches);
    SLAD_FAIL_IF(patches == 0 || (uint64_t)grid * grid != patches, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s, but \"image_size\" %u and \"patch_size\" %u of config.json ask for [1, 1 + "
                 "%u * %u, %u], or another square grid",
                 slad_safetensors_path(file), table->name, text, config->image_size, config->patch_size,
                 config->position_grid, config->position_grid, config->hidden_size);
    if (grid != config->position_grid) {
        slad_log(context, SLAD_LOG_INFO,
                 "%s: \"image_size\" %u and \"patch_size\" %u mean a grid of %u x %u, but the position table is %u x "
                 "%u, which is used",
                 model->config_path, config->image_size, config->patch_size, config->position_grid,
                 config->position_grid, grid, grid);
    }
    config->position_grid = grid;
cleanup:
    return status;
}

static slad_status check_slot(slad_context *context, const slad_hf_model *model, const slad_hf_slot *slot)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    const slad_safetensor *tensor = slad_hf_find(model, &file, slot->name);
    const bool in_layer = strncmp(slot->name, "encoder.layer.", 14) == 0;
    SLAD_FAIL_IF(!tensor && in_layer, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is missing, but \"num_hidden_layers\" of config.json is %u%s", model->folder,
                 slot->name, model->config.layers,
                 strstr(slot->name, "bias") && strstr(slot->name, "attention.attention") ? " and \"qkv_bias\" is true"
                                                                                         : "");
    SLAD_FAIL_IF(!tensor, SLAD_ERROR_DATA, "%s: tensor \"%s\" is missing; a model of type \"%s\" has it", model->folder,
                 slot->name, slad_hf_type_name(model->config.type));
    char found[SHAPE_TEXT], wanted[SHAPE_TEXT];
    slad_safetensors_shape_text(found, sizeof found, tensor->shape, tensor->rank);
    slad_safetensors_shape_text(wanted, sizeof wanted, slot->shape, slot->rank);
    SLAD_FAIL_IF(!slad_hf_same_shape(tensor, slot->shape, slot->rank), SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s, but %s of config.json ask for %s; the two belong to different models",
                 slad_safetensors_path(file), tensor->name, found, slot->fields, wanted);
    SLAD_TRY(slad_hf_check_type(context, tensor, file));
cleanup:
    return status;
}

/* A layer too many is a contradiction; anything else that is not known is not used. */
static slad_status check_extra(slad_context *context, const slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    for (size_t f = 0; f < model->file_count; f++) {
        const slad_safetensors *file = model->files[f];
        for (size_t i = 0; i < slad_safetensors_count(file); i++) {
            const char *name = slad_safetensors_at(file, i)->name;
            const bool prefixed = strncmp(name, model->prefix, strlen(model->prefix)) == 0;
            int64_t layer = -1;
            const bool known = prefixed && slad_hf_name_is_known(&model->config, name + strlen(model->prefix), &layer);
            SLAD_FAIL_IF(known && layer >= model->config.layers, SLAD_ERROR_DATA,
                         "%s: tensor \"%s\" exists, but \"num_hidden_layers\" of config.json is %u; the two belong to "
                         "different models",
                         slad_safetensors_path(file), name, model->config.layers);
            const bool head = strcmp(name, "classifier.weight") == 0 || strcmp(name, "classifier.bias") == 0;
            if (!head && !known)
                slad_log(context, SLAD_LOG_DEBUG, "%s: tensor \"%s\" is not used", slad_safetensors_path(file), name);
        }
    }
cleanup:
    return status;
}

static slad_status take_classifier(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL, *bias_file = NULL;
    const slad_safetensor *weight = slad_hf_find(model, &file, "classifier.weight");
    const slad_safetensor *bias = slad_hf_find(model, &bias_file, "classifier.bias");
    if (!weight && !bias) return SLAD_OK;
    SLAD_FAIL_IF(!weight || !bias, SLAD_ERROR_DATA, "%s: tensor \"classifier.%s\" is missing beside \"classifier.%s\"",
                 model->folder, weight ? "bias" : "weight", weight ? "weight" : "bias");
    char text[SHAPE_TEXT];
    slad_safetensors_shape_text(text, sizeof text, weight->shape, weight->rank);
    const uint64_t features = slad_hf_classifier_features(&model->config);
    SLAD_FAIL_IF(
        weight->rank != 2 || weight->shape[1] != features || weight->shape[0] == 0 || weight->shape[0] > CLASS_LIMIT,
        SLAD_ERROR_DATA,
        "%s: tensor \"classifier.weight\" is %s, but \"hidden_size\" %u of config.json asks for [classes, %llu]",
        slad_safetensors_path(file), text, model->config.hidden_size, (unsigned long long)features);
    SLAD_FAIL_IF(
        !slad_hf_same_shape(bias, weight->shape, 1), SLAD_ERROR_DATA,
        "%s: tensor \"classifier.bias\" must have one value for each of the %llu rows of \"classifier.weight\"",
        slad_safetensors_path(bias_file), (unsigned long long)weight->shape[0]);
    SLAD_TRY(slad_hf_check_type(context, weight, file));
    SLAD_TRY(slad_hf_check_type(context, bias, bias_file));
    model->config.classes = (uint32_t)weight->shape[0];
    SLAD_TRY(slad_hf_take_classes(context, model));
cleanup:
    return status;
}

/* "" or "dinov2.", whichever the class token has. */
static slad_status take_prefix(slad_context *context, slad_hf_model *model)
{
    slad_safetensors *file = NULL;
    const char *type = slad_hf_type_name(model->config.type);
    char name[SLAD_HF_NAME_SIZE];
    (void)snprintf(name, sizeof name, "%s.embeddings.cls_token", type);
    const bool prefixed =
        !slad_hf_find_full(model, &file, "embeddings.cls_token") && slad_hf_find_full(model, &file, name) != NULL;
    return prefixed ? slad_format(context, &model->prefix, "%s.", type) : slad_duplicate(context, &model->prefix, "");
}

slad_status slad_hf_check_tensors(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(take_prefix(context, model));
    SLAD_TRY(take_position_grid(context, model));
    const size_t count = slad_hf_slot_count(&model->config);
    for (size_t i = 0; i < count; i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, &model->config, i);
        SLAD_TRY(check_slot(context, model, &slot));
    }
    SLAD_TRY(take_classifier(context, model));
    SLAD_TRY(check_extra(context, model));
cleanup:
    return status;
}
