#include "reference/optimizer.h"
#include <math.h>

double slad_reference_sum_of_squares(const float *gradient, size_t elements)
{
    double sum = 0;
    for (size_t i = 0; i < elements; i++) sum += (double)gradient[i] * (double)gradient[i];
    return sum;
}

double slad_reference_clip_factor(double norm, double max_norm)
{
    return max_norm > 0 ? fmin(1, max_norm / (norm + 1e-6)) : 1;
}

void slad_reference_adamw_update(float *values, float *gradient, float *moment_1, float *moment_2,
                                 const slad_reference_adamw *parameters, size_t elements)
{
    for (size_t i = 0; i < elements; i++) {
        const double g = parameters->factor * (double)gradient[i];
        const double m = parameters->beta_1 * (double)moment_1[i] + (1 - parameters->beta_1) * g;
        const double v = parameters->beta_2 * (double)moment_2[i] + (1 - parameters->beta_2) * g * g;
        const double decayed = (double)values[i] * (1 - parameters->rate * parameters->decay);
        const double step = m * parameters->bias_1 / (sqrt(v * parameters->bias_2) + parameters->epsilon);
        values[i] = (float)(decayed - parameters->rate * step);
        moment_1[i] = (float)m;
        moment_2[i] = (float)v;
        gradient[i] = 0;
    }
}
