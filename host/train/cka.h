/* Centred kernel alignment of two feature sets of the same images: linear kernel, unbiased HSIC_1 (Song et al. 2012),
 * averaged over minibatches before the ratio is taken (Nguyen et al., arXiv 2010.15327, eq. 2 and 3; method.md section
 * 11). All in double. It is 1 for feature sets that differ by a rotation, a scale or a shift, and about 0 for unrelated
 * ones; the unbiased estimate may lie a little below 0 or above 1. */
#ifndef SLAD_TRAIN_CKA_H
#define SLAD_TRAIN_CKA_H

#include "base/error.h"
#include <stddef.h>

/* Sums over minibatches; {0} to begin with. */
typedef struct slad_cka {
    double cross, first, second; /* of HSIC_1(K, L), HSIC_1(K, K), HSIC_1(L, L) */
    size_t batches;
} slad_cka;

/* Adds a minibatch: x [images, x_width], y [images, y_width], features of the same images. Every minibatch of a mean
 * should have as many images. Errors: SLAD_ERROR_USAGE for fewer than four images. */
slad_status slad_cka_add(slad_context *context, slad_cka *cka, const float *x, size_t x_width, const float *y,
                         size_t y_width, size_t images);

/* The ratio; NaN when there is no minibatch, or one of the feature sets does not vary. */
double slad_cka_value(const slad_cka *cka);
/* Delta-CKA: the part of the likeness before that is gone after, in percent. NaN where there was none: the unbiased
 * estimate may be negative. */
double slad_cka_delta(double before, double after);

#endif
