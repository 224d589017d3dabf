/* The OpenCL executor: memory, uploads, replay. */
#include "graph/executor_opencl.h"
#include "base/memory.h"
#include "base/threads.h"
#include "graph/self_test.h"
#include <string.h>

#define MIB (1024.0 * 1024.0)

static uint64_t slab_bytes(const slad_slab *slab)
{
    return (uint64_t)slab->elements * sizeof(float);
}

static void free_record(slad_opencl_executor *executor, slad_opencl_record *record)
{
    for (size_t i = 0; i < record->enqueue_count; i++) {
        slad_launch_free(&record->enqueues[i].launch);
        slad_gemm_call_free(&record->enqueues[i].call);
    }
    for (size_t i = 0; record->inputs && i < slad_record_slab_count(record->record); i++)
        if (record->inputs[i])
            slad_buffer_free(executor->device, record->inputs[i], slab_bytes(slad_record_slab_at(record->record, i)));
    slad_release(record->enqueues);
    slad_release(record->inputs);
    slad_release(record->placements);
}

static void opencl_free(slad_executor *base)
{
    slad_opencl_executor *executor = (slad_opencl_executor *)base;
    slad_device_drain(executor->device); /* also after a failure: nothing may be under way that uses what goes now */
    for (size_t i = 0; i < executor->record_count; i++) free_record(executor, &executor->records[i]);
    slad_packed_free(executor);
    for (size_t i = 0; executor->slabs && i < executor->slab_count; i++)
        if (executor->slabs[i])
            slad_buffer_free(executor->device, executor->slabs[i], slab_bytes(slad_store_slab(base->store, i)));
    for (size_t i = 0; executor->arena_buffers && i < executor->arena.count; i++)
        if (executor->arena_buffers[i])
            slad_buffer_free(executor->device, executor->arena_buffers[i], executor->arena.elements[i] * sizeof(float));
    if (executor->gemm_scratch) slad_buffer_free(executor->device, executor->gemm_scratch, executor->plan.gemm_scratch);
    if (executor->none) slad_buffer_free(executor->device, executor->none, sizeof(float));
    for (size_t i = 0; i < executor->kernel_count; i++) slad_release(executor->kernels[i].defines);
    slad_gemm_free(executor->gemm);
    slad_arena_free(&executor->arena);
    slad_release(executor->arena_buffers);
    slad_release(executor->records);
    slad_release(executor->kernels);
    slad_release(executor->problems);
    slad_release(executor->slabs);
    slad_release(executor->in_use);
    slad_release(executor);
}

static slad_status opencl_add(slad_executor *base, const slad_record *record)
{
    slad_opencl_executor *executor = (slad_opencl_executor *)base;
    slad_context *context = base->context;
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(executor->planned, SLAD_ERROR_INTERNAL, "Record %s comes after the memory plan",
                 slad_record_name(record));
    SLAD_TRY(slad_grow(context, &executor->records, &executor->record_capacity, executor->record_count + 1,
                       sizeof *executor->records, "records"));
    executor->records[executor->record_count++].record = record;
cleanup:
    return status;
}

/* Adds up what stands in the store, by kind. */
static void plan_store(slad_opencl_executor *executor)
{
    slad_memory_plan *plan = &executor->plan;
    for (size_t i = 0; i < executor->slab_count; i++) {
        const slad_slab *slab = slad_store_slab(executor->base.store, i);
        const uint64_t bytes = slab_bytes(slab);
        if (slab->kind == SLAD_SLAB_TRAINED) executor->in_use[i] = true;
        if (!executor->in_use[i]) continue;
        if (slab->kind == SLAD_SLAB_FROZEN) plan->frozen += bytes;
        if (slab->kind == SLAD_SLAB_TRAINED) plan->trained += bytes;
        if (slab->kind == SLAD_SLAB_GRADIENT) plan->gradients += bytes;
        if (slab->kind == SLAD_SLAB_MOMENT_1 || slab->kind == SLAD_SLAB_MOMENT_2 || slab->kind == SLAD_SLAB_AVERAGE)
            plan->moments += bytes;
        if (slab->kind == SLAD_SLAB_STATE) plan->state += bytes;
        if (plan->largest < bytes) plan->largest = bytes;
    }
}

