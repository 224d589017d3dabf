/* Writing files: atomically through a temporary file, or line by line at the end of a growing one. */
#include "base/files.h"
#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_SIZE = 1 << 16, TEMPORARY_NAMES = 1000 };

struct slad_writer {
    slad_context *context;
    int descriptor;
    char *path;      /* the final place, links resolved */
    char *temporary; /* NULL when `path` is a device or pipe and is written directly */
    char *buffer;
    size_t buffered;
    slad_status failed; /* of the first write that failed; finish repeats it */
};

/* Writes everything or fails. `shown` names the file in messages. */
static slad_status write_fully(slad_context *context, int descriptor, const char *bytes, size_t count,
                               const char *shown)
{
    slad_status status = SLAD_OK;
    while (count > 0) {
        const ssize_t written = write(descriptor, bytes, count);
        if (written < 0 && errno == EINTR) continue;
        SLAD_FAIL_IF(written < 0, SLAD_ERROR_WRITE, "%s: writing failed: %s; free some space or choose another folder",
                     shown, strerror(errno));
        bytes += written;
        count -= (size_t)written;
    }
cleanup:
    return status;
}

/* Follows links, so that the file a link points to is replaced, and not the link. */
static slad_status resolve(slad_context *context, char **out, const char *path)
{
    char *resolved = realpath(path, NULL);
    const slad_status status = slad_duplicate(context, out, resolved ? resolved : path);
    free(resolved);
    return status;
}

/* Opens the temporary file, under the first name that nothing else uses. */
static slad_status open_temporary(slad_writer *writer)
{
    slad_status status = SLAD_OK;
    slad_context *context = writer->context;
    for (unsigned attempt = 0; attempt < TEMPORARY_NAMES; attempt++) {
        SLAD_TRY(slad_format(context, &writer->temporary, "%s.%ld-%u.tmp", writer->path, (long)getpid(), attempt));
        writer->descriptor = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->descriptor >= 0) break;
        const int reason = errno;
        slad_release(writer->temporary); /* not ours, so never to be removed */
        writer->temporary = NULL;
        SLAD_FAIL_IF(reason != EEXIST, SLAD_ERROR_WRITE, "%s: cannot be created: %s; choose a folder you may write to",
                     writer->path, strerror(reason));
    }
    SLAD_FAIL_IF(writer->descriptor < 0, SLAD_ERROR_WRITE, "%s: remove the old files %s.*.tmp beside it", writer->path,
                 writer->path);
cleanup:
    return status;
}

slad_status slad_writer_open(slad_context *context, slad_writer **out, const char *path)
{
    slad_status status = SLAD_OK;
    slad_writer *writer = NULL;
    *out = NULL;
    SLAD_TRY(slad_allocate(context, &writer, 1, sizeof *writer, "a file writer"));
    writer->context = context;
    writer->descriptor = -1;
    SLAD_TRY(slad_allocate(context, &writer->buffer, BUFFER_SIZE, 1, "the buffer of a file writer"));
    SLAD_TRY(resolve(context, &writer->path, path));
    const slad_path_kind kind = slad_path_look(writer->path);
    SLAD_FAIL_IF(kind == SLAD_PATH_DIRECTORY, SLAD_ERROR_WRITE, "%s: is a folder; give the path of a file", path);
    if (kind == SLAD_PATH_OTHER) {
        /* A device or pipe must not be replaced by a file. */
        writer->descriptor = open(writer->path, O_WRONLY | O_CLOEXEC);
        SLAD_FAIL_IF(writer->descriptor < 0, SLAD_ERROR_WRITE, "%s: cannot be opened for writing: %s", path,
                     strerror(errno));
    } else {
        SLAD_TRY(open_temporary(writer));
    }
    *out = writer;
    writer = NULL;
cleanup:
    slad_writer_abandon(writer);
    return status;
}

static slad_status flush(slad_writer *writer)
{
    const slad_status status =
        write_fully(writer->context, writer->descriptor, writer->buffer, writer->buffered, writer->path);
    writer->buffered = 0;
    if (status != SLAD_OK) writer->failed = status;
    return status;
}

slad_status slad_writer_write(slad_writer *writer, const void *bytes, size_t count)
{
    if (writer->failed != SLAD_OK) return writer->failed;
    if (count > BUFFER_SIZE - writer->buffered) {
        const slad_status status = flush(writer);
        if (status != SLAD_OK) return status;
    }
    if (count >= BUFFER_SIZE) {
        writer->failed = write_fully(writer->context, writer->descriptor, bytes, count, writer->path);
        return writer->failed;
    }
    if (count > 0) memcpy(writer->buffer + writer->buffered, bytes, count);
    writer->buffered += count;
    return SLAD_OK;
}

