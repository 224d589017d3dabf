#include "reference/linear.h"
#include "base/random.h"
#include <string.h>

/* W_eff, to be released by the caller; W itself with dropout. */
static slad_status merge_adapters(slad_context *context, float **merged, const slad_reference_layer *layer)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_allocate(context, merged, layer->out * layer->in, sizeof **merged, "a merged weight"));
    memcpy(*merged, layer->weight, layer->out * layer->in * sizeof **merged);
    for (size_t i = 0; layer->dropout.rate == 0 && i < layer->adapter_count; i++)
        slad_reference_merge(*merged, *merged, &layer->adapters[i], layer->out, layer->in);
cleanup:
    return status;
}

uint32_t slad_reference_dropout_threshold(double rate)
{
    return (uint32_t)(rate * 4294967296.0);
}

/* Row by row the counters begin with a new block, so that four neighbours always share one. */
void slad_reference_drop_row(double *dropped, const float *x_row, const slad_reference_dropout *dropout,
                             uint32_t stream, size_t row, size_t in)
{
    const uint32_t threshold = slad_reference_dropout_threshold(dropout->rate);
    const uint32_t key[2] = {(uint32_t)dropout->key[0], (uint32_t)dropout->key[1]};
    const uint32_t token = (uint32_t)(row % dropout->tokens), step_high = (uint32_t)dropout->key[3];
    uint32_t block[4] = {0};
    for (size_t c = 0; c < in; c++) {
        const uint32_t counter[4] = {
            token * (uint32_t)((in + 3) / 4) + (uint32_t)(c / 4),
            (uint32_t)dropout->samples[row / dropout->tokens],
            (uint32_t)dropout->key[2],
            UINT32_C(0x80000000) | (step_high & 0x7fff) << 16 | stream,
        };
        if (c % 4 == 0) slad_philox(block, counter, key);
        dropped[c] = block[c % 4] >= threshold ? (double)x_row[c] / (1 - dropout->rate) : 0;
    }
}

/* What the branch of an adapter sees of a row: x, or drop(x). */
static void branch_input(double *input, const float *x_row, const slad_reference_layer *layer,
                         const slad_reference_adapter *adapter, size_t row)
{
    if (layer->dropout.rate > 0) {
        slad_reference_drop_row(input, x_row, &layer->dropout, adapter->stream, row, layer->in);
        return;
    }
    for (size_t k = 0; k < layer->in; k++) input[k] = (double)x_row[k];
}

/* h [rank] = input A^T. */
static void project_down(double *h, const double *input, const slad_reference_adapter *adapter, size_t in)
{
    for (size_t j = 0; j < adapter->rank; j++) {
        h[j] = 0;
        for (size_t k = 0; k < in; k++) h[j] += input[k] * (double)adapter->lora_a[j * adapter->a_stride + k];
    }
}

/* u [rank] = dy B, over the columns of dy that the adapter adapts. */
static void project_back(double *u, const float *dy_row, const slad_reference_adapter *adapter)
{
    memset(u, 0, adapter->rank * sizeof *u);
    for (size_t o = 0; o < adapter->blocks * adapter->block_rows; o++) {
        const float *b_row = adapter->lora_b + slad_reference_adapter_place(adapter, o);
        for (size_t j = 0; j < adapter->rank; j++) u[j] += (double)dy_row[adapter->first_row + o] * (double)b_row[j];
    }
}

/* y[row] += scale (drop(x) A^T) B^T of one adapter; work holds in + rank numbers. */
static void add_branch(float *y_row, const float *x_row, const slad_reference_layer *layer,
                       const slad_reference_adapter *adapter, size_t row, double *work)
{
    double *h = work + layer->in;
    branch_input(work, x_row, layer, adapter, row);
    project_down(h, work, adapter, layer->in);
    for (size_t o = 0; o < adapter->blocks * adapter->block_rows; o++) {
        const float *b_row = adapter->lora_b + slad_reference_adapter_place(adapter, o);
        double sum = 0;
        for (size_t j = 0; j < adapter->rank; j++) sum += h[j] * (double)b_row[j];
        float *y = y_row + adapter->first_row + o;
        *y = (float)((double)*y + adapter->scale * sum);
    }
}

