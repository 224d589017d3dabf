/* Models on disk: folders of Hugging Face transformers of model type "dinov2", "dinov2_with_registers" or "vit"
 * (config.json with model.safetensors, whole or sharded), and single safetensors files in the naming of
 * facebookresearch/dinov2 ("hub") or timm. Whatever the form, the tensors have here the names and shapes of
 * transformers' Dinov2Model, Dinov2WithRegistersModel or ViTModel (their modeling_*.py), without the prefix that
 * ...ForImageClassification puts before all but "classifier.*". */
#ifndef SLAD_IO_HUGGING_FACE_H
#define SLAD_IO_HUGGING_FACE_H

#include "base/safetensors.h"
#include "slad/model.h"

typedef enum slad_hf_type { SLAD_HF_DINOV2, SLAD_HF_DINOV2_WITH_REGISTERS, SLAD_HF_VIT, SLAD_HF_TYPES } slad_hf_type;

/* Who named the tensors of the files. */
typedef enum slad_hf_naming { SLAD_HF_TRANSFORMERS, SLAD_HF_HUB, SLAD_HF_TIMM } slad_hf_naming;

/* What config.json says, missing fields with the defaults of transformers, and what the tensors add to it; of a single
 * file, what its tensors say: heads are hidden_size / 64 and layer_norm_eps is 1e-6, as in all files of these forms. */
typedef struct slad_hf_config {
    slad_hf_type type; /* of a single file: the one that computes the same */
    slad_hf_naming naming;
    uint32_t hidden_size; /* d, a multiple of heads */
    uint32_t layers;
    uint32_t heads;
    uint32_t mlp_size;      /* width of the hidden layer of an MLP; of a gated one (SwiGLU): after the gate */
    uint32_t mlp_ratio;     /* what transformers computes mlp_size from; 0 of type vit, which has mlp_size itself */
    uint32_t image_size;    /* pixels of the images the position table was made for */
    uint32_t patch_size;    /* pixels */
    uint32_t channels;      /* 3 */
    uint32_t position_grid; /* the position table is [1, 1 + position_grid^2, d] */
    uint32_t registers;     /* tokens behind the class token, without positions */
    double layer_norm_eps;
    bool gated;                       /* the MLP is silu(u1) * u2 of [u1 | u2] = weights_in x */
    bool qkv_bias;                    /* without it the tensors query.bias, key.bias and value.bias do not exist */
    bool use_mask_token;              /* whether transformers expects embeddings.mask_token, which nothing here uses */
    uint32_t classes;                 /* rows of classifier.weight, 0 if the model has no classifier */
    slad_position_mode position_mode; /* how the files' owner resizes the position table; never AUTO */
} slad_hf_config;

typedef struct slad_hf_model slad_hf_model;

/* Opens a folder, or a single safetensors file, or a folder that holds just such a file, and checks the configuration
 * and that every tensor of the encoder is there with the right shape and a type that can be read (F32, F16, BF16, also
 * mixed). Values are read later, by slad_hf_read. A folder of PEFT (io/peft.h) stands for its base model with the
 * adapters merged in, and with its classifier if it has one. Errors: SLAD_ERROR_DATA; a contradiction names the field
 * of config.json and the tensor, of a single file the file and the tensor. */
slad_status slad_hf_open(slad_context *context, slad_hf_model **model, const char *path);
/* NULL is allowed. */
void slad_hf_close(slad_hf_model *model);
const slad_hf_config *slad_hf_config_of(const slad_hf_model *model);
/* The path that was given, of a folder or a single file; of a folder of PEFT that does not say how images are prepared,
 * that of its base model. */
const char *slad_hf_folder(const slad_hf_model *model);
/* The name of a class in 0 .. classes-1: from id2label, else the number in decimal. Owned by the model. */
const char *slad_hf_class_name(const slad_hf_model *model, uint32_t class_index);

/* Reads a whole tensor of slad_hf_slot_at, "classifier.weight" or "classifier.bias", row-major, to elements(shape)
 * floats. A tensor that does not exist is SLAD_ERROR_DATA. */
slad_status slad_hf_read(slad_context *context, float *destination, const slad_hf_model *model, const char *name);
/* Reads "embeddings.mask_token" [1, d], or zeros where the files have none of that size. */
slad_status slad_hf_read_mask(slad_context *context, float *destination, const slad_hf_model *model);

