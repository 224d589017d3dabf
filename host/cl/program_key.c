/* The cache key: a text of all that a program's binary depends on. */
#include "base/environment.h"
#include "base/hash.h"
#include "base/memory.h"
#include "cl/program_store.h"
#include <stdio.h>
#include <string.h>

/* Environment variables that change what compilers do, by their beginnings. */
static const char *const compiler_variables[] = {"AMD_",  "CL_",     "CLVK_", "CUDA_", "GALLIUM_",         "GPU_",
                                                 "IGC_",  "LP_",     "MALI_", "MESA_", "NEOReadDebugKeys", "OCLGRIND_",
                                                 "POCL_", "RUSTICL_"};

typedef struct text_builder {
    slad_context *context;
    char *bytes;
    size_t size, capacity;
} text_builder;

static slad_status append(text_builder *out, const char *bytes, size_t count)
{
    const slad_status status =
        slad_grow(out->context, &out->bytes, &out->capacity, out->size + count + 1, 1, "a program's key");
    if (status != SLAD_OK) return status;
    memcpy(out->bytes + out->size, bytes, count);
    out->size += count;
    out->bytes[out->size] = '\0';
    return SLAD_OK;
}

/* "name: value" and a newline. */
static slad_status append_line(text_builder *out, const char *name, const char *value)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(append(out, name, strlen(name)));
    SLAD_TRY(append(out, ": ", 2));
    SLAD_TRY(append(out, value, strlen(value)));
    SLAD_TRY(append(out, "\n", 1));
cleanup:
    return status;
}

/* The whole text of a property; slad_device_info may hold it cut. */
static slad_status append_device(text_builder *out, const slad_device *device, const char *name,
                                 cl_device_info property)
{
    slad_status status = SLAD_OK;
    slad_context *context = out->context;
    char *text = NULL;
    size_t length = 0;
    SLAD_CL_TRY(clGetDeviceInfo(device->id, property, 0, NULL, &length));
    SLAD_TRY(slad_allocate(context, &text, length + 1, 1, "a device property"));
    SLAD_CL_TRY(clGetDeviceInfo(device->id, property, length, text, NULL));
    SLAD_TRY(append_line(out, name, text));
cleanup:
    slad_release(text);
    return status;
}

static slad_status append_platform(text_builder *out, const slad_device *device, const char *name,
                                   cl_platform_info property)
{
    slad_status status = SLAD_OK;
    slad_context *context = out->context;
    char *text = NULL;
    size_t length = 0;
    SLAD_CL_TRY(clGetPlatformInfo(device->platform, property, 0, NULL, &length));
    SLAD_TRY(slad_allocate(context, &text, length + 1, 1, "a platform property"));
    SLAD_CL_TRY(clGetPlatformInfo(device->platform, property, length, text, NULL));
    SLAD_TRY(append_line(out, name, text));
cleanup:
    slad_release(text);
    return status;
}

slad_status slad_program_make_key(const slad_device *device, slad_program *program)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    text_builder key = {.context = context};
    char *environment = NULL;
    char bits[64];
    SLAD_TRY(append_line(&key, "slad", SLAD_VERSION));
    SLAD_TRY(append_platform(&key, device, "platform", CL_PLATFORM_NAME));
    SLAD_TRY(append_platform(&key, device, "platform vendor", CL_PLATFORM_VENDOR));
    SLAD_TRY(append_platform(&key, device, "platform version", CL_PLATFORM_VERSION));
    SLAD_TRY(append_device(&key, device, "device", CL_DEVICE_NAME));
    SLAD_TRY(append_device(&key, device, "vendor", CL_DEVICE_VENDOR));
    SLAD_TRY(append_device(&key, device, "driver", CL_DRIVER_VERSION));
    SLAD_TRY(append_device(&key, device, "version", CL_DEVICE_VERSION));
    SLAD_TRY(append_device(&key, device, "c version", CL_DEVICE_OPENCL_C_VERSION));
    (void)snprintf(bits, sizeof bits, "device %u host %zu", device->capabilities.address_bits, 8 * sizeof(void *));
    SLAD_TRY(append_line(&key, "bits", bits));
    SLAD_TRY(append_line(&key, "file", program->file));
    SLAD_TRY(append_line(&key, "options", program->options));
    SLAD_TRY(slad_environment_list(context, &environment, compiler_variables,
                                   sizeof compiler_variables / sizeof compiler_variables[0]));
    SLAD_TRY(append_line(&key, "environment", environment));
    SLAD_TRY(append_line(&key, "source", program->source));
    SLAD_TRY(slad_format(context, &program->name, "%016llx",
                         (unsigned long long)slad_hash_bytes(SLAD_HASH_START, key.bytes, key.size)));
    program->key = key.bytes;
    program->key_size = key.size;
    key.bytes = NULL;
cleanup:
    slad_release(environment);
    slad_release(key.bytes);
    return status;
}
