/* OpenCL devices: listing them, and opening one. */
#ifndef SLAD_DEVICE_H
#define SLAD_DEVICE_H

#include "slad/context.h"
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum slad_device_type {
    SLAD_DEVICE_GPU,
    SLAD_DEVICE_CPU,
    SLAD_DEVICE_ACCELERATOR,
    SLAD_DEVICE_CUSTOM
} slad_device_type;

/* What discovery tells of one device, without opening it. */
typedef struct slad_device_info {
    unsigned platform_index, device_index; /* the spec "P:D" */
    char platform[128], platform_version[128], name[192], vendor[128], driver[128], version[128];
    slad_device_type type;
    uint64_t global_memory, max_allocation, local_memory; /* bytes */
    unsigned compute_units, clock_mhz;
    uint64_t max_work_group;
    bool usable;
    char reason[256]; /* why it cannot be used, "" if it can */
} slad_device_info;

typedef struct slad_device_list {
    slad_device_info *devices;
    size_t count;
    size_t platform_count;
} slad_device_list;

/* Lists every device of every platform. A platform without devices or with a failing driver is logged and passed over;
 * an empty list is no error. Free with slad_device_list_free. */
SLAD_API slad_status slad_device_list_read(slad_context *context, slad_device_list *list);
SLAD_API void slad_device_list_free(slad_device_list *list);

typedef struct slad_device slad_device;

typedef struct slad_device_options {
    /* "P:D" by index, any part of the platform's or device's name, or the driver's short name such as "pocl" (case is
     * ignored); of several that match the best usable one. NULL: the best GPU, else CPU. Accelerators and custom devices
     * only when named. Best: GPU before CPU before others, then the most compute units x clock. */
    const char *spec;
    const char *cache_directory;   /* of compiled kernels; NULL: the user's cache folder; "": no cache */
    const char *kernels_directory; /* kernel sources that replace the built-in ones; NULL: built in */
} slad_device_options;

/* Opens a device: context, one in-order queue, capabilities, quirks, program cache. options may be NULL.
 * Errors: SLAD_ERROR_NO_DEVICE (nothing there, nothing matches, ambiguous index, cannot be used: the message lists what
 * is there). The context must outlive the device. */
SLAD_API slad_status slad_device_open(slad_context *context, slad_device **device, const slad_device_options *options);
SLAD_API void slad_device_free(slad_device *device);
SLAD_API const slad_device_info *slad_device_get_info(const slad_device *device);

#ifdef __cplusplus
}
#endif
#endif
