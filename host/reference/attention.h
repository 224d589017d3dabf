/* Softmax attention in plain C. Sums in double. */
#ifndef SLAD_REFERENCE_ATTENTION_H
#define SLAD_REFERENCE_ATTENTION_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

typedef struct slad_attention_sizes {
    size_t batch, tokens, heads, head_dim;
} slad_attention_sizes;

/* Each head of each image by itself, with s = 1 / sqrt(head_dim):
 *     scores = s q k^T,  p = softmax of each row,  out = p v,  logsumexp = log of the sum of exp(scores) of each row.
 * qkv [batch, tokens, 3, heads, head_dim]; out [batch, tokens, heads, head_dim]; logsumexp [batch, heads, tokens],
 * saved for the backward pass. Errors: SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_reference_attention(slad_context *context, float *out, float *logsumexp, const float *qkv,
                                     const slad_attention_sizes *sizes);

/* With p = exp(scores - logsumexp) and D = rowsum(dout * out) (method.md section 7):
 *     dv = p^T dout,  dp = dout v^T,  ds = p * (dp - D),  dq = s ds k,  dk = s ds^T q.
 * accumulate: adds to dqkv, which has the sizes of qkv. Errors: SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_reference_attention_backward(slad_context *context, float *dqkv, const float *dout, const float *out,
                                              const float *logsumexp, const float *qkv, bool accumulate,
                                              const slad_attention_sizes *sizes);

#endif
