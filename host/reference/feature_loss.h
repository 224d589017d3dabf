/* Feature distillation in plain C. Sums in double. */
#ifndef SLAD_REFERENCE_FEATURE_LOSS_H
#define SLAD_REFERENCE_FEATURE_LOSS_H

#include <stddef.h>

typedef struct slad_reference_features {
    double alpha, epsilon;
    double inverse_kl; /* 1 / sum of the KL weights over the whole batch */
    size_t batch, tokens, target_tokens, columns;
    size_t compared; /* tokens of each image: the first and the last compared - 1 */
} slad_reference_features;

/* With v = KL weight * inverse_kl of an image, n the row of the target standardised, n = (t - mean t) / sqrt(variance t
 * + epsilon) with the biased variance, and the rows of projected [batch, tokens, columns] and target [batch,
 * target_tokens, columns] paired from the first and from the last:
 *   terms [batch, tokens] = v / (compared columns) sum (projected - n)^2, 0 for a token that is not compared;
 *   dprojected = alpha 2 v / (compared columns) (projected - n), likewise. */
void slad_reference_feature_loss(float *terms, float *dprojected, const float *projected, const float *target,
                                 const float *kl_weights, const slad_reference_features *parameters);

#endif
