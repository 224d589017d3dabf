#include "reference/optimizer.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operations.h"
#include <math.h>
#include <stdio.h>

/* What cl_kernels/optimizer.cl works with. */
enum { CONTROL_FACTOR = 0, CONTROL_GO = 1, CONTROLS = 2 };
enum { BLOCK = SLAD_TENSOR_ALIGNMENT };
enum { NORM, FINISH, ADAMW };
/* A table word: the learning-rate group in the low byte, whether decay acts, or padding. */
#define WORD_PADDING (-1)
#define WORD_DECAY   0x100

/* Sums of squares: chunks of at least this many elements, and at most so many chunks of a slab. */
enum { CHUNK_ELEMENTS = 8192, CHUNKS = 1024 };

static size_t chunk_elements_of(size_t elements)
{
    const size_t wanted = (elements + CHUNKS - 1) / CHUNKS;
    return wanted < CHUNK_ELEMENTS ? CHUNK_ELEMENTS : (wanted + BLOCK - 1) / BLOCK * BLOCK;
}

static size_t chunks_of(size_t elements)
{
    const size_t chunk_elements = chunk_elements_of(elements);
    return (elements + chunk_elements - 1) / chunk_elements;
}

/* optimizer_norm: sums of squares of one gradient slab, to its part of the partial sums of all */

typedef struct norm_parameters {
    size_t first_chunk;
} norm_parameters;

static slad_status launch_norm(slad_launcher *launcher, const slad_node *node)
{
    const norm_parameters *parameters = node->parameters;
    const size_t elements = node->inputs[0]->size[0];
    slad_tensor part = *node->outputs[0];
    part.offset += parameters->first_chunk;
    const slad_operand arguments[] = {SLAD_TENSOR(&part), SLAD_TENSOR(node->inputs[0]), SLAD_UINT(elements),
                                      SLAD_UINT(chunk_elements_of(elements))};
    const size_t lanes = slad_launcher_features(launcher)->row_lanes;
    return slad_launch_kernel(launcher, &slad_optimizer_kernels[NORM], "", arguments,
                              sizeof arguments / sizeof *arguments,
                              (slad_work){.items = {lanes, chunks_of(elements)}, .split_axis = 1});
}

static slad_status reference_norm(slad_host *host, const slad_node *node)
{
    const norm_parameters *parameters = node->parameters;
    const size_t elements = node->inputs[0]->size[0], chunk_elements = chunk_elements_of(elements);
    const float *gradient = slad_host_floats(host, node->inputs[0]);
    float *part = slad_host_floats(host, node->outputs[0]) + parameters->first_chunk;
    for (size_t chunk = 0; chunk < chunks_of(elements); chunk++) {
        const size_t first = chunk * chunk_elements, left = elements - first;
        part[chunk] =
            (float)slad_reference_sum_of_squares(gradient + first, left < chunk_elements ? left : chunk_elements);
    }
    return SLAD_OK;
}

static const slad_operation norm_operation = {
    .name = "optimizer_norm",
    .launch = launch_norm,
    .reference = reference_norm,
};

/* optimizer_finish: norm, clipping factor, report */

typedef struct finish_parameters {
    double max_norm;
} finish_parameters;

/* Input: partial sums. Outputs: */
enum { FINISH_CONTROL = 0, FINISH_REPORT = 1, FINISH_ACCUMULATORS = 2 };

static slad_status launch_finish(slad_launcher *launcher, const slad_node *node)
{
    const finish_parameters *parameters = node->parameters;
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[FINISH_CONTROL]),
        SLAD_TENSOR(node->outputs[FINISH_REPORT]),
        SLAD_TENSOR(node->outputs[FINISH_ACCUMULATORS]),
        SLAD_TENSOR(node->inputs[0]),
        SLAD_UINT(node->inputs[0]->size[0]),
        SLAD_FLOAT(parameters->max_norm),
    };
    const size_t lanes = slad_launcher_features(launcher)->row_lanes;
    return slad_launch_kernel(launcher, &slad_optimizer_kernels[FINISH], "", arguments,
                              sizeof arguments / sizeof *arguments, (slad_work){.items = {lanes}, .split_axis = -1});
}

