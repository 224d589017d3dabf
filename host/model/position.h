/* Position tables resized to another grid of patches. */
#ifndef SLAD_MODEL_POSITION_H
#define SLAD_MODEL_POSITION_H

#include "base/error.h"
#include "slad/model.h"

/* result [1 + rows * columns, width] from table [1 + grid * grid, width]: the first row as it is, the others seen as a
 * grid x grid image of vectors and resized to rows x columns (method.md section 6.4). Copied when the grid is the same.
 */
slad_status slad_position_resize(slad_context *context, float *result, const float *table, size_t grid, size_t rows,
                                 size_t columns, size_t width, slad_position_mode mode);

/* The same as products (slad_position_interpolation of ops/operations.h): matrix [patches, grid] receives the weights
 * with which the `grid` places of one axis of the table make `patches` places. Both axes follow one rule. Where both
 * have `grid` patches, no owner resizes; where one has, some do. */
slad_status slad_position_matrix(slad_context *context, float *matrix, size_t grid, size_t patches,
                                 slad_position_mode mode);

#endif
