#include "reference/gradient_conflict.h"
#include "base/memory.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"
#include <stdio.h>
#include <string.h>

/* Rows of slad_gradient_conflict_kernels. */
enum { TRACK, SUMS, FINISH };
/* What cl_kernels/gradient_conflict.cl works with. */
typedef enum track_action { TRACK_SUBTRACT, TRACK_ADD, TRACK_CLEAR } track_action;
enum { REGION_WORDS = 8, SUMS_OF_REGION = 3 };

/* A trained slab with shared regions: regions first .. first + count - 1 lie in it. */
typedef struct conflict_slab {
    slad_slab *trained;
    const slad_tensor *student; /* S, as large as the slab */
    const slad_tensor *table;   /* I32 [count, REGION_WORDS] */
    size_t first, count;
} conflict_slab;

/* Owned by the store. */
struct slad_gradient_conflict {
    const slad_tensor **shared; /* grouped by slab */
    size_t shared_count;
    conflict_slab *slabs;
    size_t slab_count;
};

/* ---- what is shared ---- */

/* Rows that lie side by side are one. */
static slad_reference_region region_of(const slad_tensor *shared)
{
    const size_t blocks = shared->rank == 3 ? shared->size[0] : 1;
    const size_t block_stride = shared->rank == 3 ? shared->stride[0] : 0;
    const size_t rows = shared->rank == 1 ? 1 : shared->size[shared->rank - 2];
    const size_t row_stride = shared->rank == 1 ? 0 : shared->stride[shared->rank - 2];
    const size_t columns = slad_tensor_columns(shared);
    if (rows > 1 && row_stride != columns)
        return (slad_reference_region){{blocks, rows, columns}, {block_stride, row_stride}};
    return (slad_reference_region){{blocks, 1, rows * columns}, {block_stride, 0}};
}

/* The regions of slab `index` of the conflict `user`. */
static slad_status fill_table(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    const slad_gradient_conflict *conflict = user;
    const conflict_slab *slab = &conflict->slabs[index];
    int32_t *words = destination;
    (void)context;
    memset(destination, 0, elements * sizeof *words);
    for (size_t i = 0; i < slab->count; i++, words += REGION_WORDS) {
        const slad_tensor *shared = conflict->shared[slab->first + i];
        const slad_reference_region region = region_of(shared);
        words[0] = (int32_t)shared->offset;
        for (size_t k = 0; k < 3; k++) words[1 + k] = (int32_t)region.size[k];
        for (size_t k = 0; k < 2; k++) words[4 + k] = (int32_t)region.stride[k];
    }
    return SLAD_OK;
}

static bool is_region(const slad_tensor *tensor)
{
    return tensor && tensor->slab->kind == SLAD_SLAB_TRAINED && tensor->rank >= 1 && tensor->rank <= 3 &&
           tensor->stride[tensor->rank - 1] == 1;
}

/* Notes the regions of a slab, one behind another. */
static slad_status add_slab(slad_gradient_conflict *conflict, slad_store *store, slad_slab *slab,
                            const slad_tensor *const *shared, size_t count)
{
    slad_status status = SLAD_OK;
    char name[64];
    conflict_slab *added = &conflict->slabs[conflict->slab_count];
    *added = (conflict_slab){.trained = slab, .first = conflict->shared_count};
    for (size_t i = 0; i < count; i++)
        if (shared[i]->slab == slab) conflict->shared[conflict->shared_count++] = shared[i];
    added->count = conflict->shared_count - added->first;
    if (added->count == 0) return SLAD_OK;
    (void)snprintf(name, sizeof name, "the student's part of slab %u", (unsigned)slab->id);
    SLAD_TRY(slad_store_state(store, &added->student, name, SLAD_F32, 1, &slab->elements));
    (void)snprintf(name, sizeof name, "the shared regions of slab %u", (unsigned)slab->id);
    SLAD_TRY(slad_store_frozen(store, &added->table, name, SLAD_I32, 2, (const size_t[]){added->count, REGION_WORDS},
                               fill_table, conflict, conflict->slab_count));
    conflict->slab_count++;
cleanup:
    return status;
}

