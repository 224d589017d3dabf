/* CLBlast as a provider: row-major C = A B with neither operand transposed, its temporary memory given by the caller.
 *
 * What the choices rest on (CLBlast's sources, 1.5.3 and later): with GEMMK 1 that orientation is the one that needs no
 * transposition before or after the product, and no local memory. Before 1.6.3, GEMMK 1 with MWG unlike NWG gives wrong
 * results; with MWG = NWG it does not. The batched routines are not used at all. slad_gemm_verify guards the rest. */
#include "gemm/gemm_internal.h"
#include <clblast_c.h>
#include <stdio.h>

enum { TILE = 64, WIDTH = 8 };

static const char *const gemm_parameters[] = {"GEMMK", "KREG", "KWG", "KWI", "MDIMA", "MDIMC", "MWG", "NDIMB",
                                              "NDIMC", "NWG",  "SA",  "SB",  "STRM",  "STRN",  "VWM", "VWN"};

static slad_status report(const slad_gemm *gemm, CLBlastStatusCode code, const char *call, int line)
{
    const slad_device *device = gemm->device;
    /* CLBlast hands on OpenCL's codes; its own begin below -1000. */
    if ((int)code > -1000) return slad_cl_report(device, (cl_int)code, call, __FILE__, line);
    return slad_report(device->context, SLAD_ERROR_INTERNAL, call, __FILE__, line,
                       "%s failed with CLBlast's status %d on %s; its header clblast_c.h tells the meaning. The "
                       "register-tile kernel does without CLBlast: a row in platforms/quirks.def with use_clblast 0 "
                       "chooses it",
                       call, (int)code, device->info.name);
}

#define CLBLAST_TRY(gemm, call)                                                                                        \
    do {                                                                                                               \
        const CLBlastStatusCode clblast_code =                                                                         \
            slad_fault_due((gemm)->device->context) ? CLBlastOpenCLOutOfResources : (call);                            \
        if (clblast_code != CLBlastSuccess) {                                                                          \
            status = report((gemm), clblast_code, #call, __LINE__);                                                    \
            goto cleanup;                                                                                              \
        }                                                                                                              \
    } while (0)

/* CLBlast's database knows no PoCL: on a CPU it falls back to tiles that share local memory across barriers. These
 * parameters measured 6 to 12 times faster there (bench/results); vectors of 16 took nearly twice the time, on a CPU
 * with AVX-512 too. CLBlast keeps them for this device and process. */
static bool override_on_cpu(const slad_gemm *gemm)
{
    const slad_device *device = gemm->device;
    const size_t values[] = {1, 4, 1, 1, 1, 1, TILE, 1, 1, TILE, 0, 0, 0, 0, WIDTH, 4};
    const char *routine_name = "XGEMM_MIN_INDIRECT_SIZE";
    const size_t always_indirect = 1;
    if (device->info.type != SLAD_DEVICE_CPU || device->features.vector_width < WIDTH) return false;
    const char *names[sizeof gemm_parameters / sizeof gemm_parameters[0]];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) names[i] = gemm_parameters[i];
    return CLBlastOverrideParameters(device->id, "Xgemm", CLBlastPrecisionSingle, sizeof names / sizeof names[0], names,
                                     values) == CLBlastSuccess &&
           CLBlastOverrideParameters(device->id, "GemmRoutine", CLBlastPrecisionSingle, 1, &routine_name,
                                     &always_indirect) == CLBlastSuccess;
}

static slad_status set_up(slad_gemm *gemm)
{
    char parameters[96] = "parameters of its database";
    if (override_on_cpu(gemm)) {
        (void)snprintf(parameters, sizeof parameters,
                       "GEMMK 1, KREG 4, MWG = NWG = %d, MDIMC = NDIMC = 1, VWM %d, VWN 4", TILE, WIDTH);
    }
    (void)snprintf(gemm->description, sizeof gemm->description, "CLBlast %d.%d.%d, %s", CLBLAST_VERSION_MAJOR,
                   CLBLAST_VERSION_MINOR, CLBLAST_VERSION_PATCH, parameters);
    return SLAD_OK;
}

