/* How far teacher and student agree on the adapters that they share: the cosine of their gradients, measured each step.
 */
#ifndef SLAD_TRAIN_SHARED_GRADIENT_H
#define SLAD_TRAIN_SHARED_GRADIENT_H

#include "train/trainer.h"

/* Sets trainer->conflict where the student shares adapters, else NULL. To be called when all that is trained is placed.
 */
slad_status slad_shared_gradient_place(slad_trainer *trainer);

#endif