static slad_status plan_gemm(slad_opencl_executor *executor)
{
    slad_memory_plan *plan = &executor->plan;
    slad_status status = SLAD_OK;
    uint64_t largest;
    for (size_t i = 0; i < executor->problem_count; i++) {
        uint64_t bytes;
        SLAD_TRY(slad_gemm_scratch_bytes(executor->gemm, &bytes, &executor->problems[i]));
        if (plan->gemm_scratch < bytes) plan->gemm_scratch = bytes;
    }
    plan->gemm_shapes = executor->problem_count;
    slad_packed_sizes(executor, &plan->packed, &largest, &plan->staging);
    if (plan->largest < largest) plan->largest = largest;
cleanup:
    return status;
}

static slad_status plan_record(slad_opencl_executor *executor, slad_opencl_record *record)
{
    slad_context *context = executor->base.context;
    slad_status status = SLAD_OK;
    const size_t slabs = slad_record_slab_count(record->record);
    SLAD_TRY(slad_allocate(context, &record->placements, slabs, sizeof *record->placements, "the memory plan"));
    SLAD_TRY(slad_plan_arena(context, record->placements, &executor->arena, record->record, executor->buffer_limit));
    SLAD_TRY(slad_executor_walk(executor, record, false));
    for (size_t i = 0; i < slabs; i++) {
        const slad_slab *slab = slad_record_slab_at(record->record, i);
        if (slab->kind == SLAD_SLAB_INPUT) executor->plan.inputs += slab_bytes(slab);
    }
cleanup:
    return status;
}

static size_t count_programs(const slad_opencl_executor *executor)
{
    size_t programs = 0;
    for (size_t i = 0; i < executor->kernel_count; i++) {
        bool seen = false;
        for (size_t j = 0; j < i; j++)
            seen = seen || (strcmp(executor->kernels[i].row->file, executor->kernels[j].row->file) == 0 &&
                            strcmp(executor->kernels[i].defines, executor->kernels[j].defines) == 0);
        programs += !seen;
    }
    return programs;
}

static slad_status opencl_plan(slad_executor *base, slad_memory_plan *plan)
{
    slad_opencl_executor *executor = (slad_opencl_executor *)base;
    slad_context *context = base->context;
    slad_status status = SLAD_OK;
    slad_memory_plan *own = &executor->plan;
    if (!executor->planned) {
        SLAD_FAIL_IF(executor->in_use, SLAD_ERROR_INTERNAL,
                     "The memory plan failed before and is half made; make a new executor");
        executor->slab_count = slad_store_slab_total(base->store);
        SLAD_TRY(slad_allocate(context, &executor->in_use, executor->slab_count, sizeof *executor->in_use, "a plan"));
        for (size_t i = 0; i < executor->record_count; i++) SLAD_TRY(plan_record(executor, &executor->records[i]));
        slad_packed_settle(executor);
        plan_store(executor);
        SLAD_TRY(plan_gemm(executor));
        for (size_t i = 0; i < executor->arena.count; i++) {
            const uint64_t bytes = executor->arena.elements[i] * sizeof(float);
            own->arena += bytes;
            if (own->largest < bytes) own->largest = bytes;
        }
        own->kernels = executor->kernel_count;
        own->programs = count_programs(executor);
        own->device_total = own->frozen + own->packed + own->trained + own->gradients + own->moments + own->state +
                            own->inputs + own->arena + own->gemm_scratch + own->staging;
        executor->planned = true;
    }
    *plan = *own;
cleanup:
    return status;
}