static slad_status reference_finish(slad_host *host, const slad_node *node)
{
    const finish_parameters *parameters = node->parameters;
    const float *partials = slad_host_floats(host, node->inputs[0]);
    float *control = slad_host_floats(host, node->outputs[FINISH_CONTROL]);
    float *report = slad_host_floats(host, node->outputs[FINISH_REPORT]);
    float *accumulators = slad_host_floats(host, node->outputs[FINISH_ACCUMULATORS]);
    double sum = 0;
    for (size_t i = 0; i < node->inputs[0]->size[0]; i++) sum += (double)partials[i];
    const float norm = (float)sqrt(sum);
    const bool finite = isfinite(norm);
    control[CONTROL_FACTOR] = finite ? (float)slad_reference_clip_factor((double)norm, parameters->max_norm) : 1;
    control[CONTROL_GO] = finite ? 1 : 0;
    for (size_t i = 0; i < SLAD_ACCUMULATORS; i++) {
        report[i] = accumulators[i];
        accumulators[i] = 0;
    }
    report[SLAD_REPORT_NORM] = norm;
    report[SLAD_REPORT_SKIPPED] = finite ? 0 : 1;
    return SLAD_OK;
}

static const slad_operation finish_operation = {
    .name = "optimizer_finish",
    .launch = launch_finish,
    .reference = reference_finish,
};

/* optimizer_adamw: the update of one trained slab */

enum { ADAMW_TABLE = 0, ADAMW_CONTROL = 1, ADAMW_STEP_VALUES = 2 };
enum { ADAMW_VALUES = 0, ADAMW_GRADIENT = 1, ADAMW_MOMENT_1 = 2, ADAMW_MOMENT_2 = 3 };

static slad_status launch_adamw(slad_launcher *launcher, const slad_node *node)
{
    const size_t elements = node->outputs[ADAMW_VALUES]->size[0];
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[ADAMW_VALUES]),
        SLAD_TENSOR(node->outputs[ADAMW_GRADIENT]),
        SLAD_TENSOR(node->outputs[ADAMW_MOMENT_1]),
        SLAD_TENSOR(node->outputs[ADAMW_MOMENT_2]),
        SLAD_TENSOR(node->inputs[ADAMW_TABLE]),
        SLAD_TENSOR(node->inputs[ADAMW_CONTROL]),
        SLAD_TENSOR(node->inputs[ADAMW_STEP_VALUES]),
        SLAD_UINT(elements),
        SLAD_FLOAT(1 - SLAD_ADAM_BETA_1),
        SLAD_FLOAT(SLAD_ADAM_BETA_2),
        SLAD_FLOAT(1 - SLAD_ADAM_BETA_2),
        SLAD_FLOAT(SLAD_ADAM_EPSILON),
    };
    const size_t items = elements / slad_launcher_features(launcher)->vector_width;
    return slad_launch_kernel(launcher, &slad_optimizer_kernels[ADAMW], "", arguments,
                              sizeof arguments / sizeof *arguments, (slad_work){.items = {items}, .split_axis = 0});
}

static slad_status reference_adamw(slad_host *host, const slad_node *node)
{
    const int32_t *table = slad_host_integers(host, node->inputs[ADAMW_TABLE]);
    const float *control = slad_host_floats(host, node->inputs[ADAMW_CONTROL]);
    const float *step_values = slad_host_floats(host, node->inputs[ADAMW_STEP_VALUES]);
    float *values = slad_host_floats(host, node->outputs[ADAMW_VALUES]);
    float *gradient = slad_host_floats(host, node->outputs[ADAMW_GRADIENT]);
    float *moment_1 = slad_host_floats(host, node->outputs[ADAMW_MOMENT_1]);
    float *moment_2 = slad_host_floats(host, node->outputs[ADAMW_MOMENT_2]);
    const size_t elements = node->outputs[ADAMW_VALUES]->size[0];
    slad_reference_adamw parameters = {
        .bias_1 = (double)step_values[SLAD_STEP_BIAS_1],
        .bias_2 = (double)step_values[SLAD_STEP_BIAS_2],
        .beta_1 = SLAD_ADAM_BETA_1,
        .beta_2 = SLAD_ADAM_BETA_2,
        .epsilon = SLAD_ADAM_EPSILON,
        .factor = (double)control[CONTROL_FACTOR],
    };
    for (size_t i = 0; i < elements; i += BLOCK) {
        const int32_t word = table[i / BLOCK];
        if (control[CONTROL_GO] != 0 && word != WORD_PADDING) {
            parameters.rate = (double)step_values[SLAD_STEP_RATES + (word & 0xff)];
            parameters.decay = word & WORD_DECAY ? (double)step_values[SLAD_STEP_DECAY] : 0;
            slad_reference_adamw_update(values + i, gradient + i, moment_1 + i, moment_2 + i, &parameters, BLOCK);
        }
        for (size_t k = i; k < i + BLOCK; k++) gradient[k] = 0;
    }
    return SLAD_OK;
}

