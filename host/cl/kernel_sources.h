/* The kernel sources that travel inside the library; the array is generated when it is built. */
#ifndef SLAD_CL_KERNEL_SOURCES_H
#define SLAD_CL_KERNEL_SOURCES_H

#include <stddef.h>

typedef struct slad_kernel_source {
    const char *name; /* "attention.cl" */
    const char *text; /* NUL behind it */
    size_t size;
} slad_kernel_source;

extern const slad_kernel_source slad_kernel_sources[]; /* sorted by name; ends with a NULL name */
extern const size_t slad_kernel_source_count;

#endif
