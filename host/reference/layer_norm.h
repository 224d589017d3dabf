/* Layer normalisation in plain C. Sums in double. */
#ifndef SLAD_REFERENCE_LAYER_NORM_H
#define SLAD_REFERENCE_LAYER_NORM_H

#include <stdbool.h>
#include <stddef.h>

/* y[i, j] = (x[i, j] - mean[i]) * rstd[i] * gamma[j] + beta[j], where mean[i] is the mean of row i and
 * rstd[i] = 1 / sqrt(variance[i] + epsilon) with the biased variance. y, x [rows, columns]; gamma, beta [columns];
 * statistics [rows, 2] receives mean and rstd for the backward pass. */
void slad_reference_layer_norm(float *y, float *statistics, const float *x, const float *gamma, const float *beta,
                               double epsilon, size_t rows, size_t columns);

/* With u = dy * gamma and xhat = (x - mean) * rstd, row by row: dx = rstd * (u - mean(u) - xhat * mean(u * xhat)).
 * accumulate: adds to dx. */
void slad_reference_layer_norm_backward(float *dx, const float *dy, const float *statistics, const float *x,
                                        const float *gamma, bool accumulate, size_t rows, size_t columns);

/* Adds to dgamma and dbeta [columns] (either may be NULL): dgamma += column sums of dy * xhat, dbeta += column sums of
 * dy. */
void slad_reference_layer_norm_parameters(float *dgamma, float *dbeta, const float *dy, const float *statistics,
                                          const float *x, size_t rows, size_t columns);

#endif
