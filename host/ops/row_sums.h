/* Sums over the rows of activations, which are gradients of parameters, in two stages: a kernel leaves a plane of
 * partial sums for each chunk of rows, then the planes are added to the gradient in their order. */
#ifndef SLAD_OPS_ROW_SUMS_H
#define SLAD_OPS_ROW_SUMS_H

#include "graph/launcher.h"

/* How the sum is cut. Depends on sizes only, so that a result does not depend on the device's compute units. */
typedef struct slad_row_chunks {
    size_t rows_per_chunk, count;
} slad_row_chunks;

#define SLAD_MOST_ROW_CHUNKS 64

/* At most 256 rows a chunk (their partial sums cost little then), fewer where there are few rows, and never more than
 * most_chunks (1 to SLAD_MOST_ROW_CHUNKS) chunks. */
slad_row_chunks slad_cut_rows(size_t rows, size_t most_chunks);

/* The second stage for a vector: target [columns] += the sum over the chunks of partial[chunk, plane, columns], where
 * each chunk left `planes` of them. */
slad_status slad_launch_column_reduction(slad_launcher *launcher, const slad_tensor *target, const slad_tensor *partial,
                                         size_t chunks, size_t plane, size_t planes);

#endif