static const slad_operation adamw_operation = {
    .name = "optimizer_adamw",
    .launch = launch_adamw,
    .reference = reference_adamw,
};

/* The table of the trained slab whose id is `index`, of the store `user`: one word for each 16 elements. */
static slad_status fill_table(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    const slad_store *store = user;
    int32_t *table = destination;
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(slad_store_slab(store, index)->elements != elements * BLOCK, SLAD_ERROR_INTERNAL,
                 "A tensor was added to what is trained after the optimizer was recorded");
    for (size_t i = 0; i < elements; i++) table[i] = WORD_PADDING;
    for (size_t t = 0; t < slad_store_trained_count(store); t++) {
        const slad_trained *trained = slad_store_trained_at(store, t);
        const slad_tensor *tensor = trained->tensor;
        if (tensor->slab->id != index) continue;
        const size_t end = tensor->offset + slad_tensor_elements(tensor);
        for (size_t i = tensor->offset / BLOCK; i * BLOCK < end; i++)
            table[i] = (int32_t)trained->group | (trained->decay ? WORD_DECAY : 0);
    }
cleanup:
    return status;
}

static slad_status append_adamw(slad_record *record, slad_slab *slab, const slad_tensor *control,
                                const slad_tensor *step_values)
{
    slad_status status = SLAD_OK;
    slad_store *store = slad_record_store(record);
    const size_t words = slab->elements / BLOCK;
    const slad_tensor *table = NULL;
    char name[64];
    (void)snprintf(name, sizeof name, "optimizer table of slab %u", (unsigned)slab->id);
    SLAD_TRY(slad_store_frozen(store, &table, name, SLAD_I32, 1, &words, fill_table, store, slab->id));
    slad_node *node = slad_record_append(record, &adamw_operation, SLAD_PHASE_STEP,
                                         (const slad_tensor *[]){table, control, step_values}, 3, NULL, 0);
    slad_node_writes(record, node, slad_record_slab(record, slab));
    slad_node_writes(record, node, slad_record_slab(record, slab->gradient));
    slad_node_writes(record, node, slad_record_slab(record, slab->moment_1));
    slad_node_writes(record, node, slad_record_slab(record, slab->moment_2));
cleanup:
    return status;
}

/* The partial sums of squares of all gradient slabs. */
static const slad_tensor *append_norms(slad_record *record)
{
    const slad_store *store = slad_record_store(record);
    const size_t slabs = slad_store_slab_count(store, SLAD_SLAB_TRAINED);
    const slad_tensor *partials = NULL;
    norm_parameters parameters = {0};
    size_t chunks = 0;
    for (size_t i = 0; i < slabs; i++) chunks += chunks_of(slad_store_slab_at(store, SLAD_SLAB_TRAINED, i)->elements);
    for (size_t i = 0; i < slabs; i++) {
        slad_slab *slab = slad_store_slab_at(store, SLAD_SLAB_TRAINED, i);
        const slad_tensor *gradient = slad_record_slab(record, slab->gradient);
        slad_node *node =
            slad_record_append(record, &norm_operation, SLAD_PHASE_STEP, &gradient, 1, &parameters, sizeof parameters);
        if (i == 0)
            partials = slad_node_output(record, node, 1, &chunks);
        else
            slad_node_writes(record, node, partials);
        parameters.first_chunk += chunks_of(slab->elements);
    }
    return partials;
}

