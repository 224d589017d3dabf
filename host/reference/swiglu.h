/* SwiGLU in plain C, computed in double. */
#ifndef SLAD_REFERENCE_SWIGLU_H
#define SLAD_REFERENCE_SWIGLU_H

#include <stdbool.h>
#include <stddef.h>

/* v = silu(u1) * u2 with silu(a) = a / (1 + exp(-a)), where a row of x [rows, 2 * columns] is u1 and then u2.
 * v [rows, columns]. Shazeer, "GLU Variants Improve Transformer" (2020), arXiv 2002.05202. */
void slad_reference_swiglu(float *v, const float *x, size_t rows, size_t columns);

/* With s = 1 / (1 + exp(-u1)): du1 = dv u2 s (1 + u1 (1 - s)), du2 = dv u1 s; dx is laid out as x. accumulate: adds. */
void slad_reference_swiglu_backward(float *dx, const float *dv, const float *x, bool accumulate, size_t rows,
                                    size_t columns);

#endif
