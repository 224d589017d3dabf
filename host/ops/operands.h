/* What several operations share. Each check returns false on a record that has failed, after making it
 * fail where the operand does not fit. `operation` is a name for the message. */
#ifndef SLAD_OPS_OPERANDS_H
#define SLAD_OPS_OPERANDS_H

#include "graph/launcher.h"

/* An operand that must be there, contiguous and of floats: of `rank` sizes, or, with rank 0, of at least one. */
bool slad_check_operand(slad_record *record, const char *operation, const slad_tensor *tensor, unsigned rank);

/* The same, of the sizes of `like`. */
bool slad_check_same_size(slad_record *record, const char *operation, const slad_tensor *tensor,
                          const slad_tensor *like);

/* The same, of rows x columns elements in whatever leading sizes. */
bool slad_check_matrix(slad_record *record, const char *operation, const slad_tensor *tensor, size_t rows,
                       size_t columns);

/* The same of a parameter of the model whose gradient is only ever added to: a trained one must lie in the store. */
bool slad_check_parameter(slad_record *record, const char *operation, const slad_tensor *tensor, size_t rows,
                          size_t columns);

/* One work-item a vector of the device's width, the last perhaps partial. */
slad_work slad_work_of_vectors(const slad_launcher *launcher, size_t elements);

#endif
