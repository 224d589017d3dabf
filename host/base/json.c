/* Reading and writing JSON files. */
#include "base/json.h"
#include "base/files.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 16 << 20 };

/* Whole numbers up to here are exact in a double, which is how cJSON keeps them. */
static const double exact_limit = 9007199254740992.0; /* 2^53 */

/* Two values under one key are an attack or an accident: programs differ in which of them they take. */
static slad_status refuse_duplicates(slad_context *context, const cJSON *value, const char *origin)
{
    slad_status status = SLAD_OK;
    const char **keys = NULL;
    size_t count = 0;
    const cJSON *child = NULL;
    cJSON_ArrayForEach(child, value)
    {
        if (cJSON_IsArray(child) || cJSON_IsObject(child)) SLAD_TRY(refuse_duplicates(context, child, origin));
        count++;
    }
    if (!cJSON_IsObject(value) || count < 2) goto cleanup;
    SLAD_TRY(slad_allocate(context, &keys, count, sizeof *keys, "the keys of a JSON object"));
    count = 0;
    cJSON_ArrayForEach(child, value) keys[count++] = child->string;
    qsort(keys, count, sizeof *keys, slad_text_compare);
    for (size_t i = 1; i < count; i++) {
        SLAD_FAIL_IF(strcmp(keys[i - 1], keys[i]) == 0, SLAD_ERROR_DATA,
                     "%s: the key \"%s\" stands twice in one object; remove one", origin, keys[i]);
    }
cleanup:
    slad_release((void *)keys);
    return status;
}

