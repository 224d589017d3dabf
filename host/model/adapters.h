/* LoRA adapters in a store, as a plan (model/adapter_plan.h) lists them. */
#ifndef SLAD_MODEL_ADAPTERS_H
#define SLAD_MODEL_ADAPTERS_H

#include "graph/launcher.h"
#include "model/adapter_plan.h"

/* The adapters of one weight. */
typedef struct slad_adapter_list {
    slad_adapter items[SLAD_MAX_ADAPTERS];
    unsigned count;
} slad_adapter_list;

/* Those of a block, by target. */
typedef struct slad_layer_adapters {
    slad_adapter_list targets[SLAD_TARGETS];
} slad_layer_adapters;

/* Places what the network owns as trained tensors: A from U(-1/sqrt(in), 1/sqrt(in)), as PEFT draws it, B of zeros; and
 * finds the shared ones, which the teacher's plan must have placed before. A's values depend on seed, model and stream
 * of the plan only. adapters [layers] is the caller's and empty; the plan must outlive the store. */
slad_status slad_adapters_train(slad_context *context, slad_layer_adapters *adapters, slad_store *store,
                                const slad_adapter_plan *plan);

/* The same tensors, frozen: adapters of a finished run, of which none is shared. fill is called with user and the index
 * 2 i for A, 2 i + 1 for B of the plan's item i. user must outlive the store. */
slad_status slad_adapters_place(slad_context *context, slad_layer_adapters *adapters, slad_store *store,
                                const slad_adapter_plan *plan, slad_fill fill, const void *user);

#endif
