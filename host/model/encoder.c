#include "model/encoder.h"
#include "base/memory.h"
#include "model/position.h"
#include <stdio.h>
#include <string.h>

slad_status slad_encoder_open(slad_context *context, slad_encoder **encoder, const char *path)
{
    slad_status status = SLAD_OK;
    slad_encoder *made = NULL;
    *encoder = NULL;
    SLAD_TRY(slad_allocate(context, &made, 1, sizeof *made, "an encoder"));
    SLAD_TRY(slad_hf_open(context, &made->files, path));
    const slad_hf_config *config = slad_hf_config_of(made->files);
    made->info = (slad_encoder_info){
        .width = config->hidden_size,
        .layers = config->layers,
        .heads = config->heads,
        .head_width = config->hidden_size / config->heads,
        .mlp_width = config->mlp_size,
        .patch = config->patch_size,
        .gated = config->gated,
        .registers = config->registers,
        .position_grid = config->position_grid,
        .classes = config->classes,
        .classifier_features = (size_t)slad_hf_classifier_features(config),
        .epsilon = config->layer_norm_eps,
        .position_mode = config->position_mode,
    };
    const size_t head = made->info.head_width;
    SLAD_FAIL_IF(head % SLAD_ATTENTION_HEAD_STEP != 0 || head > SLAD_ATTENTION_HEAD_MOST, SLAD_ERROR_DATA,
                 "%s: config.json's \"hidden_size\" %zu and \"num_attention_heads\" %zu make heads of %zu, but only "
                 "multiples of %d up to %d are supported; choose another model",
                 path, made->info.width, made->info.heads, head, SLAD_ATTENTION_HEAD_STEP, SLAD_ATTENTION_HEAD_MOST);
    *encoder = made;
    made = NULL;
cleanup:
    slad_encoder_free(made);
    return status;
}

void slad_encoder_free(slad_encoder *encoder)
{
    if (!encoder) return;
    slad_hf_close(encoder->files);
    slad_release(encoder);
}

const slad_encoder_info *slad_encoder_get_info(const slad_encoder *encoder)
{
    return &encoder->info;
}

const char *slad_encoder_path(const slad_encoder *encoder)
{
    return slad_hf_folder(encoder->files);
}

/* A tensor of the files, or what training made of it. */
static slad_status read_slot(slad_context *context, float *destination, const slad_backbone *backbone,
                             const slad_hf_slot *slot)
{
    const slad_named_values *values = backbone->form.values;
    char name[192];
    if (!values) return slad_hf_read(context, destination, backbone->encoder->files, slot->name);
    (void)snprintf(name, sizeof name, "%s%s", backbone->form.prefix, slot->name);
    return values->read(context, destination, (size_t)slot->elements, name, values->user);
}

/* The three parts of a fused qkv tensor, one behind another. */
static slad_status fill_qkv(slad_context *context, float *destination, const slad_backbone *backbone,
                            const slad_hf_slot *query)
{
    const slad_hf_config *config = slad_hf_config_of(backbone->encoder->files);
    slad_status status = SLAD_OK;
    for (int part = 0; part < 3; part++) {
        slad_hf_slot slot; /* query, key and value have their roles two apart: weight, bias, weight, ... */
        (void)slad_hf_slot_of(&slot, config, (slad_hf_role)((int)query->role + 2 * part), query->layer);
        SLAD_TRY(read_slot(context, destination + (size_t)part * query->elements, backbone, &slot));
    }
cleanup:
    return status;
}

static size_t side_of(const slad_backbone *backbone)
{
    return backbone->image_size / backbone->encoder->info.patch;
}

