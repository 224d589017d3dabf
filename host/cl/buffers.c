/* Device buffers: counted, checked against the device's limits, zeroed; and blocking transfers. */
#include "base/memory.h"
#include "cl/device.h"
#include <string.h>

static const double mebibyte = 1024.0 * 1024.0;

slad_status slad_buffer_create(slad_device *device, cl_mem *buffer, uint64_t bytes, const char *what)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    const slad_device_info *info = &device->info;
    const uint64_t size = bytes > 0 ? bytes : sizeof(cl_uint); /* OpenCL has no empty buffers */
    *buffer = NULL;
    SLAD_FAIL_IF(size > info->max_allocation || size > SIZE_MAX, SLAD_ERROR_OUT_OF_MEMORY,
                 "%s needs %.1f MiB in one buffer, but %s allows at most %.1f MiB; use a smaller batch, image or model",
                 what, (double)size / mebibyte, info->name, (double)info->max_allocation / mebibyte);
    SLAD_FAIL_IF(size > info->global_memory - device->allocated, SLAD_ERROR_OUT_OF_MEMORY,
                 "%s needs %.1f MiB, but of the %.1f MiB of %s %.1f MiB are in use already; use a smaller batch, image "
                 "or model",
                 what, (double)size / mebibyte, (double)info->global_memory / mebibyte, info->name,
                 (double)device->allocated / mebibyte);

    cl_int code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    cl_mem created = NULL;
    if (!slad_fault_due(context)) created = clCreateBuffer(device->cl, CL_MEM_READ_WRITE, (size_t)size, NULL, &code);
    SLAD_FAIL_IF(code != CL_SUCCESS, SLAD_ERROR_OUT_OF_MEMORY,
                 "%s: %s gave no buffer of %.1f MiB (%s; %.1f MiB are in use by slad); use a smaller batch, image or "
                 "model, or end other programs that use the device",
                 what, info->name, (double)size / mebibyte, slad_cl_error_name(code),
                 (double)device->allocated / mebibyte);
    *buffer = created;
    device->allocated += size;
    if (device->allocated > device->allocated_peak) device->allocated_peak = device->allocated;

    /* Many drivers allocate at the first touch: this is it, so that a lack of memory shows here and not in a step. */
    SLAD_TRY(slad_buffer_zero(device, created, 0, size));
    SLAD_TRY(slad_device_finish(device));
cleanup:
    if (status != SLAD_OK && *buffer) {
        slad_device_drain(device); /* drivers do not all bear a buffer's end while it is being filled */
        slad_buffer_free(device, *buffer, bytes);
        *buffer = NULL;
    }
    return status;
}

void slad_buffer_free(slad_device *device, cl_mem buffer, uint64_t bytes)
{
    if (!buffer) return;
    (void)clReleaseMemObject(buffer);
    device->allocated -= bytes > 0 ? bytes : sizeof(cl_uint);
}

/* Changes a part of a buffer by writing all of it; source NULL: zeros. For features.whole_transfers. */
static slad_status write_whole(slad_device *device, cl_mem buffer, uint64_t offset, const void *source, uint64_t bytes)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    unsigned char *copy = NULL;
    size_t size = 0;
    SLAD_CL_TRY(clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof size, &size, NULL));
    SLAD_FAIL_IF(offset > size || bytes > size - offset, SLAD_ERROR_INTERNAL,
                 "%llu bytes at %llu do not lie in a buffer of %zu bytes; please report it", (unsigned long long)bytes,
                 (unsigned long long)offset, size);
    SLAD_TRY(slad_allocate(context, &copy, size, 1, "a copy of a buffer"));
    SLAD_CL_TRY(clEnqueueReadBuffer(device->queue, buffer, CL_TRUE, 0, size, copy, 0, NULL, NULL));
    if (source) {
        memcpy(copy + offset, source, (size_t)bytes);
    } else {
        memset(copy + offset, 0, (size_t)bytes);
    }
    SLAD_CL_TRY(clEnqueueWriteBuffer(device->queue, buffer, CL_TRUE, 0, size, copy, 0, NULL, NULL));
cleanup:
    slad_release(copy);
    return status;
}

slad_status slad_buffer_write(slad_device *device, cl_mem buffer, uint64_t offset, const void *source, uint64_t bytes)
{
    slad_status status = SLAD_OK;
    if (bytes == 0) return SLAD_OK;
    if (device->features.whole_transfers) return write_whole(device, buffer, offset, source, bytes);
    SLAD_CL_TRY(
        clEnqueueWriteBuffer(device->queue, buffer, CL_TRUE, (size_t)offset, (size_t)bytes, source, 0, NULL, NULL));
cleanup:
    return status;
}

slad_status slad_buffer_upload(slad_device *device, cl_event *event, cl_mem buffer, uint64_t offset, const void *source,
                               uint64_t bytes)
{
    slad_status status = SLAD_OK;
    *event = NULL;
    if (bytes == 0) return SLAD_OK;
    if (device->features.whole_transfers) return write_whole(device, buffer, offset, source, bytes);
    SLAD_CL_TRY(
        clEnqueueWriteBuffer(device->queue, buffer, CL_FALSE, (size_t)offset, (size_t)bytes, source, 0, NULL, event));
cleanup:
    return status;
}

slad_status slad_buffer_read(slad_device *device, void *destination, cl_mem buffer, uint64_t offset, uint64_t bytes)
{
    slad_status status = SLAD_OK;
    if (bytes == 0) return SLAD_OK;
    SLAD_CL_TRY(
        clEnqueueReadBuffer(device->queue, buffer, CL_TRUE, (size_t)offset, (size_t)bytes, destination, 0, NULL, NULL));
cleanup:
    return status;
}

slad_status slad_buffer_zero(slad_device *device, cl_mem buffer, uint64_t offset, uint64_t bytes)
{
    slad_status status = SLAD_OK;
    const cl_uint zeros[4] = {0, 0, 0, 0};
    if (bytes == 0) return SLAD_OK;
    if (device->features.whole_transfers) return write_whole(device, buffer, offset, NULL, bytes);
    /* The widest pattern that divides the range: drivers fill much faster with it. */
    const uint64_t grain = offset | bytes;
    const size_t pattern = grain % 16 == 0 ? 16 : grain % 4 == 0 ? 4 : 1;
    SLAD_CL_TRY(
        clEnqueueFillBuffer(device->queue, buffer, zeros, pattern, (size_t)offset, (size_t)bytes, 0, NULL, NULL));
cleanup:
    return status;
}

void slad_device_drain(slad_device *device)
{
    cl_event last = NULL;
    if (clEnqueueMarkerWithWaitList(device->queue, 0, NULL, &last) == CL_SUCCESS) {
        (void)clWaitForEvents(1, &last);
        (void)clReleaseEvent(last);
    }
    (void)clFinish(device->queue);
}

slad_status slad_device_finish(slad_device *device)
{
    slad_status status = SLAD_OK;
    slad_device_drain(device);
    SLAD_CL_TRY(clFinish(device->queue));
cleanup:
    return status;
}
