/* bench_gemm: GFLOP/s of the GEMM providers on the shapes of real models, and GB/s of packing, against the measured
 * peak. The candidates take turns, so that other work on the machine hits them alike; best and median are told. */
#include "gemm/gemm.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "cl/peak.h"
#include <clblast_c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROUNDS = 64 }; /* times the number of shapes it stays below SLAD_MOST_RATES */
static const double seconds_a_turn = 0.05;

typedef struct gemm_shape {
    size_t rows, columns, depth;
} gemm_shape;

/* ViT-S and ViT-B layers at 8 images of 224 px (256 patches, so the row count is round), forward and backward. */
static const gemm_shape model_shapes[] = {{2048, 384, 384}, {2048, 1152, 384}, {2048, 1536, 384}, {2048, 384, 1536},
                                          {2048, 768, 768}, {2048, 2304, 768}, {2048, 3072, 768}, {2048, 768, 3072}};
/* With the class token; a head; the layers of a small pair. */
static const gemm_shape other_shapes[] = {{2056, 2304, 768}, {2056, 1152, 384}, {136, 576, 192}, {136, 192, 64},
                                          {136, 64, 64},     {32, 10, 384},     {1, 1000, 768}};

typedef enum candidate { AS_SHIPPED, OUR_PARAMETERS, REGISTER_TILE, CANDIDATES } candidate;
static const char *const candidate_names[] = {"clblast_as_shipped", "clblast_our_parameters", "register_tile"};

/* A second device of the same hardware, for CLBlast's own parameters: those that slad sets belong to its device. */
typedef struct gemm_shipped {
    cl_device_id device;
    cl_context cl;
    cl_command_queue queue;
    cl_mem a, b, c;
} gemm_shipped;

typedef struct gemm_options {
    const char *device;
    bool json, all, cpu_time;
    size_t rounds;
} gemm_options;

typedef struct gemm_bench {
    slad_context *context;
    slad_device *device;
    slad_gemm *gemms[CANDIDATES]; /* none for AS_SHIPPED */
    gemm_shipped shipped;
    slad_peak peak;
    gemm_options options;
} gemm_bench;

typedef struct gemm_operands {
    cl_mem a, b[CANDIDATES], c, scratch;
    uint64_t a_bytes, b_bytes[CANDIDATES], c_bytes, scratch_bytes;
    slad_gemm_call calls[CANDIDATES];
} gemm_operands;

static double now(const gemm_bench *bench)
{
    return slad_peak_seconds(bench->device, bench->options.cpu_time);
}

/* What counts of the rates: the best by the clock, the median of processor time. */
static double headline(const gemm_bench *bench, const slad_rates *rates)
{
    return bench->options.cpu_time ? slad_rates_median(rates) : slad_rates_best(rates);
}

/* Cuts a sub-device with all compute units out of the device, or uses the device itself where slad sets nothing. */
static slad_status open_shipped(gemm_bench *bench)
{
    slad_status status = SLAD_OK;
    slad_device *device = bench->device;
    slad_context *context = bench->context;
    gemm_shipped *own = &bench->shipped;
    const cl_device_partition_property whole[] = {CL_DEVICE_PARTITION_BY_COUNTS, device->info.compute_units,
                                                  CL_DEVICE_PARTITION_BY_COUNTS_LIST_END, 0};
    const bool overridden = strstr(slad_gemm_description(bench->gemms[OUR_PARAMETERS]), "GEMMK") != NULL;
    cl_int code = CL_SUCCESS;
    if (!overridden) {
        own->device = device->id;
    } else if (clCreateSubDevices(device->id, whole, 1, &own->device, NULL) != CL_SUCCESS) {
        own->device = NULL;
        (void)fprintf(stderr, "%s cannot be partitioned: CLBlast as shipped is left out\n", device->info.name);
        return SLAD_OK;
    }
    own->cl = clCreateContext(NULL, 1, &own->device, NULL, NULL, &code);
    if (code == CL_SUCCESS) own->queue = clCreateCommandQueue(own->cl, own->device, 0, &code);
    SLAD_FAIL_IF(code != CL_SUCCESS, SLAD_ERROR_INTERNAL, "no second context on %s (%s)", device->info.name,
                 slad_cl_error_name(code));
cleanup:
    return status;
}

