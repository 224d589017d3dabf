/* What linear.c, linear_gradient.c and linear_products.c share. */
#ifndef SLAD_OPS_LINEAR_INTERNAL_H
#define SLAD_OPS_LINEAR_INTERNAL_H

#include "graph/host.h"
#include "ops/operations.h"
#include "reference/linear.h"

/* Rows of slad_linear_kernels. */
enum {
    SLAD_LINEAR_PACK_FACTOR,
    SLAD_LINEAR_PROJECT,
    SLAD_LINEAR_OUTER,
    SLAD_LINEAR_COLUMN_SUMS,
    SLAD_LINEAR_REDUCE,
    SLAD_LINEAR_DROP,
    SLAD_LINEAR_EXPAND,
    SLAD_LINEAR_EXPAND_DROPPED
};

static inline size_t slad_divide_up(size_t value, size_t divisor)
{
    return (value + divisor - 1) / divisor;
}

static inline size_t slad_round_up(size_t value, size_t multiple)
{
    return slad_divide_up(value, multiple) * multiple;
}

/* Ranks of a projected activation: a multiple of either RANK_WIDTH of cl_kernels/linear.cl. */
static inline size_t slad_linear_padded_rank(size_t rank)
{
    return slad_round_up(rank, 16);
}

/* ---- on the host ---- */

slad_reference_adapter slad_linear_host_adapter(slad_host *host, const slad_adapter *adapter);
/* x tells how many rows an image has; it is not read without dropout. */
slad_reference_dropout slad_linear_host_dropout(slad_host *host, const slad_dropout *dropout, const slad_tensor *x);

/* ---- skinny products ---- */

/* A or B seen as [rank, blocks, width] with strides: A has one block of `in`, B has blocks of its rows. */
typedef struct slad_linear_factor {
    size_t rank, blocks, width, rank_stride, block_stride, width_stride;
} slad_linear_factor;
slad_linear_factor slad_linear_factor_of_a(const slad_tensor *lora_a);
slad_linear_factor slad_linear_factor_of_b(const slad_tensor *lora_b);

/* Elements from row to row of what is seen as a matrix. */
size_t slad_linear_row_stride(const slad_tensor *tensor);
/* The columns of y or dy that belong to the rows of W that the adapter adapts. */
slad_tensor slad_linear_adapted_columns(const slad_tensor *y, const slad_adapter *adapter);

/* packed: one factor, at least padded rank times its width and blocks; product [rows, padded rank]: H or U. */
typedef struct slad_linear_scratch {
    const slad_tensor *packed, *product;
} slad_linear_scratch;

/* product = scale projected through^T, where `through` is A or B: H = x A^T or U = dy B. */
slad_status slad_linear_launch_project(slad_launcher *launcher, const slad_linear_scratch *scratch,
                                       const slad_tensor *projected, const slad_tensor *through,
                                       const slad_linear_factor *place, double scale);
/* The scratch that receives drop(x), with the sizes of x. */
slad_tensor slad_linear_dropped(const slad_tensor *x, const slad_tensor *scratch);
/* dropped = drop(x). */
slad_status slad_linear_launch_drop(slad_launcher *launcher, const slad_tensor *dropped, const slad_tensor *x,
                                    const slad_dropout *dropout, uint32_t stream);
/* y += product B^T in the columns that the adapter adapts. */
slad_status slad_linear_launch_expand(slad_launcher *launcher, const slad_tensor *y, const slad_linear_scratch *scratch,
                                      const slad_adapter *adapter);
/* dx += mask / (1 - rate) (product A). */
slad_status slad_linear_launch_expand_dropped(slad_launcher *launcher, const slad_tensor *dx,
                                              const slad_tensor *product, const slad_adapter *adapter,
                                              const slad_dropout *dropout);

/* ---- gradients ---- */

/* Append the node that adds to dA and dB, as far as A and B need a gradient: dB += scale dy^T (drop(x) A^T),
 * dA += scale (dy B)^T drop(x). */
void slad_linear_append_adapter_gradient(slad_record *record, const slad_tensor *x, const slad_tensor *dy,
                                         const slad_adapter *adapter, const slad_dropout *dropout);
/* The same of weight and bias (may be NULL), as far as they need a gradient: dW += dy^T x, dbias += column sums of dy.
 */
void slad_linear_append_weight_gradient(slad_record *record, const slad_tensor *x, const slad_tensor *dy,
                                        const slad_tensor *weight, const slad_tensor *bias);

#endif
