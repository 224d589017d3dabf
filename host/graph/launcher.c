#include "graph/launcher.h"
#include "base/memory.h"
#include "graph/executor_opencl.h"
#include <string.h>

#define MAX_ARGUMENTS 32

const slad_features *slad_launcher_features(const slad_launcher *launcher)
{
    return &launcher->executor->device->features;
}

static bool belongs_to_record(const slad_tensor *tensor)
{
    return tensor->slab->kind == SLAD_SLAB_INPUT || tensor->slab->kind == SLAD_SLAB_ACTIVATION;
}

void slad_executor_note_use(slad_opencl_executor *executor, const slad_tensor *tensor)
{
    if (tensor && !belongs_to_record(tensor)) executor->in_use[tensor->slab->id] = true;
}

slad_gemm_operand slad_executor_locate(const slad_opencl_executor *executor, const slad_opencl_record *record,
                                       const slad_tensor *tensor)
{
    if (!tensor) return (slad_gemm_operand){executor->none, 0};
    const uint32_t id = tensor->slab->id;
    if (tensor->slab->kind == SLAD_SLAB_INPUT) return (slad_gemm_operand){record->inputs[id], (uint32_t)tensor->offset};
    if (tensor->slab->kind == SLAD_SLAB_ACTIVATION) {
        const slad_placement place = record->placements[id];
        return (slad_gemm_operand){executor->arena_buffers[place.buffer], (uint32_t)(place.offset + tensor->offset)};
    }
    return (slad_gemm_operand){executor->slabs[id], (uint32_t)tensor->offset};
}

static slad_status note_kernel(slad_opencl_executor *executor, const slad_kernel_row *row, const char *defines)
{
    slad_context *context = executor->base.context;
    slad_status status = SLAD_OK;
    for (size_t i = 0; i < executor->kernel_count; i++)
        if (executor->kernels[i].row == row && strcmp(executor->kernels[i].defines, defines) == 0) return SLAD_OK;
    SLAD_TRY(slad_grow(context, &executor->kernels, &executor->kernel_capacity, executor->kernel_count + 1,
                       sizeof *executor->kernels, "kernels in use"));
    slad_kernel_use *use = &executor->kernels[executor->kernel_count];
    use->row = row;
    SLAD_TRY(slad_duplicate(context, &use->defines, defines));
    executor->kernel_count++;
cleanup:
    return status;
}

/* The next enqueue of the record, zeroed. */
static slad_status add_enqueue(slad_launcher *launcher, slad_enqueue **enqueue)
{
    slad_opencl_record *record = launcher->record;
    const slad_status status =
        slad_grow(launcher->executor->base.context, &record->enqueues, &record->enqueue_capacity,
                  record->enqueue_count + 1, sizeof *record->enqueues, "the launches of a record");
    if (status != SLAD_OK) return status;
    *enqueue = &record->enqueues[record->enqueue_count++];
    (*enqueue)->phase = launcher->phase;
    return SLAD_OK;
}

slad_status slad_launch_kernel(slad_launcher *launcher, const slad_kernel_row *row, const char *defines,
                               const slad_operand *arguments, size_t count, slad_work work)
{
    slad_opencl_executor *executor = launcher->executor;
    slad_context *context = executor->base.context;
    slad_status status = SLAD_OK;
    slad_argument bound[MAX_ARGUMENTS];
    slad_enqueue *enqueue;
    SLAD_FAIL_IF(count > MAX_ARGUMENTS, SLAD_ERROR_INTERNAL, "Kernel %s has %zu arguments", row->entry, count);
    if (!launcher->binding) {
        for (size_t i = 0; i < count; i++)
            if (arguments[i].letter == 't') slad_executor_note_use(executor, arguments[i].tensor);
        return note_kernel(executor, row, defines);
    }
    for (size_t i = 0; i < count; i++) {
        bound[i] = arguments[i].value;
        if (arguments[i].letter != 't') continue;
        const slad_gemm_operand place = slad_executor_locate(executor, launcher->record, arguments[i].tensor);
        bound[i] = slad_argument_buffer(place.buffer, place.offset);
    }
    SLAD_TRY(add_enqueue(launcher, &enqueue));
    SLAD_TRY(slad_launch_bind(executor->device, &enqueue->launch, row, defines, bound, count, work));
cleanup:
    return status;
}

