/* The memory of passed checks. FOLDER/programs/HASH.passes is text: a first line with the format version and the length
 * of the key, the program's key, then one passed check a line. It is only ever added to, and each time replaced whole.
 */
#include "base/files.h"
#include "base/memory.h"
#include "cl/program_store.h"
#include <stdio.h>
#include <string.h>

static const size_t max_file = (size_t)64 << 20;

static slad_status make_path(slad_context *context, char **path, const slad_program_store *store,
                             const slad_program *program)
{
    slad_status status = SLAD_OK;
    char *name = NULL;
    SLAD_TRY(slad_format(context, &name, "%s.passes", program->name));
    SLAD_TRY(slad_path_join(context, path, store->cache_folder, name));
cleanup:
    slad_release(name);
    return status;
}

/* The checks that passed under the program's key: *lines, "" if there are none, points into *owned. */
static slad_status read_passes(const slad_program_store *store, const char **lines, char **owned, const char *path,
                               const slad_program *program)
{
    slad_status status = SLAD_OK;
    slad_context *context = store->quiet;
    char head[64];
    size_t size = 0;
    *lines = "";
    *owned = NULL;
    if (slad_path_look(path) != SLAD_PATH_FILE) return SLAD_OK;
    SLAD_TRY(slad_file_read_all(context, owned, &size, path, max_file));
    const size_t head_size =
        (size_t)snprintf(head, sizeof head, "slad passes 1, key of %zu bytes\n", program->key_size);
    const bool ours = size >= head_size + program->key_size && memcmp(*owned, head, head_size) == 0 &&
                      memcmp(*owned + head_size, program->key, program->key_size) == 0;
    if (ours) *lines = *owned + head_size + program->key_size;
cleanup:
    return status;
}

static bool has_line(const char *lines, const char *what)
{
    const size_t length = strlen(what);
    while (*lines) {
        const size_t line = strcspn(lines, "\n");
        if (lines[line] == '\n' && line == length && memcmp(lines, what, length) == 0) return true;
        lines += line + (lines[line] == '\n');
    }
    return false;
}

/* Finds the program's entry; false where nothing can be remembered about it. */
static bool find(slad_device *device, slad_program **program, const char *file, const char *defines, const char *what)
{
    return device->programs->cache_folder && !strchr(what, '\n') &&
           slad_program_find(device, program, file, defines) == SLAD_OK;
}

bool slad_pass_recall(slad_device *device, const char *file, const char *defines, const char *what)
{
    slad_status status = SLAD_OK;
    const slad_program_store *store = device->programs;
    slad_program *program = NULL;
    const char *lines = "";
    char *path = NULL, *owned = NULL;
    bool known = false;
    if (!find(device, &program, file, defines, what)) return false;
    SLAD_TRY(make_path(store->quiet, &path, store, program));
    SLAD_TRY(read_passes(store, &lines, &owned, path, program));
    known = has_line(lines, what);
cleanup:
    slad_release(path);
    slad_release(owned);
    return status == SLAD_OK && known;
}

void slad_pass_remember(slad_device *device, const char *file, const char *defines, const char *what)
{
    slad_status status = SLAD_OK;
    slad_program_store *store = device->programs;
    slad_context *context = store->quiet;
    slad_program *program = NULL;
    slad_writer *writer = NULL;
    const char *lines = "";
    char *path = NULL, *owned = NULL;
    if (!find(device, &program, file, defines, what)) return;
    SLAD_TRY(slad_directory_create(context, store->cache_folder));
    SLAD_TRY(make_path(context, &path, store, program));
    SLAD_TRY(read_passes(store, &lines, &owned, path, program));
    if (has_line(lines, what)) goto cleanup;
    SLAD_TRY(slad_writer_open(context, &writer, path));
    SLAD_TRY(slad_writer_printf(writer, "slad passes 1, key of %zu bytes\n", program->key_size));
    SLAD_TRY(slad_writer_write(writer, program->key, program->key_size));
    SLAD_TRY(slad_writer_write(writer, lines, strlen(lines)));
    SLAD_TRY(slad_writer_printf(writer, "%s\n", what));
    status = slad_writer_finish(writer);
    writer = NULL;
cleanup:
    slad_writer_abandon(writer);
    if (status != SLAD_OK) slad_program_cache_give_up(device, path ? path : store->cache_folder);
    slad_release(path);
    slad_release(owned);
}