static slad_status create_random(gemm_bench *bench, cl_mem *buffer, cl_mem *copy, size_t count)
{
    slad_status status = SLAD_OK;
    slad_context *context = bench->context;
    float *values = NULL;
    cl_int code = CL_SUCCESS;
    slad_random random = slad_random_start(1, SLAD_RANDOM_VERIFY, 0, (uint32_t)count);
    SLAD_TRY(slad_allocate(context, &values, count, sizeof *values, "benchmark operands"));
    for (size_t i = 0; i < count; i++) values[i] = slad_random_uniform(&random) - 0.5f;
    SLAD_TRY(slad_buffer_create(bench->device, buffer, count * sizeof *values, "benchmark operands"));
    SLAD_TRY(slad_buffer_write(bench->device, *buffer, 0, values, count * sizeof *values));
    if (copy && bench->shipped.cl) {
        *copy = clCreateBuffer(bench->shipped.cl, CL_MEM_COPY_HOST_PTR, count * sizeof *values, values, &code);
        SLAD_FAIL_IF(code != CL_SUCCESS, SLAD_ERROR_OUT_OF_MEMORY, "no memory for a second copy of the operands");
    }
cleanup:
    slad_release(values);
    return status;
}

static void free_operands(gemm_bench *bench, gemm_operands *operands)
{
    for (unsigned i = OUR_PARAMETERS; i < CANDIDATES; i++) {
        slad_gemm_call_free(&operands->calls[i]);
        slad_buffer_free(bench->device, operands->b[i], operands->b_bytes[i]);
    }
    slad_buffer_free(bench->device, operands->a, operands->a_bytes);
    slad_buffer_free(bench->device, operands->c, operands->c_bytes);
    slad_buffer_free(bench->device, operands->scratch, operands->scratch_bytes);
    cl_mem *copies[] = {&bench->shipped.a, &bench->shipped.b, &bench->shipped.c};
    for (size_t i = 0; i < sizeof copies / sizeof copies[0]; i++) {
        if (*copies[i]) (void)clReleaseMemObject(*copies[i]);
        *copies[i] = NULL;
    }
}

static slad_status make_operands(gemm_bench *bench, gemm_operands *operands, const gemm_shape *shape)
{
    slad_status status = SLAD_OK;
    const slad_gemm_problem problem = {.rows = shape->rows,
                                       .columns = shape->columns,
                                       .depth = shape->depth,
                                       .a_stride = shape->depth,
                                       .c_stride = shape->columns};
    operands->a_bytes = shape->rows * shape->depth * sizeof(float);
    operands->c_bytes = shape->rows * shape->columns * sizeof(float);
    SLAD_TRY(create_random(bench, &operands->a, &bench->shipped.a, shape->rows * shape->depth));
    SLAD_TRY(create_random(bench, &operands->c, &bench->shipped.c, shape->rows * shape->columns));
    SLAD_TRY(slad_gemm_scratch_bytes(bench->gemms[OUR_PARAMETERS], &operands->scratch_bytes, &problem));
    SLAD_TRY(slad_buffer_create(bench->device, &operands->scratch, operands->scratch_bytes, "scratch"));
    slad_gemm_set_scratch(bench->gemms[OUR_PARAMETERS], operands->scratch, operands->scratch_bytes);
    for (unsigned i = OUR_PARAMETERS; i < CANDIDATES; i++) {
        const slad_gemm_layout layout = slad_gemm_get_layout(bench->gemms[i], shape->columns, shape->depth);
        operands->b_bytes[i] = layout.elements * sizeof(float);
        SLAD_TRY(
            create_random(bench, &operands->b[i], i == OUR_PARAMETERS ? &bench->shipped.b : NULL, layout.elements));
        SLAD_TRY(slad_gemm_verify(bench->gemms[i], &problem));
        SLAD_TRY(slad_gemm_bind(bench->gemms[i], &operands->calls[i], (slad_gemm_operand){operands->c, 0},
                                (slad_gemm_operand){operands->a, 0}, (slad_gemm_operand){operands->b[i], 0},
                                (slad_gemm_operand){0}, &problem));
    }
cleanup:
    return status;
}

static slad_status run_shipped(gemm_bench *bench, const gemm_shape *shape, size_t repeats)
{
    slad_status status = SLAD_OK;
    slad_context *context = bench->context;
    gemm_shipped *own = &bench->shipped;
    for (size_t i = 0; i < repeats; i++) {
        const CLBlastStatusCode code =
            CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeNo, shape->rows, shape->columns,
                         shape->depth, 1.0f, own->a, 0, shape->depth, own->b, 0, shape->columns, 0.0f, own->c, 0,
                         shape->columns, &own->queue, NULL);
        SLAD_FAIL_IF(code != CLBlastSuccess, SLAD_ERROR_INTERNAL, "CLBlastSgemm as shipped failed with status %d",
                     (int)code);
    }
    SLAD_FAIL_IF(clFinish(own->queue) != CL_SUCCESS, SLAD_ERROR_INTERNAL, "clFinish failed after CLBlast as shipped");
