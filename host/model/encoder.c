#include "model/encoder.h"
#include "base/memory.h"
#include "model/position.h"
#include <stdio.h>
#include <string.h>

/* The tensors of a block, as the index given to fill_block counts them. */
enum {
    NORM1_GAMMA,
    NORM1_BETA,
    QKV_WEIGHT,
    QKV_BIAS,
    PROJ_WEIGHT,
    PROJ_BIAS,
    SCALE1,
    NORM2_GAMMA,
    NORM2_BETA,
    FC1_WEIGHT,
    FC1_BIAS,
    FC2_WEIGHT,
    FC2_BIAS,
    SCALE2,
    BLOCK_TENSORS
};

static const char *const block_names[BLOCK_TENSORS] = {
    "norm1.weight",
    "norm1.bias",
    "attention.attention.%s.weight",
    "attention.attention.%s.bias",
    "attention.output.dense.weight",
    "attention.output.dense.bias",
    "layer_scale1.lambda1",
    "norm2.weight",
    "norm2.bias",
    "mlp.fc1.weight",
    "mlp.fc1.bias",
    "mlp.fc2.weight",
    "mlp.fc2.bias",
    "layer_scale2.lambda1",
};

enum { PATCH_WEIGHT, PATCH_BIAS, CLASS_TOKEN, NORM_GAMMA, NORM_BETA, OUTER_TENSORS };

static const char *const outer_names[OUTER_TENSORS] = {
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.projection.bias",
    "embeddings.cls_token",
    "layernorm.weight",
    "layernorm.bias",
};

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
        .position_grid = config->position_grid,
        .classes = config->classes,
        .epsilon = config->layer_norm_eps,
    };
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

static slad_status fill_outer(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    const slad_backbone *backbone = user;
    (void)elements;
    return slad_hf_read(context, destination, backbone->encoder->files, outer_names[index]);
}

static slad_status fill_position(slad_context *context, void *destination, size_t elements, const void *user,
                                 size_t index)
{
    const slad_backbone *backbone = user;
    const slad_encoder_info *info = &backbone->encoder->info;
    const size_t grid = info->position_grid, side = backbone->image_size / info->patch;
    slad_status status = SLAD_OK;
    float *table = NULL;
    (void)elements;
    (void)index;
    SLAD_TRY(slad_allocate(context, &table, (1 + grid * grid) * info->width, sizeof *table, "the position table"));
    SLAD_TRY(slad_hf_read(context, table, backbone->encoder->files, "embeddings.position_embeddings"));
    SLAD_TRY(slad_position_resize(context, destination, table, grid, side, side, info->width, backbone->mode));
cleanup:
    slad_release(table);
    return status;
}

/* The three parts of a fused qkv tensor, one behind another; a model without qkv bias has zeros. */
static slad_status fill_qkv(slad_context *context, float *destination, size_t elements, const slad_encoder *encoder,
                            size_t layer, const char *pattern)
{
    static const char *const parts[3] = {"query", "key", "value"};
    char format[96], name[192];
    slad_status status = SLAD_OK;
    if (pattern == block_names[QKV_BIAS] && !slad_hf_config_of(encoder->files)->qkv_bias) {
        memset(destination, 0, elements * sizeof *destination);
        return SLAD_OK;
    }
    for (int i = 0; i < 3 && status == SLAD_OK; i++) {
        const char *mark = strstr(pattern, "%s");
        snprintf(format, sizeof format, "%.*s%s%s", (int)(mark - pattern), pattern, parts[i], mark + 2);
        snprintf(name, sizeof name, "encoder.layer.%zu.%s", layer, format);
        status = slad_hf_read(context, destination + (size_t)i * (elements / 3), encoder->files, name);
    }
    return status;
}

static slad_status fill_block(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    const slad_backbone *backbone = user;
    const size_t layer = index / BLOCK_TENSORS, which = index % BLOCK_TENSORS;
    char name[192];
    if (which == QKV_WEIGHT || which == QKV_BIAS)
        return fill_qkv(context, destination, elements, backbone->encoder, layer, block_names[which]);
    snprintf(name, sizeof name, "encoder.layer.%zu.%s", layer, block_names[which]);
    return slad_hf_read(context, destination, backbone->encoder->files, name);
}

/* Where the tensors of a block go, in the order of the enumeration. */
static void block_places(const slad_tensor **places[BLOCK_TENSORS], slad_block *block)
{
    const slad_tensor **const all[BLOCK_TENSORS] = {
        &block->norm1_gamma, &block->norm1_beta, &block->qkv_weight,  &block->qkv_bias,   &block->proj_weight,
        &block->proj_bias,   &block->scale1,     &block->norm2_gamma, &block->norm2_beta, &block->fc1_weight,
        &block->fc1_bias,    &block->fc2_weight, &block->fc2_bias,    &block->scale2,
    };
    memcpy(places, all, sizeof all);
}

