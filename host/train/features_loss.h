/* A student's features pulled to its teacher's (--feature-loss), through a projection that is trained with it. The loss
 * itself is an operation, slad_feature_loss. */
#ifndef SLAD_TRAIN_FEATURES_LOSS_H
#define SLAD_TRAIN_FEATURES_LOSS_H

#include "train/trainer.h"

/* Places the trained "student.projection.weight" [teacher's width, student's width], from U(-1/sqrt(d), 1/sqrt(d)) with
 * the student's width d as torch.nn.Linear has it; it learns at the heads' rate. Nothing happens without
 * --feature-loss. Errors: SLAD_ERROR_USAGE when patches are to be compared, but the two models cut an image into
 * different ones. */
slad_status slad_features_loss_place(slad_trainer *trainer);

/* Adds the loss to a record of both networks. cls: the class tokens alone are projected and compared; patch: class
 * tokens and patches. */
void slad_features_loss_record(const slad_trainer *trainer, const slad_pass *pass);

#endif
