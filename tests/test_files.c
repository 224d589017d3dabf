/* Files and folders, and what happens when the system says no. */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void assert_content(scratch *own, const char *path, const char *text)
{
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(slad_file_read_all(own->context, &bytes, &size, path, 1 << 20), SLAD_OK);
    assert_int_equal(size, strlen(text));
    assert_string_equal(bytes, text);
    slad_release(bytes);
}

static size_t entries(scratch *own)
{
    slad_directory directory;
    assert_int_equal(slad_directory_read(own->context, &directory, own->folder), SLAD_OK);
    const size_t count = directory.count;
    slad_directory_free(&directory);
    return count;
}

static void reading_is_exact(void **state)
{
    scratch *own = *state;
    const char *path = scratch_path(own, "a");
    put(path, "0123456789");
    slad_file *file = NULL;
    assert_int_equal(slad_file_open(own->context, &file, path), SLAD_OK);
    assert_int_equal(slad_file_size(file), 10);
    assert_string_equal(slad_file_path(file), path);
    char bytes[6] = "-----";
    assert_int_equal(slad_file_read_at(own->context, bytes, file, 3, 4), SLAD_OK);
    assert_string_equal(bytes, "3456-");
    assert_int_equal(slad_file_read_at(own->context, bytes, file, 10, 0), SLAD_OK);
    assert_int_equal(slad_file_read_at(own->context, bytes, file, 8, 3), SLAD_ERROR_DATA);
    assert_message(own, "truncated");
    assert_int_equal(slad_file_read_at(own->context, bytes, file, UINT64_MAX, 2), SLAD_ERROR_DATA);
    assert_string_equal(bytes, "3456-");
    /* Another program shortens the file while it is open. */
    assert_int_equal(truncate(path, 5), 0);
    assert_int_equal(slad_file_read_at(own->context, bytes, file, 3, 4), SLAD_ERROR_DATA);
    assert_message(own, "shortened");
    slad_file_close(file);
    slad_file_close(NULL);
}

static void only_files_can_be_opened(void **state)
{
    scratch *own = *state;
    slad_file *file = NULL;
    assert_int_equal(slad_file_open(own->context, &file, scratch_path(own, "none")), SLAD_ERROR_DATA);
    assert_message(own, "none");
    assert_int_equal(slad_file_open(own->context, &file, own->folder), SLAD_ERROR_DATA);
    assert_message(own, "a folder");
    assert_int_equal(mkfifo(scratch_path(own, "pipe"), 0600), 0);
    assert_int_equal(slad_file_open(own->context, &file, own->path), SLAD_ERROR_DATA); /* and does not hang */
    assert_null(file);
}

static void whole_files_have_a_limit(void **state)
{
    scratch *own = *state;
    char *bytes = NULL;
    size_t size = 0;
    put(scratch_path(own, "a"), "12345");
    assert_int_equal(slad_file_read_all(own->context, &bytes, &size, own->path, 5), SLAD_OK);
    assert_string_equal(bytes, "12345");
    slad_release(bytes);
    assert_int_equal(slad_file_read_all(own->context, &bytes, &size, own->path, 4), SLAD_ERROR_DATA);
    assert_null(bytes);
    put(scratch_path(own, "empty"), "");
    assert_int_equal(slad_file_read_all(own->context, &bytes, &size, own->path, 4), SLAD_OK);
    assert_int_equal(size, 0);
    assert_string_equal(bytes, "");
    slad_release(bytes);
}

static void writing_replaces_at_the_end(void **state)
{
    scratch *own = *state;
    slad_writer *writer = NULL;
    char path[1024];
    (void)snprintf(path, sizeof path, "%s", scratch_path(own, "a"));
    put(path, "old");
    assert_int_equal(slad_writer_open(own->context, &writer, path), SLAD_OK);
    assert_int_equal(slad_writer_write(writer, "new ", 4), SLAD_OK);
    assert_int_equal(slad_writer_printf(writer, "%d %s", 12, "text"), SLAD_OK);
    assert_content(own, path, "old");
    assert_int_equal(entries(own), 2);
    assert_int_equal(slad_writer_finish(writer), SLAD_OK);
    assert_content(own, path, "new 12 text");
    assert_int_equal(entries(own), 1);

    assert_int_equal(slad_writer_open(own->context, &writer, path), SLAD_OK);
    assert_int_equal(slad_writer_write(writer, "lost", 4), SLAD_OK);
    slad_writer_abandon(writer);
    slad_writer_abandon(NULL);
    assert_content(own, path, "new 12 text");
    assert_int_equal(entries(own), 1);
}

