/* The reference executor: the same records in plain C, with sums in double. Slow, and the oracle of everything else. */
#include "base/memory.h"
#include "graph/executor_rules.h"
#include "graph/host.h"
#include <string.h>

typedef struct slad_reference_record {
    const slad_record *record;
    void **slabs; /* by the record's slab id */
} slad_reference_record;

typedef struct slad_reference_executor {
    slad_executor base;
    void **slabs; /* by the store's slab id */
    size_t slab_count;
    slad_reference_record *records;
    size_t record_count, record_capacity;
} slad_reference_executor;

struct slad_host {
    slad_reference_executor *executor;
    const slad_reference_record *record;
};

slad_context *slad_host_context(const slad_host *host)
{
    return host->executor->base.context;
}

static void *place_of(const slad_reference_executor *executor, const slad_reference_record *record,
                      const slad_tensor *tensor)
{
    const slad_slab_kind kind = tensor->slab->kind;
    const bool of_record = kind == SLAD_SLAB_INPUT || kind == SLAD_SLAB_ACTIVATION;
    float *slab = of_record && record ? record->slabs[tensor->slab->id] : executor->slabs[tensor->slab->id];
    return slab + tensor->offset; /* int32 and float have one size */
}

float *slad_host_floats(slad_host *host, const slad_tensor *tensor)
{
    return tensor ? place_of(host->executor, host->record, tensor) : NULL;
}

int32_t *slad_host_integers(slad_host *host, const slad_tensor *tensor)
{
    return tensor ? place_of(host->executor, host->record, tensor) : NULL;
}

static void reference_free(slad_executor *base)
{
    slad_reference_executor *executor = (slad_reference_executor *)base;
    for (size_t r = 0; r < executor->record_count; r++) {
        const slad_reference_record *record = &executor->records[r];
        for (size_t i = 0; record->slabs && i < slad_record_slab_count(record->record); i++)
            slad_release(record->slabs[i]);
        slad_release(record->slabs);
    }
    for (size_t i = 0; i < executor->slab_count; i++) slad_release(executor->slabs[i]);
    slad_release(executor->slabs);
    slad_release(executor->records);
    slad_release(executor);
}

static slad_status reference_add(slad_executor *base, const slad_record *record)
{
    slad_reference_executor *executor = (slad_reference_executor *)base;
    const slad_status status = slad_grow(base->context, &executor->records, &executor->record_capacity,
                                         executor->record_count + 1, sizeof *executor->records, "records");
    if (status == SLAD_OK) executor->records[executor->record_count++].record = record;
    return status;
}

static slad_status reference_plan(slad_executor *base, slad_memory_plan *plan)
{
    slad_reference_executor *executor = (slad_reference_executor *)base;
    *plan = (slad_memory_plan){0};
    for (size_t i = 0; i < slad_store_slab_total(base->store); i++)
        plan->state += slad_store_slab(base->store, i)->elements * sizeof(float);
    for (size_t r = 0; r < executor->record_count; r++)
        for (size_t i = 0; i < slad_record_slab_count(executor->records[r].record); i++)
            plan->arena += slad_record_slab_at(executor->records[r].record, i)->elements * sizeof(float);
    plan->device_total = plan->state + plan->arena;
    return SLAD_OK;
}

static slad_status reference_allocate(slad_executor *base)
{
    slad_reference_executor *executor = (slad_reference_executor *)base;
    slad_context *context = base->context;
    slad_status status = SLAD_OK;
    const size_t total = slad_store_slab_total(base->store);
    SLAD_TRY(slad_allocate(context, &executor->slabs, total, sizeof *executor->slabs, "reference slabs"));
    executor->slab_count = total;
    for (size_t i = 0; i < total; i++)
        SLAD_TRY(slad_allocate(context, &executor->slabs[i], slad_store_slab(base->store, i)->elements, sizeof(float),
                               "a reference slab"));
    for (size_t i = 0; i < slad_store_source_count(base->store); i++) {
        const slad_source *source = slad_store_source_at(base->store, i);
        if (!source->fill) continue;
        SLAD_TRY(source->fill(context, place_of(executor, NULL, source->tensor), slad_tensor_elements(source->tensor),
                              source->user, source->index));
    }
    for (size_t r = 0; r < executor->record_count; r++) {
        slad_reference_record *record = &executor->records[r];
        const size_t count = slad_record_slab_count(record->record);
        SLAD_TRY(slad_allocate(context, &record->slabs, count, sizeof *record->slabs, "reference activations"));
        for (size_t i = 0; i < count; i++)
            SLAD_TRY(slad_allocate(context, &record->slabs[i], slad_record_slab_at(record->record, i)->elements,
                                   sizeof(float), "a reference activation"));
    }
cleanup:
    return status;
}

static const char *reference_description(const slad_executor *base)
{
    (void)base;
    return "plain C reference";
}

static slad_status find_record(const slad_reference_executor *executor, const slad_record *record,
                               const slad_reference_record **found)
{
    *found = NULL;
    for (size_t r = 0; r < executor->record_count; r++)
        if (executor->records[r].record == record) *found = &executor->records[r];
    if (*found || !record) return SLAD_OK;
    return slad_report(executor->base.context, SLAD_ERROR_INTERNAL, "found", __FILE__, __LINE__,
                       "Record %s was not added to the executor", slad_record_name(record));
}

static slad_status reference_run(slad_executor *base, const slad_record *record, slad_phase phase)
{
    slad_reference_executor *executor = (slad_reference_executor *)base;
    slad_host host = {executor, NULL};
    slad_status status = find_record(executor, record, &host.record);
    for (size_t n = 0; status == SLAD_OK && n < slad_record_node_count(record); n++) {
        const slad_node *node = slad_record_node_at(record, n);
        if (node->phase == phase) status = node->operation->reference(&host, node);
    }
    return status;
}

static slad_status reference_wait(slad_executor *base, slad_ticket *ticket)
{
    (void)base;
    ticket->event = NULL;
    return SLAD_OK;
}

static slad_status reference_upload(slad_executor *base, const slad_record *record, const slad_tensor *tensor,
                                    const void *source, slad_ticket *ticket)
{
    const slad_reference_record *found;
    const slad_status status = find_record((slad_reference_executor *)base, record, &found);
    if (status != SLAD_OK) return status;
    memcpy(place_of((slad_reference_executor *)base, found, tensor), source,
           slad_tensor_elements(tensor) * sizeof(float));
    ticket->event = NULL;
    return SLAD_OK;
}

static slad_status reference_download(slad_executor *base, const slad_record *record, const slad_tensor *tensor,
                                      void *destination, slad_ticket *ticket)
{
    const slad_reference_record *found;
    const slad_status status = find_record((slad_reference_executor *)base, record, &found);
    if (status != SLAD_OK) return status;
    memcpy(destination, place_of((slad_reference_executor *)base, found, tensor),
           slad_tensor_elements(tensor) * sizeof(float));
    ticket->event = NULL;
    return SLAD_OK;
}

slad_status slad_executor_create_reference(slad_context *context, slad_executor **executor, slad_store *store)
{
    static const slad_executor_rules rules = {
        reference_free, reference_add,  reference_plan,   reference_allocate, reference_description,
        reference_run,  reference_wait, reference_upload, reference_download,
    };
    slad_reference_executor *made = NULL;
    const slad_status status = slad_allocate(context, &made, 1, sizeof *made, "the reference executor");
    if (status != SLAD_OK) return status;
    made->base = (slad_executor){&rules, context, store};
    *executor = &made->base;
    return SLAD_OK;
}