/* dx[row] += scale mask / (1 - rate) ((dy B) A) of one adapter; work holds in + rank numbers. */
static void add_branch_gradient(float *dx_row, const float *dy_row, const float *ones,
                                const slad_reference_layer *layer, const slad_reference_adapter *adapter, size_t row,
                                double *work)
{
    double *u = work + layer->in;
    slad_reference_drop_row(work, ones, &layer->dropout, adapter->stream, row, layer->in);
    project_back(u, dy_row, adapter);
    for (size_t k = 0; k < layer->in; k++) {
        double sum = 0;
        for (size_t j = 0; j < adapter->rank; j++) sum += u[j] * (double)adapter->lora_a[j * adapter->a_stride + k];
        dx_row[k] = (float)((double)dx_row[k] + adapter->scale * work[k] * sum);
    }
}

static size_t widest_rank(const slad_reference_layer *layer)
{
    size_t rank = 0;
    for (size_t i = 0; i < layer->adapter_count; i++)
        if (rank < layer->adapters[i].rank) rank = layer->adapters[i].rank;
    return rank;
}

slad_status slad_reference_linear(slad_context *context, float *y, const float *x, const slad_reference_layer *layer)
{
    slad_status status = SLAD_OK;
    float *merged = NULL;
    double *work = NULL;
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
    if (layer->dropout.rate == 0) goto cleanup;
    SLAD_TRY(slad_allocate(context, &work, layer->in + widest_rank(layer), sizeof *work, "dropout"));
    for (size_t i = 0; i < layer->adapter_count; i++)
        for (size_t row = 0; row < layer->rows; row++)
            add_branch(y + row * layer->out, x + row * layer->in, layer, &layer->adapters[i], row, work);
cleanup:
    slad_release(work);
    slad_release(merged);
    return status;
}

slad_status slad_reference_linear_input_gradient(slad_context *context, float *dx, const float *dy,
                                                 const slad_reference_layer *layer, bool accumulate)
{
    slad_status status = SLAD_OK;
    float *merged = NULL, *ones = NULL;
    double *work = NULL;
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
    if (layer->dropout.rate == 0) goto cleanup;
    SLAD_TRY(slad_allocate(context, &work, layer->in + widest_rank(layer), sizeof *work, "dropout"));
    SLAD_TRY(slad_allocate(context, &ones, layer->in, sizeof *ones, "dropout"));
    for (size_t k = 0; k < layer->in; k++) ones[k] = 1;
    for (size_t i = 0; i < layer->adapter_count; i++)
        for (size_t row = 0; row < layer->rows; row++)
            add_branch_gradient(dx + row * layer->in, dy + row * layer->out, ones, layer, &layer->adapters[i], row,
                                work);
cleanup:
    slad_release(work);
    slad_release(ones);
    slad_release(merged);
    return status;
}

slad_status slad_reference_linear_adapter_gradient(slad_context *context, float *lora_da, float *lora_db,
                                                   const float *x, const float *dy,
                                                   const slad_reference_adapter *adapter,
                                                   const slad_reference_layer *layer)
{
    slad_status status = SLAD_OK;
    const size_t rank = adapter->rank, in = layer->in, adapted = adapter->blocks * adapter->block_rows;
    double *sums = NULL;
    /* h, u and drop(x) of one row, then dA [rank, in], then dB [adapted, rank]. */
    SLAD_TRY(slad_allocate(context, &sums, in + rank * (2 + in + adapted), sizeof *sums, "an adapter's gradient"));
    double *h = sums, *u = h + rank, *input = u + rank, *da = input + in, *db = da + rank * in;
    for (size_t row = 0; row < layer->rows; row++) {
        const float *dy_row = dy + row * layer->out;
        branch_input(input, x + row * in, layer, adapter, row);
        project_down(h, input, adapter, in);
        project_back(u, dy_row, adapter);
        for (size_t j = 0; j < rank; j++) {
            for (size_t k = 0; k < in; k++) da[j * in + k] += u[j] * input[k];
            for (size_t o = 0; o < adapted; o++) db[o * rank + j] += h[j] * (double)dy_row[adapter->first_row + o];
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
