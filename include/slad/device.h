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

typedef struct slad_platform_info {
    char name[128], version[128];
    size_t devices;
    char reason[128]; /* why there are none, "" if there are some */
} slad_platform_info;

typedef struct slad_device_list {
    slad_device_info *devices;
    size_t count;
    slad_platform_info *platforms; /* [platform_count]; platform_index of a device counts in it */
    size_t platform_count;
} slad_device_list;

/* Lists every platform with every device. A driver that fails is logged, and its platform has no devices; an empty list
 * is no error. Free with slad_device_list_free. */
SLAD_API slad_status slad_device_list_read(slad_context *context, slad_device_list *list);
SLAD_API void slad_device_list_free(slad_device_list *list);

typedef struct slad_device slad_device;

typedef struct slad_device_options {
    /* "P:D" by index, any part of the platform's or device's name, or the driver's short name such as "pocl" (case is
     * ignored); of several that match the best usable one. NULL: the best GPU, else CPU. Accelerators and custom
     * devices only when named. Best: GPU before CPU before others, then the most compute units x clock. */
    const char *spec;
    const char *cache_directory; /* of compiled kernels; NULL: the user's cache folder; "": no cache */
    /* Kernel sources in place of the built-in ones: all that are used must be there. NULL: built in. */
    const char *kernels_directory;
} slad_device_options;

/* Opens a device: context, one in-order queue, capabilities, quirks, program cache. options may be NULL.
 * Errors: SLAD_ERROR_NO_DEVICE (nothing there, nothing matches, ambiguous index, cannot be used: the message lists what
 * is there). The context must outlive the device. */
SLAD_API slad_status slad_device_open(slad_context *context, slad_device **device, const slad_device_options *options);
SLAD_API void slad_device_free(slad_device *device);
SLAD_API const slad_device_info *slad_device_get_info(const slad_device *device);

/* What an opened device reports and, for its maths, what was measured. */
typedef struct slad_capabilities {
    char c_version[128];
    uint64_t max_parameter_bytes; /* all arguments of a kernel together */
    size_t max_work_item_sizes[3];
    unsigned address_bits, native_float_width, preferred_float_width;
    bool local_memory_is_global, unified_memory, compiler_available, full_profile, denormals, correct_division, fma;
    bool fp16, fp64, sub_groups;
    /* Largest error of the device's maths against double over fixed inputs, in units of the last place of a float;
     * negative: not measured yet. At most 1e9, which also stands for a result that is no number. */
    double exp_ulp, log_ulp, erf_ulp, rsqrt_ulp, tanh_ulp;
} slad_capabilities;

/* A setting that kernels and the GEMM dispatcher adapt to, for example "vector_width" = 16. */
typedef struct slad_device_feature {
    const char *name;
    unsigned value;
} slad_device_feature;

/* A row of the quirk table that applies to this device. */
typedef struct slad_device_quirk {
    const char *feature; /* what it sets, or "unusable" */
    int value;
    const char *reason, *evidence;
} slad_device_quirk;

enum { SLAD_MAX_FEATURES = 16, SLAD_MAX_QUIRKS = 32 };

typedef struct slad_device_details {
    slad_capabilities capabilities;
    slad_device_feature features[SLAD_MAX_FEATURES];
    size_t feature_count;
    slad_device_quirk quirks[SLAD_MAX_QUIRKS];
    size_t quirk_count;
} slad_device_details;

/* Fills details; the first call for a device runs its maths probe. Texts live as long as the library. Errors:
 * SLAD_ERROR_BUILD, SLAD_ERROR_OUT_OF_MEMORY, SLAD_ERROR_INTERNAL. */
SLAD_API slad_status slad_device_get_details(slad_device *device, slad_device_details *details);

/* One kernel of slad against its plain C reference on a device. */
typedef struct slad_kernel_check {
    const char *kernel; /* its function; lives as long as the library */
    bool passed;
    double error, tolerance; /* largest difference, relative to the root mean square of the reference's result */
} slad_kernel_check;

typedef struct slad_self_test {
    slad_kernel_check *kernels;
    size_t count, failed;
} slad_self_test;

/* Runs the self-test of every kernel, also of those that passed before. Failing kernels are no error of this call. Free
 * with slad_self_test_free. Errors: SLAD_ERROR_BUILD, SLAD_ERROR_OUT_OF_MEMORY, SLAD_ERROR_INTERNAL. */
SLAD_API slad_status slad_device_self_test(slad_device *device, slad_self_test *result);
SLAD_API void slad_self_test_free(slad_self_test *result);

#ifdef __cplusplus
}
#endif
#endif
