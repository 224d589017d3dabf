#include "train/losses.h"

slad_distillation slad_losses_of(const slad_train_options *options)
{
    static const double reverse[] = {
        [SLAD_KL_FORWARD] = 0,
        [SLAD_KL_REVERSE] = 1,
        [SLAD_KL_SYMMETRIC] = 0.5,
    };
    const bool frozen = options->teacher_adapt == SLAD_ADAPT_FROZEN;
    return (slad_distillation){
        .alpha_student = options->loss == SLAD_LOSS_CONVEX ? 1 - options->alpha_kl : options->alpha_student,
        .alpha_teacher = frozen ? 0 : options->alpha_teacher, /* it has no say in what a frozen teacher learns */
        .alpha_kl = options->alpha_kl,
        .tau = options->tau,
        .label_smoothing = options->label_smoothing,
        .kl_reverse = reverse[options->kl_direction],
        .kl_reaches_teacher = !options->kl_detach,
        .kl_without_tau2 = !options->kl_tau2,
    };
}
