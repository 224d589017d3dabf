#include "graph/executor.h"
#include "graph/executor_rules.h"

void slad_executor_free(slad_executor *executor)
{
    if (executor) executor->rules->free(executor);
}

slad_status slad_executor_add(slad_executor *executor, const slad_record *record)
{
    const slad_status status = slad_record_status(record);
    return status == SLAD_OK ? executor->rules->add(executor, record) : status;
}

slad_status slad_executor_plan(slad_executor *executor, slad_memory_plan *plan)
{
    return executor->rules->plan(executor, plan);
}

slad_status slad_executor_allocate(slad_executor *executor)
{
    return executor->rules->allocate(executor);
}

const char *slad_executor_description(const slad_executor *executor)
{
    return executor->rules->description(executor);
}

slad_status slad_executor_run(slad_executor *executor, const slad_record *record, slad_phase phase)
{
    return executor->rules->run(executor, record, phase);
}

slad_status slad_executor_wait(slad_executor *executor, slad_ticket *ticket)
{
    return executor->rules->wait(executor, ticket);
}

static slad_status check_contiguous(const slad_executor *executor, const slad_tensor *tensor)
{
    slad_context *context = executor->context;
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(!slad_tensor_is_contiguous(tensor), SLAD_ERROR_INTERNAL, "%s is a strided view and cannot be copied",
                 tensor->name);
cleanup:
    return status;
}

slad_status slad_executor_upload(slad_executor *executor, const slad_record *record, const slad_tensor *tensor,
                                 const void *source, slad_ticket *ticket)
{
    const slad_status status = check_contiguous(executor, tensor);
    slad_ticket unused = {NULL};
    if (status != SLAD_OK) return status;
    if (ticket) return executor->rules->upload(executor, record, tensor, source, ticket);
    const slad_status copied = executor->rules->upload(executor, record, tensor, source, &unused);
    const slad_status waited = executor->rules->wait(executor, &unused);
    return copied != SLAD_OK ? copied : waited;
}

slad_status slad_executor_download(slad_executor *executor, const slad_record *record, const slad_tensor *tensor,
                                   void *destination, slad_ticket *ticket)
{
    const slad_status status = check_contiguous(executor, tensor);
    slad_ticket unused = {NULL};
    if (status != SLAD_OK) return status;
    if (ticket) return executor->rules->download(executor, record, tensor, destination, ticket);
    const slad_status copied = executor->rules->download(executor, record, tensor, destination, &unused);
    /* After a failure too: the copy may be under way to memory that the caller is about to free. */
    const slad_status waited = executor->rules->wait(executor, &unused);
    return copied != SLAD_OK ? copied : waited;
}

slad_status slad_executor_write(slad_executor *executor, const slad_record *record, const slad_tensor *tensor,
                                const void *source)
{
    return slad_executor_upload(executor, record, tensor, source, NULL);
}

slad_status slad_executor_read(slad_executor *executor, const slad_record *record, const slad_tensor *tensor,
                               void *destination)
{
    return slad_executor_download(executor, record, tensor, destination, NULL);
}

/* The trained tensor's place in another slab of its family. */
static slad_tensor in_slab(const slad_tensor *trained, slad_slab_kind kind)
{
    slad_tensor tensor = *trained;
    if (kind == SLAD_SLAB_GRADIENT) tensor.slab = trained->slab->gradient;
    if (kind == SLAD_SLAB_MOMENT_1) tensor.slab = trained->slab->moment_1;
    if (kind == SLAD_SLAB_MOMENT_2) tensor.slab = trained->slab->moment_2;
    if (kind == SLAD_SLAB_AVERAGE) tensor.slab = trained->slab->average;
    return tensor;
}

slad_status slad_executor_read_slab(slad_executor *executor, const slad_tensor *trained, slad_slab_kind kind,
                                    void *destination)
{
    const slad_tensor tensor = in_slab(trained, kind);
    return slad_executor_read(executor, NULL, &tensor, destination);
}

slad_status slad_executor_write_slab(slad_executor *executor, const slad_tensor *trained, slad_slab_kind kind,
                                     const void *source)
{
    const slad_tensor tensor = in_slab(trained, kind);
    return slad_executor_write(executor, NULL, &tensor, source);
}
