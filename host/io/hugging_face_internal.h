/* What the files that implement hugging_face.h share. */
#ifndef SLAD_IO_HUGGING_FACE_INTERNAL_H
#define SLAD_IO_HUGGING_FACE_INTERNAL_H

#include "io/hugging_face.h"
#include <cjson/cJSON.h>

struct slad_hf_model {
    char *folder;
    char *config_path;
    cJSON *json;     /* config.json */
    cJSON *verbatim; /* the same with the text of its numbers, for writing the student's */
    slad_hf_config config;
    bool prefixed; /* tensor names start with "dinov2." */

    char **file_names; /* [file_count], inside the folder */
    slad_safetensors **files;
    size_t file_count;
    cJSON *index; /* model.safetensors.index.json, NULL if there is one file only */

    const char **class_names; /* [config.classes], pointing into json or number_names */
    char *number_names;
};

/* Fills the fields of model->config that config.json alone gives. */
slad_status slad_hf_take_config(slad_context *context, slad_hf_model *model);
/* Fills model->class_names for config.classes classes, and checks id2label and num_labels against that number. */
slad_status slad_hf_take_classes(slad_context *context, slad_hf_model *model);

/* Whether `name` (without prefix) is a tensor of the encoder, of a layer >= config->layers too: then *layer is that
 * layer, otherwise -1. */
bool slad_hf_name_is_known(const char *name, int64_t *layer);

#endif
