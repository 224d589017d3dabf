/* LoRA adapters as folders of PEFT: adapter_config.json with adapter_model.safetensors. Format: method.md section 12.2
 * (src/peft/utils/save_and_load.py of peft).
 *
 * A folder that is written here adapts a ...ForImageClassification, whose classifier stands in it too
 * (modules_to_save), so that it holds all that was trained. transformers 5 renamed the layers that are adapted:
 * attention.attention.query became attention.q_proj, and so forth. PEFT looks tensors up by the name that the layer has
 * in the model at hand, and peft 0.21 does not translate the old names for DINOv2. So every adapter is written under
 * both names, and target_modules lists both: of each pair PEFT finds the one that exists and passes over the other.
 * Measured: such a folder gives the same logits with peft 0.17 on transformers 4.57 and with peft 0.21 on
 * transformers 5.23; a folder with either name alone is refused, or read as if nothing had been trained, by the other
 * version. One thing peft 0.17 cannot read, even where it wrote it itself: adapters of weights_in and weights_out, the
 * gated layers before transformers 5, since it takes every "weight" of a key for its end. */
#ifndef SLAD_IO_PEFT_H
#define SLAD_IO_PEFT_H

#include "io/hugging_face.h"
#include <stddef.h>

/* The layers that an adapter can change. Some libraries have one layer where others have several: qkv is q, k and v one
 * below the other, and fc1 of a gated MLP is its gate above what it gates. */
typedef enum slad_peft_target {
    SLAD_PEFT_QKV,
    SLAD_PEFT_Q,
    SLAD_PEFT_K,
    SLAD_PEFT_V,
    SLAD_PEFT_PROJ,
    SLAD_PEFT_FC1,
    SLAD_PEFT_GATE,
    SLAD_PEFT_UP,
    SLAD_PEFT_FC2,
    SLAD_PEFT_TARGETS
} slad_peft_target;
/* "qkv", ... for messages. */
const char *slad_peft_target_name(slad_peft_target target);

/* What is added to the weight [outputs, inputs] of one layer: scale B A. */
typedef struct slad_peft_pair {
    size_t layer;
    slad_peft_target target;
    size_t rank, inputs, outputs;
    double scale; /* alpha / rank, or alpha / sqrt(rank) where config says use_rslora */
    float *a;     /* [rank, inputs] */
    float *b;     /* [outputs, rank] */
} slad_peft_pair;

/* A folder that was read. */
typedef struct slad_peft {
    char *folder;
    char *base;            /* base_model_name_or_path as it stands there, or NULL */
    slad_peft_pair *pairs; /* [count], by layer, then target; each of them once */
    size_t count;
    size_t classes, features; /* of the classifier; 0: the folder has none */
    float *classifier_weight; /* [classes, features] */
    float *classifier_bias;   /* [classes] */
    char **class_names;       /* [classes], as slad_peft_write keeps them; or NULL */
} slad_peft;

/* *is_peft: whether a folder holds adapter_config.json and no config.json. Errors: SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_peft_look(slad_context *context, bool *is_peft, const char *folder);

/* Reads a folder that peft wrote: plain LoRA with rsLoRA and patterns, F32, F16 or BF16, layers under the names that
 * Hugging Face (before and since transformers 5), hub and timm models give them. What would make the model another
 * function than W + scale B A is refused by the name of its field or tensor. Free with slad_peft_close, which allows
 * NULL. Errors: SLAD_ERROR_DATA naming file and field or tensor. */
slad_status slad_peft_open(slad_context *context, slad_peft **peft, const char *folder);
void slad_peft_close(slad_peft *peft);

/* The folder or file of the base model: base_model_name_or_path where that is absolute, or starts in the folder in
 * which the adapter's folder lies, or in the working folder. Owned by the caller. Errors: SLAD_ERROR_DATA when there is
 * no such path. */
slad_status slad_peft_base(slad_context *context, char **path, const slad_peft *peft);

/* Whether all of it fits a model: layers, sizes, the features of the classifier. Errors: SLAD_ERROR_DATA. */
slad_status slad_peft_check(slad_context *context, const slad_peft *peft, const slad_hf_model *model);

/* The target whose weight a tensor of a model is; false for what cannot be adapted. */
bool slad_peft_target_of(slad_peft_target *target, slad_hf_role role);

/* Adds to the weight [rows, inputs] of a layer's q, k, v, proj, fc1 or fc2 what those of the pairs add that act on it
 * or on a part of it. Sums are in double. The caller has checked that the pairs' sizes fit. */
void slad_peft_merge(float *weight, size_t rows, size_t layer, slad_peft_target target, const slad_peft_pair *pairs,
                     size_t count);

/* Adapters of a model, to be written. Nothing is owned. */
typedef struct slad_peft_adapter {
    const char *base; /* the model that is adapted, for base_model_name_or_path */
    slad_hf_type type;
    bool gated;                  /* its MLP */
    size_t layers;               /* of the model */
    const slad_peft_pair *pairs; /* [count] of q, k, v, proj, fc1 and fc2, layer by layer; every adapted layer has the
                                    same targets */
    size_t count;
    double dropout; /* with which they were trained */
    size_t classes, features;
    const float *classifier_weight; /* [classes, features]: as transformers has it for the type */
    const float *classifier_bias;   /* [classes] */
    const char *const *class_names; /* [classes], kept in the metadata of the tensors; NULL: not kept */
} slad_peft_adapter;

/* Writes both files (F32) to a folder, which is created if need be; each is replaced atomically. Ranks and scales that
 * are not those of the first pair go to rank_pattern and alpha_pattern. A base path that is not UTF-8, which JSON
 * cannot hold, is left out with a warning. Errors: SLAD_ERROR_WRITE, SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_peft_write(slad_context *context, const char *folder, const slad_peft_adapter *adapter);

#endif
