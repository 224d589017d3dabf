/* config.json of a run: every option as resolved, versions, device, data; and what evaluation reads of it. */
#ifndef SLAD_TRAIN_RUN_CONFIG_H
#define SLAD_TRAIN_RUN_CONFIG_H

#include "data/dataset.h"
#include "train/trainer.h"

typedef struct slad_run_config {
    char *teacher, *student, *data; /* absolute folders; teacher NULL where the method has none */
    char *init, *unlabelled, *teacher_adapter, *student_adapter; /* NULL: not given; init as it was given */
    bool strict_data;
    slad_train_options train;
    size_t image_size, classes;
    char **class_names; /* [classes] */
} slad_run_config;

/* Writes FOLDER/config.json. */
slad_status slad_run_config_write(slad_context *context, const char *folder, const slad_run_options *options,
                                  const slad_trainer *trainer, const slad_dataset *dataset);
/* Reads it back. Errors: SLAD_ERROR_DATA naming file and field. Free with slad_run_config_free. */
slad_status slad_run_config_read(slad_context *context, slad_run_config *config, const char *folder);
void slad_run_config_free(slad_run_config *config);
/* Compares what FOLDER/config.json says of device, GEMMs, micro-batch and data with what a trainer that goes on with it
 * has. Errors: SLAD_ERROR_USAGE for another device or division of the work, which would change results; SLAD_ERROR_DATA
 * for other data. */
slad_status slad_run_config_agree(slad_context *context, const char *folder, const slad_trainer *trainer,
                                  const slad_dataset *dataset);
/* Whether the folder is a run: it holds config.json and state.safetensors. */
bool slad_path_is_run(slad_context *context, const char *folder);

#endif
