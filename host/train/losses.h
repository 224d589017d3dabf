/* What the loss options come to. */
#ifndef SLAD_TRAIN_LOSSES_H
#define SLAD_TRAIN_LOSSES_H

#include "ops/operations.h"
#include "slad/train.h"

/* The weights and the form of the losses that a step minimises. */
slad_distillation slad_losses_of(const slad_train_options *options);

#endif
