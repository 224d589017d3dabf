#include "reference/layer_norm.h"
#include <math.h>

void slad_reference_layer_norm(float *y, float *statistics, const float *x, const float *gamma, const float *beta,
                               double epsilon, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++) {
        const float *row = x + i * columns;
        double mean = 0, variance = 0;
        for (size_t j = 0; j < columns; j++) mean += row[j];
        mean /= (double)columns;
        for (size_t j = 0; j < columns; j++) variance += (row[j] - mean) * (row[j] - mean);
        variance /= (double)columns;
        const double rstd = 1 / sqrt(variance + epsilon);
        for (size_t j = 0; j < columns; j++) {
            y[i * columns + j] = (float)((row[j] - mean) * rstd * gamma[j] + beta[j]);
        }
        statistics[2 * i] = (float)mean;
        statistics[2 * i + 1] = (float)rstd;
    }
}

void slad_reference_layer_norm_backward(float *dx, const float *dy, const float *statistics, const float *x,
                                        const float *gamma, bool accumulate, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++) {
        const float *x_row = x + i * columns, *dy_row = dy + i * columns;
        const double mean = statistics[2 * i], rstd = statistics[2 * i + 1];
        double mean_u = 0, mean_u_xhat = 0;
        for (size_t j = 0; j < columns; j++) {
            const double u = (double)dy_row[j] * gamma[j], xhat = (x_row[j] - mean) * rstd;
            mean_u += u;
            mean_u_xhat += u * xhat;
        }
        mean_u /= (double)columns;
        mean_u_xhat /= (double)columns;
        for (size_t j = 0; j < columns; j++) {
            const double u = (double)dy_row[j] * gamma[j], xhat = (x_row[j] - mean) * rstd;
            const double gradient = rstd * (u - mean_u - xhat * mean_u_xhat);
            float *target = dx + i * columns + j;
            *target = (float)(accumulate ? *target + gradient : gradient);
        }
    }
}

void slad_reference_layer_norm_parameters(float *dgamma, float *dbeta, const float *dy, const float *statistics,
                                          const float *x, size_t rows, size_t columns)
{
    for (size_t j = 0; j < columns; j++) {
        double of_gamma = 0, of_beta = 0;
        for (size_t i = 0; i < rows; i++) {
            const double mean = statistics[2 * i], rstd = statistics[2 * i + 1];
            of_gamma += (double)dy[i * columns + j] * ((x[i * columns + j] - mean) * rstd);
            of_beta += (double)dy[i * columns + j];
        }
        if (dgamma) dgamma[j] = (float)((double)dgamma[j] + of_gamma);
        if (dbeta) dbeta[j] = (float)((double)dbeta[j] + of_beta);
    }
}
