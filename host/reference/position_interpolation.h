/* A position table resized to another grid of patches, in plain C. Sums in double. */
#ifndef SLAD_REFERENCE_POSITION_INTERPOLATION_H
#define SLAD_REFERENCE_POSITION_INTERPOLATION_H

#include <stdbool.h>
#include <stddef.h>

typedef struct slad_reference_grids {
    size_t grid;          /* G: the table is [1 + G * G, width] */
    size_t rows, columns; /* the result is [1 + rows * columns, width] */
    size_t width;
} slad_reference_grids;

/* result[0] = table[0]; result[1 + y columns + x] = sum of down[y, i] across[x, j] table[1 + i G + j] over i and j.
 * down [rows, G], across [columns, G]. */
void slad_reference_position_interpolation(float *result, const float *table, const float *down, const float *across,
                                           const slad_reference_grids *sizes);

/* dtable[0] = dresult[0]; dtable[1 + i G + j] = sum of down[y, i] across[x, j] dresult[1 + y columns + x] over y and x.
 * accumulate: adds. */
void slad_reference_position_interpolation_backward(float *dtable, const float *dresult, const float *down,
                                                    const float *across, bool accumulate,
                                                    const slad_reference_grids *sizes);

#endif
