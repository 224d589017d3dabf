/* Matrix products and merged weights in plain C: see the header. */
#include "reference/gemm.h"

static double dot(const float *a, const float *b, size_t b_stride, size_t count)
{
    double sum = 0;
    for (size_t k = 0; k < count; k++) sum += (double)a[k] * (double)b[k * b_stride];
    return sum;
}

void slad_reference_gemm(float *c, const float *a, const float *b, const float *bias,
                         const slad_reference_product *sizes)
{
    for (size_t row = 0; row < sizes->rows; row++) {
        for (size_t column = 0; column < sizes->columns; column++) {
            float *out = &c[row * sizes->c_stride + column];
            double sum =
                dot(a + row * sizes->a_stride, b + column * sizes->b_column_stride, sizes->b_row_stride, sizes->depth);
            if (bias) sum += (double)bias[column];
            if (sizes->accumulate) sum += (double)*out;
            *out = (float)sum;
        }
    }
}

size_t slad_reference_adapter_place(const slad_reference_adapter *adapter, size_t row)
{
    return row / adapter->block_rows * adapter->b_block_stride + row % adapter->block_rows * adapter->b_row_stride;
}

void slad_reference_merge(float *merged, const float *weight, const slad_reference_adapter *adapter, size_t out,
                          size_t in)
{
    const size_t adapted = adapter ? adapter->blocks * adapter->block_rows : 0;
    for (size_t row = 0; row < out; row++) {
        const bool is_adapted = adapter && row >= adapter->first_row && row - adapter->first_row < adapted;
        const float *up =
            is_adapted ? adapter->lora_b + slad_reference_adapter_place(adapter, row - adapter->first_row) : NULL;
        for (size_t column = 0; column < in; column++) {
            double delta = 0;
            for (size_t r = 0; is_adapted && r < adapter->rank; r++)
                delta += (double)up[r] * (double)adapter->lora_a[r * adapter->a_stride + column];
            const double scale = is_adapted ? adapter->scale : 0;
            merged[row * in + column] = (float)((double)weight[row * in + column] + scale * delta);
        }
    }
}
