#include "reference/attention.h"
#include "base/memory.h"
#include <math.h>

/* One head of one image: row t of q, k or v begins at q + t * stride, of out and dout at t * width. */
typedef struct head_view {
    const float *q, *k, *v;
    size_t stride, width, tokens, head_dim;
    double scale;
} head_view;

static head_view view_head(const float *qkv, const slad_attention_sizes *sizes, size_t image, size_t head)
{
    const size_t width = sizes->heads * sizes->head_dim;
    const float *q = qkv + image * sizes->tokens * 3 * width + head * sizes->head_dim;
    return (head_view){q,     q + width,     q + 2 * width,   3 * width,
                       width, sizes->tokens, sizes->head_dim, 1 / sqrt((double)sizes->head_dim)};
}

static double dot(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* Row t of the weights p, and the row's logsumexp. */
static double softmax_row(double *p, const head_view *view, size_t t)
{
    double maximum = -INFINITY, sum = 0;
    for (size_t j = 0; j < view->tokens; j++) {
        p[j] = view->scale * dot(view->q + t * view->stride, view->k + j * view->stride, view->head_dim);
        if (p[j] > maximum) maximum = p[j];
    }
    for (size_t j = 0; j < view->tokens; j++) sum += exp(p[j] - maximum);
    const double logsumexp = maximum + log(sum);
    for (size_t j = 0; j < view->tokens; j++) p[j] = exp(p[j] - logsumexp);
    return logsumexp;
}

static void forward_head(float *out, float *logsumexp, double *p, const head_view *view)
{
    for (size_t t = 0; t < view->tokens; t++) {
        logsumexp[t] = (float)softmax_row(p, view, t);
        for (size_t d = 0; d < view->head_dim; d++) {
            double sum = 0;
            for (size_t j = 0; j < view->tokens; j++) sum += p[j] * view->v[j * view->stride + d];
            out[t * view->width + d] = (float)sum;
        }
    }
}

slad_status slad_reference_attention(slad_context *context, float *out, float *logsumexp, const float *qkv,
                                     const slad_attention_sizes *sizes)
{
    slad_status status = SLAD_OK;
    double *p = NULL;
    SLAD_TRY(slad_allocate(context, &p, sizes->tokens, sizeof *p, "a row of attention weights"));
    for (size_t image = 0; image < sizes->batch; image++) {
        for (size_t head = 0; head < sizes->heads; head++) {
            const head_view view = view_head(qkv, sizes, image, head);
            forward_head(out + image * sizes->tokens * view.width + head * sizes->head_dim,
                         logsumexp + (image * sizes->heads + head) * sizes->tokens, p, &view);
        }
    }
cleanup:
    slad_release(p);
    return status;
}

static void put(float *target, double value, bool accumulate)
{
    *target = (float)(accumulate ? *target + value : value);
}

/* dk and dv are gathered in double, row by row of the queries: `sums` holds dk, dv [tokens, head_dim] each, and one row
 * of dq. */
static void backward_head(float *dq, double *sums, const float *dout, const float *out, const float *logsumexp,
                          const head_view *view, bool accumulate)
{
    const size_t tokens = view->tokens, head_dim = view->head_dim;
    double *dk = sums, *dv = dk + tokens * head_dim, *dq_row = dv + tokens * head_dim;
    for (size_t i = 0; i < 2 * tokens * head_dim; i++) sums[i] = 0;
    for (size_t t = 0; t < tokens; t++) {
        const float *q_row = view->q + t * view->stride, *dout_row = dout + t * view->width;
        const double row_sum = dot(dout_row, out + t * view->width, head_dim);
        for (size_t d = 0; d < head_dim; d++) dq_row[d] = 0;
        for (size_t j = 0; j < tokens; j++) {
            const float *k_row = view->k + j * view->stride, *v_row = view->v + j * view->stride;
            const double p = exp(view->scale * dot(q_row, k_row, head_dim) - logsumexp[t]);
            const double ds = p * (dot(dout_row, v_row, head_dim) - row_sum);
            for (size_t d = 0; d < head_dim; d++) {
                dq_row[d] += view->scale * ds * k_row[d];
                dk[j * head_dim + d] += view->scale * ds * q_row[d];
                dv[j * head_dim + d] += p * dout_row[d];
            }
        }
        for (size_t d = 0; d < head_dim; d++) put(dq + t * view->stride + d, dq_row[d], accumulate);
    }
    for (size_t t = 0; t < tokens; t++) {
        float *dk_row = dq + t * view->stride + view->width, *dv_row = dk_row + view->width;
        for (size_t d = 0; d < head_dim; d++) {
            put(dk_row + d, dk[t * head_dim + d], accumulate);
            put(dv_row + d, dv[t * head_dim + d], accumulate);
        }
    }
}

slad_status slad_reference_attention_backward(slad_context *context, float *dqkv, const float *dout, const float *out,
                                              const float *logsumexp, const float *qkv, bool accumulate,
                                              const slad_attention_sizes *sizes)
{
    slad_status status = SLAD_OK;
    double *sums = NULL;
    SLAD_TRY(
        slad_allocate(context, &sums, (2 * sizes->tokens + 1) * sizes->head_dim, sizeof *sums, "attention gradients"));
    for (size_t image = 0; image < sizes->batch; image++) {
        for (size_t head = 0; head < sizes->heads; head++) {
            const head_view view = view_head(qkv, sizes, image, head);
            const size_t row = image * sizes->tokens * view.width + head * sizes->head_dim;
            backward_head(dqkv + (view.q - qkv), sums, dout + row, out + row,
                          logsumexp + (image * sizes->heads + head) * sizes->tokens, &view, accumulate);
        }
    }
cleanup:
    slad_release(sums);
    return status;
}
