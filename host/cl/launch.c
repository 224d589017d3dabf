/* Binding kernels to arguments and work-groups, and enqueueing them. */
#include "cl/launch.h"
#include "base/memory.h"
#include <string.h>

static slad_status set_argument(slad_device *device, cl_kernel kernel, cl_uint *index, const slad_argument *argument)
{
    slad_status status = SLAD_OK;
    if (argument->letter == 't') {
        SLAD_CL_TRY(clSetKernelArg(kernel, *index, sizeof(cl_mem), &argument->buffer));
        *index += 1;
        SLAD_CL_TRY(clSetKernelArg(kernel, *index, sizeof argument->offset, &argument->offset));
    } else {
        SLAD_CL_TRY(clSetKernelArg(kernel, *index, sizeof argument->value, &argument->value));
    }
    *index += 1;
cleanup:
    return status;
}

/* How many arguments the kernel function of a row must have. */
static cl_uint count_kernel_arguments(const char *letters, size_t count)
{
    cl_uint arguments = 0;
    for (size_t i = 0; i < count; i++) arguments += letters[i] == 't' ? 2 : 1;
    return arguments;
}

static slad_status set_arguments(slad_device *device, cl_kernel kernel, const slad_kernel_row *row,
                                 const slad_argument *arguments, size_t count)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    const size_t expected = strlen(row->arguments);
    cl_uint declared = 0, index = 0;
    SLAD_FAIL_IF(count != expected, SLAD_ERROR_INTERNAL,
                 "kernel %s takes %zu arguments (\"%s\") but was given %zu; please report it", row->entry, expected,
                 row->arguments, count);
    SLAD_CL_TRY(clGetKernelInfo(kernel, CL_KERNEL_NUM_ARGS, sizeof declared, &declared, NULL));
    SLAD_FAIL_IF(declared != count_kernel_arguments(row->arguments, count), SLAD_ERROR_INTERNAL,
                 "kernel %s of %s.cl has %u parameters, which its row \"%s\" does not describe; please report it",
                 row->entry, row->file, declared, row->arguments);
    for (size_t i = 0; i < count; i++) {
        SLAD_FAIL_IF(arguments[i].letter != row->arguments[i], SLAD_ERROR_INTERNAL,
                     "argument %zu of kernel %s must be '%c' but is '%c'; please report it", i, row->entry,
                     row->arguments[i], arguments[i].letter);
        SLAD_TRY(set_argument(device, kernel, &index, &arguments[i]));
    }
cleanup:
    return status;
}

/* A group of about `wanted` items, a power of two: along dimension 0 as far as there are items, then along 1 and 2. */
static void spread_group(size_t local[3], const size_t items[3], size_t wanted, const size_t limits[3])
{
    for (unsigned axis = 0; axis < 3; axis++) {
        local[axis] = 1;
        while (wanted > 1 && local[axis] < items[axis] && 2 * local[axis] <= limits[axis]) {
            local[axis] *= 2;
            wanted /= 2;
        }
    }
}

static void choose_group(const slad_device *device, const slad_kernel_row *row, size_t local[3], const slad_work *work,
                         const size_t items[3])
{
    const size_t *limits = device->capabilities.max_work_item_sizes;
    if (work->group[0] > 0) {
        for (unsigned axis = 0; axis < 3; axis++) local[axis] = work->group[axis] > 0 ? work->group[axis] : 1;
    } else if (row->rule == SLAD_WORK_ROWS) {
        local[0] = device->features.row_lanes;
        local[1] = local[2] = 1;
    } else {
        spread_group(local, items,
                     row->rule == SLAD_WORK_SINGLE ? device->features.block_group_size : device->features.group_size,
                     limits);
    }
}

/* Makes the group one that the built kernel can run: its own required size, or halved until it is allowed. */
static slad_status fit_group(slad_device *device, cl_kernel kernel, const slad_kernel_row *row, size_t local[3])
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    size_t allowed = 0, required[3] = {0, 0, 0};
    SLAD_CL_TRY(
        clGetKernelWorkGroupInfo(kernel, device->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof allowed, &allowed, NULL));
    SLAD_CL_TRY(clGetKernelWorkGroupInfo(kernel, device->id, CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof required,
                                         required, NULL));
    const bool fixed = required[0] > 0 || row->rule == SLAD_WORK_ROWS;
    if (required[0] > 0) memcpy(local, required, sizeof required);
    while (!fixed && local[0] * local[1] * local[2] > allowed && local[0] * local[1] * local[2] > 1) {
        const unsigned axis = local[0] > 1 ? 0 : local[1] > 1 ? 1 : 2;
        local[axis] /= 2;
    }
    SLAD_FAIL_IF(local[0] * local[1] * local[2] > allowed, SLAD_ERROR_INTERNAL,
                 "kernel %s needs work-groups of %zu items, but %s allows it only %zu; a row in platforms/quirks.def "
                 "that lowers row_lanes for this device helps",
                 row->entry, local[0] * local[1] * local[2], device->info.name, allowed);
