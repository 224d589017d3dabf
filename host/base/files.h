/* Files and folders. The only place, with threads and system, that talks to the operating system. */
#ifndef SLAD_BASE_FILES_H
#define SLAD_BASE_FILES_H

#include "base/error.h"
#include <stddef.h>

/* An open file for reading at any offset; safe against a file that shrinks while it is read (short read: DATA error).
 */
typedef struct slad_file slad_file;
slad_status slad_file_open(slad_context *context, slad_file **file, const char *path);
uint64_t slad_file_size(const slad_file *file);
const char *slad_file_path(const slad_file *file);
/* Reads exactly `bytes` bytes. Safe from several threads at once. */
slad_status slad_file_read_at(slad_context *context, void *destination, const slad_file *file, uint64_t offset,
                              size_t bytes);
void slad_file_close(slad_file *file);

/* Reads a whole file of at most `limit` bytes; a NUL is put behind it (not counted in *size). Release *bytes. */
slad_status slad_file_read_all(slad_context *context, char **bytes, size_t *size, const char *path, size_t limit);

/* Writes atomically: bytes go to a temporary file beside `path`, which slad_writer_finish syncs and renames over it.
 * Until then, and after slad_writer_abandon, the old file is untouched and no temporary file remains. Errors of all:
 * SLAD_ERROR_WRITE with path and reason. finish and abandon free the writer; abandon allows NULL. */
typedef struct slad_writer slad_writer;
slad_status slad_writer_open(slad_context *context, slad_writer **writer, const char *path);
slad_status slad_writer_write(slad_writer *writer, const void *bytes, size_t count);
/* Writes at a place of the file that lies before or behind what was written so far; slad_writer_write then goes on
 * where it was. Not for devices and pipes. */
slad_status slad_writer_write_at(slad_writer *writer, uint64_t offset, const void *bytes, size_t count);
slad_status slad_writer_printf(slad_writer *writer, const char *format, ...) SLAD_PRINTF(2, 3);
slad_status slad_writer_finish(slad_writer *writer);
void slad_writer_abandon(slad_writer *writer);
slad_status slad_file_write_all(slad_context *context, const char *path, const void *bytes, size_t count);

/* Appends to a file with one write call per line, so that a killed program leaves whole lines only. */
typedef struct slad_appender slad_appender;
slad_status slad_appender_open(slad_context *context, slad_appender **appender, const char *path, bool truncate);
slad_status slad_appender_write(slad_appender *appender, const void *bytes, size_t count);
void slad_appender_close(slad_appender *appender);

typedef enum slad_path_kind { SLAD_PATH_MISSING, SLAD_PATH_FILE, SLAD_PATH_DIRECTORY, SLAD_PATH_OTHER } slad_path_kind;
slad_path_kind slad_path_look(const char *path);

/* "folder/name", owned by the caller. */
slad_status slad_path_join(slad_context *context, char **out, const char *folder, const char *name);

/* The absolute form of a path that exists, links resolved; owned by the caller. */
slad_status slad_path_absolute(slad_context *context, char **out, const char *path);

typedef struct slad_directory_entry {
    char *name;
    slad_path_kind kind; /* links are followed */
} slad_directory_entry;
typedef struct slad_directory {
    slad_directory_entry *entries; /* sorted by name, byte order; "." and ".." left out */
    size_t count;
} slad_directory;
slad_status slad_directory_read(slad_context *context, slad_directory *directory, const char *path);
void slad_directory_free(slad_directory *directory);

/* Creates a folder and its missing parents. */
slad_status slad_directory_create(slad_context *context, const char *path);
/* Removes a file, or a folder with all in it; a path that does not exist is fine. */
slad_status slad_path_remove(slad_context *context, const char *path);
/* Removes from a folder what writers that were killed left in it: files FILE.PROCESS-N.tmp that nobody has written to
 * for so many seconds. A folder that does not exist is fine. */
slad_status slad_directory_clear_leftovers(slad_context *context, const char *path, double seconds);
/* Proves that files can be written in the folder, by writing and removing one. */
slad_status slad_directory_test_writing(slad_context *context, const char *path);

/* The user's cache folder for slad: $XDG_CACHE_HOME/slad, else $HOME/.cache/slad, else slad-USER in the temporary
 * folder, which is made here, for this user alone. Errors: SLAD_ERROR_WRITE where that is another's, or others may
 * write to it: compiled kernels are code that this process would run. */
slad_status slad_cache_directory_default(slad_context *context, char **out);

#endif
