/* Checks a GEMM on its real shape with random projections (R. Freivalds, "Probabilistic machines can use less running
 * time", IFIP 1977): C v is compared with A (B v) in double, which costs the host little where the whole product would
 * cost minutes. A single wrong element of C stands out by 1 / sqrt(columns) of the signal. */
#include "base/random.h"
#include "gemm/gemm_internal.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PROJECTIONS = 2, GUARD = 67, A_OFFSET = 5 };
/* Allowed error per (4 + square root of the depth), as which the rounding of a float sum grows; a few times what a good
 * device shows. */
static const double tolerance_unit = 2e-6;
static const float sentinel = -0x1.5p77f;

typedef enum place { WEIGHT, PACKED, A, C, BIAS, SCRATCH, PLACES } place;
static const char *const place_names[] = {"check weight", "check packing", "check input",
                                          "check output", "check bias",    "check scratch"};

typedef struct verification {
    slad_gemm *gemm;
    slad_gemm_problem problem;
    slad_gemm_layout layout;
    cl_mem buffers[PLACES];
    uint64_t bytes[PLACES];
    float *weight; /* [columns, depth], or transposed [depth, columns] */
    float *a;      /* A_OFFSET floats, then the rows */
    float *c;      /* guard, rows, guard */
    float *bias;
    double *signs, *projected; /* v [columns]; B v [depth] */
} verification;

static void fill(float *values, size_t count, slad_random *random)
{
    for (size_t i = 0; i < count; i++) values[i] = 2.0f * slad_random_uniform(random) - 1.0f;
}

static slad_status allocate(verification *check)
{
    slad_status status = SLAD_OK;
    slad_context *context = check->gemm->device->context;
    const slad_gemm_problem *problem = &check->problem;
    const size_t a_count = A_OFFSET + problem->rows * problem->a_stride;
    const size_t c_count = 2 * GUARD + problem->rows * problem->c_stride;
    check->bytes[WEIGHT] = (uint64_t)problem->columns * problem->depth * sizeof(float);
    check->bytes[PACKED] = (uint64_t)check->layout.elements * sizeof(float);
    check->bytes[A] = (uint64_t)a_count * sizeof(float);
    check->bytes[C] = (uint64_t)c_count * sizeof(float);
    check->bytes[BIAS] = (uint64_t)problem->columns * sizeof(float);
    SLAD_TRY(slad_gemm_scratch_bytes(check->gemm, &check->bytes[SCRATCH], problem));
    SLAD_TRY(slad_allocate(context, &check->weight, problem->columns * problem->depth, sizeof(float), "a GEMM check"));
    SLAD_TRY(slad_allocate(context, &check->a, a_count, sizeof(float), "a GEMM check"));
    SLAD_TRY(slad_allocate(context, &check->c, c_count, sizeof(float), "a GEMM check"));
    SLAD_TRY(slad_allocate(context, &check->bias, problem->columns, sizeof(float), "a GEMM check"));
    SLAD_TRY(slad_allocate(context, &check->signs, problem->columns, sizeof(double), "a GEMM check"));
    SLAD_TRY(slad_allocate(context, &check->projected, problem->depth, sizeof(double), "a GEMM check"));
    for (unsigned i = 0; i < PLACES; i++) {
        if (check->bytes[i] == 0) continue;
        SLAD_TRY(slad_buffer_create(check->gemm->device, &check->buffers[i], check->bytes[i], place_names[i]));
    }
cleanup:
    return status;
}

static void release(verification *check)
{
    for (unsigned i = 0; i < PLACES; i++) {
        if (check->buffers[i]) slad_buffer_free(check->gemm->device, check->buffers[i], check->bytes[i]);
    }
    slad_release(check->weight);
    slad_release(check->a);
    slad_release(check->c);
    slad_release(check->bias);
    slad_release(check->signs);
    slad_release(check->projected);
}

/* Random operands; NaN wherever the GEMM must not look. */
static slad_status upload_operands(verification *check, slad_random *random)
{
    slad_status status = SLAD_OK;
    slad_device *device = check->gemm->device;
    const slad_gemm_problem *problem = &check->problem;
    fill(check->weight, problem->columns * problem->depth, random);
    fill(check->bias, problem->columns, random);
    for (size_t i = 0; i < check->bytes[A] / sizeof(float); i++) check->a[i] = NAN;
    for (size_t row = 0; row < problem->rows; row++) {
        fill(check->a + A_OFFSET + row * problem->a_stride, problem->depth, random);
    }
    SLAD_TRY(slad_buffer_write(device, check->buffers[WEIGHT], 0, check->weight, check->bytes[WEIGHT]));
    SLAD_TRY(slad_buffer_write(device, check->buffers[BIAS], 0, check->bias, check->bytes[BIAS]));
    SLAD_TRY(slad_buffer_write(device, check->buffers[A], 0, check->a, check->bytes[A]));
cleanup:
    return status;
}

