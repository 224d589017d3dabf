/* What a classification head reads of an encoder's tokens, in plain C. Sums in double. */
#ifndef SLAD_REFERENCE_POOL_H
#define SLAD_REFERENCE_POOL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct slad_reference_pooling {
    size_t batch, tokens, columns;
    size_t prefix; /* tokens before the patches: CLS and registers */
    bool mean;     /* CLS and then the mean of the patches; else CLS alone */
} slad_reference_pooling;

/* pooled[b] = tokens[b, 0], followed (mean) by the mean over patches of tokens[b, prefix ..].
 * tokens [batch, tokens, columns]; pooled [batch, columns] or [batch, 2 * columns]. */
void slad_reference_pool(float *pooled, const float *tokens, const slad_reference_pooling *sizes);

/* Of each patch token the mean's gradient / number of patches, of CLS its own, of other tokens 0. accumulate: adds. */
void slad_reference_pool_backward(float *dtokens, const float *dpooled, bool accumulate,
                                  const slad_reference_pooling *sizes);

#endif
