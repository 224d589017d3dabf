/* What the files that implement hugging_face.h share. */
#ifndef SLAD_IO_HUGGING_FACE_INTERNAL_H
#define SLAD_IO_HUGGING_FACE_INTERNAL_H

#include "io/hugging_face.h"
#include "io/peft.h"
#include <cjson/cJSON.h>

/* The field of config.json that slad_hf_student.position_mode speaks of. */
#define SLAD_HF_MODE_FIELD "slad_pos_embed"

struct slad_hf_model {
    char *folder;
    char *config_path; /* of a single file: its own path */
    cJSON *json;       /* config.json; NULL for a single file */
    cJSON *verbatim;   /* the same with the text of its numbers, for writing the student's */
    slad_hf_config config;
    char *prefix; /* of tensor names, "" or with its dot: "dinov2." */

    char **file_names; /* [file_count], inside the folder */
    slad_safetensors **files;
    size_t file_count;
    cJSON *index; /* model.safetensors.index.json, NULL if there is one file only */

    slad_peft *adapter; /* merged into whatever is read; NULL: none */

    const char **class_names; /* [config.classes], pointing into json, adapter or number_names */
    char *number_names;
};

/* Fills the fields of model->config that config.json alone gives. */
slad_status slad_hf_take_config(slad_context *context, slad_hf_model *model);
/* Fills model->class_names for config.classes classes, and checks id2label and num_labels against that number. */
slad_status slad_hf_take_classes(slad_context *context, slad_hf_model *model);

/* A folder's tensors against its config.json: all there, in the right shapes, of a type that can be read. Takes the
 * position grid, the prefix and the classifier from them. */
slad_status slad_hf_check_tensors(slad_context *context, slad_hf_model *model);

/* Fills model->prefix and model->config from the tensors of a single file in hub or timm naming, and checks all of
 * them. */
slad_status slad_checkpoint_take(slad_context *context, slad_hf_model *model);

/* A tensor by its full name, with the file that holds it; NULL if there is none. */
const slad_safetensor *slad_hf_find_full(const slad_hf_model *model, slad_safetensors **file, const char *name);
/* A tensor by its name without prefix. */
const slad_safetensor *slad_hf_find(const slad_hf_model *model, slad_safetensors **file, const char *name);
/* SLAD_ERROR_DATA for a tensor that is neither F32 nor F16 nor BF16. */
slad_status slad_hf_check_type(slad_context *context, const slad_safetensor *tensor, const slad_safetensors *file);
bool slad_hf_same_shape(const slad_safetensor *tensor, const uint64_t *shape, size_t rank);
/* The square root rounded up; 0 for what is too large to be a grid. */
uint32_t slad_hf_square_root(uint64_t square);

/* The tensor of a single file that holds a slot: its name, and its shape (of q, k and v: of the three together). */
void slad_checkpoint_slot(slad_hf_slot *own, const slad_hf_config *config, const slad_hf_slot *slot);
/* Whether `name` (without prefix) is the tensor of a slot in a file of this naming, also of a layer >= config->layers;
 * *layer is that layer, or -1. */
bool slad_checkpoint_name_is_known(const slad_hf_config *config, const char *name, int64_t *layer);

/* Whether `name` (without prefix) is a tensor of the encoder, of a layer >= config->layers too: then *layer is that
 * layer, otherwise -1. */
bool slad_hf_name_is_known(const slad_hf_config *config, const char *name, int64_t *layer);
/* The length of "PREFIX{i}." at the start of name, with *layer = i; 0 and -1 if it does not start so. */
size_t slad_hf_layer_of(const char *name, const char *prefix, int64_t *layer);

/* Width behind the gate for an MLP of that width without one: two thirds, rounded up to a multiple of 8. */
uint32_t slad_hf_gated_size(uint32_t mlp_size);
/* What transformers does for the type, and the name of a mode as --pos-embed calls it. */
slad_position_mode slad_hf_transformers_mode(slad_hf_type type);
const char *slad_hf_mode_name(slad_position_mode mode);

/* slad_hf_open of a folder of PEFT: its base model with the adapters merged in as its tensors are read. */
slad_status slad_hf_open_adapted(slad_context *context, slad_hf_model **model, const char *folder);
/* slad_hf_read of such a model, and of any model as it is on disk. */
slad_status slad_hf_read_adapted(slad_context *context, float *destination, const slad_hf_model *model,
                                 const char *name);
slad_status slad_hf_read_base(slad_context *context, float *destination, const slad_hf_model *model, const char *name);

#endif
