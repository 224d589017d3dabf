/* The inside of the OpenCL executor, shared by executor_opencl.c, launcher.c and packed_weights.c. */
#ifndef SLAD_GRAPH_EXECUTOR_OPENCL_H
#define SLAD_GRAPH_EXECUTOR_OPENCL_H

#include "graph/executor_rules.h"
#include "graph/launcher.h"
#include "graph/plan.h"

/* One enqueue of a replay: a kernel, or a GEMM (which may be several kernels or a library's). */
typedef struct slad_enqueue {
    slad_phase phase;
    bool is_gemm;
    slad_launch launch;
    const slad_gemm_packing *packing; /* of the GEMM's weight, before it; NULL: it is packed already */
    slad_gemm_call call;
} slad_enqueue;

typedef struct slad_opencl_record {
    const slad_record *record;
    slad_placement *placements; /* by slab id */
    cl_mem *inputs;             /* by slab id; NULL for activations */
    slad_enqueue *enqueues;
    size_t enqueue_count, enqueue_capacity;
} slad_opencl_record;

/* A kernel in use: one program, one entry. */
typedef struct slad_kernel_use {
    const slad_kernel_row *row;
    char *defines;
} slad_kernel_use;

/* Where a weight is found when its GEMM runs. */
typedef enum slad_packed_kind {
    SLAD_PACKED_KEPT,   /* in a buffer of its own */
    SLAD_PACKED_PLAIN,  /* where it lies unpacked, since that is the layout */
    SLAD_PACKED_ON_USE, /* in a buffer that all share, packed before each GEMM from where it lies unpacked */
} slad_packed_kind;

/* A weight in the layout of the GEMM provider, merged with its adapters. */
typedef struct slad_packed {
    slad_weight weight;
    size_t out, in;
    bool transposed;
    bool per_update; /* derived from something trained: made anew after each update; else once */
    slad_gemm_layout layout;
    slad_packed_kind kind;     /* by slad_packed_settle */
    cl_mem buffer;             /* KEPT only */
    slad_gemm_packing packing; /* per_update and ON_USE only */
} slad_packed;

typedef struct slad_opencl_executor {
    slad_executor base;
    slad_device *device;
    slad_gemm *gemm;
    slad_executor_options options;
    size_t buffer_limit; /* elements of one buffer */
    bool planned, allocated, weights_stale;
    slad_memory_plan plan;

    cl_mem *slabs; /* by the store's slab id; NULL where no kernel touches it */
    bool *in_use;  /* the same, from planning */
    size_t slab_count;
    slad_arena arena;
    cl_mem *arena_buffers;
    cl_mem gemm_scratch;
    cl_mem none; /* stands for an optional tensor that is not there */

    slad_opencl_record *records;
    size_t record_count, record_capacity;
    slad_kernel_use *kernels;
    size_t kernel_count, kernel_capacity;
    slad_gemm_problem *problems;
    size_t problem_count, problem_capacity;
    slad_packed *packed;
    size_t packed_count, packed_capacity;
    cl_mem packed_on_use; /* of the largest such weight */
} slad_opencl_executor;

struct slad_launcher {
    slad_opencl_executor *executor;
    slad_opencl_record *record;
    slad_phase phase;
    bool binding; /* else planning */
};

/* launcher.c */

/* Enqueues what was bound. */
slad_status slad_executor_enqueue(slad_device *device, const slad_enqueue *enqueue);

/* Notes that kernels touch the tensor's memory. */
void slad_executor_note_use(slad_opencl_executor *executor, const slad_tensor *tensor);
/* Buffer and element offset of a tensor; record is needed for its inputs and activations. */
slad_gemm_operand slad_executor_locate(const slad_opencl_executor *executor, const slad_opencl_record *record,
                                       const slad_tensor *tensor);
/* Calls every launch rule of the record. */
slad_status slad_executor_walk(slad_opencl_executor *executor, slad_opencl_record *record, bool binding);

/* packed_weights.c */

/* The packed form of a weight, added to the list (planning) if it is new. */
slad_status slad_packed_find(slad_opencl_executor *executor, size_t *index, const slad_weight *weight, bool transposed);
/* Decides which are kept, when all records are planned; notes the weights that must lie on the device unpacked. */
void slad_packed_settle(slad_opencl_executor *executor);
/* Where the packed weight is when its GEMM runs, and what packs it before (NULL: nothing does). */
slad_gemm_operand slad_packed_locate(const slad_opencl_executor *executor, size_t index,
                                     const slad_gemm_packing **packing);
/* Bytes of all packed weights that stay, and of the largest frozen weight that only passes through staging. */
void slad_packed_sizes(const slad_opencl_executor *executor, uint64_t *bytes, uint64_t *largest, uint64_t *staging);
/* Allocates all; packs those that are derived once, binds the launches of the others. */
slad_status slad_packed_allocate(slad_opencl_executor *executor);
/* Enqueues the packing of all that is derived per update. */
slad_status slad_packed_refresh(slad_opencl_executor *executor);
void slad_packed_free(slad_opencl_executor *executor);

#endif
