#include "reference/layer_scale.h"

void slad_reference_layer_scale(float *y, const float *x, const float *z, const float *gamma, size_t rows,
                                size_t columns)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            const size_t at = i * columns + j;
            y[at] = (float)(x[at] + (gamma ? (double)gamma[j] : 1) * z[at]);
        }
    }
}

void slad_reference_layer_scale_backward(float *dz, const float *dy, const float *gamma, bool accumulate, size_t rows,
                                         size_t columns)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            const size_t at = i * columns + j;
            const double gradient = (gamma ? (double)gamma[j] : 1) * dy[at];
            dz[at] = (float)(accumulate ? dz[at] + gradient : gradient);
        }
    }
}

void slad_reference_layer_scale_gamma(float *dgamma, const float *dy, const float *z, size_t rows, size_t columns)
{
    for (size_t j = 0; j < columns; j++) {
        double sum = (double)dgamma[j];
        for (size_t i = 0; i < rows; i++) sum += (double)dy[i * columns + j] * (double)z[i * columns + j];
        dgamma[j] = (float)sum;
    }
}

void slad_reference_layer_scale_residual(float *dx, const float *dy, size_t elements)
{
    for (size_t i = 0; i < elements; i++) dx[i] += dy[i];
}