/* What C holds before: numbers where they are to be added to, else NaN, and sentinels around and between the rows. */
static slad_status upload_result(verification *check, slad_random *random)
{
    const slad_gemm_problem *problem = &check->problem;
    for (size_t i = 0; i < check->bytes[C] / sizeof(float); i++) check->c[i] = sentinel;
    for (size_t row = 0; row < problem->rows; row++) {
        float *c_row = check->c + GUARD + row * problem->c_stride;
        if (problem->accumulate) fill(c_row, problem->columns, random);
        for (size_t n = 0; !problem->accumulate && n < problem->columns; n++) c_row[n] = NAN;
    }
    return slad_buffer_write(check->gemm->device, check->buffers[C], 0, check->c, check->bytes[C]);
}

/* Packs the weight and runs the GEMM. */
static slad_status run(verification *check, bool transposed)
{
    slad_status status = SLAD_OK;
    slad_gemm *gemm = check->gemm;
    slad_device *device = gemm->device;
    const slad_gemm_problem *problem = &check->problem;
    const size_t out = transposed ? problem->depth : problem->columns;
    const size_t in = transposed ? problem->columns : problem->depth;
    slad_gemm_packing pack = {0};
    slad_gemm_call call = {0};
    SLAD_TRY(slad_gemm_bind_pack(gemm, &pack, (slad_gemm_operand){check->buffers[PACKED], 0}, &check->layout,
                                 (slad_gemm_operand){check->buffers[WEIGHT], 0}, out, in, transposed, NULL, 0));
    SLAD_TRY(slad_gemm_bind(
        gemm, &call, (slad_gemm_operand){check->buffers[C], GUARD}, (slad_gemm_operand){check->buffers[A], A_OFFSET},
        (slad_gemm_operand){check->buffers[PACKED], 0}, (slad_gemm_operand){check->buffers[BIAS], 0}, problem));
    SLAD_TRY(slad_gemm_enqueue_pack(&pack));
    SLAD_TRY(slad_gemm_enqueue(&call));
    SLAD_TRY(slad_device_finish(device));
cleanup:
    slad_gemm_packing_free(&pack);
    slad_gemm_call_free(&call);
    return status;
}

/* B v for a random vector v of signs. */
static void project_weight(verification *check, bool transposed, slad_random *random)
{
    const size_t columns = check->problem.columns, depth = check->problem.depth;
    for (size_t n = 0; n < columns; n++) check->signs[n] = slad_random_u32(random) & 1u ? 1.0 : -1.0;
    memset(check->projected, 0, depth * sizeof *check->projected);
    if (transposed) {
        for (size_t k = 0; k < depth; k++) {
            const float *weight = check->weight + k * columns;
            for (size_t n = 0; n < columns; n++) check->projected[k] += (double)weight[n] * check->signs[n];
        }
    } else {
        for (size_t n = 0; n < columns; n++) {
            const float *weight = check->weight + n * depth;
            for (size_t k = 0; k < depth; k++) check->projected[k] += (double)weight[k] * check->signs[n];
        }
    }
}

/* What C v must be for one row, without what C held before. */
static double expect(const verification *check, size_t row)
{
    const slad_gemm_problem *problem = &check->problem;
    const float *a_row = check->a + A_OFFSET + row * problem->a_stride;
    double sum = 0;
    for (size_t k = 0; k < problem->depth; k++) sum += (double)a_row[k] * check->projected[k];
    for (size_t n = 0; problem->bias && n < problem->columns; n++) sum += (double)check->bias[n] * check->signs[n];
    return sum;
}

/* The largest |C v - A (B v)| over the rows, relative to the size that A (B v) has by the choice of the operands: each
 * is uniform in [-1, 1), whose mean square is 1/3. c holds the result, before what was there earlier. */
static double measure_error(const verification *check, const float *c, const float *before)
{
    const slad_gemm_problem *problem = &check->problem;
    const double signal = sqrt((double)problem->columns * (double)problem->depth / 9.0);
    double worst = 0;
    for (size_t row = 0; row < problem->rows; row++) {
        const size_t first = GUARD + row * problem->c_stride;
        double difference = -expect(check, row);
        for (size_t n = 0; n < problem->columns; n++) {
            const double added = (double)c[first + n] - (problem->accumulate ? (double)before[first + n] : 0.0);
            difference += added * check->signs[n];
        }
        const double error = fabs(difference) / signal;
        if (isnan(error)) return INFINITY;
        if (error > worst) worst = error;
    }
    return worst;
}

