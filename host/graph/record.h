/* The recorded step. Model and training code launch nothing: each call checks shapes, appends a node and returns its
 * output tensor. A record names no device; executors (graph/executor.h) replay it.
 *
 * Errors stick: after the first one every further call returns NULL, NULL inputs give NULL, and slad_record_status
 * tells the status once at the end, so that a model reads as its mathematics. */
#ifndef SLAD_GRAPH_RECORD_H
#define SLAD_GRAPH_RECORD_H

#include "graph/store.h"

#define SLAD_NODE_INPUTS  18 /* of an adapted linear layer: x, W, bias, six pairs, and what dropout reads */
#define SLAD_NODE_OUTPUTS 6

typedef struct slad_record slad_record;
typedef struct slad_node slad_node;
struct slad_launcher; /* graph/launcher.h */
struct slad_host;     /* graph/host.h */

/* When a node runs. Weights derived from frozen or trained values (packing, merging) are not nodes: the executor
 * derives them once or after each update, see slad_weight in graph/launcher.h. */
typedef enum slad_phase {
    SLAD_PHASE_MICRO_BATCH, /* depends on the batch */
    SLAD_PHASE_STEP         /* once a step, behind its last micro-batch: reduce, clip, optimizer, report */
} slad_phase;

/* What an operation is: three rules, one file of host/ops each. */
typedef struct slad_operation {
    const char *name; /* as its files are called; a gradient operation is "attention_backward" of attention.c */
    /* Appends the nodes that compute the gradients of the node's inputs from those of its outputs, only for inputs with
     * needs_gradient. Reads slad_gradient_of(output), writes to slad_gradient_target(input). NULL: no gradient exists;
     * an input that needs one is then an error. */
    slad_status (*gradient)(slad_record *record, const slad_node *node);
    /* True for losses: their rule runs although no gradient flows into their outputs. */
    bool starts_gradient;
    /* Says to the launcher what to launch. Called twice: once to plan (nothing is built), once to bind. */
    slad_status (*launch)(struct slad_launcher *launcher, const slad_node *node);
    /* The same in plain C, through host/reference. */
    slad_status (*reference)(struct slad_host *host, const slad_node *node);
} slad_operation;

struct slad_node {
    const slad_operation *operation;
    slad_phase phase;
    const slad_tensor *inputs[SLAD_NODE_INPUTS]; /* an optional one that is not there is NULL */
    unsigned input_count;
    /* Tensors that it writes: new activations, and existing ones that it adds to or updates in place. */
    const slad_tensor *outputs[SLAD_NODE_OUTPUTS];
    unsigned output_count;
    const void *parameters; /* the operation's own struct, copied into the record; points to no activation */
    size_t parameter_bytes;
};

slad_status slad_record_create(slad_context *context, slad_record **record, slad_store *store, const char *name);
void slad_record_free(slad_record *record);
slad_status slad_record_status(const slad_record *record);
slad_context *slad_record_context(const slad_record *record);
slad_store *slad_record_store(const slad_record *record);
const char *slad_record_name(const slad_record *record);

/* The build options of the kernel whose self-test records here, so that the rule can record the same specialisation; ""
 * elsewhere. The text must outlive the record. */
void slad_record_set_specialisation(slad_record *record, const char *defines);
const char *slad_record_specialisation(const slad_record *record);

/* Makes the record fail, with a message (the record's name is put before it). Always returns NULL. */
const slad_tensor *slad_record_fail(slad_record *record, slad_status status, const char *format, ...) SLAD_PRINTF(3, 4);

/* What the host writes before each replay. bound: SLAD_I32 values lie in 0 .. bound-1 (0 for SLAD_F32). */
const slad_tensor *slad_record_input(slad_record *record, const char *name, slad_element element, unsigned rank,
                                     const size_t *size, uint32_t bound);
/* Another look at the same memory; offset is relative to the tensor's. A view of an activation must cover all of it if
 * a gradient is to flow through it; a view of a trained tensor may be any part. */
const slad_tensor *slad_record_view(slad_record *record, const slad_tensor *tensor, size_t offset, unsigned rank,
                                    const size_t *size, const size_t *stride);
