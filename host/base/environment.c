/* Reading the environment. */
#include "base/environment.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

extern char **environ;

static bool has_prefix(const char *text, const char *const *prefixes, size_t prefix_count)
{
    for (size_t i = 0; i < prefix_count; i++) {
        if (strncmp(text, prefixes[i], strlen(prefixes[i])) == 0) return true;
    }
    return false;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

slad_status slad_environment_list(slad_context *context, char **out, const char *const *prefixes, size_t prefix_count)
{
    slad_status status = SLAD_OK;
    const char **found = NULL;
    size_t count = 0, capacity = 0, size = 1;
    *out = NULL;
    for (char **variable = environ; variable && *variable; variable++) {
        if (!has_prefix(*variable, prefixes, prefix_count)) continue;
        SLAD_TRY(slad_grow(context, &found, &capacity, count + 1, sizeof *found, "the environment"));
        found[count++] = *variable;
        size += strlen(*variable) + 1;
    }
    SLAD_TRY(slad_allocate(context, out, size, 1, "the environment"));
    if (count > 0) qsort(found, count, sizeof *found, compare);
    char *end = *out;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(found[i]);
        memcpy(end, found[i], length);
        end[length] = '\n';
        end += length + 1;
    }
cleanup:
    slad_release(found);
    return status;
}
