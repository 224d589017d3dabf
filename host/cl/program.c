/* Programs: looked up in memory, then on disk, then compiled. */
#include "cl/program.h"
#include "base/files.h"
#include "base/memory.h"
#include "base/threads.h"
#include "cl/program_store.h"
#include <string.h>

static void program_free(slad_program *program)
{
    if (!program) return;
    if (program->cl) (void)clReleaseProgram(program->cl);
    slad_release(program->file);
    slad_release(program->defines);
    slad_release(program->options);
    slad_release(program->source);
    slad_release(program->key);
    slad_release(program->name);
    slad_release(program);
}

static slad_status choose_cache_folder(slad_program_store *store, const char *wanted)
{
    slad_status status = SLAD_OK;
    slad_context *context = store->quiet;
    char *found = NULL;
    if (wanted && !wanted[0]) return SLAD_OK;
    if (!wanted) {
        SLAD_TRY(slad_cache_directory_default(context, &found));
        wanted = found;
    }
    SLAD_TRY(slad_path_join(context, &store->cache_folder, wanted, "programs"));
cleanup:
    slad_release(found);
    return status;
}

slad_status slad_program_store_create(slad_device *device, const slad_device_options *options)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    const slad_device_options defaults = {0};
    slad_program_store *store = NULL;
    if (!options) options = &defaults;
    SLAD_TRY(slad_allocate(context, &store, 1, sizeof *store, "the program store"));
    device->programs = store;
    SLAD_TRY(slad_context_create(&store->quiet, NULL, SLAD_LOG_ERROR));
    if (options->kernels_directory)
        SLAD_TRY(slad_duplicate(context, &store->kernels_folder, options->kernels_directory));
    if (choose_cache_folder(store, options->cache_directory) != SLAD_OK)
        slad_log(context, SLAD_LOG_WARNING, "compiled kernels are not kept: %s", slad_context_message(store->quiet));
    /* Other programs may be writing now, none of them for an hour. */
    if (store->cache_folder) (void)slad_directory_clear_leftovers(store->quiet, store->cache_folder, 3600);
cleanup:
    return status;
}

/* Fetches the binary of a program and keeps it on disk. */
static void keep(slad_device *device, slad_program *program)
{
    size_t size = 0;
    unsigned char *binary = NULL;
    program->keep = false;
    cl_int code = clGetProgramInfo(program->cl, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL);
    if (code != CL_SUCCESS || size == 0) return;
    if (slad_allocate(device->programs->quiet, &binary, size, 1, "a program binary") != SLAD_OK) return;
    code = clGetProgramInfo(program->cl, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL);
    if (code == CL_SUCCESS) slad_program_cache_save(device, program, binary, size);
    slad_release(binary);
}

void slad_program_keep_all(slad_device *device)
{
    const slad_program_store *store = device->programs;
    for (size_t i = 0; i < store->count; i++) {
        if (store->programs[i]->keep) keep(device, store->programs[i]);
    }
}

void slad_program_store_free(slad_device *device)
{
    slad_program_store *store = device->programs;
    if (!store) return;
    slad_program_keep_all(device);
    for (size_t i = 0; i < store->count; i++) program_free(store->programs[i]);
    slad_release(store->programs);
    slad_release(store->kernels_folder);
    slad_release(store->cache_folder);
    slad_context_free(store->quiet);
    slad_release(store);
    device->programs = NULL;
}

slad_program_statistics slad_program_get_statistics(const slad_device *device)
{
    return device->programs->statistics;
}

static slad_status make_options(const slad_device *device, slad_program *program)
{
    const slad_features *features = &device->features;
    /* Only what cannot change a NaN or an infinity: see the notes on fast maths in CONTRIBUTING. */
    return slad_format(device->context, &program->options,
                       "%s-cl-mad-enable -cl-no-signed-zeros -DVECTOR_WIDTH=%u -DROW_LANES=%u -DHAS_FMA=%d %s",
                       features->pass_c_standard ? "-cl-std=CL1.2 " : "", features->vector_width, features->row_lanes,
                       features->has_fma ? 1 : 0, program->defines);
}

slad_status slad_program_find(slad_device *device, slad_program **out, const char *file, const char *defines)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    slad_program_store *store = device->programs;
    slad_program *program = NULL;
    *out = NULL;
    for (size_t i = 0; i < store->count; i++) {
        if (strcmp(store->programs[i]->file, file) != 0 || strcmp(store->programs[i]->defines, defines) != 0) continue;
        *out = store->programs[i];
        return SLAD_OK;
    }
    SLAD_TRY(slad_grow(context, &store->programs, &store->capacity, store->count + 1, sizeof(slad_program *),
                       "the list of programs"));
    SLAD_TRY(slad_allocate(context, &program, 1, sizeof *program, "a program"));
    SLAD_TRY(slad_duplicate(context, &program->file, file));
    SLAD_TRY(slad_duplicate(context, &program->defines, defines));
    SLAD_TRY(make_options(device, program));
    SLAD_TRY(slad_program_read_source(context, &program->source, &program->source_size, store->kernels_folder, file));
    SLAD_TRY(slad_program_make_key(device, program));
    store->programs[store->count++] = program;
    *out = program;
    program = NULL;