slad_status slad_gradient_conflict_place(slad_context *context, const slad_gradient_conflict **conflict,
                                         slad_store *store, const slad_tensor *const *shared, size_t count)
{
    slad_status status = SLAD_OK;
    slad_gradient_conflict *made = NULL;
    const size_t slabs = slad_store_slab_count(store, SLAD_SLAB_TRAINED);
    *conflict = NULL;
    SLAD_FAIL_IF(count == 0, SLAD_ERROR_INTERNAL, "A gradient conflict needs at least one shared tensor");
    for (size_t i = 0; i < count; i++)
        SLAD_FAIL_IF(!is_region(shared[i]), SLAD_ERROR_INTERNAL,
                     "Gradient conflict: %s is not trained, or not of one to three sizes with unit stride in the last",
                     shared[i] ? shared[i]->name : "a tensor");
    SLAD_TRY(slad_allocate(context, &made, 1, sizeof *made, "the gradient conflict"));
    SLAD_TRY(slad_store_adopt(store, made));
    SLAD_TRY(slad_allocate(context, &made->shared, count, sizeof(slad_tensor *), "the gradient conflict"));
    SLAD_TRY(slad_store_adopt(store, made->shared));
    SLAD_TRY(slad_allocate(context, &made->slabs, slabs, sizeof *made->slabs, "the gradient conflict"));
    SLAD_TRY(slad_store_adopt(store, made->slabs));
    for (size_t i = 0; i < slabs; i++)
        SLAD_TRY(add_slab(made, store, slad_store_slab_at(store, SLAD_SLAB_TRAINED, i), shared, count));
    *conflict = made;
cleanup:
    return status;
}

/* ---- gradient_conflict_track: S -= G, S += G, S = 0; input: the gradient slab, output: S ---- */

typedef struct track_parameters {
    track_action action;
} track_parameters;

static slad_status launch_track(slad_launcher *launcher, const slad_node *node)
{
    const track_parameters *parameters = node->parameters;
    const size_t elements = node->outputs[0]->size[0];
    const slad_operand arguments[] = {SLAD_TENSOR(node->outputs[0]), SLAD_TENSOR(node->inputs[0]), SLAD_UINT(elements),
                                      SLAD_UINT(parameters->action)};
    return slad_launch_kernel(launcher, &slad_gradient_conflict_kernels[TRACK], "", arguments,
                              sizeof arguments / sizeof *arguments, slad_work_of_vectors(launcher, elements));
}

static slad_status reference_track(slad_host *host, const slad_node *node)
{
    const track_parameters *parameters = node->parameters;
    float *student = slad_host_floats(host, node->outputs[0]);
    const float *gradient = slad_host_floats(host, node->inputs[0]);
    for (size_t i = 0; i < node->outputs[0]->size[0]; i++) {
        if (parameters->action == TRACK_CLEAR) student[i] = 0;
        if (parameters->action == TRACK_SUBTRACT) student[i] -= gradient[i];
        if (parameters->action == TRACK_ADD) student[i] += gradient[i];
    }
    return SLAD_OK;
}

static const slad_operation track_operation = {
    .name = "gradient_conflict_track",
    .launch = launch_track,
    .reference = reference_track,
};

static void append_track(slad_record *record, const slad_gradient_conflict *conflict, slad_phase phase,
                         track_action action)
{
    const track_parameters parameters = {action};
    for (size_t i = 0; i < conflict->slab_count; i++) {
        const conflict_slab *slab = &conflict->slabs[i];
        if (slad_tensor_elements(slab->student) != slab->trained->elements) {
            slad_record_fail(record, SLAD_ERROR_INTERNAL,
                             "gradient conflict: a tensor was added to what is trained after it was placed");
            return;
        }
        slad_node *node = slad_record_append(record, &track_operation, phase,
                                             (const slad_tensor *[]){slad_record_slab(record, slab->trained->gradient)},
                                             1, &parameters, sizeof parameters);
        slad_node_writes(record, node, slab->student);
    }
}

