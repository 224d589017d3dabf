/* LayerNorm over rows, and its gradients. ROW_LANES work-items share a row; lane l takes the vectors
 * l, l + ROW_LANES, .. and, past the last whole vector, the same of the single columns that are left.
 *
 * The mean is exact to rounding even where it is large against the deviation: a first estimate is corrected by the mean
 * of the differences from it, which the second pass sums beside their squares (Chan, Golub and LeVeque, "Algorithms for
 * computing the sample variance", 1983). The row is small enough to stay in the nearest cache for all passes.
 *
 * No return comes before the last reduction (see common.h): a row that does not exist is worked as row 0 and not
 * written. */
#include "common.h"

/* Sums a (vector part, scalar part) pair over the row. */
#define ROW_TOTAL(vector_part, scalar_part) row_sum(horizontal_sum(vector_part) + (scalar_part), scratch)

/* Dimension 0: the lanes. Dimension 1: the row. statistics [rows, 2] receives mean and rstd. */
__kernel void layer_norm_forward(__global float *y, const uint y_offset, __global float *statistics,
                                 const uint statistics_offset, __global const float *x, const uint x_offset,
                                 __global const float *gamma, const uint gamma_offset, __global const float *beta,
                                 const uint beta_offset, const float epsilon, const uint rows, const uint columns)
{
    ROW_SCRATCH(scratch);
    const int exists = get_global_id(1) < rows;
    const uint row = exists ? (uint)get_global_id(1) : 0;
    x += x_offset + (size_t)row * columns;
    y += y_offset + (size_t)row * columns;
    gamma += gamma_offset;
    beta += beta_offset;
    const uint vectors = columns / VECTOR_WIDTH, rest = vectors * VECTOR_WIDTH;
    const float inverse_columns = 1.0f / (float)columns;

    floatv sum = (floatv)(0.0f);
    float rest_sum = 0.0f;
    for (uint i = ROW_LANE; i < vectors; i += ROW_LANES) sum += vloadv(i, x);
    for (uint j = rest + ROW_LANE; j < columns; j += ROW_LANES) rest_sum += x[j];
    const float estimate = ROW_TOTAL(sum, rest_sum) * inverse_columns;

    floatv squares = (floatv)(0.0f);
    float rest_squares = 0.0f;
    sum = (floatv)(0.0f);
    rest_sum = 0.0f;
    for (uint i = ROW_LANE; i < vectors; i += ROW_LANES) {
        const floatv difference = vloadv(i, x) - estimate;
        sum += difference;
        squares = multiply_add(difference, difference, squares);
    }
    for (uint j = rest + ROW_LANE; j < columns; j += ROW_LANES) {
        const float difference = x[j] - estimate;
        rest_sum += difference;
        rest_squares = multiply_add(difference, difference, rest_squares);
    }
    const float correction = ROW_TOTAL(sum, rest_sum) * inverse_columns;
    const float variance = ROW_TOTAL(squares, rest_squares) * inverse_columns - correction * correction;
    const float mean = estimate + correction;
    const float rstd = 1.0f / sqrt(fmax(variance, 0.0f) + epsilon);

    if (!exists) return;
    for (uint i = ROW_LANE; i < vectors; i += ROW_LANES)
        vstorev(multiply_add((vloadv(i, x) - mean) * rstd, vloadv(i, gamma), vloadv(i, beta)), i, y);
    for (uint j = rest + ROW_LANE; j < columns; j += ROW_LANES)
        y[j] = multiply_add((x[j] - mean) * rstd, gamma[j], beta[j]);
    if (ROW_LANE == 0) {
        statistics[statistics_offset + (size_t)row * 2] = mean;
        statistics[statistics_offset + (size_t)row * 2 + 1] = rstd;
    }
}

/* With u = dy gamma and xhat = (x - mean) rstd: dx = rstd (u - mean(u) - xhat mean(u xhat)), added to what dx holds if
 * accumulate is 1. Dimensions as above. */
