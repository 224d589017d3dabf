/* Discovery: every platform, every device, whatever their drivers do. */
#include "cl/discovery.h"
#include "base/memory.h"
#include "cl/quirks.h"
#include <stdio.h>
#include <string.h>

/* Of the extension cl_khr_icd: the loader knows no driver; a short name of the driver. */
enum { PLATFORM_NOT_FOUND = -1001, PLATFORM_ICD_SUFFIX = 0x0920 };

static slad_status query_platform_text(slad_context *context, cl_platform_id platform, cl_platform_info property,
                                       char *out, size_t size)
{
    slad_status status = SLAD_OK;
    char *text = NULL;
    size_t length = 0;
    out[0] = '\0';
    if (clGetPlatformInfo(platform, property, 0, NULL, &length) != CL_SUCCESS) return SLAD_OK;
    SLAD_TRY(slad_allocate(context, &text, length + 1, 1, "a platform property"));
    if (clGetPlatformInfo(platform, property, length, text, NULL) == CL_SUCCESS) (void)snprintf(out, size, "%s", text);
cleanup:
    slad_release(text);
    return status;
}

/* *ids of *count devices; none, with the reason and a line in the log, where the platform has none or fails. */
static slad_status list_devices(slad_context *context, cl_device_id **ids, cl_uint *count, slad_platform_info *info,
                                cl_platform_id platform)
{
    slad_status status = SLAD_OK;
    *ids = NULL;
    *count = 0;
    cl_uint found = 0;
    cl_int code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, NULL, &found);
    if (code == CL_SUCCESS && found > 0) {
        SLAD_TRY(slad_allocate(context, ids, found, sizeof(cl_device_id), "the list of devices"));
        code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, found, *ids, NULL);
    }
    if (code == CL_SUCCESS) {
        *count = found;
    } else if (code != CL_DEVICE_NOT_FOUND) {
        (void)snprintf(info->reason, sizeof info->reason, "its driver failed to list them (%s)",
                       slad_cl_error_name(code));
        slad_log(context, SLAD_LOG_WARNING, "platform \"%s\" failed to list its devices (%s) and is passed over",
                 info->name, slad_cl_error_name(code));
    }
    if (*count == 0) slad_log(context, SLAD_LOG_DEBUG, "platform \"%s\" has no devices", info->name);
    if (*count == 0 && !info->reason[0]) (void)snprintf(info->reason, sizeof info->reason, "its driver offers none");
    info->devices = *count;
cleanup:
    return status;
}

static slad_status add_device(slad_context *context, slad_discovery *discovery, const slad_device *prototype)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_grow(context, &discovery->devices, &discovery->capacity, discovery->count + 1,
                       sizeof *discovery->devices, "the list of devices"));
    slad_device *device = &discovery->devices[discovery->count];
    *device = *prototype;
    SLAD_TRY(slad_device_query(device));
    slad_features_set_defaults(device);
    slad_quirks_apply(device, slad_quirk_table, slad_quirk_count);
    discovery->count++;
    if (!device->info.usable)
        slad_log(context, SLAD_LOG_DEBUG, "device %u:%u \"%s\" cannot be used: %s", device->info.platform_index,
                 device->info.device_index, device->info.name, device->info.reason);
cleanup:
    return status;
}

static slad_status add_platform(slad_context *context, slad_discovery *discovery, cl_platform_id platform,
                                unsigned index)
{
    slad_status status = SLAD_OK;
    cl_device_id *ids = NULL;
    cl_uint count = 0;
    slad_device prototype = {.context = context, .platform = platform, .info = {.platform_index = index}};
    slad_device_info *info = &prototype.info;
    slad_platform_info *own = &discovery->platforms[index];
    SLAD_TRY(query_platform_text(context, platform, CL_PLATFORM_NAME, own->name, sizeof own->name));
    SLAD_TRY(query_platform_text(context, platform, CL_PLATFORM_VERSION, own->version, sizeof own->version));
    memcpy(info->platform, own->name, sizeof info->platform);
    memcpy(info->platform_version, own->version, sizeof info->platform_version);
    SLAD_TRY(
        query_platform_text(context, platform, PLATFORM_ICD_SUFFIX, prototype.icd_suffix, sizeof prototype.icd_suffix));
    SLAD_TRY(list_devices(context, &ids, &count, own, platform));
    for (cl_uint i = 0; i < count; i++) {
        info->device_index = i;
        prototype.id = ids[i];
        SLAD_TRY(add_device(context, discovery, &prototype));
    }
cleanup:
    slad_release(ids);
    return status;
}

slad_status slad_discovery_run(slad_context *context, slad_discovery *discovery)
{
    slad_status status = SLAD_OK;
    cl_platform_id *platforms = NULL;
    cl_uint count = 0;
    *discovery = (slad_discovery){0};
    cl_int code = clGetPlatformIDs(0, NULL, &count);
    if (code == CL_SUCCESS && count > 0) {
        SLAD_TRY(slad_allocate(context, &platforms, count, sizeof(cl_platform_id), "the list of platforms"));
        code = clGetPlatformIDs(count, platforms, NULL);
    }
    if (code != CL_SUCCESS) {
        count = 0;
        if (code != PLATFORM_NOT_FOUND)
            slad_log(context, SLAD_LOG_WARNING, "the OpenCL loader failed to list platforms (%s)",
                     slad_cl_error_name(code));
    }
    SLAD_TRY(
        slad_allocate(context, &discovery->platforms, count, sizeof *discovery->platforms, "the list of platforms"));
    discovery->platform_count = count;
    for (cl_uint i = 0; i < count; i++) SLAD_TRY(add_platform(context, discovery, platforms[i], i));
cleanup:
    slad_release(platforms);
    if (status != SLAD_OK) slad_discovery_free(discovery);
    return status;
}

void slad_discovery_free(slad_discovery *discovery)
{
    slad_release(discovery->devices);
    slad_release(discovery->platforms);
    *discovery = (slad_discovery){0};
}

slad_status slad_device_list_read(slad_context *context, slad_device_list *list)
{
    slad_status status = SLAD_OK;
    slad_discovery discovery;
    *list = (slad_device_list){0};
    SLAD_TRY(slad_discovery_run(context, &discovery));
    SLAD_TRY(slad_allocate(context, &list->devices, discovery.count, sizeof *list->devices, "the list of devices"));
    for (size_t i = 0; i < discovery.count; i++) list->devices[i] = discovery.devices[i].info;
    list->count = discovery.count;
    list->platforms = discovery.platforms;
    list->platform_count = discovery.platform_count;
    discovery.platforms = NULL;
cleanup:
    slad_discovery_free(&discovery);
    return status;
}

void slad_device_list_free(slad_device_list *list)
{
    slad_release(list->devices);
    slad_release(list->platforms);
    *list = (slad_device_list){0};
}