/* ---- gradient_conflict_mark: a place among the forward nodes, which does nothing but append S -= G or S += G at the
 * same place of the walk backwards. Its input is a shared tensor, so that the walk does not pass it over. ---- */

typedef struct mark_parameters {
    const slad_gradient_conflict *conflict;
    track_action action;
} mark_parameters;

static slad_status launch_mark(slad_launcher *launcher, const slad_node *node)
{
    (void)launcher;
    (void)node;
    return SLAD_OK;
}

static slad_status reference_mark(slad_host *host, const slad_node *node)
{
    (void)host;
    (void)node;
    return SLAD_OK;
}

static slad_status gradient_of_mark(slad_record *record, const slad_node *node)
{
    const mark_parameters *parameters = node->parameters;
    append_track(record, parameters->conflict, SLAD_PHASE_MICRO_BATCH, parameters->action);
    return slad_record_status(record);
}

static const slad_operation mark_operation = {
    .name = "gradient_conflict_mark",
    .gradient = gradient_of_mark,
    .starts_gradient = true,
    .launch = launch_mark,
    .reference = reference_mark,
};

static void append_mark(slad_record *record, const slad_gradient_conflict *conflict, track_action action)
{
    const mark_parameters parameters = {conflict, action};
    if (slad_record_status(record) != SLAD_OK) return;
    (void)slad_record_append(record, &mark_operation, SLAD_PHASE_MICRO_BATCH, conflict->shared, 1, &parameters,
                             sizeof parameters);
}

void slad_gradient_conflict_student_begins(slad_record *record, const slad_gradient_conflict *conflict)
{
    append_mark(record, conflict, TRACK_ADD);
}

void slad_gradient_conflict_student_ends(slad_record *record, const slad_gradient_conflict *conflict)
{
    append_mark(record, conflict, TRACK_SUBTRACT);
}

/* ---- gradient_conflict_sums: inputs S, gradient slab, table; output: the sums of all regions, of which it writes
 * those of one slab ---- */

typedef struct sums_parameters {
    const slad_gradient_conflict *conflict;
    size_t slab;
} sums_parameters;

enum { SUMS_STUDENT, SUMS_GRADIENT, SUMS_TABLE, SUMS_INPUTS };

static slad_status launch_sums(slad_launcher *launcher, const slad_node *node)
{
    const sums_parameters *parameters = node->parameters;
    const conflict_slab *slab = &parameters->conflict->slabs[parameters->slab];
    slad_tensor part = *node->outputs[0];
    part.offset += slab->first * SUMS_OF_REGION;
    const slad_operand arguments[] = {
        SLAD_TENSOR(&part),
        SLAD_TENSOR(node->inputs[SUMS_STUDENT]),
        SLAD_TENSOR(node->inputs[SUMS_GRADIENT]),
        SLAD_TENSOR(node->inputs[SUMS_TABLE]),
        SLAD_UINT(slab->count),
    };
    const size_t lanes = slad_launcher_features(launcher)->row_lanes;
    return slad_launch_kernel(launcher, &slad_gradient_conflict_kernels[SUMS], "", arguments,
                              sizeof arguments / sizeof *arguments,
                              (slad_work){.items = {lanes, slab->count}, .split_axis = 1});
}

