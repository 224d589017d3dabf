/* A strict check of JSON text (RFC 8259), because cJSON lets through what other programs refuse or read differently:
 * leading zeros, raw control characters, text behind a NUL. */
#ifndef SLAD_BASE_JSON_SCAN_H
#define SLAD_BASE_JSON_SCAN_H

#include "base/error.h"
#include <stddef.h>

/* Checks that `bytes` is one JSON object in valid UTF-8 and nothing else but white space, nested at most 64 deep, with
 * at most four million values, no NUL (raw or escaped) and no number longer than cJSON reads. `whole_numbers`: every
 * number must be a row of digits, as in the header of a safetensors file. Errors: SLAD_ERROR_DATA naming `origin`, the
 * byte and what is wrong there. */
slad_status slad_json_scan(slad_context *context, const char *bytes, size_t size, bool whole_numbers,
                           const char *origin);

/* Bytes of the character that the text begins with, its NUL counted as one; 0 where it is not UTF-8. */
size_t slad_utf8_size(const char *text);
/* Whether the text is valid UTF-8. */
bool slad_text_is_utf8(const char *text);
/* Whether the text is more than the ending, and ends with it. */
bool slad_text_ends_with(const char *text, const char *ending);
/* The order of two texts by their bytes, for qsort and bsearch of arrays of them. */
int slad_text_compare(const void *left, const void *right);
/* A copy with U+FFFD for each byte that is not UTF-8, owned by the caller. */
slad_status slad_text_repair(slad_context *context, char **out, const char *text);

#endif
