/* Opening and checking safetensors files, and looking at what is in them. Reading values: safetensors_read.c. */
#include "base/safetensors.h"
#include "base/files.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/memory.h"
#include "base/safetensors_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The reference implementation refuses larger headers too. */
static const uint64_t header_limit = 100000000;
/* Numbers above are not exact in cJSON; no file is that large. */
static const double number_limit = 9007199254740992.0; /* 2^53 */

static const struct {
    const char *name;
    unsigned bits;
    slad_safetensors_type type;
} known_types[] = {
    {"F32", 32, SLAD_SAFETENSORS_F32},          {"F16", 16, SLAD_SAFETENSORS_F16},
    {"BF16", 16, SLAD_SAFETENSORS_BF16},        {"I64", 64, SLAD_SAFETENSORS_I64},
    {"I32", 32, SLAD_SAFETENSORS_I32},          {"BOOL", 8, SLAD_SAFETENSORS_OTHER},
    {"U8", 8, SLAD_SAFETENSORS_OTHER},          {"I8", 8, SLAD_SAFETENSORS_OTHER},
    {"F8_E5M2", 8, SLAD_SAFETENSORS_OTHER},     {"F8_E4M3", 8, SLAD_SAFETENSORS_OTHER},
    {"F8_E8M0", 8, SLAD_SAFETENSORS_OTHER},     {"F8_E4M3FNUZ", 8, SLAD_SAFETENSORS_OTHER},
    {"F8_E5M2FNUZ", 8, SLAD_SAFETENSORS_OTHER}, {"I16", 16, SLAD_SAFETENSORS_OTHER},
    {"U16", 16, SLAD_SAFETENSORS_OTHER},        {"U32", 32, SLAD_SAFETENSORS_OTHER},
    {"U64", 64, SLAD_SAFETENSORS_OTHER},        {"F64", 64, SLAD_SAFETENSORS_OTHER},
    {"C64", 64, SLAD_SAFETENSORS_OTHER},        {"F4", 4, SLAD_SAFETENSORS_OTHER},
    {"F6_E2M3", 6, SLAD_SAFETENSORS_OTHER},     {"F6_E3M2", 6, SLAD_SAFETENSORS_OTHER},
};

void slad_safetensors_shape_text(char *text, size_t size, const uint64_t *shape, size_t rank)
{
    static const char cut[] = "...]";
    if (size < sizeof cut) return;
    size_t used = (size_t)snprintf(text, size, "[");
    for (size_t i = 0; i < rank; i++) {
        char number[32];
        const int length = snprintf(number, sizeof number, "%s%llu", i > 0 ? ", " : "", (unsigned long long)shape[i]);
        if (used + (size_t)length + sizeof cut > size) {
            memcpy(text + used, cut, sizeof cut);
            return;
        }
        memcpy(text + used, number, (size_t)length);
        used += (size_t)length;
    }
    memcpy(text + used, "]", 2);
}

/* A whole number that cJSON read exactly; the scan has seen to it that it is a row of digits. */
static bool take_number(uint64_t *out, const cJSON *value)
{
    if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0.0 && value->valuedouble < number_limit)) return false;
    *out = (uint64_t)value->valuedouble;
    return true;
}

static bool multiply(uint64_t *product, uint64_t factor)
{
    if (factor != 0 && *product > UINT64_MAX / factor) return false;
    *product *= factor;
    return true;
}

/* Takes the dimensions of one tensor to `shape`, which has room for them, and its number of elements. */
static slad_status take_shape(slad_context *context, slad_safetensor *tensor, uint64_t *shape, const cJSON *list,
                              const char *path)
{
    slad_status status = SLAD_OK;
    const cJSON *item = NULL;
    tensor->shape = shape;
    tensor->rank = 0;
    tensor->elements = 1;
    cJSON_ArrayForEach(item, list)
    {
        uint64_t size = 0;
        SLAD_FAIL_IF(!take_number(&size, item), SLAD_ERROR_DATA,
                     "%s: tensor \"%s\": \"shape\" must hold whole numbers below 2^53", path, tensor->name);
        shape[tensor->rank++] = size;
        SLAD_FAIL_IF(!multiply(&tensor->elements, size), SLAD_ERROR_DATA,
                     "%s: tensor \"%s\": its shape has more elements than can be counted", path, tensor->name);
    }
cleanup:
    return status;
}

