/* JSON through cJSON, with the checks that files from outside need. */
#ifndef SLAD_BASE_JSON_H
#define SLAD_BASE_JSON_H

#include "base/error.h"
#include <cjson/cJSON.h>
#include <stddef.h>

/* Parses `size` bytes that must be one JSON object and nothing else, without duplicate keys at any depth, in valid
 * UTF-8. `origin` names the file in messages. *out is freed by cJSON_Delete. Errors: SLAD_ERROR_DATA. */
slad_status slad_json_parse(slad_context *context, cJSON **out, const char *bytes, size_t size, const char *origin);
/* The same, but numbers stay the text they are in the file (cJSON_Raw), for writing them back unchanged: readers in
 * Python tell 1.0 from 1. */
slad_status slad_json_parse_verbatim(slad_context *context, cJSON **out, const char *bytes, size_t size,
                                     const char *origin);
/* slad_json_parse for a file of at most 16 MiB. */
slad_status slad_json_read(slad_context *context, cJSON **out, const char *path);
/* Writes indented JSON and a newline, atomically. */
slad_status slad_json_write(slad_context *context, const char *path, const cJSON *json);

/* A field of an object. `required`: a missing one is a DATA error that names field and origin; otherwise *out keeps
 * its value. A field of the wrong type, not whole, or outside [low, high] is always an error. */
slad_status slad_json_get_integer(slad_context *context, int64_t *out, const cJSON *object, const char *field,
                                  bool required, int64_t low, int64_t high, const char *origin);
slad_status slad_json_get_number(slad_context *context, double *out, const cJSON *object, const char *field,
                                 bool required, double low, double high, const char *origin);
slad_status slad_json_get_boolean(slad_context *context, bool *out, const cJSON *object, const char *field,
                                  bool required, const char *origin);
/* *out points into the object. */
slad_status slad_json_get_string(slad_context *context, const char **out, const cJSON *object, const char *field,
                                 bool required, const char *origin);

#endif
