/* Programs: from source (built in, or of a folder), or from the disk cache.
 *
 * Cache file: FOLDER/programs/HASH.bin, one a program, where HASH is slad_hash over the key. It holds a magic word with
 * the format version, the whole key, and the binary with its length and hash. The key holds all that the binary depends
 * on: source and includes, build options, device and platform name, vendor, driver, versions, address bits, the
 * environment variables that steer compilers, and the version of slad. Written to a temporary file and renamed.
 * Whatever does not match to the byte means a rebuild; a failed build is never kept; the binary is fetched after the
 * first kernel was created, since some drivers compile only then. Passed self-tests and verified GEMM shapes are
 * remembered beside it under the same key ("passes"). */
#ifndef SLAD_CL_PROGRAM_H
#define SLAD_CL_PROGRAM_H

#include "cl/device.h"
#include "cl/kernel_table.h"

typedef struct slad_program slad_program;

/* Used by slad_device_open and _free. */
slad_status slad_program_store_create(slad_device *device, const slad_device_options *options);
void slad_program_store_free(slad_device *device);

/* The program of cl_kernels/FILE.cl built with the device's feature macros and `defines` ("-DHEAD_DIM=64"). Built once,
 * owned by the device. Errors: SLAD_ERROR_BUILD with device, driver, file, options and the compiler's log. */
slad_status slad_program_get(slad_device *device, slad_program **program, const char *file, const char *defines);

/* A new kernel object of a row, for one launch; release with clReleaseKernel. */
slad_status slad_kernel_create(slad_device *device, cl_kernel *kernel, const slad_kernel_row *row, const char *defines);

/* Keeps on disk what was compiled since the device was opened. Closing does it too; long work calls it after its first
 * step, so that being killed costs nothing. Failing to write is a warning, once. */
void slad_program_keep_all(slad_device *device);

/* The disk memory of passed checks: `what` names the check ("self-test attention_forward", "gemm 2048x384x384 ..."),
 * the program's key guards it. Forgetting (no cache folder, unreadable) only means that the check runs again. */
bool slad_pass_recall(slad_device *device, const char *file, const char *defines, const char *what);
void slad_pass_remember(slad_device *device, const char *file, const char *defines, const char *what);

/* Programs so far: how many came from the cache, how many were compiled, and the seconds of each. */
typedef struct slad_program_statistics {
    unsigned from_cache, compiled;
    double cache_seconds, compile_seconds;
} slad_program_statistics;
slad_program_statistics slad_program_get_statistics(const slad_device *device);

#endif
