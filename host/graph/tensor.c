#include "graph/tensor.h"
#include <stdio.h>

size_t slad_tensor_elements(const slad_tensor *tensor)
{
    size_t elements = 1;
    for (unsigned i = 0; i < tensor->rank; i++) elements *= tensor->size[i];
    return elements;
}

size_t slad_tensor_columns(const slad_tensor *tensor)
{
    return tensor->rank ? tensor->size[tensor->rank - 1] : 1;
}

size_t slad_tensor_rows(const slad_tensor *tensor)
{
    size_t rows = 1;
    for (unsigned i = 0; i + 1 < tensor->rank; i++) rows *= tensor->size[i];
    return rows;
}

bool slad_tensor_is_contiguous(const slad_tensor *tensor)
{
    size_t expected = 1;
    for (unsigned i = tensor->rank; i-- > 0;) {
        if (tensor->size[i] != 1 && tensor->stride[i] != expected) return false;
        expected *= tensor->size[i];
    }
    return true;
}

void slad_tensor_shape_text(char *text, const slad_tensor *tensor)
{
    int used = snprintf(text, 96, "[");
    for (unsigned i = 0; i < tensor->rank; i++)
        used += snprintf(text + used, (size_t)(94 - used), i ? ", %zu" : "%zu", tensor->size[i]);
    snprintf(text + used, (size_t)(96 - used), "]");
}
