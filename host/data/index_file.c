#include "data/index_file.h"

#include "base/files.h"
#include "base/memory.h"
#include <string.h>

#define FILE_LIMIT ((size_t)1 << 28)

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Takes one line, whose end is already a NUL. */
static slad_status take_line(slad_context *context, slad_index_file *file, char *text, size_t number)
{
    slad_status status = SLAD_OK;
    while (is_blank(*text)) text++;
    size_t length = strlen(text);
    while (length > 0 && is_blank(text[length - 1])) length--;
    text[length] = '\0';
    if (length == 0) return SLAD_OK;
    SLAD_TRY(slad_grow(context, &file->lines, &file->capacity, file->count + 1, sizeof *file->lines, "index lines"));
    file->lines[file->count++] = (slad_index_line){text, number};
cleanup:
    return status;
}

slad_status slad_index_read(slad_context *context, slad_index_file *file, const char *folder, const char *name)
{
    slad_status status = SLAD_OK;
    size_t size = 0, number = 1;
    *file = (slad_index_file){0};
    SLAD_TRY(slad_path_join(context, &file->path, folder, name));
    SLAD_FAIL_IF(slad_path_look(file->path) == SLAD_PATH_MISSING, SLAD_ERROR_DATA,
                 "%s is missing, which this data set comes with; unpack its archive again", file->path);
    SLAD_TRY(slad_file_read_all(context, &file->bytes, &size, file->path, FILE_LIMIT));
    SLAD_FAIL_IF(memchr(file->bytes, '\0', size), SLAD_ERROR_DATA,
                 "%s: the file holds NUL bytes, so it is not a text; unpack the archive again", file->path);
    char *next = file->bytes;
    if (strncmp(next, "\xEF\xBB\xBF", 3) == 0) next += 3; /* byte-order mark */
    while (next) {
        char *end = strchr(next, '\n');
        if (end) *end = '\0';
        SLAD_TRY(take_line(context, file, next, number++));
        next = end ? end + 1 : NULL;
    }
    SLAD_FAIL_IF(file->count == 0, SLAD_ERROR_DATA, "%s: the file is empty; unpack the archive again", file->path);
cleanup:
    return status;
}

void slad_index_free(slad_index_file *file)
{
    slad_release(file->path);
    slad_release(file->bytes);
    slad_release(file->lines);
    *file = (slad_index_file){0};
}

slad_status slad_index_split(slad_context *context, char **rest, const slad_index_file *file,
                             const slad_index_line *line)
{
    slad_status status = SLAD_OK;
    char *end = line->text;
    while (*end && !is_blank(*end)) end++;
    SLAD_FAIL_IF(!*end, SLAD_ERROR_DATA, "%s:%zu: \"%s\" stands alone; there must be two fields with a blank between",
                 file->path, line->number, line->text);
    *end++ = '\0';
    while (is_blank(*end)) end++;
    *rest = end;
cleanup:
    return status;
}

slad_status slad_index_number(slad_context *context, size_t *value, const slad_index_file *file,
                              const slad_index_line *line, const char *text, size_t low, size_t high)
{
    slad_status status = SLAD_OK;
    const char *c = text;
    *value = 0;
    for (; *c >= '0' && *c <= '9' && *value <= high; c++) *value = *value * 10 + (size_t)(*c - '0');
    SLAD_FAIL_IF(c == text || *c || *value < low || *value > high, SLAD_ERROR_DATA,
                 "%s:%zu: \"%s\" must be a number from %zu to %zu", file->path, line->number, text, low, high);
cleanup:
    return status;
}

slad_status slad_index_check_path(slad_context *context, const slad_index_file *file, const slad_index_line *line,
                                  const char *path)
{
    slad_status status = SLAD_OK;
    bool escapes = path[0] == '/';
    for (const char *part = path; part && !escapes; part = strchr(part, '/')) {
        part += *part == '/';
        escapes = strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0');
    }
    SLAD_FAIL_IF(escapes, SLAD_ERROR_DATA, "%s:%zu: \"%s\" leads out of the data set; unpack the archive again",
                 file->path, line->number, path);
cleanup:
    return status;
}
