/* The Vision Transformer encoder of DINOv2 and ViT (method.md section 6): its tensors in a store, and its forward pass
 * as a record. */
#ifndef SLAD_MODEL_ENCODER_H
#define SLAD_MODEL_ENCODER_H

#include "io/hugging_face.h"
#include "model/adapters.h"
#include "ops/operations.h"
#include "slad/model.h"

struct slad_encoder {
    slad_hf_model *files;
    slad_encoder_info info;
};

/* The tensors of one block. */
typedef struct slad_block {
    const slad_tensor *norm1_gamma, *norm1_beta;
    const slad_tensor *qkv_weight, *qkv_bias; /* [3 d, d], [3 d]: q, k, v one below the other; the bias may be NULL */
    const slad_tensor *proj_weight, *proj_bias;
    const slad_tensor *scale1; /* NULL: no LayerScale */
    const slad_tensor *norm2_gamma, *norm2_beta;
    const slad_tensor *fc1_weight, *fc1_bias, *fc2_weight, *fc2_bias;
    const slad_tensor *scale2;
} slad_block;

/* Reads values that training made, by their names in state.safetensors. */
typedef struct slad_named_values {
    slad_status (*read)(slad_context *context, float *destination, size_t elements, const char *name, const void *user);
    const void *user;
} slad_named_values;

/* What becomes of an encoder's weights in a store. */
typedef struct slad_backbone_form {
    const char *prefix; /* of their names in the store: "teacher.model." */
    bool trained;       /* all of them, in group SLAD_GROUP_ADAPTERS; weight decay acts on matrices and kernels alone */
    /* Asked for `prefix` and the Hugging Face name of each tensor; NULL: they are those of the encoder's files. */
    const slad_named_values *values;
} slad_backbone_form;

/* An encoder at one image size, placed in a store. */
typedef struct slad_backbone {
    const slad_encoder *encoder;
    slad_backbone_form form;
    size_t image_size;
    size_t prefix; /* tokens before the patches: the class token and the registers */
    size_t tokens; /* prefix + (image_size / patch)^2 */
    slad_position_mode mode;
    const slad_tensor *patch_weight, *patch_bias, *class_token;
    /* [1 + P, d] of the image size; of a trained encoder the table of its files [1 + grid^2, d], which each pass
     * resizes by position_matrix [P per side, grid]; that is NULL where nothing is to be resized. */
    const slad_tensor *position, *position_matrix;
    const slad_tensor *registers; /* [registers, d], NULL without */
    slad_block *blocks;           /* [layers] */
    const slad_tensor *norm_gamma, *norm_beta;
} slad_backbone;

/* Places the encoder's weights in the store under the names that Hugging Face gives them behind the prefix; q, k and v
 * are one tensor, called "...attention.attention.{query,key,value}.weight", their rows one below the other. Tensors of
 * the store have rank 2 at most: leading sizes of 1 are left out, the kernel of the patch embedding is [d, 3 patch^2].
 * They are read from disk when an executor asks. The backbone, and what the form points to, must stay where they are
 * while the store lives. Errors: SLAD_ERROR_USAGE when image_size is no multiple of the patch. */
slad_status slad_backbone_create(slad_context *context, slad_backbone *backbone, slad_store *store,
                                 const slad_encoder *encoder, size_t image_size, slad_position_mode mode,
                                 const slad_backbone_form *form);
void slad_backbone_free(slad_backbone *backbone);

/* Records the forward pass: pixels [b, 3, image_size, image_size] to tokens [b, T, d] after the final LayerNorm.
 * adapters: NULL, or those of each layer. dropout: of their inputs, or NULL. block_tokens: NULL, or [layers] that
 * receive what each block gives, [b, T, d]; who wants them after the pass must read or output them. */
const slad_tensor *slad_backbone_record(slad_record *record, const slad_backbone *backbone, const slad_tensor *pixels,
                                        const slad_layer_adapters *adapters, const slad_dropout *dropout,
                                        const slad_tensor **block_tokens);

#endif