static void large_writes_arrive_whole(void **state)
{
    scratch *own = *state;
    enum { SIZE = 300000 };
    unsigned char *bytes = malloc(SIZE);
    assert_non_null(bytes);
    for (size_t i = 0; i < SIZE; i++) bytes[i] = (unsigned char)(i * 31 >> 3);
    slad_writer *writer = NULL;
    assert_int_equal(slad_writer_open(own->context, &writer, scratch_path(own, "big")), SLAD_OK);
    for (size_t at = 0, part = 1; at < SIZE; at += part, part = part * 3 + 1) {
        if (part > SIZE - at) part = SIZE - at;
        assert_int_equal(slad_writer_write(writer, bytes + at, part), SLAD_OK);
    }
    assert_int_equal(slad_writer_finish(writer), SLAD_OK);
    char *back = NULL;
    size_t size = 0;
    assert_int_equal(slad_file_read_all(own->context, &back, &size, own->path, SIZE), SLAD_OK);
    assert_int_equal(size, SIZE);
    assert_memory_equal(back, bytes, SIZE);
    slad_release(back);
    free(bytes);
}

static void writing_at_a_place_leaves_the_rest(void **state)
{
    scratch *own = *state;
    slad_writer *writer = NULL;
    const char *path = scratch_path(own, "a");
    assert_int_equal(slad_writer_open(own->context, &writer, path), SLAD_OK);
    assert_int_equal(slad_writer_write(writer, "ab", 2), SLAD_OK);
    assert_int_equal(slad_writer_write_at(writer, 6, "gh", 2), SLAD_OK);
    assert_int_equal(slad_writer_write_at(writer, 4, "ef", 2), SLAD_OK);
    assert_int_equal(slad_writer_write(writer, "cd", 2), SLAD_OK);
    assert_int_equal(slad_writer_finish(writer), SLAD_OK);
    assert_content(own, path, "abcdefgh");
    /* A full disk is noticed here too, and finish repeats it. */
    if (access("/dev/full", W_OK) != 0) return;
    assert_int_equal(slad_writer_open(own->context, &writer, "/dev/full"), SLAD_OK);
    assert_int_equal(slad_writer_write_at(writer, 0, "x", 1), SLAD_ERROR_WRITE);
    assert_int_equal(slad_writer_finish(writer), SLAD_ERROR_WRITE);
}

static void two_writers_of_one_file_do_not_meet(void **state)
{
    scratch *own = *state;
    slad_writer *first = NULL, *second = NULL;
    const char *path = scratch_path(own, "a");
    assert_int_equal(slad_writer_open(own->context, &first, path), SLAD_OK);
    assert_int_equal(slad_writer_open(own->context, &second, path), SLAD_OK);
    assert_int_equal(slad_writer_write(first, "first", 5), SLAD_OK);
    assert_int_equal(slad_writer_write(second, "second", 6), SLAD_OK);
    assert_int_equal(slad_writer_finish(second), SLAD_OK);
    assert_int_equal(slad_writer_finish(first), SLAD_OK);
    assert_content(own, path, "first");
    assert_int_equal(entries(own), 1);
}

static void links_are_followed_when_writing(void **state)
{
    scratch *own = *state;
    char target[1024];
    (void)snprintf(target, sizeof target, "%s", scratch_path(own, "target"));
    put(target, "old");
    assert_int_equal(symlink(target, scratch_path(own, "link")), 0);
    assert_int_equal(slad_file_write_all(own->context, own->path, "new", 3), SLAD_OK);
    assert_content(own, target, "new");
    struct stat information;
    assert_int_equal(lstat(own->path, &information), 0);
    assert_true(S_ISLNK(information.st_mode));
}

