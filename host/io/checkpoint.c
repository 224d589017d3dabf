/* Single safetensors files in the naming of facebookresearch/dinov2 (hub) or timm: no configuration comes with them, so
 * that everything is deduced from the tensors, and what cannot be is an error. */
#include "base/memory.h"
#include "io/hugging_face_internal.h"
#include <stdio.h>
#include <string.h>

enum { HEAD_WIDTH = 64, SHAPE_TEXT = 128, LAYER_LIMIT = 1000, SIDE_LIMIT = 16384, RATIO_LIMIT = 64 };

static const char patch_name[] = "patch_embed.proj.weight";

/* What is deduced from one file. */
typedef struct deduction {
    slad_context *context;
    slad_hf_model *model;
    slad_safetensors *file;
    const char *path;
    slad_hf_config *config;
} deduction;

static const slad_safetensor *find(const deduction *d, const char *name)
{
    slad_safetensors *file = NULL;
    return slad_hf_find(d->model, &file, name);
}

static slad_status find_rank(slad_context *context, const slad_safetensor **tensor, const deduction *d,
                             const char *name, size_t rank)
{
    slad_status status = SLAD_OK;
    char text[SHAPE_TEXT];
    *tensor = find(d, name);
    SLAD_FAIL_IF(!*tensor, SLAD_ERROR_DATA,
                 "%s: tensor \"%s%s\" is missing; encoders in the naming of facebookresearch/dinov2 or timm have it",
                 d->path, d->model->prefix, name);
    slad_safetensors_shape_text(text, sizeof text, (*tensor)->shape, (*tensor)->rank);
    SLAD_FAIL_IF((*tensor)->rank != rank || (*tensor)->elements == 0, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s; it must have %zu sizes", d->path, (*tensor)->name, text, rank);
cleanup:
    return status;
}

/* Training code puts a prefix before all names ("backbone.", "model."): it is what stands before the one patch
 * embedding of the file. */
static slad_status take_prefix(deduction *d)
{
    slad_context *context = d->context;
    slad_status status = SLAD_OK;
    const char *found = NULL;
    size_t length = 0;
    for (size_t i = 0; i < slad_safetensors_count(d->file); i++) {
        const char *name = slad_safetensors_at(d->file, i)->name, *part = strstr(name, patch_name);
        if (!part || strcmp(part, patch_name) != 0 || (part > name && part[-1] != '.')) continue;
        SLAD_FAIL_IF(
            found, SLAD_ERROR_DATA,
            "%s: holds several encoders, with tensors \"%s\" and \"%s\"; keep one of them in a file of its own",
            d->path, found, name);
        found = name;
        length = (size_t)(part - name);
    }
    SLAD_FAIL_IF(!found, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is missing: this is no encoder in the naming of facebookresearch/dinov2 or timm; "
                 "a model of Hugging Face is given by the folder with its config.json",
                 d->path, patch_name);
    SLAD_FAIL_IF(length >= SLAD_HF_NAME_SIZE, SLAD_ERROR_DATA, "%s: the prefix of tensor \"%s\" is too long", d->path,
                 found);
    SLAD_TRY(slad_format(context, &d->model->prefix, "%.*s", (int)length, found));
cleanup:
    return status;
}

static slad_status take_patches(deduction *d)
{
    slad_context *context = d->context;
    slad_status status = SLAD_OK;
    const slad_safetensor *patch = NULL;
    char text[SHAPE_TEXT];
    SLAD_TRY(find_rank(context, &patch, d, patch_name, 4));
    slad_safetensors_shape_text(text, sizeof text, patch->shape, 4);
    SLAD_FAIL_IF(patch->shape[1] != 3 || patch->shape[2] != patch->shape[3] || patch->shape[2] > 1024, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s; it must be [width, 3, patch, patch]", d->path, patch->name, text);
    SLAD_FAIL_IF(patch->shape[0] % HEAD_WIDTH != 0 || patch->shape[0] > 65536, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s: the width %llu is not made of attention heads of %d, so that their number "
                 "cannot be deduced; convert the file to a folder of Hugging Face",
                 d->path, patch->name, text, (unsigned long long)patch->shape[0], HEAD_WIDTH);
    d->config->hidden_size = (uint32_t)patch->shape[0];
    d->config->patch_size = (uint32_t)patch->shape[2];
    d->config->heads = d->config->hidden_size / HEAD_WIDTH;
    d->config->channels = 3;
cleanup:
    return status;
}

/* Layers are counted by their first norms. */
static slad_status take_layers(deduction *d)
{
    slad_context *context = d->context;
    slad_status status = SLAD_OK;
    char name[SLAD_HF_NAME_SIZE];
    uint32_t layers = 0;
    for (;; layers++) {
        (void)snprintf(name, sizeof name, "blocks.%u.norm1.weight", layers);
        if (!find(d, name)) break;
    }
    SLAD_FAIL_IF(layers == 0, SLAD_ERROR_DATA, "%s: tensor \"%s%s\" is missing; the file has no layer", d->path,
                 d->model->prefix, name);
    SLAD_FAIL_IF(layers > LAYER_LIMIT, SLAD_ERROR_DATA, "%s: has %u layers; %d are the most that can be read", d->path,
                 layers, LAYER_LIMIT);
    d->config->layers = layers;
cleanup:
    return status;
}

/* hub's files have the mask token of the training, and names of their own for registers and gated layers; timm drops
 * the one and has others for the other two. */
static slad_status take_naming(deduction *d)
{
    slad_context *context = d->context;
    slad_status status = SLAD_OK;
    const slad_safetensor *of_hub = find(d, "register_tokens"), *of_timm = find(d, "reg_token");
    const slad_safetensor *registers = of_hub ? of_hub : of_timm;
    const bool gated_hub = find(d, "blocks.0.mlp.w12.weight") != NULL;
    char text[SHAPE_TEXT];
    SLAD_FAIL_IF(of_timm && (of_hub || gated_hub), SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is timm's, \"%s%s\" is facebookresearch/dinov2's; a file has one naming", d->path,
                 of_timm->name, d->model->prefix, of_hub ? "register_tokens" : "blocks.0.mlp.w12.weight");
    const bool hub = of_hub || gated_hub || (!of_timm && find(d, "mask_token"));
    d->config->naming = hub ? SLAD_HF_HUB : SLAD_HF_TIMM;
    if (!registers) return SLAD_OK;
    slad_safetensors_shape_text(text, sizeof text, registers->shape, registers->rank);
    SLAD_FAIL_IF(registers->rank != 3 || registers->shape[1] == 0 || registers->shape[1] > 1024, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s; it must be [1, registers, %u]", d->path, registers->name, text,
                 d->config->hidden_size);
    d->config->registers = (uint32_t)registers->shape[1];
cleanup:
    return status;
}

/* DINOv2 has LayerScale; without it the model computes what transformers calls vit. */
static slad_status take_type(deduction *d)
{
    slad_context *context = d->context;
    slad_status status = SLAD_OK;
    slad_hf_config *config = d->config;
    const bool scaled = find(d, "blocks.0.ls1.gamma") != NULL;
    config->type = !scaled ? SLAD_HF_VIT : config->registers ? SLAD_HF_DINOV2_WITH_REGISTERS : SLAD_HF_DINOV2;
    config->use_mask_token = scaled;
    config->qkv_bias = find(d, "blocks.0.attn.qkv.bias") != NULL;
    config->layer_norm_eps = 1e-6;
    /* hub's own rule adds 0.1 to the number of patches; with registers it resizes as timm always does */
    const bool offset = config->naming == SLAD_HF_HUB && !config->registers;
    config->position_mode = offset ? SLAD_POSITION_HUB : SLAD_POSITION_ANTIALIAS;
    SLAD_FAIL_IF(!scaled && (config->registers || config->gated), SLAD_ERROR_DATA,
                 "%s: tensor \"%sblocks.0.ls1.gamma\" is missing; a model with registers or gated layers has it",
                 d->path, d->model->prefix);
cleanup:
    return status;
}

/* The rows of the first MLP's input and the columns of its output tell whether it is gated. */
static slad_status take_mlp(deduction *d)
{
    slad_context *context = d->context;
    slad_status status = SLAD_OK;
    slad_hf_config *config = d->config;
    const slad_safetensor *in = NULL, *out = NULL;
    char in_text[SHAPE_TEXT], out_text[SHAPE_TEXT];
    const bool own_names = config->naming == SLAD_HF_HUB && find(d, "blocks.0.mlp.w12.weight");
    SLAD_TRY(find_rank(context, &in, d, own_names ? "blocks.0.mlp.w12.weight" : "blocks.0.mlp.fc1.weight", 2));
    SLAD_TRY(find_rank(context, &out, d, own_names ? "blocks.0.mlp.w3.weight" : "blocks.0.mlp.fc2.weight", 2));
    slad_safetensors_shape_text(in_text, sizeof in_text, in->shape, 2);
    slad_safetensors_shape_text(out_text, sizeof out_text, out->shape, 2);
    config->gated = out->shape[1] <= UINT32_MAX && in->shape[0] == 2 * out->shape[1];
    SLAD_FAIL_IF((!config->gated && (own_names || in->shape[0] != out->shape[1])) || out->shape[1] > 1 << 22,
                 SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s, but \"%s\" is %s; the one's rows must be %s the other's "
                 "columns",
                 d->path, in->name, in_text, out->name, out_text, own_names ? "twice" : "as many as, or twice,");
    config->mlp_size = (uint32_t)out->shape[1];
cleanup:
    return status;
}

/* transformers' DINOv2 has no width of the MLP but a whole ratio, from which it must come out. */
static slad_status take_ratio(deduction *d)
{
    slad_context *context = d->context;
    slad_status status = SLAD_OK;
    slad_hf_config *config = d->config;
    if (config->type == SLAD_HF_VIT) return SLAD_OK;
    for (uint32_t ratio = 1; ratio <= RATIO_LIMIT && !config->mlp_ratio; ratio++) {
        const uint32_t size = config->hidden_size * ratio;
        if ((config->gated ? slad_hf_gated_size(size) : size) == config->mlp_size) config->mlp_ratio = ratio;
    }
    SLAD_FAIL_IF(
        !config->mlp_ratio, SLAD_ERROR_DATA,
        "%s: tensor \"%sblocks.0.mlp.%s.weight\" makes hidden layers of %u, which is no whole \"mlp_ratio\" of "
        "the width %u as DINOv2 has it%s",
        d->path, d->model->prefix, config->gated && config->naming == SLAD_HF_HUB ? "w12" : "fc1", config->mlp_size,
        config->hidden_size, config->gated ? " (two thirds, in steps of 8)" : "");
cleanup:
    return status;
}

/* A square grid, with the class token's row before it or, where timm has added that to the token itself, without. */
static slad_status take_grid(deduction *d)
{
    slad_context *context = d->context;
    slad_status status = SLAD_OK;
    slad_hf_config *config = d->config;
    const slad_safetensor *table = NULL;
    char text[SHAPE_TEXT];
    SLAD_TRY(find_rank(context, &table, d, "pos_embed", 3));
    slad_safetensors_shape_text(text, sizeof text, table->shape, 3);
    const uint64_t rows = table->shape[1];
    const uint32_t whole = slad_hf_square_root(rows), rest = slad_hf_square_root(rows - 1);
    const bool without_class = config->naming == SLAD_HF_TIMM && (uint64_t)whole * whole == rows && rows > 0;
    const uint32_t grid = without_class ? whole : (uint64_t)rest * rest == rows - 1 ? rest : 0;
    SLAD_FAIL_IF(grid == 0 || (uint64_t)grid * config->patch_size > SIDE_LIMIT, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s; it must be [1, 1 + grid * grid, %u]%s", d->path, table->name, text,
                 config->hidden_size,
                 config->naming == SLAD_HF_TIMM ? ", or [1, grid * grid, width] with the class token's position in the "
                                                  "token itself"
                                                : "");
    config->position_grid = grid;
    config->image_size = grid * config->patch_size;
cleanup:
    return status;
}

/* A tensor that is what the deduced configuration says. */
static slad_status check_slot(const deduction *d, const slad_hf_slot *slot)
{
    slad_context *context = d->context;
    slad_status status = SLAD_OK;
    slad_hf_slot own;
    char found[SHAPE_TEXT], wanted[SHAPE_TEXT];
    slad_checkpoint_slot(&own, d->config, slot);
    const slad_safetensor *tensor = find(d, own.name);
    SLAD_FAIL_IF(!tensor, SLAD_ERROR_DATA, "%s: tensor \"%s%s\" is missing, but the file has %u layers of a %s encoder",
                 d->path, d->model->prefix, own.name, d->config->layers, slad_hf_type_name(d->config->type));
    const uint64_t patches = (uint64_t)d->config->position_grid * d->config->position_grid;
    if (own.role == SLAD_HF_POSITION && tensor->rank == 3 && tensor->shape[1] == patches) own.shape[1] = patches;
    slad_safetensors_shape_text(found, sizeof found, tensor->shape, tensor->rank);
    slad_safetensors_shape_text(wanted, sizeof wanted, own.shape, own.rank);
    SLAD_FAIL_IF(!slad_hf_same_shape(tensor, own.shape, own.rank), SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s, but the file's other tensors ask for %s", d->path, tensor->name, found,
                 wanted);
    SLAD_TRY(slad_hf_check_type(context, tensor, d->file));
cleanup:
    return status;
}

/* Tensors of the encoder that none of these models has would change what it computes; others (heads) are not used. */
static slad_status check_extra(const deduction *d)
{
    static const char *const inside[] = {"blocks.",  "patch_embed.", "norm_pre.",
                                         "fc_norm.", "reg_token",    "register_tokens"};
    slad_context *context = d->context;
    slad_status status = SLAD_OK;
    const size_t length = strlen(d->model->prefix);
    for (size_t i = 0; i < slad_safetensors_count(d->file); i++) {
        const char *full = slad_safetensors_at(d->file, i)->name, *name = full + length;
        int64_t layer = -1;
        const bool prefixed = strncmp(full, d->model->prefix, length) == 0;
        if (prefixed && slad_checkpoint_name_is_known(d->config, name, &layer)) {
            SLAD_FAIL_IF(layer >= d->config->layers, SLAD_ERROR_DATA,
                         "%s: tensor \"%s\" exists, but \"%sblocks.%u.norm1.weight\" does not; a layer is missing",
                         d->path, full, d->model->prefix, d->config->layers);
            continue;
        }
        for (size_t k = 0; prefixed && k < sizeof inside / sizeof *inside; k++)
            SLAD_FAIL_IF(strncmp(name, inside[k], strlen(inside[k])) == 0, SLAD_ERROR_DATA,
                         "%s: tensor \"%s\" belongs to no encoder that slad knows; give DINOv2's", d->path, full);
        slad_log(context, SLAD_LOG_DEBUG, "%s: tensor \"%s\" is not used", d->path, full);
    }
cleanup:
    return status;
}

static slad_status check_tensors(const deduction *d)
{
    slad_context *context = d->context;
    slad_status status = SLAD_OK;
    const size_t count = slad_hf_slot_count(d->config);
    (void)context;
    for (size_t i = 0; i < count; i++) {
        slad_hf_slot slot;
        slad_hf_slot_at(&slot, d->config, i);
        SLAD_TRY(check_slot(d, &slot));
    }
    SLAD_TRY(check_extra(d));
cleanup:
    return status;
}

slad_status slad_checkpoint_take(slad_context *context, slad_hf_model *model)
{
    slad_status status = SLAD_OK;
    slad_hf_config *config = &model->config;
    deduction d = {context, model, model->files[0], slad_safetensors_path(model->files[0]), config};
    SLAD_TRY(take_prefix(&d));
    config->naming = SLAD_HF_HUB; /* until it is known: names are looked up as they are in the file */
    SLAD_TRY(take_patches(&d));
    SLAD_TRY(take_layers(&d));
    SLAD_TRY(take_naming(&d));
    SLAD_TRY(take_mlp(&d));
    SLAD_TRY(take_type(&d));
    SLAD_TRY(take_ratio(&d));
    SLAD_TRY(take_grid(&d));
    SLAD_TRY(check_tensors(&d));
    slad_log(context, SLAD_LOG_INFO,
             "%s: a single file in the naming of %s: type %s, width %u, %u layers, patches of %u, %u registers%s, "
             "positions %u x %u resized by the rule \"%s\"",
             d.path, config->naming == SLAD_HF_HUB ? "facebookresearch/dinov2" : "timm",
             slad_hf_type_name(config->type), config->hidden_size, config->layers, config->patch_size,
             config->registers, config->gated ? ", gated layers" : "", config->position_grid, config->position_grid,
             slad_hf_mode_name(config->position_mode));
cleanup:
    return status;
}