cleanup:
    return status;
}

static slad_status run_once(gemm_bench *bench, const gemm_operands *operands, candidate who, const gemm_shape *shape,
                            size_t repeats)
{
    slad_status status = SLAD_OK;
    if (who == AS_SHIPPED) return run_shipped(bench, shape, repeats);
    for (size_t i = 0; i < repeats; i++) SLAD_TRY(slad_gemm_enqueue(&operands->calls[who]));
    SLAD_TRY(slad_device_finish(bench->device));
cleanup:
    return status;
}

/* How often a candidate must run to fill a turn. Also its warm-up. */
static slad_status choose_repeats(gemm_bench *bench, const gemm_operands *operands, candidate who,
                                  const gemm_shape *shape, size_t *repeats)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(run_once(bench, operands, who, shape, 1));
    for (*repeats = 1; *repeats < 65536; *repeats *= 2) {
        const double start = slad_clock_seconds();
        SLAD_TRY(run_once(bench, operands, who, shape, *repeats));
        if (slad_clock_seconds() - start > seconds_a_turn) break;
    }
cleanup:
    return status;
}

static slad_status measure_shape(gemm_bench *bench, const gemm_shape *shape, slad_rates results[CANDIDATES])
{
    slad_status status = SLAD_OK;
    gemm_operands operands = {0};
    size_t repeats[CANDIDATES] = {0};
    const double flops = 2.0 * (double)shape->rows * (double)shape->columns * (double)shape->depth;
    SLAD_TRY(make_operands(bench, &operands, shape));
    for (unsigned who = 0; who < CANDIDATES; who++) {
        if (who == AS_SHIPPED && !bench->shipped.cl) continue;
        SLAD_TRY(choose_repeats(bench, &operands, (candidate)who, shape, &repeats[who]));
    }
    for (size_t round = 0; round < bench->options.rounds; round++) {
        SLAD_TRY(slad_peak_measure(&bench->peak, seconds_a_turn));
        for (unsigned who = 0; who < CANDIDATES; who++) {
            if (repeats[who] == 0) continue;
            const double start = now(bench);
            SLAD_TRY(run_once(bench, &operands, (candidate)who, shape, repeats[who]));
            const double seconds = now(bench) - start;
            slad_rates_add(&results[who], flops * (double)repeats[who] / seconds * 1e-9);
        }
    }
cleanup:
    free_operands(bench, &operands);
    return status;
}

/* Seconds to pack a qkv weight of ViT-B with and without an adapter of rank 16; best of the rounds. */
static slad_status measure_packing(gemm_bench *bench, bool transposed, bool adapted, double *seconds)
{
    enum { OUT = 2304, IN = 768, RANK = 16, BLOCKS = 3, REPEATS = 8 };
    slad_status status = SLAD_OK;
    slad_device *device = bench->device;
    slad_gemm *gemm = bench->gemms[REGISTER_TILE];
    const slad_gemm_layout layout = slad_gemm_get_layout(gemm, transposed ? IN : OUT, transposed ? OUT : IN);
    const size_t counts[] = {layout.elements, OUT * IN, RANK * IN, OUT * RANK};
    cl_mem buffers[4] = {0};
    slad_gemm_packing packing = {0};
    *seconds = 0;
    for (size_t i = 0; i < 4; i++) SLAD_TRY(create_random(bench, &buffers[i], NULL, counts[i]));
    const slad_gemm_adapter adapter = {.lora_a = {buffers[2], 0},
                                       .lora_b = {buffers[3], 0},
                                       .rank = RANK,
                                       .a_stride = IN,
                                       .blocks = BLOCKS,
                                       .block_rows = OUT / BLOCKS,
                                       .b_block_stride = OUT / BLOCKS * RANK,
                                       .b_row_stride = RANK,
                                       .scale = 1.0f};
    SLAD_TRY(slad_gemm_bind_pack(gemm, &packing, (slad_gemm_operand){buffers[0], 0}, &layout,
                                 (slad_gemm_operand){buffers[1], 0}, OUT, IN, transposed, &adapter, adapted));
    for (size_t round = 0; round < 4 * bench->options.rounds; round++) {
        const double start = now(bench);
        for (int i = 0; i < REPEATS; i++) SLAD_TRY(slad_gemm_enqueue_pack(&packing));
        SLAD_TRY(slad_device_finish(device));
        const double taken = (now(bench) - start) / REPEATS;
        if (*seconds == 0 || taken < *seconds) *seconds = taken;
    }
cleanup:
    slad_gemm_packing_free(&packing);
    for (size_t i = 0; i < 4; i++) slad_buffer_free(device, buffers[i], counts[i] * sizeof(float));
    return status;
}

