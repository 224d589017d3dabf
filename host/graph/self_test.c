#include "graph/self_test.h"
#include "base/memory.h"
#include "base/random.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Values of a random tensor: the name seeds the sequence, so that both executors and every run see the same. */
static uint64_t seed_of(const char *name)
{
    uint64_t seed = 1;
    for (; *name; name++) seed = seed * 1000003u + (unsigned char)*name;
    return seed;
}

static void fill_normal(float *values, size_t elements, uint64_t seed, double deviation)
{
    slad_random random = slad_random_start(seed, SLAD_RANDOM_VERIFY, 0, 0);
    for (size_t i = 0; i < elements; i++) values[i] = (float)(deviation * (double)slad_random_normal(&random));
}

/* index carries the deviation in millionths, user the seed's text. */
static slad_status fill_random(slad_context *context, void *destination, size_t elements, const void *user,
                               size_t index)
{
    (void)context;
    fill_normal(destination, elements, seed_of(user), (double)index * 1e-6);
    return SLAD_OK;
}

const slad_tensor *slad_self_test_frozen(slad_record *record, const char *name, unsigned rank, const size_t *size,
                                         double deviation)
{
    const slad_tensor *tensor = NULL;
    if (slad_record_status(record) != SLAD_OK) return NULL;
    const slad_status status = slad_store_frozen(slad_record_store(record), &tensor, name, SLAD_F32, rank, size,
                                                 fill_random, name, (size_t)(deviation * 1e6));
    if (status != SLAD_OK)
        return slad_record_fail(record, status, "tensor %s could not be made: %s", name, slad_status_name(status));
    return tensor;
}

const slad_tensor *slad_self_test_trained(slad_record *record, const char *name, unsigned rank, const size_t *size,
                                          double deviation)
{
    const slad_tensor *tensor = NULL;
    if (slad_record_status(record) != SLAD_OK) return NULL;
    const slad_status status = slad_store_trained(slad_record_store(record), &tensor, name, rank, size, 0, true,
                                                  fill_random, name, (size_t)(deviation * 1e6));
    if (status != SLAD_OK)
        return slad_record_fail(record, status, "tensor %s could not be made: %s", name, slad_status_name(status));
    return tensor;
}

slad_status slad_self_test_differentiate(slad_record *record, const slad_tensor *y, const char *name)
{
    char gradient_name[64];
    if (slad_record_status(record) != SLAD_OK || !y) return slad_record_status(record);
    snprintf(gradient_name, sizeof gradient_name, "d%s", name);
    slad_record_output(record, y, name);
    const slad_tensor *dy = slad_record_input(record, gradient_name, SLAD_F32, y->rank, y->size, 0);
    if (y->needs_gradient) slad_gradient_pass(record, y, dy);
    slad_status status = slad_record_differentiate(record);
    const size_t named = slad_record_named_count(record);
    for (size_t i = 0; status == SLAD_OK && i < named; i++) {
        const char *input_name;
        bool is_output;
        uint32_t bound;
        const slad_tensor *input = slad_record_named_at(record, i, &input_name, &is_output, &bound);
        if (is_output || !input->needs_gradient) continue;
        snprintf(gradient_name, sizeof gradient_name, "d%s", input_name);
        slad_record_output(record, slad_gradient_of(record, input), gradient_name);
        status = slad_record_status(record);
    }
    return status;
}

/* Both executors over one record. */
typedef struct slad_pair {
    slad_context *context;
    slad_record *record;
    slad_executor *opencl, *reference;
} slad_pair;

static slad_status write_both(slad_pair *pair, const slad_tensor *tensor, const void *values)
{
    const slad_status status = slad_executor_write(pair->opencl, pair->record, tensor, values);
    return status == SLAD_OK ? slad_executor_write(pair->reference, pair->record, tensor, values) : status;
}

static slad_status write_inputs(slad_pair *pair)
{
    slad_context *context = pair->context;
    slad_status status = SLAD_OK;
    void *values = NULL;
    for (size_t i = 0; i < slad_record_named_count(pair->record); i++) {
        const char *name;
        bool is_output;
        uint32_t bound;
        const slad_tensor *tensor = slad_record_named_at(pair->record, i, &name, &is_output, &bound);
        if (is_output) continue;
        const size_t elements = slad_tensor_elements(tensor);
        SLAD_TRY(slad_allocate(context, &values, elements, sizeof(float), name));
        if (tensor->element == SLAD_F32) {
            fill_normal(values, elements, seed_of(name), 1.0);
        } else {
            slad_random random = slad_random_start(seed_of(name), SLAD_RANDOM_VERIFY, 0, 0);
            for (size_t k = 0; k < elements; k++) ((int32_t *)values)[k] = (int32_t)slad_random_below(&random, bound);
        }
        SLAD_TRY(write_both(pair, tensor, values));
        slad_release(values);
        values = NULL;
    }
cleanup:
    slad_release(values);
    return status;
}

static void note_difference(slad_self_test_result *result, const float *measured, const float *expected,
                            size_t elements, const char *name)
{
    double largest = 0, squares = 0;
    bool finite = true;
    for (size_t i = 0; i < elements; i++) {
        const double difference = fabs((double)measured[i] - (double)expected[i]);
        finite = finite && isfinite((double)measured[i]) && isfinite((double)expected[i]);
        if (difference > largest) largest = difference;
        squares += (double)expected[i] * (double)expected[i];
    }
    const double signal = sqrt(squares / (double)elements);
    const double error = finite ? largest / (signal > 0 ? signal : 1) : INFINITY;
    if (error >= result->error) {
        result->error = error;
        snprintf(result->worst, sizeof result->worst, "%s", name);
    }
}

