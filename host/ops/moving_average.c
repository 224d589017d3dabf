#include "reference/moving_average.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"

enum { UPDATE, EXCHANGE };

/* moving_average: inputs values, step values, report; output average */

static slad_status launch_update(slad_launcher *launcher, const slad_node *node)
{
    const size_t elements = node->outputs[0]->size[0];
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[0]), SLAD_TENSOR(node->inputs[0]), SLAD_TENSOR(node->inputs[1]),
        SLAD_TENSOR(node->inputs[2]),  SLAD_UINT(elements),
    };
    return slad_launch_kernel(launcher, &slad_moving_average_kernels[UPDATE], "", arguments,
                              sizeof arguments / sizeof *arguments, slad_work_of_vectors(launcher, elements));
}

static slad_status reference_update(slad_host *host, const slad_node *node)
{
    const float *step_values = slad_host_floats(host, node->inputs[1]);
    const float *report = slad_host_floats(host, node->inputs[2]);
    if (report[SLAD_REPORT_SKIPPED] != 0) return SLAD_OK;
    slad_reference_moving_average(slad_host_floats(host, node->outputs[0]), slad_host_floats(host, node->inputs[0]),
                                  (double)step_values[SLAD_STEP_AVERAGE], node->outputs[0]->size[0]);
    return SLAD_OK;
}

static const slad_operation update_operation = {
    .name = "moving_average",
    .launch = launch_update,
    .reference = reference_update,
};

/* moving_average_exchange: outputs average, values */

static slad_status launch_exchange(slad_launcher *launcher, const slad_node *node)
{
    const size_t elements = node->outputs[0]->size[0];
    const slad_operand arguments[] = {SLAD_TENSOR(node->outputs[0]), SLAD_TENSOR(node->outputs[1]),
                                      SLAD_UINT(elements)};
    return slad_launch_kernel(launcher, &slad_moving_average_kernels[EXCHANGE], "", arguments,
                              sizeof arguments / sizeof *arguments, slad_work_of_vectors(launcher, elements));
}

static slad_status reference_exchange(slad_host *host, const slad_node *node)
{
    float *average = slad_host_floats(host, node->outputs[0]), *values = slad_host_floats(host, node->outputs[1]);
    for (size_t i = 0; i < node->outputs[0]->size[0]; i++) {
        const float value = values[i];
        values[i] = average[i];
        average[i] = value;
    }
    return SLAD_OK;
}

static const slad_operation exchange_operation = {
    .name = "moving_average_exchange",
    .launch = launch_exchange,
    .reference = reference_exchange,
};

/* Whether every trained slab has an average. */
static bool check_averages(slad_record *record)
{
    const slad_store *store = slad_record_store(record);
    if (slad_record_status(record) != SLAD_OK) return false;
    if (slad_store_trained_count(store) == 0)
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "moving average: nothing is trained");
    for (size_t i = 0; i < slad_store_slab_count(store, SLAD_SLAB_TRAINED); i++)
        if (!slad_store_slab_at(store, SLAD_SLAB_TRAINED, i)->average)
            return slad_record_fail(record, SLAD_ERROR_INTERNAL,
                                    "moving average: the store was not told to keep averages");
    return true;
}

slad_status slad_moving_average(slad_record *record, const slad_tensor *step_values, const slad_tensor *report)
{
    const slad_store *store = slad_record_store(record);
    if (!check_averages(record)) return slad_record_status(record);
    if (!step_values || !report || slad_tensor_elements(step_values) != SLAD_STEP_VALUES ||
        slad_tensor_elements(report) != SLAD_REPORT) {
        slad_record_fail(record, SLAD_ERROR_INTERNAL,
                         "moving average: step values [%d] or report [%d] are missing or of another size",
                         SLAD_STEP_VALUES, SLAD_REPORT);
        return slad_record_status(record);
    }
    for (size_t i = 0; i < slad_store_slab_count(store, SLAD_SLAB_TRAINED); i++) {
        slad_slab *slab = slad_store_slab_at(store, SLAD_SLAB_TRAINED, i);
        slad_node *node = slad_record_append(
            record, &update_operation, SLAD_PHASE_STEP,
            (const slad_tensor *[]){slad_record_slab(record, slab), step_values, report}, 3, NULL, 0);
        slad_node_writes(record, node, slad_record_slab(record, slab->average));
    }
    return slad_record_status(record);
}

slad_status slad_moving_average_exchange(slad_record *record)
{
    const slad_store *store = slad_record_store(record);
    if (!check_averages(record)) return slad_record_status(record);
    for (size_t i = 0; i < slad_store_slab_count(store, SLAD_SLAB_TRAINED); i++) {
        slad_slab *slab = slad_store_slab_at(store, SLAD_SLAB_TRAINED, i);
        slad_node *node = slad_record_append(record, &exchange_operation, SLAD_PHASE_STEP, NULL, 0, NULL, 0);
        slad_node_writes(record, node, slad_record_slab(record, slab->average));
        slad_node_writes(record, node, slad_record_slab(record, slab));
    }
    return slad_record_status(record);
}

static slad_status fill_tenth(slad_context *context, void *destination, size_t elements, const void *user, size_t index)
{
    float *values = destination;
    (void)context;
    (void)user;
    (void)index;
    for (size_t i = 0; i < elements; i++) values[i] = 0.1f;
    return SLAD_OK;
}

/* A step in which nothing but the average moves; what comes out has then changed places. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t step_value_count = SLAD_STEP_VALUES, reported = SLAD_REPORT;
    slad_store *store = slad_record_store(record);
    const slad_tensor *step_values = NULL, *report = NULL;
    slad_status status = SLAD_OK;
    (void)context;
    SLAD_TRY(slad_store_keep_averages(store));
    const slad_tensor *weight = slad_self_test_trained(record, "weight", 2, (const size_t[]){7, 23}, 0.2);
    SLAD_TRY(
        slad_store_frozen(store, &step_values, "step_values", SLAD_F32, 1, &step_value_count, fill_tenth, NULL, 0));
    SLAD_TRY(slad_store_state(store, &report, "report", SLAD_F32, 1, &reported));
    SLAD_TRY(slad_moving_average(record, step_values, report));
    SLAD_TRY(slad_moving_average_exchange(record));
    SLAD_TRY(slad_moving_average(record, step_values, report));
    slad_record_output(record, weight, "values");
    slad_record_output(record, slad_record_slab(record, weight->slab->average), "average");
    SLAD_TRY(slad_record_status(record));
cleanup:
    return status;
}

const slad_kernel_row slad_moving_average_kernels[] = {
    [UPDATE] = {"moving_average", "moving_average", "ttttu", SLAD_WORK_ITEMS, self_test, 1e-5},
    [EXCHANGE] = {"moving_average", "moving_average_exchange", "ttu", SLAD_WORK_ITEMS, self_test, 1e-5},
};
const size_t slad_moving_average_kernel_count =
    sizeof slad_moving_average_kernels / sizeof *slad_moving_average_kernels;
