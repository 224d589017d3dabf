/* Matrix products and merged weights in plain C. Sums in double. */
#ifndef SLAD_REFERENCE_GEMM_H
#define SLAD_REFERENCE_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct slad_reference_product {
    size_t rows, columns, depth;
    size_t a_stride, c_stride; /* elements from row to row of a and c */
    /* b[k, n] = b[k * b_row_stride + n * b_column_stride]: (columns, 1) for a row-major [depth, columns],
     * (1, depth) for the transpose of a row-major [columns, depth], which is how a layer's weight [out, in] lies. */
    size_t b_row_stride, b_column_stride;
    bool accumulate; /* add to what c holds */
} slad_reference_product;

/* c = a b (+ bias) (+ c): c[m, n] = sum_k a[m, k] b[k, n] + bias[n]. c [rows, columns]; a [rows, depth];
 * bias [columns] or NULL. Elements between the rows of c are left alone. */
void slad_reference_gemm(float *c, const float *a, const float *b, const float *bias,
                         const slad_reference_product *sizes);

typedef struct slad_reference_adapter {
    const float *lora_a; /* [rank, in], rows a_stride apart */
    const float *lora_b; /* [blocks, block_rows, rank], blocks b_block_stride apart, rows b_row_stride apart */
    size_t rank, a_stride, blocks, block_rows, b_block_stride, b_row_stride;
    size_t first_row; /* of the weight; it adapts blocks * block_rows rows from there on */
    double scale;
    uint32_t stream; /* of its dropout mask (reference/linear.h) */
} slad_reference_adapter;

/* Where row `row` of B (from 0, over all blocks) begins. */
size_t slad_reference_adapter_place(const slad_reference_adapter *adapter, size_t row);

/* merged = weight + scale * B A, the weight that an adapted layer acts with (method: LoRA merged once an update).
 * merged, weight [out, in]; adapter may be NULL. merged may be weight. */
void slad_reference_merge(float *merged, const float *weight, const slad_reference_adapter *adapter, size_t out,
                          size_t in);

#endif
