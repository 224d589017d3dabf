/* LoRA adapters as folders of PEFT: adapter_config.json with adapter_model.safetensors. Format: method.md section 12.2
 * (src/peft/utils/save_and_load.py of peft).
 *
 * The folder adapts a Dinov2ForImageClassification, whose classifier stands in it too (modules_to_save), so that it
 * holds all that was trained. transformers 5 renamed the layers that are adapted: attention.attention.query became
 * attention.q_proj, and likewise key and value. PEFT looks tensors up by the name that the layer has in the model at
 * hand, and peft 0.21 does not translate the old names for DINOv2. So every adapter is written under both names, and
 * target_modules lists both: of each pair PEFT finds the one that exists and passes over the other. Measured: such a
 * folder gives the same logits with peft 0.17 on transformers 4.57 and with peft 0.21 on transformers 5.23; a folder
 * with either name alone is refused, or read as if nothing had been trained, by the other version. */
#ifndef SLAD_IO_PEFT_H
#define SLAD_IO_PEFT_H

#include "base/error.h"
#include <stddef.h>

/* A model whose attention layers are adapted in fused form, W_qkv + (alpha / rank) B A with one A for q, k and v. PEFT
 * has layers q, k and v of their own: each gets the whole of A and its block of B, which is the same product exactly.
 * Nothing is owned. */
typedef struct slad_peft_adapter {
    const char *base; /* folder of the model that is adapted, for base_model_name_or_path */
    size_t width, layers, rank, classes;
    double alpha;
    const float *const *lora_a;     /* [layers], each [rank, width] */
    const float *const *lora_b;     /* [layers], each [3 width, rank]: q, k, v one below the other */
    const float *classifier_weight; /* [classes, 2 width]: class token, then mean of patches */
    const float *classifier_bias;   /* [classes] */
} slad_peft_adapter;

/* Writes both files (F32) to a folder, which is created if need be; each is replaced atomically. A base path that is
 * not UTF-8, which JSON cannot hold, is left out with a warning. Errors: SLAD_ERROR_WRITE, SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_peft_write(slad_context *context, const char *folder, const slad_peft_adapter *adapter);

#endif
