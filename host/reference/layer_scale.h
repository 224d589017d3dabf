/* LayerScale and the residual that it closes, in plain C. */
#ifndef SLAD_REFERENCE_LAYER_SCALE_H
#define SLAD_REFERENCE_LAYER_SCALE_H

#include <stdbool.h>
#include <stddef.h>

/* y = x + gamma * z. y, x, z [rows, columns]; gamma [columns], or NULL, which stands for ones. */
void slad_reference_layer_scale(float *y, const float *x, const float *z, const float *gamma, size_t rows,
                                size_t columns);

/* dz = gamma * dy (gamma may be NULL, as above). accumulate: adds to dz. */
void slad_reference_layer_scale_backward(float *dz, const float *dy, const float *gamma, bool accumulate, size_t rows,
                                         size_t columns);

/* dgamma += column sums of dy * z. */
void slad_reference_layer_scale_gamma(float *dgamma, const float *dy, const float *z, size_t rows, size_t columns);

/* dx += dy: the residual's gradient where x already has one. */
void slad_reference_layer_scale_residual(float *dx, const float *dy, size_t elements);

#endif