static slad_status check_plan(slad_opencl_executor *executor)
{
    slad_context *context = executor->base.context;
    slad_status status = SLAD_OK;
    const slad_memory_plan *plan = &executor->plan;
    const slad_device_info *info = &executor->device->info;
    const uint64_t taken = executor->device->allocated; /* by other executors */
    SLAD_FAIL_IF(
        taken > info->global_memory || plan->device_total > info->global_memory - taken, SLAD_ERROR_OUT_OF_MEMORY,
        "The plan needs %.0f MiB (weights %.0f, trained %.0f, activations %.0f) but device %s has %.0f MiB, of "
        "which %.0f are in use; use a smaller --batch (--micro-batch in training), --image-size or model",
        (double)plan->device_total / MIB, (double)(plan->frozen + plan->packed) / MIB,
        (double)(plan->trained + plan->gradients + plan->moments) / MIB, (double)plan->arena / MIB, info->name,
        (double)info->global_memory / MIB, (double)taken / MIB);
cleanup:
    return status;
}

/* Whether an earlier kernel in use has the same self-test, of the same program and at least as strict. */
static bool tested_before(const slad_opencl_executor *executor, size_t index)
{
    const slad_kernel_use *use = &executor->kernels[index];
    for (size_t i = 0; i < index; i++) {
        const slad_kernel_use *earlier = &executor->kernels[i];
        if (earlier->row->self_test == use->row->self_test && strcmp(earlier->row->file, use->row->file) == 0 &&
            strcmp(earlier->defines, use->defines) == 0 && earlier->row->tolerance <= use->row->tolerance)
            return true;
    }
    return false;
}

/* Compiles before memory is taken: some compilers need much themselves. */
static slad_status prepare_kernels(slad_opencl_executor *executor)
{
    const double start = slad_clock_seconds();
    slad_context *context = executor->base.context;
    slad_status status = SLAD_OK;
    for (size_t i = 0; i < executor->kernel_count; i++) {
        slad_program *program;
        const slad_kernel_use *use = &executor->kernels[i];
        SLAD_TRY(slad_program_get(executor->device, &program, use->row->file, use->defines));
        if (!executor->options.skip_self_test && !tested_before(executor, i))
            SLAD_TRY(slad_self_test_ensure(executor->device, use->row, use->defines));
    }
    if (!executor->options.skip_self_test)
        for (size_t i = 0; i < executor->problem_count; i++)
            SLAD_TRY(slad_gemm_verify(executor->gemm, &executor->problems[i]));
    const slad_program_statistics programs = slad_program_get_statistics(executor->device);
    slad_log(context, executor->options.skip_self_test ? SLAD_LOG_DEBUG : SLAD_LOG_INFO,
             "%zu kernels and %zu GEMM shapes ready in %.2f s (%u programs from the cache, %u compiled)",
             executor->kernel_count, executor->problem_count, slad_clock_seconds() - start, programs.from_cache,
             programs.compiled);
cleanup:
    return status;
}

static slad_status allocate_slabs(slad_opencl_executor *executor)
{
    slad_context *context = executor->base.context;
    slad_device *device = executor->device;
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_allocate(context, &executor->slabs, executor->slab_count, sizeof(cl_mem), "slabs"));
    for (size_t i = 0; i < executor->slab_count; i++)
        if (executor->in_use[i])
            SLAD_TRY(slad_buffer_create(device, &executor->slabs[i],
                                        slab_bytes(slad_store_slab(executor->base.store, i)), "weights and state"));
    SLAD_TRY(slad_allocate(context, &executor->arena_buffers, executor->arena.count, sizeof(cl_mem), "the arena"));
    for (size_t i = 0; i < executor->arena.count; i++)
        SLAD_TRY(slad_buffer_create(device, &executor->arena_buffers[i], executor->arena.elements[i] * sizeof(float),
                                    "activations"));
    SLAD_TRY(slad_buffer_create(device, &executor->none, sizeof(float), "an empty tensor"));
    if (executor->plan.gemm_scratch)
        SLAD_TRY(slad_buffer_create(device, &executor->gemm_scratch, executor->plan.gemm_scratch, "GEMM scratch"));
    slad_gemm_set_scratch(executor->gemm, executor->gemm_scratch, executor->plan.gemm_scratch);
    for (size_t r = 0; r < executor->record_count; r++) {
        slad_opencl_record *record = &executor->records[r];
        const size_t slabs = slad_record_slab_count(record->record);
        SLAD_TRY(slad_allocate(context, &record->inputs, slabs, sizeof(cl_mem), "inputs"));
        for (size_t i = 0; i < slabs; i++) {
            const slad_slab *slab = slad_record_slab_at(record->record, i);
            if (slab->kind == SLAD_SLAB_INPUT)
                SLAD_TRY(slad_buffer_create(device, &record->inputs[i], slab_bytes(slab), "a batch"));
        }
    }
