/* FNV-1a, 64 bits: names of cache files and fingerprints of data sets. Never the only guard: who looks something up by
 * such a hash compares the full key behind it. */
#ifndef SLAD_BASE_HASH_H
#define SLAD_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define SLAD_HASH_START 0xcbf29ce484222325u
/* The hash of what `hash` already covers followed by these bytes. */
uint64_t slad_hash_bytes(uint64_t hash, const void *bytes, size_t count);
uint64_t slad_hash_text(uint64_t hash, const char *text);

#endif