/* The first element outside the result that changed, or SIZE_MAX. */
static size_t find_stray_write(const verification *check, const float *c)
{
    const slad_gemm_problem *problem = &check->problem;
    for (size_t i = 0; i < check->bytes[C] / sizeof(float); i++) {
        const bool inside = i >= GUARD && i - GUARD < problem->rows * problem->c_stride &&
                            (i - GUARD) % problem->c_stride < problem->columns;
        if (!inside && !(c[i] == sentinel)) return i;
    }
    return SIZE_MAX;
}

static slad_status check_orientation(verification *check, bool transposed, slad_random *random)
{
    slad_status status = SLAD_OK;
    slad_device *device = check->gemm->device;
    slad_context *context = device->context;
    const slad_gemm_problem *problem = &check->problem;
    const char *advice = "another driver version may help; a row in platforms/quirks.def with another use_clblast "
                         "chooses the other GEMM provider for this device; please report it";
    float *result = NULL;
    SLAD_TRY(slad_allocate(context, &result, check->bytes[C], 1, "a GEMM check"));
    SLAD_TRY(upload_result(check, random));
    SLAD_TRY(run(check, transposed));
    SLAD_TRY(slad_buffer_read(device, result, check->buffers[C], 0, check->bytes[C]));
    const size_t stray = find_stray_write(check, result);
    SLAD_FAIL_IF(stray != SIZE_MAX, SLAD_ERROR_SELF_TEST,
                 "%s (driver %s): GEMM of %zu x %zu x %zu by %s wrote outside its result, at element %lld; %s",
                 device->info.name, device->info.driver, problem->rows, problem->columns, problem->depth,
                 check->gemm->description, (long long)stray - GUARD, advice);
    const double tolerance = tolerance_unit * (4.0 + sqrt((double)problem->depth));
    for (unsigned i = 0; i < PROJECTIONS; i++) {
        project_weight(check, transposed, random);
        const double error = measure_error(check, result, check->c);
        SLAD_FAIL_IF(!(error <= tolerance), SLAD_ERROR_SELF_TEST,
                     "%s (driver %s): GEMM of %zu x %zu x %zu%s%s by %s is off by %.3g of the signal where %.3g is "
                     "allowed; %s",
                     device->info.name, device->info.driver, problem->rows, problem->columns, problem->depth,
                     problem->bias ? " with bias" : "", problem->accumulate ? ", accumulating," : "",
                     check->gemm->description, error, tolerance, advice);
    }
cleanup:
    slad_release(result);
    return status;
}

typedef struct remembered_program {
    const char *file, *defines;
} remembered_program;

/* The programs that a verification rests on: a change to any of them makes it run again. */
static size_t list_programs(const slad_gemm *gemm, remembered_program programs[3])
{
    size_t count = 0;
    programs[count++] = (remembered_program){slad_gemm_kernels[SLAD_GEMM_KERNEL_PACK].file, ""};
    if (gemm->rules == &slad_gemm_register_tile_rules) {
        programs[count++] = (remembered_program){slad_gemm_kernels[SLAD_GEMM_KERNEL_TILE].file, gemm->defines};
    } else {
        programs[count++] = (remembered_program){slad_gemm_kernels[SLAD_GEMM_KERNEL_BIAS].file, ""};
    }
    return count;
}

slad_status slad_gemm_verify(slad_gemm *gemm, const slad_gemm_problem *problem)
{
    slad_status status = SLAD_OK;
    cl_mem scratch = gemm->scratch;
    const uint64_t scratch_bytes = gemm->scratch_bytes;
    verification check = {.gemm = gemm, .problem = *problem};
    remembered_program programs[3];
    const size_t program_count = list_programs(gemm, programs);
    char what[320];
    (void)snprintf(what, sizeof what, "gemm %zux%zux%zu strides %zu %zu bias %d accumulate %d, %s", problem->rows,
                   problem->columns, problem->depth, problem->a_stride, problem->c_stride, problem->bias,
                   problem->accumulate, gemm->description);
    bool known = true;
    for (size_t i = 0; i < program_count && known; i++) {
        known = slad_pass_recall(gemm->device, programs[i].file, programs[i].defines, what);
    }
    if (known) return SLAD_OK;

    check.layout = slad_gemm_get_layout(gemm, problem->columns, problem->depth);
    slad_random random = slad_random_start(0, SLAD_RANDOM_VERIFY, 0, 0);
    SLAD_TRY(allocate(&check));
    slad_gemm_set_scratch(gemm, check.buffers[SCRATCH], check.bytes[SCRATCH]);
    SLAD_TRY(upload_operands(&check, &random));
    SLAD_TRY(check_orientation(&check, false, &random));
    SLAD_TRY(check_orientation(&check, true, &random));
    for (size_t i = 0; i < program_count; i++) {
        slad_pass_remember(gemm->device, programs[i].file, programs[i].defines, what);
    }
cleanup:
    slad_gemm_set_scratch(gemm, scratch, scratch_bytes);
    release(&check);
    return status;
}
