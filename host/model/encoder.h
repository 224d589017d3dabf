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

/* An encoder at one image size, placed in a store. */
typedef struct slad_backbone {
    const slad_encoder *encoder;
    size_t image_size;
    size_t prefix; /* tokens before the patches: the class token and the registers */
    size_t tokens; /* prefix + (image_size / patch)^2 */
    slad_position_mode mode;
    const slad_tensor *patch_weight, *patch_bias, *class_token, *position;
    const slad_tensor *registers; /* [registers, d], NULL without */
    slad_block *blocks;           /* [layers] */
    const slad_tensor *norm_gamma, *norm_beta;
} slad_backbone;

/* Places the encoder's weights in the store under names that begin with prefix ("teacher."). They are read from disk
 * when an executor asks. The backbone must stay where it is while the store lives. Errors: SLAD_ERROR_USAGE when
 * image_size is no multiple of the patch. */
slad_status slad_backbone_create(slad_context *context, slad_backbone *backbone, slad_store *store,
                                 const slad_encoder *encoder, size_t image_size, slad_position_mode mode,
                                 const char *prefix);
void slad_backbone_free(slad_backbone *backbone);

/* Records the forward pass: pixels [b, 3, image_size, image_size] to tokens [b, T, d] after the final LayerNorm.
 * adapters: NULL, or those of each layer. block_tokens: NULL, or [layers]
 * that receive what each block gives, [b, T, d]; who wants them after the pass must read or output them. */
const slad_tensor *slad_backbone_record(slad_record *record, const slad_backbone *backbone, const slad_tensor *pixels,
                                        const slad_layer_adapters *adapters, const slad_tensor **block_tokens);

#endif
