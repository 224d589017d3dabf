/* Writing ONNX files: a graph of operations, its weights, metadata. Format: onnx.proto of the ONNX project, opset 17,
 * IR version 8. The file is a ModelProto; weights stand in it, or, where it would exceed the 2 GiB that protocol
 * buffers can hold, in a file of raw values beside it (ONNX's "external data"). */
#ifndef SLAD_IO_ONNX_H
#define SLAD_IO_ONNX_H

#include "base/error.h"
#include <stddef.h>

enum { SLAD_ONNX_NAME = 96, SLAD_ONNX_RANK = 4, SLAD_ONNX_INPUTS = 4, SLAD_ONNX_OPSET = 17 };

/* What flows through the graph, by its name. */
typedef struct slad_onnx_value {
    char name[SLAD_ONNX_NAME];
} slad_onnx_value;

/* A size of a tensor: 0 stands for the number of images, which is open. */
typedef uint64_t slad_onnx_size;

/* A graph being built. Errors stick: after one nothing is added, and slad_onnx_write returns it. */
typedef struct slad_onnx slad_onnx;
slad_status slad_onnx_create(slad_context *context, slad_onnx **graph, const char *name);
/* NULL is allowed. */
void slad_onnx_free(slad_onnx *graph);

slad_onnx_value slad_onnx_input(slad_onnx *graph, const char *name, size_t rank, const slad_onnx_size *sizes);
/* Declares a value that a node of this name makes as the graph's output. */
void slad_onnx_output(slad_onnx *graph, const char *name, size_t rank, const slad_onnx_size *sizes);
/* What an application may read of the file, key by key. */
void slad_onnx_metadata(slad_onnx *graph, const char *key, const char *value);

/* Weights whose values come when the file is written. */
slad_onnx_value slad_onnx_weights(slad_onnx *graph, const char *name, size_t rank, const uint64_t *sizes);
/* Whole numbers: a vector. */
slad_onnx_value slad_onnx_integers(slad_onnx *graph, const char *name, size_t count, const int64_t *values);
slad_onnx_value slad_onnx_scalar(slad_onnx *graph, const char *name, float value);

/* An attribute of a node. */
typedef struct slad_onnx_attribute {
    const char *name; /* NULL: none, which ends a list */
    enum { SLAD_ONNX_FLOAT = 1, SLAD_ONNX_INTEGER = 2, SLAD_ONNX_INTEGERS = 7 } type;
    float number;
    size_t count; /* of integers; an INTEGER is the first */
    int64_t integers[SLAD_ONNX_RANK];
} slad_onnx_attribute;

/* A node that is made by name: what it computes, of what, and the name of its (first) result. */
typedef struct slad_onnx_node {
    const char *operation;                          /* "MatMul" */
    slad_onnx_value inputs[SLAD_ONNX_INPUTS];       /* an empty name ends the list */
    slad_onnx_attribute attributes[SLAD_ONNX_RANK]; /* name NULL ends the list */
    unsigned results;                               /* 0: one; of several the others are NAME.1, NAME.2 ... */
} slad_onnx_node;
slad_onnx_value slad_onnx_add(slad_onnx *graph, const char *name, const slad_onnx_node *node);

/* Where weights come from: called once for each, in the order they were added. An error ends the writing. */
typedef struct slad_onnx_source {
    slad_status (*fill)(slad_context *context, float *destination, size_t index, uint64_t elements, void *user);
    void *user;
} slad_onnx_source;

/* Writes FOLDER/model.onnx, and FOLDER/model.onnx.data where the file would be longer than inline_limit bytes (0: 2 GiB
 * less a byte). Each is written atomically, the data first. Errors: SLAD_ERROR_WRITE, or what fill returned. */
slad_status slad_onnx_write(slad_onnx *graph, const char *folder, uint64_t inline_limit,
                            const slad_onnx_source *source);

#endif