static size_t panel(const slad_gemm *gemm, size_t columns)
{
    (void)gemm;
    return columns;
}

/* Bytes of temporary memory with operands at the given offsets. */
static slad_status query_scratch(slad_gemm *gemm, uint64_t *bytes, const slad_gemm_problem *problem, size_t a_offset,
                                 size_t b_offset, size_t c_offset)
{
    slad_status status = SLAD_OK;
    size_t needed = 0;
    CLBLAST_TRY(gemm, CLBlastSGemmTempBufferSize(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo,
                                                 problem->rows, problem->columns, problem->depth, a_offset,
                                                 problem->a_stride, b_offset, problem->columns, c_offset,
                                                 problem->c_stride, &gemm->device->queue, &needed));
    *bytes = needed;
cleanup:
    return status;
}

/* Of operands at any offset: an operand that begins inside its buffer is always copied, so offsets of 1 need most. */
static slad_status scratch_bytes(slad_gemm *gemm, uint64_t *bytes, const slad_gemm_problem *problem)
{
    return query_scratch(gemm, bytes, problem, 1, 1, 1);
}

static slad_status bind(slad_gemm *gemm, slad_gemm_call *call)
{
    slad_status status = SLAD_OK;
    slad_context *context = gemm->device->context;
    const slad_gemm_problem *problem = &call->problem;
    uint64_t needed = 0;
    SLAD_TRY(query_scratch(gemm, &needed, problem, call->a.offset, call->b.offset, call->c.offset));
    SLAD_FAIL_IF(needed > gemm->scratch_bytes, SLAD_ERROR_INTERNAL,
                 "a GEMM of %zu x %zu x %zu needs %llu bytes of scratch but was given %llu; please report it",
                 problem->rows, problem->columns, problem->depth, (unsigned long long)needed,
                 (unsigned long long)gemm->scratch_bytes);
    if (problem->bias) {
        const size_t width = gemm->device->features.vector_width;
        const slad_argument arguments[] = {
            slad_argument_buffer(call->c.buffer, call->c.offset),
            slad_argument_buffer(call->bias.buffer, call->bias.offset),
            slad_argument_uint(problem->rows),
            slad_argument_uint(problem->columns),
            slad_argument_uint(problem->c_stride),
            slad_argument_uint(problem->accumulate),
        };
        const slad_work work = {.items = {(problem->columns + width - 1) / width, problem->rows}, .split_axis = 1};
        SLAD_TRY(slad_launch_bind(gemm->device, &call->launches[0], &slad_gemm_kernels[SLAD_GEMM_KERNEL_BIAS], "",
                                  arguments, sizeof arguments / sizeof arguments[0], work));
        call->launch_count = 1;
    }
cleanup:
    return status;
}

static slad_status enqueue(const slad_gemm_call *call)
{
    slad_status status = SLAD_OK;
    slad_gemm *gemm = call->gemm;
    const slad_gemm_problem *problem = &call->problem;
    const float beta = problem->bias || problem->accumulate ? 1.0f : 0.0f;
    CLBLAST_TRY(gemm, CLBlastSgemmWithTempBuffer(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo,
                                                 problem->rows, problem->columns, problem->depth, 1.0f, call->a.buffer,
                                                 call->a.offset, problem->a_stride, call->b.buffer, call->b.offset,
                                                 problem->columns, beta, call->c.buffer, call->c.offset,
                                                 problem->c_stride, &gemm->device->queue, NULL, gemm->scratch));
cleanup:
    return status;
}

const slad_gemm_rules slad_gemm_clblast_rules = {
    .set_up = set_up, .panel = panel, .scratch_bytes = scratch_bytes, .bind = bind, .enqueue = enqueue};
