/* The learning-rate schedule: a factor of the base rate, a function of the step alone. */
#ifndef SLAD_TRAIN_SCHEDULE_H
#define SLAD_TRAIN_SCHEDULE_H

#include "slad/train.h"

/* Warm-up steps: warmup * total, rounded up. */
uint64_t slad_schedule_warmup_steps(double warmup, uint64_t total);

/* The factor of `step` (0-based) of `total`: step / W during the W warm-up steps, so the first is 0; then, with
 * p = (step - W) / (total - W): cosine (1 + cos(pi p)) / 2, constant 1, poly (1 - p)^0.9. As transformers'
 * get_cosine_schedule_with_warmup. Without warm-up the first factor is 1. */
double slad_schedule_factor(slad_schedule_kind kind, double warmup, uint64_t step, uint64_t total);

/* The share of the new values in the moving average (--ema d) after update t, from 0: 1 - d_t with d_0 = 0, so that the
 * average starts as the first update leaves the values, and d_t = min(d, (1 + t) / (10 + t)) from then on: the usual
 * warm-up, without which the first values would weigh for 1 / (1 - d) updates. */
double slad_schedule_average_share(double decay, uint64_t update);

#endif
