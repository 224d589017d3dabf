/* What a driver says of one device. */
#include "base/memory.h"
#include "cl/discovery.h"
#include <stdio.h>
#include <string.h>

/* Notes why a device cannot be used; the first reason stays. */
static void refuse(slad_device *device, const char *reason)
{
    if (!device->info.usable) return;
    device->info.usable = false;
    (void)snprintf(device->info.reason, sizeof device->info.reason, "%s", reason);
}

static void refuse_query(slad_device *device, const char *what, cl_int code)
{
    char reason[sizeof device->info.reason];
    (void)snprintf(reason, sizeof reason, "its driver failed to tell %s (%s)", what, slad_cl_error_name(code));
    refuse(device, reason);
}

/* A fixed-size property; zero where the driver fails. */
static void query_value(slad_device *device, cl_device_info property, const char *what, void *out, size_t size)
{
    size_t given = 0;
    memset(out, 0, size);
    const cl_int code = clGetDeviceInfo(device->id, property, size, out, &given);
    if (code == CL_SUCCESS && given == size) return;
    memset(out, 0, size);
    refuse_query(device, what, code != CL_SUCCESS ? code : CL_INVALID_VALUE);
}

/* A text, cut to what `out` holds. Its whole length goes to *whole where that is asked for. */
static slad_status query_text(slad_device *device, cl_device_info property, const char *what, char *out, size_t size)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    char *text = NULL;
    size_t length = 0;
    out[0] = '\0';
    cl_int code = clGetDeviceInfo(device->id, property, 0, NULL, &length);
    if (code == CL_SUCCESS) {
        SLAD_TRY(slad_allocate(context, &text, length + 1, 1, "a device property"));
        code = clGetDeviceInfo(device->id, property, length, text, NULL);
    }
    if (code == CL_SUCCESS) {
        (void)snprintf(out, size, "%s", text);
    } else {
        refuse_query(device, what, code);
    }
cleanup:
    slad_release(text);
    return status;
}

static bool has_extension(const char *extensions, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = extensions; (at = strstr(at, name)) != NULL; at += length) {
        const bool starts = at == extensions || at[-1] == ' ';
        if (starts && (at[length] == ' ' || at[length] == '\0')) return true;
    }
    return false;
}

static slad_status query_extensions(slad_device *device)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    enum { LIMIT = 1 << 16 };
    char *extensions = NULL;
    SLAD_TRY(slad_allocate(context, &extensions, LIMIT, 1, "the list of extensions"));
    SLAD_TRY(query_text(device, CL_DEVICE_EXTENSIONS, "its extensions", extensions, LIMIT));
    device->capabilities.fp16 = has_extension(extensions, "cl_khr_fp16");
    device->capabilities.fp64 = has_extension(extensions, "cl_khr_fp64");
    device->capabilities.sub_groups =
        has_extension(extensions, "cl_khr_subgroups") || has_extension(extensions, "cl_intel_subgroups");
cleanup:
    slad_release(extensions);
    return status;
}

/* The first kind that applies: simulators call themselves everything at once. */
static slad_device_type type_of(cl_device_type bits)
{
    if (bits & CL_DEVICE_TYPE_GPU) return SLAD_DEVICE_GPU;
    if (bits & CL_DEVICE_TYPE_CPU) return SLAD_DEVICE_CPU;
    if (bits & CL_DEVICE_TYPE_ACCELERATOR) return SLAD_DEVICE_ACCELERATOR;
    return SLAD_DEVICE_CUSTOM;
}

static void query_info(slad_device *device)
{
    slad_device_info *info = &device->info;
    cl_device_type type = 0;
    cl_ulong bytes = 0;
    cl_uint number = 0;
    size_t size = 0;
    query_value(device, CL_DEVICE_TYPE, "its type", &type, sizeof type);
    info->type = type_of(type);
    query_value(device, CL_DEVICE_GLOBAL_MEM_SIZE, "its memory", &bytes, sizeof bytes);
    info->global_memory = bytes;
    query_value(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, "its largest allocation", &bytes, sizeof bytes);
    info->max_allocation = bytes;
    query_value(device, CL_DEVICE_LOCAL_MEM_SIZE, "its local memory", &bytes, sizeof bytes);
    info->local_memory = bytes;
    query_value(device, CL_DEVICE_MAX_COMPUTE_UNITS, "its compute units", &number, sizeof number);
    info->compute_units = number;
    query_value(device, CL_DEVICE_MAX_CLOCK_FREQUENCY, "its clock", &number, sizeof number);
    info->clock_mhz = number;
    query_value(device, CL_DEVICE_MAX_WORK_GROUP_SIZE, "its largest work-group", &size, sizeof size);
    info->max_work_group = size;
}

