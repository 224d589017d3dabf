#include "train/cka.h"
#include "base/memory.h"
#include <math.h>

/* A Gram matrix without its diagonal, and the sums of its rows. */
typedef struct gram {
    double *entries;  /* [n, n] */
    double *row_sums; /* [n] */
    double sum;
} gram;

static slad_status make_gram(slad_context *context, gram *made, const float *features, size_t width, size_t n)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_allocate(context, &made->entries, n * n, sizeof *made->entries, "a Gram matrix"));
    SLAD_TRY(slad_allocate(context, &made->row_sums, n, sizeof *made->row_sums, "a Gram matrix"));
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++) {
            const float *left = features + i * width, *right = features + k * width;
            double product = 0;
            for (size_t d = 0; d < width; d++) product += (double)left[d] * (double)right[d];
            made->entries[i * n + k] = made->entries[k * n + i] = product;
        }
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) made->row_sums[i] += made->entries[i * n + k];
        made->sum += made->row_sums[i];
    }
cleanup:
    return status;
}

static void free_gram(gram *made)
{
    slad_release(made->entries);
    slad_release(made->row_sums);
}

/* [tr(KL) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'KL1] / (n(n-3)), where 1'KL1 is the product of the row sums. */
static double unbiased_hsic(const gram *k, const gram *l, size_t n)
{
    const double count = (double)n;
    double trace = 0, rows = 0;
    for (size_t i = 0; i < n * n; i++) trace += k->entries[i] * l->entries[i];
    for (size_t i = 0; i < n; i++) rows += k->row_sums[i] * l->row_sums[i];
    return (trace + k->sum * l->sum / ((count - 1) * (count - 2)) - 2 / (count - 2) * rows) / (count * (count - 3));
}

slad_status slad_cka_add(slad_context *context, slad_cka *cka, const float *x, size_t x_width, const float *y,
                         size_t y_width, size_t images)
{
    slad_status status = SLAD_OK;
    gram k = {0}, l = {0};
    SLAD_FAIL_IF(images < 4, SLAD_ERROR_USAGE, "CKA needs at least four images, not %zu", images);
    SLAD_TRY(make_gram(context, &k, x, x_width, images));
    SLAD_TRY(make_gram(context, &l, y, y_width, images));
    cka->cross += unbiased_hsic(&k, &l, images);
    cka->first += unbiased_hsic(&k, &k, images);
    cka->second += unbiased_hsic(&l, &l, images);
    cka->batches++;
cleanup:
    free_gram(&k);
    free_gram(&l);
    return status;
}

double slad_cka_value(const slad_cka *cka)
{
    if (!(cka->first > 0 && cka->second > 0)) return NAN;
    return cka->cross / sqrt(cka->first * cka->second);
}

double slad_cka_delta(double before, double after)
{
    return before > 0 ? 100 * (before - after) / before : NAN;
}
