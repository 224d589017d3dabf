/* The linear layer y = x W_eff^T + bias with W_eff = W + sum of scale B A, and its gradients, in plain C. Sums in
 * double. x [rows, in], y [rows, out], weight [out, in], bias [out]; adapters as reference/gemm.h describes them. */
#ifndef SLAD_REFERENCE_LINEAR_H
#define SLAD_REFERENCE_LINEAR_H

#include "base/memory.h"
#include "reference/gemm.h"

typedef struct slad_reference_layer {
    const float *weight, *bias; /* bias may be NULL */
    const slad_reference_adapter *adapters;
    size_t adapter_count, rows, out, in;
} slad_reference_layer;

/* Errors of both: SLAD_ERROR_OUT_OF_MEMORY, for W_eff. */
slad_status slad_reference_linear(slad_context *context, float *y, const float *x, const slad_reference_layer *layer);
/* dx = dy W_eff; accumulate: adds to dx. */
slad_status slad_reference_linear_input_gradient(slad_context *context, float *dx, const float *dy,
                                                 const slad_reference_layer *layer, bool accumulate);

/* Adds to lora_da and lora_db (either may be NULL), which have the strides of the adapter's A and B:
 *   dB += scale dy^T (x A^T),   dA += scale (dy B)^T x. */
slad_status slad_reference_linear_adapter_gradient(slad_context *context, float *lora_da, float *lora_db,
                                                   const float *x, const float *dy,
                                                   const slad_reference_adapter *adapter, size_t rows, size_t out,
                                                   size_t in);

/* Adds to dweight [out, in] and dbias [out] (either may be NULL): dW += dy^T x, dbias += column sums of dy. */
void slad_reference_linear_weight_gradient(float *dweight, float *dbias, const float *x, const float *dy, size_t rows,
                                           size_t out, size_t in);

#endif