static void print_shape(const gemm_bench *bench, const gemm_shape *shape, slad_rates results[CANDIDATES], bool first)
{
    const double shipped = headline(bench, &results[AS_SHIPPED]), tile = headline(bench, &results[REGISTER_TILE]);
    if (bench->options.json) {
        (void)printf("%s\n    {\"rows\": %zu, \"columns\": %zu, \"depth\": %zu", first ? "" : ",", shape->rows,
                     shape->columns, shape->depth);
        for (unsigned who = 0; who < CANDIDATES; who++) {
            if (results[who].count == 0) continue;
            (void)printf(", \"%s\": {\"best_gflops\": %.2f, \"median_gflops\": %.2f}", candidate_names[who],
                         slad_rates_best(&results[who]), slad_rates_median(&results[who]));
        }
        (void)printf("}");
        return;
    }
    char name[64];
    (void)snprintf(name, sizeof name, "%zu x %zu x %zu", shape->rows, shape->columns, shape->depth);
    (void)printf("| %-18s |", name);
    for (unsigned who = 0; who < CANDIDATES; who++) {
        const double rate = headline(bench, &results[who]);
        const double other =
            bench->options.cpu_time ? slad_rates_best(&results[who]) : slad_rates_median(&results[who]);
        (void)printf(" %6.1f (%6.1f) %3.0f %% |", rate, other, 100.0 * rate / bench->peak.best);
    }
    if (shipped > 0) (void)printf(" %5.1f |", tile / shipped);
    (void)printf("\n");
    (void)fflush(stdout);
}

static slad_status print_packing(gemm_bench *bench)
{
    slad_status status = SLAD_OK;
    const double bytes = 2.0 * 2304 * 768 * sizeof(float); /* the weight read, the packed weight written */
    if (!bench->options.json) (void)printf("\n| packing 2304 x 768 | ms | GB/s |\n| --- | --- | --- |\n");
    for (unsigned i = 0; i < 4; i++) {
        const bool transposed = i / 2 == 1, adapted = i % 2 == 1;
        double seconds = 0;
        SLAD_TRY(measure_packing(bench, transposed, adapted, &seconds));
        if (bench->options.json) {
            (void)printf("%s\n    {\"transposed\": %s, \"rank\": %d, \"ms\": %.4f, \"gb_per_s\": %.2f}",
                         i == 0 ? "" : ",", transposed ? "true" : "false", adapted ? 16 : 0, seconds * 1e3,
                         bytes / seconds * 1e-9);
        } else {
            (void)printf("| %s%s | %.3f | %.1f |\n", transposed ? "input gradient" : "forward",
                         adapted ? ", adapter of rank 16 merged" : "", seconds * 1e3, bytes / seconds * 1e-9);
        }
    }
cleanup:
    return status;
}

static void print_head(const gemm_bench *bench)
{
    const slad_device_info *info = slad_device_get_info(bench->device);
    const char *tile = slad_gemm_description(bench->gemms[REGISTER_TILE]);
    const char *clblast = slad_gemm_description(bench->gemms[OUR_PARAMETERS]);
    const size_t rounds = bench->options.rounds;
    const bool cpu_time = bench->options.cpu_time;
    if (bench->options.json) {
        (void)printf("{\n  \"platform\": \"%s\", \"device\": \"%s\", \"driver\": \"%s\", \"compute_units\": %u,\n"
                     "  \"register_tile\": \"%s\",\n  \"clblast\": \"%s\",\n  \"time\": \"%s\", \"rounds\": %zu,\n"
                     "  \"shapes\": [",
                     info->platform, info->name, info->driver, info->compute_units, tile, clblast,
                     cpu_time ? "processor" : "wall", rounds);
        return;
    }
    (void)printf("%s, driver %s, %u compute units\nOurs: %s\nOur parameters: %s\n\n"
                 "GFLOP/s%s of %zu rounds, share of the measured peak so far\n\n"
                 "| rows x columns x depth | CLBlast as shipped | CLBlast, our parameters | register-tile | ours / "
                 "shipped |\n| --- | --- | --- | --- | --- |\n",
                 info->name, info->driver, info->compute_units, tile, clblast,
                 cpu_time ? " of processor time, median (best)" : ", best (median)", rounds);
}

