/* An executor owns one device and replays records. Two kinds: OpenCL, and the reference in plain C, which is the oracle
 * of whole models. Order of use: create, add every record, plan (nothing is allocated yet), allocate, then any number
 * of upload / run / download. Calls only enqueue, unless they say that they wait. */
#ifndef SLAD_GRAPH_EXECUTOR_H
#define SLAD_GRAPH_EXECUTOR_H

#include "gemm/gemm.h"
#include "graph/record.h"

typedef struct slad_executor slad_executor;

/* Bytes by use; moments with moving averages. device_total is what the plan adds up to; largest is its largest single
 * buffer. */
typedef struct slad_memory_plan {
    uint64_t frozen, packed, trained, gradients, moments, state, inputs, arena, gemm_scratch, staging;
    uint64_t device_total, largest;
    size_t kernels, programs, gemm_shapes; /* distinct */
} slad_memory_plan;

typedef struct slad_executor_options {
    slad_gemm_provider gemm_provider;
    bool skip_self_test; /* for the self-test's own executor */
    /* Weights that would be kept packed more than once (for both directions, or beside what they are merged from) are
     * kept unpacked, once, and packed before each use instead: less memory, more time, the same results. */
    bool pack_on_use;
} slad_executor_options;

slad_status slad_executor_create_opencl(slad_context *context, slad_executor **executor, slad_store *store,
                                        slad_device *device, const slad_executor_options *options);
slad_status slad_executor_create_reference(slad_context *context, slad_executor **executor, slad_store *store);
void slad_executor_free(slad_executor *executor);

/* The record must be complete (differentiated) and outlive the executor. */
slad_status slad_executor_add(slad_executor *executor, const slad_record *record);
/* Computes the plan of all added records. */
slad_status slad_executor_plan(slad_executor *executor, slad_memory_plan *plan);
/* Builds and self-tests kernels, verifies GEMM shapes, allocates, uploads, packs frozen weights, binds every launch.
 * Errors: SLAD_ERROR_OUT_OF_MEMORY (with the plan), SLAD_ERROR_BUILD, SLAD_ERROR_SELF_TEST, those of fills. */
slad_status slad_executor_allocate(slad_executor *executor);
/* One line of words about device and GEMM parameters, for config.json. */
const char *slad_executor_description(const slad_executor *executor);

/* Replays the record's nodes of a phase. Weights derived from trained values are brought up to date before. A run of
 * SLAD_PHASE_STEP counts as an update of the trained values. */
slad_status slad_executor_run(slad_executor *executor, const slad_record *record, slad_phase phase);

/* A point in the queue that can be waited for. Work is done in order: a ticket given to several copies moves on to the
 * latest, and waiting for it waits for all of them. */
typedef struct slad_ticket {
    void *event; /* NULL: nothing to wait for */
} slad_ticket;
slad_status slad_executor_wait(slad_executor *executor, slad_ticket *ticket);

/* Copies all of a contiguous tensor. upload and download only enqueue: the memory must stay as it is until the ticket
 * was waited for; with ticket NULL they wait themselves, as write and read do. record may be NULL for tensors of the
 * store. Writing a trained tensor makes derived weights stale. A strided tensor (a view) is an error. */
slad_status slad_executor_upload(slad_executor *executor, const slad_record *record, const slad_tensor *tensor,
                                 const void *source, slad_ticket *ticket);
slad_status slad_executor_download(slad_executor *executor, const slad_record *record, const slad_tensor *tensor,
                                   void *destination, slad_ticket *ticket);
slad_status slad_executor_write(slad_executor *executor, const slad_record *record, const slad_tensor *tensor,
                                const void *source);
slad_status slad_executor_read(slad_executor *executor, const slad_record *record, const slad_tensor *tensor,
                               void *destination);
/* The same for a tensor's place in the gradient, moment or average slabs (trained tensors only; averages where the
 * store keeps them). */
slad_status slad_executor_read_slab(slad_executor *executor, const slad_tensor *trained, slad_slab_kind kind,
                                    void *destination);
slad_status slad_executor_write_slab(slad_executor *executor, const slad_tensor *trained, slad_slab_kind kind,
                                     const void *source);

#endif
