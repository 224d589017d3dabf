/* Pre-trained encoders, opened from disk. */
#ifndef SLAD_MODEL_H
#define SLAD_MODEL_H

#include "slad/context.h"
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the position table is resized to another grid of patches (all in float, the class token's entry as it is). */
typedef enum slad_position_mode {
    SLAD_POSITION_AUTO,         /* what the owner of the files does, slad_encoder_info.position_mode */
    SLAD_POSITION_TRANSFORMERS, /* bicubic, A = -0.75, no antialias, scale = grid / patches */
    SLAD_POSITION_HUB,          /* the same with scale = grid / (patches + 0.1) */
    SLAD_POSITION_ANTIALIAS     /* bicubic, A = -0.5, antialias */
} slad_position_mode;

typedef struct slad_encoder slad_encoder;

typedef struct slad_encoder_info {
    size_t width, layers, heads, head_width, mlp_width, patch;
    bool gated;           /* SwiGLU: the MLP's first layer is [2 * mlp_width, width] */
    size_t registers;     /* tokens between the class token and the patches */
    size_t position_grid; /* side of the position table that the files hold */
    size_t classes;       /* of the classification head that the files hold, 0: none */
    /* Floats that a head of the files' type reads: 2 * width (class token, then mean of patches), or width (class
     * token) of Hugging Face's vit. */
    size_t classifier_features;
    double epsilon; /* of LayerNorm */
    /* How the owner of the files resizes the position table: transformers for dinov2 and vit of Hugging Face, antialias
     * for its dinov2_with_registers, hub for files of facebookresearch/dinov2 without registers, antialias for those
     * with registers and for files of timm. */
    slad_position_mode position_mode;
} slad_encoder_info;

/* Opens a Hugging Face folder of model type dinov2, dinov2_with_registers or vit (config.json, model.safetensors, whole
 * or sharded), or a single safetensors file (or a folder that holds one) in the naming of facebookresearch/dinov2 or
 * timm; F32, F16, BF16, also mixed. Everything is checked now, values are read later. Free with slad_encoder_free after
 * what was made from it. Errors: SLAD_ERROR_DATA naming file, field and tensor. */
SLAD_API slad_status slad_encoder_open(slad_context *context, slad_encoder **encoder, const char *path);
SLAD_API void slad_encoder_free(slad_encoder *encoder);
SLAD_API const slad_encoder_info *slad_encoder_get_info(const slad_encoder *encoder);
/* The folder or file it was opened from. */
SLAD_API const char *slad_encoder_path(const slad_encoder *encoder);

#ifdef __cplusplus
}
#endif
#endif
