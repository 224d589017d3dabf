/* Lists in plain text, one line an item, as published data sets bring them: hostile until checked. */
#ifndef SLAD_DATA_INDEX_FILE_H
#define SLAD_DATA_INDEX_FILE_H

#include "base/error.h"
#include <stddef.h>

typedef struct slad_index_line {
    char *text;    /* without the blanks around it, never empty; in the bytes of the file */
    size_t number; /* from 1, for messages */
} slad_index_line;

typedef struct slad_index_file {
    char *path, *bytes;
    slad_index_line *lines;
    size_t count, capacity;
} slad_index_file;

/* Reads folder/name, lines ended by LF or CRLF; empty lines are left out. Free with slad_index_free, also after an
 * error. Errors: SLAD_ERROR_DATA for a file that is missing, holds NUL bytes or nothing. */
slad_status slad_index_read(slad_context *context, slad_index_file *file, const char *folder, const char *name);
void slad_index_free(slad_index_file *file);

/* Cuts a line behind its first word; *rest is what follows the blanks behind it. Errors: SLAD_ERROR_DATA if there is
 * but one word. */
slad_status slad_index_split(slad_context *context, char **rest, const slad_index_file *file,
                             const slad_index_line *line);
/* The number that a text is. Errors: SLAD_ERROR_DATA for anything but decimal digits, or outside of low .. high. */
slad_status slad_index_number(slad_context *context, size_t *value, const slad_index_file *file,
                              const slad_index_line *line, const char *text, size_t low, size_t high);
/* Errors: SLAD_ERROR_DATA for a path that is absolute or leads out of its folder by "..". */
slad_status slad_index_check_path(slad_context *context, const slad_index_file *file, const slad_index_line *line,
                                  const char *path);

#endif
