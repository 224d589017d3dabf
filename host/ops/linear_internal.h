/* What linear.c and linear_gradient.c share. */
#ifndef SLAD_OPS_LINEAR_INTERNAL_H
#define SLAD_OPS_LINEAR_INTERNAL_H

#include "graph/host.h"
#include "ops/operations.h"
#include "reference/linear.h"

/* Rows of slad_linear_kernels. */
enum { SLAD_LINEAR_PACK_FACTOR, SLAD_LINEAR_PROJECT, SLAD_LINEAR_OUTER, SLAD_LINEAR_COLUMN_SUMS, SLAD_LINEAR_REDUCE };

slad_reference_adapter slad_linear_host_adapter(slad_host *host, const slad_adapter *adapter);

/* Append the node that adds to dA and dB, as far as A and B need a gradient: dB += scale dy^T (x A^T),
 * dA += scale (dy B)^T x. */
void slad_linear_append_adapter_gradient(slad_record *record, const slad_tensor *x, const slad_tensor *dy,
                                         const slad_adapter *adapter);
/* The same of weight and bias (may be NULL), as far as they need a gradient: dW += dy^T x, dbias += column sums of dy.
 */
void slad_linear_append_weight_gradient(slad_record *record, const slad_tensor *x, const slad_tensor *dy,
                                        const slad_tensor *weight, const slad_tensor *bias);

#endif