cleanup:
    return status;
}

static slad_status set_work(slad_device *device, slad_launch *launch, slad_work work)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    const slad_kernel_row *row = launch->row;
    size_t items[3];
    for (unsigned axis = 0; axis < 3; axis++) items[axis] = work.items[axis] > 0 ? work.items[axis] : 1;
    SLAD_FAIL_IF(row->rule == SLAD_WORK_ROWS && items[0] != device->features.row_lanes, SLAD_ERROR_INTERNAL,
                 "kernel %s works with %u lanes a row but was given %zu items in dimension 0; please report it",
                 row->entry, device->features.row_lanes, items[0]);
    SLAD_FAIL_IF(work.split_axis < -1 || work.split_axis > 2, SLAD_ERROR_INTERNAL,
                 "kernel %s was given the split axis %d; please report it", row->entry, work.split_axis);
    choose_group(device, row, launch->local, &work, items);
    SLAD_TRY(fit_group(device, launch->kernel, row, launch->local));
    for (unsigned axis = 0; axis < 3; axis++) {
        const size_t local = launch->local[axis];
        launch->global[axis] = (items[axis] + local - 1) / local * local;
    }
    launch->split_axis = work.split_axis;
cleanup:
    return status;
}

slad_status slad_launch_bind(slad_device *device, slad_launch *launch, const slad_kernel_row *row, const char *defines,
                             const slad_argument *arguments, size_t count, slad_work work)
{
    slad_status status = SLAD_OK;
    *launch = (slad_launch){.row = row};
    SLAD_TRY(slad_kernel_create(device, &launch->kernel, row, defines));
    SLAD_TRY(set_arguments(device, launch->kernel, row, arguments, count));
    SLAD_TRY(set_work(device, launch, work));
cleanup:
    if (status != SLAD_OK) slad_launch_free(launch);
    return status;
}

slad_status slad_launch_set(slad_device *device, slad_launch *launch, size_t index, slad_argument argument)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    const char *letters = launch->row->arguments;
    SLAD_FAIL_IF(index >= strlen(letters) || letters[index] != argument.letter, SLAD_ERROR_INTERNAL,
                 "kernel %s has no argument %zu of kind '%c'; please report it", launch->row->entry, index,
                 argument.letter);
    cl_uint place = count_kernel_arguments(letters, index);
    SLAD_TRY(set_argument(device, launch->kernel, &place, &argument));
cleanup:
    return status;
}

/* One enqueue of a part of the launch. */
static slad_status enqueue_part(slad_device *device, const slad_launch *launch, const size_t offset[3],
                                const size_t global[3])
{
    slad_status status = SLAD_OK;
    cl_int code = CL_OUT_OF_RESOURCES;
    if (!slad_fault_due(device->context))
        code = clEnqueueNDRangeKernel(device->queue, launch->kernel, 3, offset, global, launch->local, 0, NULL, NULL);
    if (code != CL_SUCCESS) status = slad_cl_report(device, code, launch->row->entry, __FILE__, __LINE__);
    return status;
}

slad_status slad_launch_enqueue(slad_device *device, const slad_launch *launch)
{
    slad_status status = SLAD_OK;
    const size_t most = device->features.max_groups_per_enqueue;
    size_t offset[3] = {0, 0, 0}, global[3];
    memcpy(global, launch->global, sizeof global);
    if (launch->split_axis < 0 || most == 0) return enqueue_part(device, launch, offset, global);

    const unsigned axis = (unsigned)launch->split_axis;
    size_t groups_across = 1; /* of one layer along the axis */
    for (unsigned i = 0; i < 3; i++) groups_across *= i == axis ? 1 : global[i] / launch->local[i];
    const size_t layers = most > groups_across ? most / groups_across : 1;
    const size_t step = layers * launch->local[axis], whole = launch->global[axis];
    for (offset[axis] = 0; offset[axis] < whole; offset[axis] += step) {
        global[axis] = whole - offset[axis] < step ? whole - offset[axis] : step;
        SLAD_TRY(enqueue_part(device, launch, offset, global));
    }
cleanup:
    return status;
}

void slad_launch_free(slad_launch *launch)
{
    if (launch->kernel) (void)clReleaseKernel(launch->kernel);
    *launch = (slad_launch){0};
}
