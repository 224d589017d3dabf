/* Gradient norm, clipping and AdamW in plain C. Sums in double. */
#ifndef SLAD_REFERENCE_OPTIMIZER_H
#define SLAD_REFERENCE_OPTIMIZER_H

#include <stddef.h>

/* The sum of squares of a gradient. */
double slad_reference_sum_of_squares(const float *gradient, size_t elements);
/* torch.nn.utils.clip_grad_norm_: max_norm / (norm + 1e-6), at most 1; 1 if max_norm is 0. */
double slad_reference_clip_factor(double norm, double max_norm);

typedef struct slad_reference_adamw {
    double rate, decay;
    double bias_1, bias_2; /* 1 / (1 - beta^t) */
    double beta_1, beta_2, epsilon;
    double factor; /* of the gradient */
} slad_reference_adamw;

/* torch.optim.AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019), with g = factor * dp:
 *   m = beta_1 m + (1 - beta_1) g;  v = beta_2 v + (1 - beta_2) g^2;
 *   p -= rate * decay * p;  p -= rate * bias_1 * m / (sqrt(v * bias_2) + epsilon);
 * then the gradient is 0. */
void slad_reference_adamw_update(float *values, float *gradient, float *moment_1, float *moment_2,
                                 const slad_reference_adamw *parameters, size_t elements);

#endif