static void impossible_places_are_write_errors(void **state)
{
    scratch *own = *state;
    slad_writer *writer = NULL;
    assert_int_equal(slad_writer_open(own->context, &writer, scratch_path(own, "no/such/folder")), SLAD_ERROR_WRITE);
    assert_message(own, "no/such/folder");
    assert_int_equal(slad_writer_open(own->context, &writer, own->folder), SLAD_ERROR_WRITE);
    assert_message(own, "folder");
    assert_null(writer);
    assert_int_equal(slad_directory_test_writing(own->context, own->folder), SLAD_OK);
    assert_int_equal(entries(own), 0);
    assert_int_equal(slad_directory_test_writing(own->context, scratch_path(own, "none")), SLAD_ERROR_WRITE);
    if (geteuid() == 0) return; /* root may write where the mode says no */
    assert_int_equal(mkdir(scratch_path(own, "closed"), 0500), 0);
    assert_int_equal(slad_directory_test_writing(own->context, own->path), SLAD_ERROR_WRITE);
    assert_message(own, "closed");
}

static void full_disk_is_a_write_error(void **state)
{
    scratch *own = *state;
    if (access("/dev/full", W_OK) != 0) skip();
    char bytes[100000] = {0};
    slad_writer *writer = NULL;
    /* A device is written directly: the buffer is flushed by a large write, or by finish. */
    assert_int_equal(slad_writer_open(own->context, &writer, "/dev/full"), SLAD_OK);
    assert_int_equal(slad_writer_write(writer, bytes, sizeof bytes), SLAD_ERROR_WRITE);
    assert_message(own, "/dev/full: ");
    assert_message(own, strerror(ENOSPC));
    assert_int_equal(slad_writer_write(writer, bytes, 1), SLAD_ERROR_WRITE);
    assert_int_equal(slad_writer_finish(writer), SLAD_ERROR_WRITE);
    assert_int_equal(slad_file_write_all(own->context, "/dev/full", "text", 4), SLAD_ERROR_WRITE);
    struct stat information;
    assert_int_equal(stat("/dev/full", &information), 0);
    assert_true(S_ISCHR(information.st_mode));

    slad_appender *appender = NULL;
    assert_int_equal(slad_appender_open(own->context, &appender, "/dev/full", false), SLAD_OK);
    assert_int_equal(slad_appender_write(appender, "line\n", 5), SLAD_ERROR_WRITE);
    slad_appender_close(appender);
}

