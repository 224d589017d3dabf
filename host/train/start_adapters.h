/* Training that starts from adapters which peft wrote. */
#ifndef SLAD_TRAIN_START_ADAPTERS_H
#define SLAD_TRAIN_START_ADAPTERS_H

#include "train/trainer.h"

/* What can be said before anything is trained of --teacher-adapter and --student-adapter (either may be NULL) and of
 * the models that are to be trained, which must not be folders of adapters themselves. Errors: as below. */
slad_status slad_start_adapters_check(slad_context *context, const slad_run_options *options,
                                      const slad_encoder *teacher, const slad_encoder *student);

/* Sets the adapters of the trainer's teacher or student, which must be trained as LoRA adapters of its own (--share
 * none for a student), to those of a folder of PEFT, so that the network computes exactly what peft would: B is
 * rescaled by the ratio of the scales, a rank that is left over keeps A's random values and has zeros in B, and layers
 * that the folder does not adapt stay as they are. The folder's classifier starts the head where it has its classes and
 * features; otherwise the log says that it does not. Errors: SLAD_ERROR_USAGE for options that the folder's adapters do
 * not fit into, with the options that would; SLAD_ERROR_DATA for a folder that cannot be read or is of another model.
 */
slad_status slad_trainer_start_adapters(slad_trainer *trainer, const char *folder, bool teacher);

#endif