/* A contiguous tensor seen with other sizes of the same product. */
const slad_tensor *slad_record_reshape(slad_record *record, const slad_tensor *tensor, unsigned rank,
                                       const size_t *size);
/* A whole slab of the store as a vector, for operations that work on all that is trained at once. */
const slad_tensor *slad_record_slab(slad_record *record, slad_slab *slab);
/* The same values, through which no gradient flows. */
const slad_tensor *slad_record_detach(slad_record *record, const slad_tensor *tensor);
/* Keeps an activation until the end of the replay, to be read under this name. */
void slad_record_output(slad_record *record, const slad_tensor *tensor, const char *name);
/* All inputs and outputs by index. bound as given to slad_record_input. */
size_t slad_record_named_count(const slad_record *record);
const slad_tensor *slad_record_named_at(const slad_record *record, size_t index, const char **name, bool *is_output,
                                        uint32_t *bound);
/* Makes the gradient of an input be computed (for tests and self-tests). Call it before the input is used. */
void slad_record_require_gradient(slad_record *record, const slad_tensor *input);

/* For operations: appends a node. `parameters` is copied. inputs may hold NULLs for optional ones; a NULL that is not
 * optional must be caught before. On a failed record it returns NULL. */
slad_node *slad_record_append(slad_record *record, const slad_operation *operation, slad_phase phase,
                              const slad_tensor *const *inputs, unsigned input_count, const void *parameters,
                              size_t parameter_bytes);
/* A new contiguous activation that the node writes. needs_gradient is that of any of its inputs. */
const slad_tensor *slad_node_output(slad_record *record, slad_node *node, unsigned rank, const size_t *size);
/* Scratch of the node itself: an activation that lives during this node only. The launch rule finds it among outputs.
 */
const slad_tensor *slad_node_scratch(slad_record *record, slad_node *node, size_t elements);
/* An existing tensor that the node writes or adds to (a gradient target, state). */
void slad_node_writes(slad_record *record, slad_node *node, const slad_tensor *tensor);

/* What is appended between the two is a segment: its activations, but for those that others read, need not be kept
 * until its gradients are computed, since they can be computed again from what the segment reads. Segments do not
 * overlap. */
void slad_record_segment_begin(slad_record *record);
void slad_record_segment_end(slad_record *record);
/* Whether differentiation recomputes segments: a copy of those of a segment's nodes whose results its gradients read
 * runs right before them. Operations give the same bytes each time, so the gradients do not change. An operation of a
 * segment that writes state is then an error. */
void slad_record_set_recompute(slad_record *record, bool recompute);

/* Walks the record backwards and appends gradient nodes, only where they lead to something trained. Gradients of chosen
 * tensors may be given before, by slad_gradient_pass. */
slad_status slad_record_differentiate(slad_record *record);

/* For gradient rules. The gradient that has been gathered for a tensor so far, with the tensor's geometry; NULL if none
 * flows into it. */
const slad_tensor *slad_gradient_of(slad_record *record, const slad_tensor *tensor);
/* Where a rule writes the gradient of a tensor: for a trained tensor (or a view of one) the same place of the gradient
 * slab, with *accumulate true; for an activation a new tensor with *accumulate false, or, when one is there already,
 * that one with *accumulate true. */
const slad_tensor *slad_gradient_target(slad_record *record, const slad_tensor *tensor, bool *accumulate);
/* Makes `gradient` itself the gradient of a tensor that has none yet, without a copy. Later rules add to it in place,
 * so it must not be read afterwards by the caller's own nodes. */
void slad_gradient_pass(slad_record *record, const slad_tensor *tensor, const slad_tensor *gradient);

/* Whether any node writes to the slab. */
bool slad_record_writes_slab(const slad_record *record, const slad_slab *slab);

size_t slad_record_node_count(const slad_record *record);
const slad_node *slad_record_node_at(const slad_record *record, size_t index);
/* All slabs that belong to the record (inputs and activations); their ids count from 0. */
size_t slad_record_slab_count(const slad_record *record);
const slad_slab *slad_record_slab_at(const slad_record *record, size_t id);

#endif
