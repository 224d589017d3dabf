/* The memory of stb's libraries, which have no place for a context: that of base, without fault injection. To be
 * included by the one file that holds such a library. */
#ifndef SLAD_DATA_STB_MEMORY_H
#define SLAD_DATA_STB_MEMORY_H

#include "base/memory.h"
#include <string.h>

static inline void *stb_allocate(size_t size)
{
    void *memory = NULL;
    return slad_allocate(NULL, &memory, size, 1, "an image") == SLAD_OK ? memory : NULL;
}

static inline void *stb_reallocate(void *old, size_t old_size, size_t size)
{
    void *memory = stb_allocate(size);
    if (memory && old) {
        memcpy(memory, old, old_size < size ? old_size : size);
        slad_release(old);
    }
    return memory;
}

#endif
