/* Tensors, and the slabs of memory that they are parts of. Neither names a device: an executor gives slabs their
 * memory. */
#ifndef SLAD_GRAPH_TENSOR_H
#define SLAD_GRAPH_TENSOR_H

#include "base/error.h"
#include <stddef.h>

#define SLAD_MAX_RANK 4
/* Tensors begin at multiples of this many elements of their slab, so that vector loads are aligned and tables of the
 * optimizer can speak of whole blocks. */
#define SLAD_TENSOR_ALIGNMENT 16
/* Most elements of one buffer, whatever the device would allow: kernels' offsets are 32 bits wide, and GEMMs count to
 * 2^31. What is larger is parted into several buffers. */
#define SLAD_BUFFER_ELEMENTS ((size_t)INT32_MAX)

typedef enum slad_element { SLAD_F32, SLAD_I32 } slad_element;

typedef enum slad_slab_kind {
    SLAD_SLAB_FROZEN,   /* filled once from its source, never written again */
    SLAD_SLAB_TRAINED,  /* what the optimizer moves; has a gradient and two moments of the same size */
    SLAD_SLAB_GRADIENT, /* zero at the start of a step, only ever added to */
    SLAD_SLAB_MOMENT_1,
    SLAD_SLAB_MOMENT_2,
    SLAD_SLAB_AVERAGE,   /* the moving average of trained values, where the store keeps it; zero at the start */
    SLAD_SLAB_STATE,     /* lives from step to step: step values, loss accumulators, the step's report */
    SLAD_SLAB_INPUT,     /* written by the host before each replay */
    SLAD_SLAB_ACTIVATION /* lives from its writing node to its last reader, in the arena */
} slad_slab_kind;

/* Gives the values of a frozen or trained tensor when an executor wants them: `elements` floats (or int32 of the same
 * size for SLAD_I32) to destination. May be called more than once and must give the same values each time. */
typedef slad_status (*slad_fill)(slad_context *context, void *destination, size_t elements, const void *user,
                                 size_t index);

typedef struct slad_slab {
    uint32_t id; /* index in its owner's list */
    slad_slab_kind kind;
    size_t elements;
    /* TRAINED only, else NULL */
    struct slad_slab *gradient, *moment_1, *moment_2;
    struct slad_slab *average; /* NULL also if the store keeps none */
} slad_slab;

typedef struct slad_tensor {
    slad_slab *slab;
    size_t offset; /* elements */
    unsigned rank;
    size_t size[SLAD_MAX_RANK], stride[SLAD_MAX_RANK]; /* elements; entries past rank are 1 and 0 */
    slad_element element;
    bool needs_gradient; /* it is trained, or computed from something that is */
    const char *name;    /* for messages; owned by store or record */
} slad_tensor;

/* Number of elements. */
size_t slad_tensor_elements(const slad_tensor *tensor);
/* Product of all sizes but the last: the rows of what most operations see as a matrix. */
size_t slad_tensor_rows(const slad_tensor *tensor);
/* The last size. */
size_t slad_tensor_columns(const slad_tensor *tensor);
bool slad_tensor_is_contiguous(const slad_tensor *tensor);
/* Writes "[2, 257, 384]" to text of at least 96 bytes. */
void slad_tensor_shape_text(char *text, const slad_tensor *tensor);

#endif
