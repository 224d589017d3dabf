/* CKA of a run's two encoders: which layers are compared, and the same measure before the adaptation. */
#ifndef SLAD_TRAIN_RUN_CKA_H
#define SLAD_TRAIN_RUN_CKA_H

#include "train/data_pass.h"
#include "train/run_model.h"
#include "train/similarity.h"
#include <cjson/cJSON.h>

/* Decides whether CKA is measured (result->present) and fills all but the scores. Errors: SLAD_ERROR_USAGE when
 * --cka on asks for what the model or the data do not permit. */
slad_status slad_run_cka_prepare(slad_context *context, slad_cka_result *result, const slad_run_model *model,
                                 const slad_data_pass *pass, const slad_eval_options *options);

/* Walks over the images with the encoders that training started from, and fills pretrained and delta. If the student's
 * folder has gone, has_pretrained stays false with a warning (an error, SLAD_ERROR_DATA, for --cka on). */
slad_status slad_run_cka_pretrained(slad_cka_result *result, slad_device *device, const slad_run_model *model,
                                    slad_data_pass *pass, const slad_eval_options *options);

/* {"images", "batch", "output": {"cls", "mean"}, "layers": [{"student", "teacher", "cka"}], "pretrained": {"output",
 * "layers"}, "delta"}; null for NaN. NULL: no memory. */
cJSON *slad_cka_json(const slad_cka_result *result);

#endif
