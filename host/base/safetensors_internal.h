/* What the files that implement safetensors.h share. */
#ifndef SLAD_BASE_SAFETENSORS_INTERNAL_H
#define SLAD_BASE_SAFETENSORS_INTERNAL_H

#include "base/files.h"
#include "base/safetensors.h"
#include <cjson/cJSON.h>

struct slad_safetensors {
    slad_file *input;
    cJSON *header;            /* owns the names */
    slad_safetensor *tensors; /* sorted by name */
    size_t count;
    uint64_t *shapes; /* of all tensors, one behind the other */
};

/* A number of `bytes` bytes, at most eight, least significant first. */
static inline uint64_t slad_load_little(const unsigned char *source, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) value |= (uint64_t)source[i] << (8 * i);
    return value;
}

static inline void slad_store_little(unsigned char *destination, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) destination[i] = (unsigned char)(value >> (8 * i));
}

#endif