static slad_status reference_sums(slad_host *host, const slad_node *node)
{
    const sums_parameters *parameters = node->parameters;
    const slad_gradient_conflict *conflict = parameters->conflict;
    const conflict_slab *slab = &conflict->slabs[parameters->slab];
    const float *student = slad_host_floats(host, node->inputs[SUMS_STUDENT]);
    const float *gradient = slad_host_floats(host, node->inputs[SUMS_GRADIENT]);
    float *partials = slad_host_floats(host, node->outputs[0]);
    for (size_t i = slab->first; i < slab->first + slab->count; i++) {
        const slad_reference_region region = region_of(conflict->shared[i]);
        const size_t offset = conflict->shared[i]->offset;
        slad_reference_conflict sums = {0, 0, 0};
        slad_reference_conflict_add(&sums, student + offset, gradient + offset, &region);
        partials[i * SUMS_OF_REGION] = (float)sums.product;
        partials[i * SUMS_OF_REGION + 1] = (float)sums.teacher;
        partials[i * SUMS_OF_REGION + 2] = (float)sums.student;
    }
    return SLAD_OK;
}

static const slad_operation sums_operation = {
    .name = "gradient_conflict_sums",
    .launch = launch_sums,
    .reference = reference_sums,
};

/* ---- gradient_conflict_finish: input the sums, output the report ---- */

static slad_status launch_finish(slad_launcher *launcher, const slad_node *node)
{
    const slad_operand arguments[] = {SLAD_TENSOR(node->outputs[0]), SLAD_TENSOR(node->inputs[0]),
                                      SLAD_UINT(node->inputs[0]->size[0])};
    return slad_launch_kernel(launcher, &slad_gradient_conflict_kernels[FINISH], "", arguments,
                              sizeof arguments / sizeof *arguments, (slad_work){.items = {1}, .split_axis = -1});
}

static slad_status reference_finish(slad_host *host, const slad_node *node)
{
    const float *partials = slad_host_floats(host, node->inputs[0]);
    float *report = slad_host_floats(host, node->outputs[0]);
    slad_reference_conflict sums = {0, 0, 0};
    double cosine, teacher_norm, student_norm;
    for (size_t i = 0; i < node->inputs[0]->size[0]; i++, partials += SUMS_OF_REGION) {
        sums.product += (double)partials[0];
        sums.teacher += (double)partials[1];
        sums.student += (double)partials[2];
    }
    slad_reference_conflict_finish(&cosine, &teacher_norm, &student_norm, &sums);
    report[SLAD_REPORT_SHARED_TEACHER_NORM] = (float)teacher_norm;
    report[SLAD_REPORT_SHARED_STUDENT_NORM] = (float)student_norm;
    report[SLAD_REPORT_SHARED_COSINE] = (float)cosine;
    return SLAD_OK;
}

static const slad_operation finish_operation = {
    .name = "gradient_conflict_finish",
    .launch = launch_finish,
    .reference = reference_finish,
};

slad_status slad_gradient_conflict_report(slad_record *record, const slad_gradient_conflict *conflict,
                                          const slad_tensor *report)
{
    const slad_tensor *partials = NULL;
    const size_t size[] = {conflict->shared_count, SUMS_OF_REGION};
    if (slad_record_status(record) != SLAD_OK) return slad_record_status(record);
    if (!report || slad_tensor_elements(report) != SLAD_REPORT) {
        slad_record_fail(record, SLAD_ERROR_INTERNAL,
                         "gradient conflict: the report [%d] is missing or of another size", SLAD_REPORT);
        return slad_record_status(record);
    }
    for (size_t i = 0; i < conflict->slab_count; i++) {
        const conflict_slab *slab = &conflict->slabs[i];
        const sums_parameters parameters = {conflict, i};
        const slad_tensor *inputs[SUMS_INPUTS] = {slab->student, slad_record_slab(record, slab->trained->gradient),
                                                  slab->table};
        slad_node *node = slad_record_append(record, &sums_operation, SLAD_PHASE_STEP, inputs, SUMS_INPUTS, &parameters,
                                             sizeof parameters);
        if (i == 0)
            partials = slad_node_output(record, node, 2, size);
        else
            slad_node_writes(record, node, partials);
    }
    slad_node *finish = slad_record_append(record, &finish_operation, SLAD_PHASE_STEP, &partials, 1, NULL, 0);
    slad_node_writes(record, finish, report);
    append_track(record, conflict, SLAD_PHASE_STEP, TRACK_CLEAR);
    return slad_record_status(record);
}

