/* The parts of a whole run that training, evaluation and features share. */
#ifndef SLAD_TRAIN_RUN_H
#define SLAD_TRAIN_RUN_H

#include "data/loader.h"
#include "train/measures.h"
#include "train/predicted.h"
#include "train/trainer.h"

/* Preprocessing for a model folder at an image size (0: the folder's own crop size, which is then stored in
 * *image_size), and for a data set: tensor files decide their own size. Errors: SLAD_ERROR_USAGE when a given size
 * contradicts the tensors, SLAD_ERROR_DATA when they are not square. */
slad_status slad_run_preprocess(slad_context *context, slad_preprocess *preprocess, size_t *image_size,
                                const char *model_folder, const slad_dataset *dataset);

/* Evaluates both models of a trainer over the loader's split, each image once. predicted: NULL, or what receives the
 * prediction of each image; the caller frees it. */
slad_status slad_trainer_evaluate(slad_trainer *trainer, slad_evaluation *student, slad_evaluation *teacher,
                                  slad_predicted *predicted, slad_loader *loader, size_t images);

/* slad_run_eval that also gives what was predicted of each image; the caller frees *predicted. NULL: not wanted. */
slad_status slad_run_eval_predicted(slad_context *context, slad_device *device, slad_eval_result *result,
                                    slad_predicted *predicted, const slad_eval_options *options);

/* {"event": "eval", "step", "epoch", "images", "student": {..}, "teacher": {..}}; event and step only if step >= 0. */
slad_status slad_run_eval_json(slad_context *context, cJSON **json, const slad_evaluation *student,
                               const slad_evaluation *teacher, int64_t step, int64_t epoch);

#endif