__kernel void layer_norm_backward(__global float *dx, const uint dx_offset, __global const float *dy,
                                  const uint dy_offset, __global const float *statistics, const uint statistics_offset,
                                  __global const float *x, const uint x_offset, __global const float *gamma,
                                  const uint gamma_offset, const uint accumulate, const uint rows, const uint columns)
{
    ROW_SCRATCH(scratch);
    const int exists = get_global_id(1) < rows;
    const uint row = exists ? (uint)get_global_id(1) : 0;
    dx += dx_offset + (size_t)row * columns;
    dy += dy_offset + (size_t)row * columns;
    x += x_offset + (size_t)row * columns;
    gamma += gamma_offset;
    const float mean = statistics[statistics_offset + (size_t)row * 2];
    const float rstd = statistics[statistics_offset + (size_t)row * 2 + 1];
    const uint vectors = columns / VECTOR_WIDTH, rest = vectors * VECTOR_WIDTH;
    const float inverse_columns = 1.0f / (float)columns;

    floatv sum_u = (floatv)(0.0f), sum_u_xhat = (floatv)(0.0f);
    float rest_u = 0.0f, rest_u_xhat = 0.0f;
    for (uint i = ROW_LANE; i < vectors; i += ROW_LANES) {
        const floatv u = vloadv(i, dy) * vloadv(i, gamma);
        sum_u += u;
        sum_u_xhat = multiply_add(u, (vloadv(i, x) - mean) * rstd, sum_u_xhat);
    }
    for (uint j = rest + ROW_LANE; j < columns; j += ROW_LANES) {
        const float u = dy[j] * gamma[j];
        rest_u += u;
        rest_u_xhat = multiply_add(u, (x[j] - mean) * rstd, rest_u_xhat);
    }
    const float mean_u = ROW_TOTAL(sum_u, rest_u) * inverse_columns;
    const float mean_u_xhat = ROW_TOTAL(sum_u_xhat, rest_u_xhat) * inverse_columns;

    if (!exists) return;
    for (uint i = ROW_LANE; i < vectors; i += ROW_LANES) {
        const floatv xhat = (vloadv(i, x) - mean) * rstd;
        const floatv gradient = rstd * (vloadv(i, dy) * vloadv(i, gamma) - mean_u - xhat * mean_u_xhat);
        vstorev(accumulate ? vloadv(i, dx) + gradient : gradient, i, dx);
    }
    for (uint j = rest + ROW_LANE; j < columns; j += ROW_LANES) {
        const float xhat = (x[j] - mean) * rstd;
        const float gradient = rstd * (dy[j] * gamma[j] - mean_u - xhat * mean_u_xhat);
        dx[j] = accumulate ? dx[j] + gradient : gradient;
    }
}

/* The first stage of the gradients of gamma and beta: partial [chunks, 2, columns] receives the sums of dy xhat and of dy
 * over each chunk of `rows_per_chunk` rows. Dimension 0: vectors of columns. Dimension 1: chunk. */
__kernel void layer_norm_parameters(__global float *partial, const uint partial_offset, __global const float *dy,
                                    const uint dy_offset, __global const float *statistics,
                                    const uint statistics_offset, __global const float *x, const uint x_offset,
                                    const uint rows, const uint columns, const uint rows_per_chunk)
{
    const uint column = (uint)get_global_id(0) * VECTOR_WIDTH, chunk = get_global_id(1);
    const uint first_row = chunk * rows_per_chunk;
    if (column >= columns || first_row >= rows) return;
    const uint count = min(rows_per_chunk, rows - first_row);
    dy += dy_offset + (size_t)first_row * columns;
    x += x_offset + (size_t)first_row * columns;
    statistics += statistics_offset + (size_t)first_row * 2;
    partial += partial_offset + (size_t)chunk * 2 * columns;
    if (column + VECTOR_WIDTH <= columns) {
        floatv of_gamma = (floatv)(0.0f), of_beta = (floatv)(0.0f);
        for (uint i = 0; i < count; i++) {
            const floatv gradient = vloadv(0, dy + (size_t)i * columns + column);
            const floatv xhat =
                (vloadv(0, x + (size_t)i * columns + column) - statistics[2 * i]) * statistics[2 * i + 1];
            of_gamma = multiply_add(gradient, xhat, of_gamma);
            of_beta += gradient;
        }
        vstorev(of_gamma, 0, partial + column);
        vstorev(of_beta, 0, partial + columns + column);
        return;
    }
    for (uint j = column; j < columns; j++) {
        float of_gamma = 0.0f, of_beta = 0.0f;
        for (uint i = 0; i < count; i++) {
            const float gradient = dy[(size_t)i * columns + j];
            const float xhat = (x[(size_t)i * columns + j] - statistics[2 * i]) * statistics[2 * i + 1];
            of_gamma = multiply_add(gradient, xhat, of_gamma);
            of_beta += gradient;
        }
        partial[j] = of_gamma;
        partial[columns + j] = of_beta;
    }
}
