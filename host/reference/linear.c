#include "reference/linear.h"
#include <string.h>

/* W_eff, to be released by the caller. */
static slad_status merge_adapters(slad_context *context, float **merged, const slad_reference_layer *layer)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_allocate(context, merged, layer->out * layer->in, sizeof **merged, "a merged weight"));
    memcpy(*merged, layer->weight, layer->out * layer->in * sizeof **merged);
    for (size_t i = 0; i < layer->adapter_count; i++)
        slad_reference_merge(*merged, *merged, &layer->adapters[i], layer->out, layer->in);
cleanup:
    return status;
}

slad_status slad_reference_linear(slad_context *context, float *y, const float *x, const slad_reference_layer *layer)
{
    slad_status status = SLAD_OK;
    float *merged = NULL;
    SLAD_TRY(merge_adapters(context, &merged, layer));
    const slad_reference_product sizes = {
        .rows = layer->rows,
        .columns = layer->out,
        .depth = layer->in,
        .a_stride = layer->in,
        .c_stride = layer->out,
        .b_row_stride = 1,
        .b_column_stride = layer->in,
    };
    slad_reference_gemm(y, x, merged, layer->bias, &sizes);
cleanup:
    slad_release(merged);
    return status;
}

slad_status slad_reference_linear_input_gradient(slad_context *context, float *dx, const float *dy,
                                                 const slad_reference_layer *layer, bool accumulate)
{
    slad_status status = SLAD_OK;
    float *merged = NULL;
    SLAD_TRY(merge_adapters(context, &merged, layer));
    const slad_reference_product sizes = {
        .rows = layer->rows,
        .columns = layer->in,
        .depth = layer->out,
        .a_stride = layer->out,
        .c_stride = layer->in,
        .b_row_stride = layer->in,
        .b_column_stride = 1,
        .accumulate = accumulate,
    };
    slad_reference_gemm(dx, dy, merged, NULL, &sizes);
cleanup:
    slad_release(merged);
    return status;
}

/* h = x[row] A^T and u = dy[row] B, both [rank]. */
static void project_row(double *h, double *u, const float *x_row, const float *dy_row,
                        const slad_reference_adapter *adapter, size_t in)
{
    for (size_t j = 0; j < adapter->rank; j++) {
        h[j] = u[j] = 0;
        for (size_t k = 0; k < in; k++) h[j] += (double)x_row[k] * (double)adapter->lora_a[j * adapter->a_stride + k];
    }
    for (size_t o = 0; o < adapter->blocks * adapter->block_rows; o++) {
        const float *b_row = adapter->lora_b + slad_reference_adapter_place(adapter, o);
        for (size_t j = 0; j < adapter->rank; j++) u[j] += (double)dy_row[o] * (double)b_row[j];
    }
}

slad_status slad_reference_linear_adapter_gradient(slad_context *context, float *lora_da, float *lora_db,
                                                   const float *x, const float *dy,
                                                   const slad_reference_adapter *adapter, size_t rows, size_t out,
                                                   size_t in)
{
    slad_status status = SLAD_OK;
    const size_t rank = adapter->rank, adapted = adapter->blocks * adapter->block_rows;
    double *sums = NULL;
    /* h and u of one row, then dA [rank, in], then dB [adapted, rank]. */
    SLAD_TRY(slad_allocate(context, &sums, rank * (2 + in + adapted), sizeof *sums, "an adapter's gradient"));
    double *h = sums, *u = h + rank, *da = u + rank, *db = da + rank * in;
    for (size_t row = 0; row < rows; row++) {
        const float *x_row = x + row * in, *dy_row = dy + row * out + adapter->first_row;
        project_row(h, u, x_row, dy_row, adapter, in);
        for (size_t j = 0; j < rank; j++) {
            for (size_t k = 0; k < in; k++) da[j * in + k] += u[j] * (double)x_row[k];
            for (size_t o = 0; o < adapted; o++) db[o * rank + j] += h[j] * (double)dy_row[o];
        }
    }
    for (size_t j = 0; j < rank; j++) {
        for (size_t k = 0; lora_da && k < in; k++) {
            float *target = lora_da + j * adapter->a_stride + k;
            *target = (float)((double)*target + adapter->scale * da[j * in + k]);
        }
        for (size_t o = 0; lora_db && o < adapted; o++) {
            float *target = lora_db + slad_reference_adapter_place(adapter, o) + j;
            *target = (float)((double)*target + adapter->scale * db[o * rank + j]);
        }
    }
cleanup:
    slad_release(sums);
    return status;
}

void slad_reference_linear_weight_gradient(float *dweight, float *dbias, const float *x, const float *dy, size_t rows,
                                           size_t out, size_t in)
{
    for (size_t o = 0; o < out; o++) {
        for (size_t k = 0; dweight && k < in; k++) {
            double sum = (double)dweight[o * in + k];
            for (size_t row = 0; row < rows; row++) sum += (double)dy[row * out + o] * (double)x[row * in + k];
            dweight[o * in + k] = (float)sum;
        }
        if (!dbias) continue;
        double sum = (double)dbias[o];
        for (size_t row = 0; row < rows; row++) sum += (double)dy[row * out + o];
        dbias[o] = (float)sum;
    }
}