cleanup:
    return status;
}

static slad_status upload_sources(slad_opencl_executor *executor)
{
    slad_context *context = executor->base.context;
    slad_status status = SLAD_OK;
    void *values = NULL;
    for (size_t i = 0; i < slad_store_source_count(executor->base.store); i++) {
        const slad_source *source = slad_store_source_at(executor->base.store, i);
        const slad_tensor *tensor = source->tensor;
        if (!source->fill || !executor->in_use[tensor->slab->id]) continue;
        const size_t elements = slad_tensor_elements(tensor);
        SLAD_TRY(slad_allocate(context, &values, elements, sizeof(float), tensor->name));
        SLAD_TRY(source->fill(context, values, elements, source->user, source->index));
        SLAD_TRY(slad_buffer_write(executor->device, executor->slabs[tensor->slab->id], tensor->offset * sizeof(float),
                                   values, elements * sizeof(float)));
        slad_release(values);
        values = NULL;
    }
cleanup:
    slad_release(values);
    return status;
}

static slad_status opencl_allocate(slad_executor *base)
{
    slad_opencl_executor *executor = (slad_opencl_executor *)base;
    slad_status status = SLAD_OK;
    slad_memory_plan plan;
    SLAD_TRY(opencl_plan(base, &plan));
    SLAD_TRY(check_plan(executor));
    SLAD_TRY(prepare_kernels(executor));
    executor->allocated = true;
    SLAD_TRY(allocate_slabs(executor));
    SLAD_TRY(upload_sources(executor));
    SLAD_TRY(slad_packed_allocate(executor));
    for (size_t i = 0; i < executor->record_count; i++)
        SLAD_TRY(slad_executor_walk(executor, &executor->records[i], true));
    executor->weights_stale = true;
    SLAD_TRY(slad_device_finish(executor->device));
cleanup:
    return status;
}

static const char *opencl_description(const slad_executor *base)
{
    return slad_gemm_description(((const slad_opencl_executor *)base)->gemm);
}

static slad_status find_record(const slad_opencl_executor *executor, const slad_record *record,
                               const slad_opencl_record **found)
{
    *found = NULL;
    for (size_t i = 0; i < executor->record_count; i++)
        if (executor->records[i].record == record) *found = &executor->records[i];
    if (*found || !record) return SLAD_OK;
    return slad_report(executor->base.context, SLAD_ERROR_INTERNAL, "found", __FILE__, __LINE__,
                       "Record %s was not added to the executor", slad_record_name(record));
}

static slad_status opencl_run(slad_executor *base, const slad_record *record, slad_phase phase)
{
    slad_opencl_executor *executor = (slad_opencl_executor *)base;
    slad_device *device = executor->device;
    slad_status status = SLAD_OK;
    const slad_opencl_record *found;
    SLAD_TRY(find_record(executor, record, &found));
    if (phase == SLAD_PHASE_MICRO_BATCH && executor->weights_stale) {
        SLAD_TRY(slad_packed_refresh(executor));
        executor->weights_stale = false;
    }
    if (phase == SLAD_PHASE_STEP) executor->weights_stale = true; /* also where only a part of it gets through */
    for (size_t i = 0; i < found->enqueue_count; i++) {
        const slad_enqueue *enqueue = &found->enqueues[i];
        if (enqueue->phase != phase) continue;
        SLAD_TRY(slad_executor_enqueue(device, enqueue));
    }
    SLAD_CL_TRY(clFlush(device->queue));
cleanup:
    return status;
}