static slad_status note_problem(slad_opencl_executor *executor, const slad_gemm_problem *problem)
{
    for (size_t i = 0; i < executor->problem_count; i++) {
        const slad_gemm_problem *other = &executor->problems[i];
        if (other->rows == problem->rows && other->columns == problem->columns && other->depth == problem->depth &&
            other->a_stride == problem->a_stride && other->c_stride == problem->c_stride &&
            other->bias == problem->bias && other->accumulate == problem->accumulate)
            return SLAD_OK;
    }
    const slad_status status = slad_grow(executor->base.context, &executor->problems, &executor->problem_capacity,
                                         executor->problem_count + 1, sizeof *executor->problems, "GEMM shapes");
    if (status == SLAD_OK) executor->problems[executor->problem_count++] = *problem;
    return status;
}

slad_status slad_launch_gemm(slad_launcher *launcher, const slad_tensor *c, const slad_tensor *a,
                             const slad_weight *weight, const slad_tensor *bias, bool transposed, bool accumulate)
{
    slad_opencl_executor *executor = launcher->executor;
    slad_context *context = executor->base.context;
    slad_status status = SLAD_OK;
    size_t index;
    slad_enqueue *enqueue;
    const size_t out = weight->weight->size[0], in = weight->weight->size[1];
    const slad_gemm_problem problem = {
        .rows = slad_tensor_rows(c),
        .columns = transposed ? in : out,
        .depth = transposed ? out : in,
        .a_stride = slad_tensor_columns(a),
        .c_stride = slad_tensor_columns(c),
        .bias = bias != NULL,
        .accumulate = accumulate,
    };
    SLAD_FAIL_IF(problem.columns != problem.c_stride || problem.depth != problem.a_stride ||
                     problem.rows != slad_tensor_rows(a) || !slad_tensor_is_contiguous(a) ||
                     !slad_tensor_is_contiguous(c),
                 SLAD_ERROR_INTERNAL, "A GEMM with weight %s does not fit its operands", weight->weight->name);
    SLAD_TRY(slad_packed_find(executor, &index, weight, transposed));
    if (!launcher->binding) {
        slad_executor_note_use(executor, bias);
        return note_problem(executor, &problem);
    }
    SLAD_TRY(add_enqueue(launcher, &enqueue));
    enqueue->is_gemm = true;
    const slad_gemm_operand packed = slad_packed_locate(executor, index, &enqueue->packing);
    SLAD_TRY(slad_gemm_bind(executor->gemm, &enqueue->call, slad_executor_locate(executor, launcher->record, c),
                            slad_executor_locate(executor, launcher->record, a), packed,
                            slad_executor_locate(executor, launcher->record, bias), &problem));
cleanup:
    return status;
}

slad_status slad_executor_enqueue(slad_device *device, const slad_enqueue *enqueue)
{
    slad_status status = SLAD_OK;
    if (!enqueue->is_gemm) return slad_launch_enqueue(device, &enqueue->launch);
    if (enqueue->packing) SLAD_TRY(slad_gemm_enqueue_pack(enqueue->packing));
    SLAD_TRY(slad_gemm_enqueue(&enqueue->call));
cleanup:
    return status;
}

slad_status slad_executor_walk(slad_opencl_executor *executor, slad_opencl_record *record, bool binding)
{
    slad_status status = SLAD_OK;
    for (size_t n = 0; status == SLAD_OK && n < slad_record_node_count(record->record); n++) {
        const slad_node *node = slad_record_node_at(record->record, n);
        slad_launcher launcher = {executor, record, node->phase, binding};
        status = node->operation->launch(&launcher, node);
    }
    return status;
}
