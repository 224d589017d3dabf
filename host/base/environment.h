/* The environment variables of this process. */
#ifndef SLAD_BASE_ENVIRONMENT_H
#define SLAD_BASE_ENVIRONMENT_H

#include "base/error.h"
#include <stddef.h>

/* All variables whose names begin with one of the prefixes, as "NAME=value" lines in byte order; release *out. */
slad_status slad_environment_list(slad_context *context, char **out, const char *const *prefixes, size_t prefix_count);

#endif
