/* What the files that read a PEFT folder share. */
#ifndef SLAD_IO_PEFT_INTERNAL_H
#define SLAD_IO_PEFT_INTERNAL_H

#include "base/pattern.h"
#include "io/peft.h"
#include <cjson/cJSON.h>

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

#endif
