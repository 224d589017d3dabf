/* Model folders of Hugging Face transformers, model type "dinov2": config.json with model.safetensors, whole or
 * sharded. Names and shapes: models/dinov2/modeling_dinov2.py of transformers. Tensor names here are those of
 * Dinov2Model, without the prefix "dinov2." that Dinov2ForImageClassification puts before all but "classifier.*". */
#ifndef SLAD_IO_HUGGING_FACE_H
#define SLAD_IO_HUGGING_FACE_H

#include "base/safetensors.h"

/* What config.json says, missing fields with the defaults of transformers, and what the tensors add to it. */
typedef struct slad_hf_config {
    uint32_t hidden_size; /* d, a multiple of heads */
    uint32_t layers;
    uint32_t heads;
    uint32_t mlp_size;      /* width of the hidden layer of an MLP: hidden_size * mlp_ratio, rounded down */
    uint32_t image_size;    /* pixels of the images the position table was made for */
    uint32_t patch_size;    /* pixels */
    uint32_t channels;      /* 3 */
    uint32_t position_grid; /* the position table is [1, 1 + position_grid^2, d] */
    double layer_norm_eps;
    bool qkv_bias;       /* without it the tensors query.bias, key.bias and value.bias do not exist */
    bool use_mask_token; /* whether transformers expects embeddings.mask_token, which nothing here uses */
    uint32_t classes;    /* rows of classifier.weight, 0 if the model has no classifier */
} slad_hf_config;

typedef struct slad_hf_model slad_hf_model;

/* Opens a folder and checks the configuration and that every tensor of the encoder is there with the right shape and a
 * type that can be read (F32, F16, BF16). Values are read later, by slad_hf_read. Errors: SLAD_ERROR_DATA; a
 * contradiction names the field of config.json and the tensor. */
slad_status slad_hf_open(slad_context *context, slad_hf_model **model, const char *folder);
/* NULL is allowed. */
void slad_hf_close(slad_hf_model *model);
const slad_hf_config *slad_hf_config_of(const slad_hf_model *model);
const char *slad_hf_folder(const slad_hf_model *model);
/* The name of a class in 0 .. classes-1: from id2label, else the number in decimal. Owned by the model. */
const char *slad_hf_class_name(const slad_hf_model *model, uint32_t class_index);

/* A tensor by its name without prefix, NULL if there is none. */
const slad_safetensor *slad_hf_find(const slad_hf_model *model, const char *name);
/* Reads a whole tensor, row-major, to elements(shape) floats. A tensor that does not exist is SLAD_ERROR_DATA. */
slad_status slad_hf_read(slad_context *context, float *destination, const slad_hf_model *model, const char *name);

enum { SLAD_HF_NAME_SIZE = 96, SLAD_HF_MAX_RANK = 4 };

/* One of the tensors that a model of this configuration has. */
typedef struct slad_hf_slot {
    char name[SLAD_HF_NAME_SIZE];
    size_t rank;
    uint64_t shape[SLAD_HF_MAX_RANK];
    uint64_t elements;
    const char *fields; /* those of config.json that give the shape, for messages */
} slad_hf_slot;

/* The tensors of the encoder in the order of the network: embeddings.*, encoder.layer.*, layernorm.*; neither the
 * mask token nor the classifier are among them. index < slad_hf_slot_count. */
size_t slad_hf_slot_count(const slad_hf_config *config);
void slad_hf_slot_at(slad_hf_slot *slot, const slad_hf_config *config, size_t index);

/* A student to be written as Dinov2ForImageClassification, whose encoder has the shape of `source`. */
typedef struct slad_hf_student {
    const slad_hf_model *source;
    const char *const *class_names; /* [class_count] */
    uint32_t class_count;
    void *user;
    /* Fills a tensor of slad_hf_slot_at, "classifier.weight" [class_count, 2 d] (class token, then mean of patches) or
     * "classifier.bias" [class_count]. Called once for each, in no order to rely on. An error ends the writing. */
    slad_status (*fill)(slad_context *context, float *destination, const char *name, uint64_t elements, void *user);
} slad_hf_student;

/* Writes config.json (the source's fields with the classes of the student) and model.safetensors (F32) to a folder,
 * which is created if need be. The mask token is the source's, or zeros if that has none. Each file is replaced
 * atomically. Errors: SLAD_ERROR_WRITE, or what fill returned. */
slad_status slad_hf_write_student(slad_context *context, const char *folder, const slad_hf_student *student);

#endif