cleanup:
    program_free(program);
    return status;
}

/* The compiler's log; NULL if there is none. */
static char *read_build_log(const slad_device *device, cl_program cl)
{
    size_t size = 0;
    char *log = NULL;
    if (clGetProgramBuildInfo(cl, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) != CL_SUCCESS || size == 0)
        return NULL;
    if (slad_allocate(device->programs->quiet, &log, size + 1, 1, "a build log") != SLAD_OK) return NULL;
    if (clGetProgramBuildInfo(cl, device->id, CL_PROGRAM_BUILD_LOG, size, log, NULL) != CL_SUCCESS) log[0] = '\0';
    return log;
}

/* Compilers warn in their log: developers see it. */
static void log_warnings(const slad_device *device, const slad_program *program)
{
    char *log = read_build_log(device, program->cl);
    if (log && log[0]) slad_log(device->context, SLAD_LOG_DEBUG, "the compiler says of %s.cl:\n%s", program->file, log);
    slad_release(log);
}

static slad_status report_build(const slad_device *device, const slad_program *program, cl_program cl, cl_int code)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    enum { LOG_SHOWN = 2800 };
    char *log = read_build_log(device, cl);
    SLAD_FAIL_IF(true, SLAD_ERROR_BUILD,
                 "%s.cl does not compile on %s (%s, driver %s) with options \"%s\": %s (%d). Give another device or a "
                 "newer driver. The compiler says:\n%.*s",
                 program->file, device->info.name, device->info.platform, device->info.driver, program->options,
                 slad_cl_error_name(code), code, LOG_SHOWN, log && log[0] ? log : "nothing");
cleanup:
    slad_release(log);
    return status;
}

static slad_status compile(slad_device *device, slad_program *program)
{
    slad_status status = SLAD_OK;
    slad_context *context = device->context;
    const char *source = program->source;
    cl_program cl = NULL;
    const double start = slad_clock_seconds();
    SLAD_CL_CREATE(cl, clCreateProgramWithSource(device->cl, 1, &source, &program->source_size, &slad_code));
    cl_int code = CL_OUT_OF_HOST_MEMORY;
    if (!slad_fault_due(context)) code = clBuildProgram(cl, 1, &device->id, program->options, NULL, NULL);
    if (code != CL_SUCCESS) SLAD_TRY(report_build(device, program, cl, code));
    program->cl = cl;
    program->keep = device->features.cache_programs && device->programs->cache_folder;
    cl = NULL;
    const double seconds = slad_clock_seconds() - start;
    device->programs->statistics.compiled++;
    device->programs->statistics.compile_seconds += seconds;
    slad_log(context, SLAD_LOG_DEBUG, "compiled %s.cl %s in %.3f s", program->file, program->options, seconds);
    log_warnings(device, program);
cleanup:
    if (cl) (void)clReleaseProgram(cl);
    return status;
}

/* Whether the program came from the disk. Nothing that goes wrong here is an error: the program is compiled then. */
static bool load(slad_device *device, slad_program *program)
{
    slad_program_store *store = device->programs;
    unsigned char *binary = NULL;
    size_t size = 0;
    const double start = slad_clock_seconds();
    if (!device->features.cache_programs || !slad_program_cache_load(store, program, &binary, &size)) return false;
    cl_int verdict = CL_SUCCESS, code = CL_OUT_OF_RESOURCES;
    const unsigned char *bytes = binary;
    cl_program cl = NULL;
    if (!slad_fault_due(device->context))
        cl = clCreateProgramWithBinary(device->cl, 1, &device->id, &size, &bytes, &verdict, &code);
    if (code == CL_SUCCESS) code = verdict;
    if (code == CL_SUCCESS) code = clBuildProgram(cl, 1, &device->id, program->options, NULL, NULL);
    slad_release(binary);
    if (code != CL_SUCCESS) {
        slad_log(device->context, SLAD_LOG_DEBUG, "the kept binary of %s.cl is refused (%s) and compiled anew",
                 program->file, slad_cl_error_name(code));
        if (cl) (void)clReleaseProgram(cl);
        return false;
    }
    const double seconds = slad_clock_seconds() - start;
    program->cl = cl;
    store->statistics.from_cache++;
    store->statistics.cache_seconds += seconds;
    slad_log(device->context, SLAD_LOG_DEBUG, "loaded %s.cl %s in %.3f s", program->file, program->options, seconds);
    return true;
}

slad_status slad_program_get(slad_device *device, slad_program **program, const char *file, const char *defines)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(slad_program_find(device, program, file, defines));
    if (!(*program)->cl && !load(device, *program)) SLAD_TRY(compile(device, *program));
cleanup:
    if (status != SLAD_OK) *program = NULL;
    return status;
}

slad_status slad_kernel_create(slad_device *device, cl_kernel *kernel, const slad_kernel_row *row, const char *defines)
{
    slad_status status = SLAD_OK;
    slad_program *program = NULL;
    *kernel = NULL;
    SLAD_TRY(slad_program_get(device, &program, row->file, defines));
    SLAD_CL_CREATE(*kernel, clCreateKernel(program->cl, row->entry, &slad_code));
cleanup:
    return status;
}
