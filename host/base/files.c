/* Reading files, and looking at and removing paths. */
#include "base/files.h"
#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct slad_file {
    int descriptor;
    uint64_t size;
    char *path;
};

slad_status slad_file_open(slad_context *context, slad_file **out, const char *path)
{
    slad_status status = SLAD_OK;
    slad_file *file = NULL;
    *out = NULL;
    SLAD_TRY(slad_allocate(context, &file, 1, sizeof *file, "an open file"));
    file->descriptor = -1;
    SLAD_TRY(slad_duplicate(context, &file->path, path));
    /* Without O_NONBLOCK, opening a named pipe would wait for ever. */
    file->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    SLAD_FAIL_IF(file->descriptor < 0, SLAD_ERROR_DATA, "%s: cannot be opened for reading: %s", path, strerror(errno));
    struct stat information;
    SLAD_FAIL_IF(fstat(file->descriptor, &information) != 0, SLAD_ERROR_DATA, "%s: cannot be examined: %s", path,
                 strerror(errno));
    SLAD_FAIL_IF(!S_ISREG(information.st_mode), SLAD_ERROR_DATA, "%s: is %s; give the path of a file", path,
                 S_ISDIR(information.st_mode) ? "a folder" : "not a regular file");
    file->size = (uint64_t)information.st_size;
    *out = file;
    file = NULL;
cleanup:
    slad_file_close(file);
    return status;
}

uint64_t slad_file_size(const slad_file *file)
{
    return file->size;
}

const char *slad_file_path(const slad_file *file)
{
    return file->path;
}

slad_status slad_file_read_at(slad_context *context, void *destination, const slad_file *file, uint64_t offset,
                              size_t bytes)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(offset > file->size || bytes > file->size - offset, SLAD_ERROR_DATA,
                 "%s: has %llu bytes, but %zu are needed from byte %llu on; the file is truncated", file->path,
                 (unsigned long long)file->size, bytes, (unsigned long long)offset);
    char *target = destination;
    while (bytes > 0) {
        const size_t wanted = bytes < (size_t)SSIZE_MAX ? bytes : (size_t)SSIZE_MAX;
        const ssize_t got = pread(file->descriptor, target, wanted, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        SLAD_FAIL_IF(got < 0, SLAD_ERROR_DATA, "%s: reading at byte %llu failed: %s", file->path,
                     (unsigned long long)offset, strerror(errno));
        SLAD_FAIL_IF(got == 0, SLAD_ERROR_DATA, "%s: ends at byte %llu: another program shortened it; try again",
                     file->path, (unsigned long long)offset);
        target += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
cleanup:
    return status;
}

void slad_file_close(slad_file *file)
{
    if (!file) return;
    if (file->descriptor >= 0) close(file->descriptor);
    slad_release(file->path);
    slad_release(file);
}

slad_status slad_file_read_all(slad_context *context, char **bytes, size_t *size, const char *path, size_t limit)
{
    slad_status status = SLAD_OK;
    slad_file *file = NULL;
    char *content = NULL;
    *bytes = NULL;
    *size = 0;
    SLAD_TRY(slad_file_open(context, &file, path));
    SLAD_FAIL_IF(file->size > limit || file->size >= SIZE_MAX, SLAD_ERROR_DATA,
                 "%s: has %llu bytes, more than the %zu that such a file may have", path,
                 (unsigned long long)file->size, limit);
    const size_t count = (size_t)file->size;
    SLAD_TRY(slad_allocate(context, &content, count + 1, 1, path));
    SLAD_TRY(slad_file_read_at(context, content, file, 0, count));
    content[count] = '\0';
    *bytes = content;
    *size = count;
    content = NULL;
cleanup:
    slad_release(content);
    slad_file_close(file);
    return status;
}

slad_path_kind slad_path_look(const char *path)
{
    struct stat information;
    if (stat(path, &information) != 0) return SLAD_PATH_MISSING;
    if (S_ISREG(information.st_mode)) return SLAD_PATH_FILE;
    return S_ISDIR(information.st_mode) ? SLAD_PATH_DIRECTORY : SLAD_PATH_OTHER;
}

slad_status slad_path_join(slad_context *context, char **out, const char *folder, const char *name)
{
    const size_t length = strlen(folder);
    const char *separator = length > 0 && folder[length - 1] != '/' ? "/" : "";
    return slad_format(context, out, "%s%s%s", folder, separator, name);
}

slad_status slad_path_remove(slad_context *context, const char *path)
{
    slad_status status = SLAD_OK;
    slad_directory directory = {0};
    char *inner = NULL;
    struct stat information;
    /* lstat: a link is removed, what it points to is left alone. */
    if (lstat(path, &information) != 0) {
        SLAD_FAIL_IF(errno != ENOENT && errno != ENOTDIR, SLAD_ERROR_WRITE, "%s: cannot be examined: %s", path,
                     strerror(errno));
        return SLAD_OK;
    }
    if (!S_ISDIR(information.st_mode)) {
        SLAD_FAIL_IF(unlink(path) != 0 && errno != ENOENT, SLAD_ERROR_WRITE, "%s: cannot be removed: %s", path,
                     strerror(errno));
        return SLAD_OK;
    }
    SLAD_TRY(slad_directory_read(context, &directory, path));
    for (size_t i = 0; i < directory.count; i++) {
        SLAD_TRY(slad_path_join(context, &inner, path, directory.entries[i].name));
        SLAD_TRY(slad_path_remove(context, inner));
        slad_release(inner);
        inner = NULL;
    }
    SLAD_FAIL_IF(rmdir(path) != 0 && errno != ENOENT, SLAD_ERROR_WRITE, "%s: cannot be removed: %s", path,
                 strerror(errno));
cleanup:
    slad_release(inner);
    slad_directory_free(&directory);
    return status;
}