enum { SLAD_HF_NAME_SIZE = 96, SLAD_HF_MAX_RANK = 4 };

/* What a tensor is, whatever the type calls it: those before and behind the layers, and those of each layer. */
typedef enum slad_hf_role {
    SLAD_HF_CLASS_TOKEN,
    SLAD_HF_REGISTERS,
    SLAD_HF_POSITION,
    SLAD_HF_PATCH_WEIGHT,
    SLAD_HF_PATCH_BIAS,
    SLAD_HF_NORM1_WEIGHT,
    SLAD_HF_NORM1_BIAS,
    SLAD_HF_QUERY_WEIGHT,
    SLAD_HF_QUERY_BIAS,
    SLAD_HF_KEY_WEIGHT,
    SLAD_HF_KEY_BIAS,
    SLAD_HF_VALUE_WEIGHT,
    SLAD_HF_VALUE_BIAS,
    SLAD_HF_PROJ_WEIGHT,
    SLAD_HF_PROJ_BIAS,
    SLAD_HF_SCALE1,
    SLAD_HF_NORM2_WEIGHT,
    SLAD_HF_NORM2_BIAS,
    SLAD_HF_FC1_WEIGHT, /* weights_in of a gated MLP */
    SLAD_HF_FC1_BIAS,
    SLAD_HF_FC2_WEIGHT, /* weights_out */
    SLAD_HF_FC2_BIAS,
    SLAD_HF_SCALE2,
    SLAD_HF_NORM_WEIGHT,
    SLAD_HF_NORM_BIAS,
    SLAD_HF_ROLES
} slad_hf_role;

/* One of the tensors that a model of this configuration has. */
typedef struct slad_hf_slot {
    slad_hf_role role;
    uint32_t layer; /* 0 for what is in no layer */
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
/* The one of that role, in that layer if it is in any; false if a model of this configuration has none. */
bool slad_hf_slot_of(slad_hf_slot *slot, const slad_hf_config *config, slad_hf_role role, uint32_t layer);
/* The one of that name; false if there is none. */
bool slad_hf_slot_named(slad_hf_slot *slot, const slad_hf_config *config, const char *name);

/* "dinov2", as config.json calls the type and as ...ForImageClassification prefixes its tensors, without the dot. */
const char *slad_hf_type_name(slad_hf_type type);
/* "Dinov2ForImageClassification". */
const char *slad_hf_architecture(slad_hf_type type);
/* Floats that the classifier of that class reads: 2 d (class token, then mean of patches), or d (class token) of vit.
 */
uint64_t slad_hf_classifier_features(const slad_hf_config *config);

/* Warns where a model whose position table is resized by `mode` (AUTO: as its owner does) to `grid` patches a side
 * gives other features in transformers, which has one rule a type, than here. `place` begins the message. */
void slad_hf_warn_of_position(slad_context *context, const slad_hf_config *config, slad_position_mode mode, size_t grid,
                              const char *place);

/* A student to be written as ...ForImageClassification of its type, whose encoder has the shape of `source`. */
typedef struct slad_hf_student {
    const slad_hf_model *source;
    const char *const *class_names; /* [class_count] */
    uint32_t class_count;
    /* How the student was trained to resize its position table. AUTO: as the owner of the source does. Where that is
     * not what transformers does for the type, config.json says it in a field "slad_pos_embed", which slad_hf_open
     * honours and transformers passes over. */
    slad_position_mode position_mode;
    size_t grid; /* patches a side of the images it was trained on */
    void *user;
    /* Fills a tensor of slad_hf_slot_at, "classifier.weight" [class_count, slad_hf_classifier_features] or
     * "classifier.bias" [class_count]. Called once for each, in no order to rely on. An error ends the writing. */
    slad_status (*fill)(slad_context *context, float *destination, const char *name, uint64_t elements, void *user);
} slad_hf_student;

/* Writes config.json (the source's fields with the classes of the student) and model.safetensors (F32) to a folder,
 * which is created if need be. The mask token is the source's, or zeros if that has none. Each file is replaced
 * atomically. Errors: SLAD_ERROR_WRITE, or what fill returned. */
slad_status slad_hf_write_student(slad_context *context, const char *folder, const slad_hf_student *student);

#endif