/* Checks one entry of the header and fills `tensor`, but for whether its bytes fit those of the others. */
static slad_status take_tensor(slad_context *context, slad_safetensor *tensor, uint64_t *shape, const cJSON *entry,
                               uint64_t data_start, const char *path)
{
    slad_status status = SLAD_OK;
    tensor->name = entry->string;
    SLAD_FAIL_IF(!cJSON_IsObject(entry), SLAD_ERROR_DATA, "%s: tensor \"%s\": its entry is not an object", path,
                 tensor->name);
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    SLAD_FAIL_IF(!cJSON_IsString(type), SLAD_ERROR_DATA, "%s: tensor \"%s\": \"dtype\" must be a string", path,
                 tensor->name);
    SLAD_FAIL_IF(!cJSON_IsArray(list), SLAD_ERROR_DATA, "%s: tensor \"%s\": \"shape\" must be a list", path,
                 tensor->name);
    SLAD_FAIL_IF(!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\": \"data_offsets\" must be a list of two numbers", path, tensor->name);

    unsigned bits = 0;
    for (size_t i = 0; i < sizeof known_types / sizeof known_types[0]; i++) {
        if (strcmp(known_types[i].name, type->valuestring) != 0) continue;
        bits = known_types[i].bits;
        tensor->type = known_types[i].type;
        tensor->type_name = known_types[i].name;
    }
    SLAD_FAIL_IF(bits == 0, SLAD_ERROR_DATA, "%s: tensor \"%s\": the format has no dtype \"%s\"", path, tensor->name,
                 type->valuestring);
    SLAD_TRY(take_shape(context, tensor, shape, list, path));

    uint64_t begin = 0, end = 0;
    SLAD_FAIL_IF(!take_number(&begin, offsets->child) || !take_number(&end, offsets->child->next) || end < begin,
                 SLAD_ERROR_DATA, "%s: tensor \"%s\": \"data_offsets\" must be two whole numbers, the first not larger",
                 path, tensor->name);
    uint64_t total_bits = tensor->elements;
    SLAD_FAIL_IF(!multiply(&total_bits, bits) || total_bits % 8 != 0 || total_bits / 8 != end - begin, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\": \"data_offsets\" span %llu bytes, but %llu elements of %s take another number",
                 path, tensor->name, (unsigned long long)(end - begin), (unsigned long long)tensor->elements,
                 tensor->type_name);
    tensor->offset = data_start + begin;
    tensor->bytes = end - begin;
cleanup:
    return status;
}

static slad_status check_metadata(slad_context *context, const cJSON *metadata, const char *path)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(!cJSON_IsObject(metadata), SLAD_ERROR_DATA, "%s: \"__metadata__\" must be an object", path);
    const cJSON *pair = NULL;
    cJSON_ArrayForEach(pair, metadata)
    {
        SLAD_FAIL_IF(!cJSON_IsString(pair), SLAD_ERROR_DATA,
                     "%s: \"__metadata__\": the value of \"%s\" must be a string", path, pair->string);
    }
cleanup:
    return status;
}

static int compare_places(const void *left, const void *right)
{
    const slad_safetensor *a = left, *b = right;
    if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes); /* an empty tensor goes before what starts at its place */
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(((const slad_safetensor *)left)->name, ((const slad_safetensor *)right)->name);
}

/* The tensors must cover the data exactly: two that overlap or bytes that belong to none are how one file would mean
 * different things to different programs. */
static slad_status check_tiling(slad_context *context, slad_safetensors *file, uint64_t data_start, const char *path)
{
    slad_status status = SLAD_OK;
    uint64_t expected = data_start;
    if (file->count > 1) qsort(file->tensors, file->count, sizeof *file->tensors, compare_places);
    for (size_t i = 0; i < file->count; i++) {
        const slad_safetensor *tensor = &file->tensors[i];
        SLAD_FAIL_IF(tensor->offset != expected, SLAD_ERROR_DATA,
                     "%s: tensor \"%s\": its data starts at byte %llu of the file, where %llu was expected; %s", path,
                     tensor->name, (unsigned long long)tensor->offset, (unsigned long long)expected,
                     tensor->offset > expected ? "there is a hole before it" : "it overlaps another tensor");
        expected += tensor->bytes;
    }
    const uint64_t size = slad_file_size(file->input);
    SLAD_FAIL_IF(expected > size, SLAD_ERROR_DATA,
                 "%s: its tensors need %llu bytes, but the file has %llu; it is truncated, fetch it again", path,
                 (unsigned long long)expected, (unsigned long long)size);
    SLAD_FAIL_IF(expected < size, SLAD_ERROR_DATA, "%s: %llu bytes behind the last tensor belong to nothing", path,
                 (unsigned long long)(size - expected));
    if (file->count > 1) qsort(file->tensors, file->count, sizeof *file->tensors, compare_names);
cleanup:
    return status;
}