/* The limit of a file's size stands in for a disk that fills up while a real file is written. */
static void failed_write_leaves_the_old_file(void **state)
{
    scratch *own = *state;
    char path[1024];
    (void)snprintf(path, sizeof path, "%s", scratch_path(own, "a"));
    put(path, "old");
    struct rlimit before, small = {.rlim_cur = 50000};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    void (*const handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    char bytes[100000] = {0};
    const slad_status status = slad_file_write_all(own->context, path, bytes, sizeof bytes);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(status, SLAD_ERROR_WRITE);
    assert_message(own, path);
    assert_content(own, path, "old");
    assert_int_equal(entries(own), 1);
}

static void lines_are_appended(void **state)
{
    scratch *own = *state;
    slad_appender *appender = NULL;
    const char *path = scratch_path(own, "log");
    put(path, "before\n");
    assert_int_equal(slad_appender_open(own->context, &appender, path, false), SLAD_OK);
    assert_int_equal(slad_appender_write(appender, "one\n", 4), SLAD_OK);
    assert_content(own, path, "before\none\n"); /* without closing */
    assert_int_equal(slad_appender_write(appender, "two\n", 4), SLAD_OK);
    slad_appender_close(appender);
    assert_content(own, path, "before\none\ntwo\n");
    assert_int_equal(slad_appender_open(own->context, &appender, path, true), SLAD_OK);
    slad_appender_close(appender);
    slad_appender_close(NULL);
    assert_content(own, path, "");
    assert_int_equal(slad_appender_open(own->context, &appender, own->folder, true), SLAD_ERROR_WRITE);
    assert_null(appender);
}

static void folders_are_listed_in_byte_order(void **state)
{
    scratch *own = *state;
    static const char *const names[] = {"B", "a", "Z", "_", "\xc3\xa9", "10", "9"};
    static const char *const sorted[] = {"10", "9", "B", "Z", "_", "a", "folder", "link", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) put(scratch_path(own, names[i]), "x");
    assert_int_equal(mkdir(scratch_path(own, "folder"), 0700), 0);
    assert_int_equal(symlink("folder", scratch_path(own, "link")), 0);
    slad_directory directory;
    assert_int_equal(slad_directory_read(own->context, &directory, own->folder), SLAD_OK);
    assert_int_equal(directory.count, sizeof sorted / sizeof sorted[0]);
    for (size_t i = 0; i < directory.count; i++) {
        assert_string_equal(directory.entries[i].name, sorted[i]);
        const bool folder = i == 6 || i == 7;
        assert_int_equal(directory.entries[i].kind, folder ? SLAD_PATH_DIRECTORY : SLAD_PATH_FILE);
    }
    slad_directory_free(&directory);
    assert_int_equal(slad_directory_read(own->context, &directory, scratch_path(own, "none")), SLAD_ERROR_DATA);
    assert_int_equal(directory.count, 0);
    slad_directory_free(&directory);
}

static void folders_are_created_and_removed(void **state)
{
    scratch *own = *state;
    const char *path = scratch_path(own, "x/y//z/");
    assert_int_equal(slad_directory_create(own->context, path), SLAD_OK);
    assert_int_equal(slad_directory_create(own->context, path), SLAD_OK);
    assert_int_equal(slad_path_look(scratch_path(own, "x/y/z")), SLAD_PATH_DIRECTORY);
    put(scratch_path(own, "kept"), "kept");
    assert_int_equal(slad_directory_create(own->context, scratch_path(own, "kept/inside")), SLAD_ERROR_WRITE);
    put(scratch_path(own, "x/y/file"), "x");
    assert_int_equal(symlink("../kept", scratch_path(own, "x/link")), 0);
    assert_int_equal(symlink("none", scratch_path(own, "x/dangling")), 0);
    assert_int_equal(slad_path_remove(own->context, scratch_path(own, "x")), SLAD_OK);
    assert_int_equal(slad_path_look(own->path), SLAD_PATH_MISSING);
    assert_content(own, scratch_path(own, "kept"), "kept");
    assert_int_equal(slad_path_remove(own->context, scratch_path(own, "none")), SLAD_OK);
    assert_int_equal(slad_path_remove(own->context, scratch_path(own, "kept")), SLAD_OK);
    assert_int_equal(entries(own), 0);
}

static void paths_are_joined_and_looked_at(void **state)
{
    scratch *own = *state;
    char *path = NULL;
    static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(slad_path_join(own->context, &path, cases[i][0], cases[i][1]), SLAD_OK);
        assert_string_equal(path, cases[i][2]);
        slad_release(path);
    }
    assert_int_equal(slad_path_absolute(own->context, &path, "/dev/../dev/./null"), SLAD_OK);
    assert_string_equal(path, "/dev/null");
    slad_release(path);
    assert_int_equal(slad_path_absolute(own->context, &path, scratch_path(own, "none")), SLAD_ERROR_DATA);
    assert_null(path);
    assert_message(own, "none");
    assert_int_equal(slad_path_look(own->folder), SLAD_PATH_DIRECTORY);
    assert_int_equal(slad_path_look("/dev/null"), SLAD_PATH_OTHER);
    assert_int_equal(slad_path_look(scratch_path(own, "none")), SLAD_PATH_MISSING);
}

static void cache_follows_the_environment(void **state)
{
    scratch *own = *state;
    char *path = NULL;
    setenv("XDG_CACHE_HOME", "/somewhere", 1);
    assert_int_equal(slad_cache_directory_default(own->context, &path), SLAD_OK);
    assert_string_equal(path, "/somewhere/slad");
    slad_release(path);
    setenv("XDG_CACHE_HOME", "relative", 1); /* to be ignored, says its specification */
    setenv("HOME", "/home/somebody", 1);
    assert_int_equal(slad_cache_directory_default(own->context, &path), SLAD_OK);
    assert_string_equal(path, "/home/somebody/.cache/slad");
    slad_release(path);
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    setenv("TMPDIR", "/nowhere", 1);
    assert_int_equal(slad_cache_directory_default(own->context, &path), SLAD_ERROR_WRITE);
    assert_null(path);
    assert_message(own, "/nowhere/slad-");
    unsetenv("TMPDIR");
}

