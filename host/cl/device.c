/* Opening and closing a device. */
#include "cl/device.h"
#include "base/memory.h"
#include "cl/discovery.h"
#include "cl/program.h"
#include "cl/quirks.h"

static slad_status open_queue(slad_device *device)
{
    slad_status status = SLAD_OK;
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)device->platform, 0};
    SLAD_CL_CREATE(device->cl, clCreateContext(properties, 1, &device->id, NULL, NULL, &slad_code));
    SLAD_CL_CREATE(device->queue, clCreateCommandQueue(device->cl, device->id, 0, &slad_code));
cleanup:
    return status;
}

static void log_device(const slad_device *device)
{
    slad_context *context = device->context;
    const slad_device_info *info = &device->info;
    slad_log(context, SLAD_LOG_INFO, "device %u:%u: %s (%s), driver %s", info->platform_index, info->device_index,
             info->name, info->platform, info->driver);
    for (size_t i = 0; i < device->quirk_count; i++)
        slad_log(context, SLAD_LOG_DEBUG, "quirk: %s = %d, because %s", device->quirks[i]->feature,
                 device->quirks[i]->value, device->quirks[i]->reason);
}

slad_status slad_device_open(slad_context *context, slad_device **out, const slad_device_options *options)
{
    slad_status status = SLAD_OK;
    slad_discovery discovery = {0};
    const slad_device *chosen = NULL;
    slad_device *device = NULL;
    *out = NULL;
    SLAD_TRY(slad_discovery_run(context, &discovery));
    SLAD_TRY(slad_discovery_select(context, &chosen, &discovery, options ? options->spec : NULL));
    SLAD_TRY(slad_allocate(context, &device, 1, sizeof *device, "a device"));
    *device = *chosen;
    SLAD_TRY(open_queue(device));
    SLAD_TRY(slad_program_store_create(device, options));
    log_device(device);
    *out = device;
    device = NULL;
cleanup:
    slad_device_free(device);
    slad_discovery_free(&discovery);
    return status;
}

void slad_device_free(slad_device *device)
{
    if (!device) return;
    if (device->queue) slad_device_drain(device);
    slad_program_store_free(device);
    if (device->queue) (void)clReleaseCommandQueue(device->queue);
    if (device->cl) (void)clReleaseContext(device->cl);
    slad_release(device);
}

const slad_device_info *slad_device_get_info(const slad_device *device)
{
    return &device->info;
}

slad_status slad_device_get_details(slad_device *device, slad_device_details *details)
{
    slad_status status = SLAD_OK;
    *details = (slad_device_details){0};
    SLAD_TRY(slad_device_measure_maths(device));
    details->capabilities = device->capabilities;
    details->feature_count = slad_features_list(details->features, &device->features);
    for (size_t i = 0; i < device->quirk_count; i++) {
        const slad_quirk *row = device->quirks[i];
        details->quirks[i] = (slad_device_quirk){row->feature, row->value, row->reason, row->evidence};
    }
    details->quirk_count = device->quirk_count;
cleanup:
    return status;
}
