/* Kernel sources: built in or of a folder, with #include "name" replaced by the text of name. The host does it, because
 * drivers differ in how they look for files, and because the cache key must see the included text. */
#include "base/files.h"
#include "base/memory.h"
#include "cl/kernel_sources.h"
#include "cl/program_store.h"
#include <stdio.h>
#include <string.h>

enum { MAX_INCLUDES = 32, MAX_DEPTH = 8, MAX_NAME = 64 };
static const size_t max_source = (size_t)16 << 20;

typedef struct splicer {
    slad_context *context;
    const char *folder;
    char *text;
    size_t size, capacity;
    char seen[MAX_INCLUDES][MAX_NAME];
    size_t seen_count;
} splicer;

static slad_status append(splicer *out, const char *bytes, size_t count)
{
    const slad_status status =
        slad_grow(out->context, &out->text, &out->capacity, out->size + count + 1, 1, "the text of a kernel");
    if (status != SLAD_OK) return status;
    memcpy(out->text + out->size, bytes, count);
    out->size += count;
    out->text[out->size] = '\0';
    return SLAD_OK;
}

/* The text of one source: *text points into *owned, which the caller releases, or into the library. */
static slad_status open_source(const splicer *out, const char **text, char **owned, const char *name)
{
    slad_status status = SLAD_OK;
    slad_context *context = out->context;
    char *path = NULL;
    size_t size = 0;
    *text = NULL;
    *owned = NULL;
    if (out->folder) {
        SLAD_TRY(slad_path_join(context, &path, out->folder, name));
        SLAD_FAIL_IF(slad_path_look(path) != SLAD_PATH_FILE, SLAD_ERROR_DATA,
                     "%s: no such kernel source; a folder of kernels must hold all of them, so copy the missing ones "
                     "from cl_kernels",
                     path);
        SLAD_TRY(slad_file_read_all(context, owned, &size, path, max_source));
        SLAD_FAIL_IF(strlen(*owned) != size, SLAD_ERROR_DATA, "%s: a kernel source must be text, but holds NUL bytes",
                     path);
        *text = *owned;
    }
    for (size_t i = 0; !out->folder && i < slad_kernel_source_count; i++) {
        if (strcmp(slad_kernel_sources[i].name, name) == 0) *text = slad_kernel_sources[i].text;
    }
    SLAD_FAIL_IF(!*text, SLAD_ERROR_INTERNAL, "there is no built-in kernel source \"%s\"; please report it", name);
cleanup:
    slad_release(path);
    if (status != SLAD_OK) {
        slad_release(*owned);
        *owned = NULL;
    }
    return status;
}

/* If the line is an #include "name", its name. */
static bool read_include(const char *line, char name[MAX_NAME])
{
    line += strspn(line, " \t");
    if (*line++ != '#') return false;
    line += strspn(line, " \t");
    if (strncmp(line, "include", strlen("include")) != 0) return false;
    line += strlen("include");
    line += strspn(line, " \t");
    if (*line++ != '"') return false;
    const size_t length = strcspn(line, "\"\r\n");
    if (line[length] != '"' || length == 0 || length >= MAX_NAME) return false;
    memcpy(name, line, length);
    name[length] = '\0';
    return true;
}

static slad_status mark_line(splicer *out, const char *name, unsigned line)
{
    char mark[MAX_NAME + 32];
    const int length = snprintf(mark, sizeof mark, "#line %u \"%s\"\n", line, name);
    return append(out, mark, (size_t)length);
}

/* Whether `name` still has to be spliced in; remembers it. */
static slad_status first_time(splicer *out, bool *first, const char *name)
{
    slad_status status = SLAD_OK;
    slad_context *context = out->context;
    *first = false;
    for (size_t i = 0; i < out->seen_count; i++) {
        if (strcmp(out->seen[i], name) == 0) return SLAD_OK;
    }
    SLAD_FAIL_IF(out->seen_count == MAX_INCLUDES, SLAD_ERROR_DATA, "%s: more than %d kernel sources in one program",
                 name, MAX_INCLUDES);
    (void)snprintf(out->seen[out->seen_count++], MAX_NAME, "%s", name);
    *first = true;
cleanup:
    return status;
}

static slad_status splice(splicer *out, const char *name, unsigned depth)
{
    slad_status status = SLAD_OK;
    slad_context *context = out->context;
    const char *text = NULL;
    char *owned = NULL;
    bool first = false;
    SLAD_TRY(first_time(out, &first, name));
    if (!first) goto cleanup;
    SLAD_FAIL_IF(depth > MAX_DEPTH, SLAD_ERROR_DATA, "%s: kernel sources include each other more than %d deep", name,
                 MAX_DEPTH);
    SLAD_TRY(open_source(out, &text, &owned, name));
    SLAD_TRY(mark_line(out, name, 1));
    for (unsigned line = 1; *text; line++) {
        const char *end = strchr(text, '\n');
        const size_t length = end ? (size_t)(end - text) + 1 : strlen(text);
        char included[MAX_NAME];
        if (read_include(text, included)) {
            SLAD_TRY(splice(out, included, depth + 1));
            SLAD_TRY(mark_line(out, name, line + 1));
        } else {
            SLAD_TRY(append(out, text, length));
            if (!end) SLAD_TRY(append(out, "\n", 1));
        }
        text += length;
    }
cleanup:
    slad_release(owned);
    return status;
}

slad_status slad_program_read_source(slad_context *context, char **source, size_t *size, const char *kernels_folder,
                                     const char *file)
{
    slad_status status = SLAD_OK;
    splicer out = {.context = context, .folder = kernels_folder};
    char name[MAX_NAME];
    *source = NULL;
    *size = 0;
    const int length = snprintf(name, sizeof name, "%s.cl", file);
    SLAD_FAIL_IF(length < 0 || length >= MAX_NAME, SLAD_ERROR_INTERNAL, "the kernel file name \"%s\" is too long",
                 file);
    SLAD_TRY(splice(&out, name, 0));
    *source = out.text;
    *size = out.size;
    out.text = NULL;
cleanup:
    slad_release(out.text);
    return status;
}