slad_status slad_writer_write_at(slad_writer *writer, uint64_t offset, const void *bytes, size_t count)
{
    slad_context *context = writer->context;
    slad_status status = writer->failed;
    const char *source = bytes;
    while (status == SLAD_OK && count > 0) {
        const ssize_t written = pwrite(writer->descriptor, source, count, (off_t)offset);
        if (written < 0 && errno == EINTR) continue;
        SLAD_FAIL_IF(written < 0, SLAD_ERROR_WRITE, "%s: writing failed: %s; free some space or choose another folder",
                     writer->path, strerror(errno));
        source += written;
        offset += (uint64_t)written;
        count -= (size_t)written;
    }
cleanup:
    writer->failed = status;
    return status;
}

slad_status slad_writer_printf(slad_writer *writer, const char *format, ...)
{
    slad_status status = SLAD_OK;
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    SLAD_TRY(slad_format_list(writer->context, &text, format, arguments));
    SLAD_TRY(slad_writer_write(writer, text, strlen(text)));
cleanup:
    va_end(arguments);
    if (status != SLAD_OK) writer->failed = status;
    slad_release(text);
    return status;
}

/* Makes the renaming itself survive a power cut. Some file systems cannot do that, so that failing is no error. */
static void sync_folder_of(const char *path)
{
    char *folder = strdup(path);
    if (!folder) return;
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder ? 1 : 0] = '\0';
    const int descriptor = open(slash ? folder : ".", O_RDONLY | O_CLOEXEC);
    if (descriptor >= 0) {
        (void)fsync(descriptor);
        close(descriptor);
    }
    free(folder);
}

slad_status slad_writer_finish(slad_writer *writer)
{
    slad_status status = SLAD_OK;
    slad_context *context = writer->context;
    SLAD_TRY(writer->failed);
    SLAD_TRY(flush(writer));
    if (writer->temporary) {
        SLAD_FAIL_IF(fsync(writer->descriptor) != 0, SLAD_ERROR_WRITE, "%s: writing failed: %s", writer->path,
                     strerror(errno));
    }
    const int closed = close(writer->descriptor);
    writer->descriptor = -1;
    SLAD_FAIL_IF(closed != 0, SLAD_ERROR_WRITE, "%s: writing failed: %s", writer->path, strerror(errno));
    if (writer->temporary) {
        SLAD_FAIL_IF(rename(writer->temporary, writer->path) != 0, SLAD_ERROR_WRITE, "%s: cannot be replaced: %s",
                     writer->path, strerror(errno));
        slad_release(writer->temporary);
        writer->temporary = NULL;
        sync_folder_of(writer->path);
    }
cleanup:
    slad_writer_abandon(writer);
    return status;
}

void slad_writer_abandon(slad_writer *writer)
{
    if (!writer) return;
    if (writer->descriptor >= 0) close(writer->descriptor);
    if (writer->temporary) (void)unlink(writer->temporary);
    slad_release(writer->temporary);
    slad_release(writer->path);
    slad_release(writer->buffer);
    slad_release(writer);
}

slad_status slad_file_write_all(slad_context *context, const char *path, const void *bytes, size_t count)
{
    slad_status status = SLAD_OK;
    slad_writer *writer = NULL;
    SLAD_TRY(slad_writer_open(context, &writer, path));
    (void)slad_writer_write(writer, bytes, count); /* finish repeats its error */
    status = slad_writer_finish(writer);
cleanup:
    return status;
}

struct slad_appender {
    slad_context *context;
    int descriptor;
    char *path;
};

slad_status slad_appender_open(slad_context *context, slad_appender **out, const char *path, bool truncate)
{
    slad_status status = SLAD_OK;
    slad_appender *appender = NULL;
    *out = NULL;
    SLAD_TRY(slad_allocate(context, &appender, 1, sizeof *appender, "a file that grows"));
    appender->context = context;
    appender->descriptor = -1;
    SLAD_TRY(slad_duplicate(context, &appender->path, path));
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (truncate ? O_TRUNC : 0);
    appender->descriptor = open(path, flags, 0666);
    SLAD_FAIL_IF(appender->descriptor < 0, SLAD_ERROR_WRITE, "%s: cannot be opened for writing: %s", path,
                 strerror(errno));
    *out = appender;
    appender = NULL;
cleanup:
    slad_appender_close(appender);
    return status;
}

slad_status slad_appender_write(slad_appender *appender, const void *bytes, size_t count)
{
    return write_fully(appender->context, appender->descriptor, bytes, count, appender->path);
}

void slad_appender_close(slad_appender *appender)
{
    if (!appender) return;
    if (appender->descriptor >= 0) close(appender->descriptor);
    slad_release(appender->path);
    slad_release(appender);
}
