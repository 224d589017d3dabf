/* slad: vision-model adaptation on any OpenCL device. This header brings in all others.
 *
 *   slad_context_create   callbacks for log, progress, cancelling; the message of the last error
 *   slad_device_open      an OpenCL device
 *   slad_encoder_open     a pre-trained encoder
 *   slad_dataset_open     images on disk; or fill slad_batch yourself
 *   slad_trainer_create   a recorded training step; slad_trainer_step feeds it
 *   slad_run_train        all of it, as `slad train` does
 *   slad_compare          several runs side by side
 *   slad_bench            how fast it is on a device
 *   slad_run_export       what a run trained, as a Hugging Face folder and as PEFT folders
 */
#ifndef SLAD_H
#define SLAD_H

#include "slad/bench.h"
#include "slad/compare.h"
#include "slad/context.h"
#include "slad/data.h"
#include "slad/device.h"
#include "slad/export.h"
#include "slad/model.h"
#include "slad/status.h"
#include "slad/train.h"

#endif
