/* The exact Gaussian error linear unit in plain C. */
#ifndef SLAD_REFERENCE_GELU_H
#define SLAD_REFERENCE_GELU_H

#include <stdbool.h>
#include <stddef.h>

/* v = u Phi(u), Phi the distribution function of the standard normal distribution. */
void slad_reference_gelu(float *v, const float *u, size_t elements);

/* du = dv (Phi(u) + u phi(u)), phi the normal density. accumulate: adds to du. */
void slad_reference_gelu_backward(float *du, const float *dv, const float *u, bool accumulate, size_t elements);

#endif
