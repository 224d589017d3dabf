/* Folders: listing, creating, testing, and the place of the cache. */
#include "base/files.h"
#include "base/memory.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int compare_entries(const void *left, const void *right)
{
    return strcmp(((const slad_directory_entry *)left)->name, ((const slad_directory_entry *)right)->name);
}

static slad_status add_entry(slad_context *context, slad_directory *directory, size_t *capacity, const char *folder,
                             const char *name)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    SLAD_TRY(slad_grow(context, &directory->entries, capacity, directory->count + 1, sizeof *directory->entries,
                       "the list of a folder"));
    slad_directory_entry *entry = &directory->entries[directory->count];
    SLAD_TRY(slad_duplicate(context, &entry->name, name));
    directory->count++;
    SLAD_TRY(slad_path_join(context, &path, folder, name));
    entry->kind = slad_path_look(path);
cleanup:
    slad_release(path);
    return status;
}

slad_status slad_directory_read(slad_context *context, slad_directory *directory, const char *path)
{
    slad_status status = SLAD_OK;
    size_t capacity = 0;
    *directory = (slad_directory){0};
    DIR *stream = opendir(path);
    SLAD_FAIL_IF(!stream, SLAD_ERROR_DATA, "%s: cannot be read as a folder: %s", path, strerror(errno));
    for (;;) {
        errno = 0; /* the only way to tell an error from the end */
        const struct dirent *entry = readdir(stream);
        SLAD_FAIL_IF(!entry && errno != 0, SLAD_ERROR_DATA, "%s: listing the folder failed: %s", path, strerror(errno));
        if (!entry) break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        SLAD_TRY(add_entry(context, directory, &capacity, path, entry->d_name));
    }
    if (directory->count > 1) qsort(directory->entries, directory->count, sizeof *directory->entries, compare_entries);
cleanup:
    if (stream) closedir(stream);
    if (status != SLAD_OK) slad_directory_free(directory);
    return status;
}

void slad_directory_free(slad_directory *directory)
{
    for (size_t i = 0; i < directory->count; i++) slad_release(directory->entries[i].name);
    slad_release(directory->entries);
    *directory = (slad_directory){0};
}

/* Creates one folder; one that exists already is fine. */
static slad_status create_one(slad_context *context, const char *path)
{
    slad_status status = SLAD_OK;
    const int failed = mkdir(path, 0777);
    const int reason = errno;
    SLAD_FAIL_IF(failed && slad_path_look(path) != SLAD_PATH_DIRECTORY, SLAD_ERROR_WRITE,
                 "%s: the folder cannot be created: %s", path, strerror(reason));
cleanup:
    return status;
}

slad_status slad_directory_create(slad_context *context, const char *path)
{
    slad_status status = SLAD_OK;
    char *prefix = NULL;
    SLAD_TRY(slad_duplicate(context, &prefix, path));
    for (char *end = prefix; *end; end++) {
        if (*end != '/' || end == prefix) continue;
        *end = '\0';
        SLAD_TRY(create_one(context, prefix));
        *end = '/';
    }
    SLAD_TRY(create_one(context, path));
cleanup:
    slad_release(prefix);
    return status;
}

slad_status slad_directory_test_writing(slad_context *context, const char *path)
{
    slad_status status = SLAD_OK;
    char *probe = NULL;
    slad_writer *writer = NULL;
    SLAD_TRY(slad_path_join(context, &probe, path, ".slad-write-test"));
    SLAD_TRY(slad_writer_open(context, &writer, probe));
    SLAD_TRY(slad_writer_write(writer, "slad\n", 5));
    slad_writer *finishing = writer;
    writer = NULL;
    SLAD_TRY(slad_writer_finish(finishing));
    SLAD_TRY(slad_path_remove(context, probe));
cleanup:
    slad_writer_abandon(writer);
    slad_release(probe);
    return status;
}