static slad_status fill_position(slad_context *context, float *destination, const slad_backbone *backbone,
                                 const slad_hf_slot *slot)
{
    const slad_encoder_info *info = &backbone->encoder->info;
    const size_t side = side_of(backbone);
    slad_status status = SLAD_OK;
    float *table = NULL;
    if (backbone->form.trained) return read_slot(context, destination, backbone, slot);
    SLAD_TRY(slad_allocate(context, &table, (size_t)slot->elements, sizeof *table, "the position table"));
    SLAD_TRY(read_slot(context, table, backbone, slot));
    SLAD_TRY(slad_position_resize(context, destination, table, info->position_grid, side, side, info->width,
                                  backbone->mode));
cleanup:
    slad_release(table);
    return status;
}

static slad_status fill_matrix(slad_context *context, void *destination, size_t elements, const void *user,
                               size_t index)
{
    const slad_backbone *backbone = user;
    (void)elements;
    (void)index;
    return slad_position_matrix(context, destination, backbone->encoder->info.position_grid, side_of(backbone),
                                backbone->mode);
}

static bool is_query(slad_hf_role role)
{
    return role == SLAD_HF_QUERY_WEIGHT || role == SLAD_HF_QUERY_BIAS;
}

/* index: layer * SLAD_HF_ROLES + role. */
static slad_status fill_tensor(slad_context *context, void *destination, size_t elements, const void *user,
                               size_t index)
{
    const slad_backbone *backbone = user;
    slad_hf_slot slot;
    (void)elements;
    (void)slad_hf_slot_of(&slot, slad_hf_config_of(backbone->encoder->files), (slad_hf_role)(index % SLAD_HF_ROLES),
                          (uint32_t)(index / SLAD_HF_ROLES));
    if (is_query(slot.role)) return fill_qkv(context, destination, backbone, &slot);
    if (slot.role == SLAD_HF_POSITION) return fill_position(context, destination, backbone, &slot);
    return read_slot(context, destination, backbone, &slot);
}

/* Where a tensor goes; NULL for key and value, which go with the query. */
static const slad_tensor **place_of(slad_backbone *backbone, const slad_hf_slot *slot)
{
    slad_block *block = &backbone->blocks[slot->layer];
    const slad_tensor **const places[SLAD_HF_ROLES] = {
        [SLAD_HF_CLASS_TOKEN] = &backbone->class_token,
        [SLAD_HF_REGISTERS] = &backbone->registers,
        [SLAD_HF_POSITION] = &backbone->position,
        [SLAD_HF_PATCH_WEIGHT] = &backbone->patch_weight,
        [SLAD_HF_PATCH_BIAS] = &backbone->patch_bias,
        [SLAD_HF_NORM1_WEIGHT] = &block->norm1_gamma,
        [SLAD_HF_NORM1_BIAS] = &block->norm1_beta,
        [SLAD_HF_QUERY_WEIGHT] = &block->qkv_weight,
        [SLAD_HF_QUERY_BIAS] = &block->qkv_bias,
        [SLAD_HF_PROJ_WEIGHT] = &block->proj_weight,
        [SLAD_HF_PROJ_BIAS] = &block->proj_bias,
        [SLAD_HF_SCALE1] = &block->scale1,
        [SLAD_HF_NORM2_WEIGHT] = &block->norm2_gamma,
        [SLAD_HF_NORM2_BIAS] = &block->norm2_beta,
        [SLAD_HF_FC1_WEIGHT] = &block->fc1_weight,
        [SLAD_HF_FC1_BIAS] = &block->fc1_bias,
        [SLAD_HF_FC2_WEIGHT] = &block->fc2_weight,
        [SLAD_HF_FC2_BIAS] = &block->fc2_bias,
        [SLAD_HF_SCALE2] = &block->scale2,
        [SLAD_HF_NORM_WEIGHT] = &backbone->norm_gamma,
        [SLAD_HF_NORM_BIAS] = &backbone->norm_beta,
    };
    return places[slot->role];
}

/* The shape in the store, without the leading sizes of 1: a convolution's kernel is one row; q, k and v stand one below
 * the other; positions are those of the image size, or all of them to be trained. */
