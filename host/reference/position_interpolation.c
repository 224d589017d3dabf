#include "reference/position_interpolation.h"

/* A matrix of one axis, perhaps read transposed: `count` weights from source places to place n. */
typedef struct axis {
    const float *matrix;
    size_t n_stride, k_stride, count;
} axis;

/* One element: over source [down.count, across.count, width] seen from its column d, at place (y, x). */
static double interpolate(const float *source, const axis *down, const axis *across, size_t y, size_t x, size_t width)
{
    double sum = 0;
    for (size_t i = 0; i < down->count; i++) {
        const double weight = down->matrix[y * down->n_stride + i * down->k_stride];
        for (size_t j = 0; weight != 0 && j < across->count; j++)
            sum += weight * (double)across->matrix[x * across->n_stride + j * across->k_stride] *
                   (double)source[(i * across->count + j) * width];
    }
    return sum;
}

void slad_reference_position_interpolation(float *result, const float *table, const float *down, const float *across,
                                           const slad_reference_grids *sizes)
{
    const size_t width = sizes->width;
    const axis rows = {down, sizes->grid, 1, sizes->grid}, columns = {across, sizes->grid, 1, sizes->grid};
    for (size_t d = 0; d < width; d++) {
        result[d] = table[d];
        for (size_t y = 0; y < sizes->rows; y++)
            for (size_t x = 0; x < sizes->columns; x++)
                result[(1 + y * sizes->columns + x) * width + d] =
                    (float)interpolate(table + width + d, &rows, &columns, y, x, width);
    }
}

void slad_reference_position_interpolation_backward(float *dtable, const float *dresult, const float *down,
                                                    const float *across, bool accumulate,
                                                    const slad_reference_grids *sizes)
{
    const size_t width = sizes->width, grid = sizes->grid;
    const axis rows = {down, 1, grid, sizes->rows}, columns = {across, 1, grid, sizes->columns};
    for (size_t d = 0; d < width; d++) {
        dtable[d] = accumulate ? dtable[d] + dresult[d] : dresult[d];
        for (size_t i = 0; i < grid; i++) {
            for (size_t j = 0; j < grid; j++) {
                float *target = dtable + (1 + i * grid + j) * width + d;
                const double gradient = interpolate(dresult + width + d, &rows, &columns, i, j, width);
                *target = (float)(accumulate ? *target + gradient : gradient);
            }
        }
    }
}