/* Compares one tensor of the record, or, with record NULL, of the store. */
static slad_status compare(slad_pair *pair, slad_self_test_result *result, const slad_record *record,
                           const slad_tensor *tensor, const char *name)
{
    slad_context *context = pair->context;
    slad_status status = SLAD_OK;
    const size_t elements = slad_tensor_elements(tensor);
    float *measured = NULL, *expected = NULL;
    SLAD_TRY(slad_allocate(context, &measured, elements, sizeof *measured, name));
    SLAD_TRY(slad_allocate(context, &expected, elements, sizeof *expected, name));
    SLAD_TRY(slad_executor_read(pair->opencl, record, tensor, measured));
    SLAD_TRY(slad_executor_read(pair->reference, record, tensor, expected));
    note_difference(result, measured, expected, elements, name);
cleanup:
    slad_release(measured);
    slad_release(expected);
    return status;
}

static slad_status compare_all(slad_pair *pair, slad_self_test_result *result)
{
    slad_status status = SLAD_OK;
    slad_store *store = slad_record_store(pair->record);
    for (size_t i = 0; i < slad_record_named_count(pair->record); i++) {
        const char *name;
        bool is_output;
        uint32_t bound;
        const slad_tensor *tensor = slad_record_named_at(pair->record, i, &name, &is_output, &bound);
        if (is_output) SLAD_TRY(compare(pair, result, pair->record, tensor, name));
    }
    for (size_t i = 0; i < slad_store_trained_count(store); i++) {
        const slad_tensor *tensor = slad_store_trained_at(store, i)->tensor;
        slad_tensor gradient = *tensor;
        gradient.slab = tensor->slab->gradient;
        SLAD_TRY(compare(pair, result, NULL, tensor, tensor->name));
        if (slad_record_writes_slab(pair->record, gradient.slab))
            SLAD_TRY(compare(pair, result, NULL, &gradient, tensor->name));
    }
cleanup:
    return status;
}

static slad_status run_pair(slad_pair *pair, slad_self_test_result *result)
{
    slad_status status = SLAD_OK;
    slad_executor *executors[2] = {pair->opencl, pair->reference};
    for (int i = 0; i < 2; i++) {
        SLAD_TRY(slad_executor_add(executors[i], pair->record));
        SLAD_TRY(slad_executor_allocate(executors[i]));
    }
    SLAD_TRY(write_inputs(pair));
    for (int i = 0; i < 2; i++) {
        SLAD_TRY(slad_executor_run(executors[i], pair->record, SLAD_PHASE_MICRO_BATCH));
        SLAD_TRY(slad_executor_run(executors[i], pair->record, SLAD_PHASE_STEP));
    }
    SLAD_TRY(compare_all(pair, result));
cleanup:
    return status;
}

slad_status slad_self_test_run(slad_device *device, const slad_kernel_row *row, const char *defines,
                               slad_self_test_result *result)
{
    slad_context *context = device->context;
    slad_status status = SLAD_OK;
    slad_store *store = NULL;
    slad_pair pair = {context, NULL, NULL, NULL};
    const slad_executor_options options = {.skip_self_test = true};
    *result = (slad_self_test_result){0};
    SLAD_TRY(slad_store_create(context, &store, (size_t)(device->info.max_allocation / sizeof(float))));
    SLAD_TRY(slad_record_create(context, &pair.record, store, row->entry));
    slad_record_set_specialisation(pair.record, defines);
    SLAD_TRY(row->self_test(context, pair.record));
    SLAD_TRY(slad_record_status(pair.record));
    SLAD_TRY(slad_executor_create_opencl(context, &pair.opencl, store, device, &options));
    SLAD_TRY(slad_executor_create_reference(context, &pair.reference, store));
    SLAD_TRY(run_pair(&pair, result));
    SLAD_FAIL_IF(!(result->error <= row->tolerance), SLAD_ERROR_SELF_TEST,
                 "Kernel %s of %s.cl gives wrong results on device %s (driver %s): error %.3g in %s, allowed %.3g. "
                 "Update the driver, or choose another device with --device",
                 row->entry, row->file, device->info.name, device->info.driver, result->error, result->worst,
                 row->tolerance);
cleanup:
    slad_executor_free(pair.opencl);
    slad_executor_free(pair.reference);
    slad_record_free(pair.record);
    slad_store_free(store);
    return status;
}

slad_status slad_self_test_ensure(slad_device *device, const slad_kernel_row *row, const char *defines)
{
    char what[128];
    slad_self_test_result result;
    if (!row->self_test) return SLAD_OK;
    snprintf(what, sizeof what, "self-test %s", row->entry);
    if (slad_pass_recall(device, row->file, defines, what)) return SLAD_OK;
    const slad_status status = slad_self_test_run(device, row, defines, &result);
    if (status != SLAD_OK) return status;
    slad_log(device->context, SLAD_LOG_DEBUG, "Self-test of %s passed, error %.2g", row->entry, result.error);
    slad_pass_remember(device, row->file, defines, what);
    return SLAD_OK;
}
