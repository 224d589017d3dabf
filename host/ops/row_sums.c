#include "ops/row_sums.h"
#include "ops/kernel_table.h"
#include "ops/linear_internal.h"

slad_row_chunks slad_cut_rows(size_t rows, size_t most_chunks)
{
    size_t wanted = rows / 8 < 256 ? rows / 8 : 256;
    if (wanted < 32) wanted = 32;
    if (wanted * most_chunks < rows) wanted = (rows + most_chunks - 1) / most_chunks;
    const size_t rows_per_chunk = (wanted + 7) / 8 * 8;
    return (slad_row_chunks){rows_per_chunk, (rows + rows_per_chunk - 1) / rows_per_chunk};
}

slad_status slad_launch_column_reduction(slad_launcher *launcher, const slad_tensor *target, const slad_tensor *partial,
                                         size_t chunks, size_t plane, size_t planes)
{
    const size_t columns = slad_tensor_elements(target);
    slad_tensor first = *partial;
    first.offset += plane * columns;
    /* One row of one block; a chunk's planes count as the rows that lie between it and the next chunk. */
    const slad_operand arguments[] = {
        SLAD_TENSOR(target), SLAD_TENSOR(&first), SLAD_UINT(chunks),  SLAD_UINT(planes), SLAD_UINT(1),
        SLAD_UINT(columns),  SLAD_UINT(1),        SLAD_UINT(columns), SLAD_UINT(1),      SLAD_UINT(columns),
    };
    return slad_launch_kernel(launcher, &slad_linear_kernels[SLAD_LINEAR_REDUCE], "", arguments,
                              sizeof arguments / sizeof *arguments,
                              (slad_work){.items = {columns, 1, 1}, .split_axis = 0});
}