/* Whether a name is FILE.PROCESS-N.tmp, as a writer names what it has not finished. */
static bool is_leftover(const char *name)
{
    static const char digits[] = "0123456789", ending[] = ".tmp";
    const size_t length = strlen(name), tail = strlen(ending);
    if (length < tail || strcmp(name + length - tail, ending) != 0) return false;
    const char *last = name + length - tail, *dot = last;
    while (dot > name && *--dot != '.') continue;
    const size_t process = strspn(dot + 1, digits);
    const char *dash = dot + 1 + process;
    const size_t number = *dash == '-' ? strspn(dash + 1, digits) : 0;
    return dot > name && process > 0 && number > 0 && dash + 1 + number == last;
}

slad_status slad_directory_clear_leftovers(slad_context *context, const char *path, double seconds)
{
    slad_status status = SLAD_OK;
    slad_directory directory = {0};
    char *file = NULL;
    struct stat information;
    if (slad_path_look(path) != SLAD_PATH_DIRECTORY) return SLAD_OK;
    SLAD_TRY(slad_directory_read(context, &directory, path));
    for (size_t i = 0; i < directory.count; i++) {
        if (!is_leftover(directory.entries[i].name)) continue;
        SLAD_TRY(slad_path_join(context, &file, path, directory.entries[i].name));
        if (lstat(file, &information) == 0 && S_ISREG(information.st_mode) &&
            (seconds <= 0 || difftime(time(NULL), information.st_mtime) >= seconds))
            SLAD_TRY(slad_path_remove(context, file));
        slad_release(file);
        file = NULL;
    }
cleanup:
    slad_directory_free(&directory);
    slad_release(file);
    return status;
}

/* Makes a folder for this user alone, or proves that the one there is. */
static slad_status make_private(slad_context *context, const char *path)
{
    slad_status status = SLAD_OK;
    struct stat information;
    const int failed = mkdir(path, 0700);
    SLAD_FAIL_IF(failed && errno != EEXIST, SLAD_ERROR_WRITE, "%s: the folder cannot be created: %s", path,
                 strerror(errno));
    /* lstat: a link that somebody else put there leads to where they may write. */
    SLAD_FAIL_IF(lstat(path, &information) != 0, SLAD_ERROR_WRITE, "%s: cannot be examined: %s", path, strerror(errno));
    SLAD_FAIL_IF(!S_ISDIR(information.st_mode) || information.st_uid != getuid(), SLAD_ERROR_WRITE,
                 "%s is not a folder of this user; remove it, set HOME, or give --cache-dir", path);
    SLAD_FAIL_IF(information.st_mode & (S_IWGRP | S_IWOTH), SLAD_ERROR_WRITE,
                 "%s: other users may write to the folder; remove it, set HOME, or give --cache-dir", path);
cleanup:
    return status;
}

slad_status slad_cache_directory_default(slad_context *context, char **out)
{
    slad_status status = SLAD_OK;
    char *path = NULL;
    *out = NULL;
    const char *cache = getenv("XDG_CACHE_HOME");
    if (cache && cache[0] == '/') return slad_path_join(context, out, cache, "slad");
    const char *home = getenv("HOME");
    if (home && home[0] == '/') return slad_path_join(context, out, home, ".cache/slad");
    const char *temporary = getenv("TMPDIR");
    SLAD_TRY(slad_format(context, &path, "%s/slad-%lu", temporary && temporary[0] == '/' ? temporary : "/tmp",
                         (unsigned long)getuid()));
    SLAD_TRY(make_private(context, path));
    *out = path;
    path = NULL;
cleanup:
    slad_release(path);
    return status;
}

slad_status slad_path_absolute(slad_context *context, char **out, const char *path)
{
    slad_status status = SLAD_OK;
    *out = NULL;
    char *resolved = realpath(path, NULL);
    SLAD_FAIL_IF(!resolved, SLAD_ERROR_DATA, "%s cannot be found: %s", path, strerror(errno));
    SLAD_TRY(slad_duplicate(context, out, resolved));
cleanup:
    free(resolved);
    return status;
}