static unsigned shape_of(size_t size[2], const slad_backbone *backbone, const slad_hf_slot *slot)
{
    const unsigned rank = slot->role == SLAD_HF_CLASS_TOKEN || slot->rank == 1 ? 1 : 2;
    const size_t rows = rank == 1 ? (size_t)slot->elements : (size_t)slot->shape[slot->rank == 3];
    size[0] = is_query(slot->role) ? 3 * rows : rows;
    size[1] = (size_t)slot->elements / rows;
    if (slot->role == SLAD_HF_POSITION && !backbone->form.trained)
        size[0] = backbone->tokens - backbone->encoder->info.registers;
    return rank;
}

static bool decays(slad_hf_role role)
{
    return role == SLAD_HF_PATCH_WEIGHT || role == SLAD_HF_QUERY_WEIGHT || role == SLAD_HF_PROJ_WEIGHT ||
           role == SLAD_HF_FC1_WEIGHT || role == SLAD_HF_FC2_WEIGHT;
}

static slad_status place_tensor(slad_backbone *backbone, slad_store *store, const slad_hf_slot *slot)
{
    const slad_tensor **place = place_of(backbone, slot);
    const char *prefix = backbone->form.prefix;
    const size_t index = slot->layer * (size_t)SLAD_HF_ROLES + slot->role;
    char name[192];
    size_t size[2];
    if (!place) return SLAD_OK;
    const char *part = is_query(slot->role) ? strstr(slot->name, "query") : NULL;
    if (part)
        (void)snprintf(name, sizeof name, "%s%.*s{query,key,value}%s", prefix, (int)(part - slot->name), slot->name,
                       part + strlen("query"));
    else
        (void)snprintf(name, sizeof name, "%s%s", prefix, slot->name);
    const unsigned rank = shape_of(size, backbone, slot);
    if (backbone->form.trained)
        return slad_store_trained(store, place, name, rank, size, SLAD_GROUP_ADAPTERS, decays(slot->role), fill_tensor,
                                  backbone, index);
    return slad_store_frozen(store, place, name, SLAD_F32, rank, size, fill_tensor, backbone, index);
}

/* What resizes a trained position table, where the grid is another. */
static slad_status place_matrix(slad_backbone *backbone, slad_store *store)
{
    const size_t size[2] = {side_of(backbone), backbone->encoder->info.position_grid};
    char name[192];
    if (!backbone->form.trained || size[0] == size[1]) return SLAD_OK;
    (void)snprintf(name, sizeof name, "%sembeddings.position_matrix", backbone->form.prefix);
    return slad_store_frozen(store, &backbone->position_matrix, name, SLAD_F32, 2, size, fill_matrix, backbone, 0);
}

slad_status slad_backbone_create(slad_context *context, slad_backbone *backbone, slad_store *store,
                                 const slad_encoder *encoder, size_t image_size, slad_position_mode mode,
                                 const slad_backbone_form *form)
{
    slad_status status = SLAD_OK;
    const slad_encoder_info *info = &encoder->info;
    *backbone = (slad_backbone){0};
    SLAD_FAIL_IF(info->patch == 0, SLAD_ERROR_DATA, "%s has patches of no size", slad_hf_folder(encoder->files));
    const size_t rest = image_size % info->patch;
    SLAD_FAIL_IF(image_size < info->patch || rest, SLAD_ERROR_USAGE,
                 "The image size %zu is no multiple of the patch size %zu of %s; choose --image-size %zu", image_size,
                 info->patch, slad_hf_folder(encoder->files),
                 image_size < info->patch ? info->patch : image_size - rest);
    const size_t side = image_size / info->patch;
    backbone->encoder = encoder;
    backbone->form = *form;
    backbone->image_size = image_size;
    backbone->prefix = 1 + info->registers;
    backbone->tokens = backbone->prefix + side * side;
    backbone->mode = mode == SLAD_POSITION_AUTO ? info->position_mode : mode;
    SLAD_TRY(slad_allocate(context, &backbone->blocks, info->layers, sizeof *backbone->blocks, "the blocks"));
    const slad_hf_config *config = slad_hf_config_of(encoder->files);
    const size_t count = slad_hf_slot_count(config);
    for (size_t i = 0; i < count; i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, config, i);
        SLAD_TRY(place_tensor(backbone, store, &slot));
    }
    SLAD_TRY(place_matrix(backbone, store));
