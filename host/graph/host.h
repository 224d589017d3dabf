/* What an operation's reference rule speaks to: plain memory. */
#ifndef SLAD_GRAPH_HOST_H
#define SLAD_GRAPH_HOST_H

#include "graph/record.h"

typedef struct slad_host slad_host;

slad_context *slad_host_context(const slad_host *host);
/* The first element of a tensor; its strides apply. NULL for NULL. */
float *slad_host_floats(slad_host *host, const slad_tensor *tensor);
int32_t *slad_host_integers(slad_host *host, const slad_tensor *tensor);

#endif
