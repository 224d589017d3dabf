/* Writing safetensors files. */
#include "base/memory.h"
#include "base/safetensors_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 1 << 15, HEADER_ALIGNMENT = 8 };

/* A tensor that is to be written. */
typedef struct planned {
    char *name;
    size_t entry; /* its index in the caller's list */
    slad_safetensors_type type;
    size_t element_size;
    uint64_t elements;
    uint64_t begin; /* byte in the file */
    uint64_t put;   /* elements given by slad_safetensors_writer_put */
} planned;

struct slad_safetensors_writer {
    slad_context *context;
    slad_writer *output;
    char *path;
    planned *tensors; /* in the file's order */
    size_t count;
    size_t position;    /* of the tensor whose turn it is */
    uint64_t remaining; /* elements of it that are still to come */
};

/* Wider types first keeps every tensor aligned to its own size. */
static int compare_planned(const void *left, const void *right)
{
    const planned *a = left, *b = right;
    if (a->element_size != b->element_size) return a->element_size > b->element_size ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* Makes the tensor at `position`, or the next one that is not empty, the one whose turn it is. */
static void turn_to(slad_safetensors_writer *writer, size_t position)
{
    while (position < writer->count && writer->tensors[position].elements == 0) position++;
    writer->position = position;
    writer->remaining = position < writer->count ? writer->tensors[position].elements : 0;
}

static slad_status plan(slad_safetensors_writer *writer, const slad_safetensors_entry *entries, size_t count)
{
    slad_status status = SLAD_OK;
    slad_context *context = writer->context;
    uint64_t total = 0;
    SLAD_TRY(slad_allocate(context, &writer->tensors, count, sizeof *writer->tensors, "the tensors of a file"));
    for (size_t i = 0; i < count; i++) {
        const slad_safetensors_entry *entry = &entries[i];
        planned *tensor = &writer->tensors[i];
        SLAD_FAIL_IF(entry->type != SLAD_SAFETENSORS_F32 && entry->type != SLAD_SAFETENSORS_I64, SLAD_ERROR_INTERNAL,
                     "%s: tensor \"%s\": only F32 and I64 are written; please report it", writer->path, entry->name);
        SLAD_TRY(slad_duplicate(context, &tensor->name, entry->name));
        writer->count++;
        tensor->entry = i;
        tensor->type = entry->type;
        tensor->element_size = entry->type == SLAD_SAFETENSORS_F32 ? 4 : 8;
        tensor->elements = 1;
        for (size_t axis = 0; axis < entry->rank; axis++) {
            const uint64_t size = entry->shape[axis];
            SLAD_FAIL_IF(size > 0 && tensor->elements > UINT64_MAX / size, SLAD_ERROR_INTERNAL,
                         "%s: tensor \"%s\" is too large to be counted; please report it", writer->path, entry->name);
            tensor->elements *= size;
        }
        SLAD_FAIL_IF(tensor->elements > (UINT64_MAX / 2 - total) / tensor->element_size, SLAD_ERROR_INTERNAL,
                     "%s: tensor \"%s\" makes the file too large; please report it", writer->path, entry->name);
        total += tensor->elements * tensor->element_size;
    }
    if (count > 1) qsort(writer->tensors, count, sizeof *writer->tensors, compare_planned);
cleanup:
    return status;
}

/* A value of raw JSON text, added to `object`. */
static bool add_raw(cJSON *object, const char *key, const char *text)
{
    return cJSON_AddRawToObject(object, key, text) != NULL;
}

static slad_status add_header_entry(slad_safetensors_writer *writer, cJSON *header, const planned *tensor,
                                    const slad_safetensors_entry *entry, uint64_t begin)
{
    slad_status status = SLAD_OK;
    slad_context *context = writer->context;
    char *shape = NULL;
    const size_t shape_size = 16 + 24 * entry->rank;
    char offsets[64];
    SLAD_FAIL_IF(strcmp(tensor->name, "__metadata__") == 0 || cJSON_GetObjectItemCaseSensitive(header, tensor->name),
                 SLAD_ERROR_INTERNAL, "%s: tensor name \"%s\" is taken already; please report it", writer->path,
                 tensor->name);
    SLAD_TRY(slad_allocate(context, &shape, shape_size, 1, "a shape"));
    slad_safetensors_shape_text(shape, shape_size, entry->shape, entry->rank);
    const unsigned long long end = begin + tensor->elements * tensor->element_size;
    (void)snprintf(offsets, sizeof offsets, "[%llu,%llu]", (unsigned long long)begin, end);
    cJSON *object = cJSON_AddObjectToObject(header, tensor->name);
    const bool added = object &&
                       cJSON_AddStringToObject(object, "dtype", tensor->type == SLAD_SAFETENSORS_F32 ? "F32" : "I64") &&
                       add_raw(object, "shape", shape) && add_raw(object, "data_offsets", offsets);
    SLAD_FAIL_IF(!added, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory for the header", writer->path);
cleanup:
    slad_release(shape);
    return status;
}

/* The header's JSON text. Offsets go in as raw text: cJSON would print large numbers with an exponent. */
static slad_status make_header(slad_safetensors_writer *writer, char **text, const slad_safetensors_entry *entries,
                               const slad_safetensors_pair *metadata, size_t metadata_count)
{
    slad_status status = SLAD_OK;
    slad_context *context = writer->context;
    uint64_t begin = 0;
    cJSON *header = cJSON_CreateObject();
    cJSON *pairs = header ? cJSON_AddObjectToObject(header, "__metadata__") : NULL;
    bool added = pairs && cJSON_AddStringToObject(pairs, "format", "pt");
    for (size_t i = 0; added && i < metadata_count; i++)
        added = cJSON_AddStringToObject(pairs, metadata[i].key, metadata[i].value) != NULL;
    SLAD_FAIL_IF(!added, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory for the header", writer->path);
    for (size_t i = 0; i < writer->count; i++) {
        const planned *tensor = &writer->tensors[i];
        SLAD_TRY(add_header_entry(writer, header, tensor, &entries[tensor->entry], begin));
        begin += tensor->elements * tensor->element_size;
    }
    *text = cJSON_PrintUnformatted(header);
    SLAD_FAIL_IF(!*text, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory for the header", writer->path);
cleanup:
    cJSON_Delete(header);
    return status;
}

slad_status slad_safetensors_writer_begin(slad_context *context, slad_safetensors_writer **out, const char *path,
                                          const slad_safetensors_entry *entries, size_t entry_count,
                                          const slad_safetensors_pair *metadata, size_t metadata_count)
{
    slad_status status = SLAD_OK;
    slad_safetensors_writer *writer = NULL;
    char *text = NULL;
    *out = NULL;
    SLAD_TRY(slad_allocate(context, &writer, 1, sizeof *writer, "a safetensors writer"));
    writer->context = context;
    SLAD_TRY(slad_duplicate(context, &writer->path, path));
    SLAD_TRY(plan(writer, entries, entry_count));
    SLAD_TRY(make_header(writer, &text, entries, metadata, metadata_count));
    SLAD_TRY(slad_writer_open(context, &writer->output, path));

    const size_t length = strlen(text);
    const size_t padding = (HEADER_ALIGNMENT - length % HEADER_ALIGNMENT) % HEADER_ALIGNMENT;
    unsigned char prefix[8];
    slad_store_little(prefix, length + padding, sizeof prefix);
    uint64_t begin = sizeof prefix + length + padding;
    for (size_t i = 0; i < writer->count; i++) {
        writer->tensors[i].begin = begin;
        begin += writer->tensors[i].elements * writer->tensors[i].element_size;
    }
    SLAD_TRY(slad_writer_write(writer->output, prefix, sizeof prefix));
    SLAD_TRY(slad_writer_write(writer->output, text, length));
    SLAD_TRY(slad_writer_write(writer->output, "        ", padding));
    turn_to(writer, 0);
    *out = writer;
    writer = NULL;
cleanup:
    cJSON_free(text);
    slad_safetensors_writer_abandon(writer);
    return status;
}

size_t slad_safetensors_writer_order(const slad_safetensors_writer *writer, size_t position)
{
    return writer->tensors[position].entry;
}

static void encode(unsigned char *destination, const unsigned char *source, size_t element_size, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 0;
        if (element_size == 4) {
            uint32_t bits = 0;
            memcpy(&bits, source + 4 * i, sizeof bits);
            value = bits;
        } else {
            memcpy(&value, source + 8 * i, sizeof value);
        }
        slad_store_little(destination + element_size * i, value, element_size);
    }
}

slad_status slad_safetensors_writer_append(slad_safetensors_writer *writer, size_t entry, const void *data,
                                           uint64_t elements)
{
    slad_status status = SLAD_OK;
    slad_context *context = writer->context;
    unsigned char chunk[CHUNK_BYTES];
    if (elements == 0) return SLAD_OK;
    SLAD_FAIL_IF(writer->position >= writer->count, SLAD_ERROR_INTERNAL,
                 "%s: more data than was announced; please report it", writer->path);
    const planned *tensor = &writer->tensors[writer->position];
    SLAD_FAIL_IF(tensor->entry != entry || elements > writer->remaining, SLAD_ERROR_INTERNAL,
                 "%s: it is the turn of %llu elements of tensor \"%s\", other data was given; please report it",
                 writer->path, (unsigned long long)writer->remaining, tensor->name);
    const size_t capacity = CHUNK_BYTES / tensor->element_size;
    const unsigned char *source = data;
    writer->remaining -= elements;
    while (elements > 0) {
        const size_t part = elements < capacity ? (size_t)elements : capacity;
        encode(chunk, source, tensor->element_size, part);
        SLAD_TRY(slad_writer_write(writer->output, chunk, part * tensor->element_size));
        source += part * tensor->element_size;
        elements -= part;
    }
    if (writer->remaining == 0) turn_to(writer, writer->position + 1);
cleanup:
    return status;
}

slad_status slad_safetensors_writer_put(slad_safetensors_writer *writer, size_t entry, uint64_t first, const void *data,
                                        uint64_t elements)
{
    slad_status status = SLAD_OK;
    slad_context *context = writer->context;
    unsigned char chunk[CHUNK_BYTES];
    planned *tensor = NULL;
    for (size_t i = 0; i < writer->count; i++)
        if (writer->tensors[i].entry == entry) tensor = &writer->tensors[i];
    SLAD_FAIL_IF(!tensor || first > tensor->elements || elements > tensor->elements - first, SLAD_ERROR_INTERNAL,
                 "%s: data past the end of a tensor was given; please report it", writer->path);
    const size_t capacity = CHUNK_BYTES / tensor->element_size;
    const unsigned char *source = data;
    tensor->put += elements;
    while (elements > 0) {
        const size_t part = elements < capacity ? (size_t)elements : capacity;
        encode(chunk, source, tensor->element_size, part);
        SLAD_TRY(slad_writer_write_at(writer->output, tensor->begin + first * tensor->element_size, chunk,
                                      part * tensor->element_size));
        source += part * tensor->element_size;
        first += part;
        elements -= part;
    }
cleanup:
    return status;
}

/* Whether put gave every element of every tensor. */
static bool all_put(const slad_safetensors_writer *writer)
{
    bool all = true;
    for (size_t i = 0; i < writer->count; i++) all = all && writer->tensors[i].put == writer->tensors[i].elements;
    return all;
}

slad_status slad_safetensors_writer_finish(slad_safetensors_writer *writer)
{
    slad_status status = SLAD_OK;
    slad_context *context = writer->context;
    SLAD_FAIL_IF(writer->position < writer->count && !all_put(writer), SLAD_ERROR_INTERNAL,
                 "%s: %llu elements of tensor \"%s\" were not given; please report it", writer->path,
                 (unsigned long long)writer->remaining, writer->tensors[writer->position].name);
    slad_writer *output = writer->output;
    writer->output = NULL;
    SLAD_TRY(slad_writer_finish(output));
cleanup:
    slad_safetensors_writer_abandon(writer);
    return status;
}

void slad_safetensors_writer_abandon(slad_safetensors_writer *writer)
{
    if (!writer) return;
    slad_writer_abandon(writer->output);
    for (size_t i = 0; i < writer->count; i++) slad_release(writer->tensors[i].name);
    slad_release(writer->tensors);
    slad_release(writer->path);
    slad_release(writer);
}

slad_status slad_safetensors_write(slad_context *context, const char *path, const slad_safetensors_entry *entries,
                                   size_t entry_count, const slad_safetensors_pair *metadata, size_t metadata_count)
{
    slad_status status = SLAD_OK;
    slad_safetensors_writer *writer = NULL;
    SLAD_TRY(slad_safetensors_writer_begin(context, &writer, path, entries, entry_count, metadata, metadata_count));
    for (size_t i = 0; i < entry_count; i++) {
        const planned *tensor = &writer->tensors[i];
        SLAD_TRY(slad_safetensors_writer_append(writer, tensor->entry, entries[tensor->entry].data, tensor->elements));
    }
    slad_safetensors_writer *finishing = writer;
    writer = NULL;
    SLAD_TRY(slad_safetensors_writer_finish(finishing));
cleanup:
    slad_safetensors_writer_abandon(writer);
    return status;
}
