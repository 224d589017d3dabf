/* The safetensors format: 8 bytes of header length (little endian), a JSON header, then the raw little-endian row-major
 * data of all tensors without holes. Files are treated as hostile: every rule of the format is checked when one is
 * opened, and nothing is believed that was not checked. Format: the README of the safetensors library, "Format". */
#ifndef SLAD_BASE_SAFETENSORS_H
#define SLAD_BASE_SAFETENSORS_H

#include "base/error.h"
#include <stddef.h>

typedef enum slad_safetensors_type {
    SLAD_SAFETENSORS_F32,
    SLAD_SAFETENSORS_F16,
    SLAD_SAFETENSORS_BF16,
    SLAD_SAFETENSORS_I64,
    SLAD_SAFETENSORS_I32,
    SLAD_SAFETENSORS_OTHER /* a type of the format that slad lists but does not read */
} slad_safetensors_type;

typedef struct slad_safetensor {
    const char *name;
    const char *type_name; /* as in the file, for example "BF16" */
    slad_safetensors_type type;
    size_t rank; /* 0: a scalar */
    const uint64_t *shape;
    uint64_t elements; /* product of shape; may be 0 */
    uint64_t offset;   /* of the first byte, from the start of the file */
    uint64_t bytes;
} slad_safetensor;

/* An open file. Strings and shapes of its tensors are valid until it is closed. */
typedef struct slad_safetensors slad_safetensors;

/* Opens and checks a file. Errors: SLAD_ERROR_DATA naming the file and, where there is one, the tensor;
 * SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_safetensors_open(slad_context *context, slad_safetensors **file, const char *path);
/* NULL is allowed. */
void slad_safetensors_close(slad_safetensors *file);
const char *slad_safetensors_path(const slad_safetensors *file);

/* The tensors, sorted by name in byte order. */
size_t slad_safetensors_count(const slad_safetensors *file);
const slad_safetensor *slad_safetensors_at(const slad_safetensors *file, size_t index);
/* NULL if there is none of that name. */
const slad_safetensor *slad_safetensors_find(const slad_safetensors *file, const char *name);
/* A value of "__metadata__", NULL if absent. */
const char *slad_safetensors_metadata(const slad_safetensors *file, const char *key);

/* Reads elements first .. first+count-1 in row-major order, converting F16 and BF16 to float. `tensor` belongs to
 * `file`. Only a small buffer is used besides the destination. Safe from several threads at once. Errors:
 * SLAD_ERROR_DATA if the type is not F32, F16 or BF16, the range exceeds the tensor, or the file shrank. */
slad_status slad_safetensors_read_float(slad_context *context, float *destination, const slad_safetensors *file,
                                        const slad_safetensor *tensor, uint64_t first, uint64_t count);
/* The same for I64 and I32 values, which must lie in low .. high (SLAD_ERROR_DATA naming the element otherwise). */
slad_status slad_safetensors_read_int32(slad_context *context, int32_t *destination, const slad_safetensors *file,
                                        const slad_safetensor *tensor, uint64_t first, uint64_t count, int32_t low,
                                        int32_t high);

/* "[2, 3, 4]", for messages; text has room for `size` bytes and is cut with "...]" where that is too little. */
void slad_safetensors_shape_text(char *text, size_t size, const uint64_t *shape, size_t rank);

/* A tensor to be written. Only F32 and I64 are written. */
typedef struct slad_safetensors_entry {
    const char *name;
    slad_safetensors_type type;
    size_t rank;
    const uint64_t *shape;
    const void *data; /* only slad_safetensors_write looks at it */
} slad_safetensors_entry;

typedef struct slad_safetensors_pair {
    const char *key;
    const char *value;
} slad_safetensors_pair;

/* Writes a file atomically (see slad_writer). The header is written by begin; the tensors follow in the file's order,
 * wider types first and then by name: slad_safetensors_writer_order gives the index in `entries` of the tensor at
 * each position. "__metadata__" gets "format":"pt", which Hugging Face libraries ask for, then the given pairs.
 * Names are copied. Errors of all: SLAD_ERROR_WRITE with path and reason; SLAD_ERROR_INTERNAL for a duplicate name,
 * a type that is not written, or data that does not fit the announced sizes. */
typedef struct slad_safetensors_writer slad_safetensors_writer;
slad_status slad_safetensors_writer_begin(slad_context *context, slad_safetensors_writer **writer, const char *path,
                                          const slad_safetensors_entry *entries, size_t entry_count,
                                          const slad_safetensors_pair *metadata, size_t metadata_count);
size_t slad_safetensors_writer_order(const slad_safetensors_writer *writer, size_t position);
/* Appends `elements` elements of the tensor entries[entry], which must be the one whose turn it is. */
slad_status slad_safetensors_writer_append(slad_safetensors_writer *writer, size_t entry, const void *data,
                                           uint64_t elements);
/* Puts elements first .. first+elements-1 of the tensor entries[entry] into their place, in any order, for tensors that
 * grow side by side. A file is written either by append or by put; with put each element is to be given once. */
slad_status slad_safetensors_writer_put(slad_safetensors_writer *writer, size_t entry, uint64_t first, const void *data,
                                        uint64_t elements);
/* finish and abandon free the writer, whatever they return; abandon allows NULL. */
slad_status slad_safetensors_writer_finish(slad_safetensors_writer *writer);
void slad_safetensors_writer_abandon(slad_safetensors_writer *writer);

/* All in one: entries[i].data holds the whole tensor. */
slad_status slad_safetensors_write(slad_context *context, const char *path, const slad_safetensors_entry *entries,
                                   size_t entry_count, const slad_safetensors_pair *metadata, size_t metadata_count);

#endif