static slad_status run(gemm_bench *bench)
{
    slad_status status = SLAD_OK;
    const bool json = bench->options.json;
    const size_t model_count = sizeof model_shapes / sizeof model_shapes[0];
    const size_t count = model_count + (bench->options.all ? sizeof other_shapes / sizeof other_shapes[0] : 0);
    print_head(bench);
    SLAD_TRY(slad_peak_measure(&bench->peak, 0.5));
    for (size_t i = 0; i < count; i++) {
        slad_rates results[CANDIDATES] = {0};
        const gemm_shape *shape = i < model_count ? &model_shapes[i] : &other_shapes[i - model_count];
        SLAD_TRY(measure_shape(bench, shape, results));
        print_shape(bench, shape, results, i == 0);
    }
    if (json) (void)printf("\n  ],\n  \"packing_2304x768\": [");
    SLAD_TRY(print_packing(bench));
    (void)printf(json ? "\n  ],\n  \"peak_gflops\": %.2f\n}\n" : "\nmeasured peak: %.1f GFLOP/s\n", bench->peak.best);
cleanup:
    return status;
}

static bool parse(gemm_options *options, int count, char **arguments)
{
    *options = (gemm_options){.rounds = 9};
    for (int i = 1; i < count; i++) {
        const bool has_value = i + 1 < count;
        if (strcmp(arguments[i], "--json") == 0) {
            options->json = true;
        } else if (strcmp(arguments[i], "--all") == 0) {
            options->all = true;
        } else if (strcmp(arguments[i], "--cpu-time") == 0) {
            options->cpu_time = true;
        } else if (strcmp(arguments[i], "--device") == 0 && has_value) {
            options->device = arguments[++i];
        } else if (strcmp(arguments[i], "--rounds") == 0 && has_value) {
            options->rounds = (size_t)strtoul(arguments[++i], NULL, 10);
        } else {
            return false;
        }
    }
    return options->rounds >= 1 && options->rounds <= MAX_ROUNDS;
}

static void release(gemm_bench *bench)
{
    slad_peak_free(&bench->peak);
    if (bench->shipped.queue) (void)clReleaseCommandQueue(bench->shipped.queue);
    if (bench->shipped.cl) (void)clReleaseContext(bench->shipped.cl);
    for (unsigned i = 0; i < CANDIDATES; i++) slad_gemm_free(bench->gemms[i]);
    slad_device_free(bench->device);
    slad_context_free(bench->context);
}

int main(int count, char **arguments)
{
    slad_status status = SLAD_OK;
    gemm_bench bench = {0};
    if (!parse(&bench.options, count, arguments)) {
        (void)fprintf(stderr, "usage: bench_gemm [--device SPEC] [--rounds 1..%d] [--all] [--cpu-time] [--json]\n",
                      MAX_ROUNDS);
        return SLAD_ERROR_USAGE;
    }
    const slad_device_options device_options = {.spec = bench.options.device};
    SLAD_TRY(slad_context_create(&bench.context, NULL, SLAD_LOG_ERROR));
    SLAD_TRY(slad_device_open(bench.context, &bench.device, &device_options));
    if (bench.options.cpu_time && slad_device_get_info(bench.device)->type != SLAD_DEVICE_CPU) {
        (void)fprintf(stderr, "bench_gemm: --cpu-time tells nothing of a device that is no CPU; leave it out\n");
        status = SLAD_ERROR_USAGE;
        goto release;
    }
    SLAD_TRY(slad_gemm_create(bench.device, &bench.gemms[OUR_PARAMETERS], SLAD_GEMM_CLBLAST));
    SLAD_TRY(slad_gemm_create(bench.device, &bench.gemms[REGISTER_TILE], SLAD_GEMM_REGISTER_TILE));
    SLAD_TRY(open_shipped(&bench));
    SLAD_TRY(slad_peak_create(bench.device, &bench.peak, bench.options.cpu_time));
    SLAD_TRY(run(&bench));
cleanup:
    if (status != SLAD_OK) (void)fprintf(stderr, "bench_gemm: %s\n", slad_context_message(bench.context));
release:
    release(&bench);
    return (int)status;
}
