/* A folder of its own for each test, with a context; removed afterwards. Used as cmocka set-up and tear-down. */
#ifndef SLAD_TESTS_SCRATCH_H
#define SLAD_TESTS_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the above first. */
#include <cmocka.h>

#include "base/files.h"
#include "base/memory.h"

typedef struct scratch {
    slad_context *context;
    char folder[512];
    char path[1024]; /* of scratch_path's last call */
} scratch;

static inline int scratch_begin(void **state)
{
    scratch *own = calloc(1, sizeof *own);
    if (!own || slad_context_create(&own->context, NULL, SLAD_LOG_DEBUG) != SLAD_OK) return -1;
    const char *temporary = getenv("TMPDIR");
    (void)snprintf(own->folder, sizeof own->folder, "%s/slad-test-XXXXXX", temporary ? temporary : "/tmp");
    if (!mkdtemp(own->folder)) return -1;
    *state = own;
    return 0;
}

static inline int scratch_end(void **state)
{
    scratch *own = *state;
    const slad_status status = slad_path_remove(own->context, own->folder);
    slad_context_free(own->context);
    free(own);
    return status == SLAD_OK ? 0 : -1;
}

/* The path of `name` in the test's folder, valid until the next call. */
static inline const char *scratch_path(scratch *own, const char *name)
{
    (void)snprintf(own->path, sizeof own->path, "%s/%s", own->folder, name);
    return own->path;
}

/* Fails unless the last error's message holds `part`. */
static inline void assert_message(const scratch *own, const char *part)
{
    if (!strstr(slad_context_message(own->context), part))
        fail_msg("the message \"%s\" does not say \"%s\"", slad_context_message(own->context), part);
}

#endif
