/* What the files that read a PEFT folder share. */
#ifndef SLAD_IO_PEFT_INTERNAL_H
#define SLAD_IO_PEFT_INTERNAL_H

#include "base/pattern.h"
#include "io/peft.h"
#include <cjson/cJSON.h>

/* The metadata of the tensor file in which slad_peft_write keeps the names of the classes. */
#define SLAD_PEFT_NAMES_KEY "class_names"

/* A number that depends on the module: the value of the first expression that matches its path, else the plain one. */
typedef struct slad_peft_number {
    double plain;
    slad_pattern **patterns; /* [count] */
    double *values;          /* [count] */
    size_t count;
} slad_peft_number;

/* adapter_config.json, as far as the values need it. */
typedef struct slad_peft_config {
    char *path;
    cJSON *json;
    slad_peft_number rank, alpha;
    bool rank_stabilised;
} slad_peft_config;

/* Reads the file and refuses what W + scale B A does not cover. */
slad_status slad_peft_config_read(slad_context *context, slad_peft_config *config, const char *folder);
void slad_peft_config_free(slad_peft_config *config);
double slad_peft_number_of(const slad_peft_number *number, const char *module);
/* Whether layers_to_transform lets this layer be adapted. */
bool slad_peft_config_has_layer(const slad_peft_config *config, size_t layer);

/* The layer and target of a module by its path in the model, without "base_model.model."; false if there is none such.
 */
bool slad_peft_find_module(size_t *layer, slad_peft_target *target, const char *path);

/* A module as which a pair, or a part of its rows, is written. */
typedef struct slad_peft_module {
    char path[96];      /* in the model, without the model's own prefix: "encoder.layer.3.attention.q_proj" */
    const char *target; /* its end, as target_modules names it */
    size_t first_row, rows;
} slad_peft_module;

enum { SLAD_PEFT_MODULES = 4 };
/* All modules of a pair, under the names before and since transformers 5; returns their number. */
size_t slad_peft_modules_of(slad_peft_module modules[SLAD_PEFT_MODULES], const slad_peft_adapter *adapter,
                            const slad_peft_pair *pair);

#endif