slad_status slad_json_parse(slad_context *context, cJSON **out, const char *bytes, size_t size, const char *origin)
{
    slad_status status = SLAD_OK;
    cJSON *json = NULL;
    *out = NULL;
    SLAD_TRY(slad_json_scan(context, bytes, size, false, origin));
    /* The text is valid and within cJSON's own limits, so that only memory can be missing. */
    json = slad_fault_due(context) ? NULL : cJSON_ParseWithLength(bytes, size);
    SLAD_FAIL_IF(!json, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory for its %zu bytes of JSON", origin, size);
    SLAD_TRY(refuse_duplicates(context, json, origin));
    *out = json;
    json = NULL;
cleanup:
    cJSON_Delete(json);
    return status;
}

/* The next number in valid JSON text from *at on, which *at then stands behind. There must be one. */
static const char *next_number(const char *bytes, size_t *at)
{
    bool in_string = false;
    for (; in_string || !(bytes[*at] == '-' || (bytes[*at] >= '0' && bytes[*at] <= '9')); ++*at) {
        if (bytes[*at] == '"')
            in_string = !in_string;
        else if (in_string && bytes[*at] == '\\')
            ++*at;
    }
    const char *start = bytes + *at;
    *at += strspn(start, "+-.0123456789eE");
    return start;
}

/* Replaces the numbers below `value` by their text. They come in the same order in the tree and in the text. */
static slad_status keep_numbers(slad_context *context, cJSON *value, const char *bytes, size_t *at, const char *origin)
{
    slad_status status = SLAD_OK;
    for (cJSON *child = value->child; child; child = child->next) {
        SLAD_TRY(keep_numbers(context, child, bytes, at, origin));
        if (!cJSON_IsNumber(child)) continue;
        const char *start = next_number(bytes, at);
        const size_t length = (size_t)(bytes + *at - start);
        char *text = slad_fault_due(context) ? NULL : cJSON_malloc(length + 1);
        SLAD_FAIL_IF(!text, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory for its JSON", origin);
        memcpy(text, start, length);
        text[length] = '\0';
        child->valuestring = text;
        child->type = cJSON_Raw | (child->type & cJSON_StringIsConst);
    }
cleanup:
    return status;
}

slad_status slad_json_parse_verbatim(slad_context *context, cJSON **out, const char *bytes, size_t size,
                                     const char *origin)
{
    slad_status status = SLAD_OK;
    cJSON *json = NULL;
    size_t at = 0;
    *out = NULL;
    SLAD_TRY(slad_json_parse(context, &json, bytes, size, origin));
    SLAD_TRY(keep_numbers(context, json, bytes, &at, origin));
    *out = json;
    json = NULL;
cleanup:
    cJSON_Delete(json);
    return status;
}

slad_status slad_json_read(slad_context *context, cJSON **out, const char *path)
{
    slad_status status = SLAD_OK;
    char *bytes = NULL;
    size_t size = 0;
    *out = NULL;
    SLAD_TRY(slad_file_read_all(context, &bytes, &size, path, FILE_LIMIT));
    SLAD_TRY(slad_json_parse(context, out, bytes, size, path));
cleanup:
    slad_release(bytes);
    return status;
}

slad_status slad_json_write(slad_context *context, const char *path, const cJSON *json)
{
    slad_status status = SLAD_OK;
    slad_writer *writer = NULL;
    char *text = slad_fault_due(context) ? NULL : cJSON_Print(json);
    SLAD_FAIL_IF(!text, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory for the JSON text", path);
    SLAD_TRY(slad_writer_open(context, &writer, path));
    (void)slad_writer_write(writer, text, strlen(text)); /* finish repeats an error of these two */
    (void)slad_writer_write(writer, "\n", 1);
    status = slad_writer_finish(writer);
cleanup:
    cJSON_free(text);
    return status;
}

/* *out becomes the field, NULL where an optional one is missing. */
static slad_status find_field(slad_context *context, const cJSON **out, const cJSON *object, const char *field,
                              bool required, const char *origin)
{
    slad_status status = SLAD_OK;
    *out = cJSON_GetObjectItemCaseSensitive(object, field);
    SLAD_FAIL_IF(!*out && required, SLAD_ERROR_DATA, "%s: the field \"%s\" is missing", origin, field);
cleanup:
    return status;
}

slad_status slad_json_get_number(slad_context *context, double *out, const cJSON *object, const char *field,
                                 bool required, double low, double high, const char *origin)
{
    slad_status status = SLAD_OK;
    const cJSON *value = NULL;
    SLAD_TRY(find_field(context, &value, object, field, required, origin));
    if (!value) return SLAD_OK;
    SLAD_FAIL_IF(!cJSON_IsNumber(value), SLAD_ERROR_DATA, "%s: \"%s\" must be a number", origin, field);
    SLAD_FAIL_IF(!(value->valuedouble >= low && value->valuedouble <= high), SLAD_ERROR_DATA,
                 "%s: \"%s\" is %.10g, but must lie in %.10g .. %.10g", origin, field, value->valuedouble, low, high);
    *out = value->valuedouble;
cleanup:
    return status;
}

slad_status slad_json_get_integer(slad_context *context, int64_t *out, const cJSON *object, const char *field,
                                  bool required, int64_t low, int64_t high, const char *origin)
{
    slad_status status = SLAD_OK;
    const cJSON *value = NULL;
    SLAD_TRY(find_field(context, &value, object, field, required, origin));
    if (!value) return SLAD_OK;
    SLAD_FAIL_IF(!cJSON_IsNumber(value), SLAD_ERROR_DATA, "%s: \"%s\" must be a whole number", origin, field);
    const double number = value->valuedouble;
    SLAD_FAIL_IF(!(fabs(number) <= exact_limit) || floor(number) != number, SLAD_ERROR_DATA,
                 "%s: \"%s\" is %.17g, but must be a whole number of at most 2^53", origin, field, number);
    const int64_t whole = (int64_t)number;
    SLAD_FAIL_IF(whole < low || whole > high, SLAD_ERROR_DATA, "%s: \"%s\" is %lld, but must lie in %lld .. %lld",
                 origin, field, (long long)whole, (long long)low, (long long)high);
    *out = whole;
cleanup:
    return status;
}

slad_status slad_json_get_boolean(slad_context *context, bool *out, const cJSON *object, const char *field,
                                  bool required, const char *origin)
{
    slad_status status = SLAD_OK;
    const cJSON *value = NULL;
    SLAD_TRY(find_field(context, &value, object, field, required, origin));
    if (!value) return SLAD_OK;
    SLAD_FAIL_IF(!cJSON_IsBool(value), SLAD_ERROR_DATA, "%s: \"%s\" must be true or false", origin, field);
    *out = cJSON_IsTrue(value) != 0;
cleanup:
    return status;
}

slad_status slad_json_get_string(slad_context *context, const char **out, const cJSON *object, const char *field,
                                 bool required, const char *origin)
{
    slad_status status = SLAD_OK;
    const cJSON *value = NULL;
    SLAD_TRY(find_field(context, &value, object, field, required, origin));
    if (!value) return SLAD_OK;
    SLAD_FAIL_IF(!cJSON_IsString(value), SLAD_ERROR_DATA, "%s: \"%s\" must be a string", origin, field);
    *out = value->valuestring;
cleanup:
    return status;
}