static void query_capabilities(slad_device *device)
{
    slad_capabilities *capabilities = &device->capabilities;
    cl_device_fp_config maths = 0;
    cl_device_local_mem_type local_type = 0;
    cl_bool flag = CL_FALSE;
    cl_uint number = 0;
    size_t bytes = 0;
    query_value(device, CL_DEVICE_MAX_PARAMETER_SIZE, "its largest arguments", &bytes, sizeof bytes);
    capabilities->max_parameter_bytes = bytes;
    query_value(device, CL_DEVICE_MAX_WORK_ITEM_SIZES, "its work-item sizes", capabilities->max_work_item_sizes,
                sizeof capabilities->max_work_item_sizes);
    query_value(device, CL_DEVICE_ADDRESS_BITS, "its address bits", &number, sizeof number);
    capabilities->address_bits = number;
    query_value(device, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, "its vector width", &number, sizeof number);
    capabilities->native_float_width = number;
    query_value(device, CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT, "its preferred vector width", &number, sizeof number);
    capabilities->preferred_float_width = number;
    query_value(device, CL_DEVICE_LOCAL_MEM_TYPE, "its local memory's type", &local_type, sizeof local_type);
    capabilities->local_memory_is_global = local_type == CL_GLOBAL;
    query_value(device, CL_DEVICE_HOST_UNIFIED_MEMORY, "whether memory is unified", &flag, sizeof flag);
    capabilities->unified_memory = flag != CL_FALSE;
    query_value(device, CL_DEVICE_COMPILER_AVAILABLE, "whether it has a compiler", &flag, sizeof flag);
    capabilities->compiler_available = flag != CL_FALSE;
    query_value(device, CL_DEVICE_SINGLE_FP_CONFIG, "its floating-point features", &maths, sizeof maths);
    capabilities->denormals = (maths & CL_FP_DENORM) != 0;
    capabilities->correct_division = (maths & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
    capabilities->fma = (maths & CL_FP_FMA) != 0;
    capabilities->exp_ulp = capabilities->log_ulp = capabilities->erf_ulp = -1.0;
    capabilities->rsqrt_ulp = capabilities->tanh_ulp = -1.0;
}

/* "OpenCL 1.1 ..." is too old: slad needs 1.2. An unreadable version passes; the driver then refuses by itself. */
static bool is_too_old(const char *version)
{
    unsigned major = 0, minor = 0;
    if (sscanf(version, "OpenCL %u.%u", &major, &minor) != 2) return false; // NOLINT(cert-err34-c): any digits will do
    return major < 1 || (major == 1 && minor < 2);
}

static void refuse_unusable(slad_device *device)
{
    cl_bool available = CL_FALSE, little_endian = CL_FALSE;
    query_value(device, CL_DEVICE_AVAILABLE, "whether it is available", &available, sizeof available);
    query_value(device, CL_DEVICE_ENDIAN_LITTLE, "its byte order", &little_endian, sizeof little_endian);
    if (!device->info.usable) return;
    if (!available) refuse(device, "its driver says that it is not available");
    if (!little_endian) refuse(device, "it is not little-endian, and slad's files and kernels are");
    if (is_too_old(device->info.version) || is_too_old(device->info.platform_version))
        refuse(device, "it offers less than OpenCL 1.2; a newer driver may help");
    if (!device->capabilities.compiler_available)
        refuse(device, "it has no compiler: it needs kernels compiled offline into a bundle, and this version of slad "
                       "cannot make or load one");
}

slad_status slad_device_query(slad_device *device)
{
    slad_status status = SLAD_OK;
    slad_device_info *info = &device->info;
    char profile[32];
    info->usable = true;
    info->reason[0] = '\0';
    SLAD_TRY(query_text(device, CL_DEVICE_NAME, "its name", info->name, sizeof info->name));
    SLAD_TRY(query_text(device, CL_DEVICE_VENDOR, "its vendor", info->vendor, sizeof info->vendor));
    SLAD_TRY(query_text(device, CL_DRIVER_VERSION, "its driver version", info->driver, sizeof info->driver));
    SLAD_TRY(query_text(device, CL_DEVICE_VERSION, "its OpenCL version", info->version, sizeof info->version));
    SLAD_TRY(query_text(device, CL_DEVICE_OPENCL_C_VERSION, "its OpenCL C version", device->capabilities.c_version,
                        sizeof device->capabilities.c_version));
    SLAD_TRY(query_text(device, CL_DEVICE_PROFILE, "its profile", profile, sizeof profile));
    device->capabilities.full_profile = strcmp(profile, "FULL_PROFILE") == 0;
    SLAD_TRY(query_extensions(device));
    query_info(device);
    query_capabilities(device);
    refuse_unusable(device);
cleanup:
    return status;
}
