/* An opened device, as the rooms above use it. */
#ifndef SLAD_CL_DEVICE_H
#define SLAD_CL_DEVICE_H

#include "base/memory.h"
#include "slad/device.h"
#include <CL/cl.h>

/* What kernels and the GEMM dispatcher adapt to. Defaults come from what the device reports (type, limits, vector
 * widths), then the quirk table may set any of them; kernels see those that concern them as macros. */
typedef struct slad_features {
    unsigned vector_width;     /* VECTOR_WIDTH: floats a work-item loads at once: 16 on CPUs, 4 elsewhere */
    unsigned row_lanes;        /* ROW_LANES: work-items that share a row reduction; 1: no local memory, no barrier */
    unsigned group_size;       /* preferred work-group size of elementwise kernels */
    unsigned block_group_size; /* work-group size of kernels whose items each do a large block; 1 on CPUs */
    unsigned
        max_groups_per_enqueue; /* launches of more work-groups are cut along their split axis (watchdogs); 0: never */
    bool has_fma;               /* HAS_FMA: fma() is fast */
    bool use_clblast;           /* GEMM provider: CLBlast, else the register-tile kernel */
    bool pass_c_standard;       /* build with -cl-std=CL1.2 */
    bool cache_programs;        /* keep binaries on disk */
    bool whole_transfers;       /* write buffers only as a whole: slow, for simulators that follow writes badly */
} slad_features;

typedef struct slad_program_store slad_program_store; /* programs built so far, and the disk cache: cl/program.h */

struct slad_device {
    slad_context *context;
    slad_device_info info;
    slad_capabilities capabilities;
    slad_features features;
    const struct slad_quirk *quirks[SLAD_MAX_QUIRKS]; /* rows of the quirk table that apply */
    size_t quirk_count;
    char icd_suffix[32]; /* short name of the platform's driver, for example "POCL"; "" if it has none */
    cl_platform_id platform;
    cl_device_id id;
    cl_context cl;
    cl_command_queue queue; /* in order */
    slad_program_store *programs;
    uint64_t allocated, allocated_peak; /* bytes of buffers made through slad_buffer_create */
};

/* Text of an OpenCL error code, for example "CL_OUT_OF_RESOURCES". */
const char *slad_cl_error_name(cl_int code);
/* Reports a failed OpenCL call with its name, error and device, as the fitting status (memory errors:
 * SLAD_ERROR_OUT_OF_MEMORY; others: SLAD_ERROR_INTERNAL). */
slad_status slad_cl_report(const slad_device *device, cl_int code, const char *call, const char *file, int line);

/* Needs the same names in scope as SLAD_TRY, and `device`. Counts as one point of fault injection. */
#define SLAD_CL_TRY(call)                                                                                              \
    do {                                                                                                               \
        const cl_int slad_code = slad_fault_due(device->context) ? CL_OUT_OF_RESOURCES : (call);                       \
        if (slad_code != CL_SUCCESS) {                                                                                 \
            status = slad_cl_report(device, slad_code, #call, __FILE__, __LINE__);                                     \
            goto cleanup;                                                                                              \
        }                                                                                                              \
    } while (0)

/* The same for calls that return an object and leave their code in `slad_code`:
 * SLAD_CL_CREATE(queue, clCreateCommandQueue(cl, id, 0, &slad_code)). The object is NULL after a failure. */
#define SLAD_CL_CREATE(object, call)                                                                                   \
    do {                                                                                                               \
        cl_int slad_code = CL_OUT_OF_RESOURCES;                                                                        \
        (object) = slad_fault_due(device->context) ? NULL : (call);                                                    \
        if (slad_code != CL_SUCCESS) {                                                                                 \
            (object) = NULL;                                                                                           \
            status = slad_cl_report(device, slad_code, #call, __FILE__, __LINE__);                                     \
            goto cleanup;                                                                                              \
        }                                                                                                              \
    } while (0)

/* Runs the maths probe kernel, once, and fills the *_ulp fields of the capabilities. */
slad_status slad_device_measure_maths(slad_device *device);

/* Buffers: counted, checked against the device's largest allocation before the driver is asked, zeroed on the device.
 * Errors: SLAD_ERROR_OUT_OF_MEMORY naming `what`, the size and the limit. */
slad_status slad_buffer_create(slad_device *device, cl_mem *buffer, uint64_t bytes, const char *what);
void slad_buffer_free(slad_device *device, cl_mem buffer, uint64_t bytes);
slad_status slad_buffer_write(slad_device *device, cl_mem buffer, uint64_t offset, const void *source, uint64_t bytes);
/* Starts the same and returns: source must stay as it is until *event, which the caller releases, has completed. A NULL
 * event: the copy is done already. */
slad_status slad_buffer_upload(slad_device *device, cl_event *event, cl_mem buffer, uint64_t offset, const void *source,
                               uint64_t bytes);
slad_status slad_buffer_read(slad_device *device, void *destination, cl_mem buffer, uint64_t offset, uint64_t bytes);
slad_status slad_buffer_zero(slad_device *device, cl_mem buffer, uint64_t offset, uint64_t bytes);
/* Waits until nothing is under way, whatever went wrong before: by a marker, since a driver's clFinish may not wait for
 * what an earlier clFlush sent off (Mesa 22.3's rusticl). */
void slad_device_drain(slad_device *device);
/* The same, and reports what the driver says of it. */
slad_status slad_device_finish(slad_device *device);

#endif