static slad_status opencl_wait(slad_executor *base, slad_ticket *ticket)
{
    slad_device *device = ((slad_opencl_executor *)base)->device;
    slad_status status = SLAD_OK;
    cl_event event = ticket->event;
    if (!event) return SLAD_OK;
    ticket->event = NULL;
    SLAD_CL_TRY(clWaitForEvents(1, &event));
cleanup:
    if (status != SLAD_OK)
        slad_device_drain(device); /* the caller may free now what a copy under way reads or writes */
    clReleaseEvent(event);
    return status;
}

static void move_ticket(slad_ticket *ticket, cl_event event)
{
    if (ticket->event) clReleaseEvent(ticket->event);
    ticket->event = event;
}

static slad_status opencl_upload(slad_executor *base, const slad_record *record, const slad_tensor *tensor,
                                 const void *source, slad_ticket *ticket)
{
    slad_opencl_executor *executor = (slad_opencl_executor *)base;
    slad_device *device = executor->device;
    slad_status status = SLAD_OK;
    const slad_opencl_record *found;
    cl_event event = NULL;
    SLAD_TRY(find_record(executor, record, &found));
    const slad_gemm_operand place = slad_executor_locate(executor, found, tensor);
    SLAD_TRY(slad_buffer_upload(device, &event, place.buffer, place.offset * sizeof(float), source,
                                slad_tensor_elements(tensor) * sizeof(float)));
    if (tensor->slab->kind == SLAD_SLAB_TRAINED) executor->weights_stale = true;
    move_ticket(ticket, event);
cleanup:
    return status;
}

static slad_status opencl_download(slad_executor *base, const slad_record *record, const slad_tensor *tensor,
                                   void *destination, slad_ticket *ticket)
{
    slad_opencl_executor *executor = (slad_opencl_executor *)base;
    slad_device *device = executor->device;
    slad_status status = SLAD_OK;
    const slad_opencl_record *found;
    cl_event event = NULL;
    SLAD_TRY(find_record(executor, record, &found));
    const slad_gemm_operand place = slad_executor_locate(executor, found, tensor);
    SLAD_CL_TRY(clEnqueueReadBuffer(device->queue, place.buffer, CL_FALSE, place.offset * sizeof(float),
                                    slad_tensor_elements(tensor) * sizeof(float), destination, 0, NULL, &event));
    SLAD_CL_TRY(clFlush(device->queue));
cleanup:
    /* After an error the caller may free what the copy writes to; not every driver starts it when it is waited for. */
    if (status != SLAD_OK) slad_device_drain(device);
    if (event) move_ticket(ticket, event);
    return status;
}

slad_status slad_executor_create_opencl(slad_context *context, slad_executor **executor, slad_store *store,
                                        slad_device *device, const slad_executor_options *options)
{
    static const slad_executor_rules rules = {
        opencl_free, opencl_add,  opencl_plan,   opencl_allocate, opencl_description,
        opencl_run,  opencl_wait, opencl_upload, opencl_download,
    };
    slad_status status = SLAD_OK;
    slad_opencl_executor *made = NULL;
    SLAD_TRY(slad_allocate(context, &made, 1, sizeof *made, "the executor"));
    made->base = (slad_executor){&rules, context, store};
    made->device = device;
    if (options) made->options = *options;
    const uint64_t allocation = device->info.max_allocation / sizeof(float);
    made->buffer_limit = allocation < SLAD_BUFFER_ELEMENTS ? (size_t)allocation : SLAD_BUFFER_ELEMENTS;
    SLAD_TRY(slad_gemm_create(device, &made->gemm, made->options.gemm_provider));
    *executor = &made->base;
    made = NULL;
cleanup:
    if (made) opencl_free(&made->base);
    return status;
}