/* Turns the checked JSON of the header into the list of tensors. */
static slad_status take_header(slad_context *context, slad_safetensors *file, uint64_t data_start)
{
    slad_status status = SLAD_OK;
    const char *path = slad_file_path(file->input);
    size_t entries = 0, dimensions = 0;
    const cJSON *entry = NULL;
    cJSON_ArrayForEach(entry, file->header)
    {
        entries++;
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(entry, "shape");
        if (cJSON_IsArray(list)) dimensions += (size_t)cJSON_GetArraySize(list);
    }
    SLAD_TRY(slad_allocate(context, &file->tensors, entries, sizeof *file->tensors, "the list of tensors"));
    SLAD_TRY(slad_allocate(context, &file->shapes, dimensions, sizeof *file->shapes, "the shapes of tensors"));
    uint64_t *shape = file->shapes;
    cJSON_ArrayForEach(entry, file->header)
    {
        if (strcmp(entry->string, "__metadata__") == 0) {
            SLAD_TRY(check_metadata(context, entry, path));
            continue;
        }
        slad_safetensor *tensor = &file->tensors[file->count];
        SLAD_TRY(take_tensor(context, tensor, shape, entry, data_start, path));
        shape += tensor->rank;
        file->count++;
    }
    SLAD_TRY(check_tiling(context, file, data_start, path));
cleanup:
    return status;
}

slad_status slad_safetensors_open(slad_context *context, slad_safetensors **out, const char *path)
{
    slad_status status = SLAD_OK;
    slad_safetensors *file = NULL;
    char *text = NULL;
    *out = NULL;
    SLAD_TRY(slad_allocate(context, &file, 1, sizeof *file, "a safetensors file"));
    SLAD_TRY(slad_file_open(context, &file->input, path));
    const uint64_t size = slad_file_size(file->input);
    SLAD_FAIL_IF(size < 8, SLAD_ERROR_DATA, "%s: not a safetensors file: it has only %llu bytes", path,
                 (unsigned long long)size);
    unsigned char prefix[8];
    SLAD_TRY(slad_file_read_at(context, prefix, file->input, 0, sizeof prefix));
    const uint64_t length = slad_load_little(prefix, 8);
    SLAD_FAIL_IF(length > header_limit || length > size - 8, SLAD_ERROR_DATA,
                 "%s: not a safetensors file, or truncated: it announces a header of %llu bytes in %llu", path,
                 (unsigned long long)length, (unsigned long long)size);
    const size_t bytes = (size_t)length;
    SLAD_TRY(slad_allocate(context, &text, bytes + 1, 1, "the header of a safetensors file"));
    SLAD_TRY(slad_file_read_at(context, text, file->input, 8, bytes));
    SLAD_FAIL_IF(text[0] != '{', SLAD_ERROR_DATA, "%s: not a safetensors file: its header does not start with '{'",
                 path);
    size_t used = bytes;
    while (text[used - 1] == ' ') used--;
    SLAD_FAIL_IF(text[used - 1] != '}', SLAD_ERROR_DATA,
                 "%s: not a safetensors file: its header does not end with '}' and spaces", path);
    SLAD_TRY(slad_json_scan(context, text, used, true, path));
    SLAD_TRY(slad_json_parse(context, &file->header, text, used, path));
    SLAD_TRY(take_header(context, file, 8 + length));
    *out = file;
    file = NULL;
cleanup:
    slad_release(text);
    slad_safetensors_close(file);
    return status;
}

void slad_safetensors_close(slad_safetensors *file)
{
    if (!file) return;
    slad_file_close(file->input);
    cJSON_Delete(file->header);
    slad_release(file->tensors);
    slad_release(file->shapes);
    slad_release(file);
}

const char *slad_safetensors_path(const slad_safetensors *file)
{
    return slad_file_path(file->input);
}

size_t slad_safetensors_count(const slad_safetensors *file)
{
    return file->count;
}

const slad_safetensor *slad_safetensors_at(const slad_safetensors *file, size_t index)
{
    return &file->tensors[index];
}

const slad_safetensor *slad_safetensors_find(const slad_safetensors *file, const char *name)
{
    const slad_safetensor wanted = {.name = name};
    if (file->count == 0) return NULL;
    return bsearch(&wanted, file->tensors, file->count, sizeof *file->tensors, compare_names);
}

const char *slad_safetensors_metadata(const slad_safetensors *file, const char *key)
{
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(file->header, "__metadata__");
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, key));
}
