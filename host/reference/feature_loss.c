#include "reference/feature_loss.h"
#include <math.h>

/* One pair of rows; returns the sum of squared differences. */
static double compare_rows(float *dprojected, const float *projected, const float *target, double slope, double epsilon,
                           size_t columns)
{
    double mean = 0, variance = 0, squares = 0;
    for (size_t j = 0; j < columns; j++) mean += (double)target[j];
    mean /= (double)columns;
    for (size_t j = 0; j < columns; j++) variance += ((double)target[j] - mean) * ((double)target[j] - mean);
    variance /= (double)columns;
    const double rstd = 1 / sqrt(variance + epsilon);
    for (size_t j = 0; j < columns; j++) {
        const double difference = (double)projected[j] - ((double)target[j] - mean) * rstd;
        squares += difference * difference;
        dprojected[j] = (float)(slope * difference);
    }
    return squares;
}

void slad_reference_feature_loss(float *terms, float *dprojected, const float *projected, const float *target,
                                 const float *kl_weights, const slad_reference_features *parameters)
{
    const size_t tokens = parameters->tokens, columns = parameters->columns;
    for (size_t image = 0; image < parameters->batch; image++) {
        const double weight =
            (double)kl_weights[image] * parameters->inverse_kl / (double)parameters->compared / (double)columns;
        for (size_t token = 0; token < tokens; token++) {
            const size_t row = image * tokens + token;
            float *gradient = dprojected + row * columns;
            if (token > 0 && tokens - token >= parameters->compared) {
                terms[row] = 0;
                for (size_t j = 0; j < columns; j++) gradient[j] = 0;
                continue;
            }
            const size_t partner = token == 0 ? 0 : parameters->target_tokens - (tokens - token);
            terms[row] = (float)(weight * compare_rows(gradient, projected + row * columns,
                                                       target + (image * parameters->target_tokens + partner) * columns,
                                                       2 * parameters->alpha * weight, parameters->epsilon, columns));
        }
    }
}
