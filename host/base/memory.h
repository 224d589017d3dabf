/* Host memory. Every allocation of the library goes through here, so that sizes are checked for overflow and that the
 * fault-injection tests can make any one of them fail. */
#ifndef SLAD_BASE_MEMORY_H
#define SLAD_BASE_MEMORY_H

#include "base/error.h"
#include <stdarg.h>
#include <stddef.h>

/* NOLINTBEGIN(readability-identifier-naming): the two macros only add a cast, and are used like functions */

/* *out becomes count * size zeroed bytes (at least one), or NULL with SLAD_ERROR_OUT_OF_MEMORY and a message that
 * names `what`. Free with slad_release. Typical: SLAD_TRY(slad_allocate(context, &names, n, sizeof *names, "names")) */
#define slad_allocate(context, out, count, size, what)                                                                 \
    slad_allocate_bytes((context), (void **)(out), (count), (size), (what))
slad_status slad_allocate_bytes(slad_context *context, void **out, size_t count, size_t size, const char *what);

/* Grows *array to hold at least `needed` items: capacity doubles, new items are zero, old ones stay. */
#define slad_grow(context, array, capacity, needed, size, what)                                                        \
    slad_grow_bytes((context), (void **)(array), (capacity), (needed), (size), (what))
slad_status slad_grow_bytes(slad_context *context, void **array, size_t *capacity, size_t needed, size_t size,
                            const char *what);
/* NOLINTEND(readability-identifier-naming) */

/* A copy of text, owned by the caller. */
slad_status slad_duplicate(slad_context *context, char **out, const char *text);

/* A formatted string, owned by the caller. */
slad_status slad_format(slad_context *context, char **out, const char *format, ...) SLAD_PRINTF(3, 4);

/* The same with the arguments as a list, which is used up. */
slad_status slad_format_list(slad_context *context, char **out, const char *format, va_list arguments)
    SLAD_PRINTF(3, 0);

/* Frees what the above gave; NULL is allowed. */
void slad_release(const void *pointer);

/* Fault injection, for tests: after `countdown` further calls of slad_fault_due, that call answers true once; 0 turns
 * it off. Allocations and OpenCL calls ask. slad_fault_pending tells whether the armed fault has not yet struck. */
void slad_fault_arm(slad_context *context, uint64_t countdown);
bool slad_fault_due(slad_context *context);
bool slad_fault_pending(const slad_context *context);

#endif