static bool check(slad_record *record, const slad_tensor *step_values, const slad_tensor *accumulators,
                  const slad_tensor *report, double max_norm)
{
    const slad_store *store = slad_record_store(record);
    if (slad_record_status(record) != SLAD_OK) return false;
    if (!step_values || !accumulators || !report || slad_tensor_elements(step_values) != SLAD_STEP_VALUES ||
        slad_tensor_elements(accumulators) != SLAD_ACCUMULATORS || slad_tensor_elements(report) != SLAD_REPORT)
        return slad_record_fail(record, SLAD_ERROR_INTERNAL,
                                "optimizer: step values [%d], accumulators [%d] or report [%d] are missing or of "
                                "another size",
                                SLAD_STEP_VALUES, SLAD_ACCUMULATORS, SLAD_REPORT);
    if (!(max_norm >= 0))
        return slad_record_fail(record, SLAD_ERROR_USAGE, "the largest gradient norm must be at least 0, not %g",
                                max_norm);
    if (slad_store_trained_count(store) == 0)
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "optimizer: nothing is trained");
    for (size_t i = 0; i < slad_store_trained_count(store); i++) {
        const slad_trained *trained = slad_store_trained_at(store, i);
        if (trained->group >= SLAD_STEP_VALUES - SLAD_STEP_RATES)
            return slad_record_fail(record, SLAD_ERROR_INTERNAL, "optimizer: %s is in learning-rate group %u of %d",
                                    trained->tensor->name, trained->group, SLAD_STEP_VALUES - SLAD_STEP_RATES);
    }
    return true;
}

slad_status slad_optimizer(slad_record *record, const slad_tensor *step_values, const slad_tensor *accumulators,
                           const slad_tensor *report, double max_norm)
{
    slad_status status = SLAD_OK;
    slad_store *store = slad_record_store(record);
    const finish_parameters parameters = {max_norm};
    if (!check(record, step_values, accumulators, report, max_norm)) return slad_record_status(record);
    const slad_tensor *partials = append_norms(record);
    slad_node *finish =
        slad_record_append(record, &finish_operation, SLAD_PHASE_STEP, &partials, 1, &parameters, sizeof parameters);
    const slad_tensor *control = slad_node_output(record, finish, 1, (const size_t[]){CONTROLS});
    slad_node_writes(record, finish, report);
    slad_node_writes(record, finish, accumulators);
    for (size_t i = 0; i < slad_store_slab_count(store, SLAD_SLAB_TRAINED); i++)
        SLAD_TRY(append_adamw(record, slad_store_slab_at(store, SLAD_SLAB_TRAINED, i), control, step_values));
    status = slad_record_status(record);
cleanup:
    return status;
}

static slad_status fill_step_values(slad_context *context, void *destination, size_t elements, const void *user,
                                    size_t index)
{
    float *values = destination;
    (void)context;
    (void)user;
    (void)index;
    for (size_t i = 0; i < elements; i++) values[i] = 0.1f;
    values[SLAD_STEP_BIAS_1] = (float)(1 / (1 - SLAD_ADAM_BETA_1));
    values[SLAD_STEP_BIAS_2] = (float)(1 / (1 - SLAD_ADAM_BETA_2));
    return SLAD_OK;
}

/* One step of a linear layer whose weight is trained: the gradient is made, measured, clipped, used and cleared. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t in = 23, out = 7, rows = 5;
    const size_t step_value_count = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS, reported = SLAD_REPORT;
    slad_store *store = slad_record_store(record);
    const slad_tensor *step_values = NULL, *accumulators = NULL, *report = NULL;
    slad_status status = SLAD_OK;
    (void)context;
    SLAD_TRY(slad_store_frozen(store, &step_values, "step_values", SLAD_F32, 1, &step_value_count, fill_step_values,
                               NULL, 0));
    SLAD_TRY(slad_store_state(store, &accumulators, "accumulators", SLAD_F32, 1, &sums));
    SLAD_TRY(slad_store_state(store, &report, "report", SLAD_F32, 1, &reported));
    const slad_tensor *x = slad_record_input(record, "x", SLAD_F32, 2, (const size_t[]){rows, in}, 0);
    const slad_weight weight = {.weight = slad_self_test_trained(record, "weight", 2, (const size_t[]){out, in}, 0.2)};
    SLAD_TRY(slad_self_test_differentiate(record, slad_linear(record, x, &weight, NULL), "y"));
    SLAD_TRY(slad_optimizer(record, step_values, accumulators, report, 1.0));
    slad_record_output(record, report, "report");
cleanup:
    return status;
}

const slad_kernel_row slad_optimizer_kernels[] = {
    [NORM] = {"optimizer", "optimizer_norm", "ttuu", SLAD_WORK_ROWS, self_test, 1e-4},
    [FINISH] = {"optimizer", "optimizer_finish", "ttttuf", SLAD_WORK_ROWS, self_test, 1e-4},
    [ADAMW] = {"optimizer", "optimizer_adamw", "tttttttuffff", SLAD_WORK_ITEMS, self_test, 1e-4},
};
const size_t slad_optimizer_kernel_count = sizeof slad_optimizer_kernels / sizeof *slad_optimizer_kernels;
