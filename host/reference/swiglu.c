#include "reference/swiglu.h"
#include <math.h>

void slad_reference_swiglu(float *v, const float *x, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            const double u1 = x[i * 2 * columns + j], u2 = x[(i * 2 + 1) * columns + j];
            v[i * columns + j] = (float)(u1 / (1 + exp(-u1)) * u2);
        }
    }
}

void slad_reference_swiglu_backward(float *dx, const float *dv, const float *x, bool accumulate, size_t rows,
                                    size_t columns)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            const size_t first = i * 2 * columns + j, second = first + columns;
            const double u1 = x[first], u2 = x[second], gradient = dv[i * columns + j], s = 1 / (1 + exp(-u1));
            const double du1 = gradient * u2 * s * (1 + u1 * (1 - s)), du2 = gradient * u1 * s;
            dx[first] = (float)(accumulate ? dx[first] + du1 : du1);
            dx[second] = (float)(accumulate ? dx[second] + du2 : du2);
        }
    }
}
