/* Checked allocation. */
#include "base/memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

slad_status slad_allocate_bytes(slad_context *context, void **out, size_t count, size_t size, const char *what)
{
    slad_status status = SLAD_OK;
    *out = NULL;
    SLAD_FAIL_IF(size != 0 && count > SIZE_MAX / size, SLAD_ERROR_OUT_OF_MEMORY,
                 "%s: %zu items of %zu bytes are more than this machine can address", what, count, size);
    const size_t bytes = count * size;
    void *memory = slad_fault_due(context) ? NULL : calloc(bytes > 0 ? bytes : 1, 1);
    SLAD_FAIL_IF(!memory, SLAD_ERROR_OUT_OF_MEMORY,
                 "%s: no host memory for %zu bytes; close other programs or use a smaller batch, image or model", what,
                 bytes);
    *out = memory;
cleanup:
    return status;
}

slad_status slad_grow_bytes(slad_context *context, void **array, size_t *capacity, size_t needed, size_t size,
                            const char *what)
{
    slad_status status = SLAD_OK;
    if (needed <= *capacity) return SLAD_OK;
    size_t wanted = *capacity > SIZE_MAX / 2 ? SIZE_MAX : *capacity * 2;
    if (wanted < needed) wanted = needed;
    void *grown = NULL;
    SLAD_TRY(slad_allocate_bytes(context, &grown, wanted, size, what));
    if (*capacity > 0) memcpy(grown, *array, *capacity * size);
    free(*array);
    *array = grown;
    *capacity = wanted;
cleanup:
    return status;
}

slad_status slad_duplicate(slad_context *context, char **out, const char *text)
{
    const size_t size = strlen(text) + 1;
    const slad_status status = slad_allocate(context, out, size, 1, "a copy of a text");
    if (status == SLAD_OK) memcpy(*out, text, size);
    return status;
}

/* NOLINTBEGIN(clang-analyzer-valist.Uninitialized): the callers start the list, the analyzer loses that on the way */
slad_status slad_format_list(slad_context *context, char **out, const char *format, va_list arguments)
{
    slad_status status = SLAD_OK;
    *out = NULL;
    va_list measured;
    va_copy(measured, arguments);
    const int length = vsnprintf(NULL, 0, format, measured);
    va_end(measured);
    SLAD_FAIL_IF(length < 0, SLAD_ERROR_INTERNAL, "the text \"%s\" cannot be formatted; please report it", format);
    SLAD_TRY(slad_allocate(context, out, (size_t)length + 1, 1, "a formatted text"));
    (void)vsnprintf(*out, (size_t)length + 1, format, arguments);
cleanup:
    return status;
}
/* NOLINTEND(clang-analyzer-valist.Uninitialized) */

slad_status slad_format(slad_context *context, char **out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const slad_status status = slad_format_list(context, out, format, arguments);
    va_end(arguments);
    return status;
}

void slad_release(const void *pointer)
{
    free((void *)pointer); /* who owns a text may keep it const */
}

void slad_text_free(char *text)
{
    slad_release(text);
}
