/* The linear layer y = x W_eff^T + bias with W_eff = W + sum of scale B A, and its gradients, in plain C. Sums in
 * double. x [rows, in], y [rows, out], weight [out, in], bias [out]; adapters as reference/gemm.h describes them. */
#ifndef SLAD_REFERENCE_LINEAR_H
#define SLAD_REFERENCE_LINEAR_H

#include "base/memory.h"
#include "reference/gemm.h"

/* LoRA dropout, as peft does it: y = x W^T + b + sum of scale (drop(x) A^T) B^T with drop(x) = mask x / (1 - rate). W
 * and adapters are not merged then. Masks are never stored; they are functions of seed, step, image, adapter stream and
 * element. Element c of token t of an image keeps its value where the word c % 4 of the Philox4x32-10 block with
 *   key     (seed low, seed high),
 *   counter (t * ceil(in / 4) + c / 4, image, step low, 2^31 + (step high % 2^15) * 2^16 + stream)
 * is at least rate * 2^32. The image is counted over the whole batch, so that micro-batches do not change the masks. */
typedef struct slad_reference_dropout {
    double rate;            /* 0: none, and the rest is not looked at; else below 1 */
    const int32_t *key;     /* [4]: the bits of seed low, seed high, step low, step high */
    const int32_t *samples; /* [rows / tokens]: index in the whole batch of each image */
    size_t tokens;          /* rows of an image */
} slad_reference_dropout;

/* Streams lie in 0 .. SLAD_DROPOUT_STREAMS - 1. */
#define SLAD_DROPOUT_STREAMS UINT32_C(65536)

/* What a word of the generator is compared with; rate in [0, 1). */
uint32_t slad_reference_dropout_threshold(double rate);
/* dropped [in] = drop(x[row]); x_row [in], the row's number counts from 0 over all images. */
void slad_reference_drop_row(double *dropped, const float *x_row, const slad_reference_dropout *dropout,
                             uint32_t stream, size_t row, size_t in);

typedef struct slad_reference_layer {
    const float *weight, *bias; /* bias may be NULL */
    const slad_reference_adapter *adapters;
    size_t adapter_count, rows, out, in;
    slad_reference_dropout dropout;
} slad_reference_layer;

/* Errors of both: SLAD_ERROR_OUT_OF_MEMORY, for W_eff. */
slad_status slad_reference_linear(slad_context *context, float *y, const float *x, const slad_reference_layer *layer);
/* dx = dy W_eff, with dropout dy W + sum of scale mask / (1 - rate) ((dy B) A); accumulate: adds to dx. */
slad_status slad_reference_linear_input_gradient(slad_context *context, float *dx, const float *dy,
                                                 const slad_reference_layer *layer, bool accumulate);

/* Adds to lora_da and lora_db (either may be NULL), which have the strides of the adapter's A and B:
 *   dB += scale dy^T (drop(x) A^T),   dA += scale (dy B)^T drop(x). Of the layer, weight, bias and adapters are not
 * read.
 */
slad_status slad_reference_linear_adapter_gradient(slad_context *context, float *lora_da, float *lora_db,
                                                   const float *x, const float *dy,
                                                   const slad_reference_adapter *adapter,
                                                   const slad_reference_layer *layer);

/* Adds to dweight [out, in] and dbias [out] (either may be NULL): dW += dy^T x, dbias += column sums of dy. */
void slad_reference_linear_weight_gradient(float *dweight, float *dbias, const float *x, const float *dy, size_t rows,
                                           size_t out, size_t in);

#endif