cleanup:
    if (status != SLAD_OK) slad_backbone_free(backbone);
    return status;
}

void slad_backbone_free(slad_backbone *backbone)
{
    slad_release(backbone->blocks);
    *backbone = (slad_backbone){0};
}

/* What adapts the linear layers of a block. */
typedef struct slad_adaptation {
    const slad_layer_adapters *layer; /* NULL: nothing */
    const slad_dropout *dropout;      /* NULL: none */
} slad_adaptation;

/* A linear layer with the adapters of its target, if it has any. */
static const slad_tensor *adapted_linear(slad_record *record, const slad_tensor *x, const slad_tensor *weight,
                                         const slad_tensor *bias, const slad_adaptation *adaptation, slad_target target)
{
    slad_weight adapted = {.weight = weight};
    if (adaptation->layer) {
        const slad_adapter_list *list = &adaptation->layer->targets[target];
        memcpy(adapted.adapters, list->items, sizeof list->items);
        adapted.adapter_count = list->count;
        if (adaptation->dropout) adapted.dropout = *adaptation->dropout;
    }
    return slad_linear(record, x, &adapted, bias);
}

static const slad_tensor *record_block(slad_record *record, const slad_backbone *backbone, const slad_tensor *x,
                                       const slad_block *block, const slad_adaptation *adaptation)
{
    const slad_encoder_info *info = &backbone->encoder->info;
    const slad_tensor *y = slad_layer_norm(record, x, block->norm1_gamma, block->norm1_beta, info->epsilon);
    y = adapted_linear(record, y, block->qkv_weight, block->qkv_bias, adaptation, SLAD_TARGET_QKV);
    y = slad_attention(record, y, info->heads);
    y = adapted_linear(record, y, block->proj_weight, block->proj_bias, adaptation, SLAD_TARGET_PROJ);
    x = slad_layer_scale(record, x, y, block->scale1);
    y = slad_layer_norm(record, x, block->norm2_gamma, block->norm2_beta, info->epsilon);
    y = adapted_linear(record, y, block->fc1_weight, block->fc1_bias, adaptation, SLAD_TARGET_FC1);
    y = info->gated ? slad_swiglu(record, y) : slad_gelu(record, y);
    y = adapted_linear(record, y, block->fc2_weight, block->fc2_bias, adaptation, SLAD_TARGET_FC2);
    return slad_layer_scale(record, x, y, block->scale2);
}

const slad_tensor *slad_backbone_record(slad_record *record, const slad_backbone *backbone, const slad_tensor *pixels,
                                        const slad_layer_adapters *adapters, const slad_dropout *dropout,
                                        const slad_tensor **block_tokens)
{
    const slad_encoder_info *info = &backbone->encoder->info;
    const slad_tensor *matrix = backbone->position_matrix, *position = backbone->position;
    if (matrix) position = slad_position_interpolation(record, position, matrix, matrix);
    const slad_tensor *x = slad_patch_embedding(record, pixels, backbone->patch_weight, backbone->patch_bias,
                                                backbone->class_token, backbone->registers, position, info->patch);
    for (size_t i = 0; i < info->layers; i++) {
        const slad_adaptation adaptation = {adapters ? &adapters[i] : NULL, dropout};
        slad_record_segment_begin(record);
        x = record_block(record, backbone, x, &backbone->blocks[i], &adaptation);
        slad_record_segment_end(record);
        if (block_tokens) block_tokens[i] = x;
    }
    return slad_layer_norm(record, x, backbone->norm_gamma, backbone->norm_beta, info->epsilon);
}
