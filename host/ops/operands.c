#include "ops/operands.h"
#include <string.h>

bool slad_check_operand(slad_record *record, const char *operation, const slad_tensor *tensor, unsigned rank)
{
    if (slad_record_status(record) != SLAD_OK) return false;
    if (!tensor) return slad_record_fail(record, SLAD_ERROR_INTERNAL, "%s was not given all its inputs", operation);
    char shape[96];
    slad_tensor_shape_text(shape, tensor);
    if (tensor->element != SLAD_F32 || !slad_tensor_is_contiguous(tensor))
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "%s: %s %s must be contiguous and hold floats", operation,
                                tensor->name, shape);
    if (rank ? tensor->rank != rank : tensor->rank == 0)
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "%s: %s %s must have %u sizes%s", operation, tensor->name,
                                shape, rank ? rank : 1, rank ? "" : " or more");
    return true;
}

bool slad_check_same_size(slad_record *record, const char *operation, const slad_tensor *tensor,
                          const slad_tensor *like)
{
    if (!slad_check_operand(record, operation, tensor, 0) || !slad_check_operand(record, operation, like, 0))
        return false;
    if (tensor->rank == like->rank && memcmp(tensor->size, like->size, sizeof tensor->size) == 0) return true;
    char shape[96], like_shape[96];
    slad_tensor_shape_text(shape, tensor);
    slad_tensor_shape_text(like_shape, like);
    return slad_record_fail(record, SLAD_ERROR_INTERNAL, "%s: %s %s does not fit %s %s", operation, tensor->name, shape,
                            like->name, like_shape);
}

bool slad_check_matrix(slad_record *record, const char *operation, const slad_tensor *tensor, size_t rows,
                       size_t columns)
{
    if (!slad_check_operand(record, operation, tensor, 0)) return false;
    if (slad_tensor_rows(tensor) == rows && slad_tensor_columns(tensor) == columns) return true;
    char shape[96];
    slad_tensor_shape_text(shape, tensor);
    return slad_record_fail(record, SLAD_ERROR_INTERNAL, "%s: %s %s must be of %zu x %zu", operation, tensor->name,
                            shape, rows, columns);
}

bool slad_check_parameter(slad_record *record, const char *operation, const slad_tensor *tensor, size_t rows,
                          size_t columns)
{
    if (!slad_check_operand(record, operation, tensor, 0)) return false;
    if (tensor->needs_gradient && tensor->slab->kind != SLAD_SLAB_TRAINED)
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "%s: trained %s must lie in the store", operation,
                                tensor->name);
    return slad_check_matrix(record, operation, tensor, rows, columns);
}

slad_work slad_work_of_vectors(const slad_launcher *launcher, size_t elements)
{
    const size_t width = slad_launcher_features(launcher)->vector_width;
    return (slad_work){.items = {(elements + width - 1) / width, 1, 1}, .split_axis = 0};
}