/* Kernels are code: they are not taken from where others may put them. */
static void cache_in_a_shared_folder_is_the_users_own(void **state)
{
    scratch *own = *state;
    char *path = NULL, *again = NULL;
    struct stat information;
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    setenv("TMPDIR", own->folder, 1);
    assert_int_equal(slad_cache_directory_default(own->context, &path), SLAD_OK);
    assert_true(strncmp(path, own->folder, strlen(own->folder)) == 0 && strstr(path, "/slad-"));
    assert_int_equal(stat(path, &information), 0);
    assert_int_equal(information.st_mode & 0777, 0700);
    assert_int_equal(slad_cache_directory_default(own->context, &again), SLAD_OK);
    assert_string_equal(again, path);
    slad_release(again);
    assert_int_equal(chmod(path, 0720), 0);
    assert_int_equal(slad_cache_directory_default(own->context, &again), SLAD_ERROR_WRITE);
    assert_message(own, "other users may write");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink(own->folder, path), 0);
    assert_int_equal(slad_cache_directory_default(own->context, &again), SLAD_ERROR_WRITE);
    assert_message(own, "not a folder of this user");
    assert_null(again);
    slad_release(path);
    unsetenv("TMPDIR");
}

/* Only what a writer left, and only when it is old enough. */
static void leftovers_are_cleared(void **state)
{
    scratch *own = *state;
    static const char *const kept[] = {"notes.tmp", "a.bin", "a.1-.tmp", "a.-2.tmp", ".1-2.tmp", "a.1-2.tmp2"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) put(scratch_path(own, kept[i]), "x");
    put(scratch_path(own, "a.bin.123-0.tmp"), "x");
    put(scratch_path(own, "b.4-999.tmp"), "x");
    const struct timespec long_ago[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    assert_int_equal(utimensat(AT_FDCWD, scratch_path(own, "b.4-999.tmp"), long_ago, 0), 0);
    const size_t others = sizeof kept / sizeof *kept;
    assert_int_equal(slad_directory_clear_leftovers(own->context, own->folder, 3600), SLAD_OK);
    assert_int_equal(slad_path_look(scratch_path(own, "b.4-999.tmp")), SLAD_PATH_MISSING);
    assert_int_equal(entries(own), others + 1);
    assert_int_equal(slad_directory_clear_leftovers(own->context, own->folder, 0), SLAD_OK);
    assert_int_equal(entries(own), others);
    for (size_t i = 0; i < others; i++) assert_int_equal(slad_path_look(scratch_path(own, kept[i])), SLAD_PATH_FILE);
    assert_int_equal(slad_directory_clear_leftovers(own->context, scratch_path(own, "none"), 0), SLAD_OK);
}

/* With each allocation made to fail in turn, nothing is left behind and the old file stays. */
static void no_memory_leaves_the_old_file(void **state)
{
    scratch *own = *state;
    char path[1024];
    (void)snprintf(path, sizeof path, "%s", scratch_path(own, "a"));
    put(path, "old");
    bool struck = true;
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_fault_arm(own->context, countdown);
        const slad_status status = slad_file_write_all(own->context, path, "new", 3);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        assert_content(own, path, struck ? "old" : "new");
        assert_int_equal(entries(own), 1);
        assert_true(countdown < 20);
    }
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(reading_is_exact),
        WITH_SCRATCH(only_files_can_be_opened),
        WITH_SCRATCH(whole_files_have_a_limit),
        WITH_SCRATCH(writing_replaces_at_the_end),
        WITH_SCRATCH(large_writes_arrive_whole),
        WITH_SCRATCH(writing_at_a_place_leaves_the_rest),
        WITH_SCRATCH(two_writers_of_one_file_do_not_meet),
        WITH_SCRATCH(links_are_followed_when_writing),
        WITH_SCRATCH(impossible_places_are_write_errors),
        WITH_SCRATCH(full_disk_is_a_write_error),
        WITH_SCRATCH(failed_write_leaves_the_old_file),
        WITH_SCRATCH(lines_are_appended),
        WITH_SCRATCH(folders_are_listed_in_byte_order),
        WITH_SCRATCH(folders_are_created_and_removed),
        WITH_SCRATCH(paths_are_joined_and_looked_at),
        WITH_SCRATCH(no_memory_leaves_the_old_file),
        WITH_SCRATCH(cache_follows_the_environment),
        WITH_SCRATCH(cache_in_a_shared_folder_is_the_users_own),
        WITH_SCRATCH(leftovers_are_cleared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
