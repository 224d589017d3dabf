/* The table of functions that makes an executor; graph/executor.c dispatches to it. */
#ifndef SLAD_GRAPH_EXECUTOR_RULES_H
#define SLAD_GRAPH_EXECUTOR_RULES_H

#include "graph/executor.h"

typedef struct slad_executor_rules {
    void (*free)(slad_executor *executor);
    slad_status (*add)(slad_executor *executor, const slad_record *record);
    slad_status (*plan)(slad_executor *executor, slad_memory_plan *plan);
    slad_status (*allocate)(slad_executor *executor);
    const char *(*description)(const slad_executor *executor);
    slad_status (*run)(slad_executor *executor, const slad_record *record, slad_phase phase);
    slad_status (*wait)(slad_executor *executor, slad_ticket *ticket);
    /* ticket NULL: wait for the end of the copy */
    slad_status (*upload)(slad_executor *executor, const slad_record *record, const slad_tensor *tensor,
                          const void *source, slad_ticket *ticket);
    slad_status (*download)(slad_executor *executor, const slad_record *record, const slad_tensor *tensor,
                            void *destination, slad_ticket *ticket);
} slad_executor_rules;

/* The first member of each kind of executor. */
struct slad_executor {
    const slad_executor_rules *rules;
    slad_context *context;
    slad_store *store;
};

#endif
