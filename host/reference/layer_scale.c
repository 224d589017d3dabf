#include "reference/layer_scale.h"

void slad_reference_layer_scale(float *y, const float *x, const float *z, const float *gamma, size_t rows,
                                size_t columns)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            const size_t at = i * columns + j;
            y[at] = (float)(x[at] + (double)gamma[j] * z[at]);
        }
    }
}

void slad_reference_layer_scale_backward(float *dz, const float *dy, const float *gamma, bool accumulate, size_t rows,
                                         size_t columns)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            const size_t at = i * columns + j;
            const double gradient = (double)gamma[j] * dy[at];
            dz[at] = (float)(accumulate ? dz[at] + gradient : gradient);
        }
    }
}

void slad_reference_layer_scale_residual(float *dx, const float *dy, size_t elements)
{
    for (size_t i = 0; i < elements; i++) dx[i] += dy[i];
}