/* A teacher, and a student with a part of its adapter: one micro-batch and the end of the step. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t wide = 43, narrow = 37, rank = 5, rows = 19, reported = SLAD_REPORT;
    slad_store *store = slad_record_store(record);
    const slad_gradient_conflict *conflict = NULL;
    const slad_tensor *report = NULL, *y[2] = {NULL, NULL};
    slad_status status = SLAD_OK;
    const slad_tensor *lora_a = slad_self_test_trained(record, "lora_A", 2, (const size_t[]){rank, wide}, 0.2);
    const slad_tensor *lora_b = slad_self_test_trained(record, "lora_B", 3, (const size_t[]){3, wide, rank}, 0.2);
    const slad_tensor *student_a =
        slad_record_view(record, lora_a, 0, 2, (const size_t[]){rank, narrow}, (const size_t[]){wide, 1});
    const slad_tensor *student_b = slad_record_view(record, lora_b, 0, 3, (const size_t[]){3, narrow, rank},
                                                    (const size_t[]){wide * rank, rank, 1});
    SLAD_TRY(slad_record_status(record));
    SLAD_TRY(slad_gradient_conflict_place(context, &conflict, store, (const slad_tensor *[]){student_a, student_b}, 2));
    SLAD_TRY(slad_store_state(store, &report, "report", SLAD_F32, 1, &reported));
    slad_gradient_conflict_student_begins(record, conflict);
    for (int model = 0; model < 2; model++) {
        const bool teacher = model == 1;
        const size_t width = teacher ? wide : narrow;
        const slad_tensor *x = slad_record_input(record, teacher ? "teacher_x" : "student_x", SLAD_F32, 2,
                                                 (const size_t[]){rows, width}, 0);
        const slad_weight weight = {
            .weight = slad_self_test_frozen(record, "weight", 2, (const size_t[]){3 * width, width}, 0.2),
            .adapters = {{.lora_a = teacher ? lora_a : student_a, .lora_b = teacher ? lora_b : student_b, .scale = 1}},
            .adapter_count = 1};
        y[model] = slad_linear(record, x, &weight, NULL);
        if (!teacher) slad_gradient_conflict_student_ends(record, conflict);
    }
    for (int model = 0; model < 2; model++) {
        const slad_tensor *dy =
            y[model] ? slad_record_input(record, model ? "teacher_dy" : "student_dy", SLAD_F32, 2, y[model]->size, 0)
                     : NULL;
        if (dy) slad_gradient_pass(record, y[model], dy);
    }
    SLAD_TRY(slad_record_differentiate(record));
    SLAD_TRY(slad_gradient_conflict_report(record, conflict, report));
    slad_record_output(record, report, "report");
    SLAD_TRY(slad_record_status(record));
cleanup:
    return status;
}

const slad_kernel_row slad_gradient_conflict_kernels[] = {
    [TRACK] = {"gradient_conflict", "gradient_conflict_track", "ttuu", SLAD_WORK_ITEMS, self_test, 1e-4},
    [SUMS] = {"gradient_conflict", "gradient_conflict_sums", "ttttu", SLAD_WORK_ROWS, self_test, 1e-4},
    [FINISH] = {"gradient_conflict", "gradient_conflict_finish", "ttu", SLAD_WORK_ITEMS, self_test, 1e-4},
};
const size_t slad_gradient_conflict_kernel_count =
    sizeof slad_gradient_conflict_kernels / sizeof *slad_gradient_conflict_kernels;
