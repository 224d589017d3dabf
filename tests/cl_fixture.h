/* What the tests of the room cl share: a context whose log is kept, a temporary folder, a device. */
#ifndef SLAD_TESTS_CL_FIXTURE_H
#define SLAD_TESTS_CL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/files.h"
#include "base/memory.h"
#include "cl/launch.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct cl_fixture {
    slad_context *context;
    char log[1 << 16]; /* every line so far */
    char folder[256];  /* removed at the end */
} cl_fixture;

static inline void keep_line(void *user, slad_log_level level, const char *message)
{
    cl_fixture *fixture = user;
    const size_t used = strlen(fixture->log);
    (void)level;
    (void)snprintf(fixture->log + used, sizeof fixture->log - used, "%s\n", message);
}

static inline void cl_fixture_start(cl_fixture *fixture)
{
    memset(fixture, 0, sizeof *fixture);
    const slad_callbacks callbacks = {.user = fixture, .log = keep_line};
    assert_int_equal(slad_context_create(&fixture->context, &callbacks, SLAD_LOG_DEBUG), SLAD_OK);
    const char *temporary = getenv("TMPDIR");
    (void)snprintf(fixture->folder, sizeof fixture->folder, "%s/slad-test-XXXXXX", temporary ? temporary : "/tmp");
    assert_non_null(mkdtemp(fixture->folder));
}

static inline void cl_fixture_end(cl_fixture *fixture)
{
    assert_int_equal(slad_path_remove(fixture->context, fixture->folder), SLAD_OK);
    slad_context_free(fixture->context);
}

/* "FOLDER/name"; the text lives until the next call but one. */
static inline const char *cl_fixture_path(const cl_fixture *fixture, const char *name)
{
    static char paths[2][512];
    static unsigned turn;
    char *path = paths[turn++ % 2];
    (void)snprintf(path, sizeof paths[0], "%s/%s", fixture->folder, name);
    return path;
}

static inline void cl_fixture_write(const cl_fixture *fixture, const char *name, const char *text)
{
    assert_int_equal(slad_file_write_all(fixture->context, cl_fixture_path(fixture, name), text, strlen(text)),
                     SLAD_OK);
}

/* The device of $TEST_DEVICE, else the default one. Options may be NULL: no cache on disk then. */
static inline slad_device *cl_fixture_open(const cl_fixture *fixture, const slad_device_options *options)
{
    slad_device_options used = {.cache_directory = ""};
    slad_device *device = NULL;
    if (options) used = *options;
    if (!used.spec) used.spec = getenv("TEST_DEVICE");
    const slad_status status = slad_device_open(fixture->context, &device, &used);
    if (status != SLAD_OK) fail_msg("no device: %s", slad_context_message(fixture->context));
    return device;
}

#endif
