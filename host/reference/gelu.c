#include "reference/gelu.h"
#include <math.h>

static double normal_distribution(double u)
{
    static const double inverse_root_2 = 0.70710678118654752440;
    return 0.5 * erfc(-u * inverse_root_2);
}

static double normal_density(double u)
{
    static const double inverse_root_2_pi = 0.39894228040143267794;
    return inverse_root_2_pi * exp(-0.5 * u * u);
}

void slad_reference_gelu(float *v, const float *u, size_t elements)
{
    for (size_t i = 0; i < elements; i++) v[i] = (float)(u[i] * normal_distribution(u[i]));
}

void slad_reference_gelu_backward(float *du, const float *dv, const float *u, bool accumulate, size_t elements)
{
    for (size_t i = 0; i < elements; i++) {
        const double gradient = dv[i] * (normal_distribution(u[i]) + u[i] * normal_density(u[i]));
        du[i] = (float)(accumulate ? du[i] + gradient : gradient);
    }
}