static slad_status place_block(slad_backbone *backbone, slad_store *store, size_t layer, const char *prefix)
{
    const size_t d = backbone->encoder->info.width, m = backbone->encoder->info.mlp_width;
    const size_t sizes[BLOCK_TENSORS][2] = {
        [NORM1_GAMMA] = {d, 0}, [NORM1_BETA] = {d, 0}, [QKV_WEIGHT] = {3 * d, d}, [QKV_BIAS] = {3 * d, 0},
        [PROJ_WEIGHT] = {d, d}, [PROJ_BIAS] = {d, 0},  [SCALE1] = {d, 0},         [NORM2_GAMMA] = {d, 0},
        [NORM2_BETA] = {d, 0},  [FC1_WEIGHT] = {m, d}, [FC1_BIAS] = {m, 0},       [FC2_WEIGHT] = {d, m},
        [FC2_BIAS] = {d, 0},    [SCALE2] = {d, 0},
    };
    const slad_tensor **places[BLOCK_TENSORS];
    char name[192];
    slad_status status = SLAD_OK;
    block_places(places, &backbone->blocks[layer]);
    for (size_t i = 0; i < BLOCK_TENSORS && status == SLAD_OK; i++) {
        snprintf(name, sizeof name, "%slayers.%zu.%s", prefix, layer, block_names[i]);
        status = slad_store_frozen(store, places[i], name, SLAD_F32, sizes[i][1] ? 2 : 1, sizes[i], fill_block,
                                   backbone, layer * BLOCK_TENSORS + i);
    }
    return status;
}

static slad_status place_outer(slad_backbone *backbone, slad_store *store, const char *prefix)
{
    const slad_encoder_info *info = &backbone->encoder->info;
    const size_t d = info->width;
    const size_t patch_size[2] = {d, 3 * info->patch * info->patch}, position_size[2] = {backbone->tokens, d};
    const slad_tensor **const places[OUTER_TENSORS] = {&backbone->patch_weight, &backbone->patch_bias,
                                                       &backbone->class_token, &backbone->norm_gamma,
                                                       &backbone->norm_beta};
    char name[192];
    slad_status status = SLAD_OK;
    for (size_t i = 0; i < OUTER_TENSORS; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, outer_names[i]);
        SLAD_TRY(slad_store_frozen(store, places[i], name, SLAD_F32, i == PATCH_WEIGHT ? 2 : 1,
                                   i == PATCH_WEIGHT ? patch_size : &d, fill_outer, backbone, i));
    }
    snprintf(name, sizeof name, "%sembeddings.position_embeddings", prefix);
    SLAD_TRY(
        slad_store_frozen(store, &backbone->position, name, SLAD_F32, 2, position_size, fill_position, backbone, 0));
cleanup:
    return status;
}

slad_status slad_backbone_create(slad_context *context, slad_backbone *backbone, slad_store *store,
                                 const slad_encoder *encoder, size_t image_size, slad_position_mode mode,
                                 const char *prefix)
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
    backbone->image_size = image_size;
    backbone->tokens = 1 + side * side;
    backbone->mode = mode == SLAD_POSITION_AUTO ? SLAD_POSITION_TRANSFORMERS : mode;
    SLAD_TRY(slad_allocate(context, &backbone->blocks, info->layers, sizeof *backbone->blocks, "the blocks"));
    SLAD_TRY(place_outer(backbone, store, prefix));
    for (size_t i = 0; i < info->layers; i++) SLAD_TRY(place_block(backbone, store, i, prefix));
cleanup:
    if (status != SLAD_OK) slad_backbone_free(backbone);
    return status;
}

void slad_backbone_free(slad_backbone *backbone)
{
    slad_release(backbone->blocks);
    *backbone = (slad_backbone){0};
}

/* A linear layer with the adapters of its target, if it has any. */
static const slad_tensor *adapted_linear(slad_record *record, const slad_tensor *x, const slad_tensor *weight,
                                         const slad_tensor *bias, const slad_layer_adapters *adapters,
                                         slad_target target)
{
    slad_weight adapted = {.weight = weight};
    if (adapters) {
        const slad_adapter_list *list = &adapters->targets[target];
        memcpy(adapted.adapters, list->items, sizeof list->items);
        adapted.adapter_count = list->count;
    }
    return slad_linear(record, x, &adapted, bias);
}

static const slad_tensor *record_block(slad_record *record, const slad_backbone *backbone, const slad_tensor *x,
                                       const slad_block *block, const slad_layer_adapters *adapters)
{
    const slad_encoder_info *info = &backbone->encoder->info;
    const slad_tensor *y = slad_layer_norm(record, x, block->norm1_gamma, block->norm1_beta, info->epsilon);
    y = adapted_linear(record, y, block->qkv_weight, block->qkv_bias, adapters, SLAD_TARGET_QKV);
    y = slad_attention(record, y, info->heads);
    y = adapted_linear(record, y, block->proj_weight, block->proj_bias, adapters, SLAD_TARGET_PROJ);
    x = slad_layer_scale(record, x, y, block->scale1);
    y = slad_layer_norm(record, x, block->norm2_gamma, block->norm2_beta, info->epsilon);
    y = slad_gelu(record, adapted_linear(record, y, block->fc1_weight, block->fc1_bias, adapters, SLAD_TARGET_FC1));
    y = adapted_linear(record, y, block->fc2_weight, block->fc2_bias, adapters, SLAD_TARGET_FC2);
    return slad_layer_scale(record, x, y, block->scale2);
}

const slad_tensor *slad_backbone_record(slad_record *record, const slad_backbone *backbone, const slad_tensor *pixels,
                                        const slad_layer_adapters *adapters)
{
    const slad_encoder_info *info = &backbone->encoder->info;
    const slad_tensor *x = slad_patch_embedding(record, pixels, backbone->patch_weight, backbone->patch_bias,
                                                backbone->class_token, backbone->position, info->patch);
    for (size_t i = 0; i < info->layers; i++)
        x = record_block(record, backbone, x, &backbone->blocks[i], adapters ? &adapters[i] : NULL);
    return slad_layer_norm(record, x, backbone->norm_gamma, backbone->norm_beta, info->epsilon);
}
