/* Building a record under test, running it on both executors, and judging what they give. */
#include "operation_check.h"
#include "graph/executor.h"
#include "ops/step_values.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST_ITEMS      64
#define NAME_BYTES      64
#define LOSS_WEIGHTS    8
#define DIRECTIONS      2
#define DIFFERENCE_STEP 0.02

/* A tensor that the test fills: input, frozen, trained or state. */
typedef struct filled_tensor {
    char name[NAME_BYTES];
    operation_role role;
    const slad_tensor *tensor;
    size_t elements;
    float *values; /* or int32_t */
    bool wants_gradient;
} filled_tensor;

/* A result to be compared. */
typedef struct judged_tensor {
    char name[NAME_BYTES];
    const slad_tensor *tensor;
    slad_slab_kind
        slab; /* ACTIVATION: the tensor itself; GRADIENT, MOMENT_1, MOMENT_2: the trained tensor's place there */
    size_t elements;
    float *reference; /* of the reference executor */
    const float *expected;
    double expected_tolerance;
    /* Its part in the objective: <direction, tensor>, or a sum with repeating weights, or none. */
    const filled_tensor *direction;
    double weights[LOSS_WEIGHTS];
    size_t weight_count;
} judged_tensor;

struct operation_check {
    operation_bench *bench;
    const operation_case *test;
    slad_store *store;
    slad_record *record;
    filled_tensor filled[MOST_ITEMS];
    size_t filled_count;
    judged_tensor judged[MOST_ITEMS];
    size_t judged_count;
    slad_executor *running;
};

slad_record *operation_record(operation_check *check)
{
    return check->record;
}

operation_values operation_normal(double mean, double deviation)
{
    return (operation_values){.mean = mean, .deviation = deviation};
}

operation_values operation_given(const float *floats)
{
    return (operation_values){.floats = floats};
}

static float *new_floats(size_t count)
{
    float *floats = calloc(count ? count : 1, sizeof *floats);
    assert_non_null(floats);
    return floats;
}

/* ---- what a build function calls ---- */

static filled_tensor *add_filled(operation_check *check, operation_role role, const char *name, unsigned rank,
                                 const size_t *size)
{
    assert_true(check->filled_count < MOST_ITEMS);
    filled_tensor *item = &check->filled[check->filled_count++];
    snprintf(item->name, sizeof item->name, "%s", name);
    item->role = role;
    item->elements = 1;
    for (unsigned i = 0; i < rank; i++) item->elements *= size[i];
    item->values = new_floats(item->elements);
    return item;
}

static slad_status fill_from_item(slad_context *context, void *destination, size_t elements, const void *user,
                                  size_t index)
{
    (void)context;
    (void)index;
    memcpy(destination, user, elements * sizeof(float));
    return SLAD_OK;
}

static const slad_tensor *make_tensor(operation_check *check, const filled_tensor *item, unsigned rank,
                                      const size_t *size)
{
    const slad_tensor *tensor = NULL;
    slad_status status = SLAD_OK;
    switch (item->role) {
    case OPERATION_INPUT:
    case OPERATION_GRADIENT:
        tensor = slad_record_input(check->record, item->name, SLAD_F32, rank, size, 0);
        if (item->role == OPERATION_GRADIENT) slad_record_require_gradient(check->record, tensor);
        break;
    case OPERATION_FROZEN:
        status =
            slad_store_frozen(check->store, &tensor, item->name, SLAD_F32, rank, size, fill_from_item, item->values, 0);
        break;
    case OPERATION_TRAINED:
    case OPERATION_TRAINED_HEAD: {
        const bool head = item->role == OPERATION_TRAINED_HEAD;
        status =
            slad_store_trained(check->store, &tensor, item->name, rank, size,
                               head ? SLAD_GROUP_HEADS : SLAD_GROUP_ADAPTERS, !head, fill_from_item, item->values, 0);
        break;
    }
    case OPERATION_STATE:
        status = slad_store_state(check->store, &tensor, item->name, SLAD_F32, rank, size);
        break;
    }
    if (status != SLAD_OK) fail_msg("%s: %s", item->name, slad_context_message(check->bench->context));
    return tensor;
}

const slad_tensor *operation_tensor(operation_check *check, operation_role role, const char *name, unsigned rank,
                                    const size_t *size, operation_values values)
{
    filled_tensor *item = add_filled(check, role, name, rank, size);
    if (values.floats) {
        memcpy(item->values, values.floats, item->elements * sizeof *item->values);
    } else {
        operation_fill(item->values, item->elements, (uint32_t)check->filled_count, values.mean, values.deviation);
    }
    item->wants_gradient = role == OPERATION_GRADIENT || role == OPERATION_TRAINED || role == OPERATION_TRAINED_HEAD;
    item->tensor = make_tensor(check, item, rank, size);
    return item->tensor;
}

const slad_tensor *operation_integers(operation_check *check, const char *name, unsigned rank, const size_t *size,
                                      uint32_t bound, const int32_t *values)
{
    filled_tensor *item = add_filled(check, OPERATION_INPUT, name, rank, size);
    int32_t *integers = (int32_t *)(void *)item->values;
    for (size_t i = 0; i < item->elements; i++)
        integers[i] = values ? values[i] : (int32_t)((i * 2654435761u >> 8) % bound);
    item->tensor = slad_record_input(check->record, name, SLAD_I32, rank, size, bound);
    return item->tensor;
}

static judged_tensor *add_judged(operation_check *check, const slad_tensor *tensor, slad_slab_kind slab,
                                 const char *prefix, const char *name, const char *suffix)
{
    assert_true(check->judged_count < MOST_ITEMS);
    judged_tensor *item = NULL;
    char full[NAME_BYTES];
    snprintf(full, sizeof full, "%s%s%s", prefix, name, suffix);
    for (size_t i = 0; i < check->judged_count; i++) /* operation_expect may have come before */
        if (strcmp(check->judged[i].name, full) == 0) item = &check->judged[i];
    if (!item) item = &check->judged[check->judged_count++];
    snprintf(item->name, sizeof item->name, "%s", full);
    item->tensor = tensor;
    item->slab = slab;
    item->elements = tensor ? slad_tensor_elements(tensor) : 0;
    if (tensor && !item->reference) item->reference = new_floats(item->elements);
    return item;
}

static judged_tensor *judge_output(operation_check *check, const slad_tensor *tensor, const char *name)
{
    slad_record_output(check->record, tensor, name);
    return add_judged(check, tensor, SLAD_SLAB_ACTIVATION, "", name, "");
}

void operation_output_only(operation_check *check, const slad_tensor *tensor, const char *name)
{
    if (tensor) judge_output(check, tensor, name);
}

void operation_output_with_gradient(operation_check *check, const slad_tensor *tensor, const char *name,
                                    operation_values gradient)
{
    if (!tensor) return;
    char gradient_name[NAME_BYTES];
    snprintf(gradient_name, sizeof gradient_name, "d%s", name);
    judged_tensor *item = judge_output(check, tensor, name);
    if (!tensor->needs_gradient) return;
    const slad_tensor *dy =
        operation_tensor(check, OPERATION_INPUT, gradient_name, tensor->rank, tensor->size, gradient);
    slad_gradient_pass(check->record, tensor, dy);
    item->direction = &check->filled[check->filled_count - 1];
}

void operation_output(operation_check *check, const slad_tensor *tensor, const char *name)
{
    operation_output_with_gradient(check, tensor, name, operation_normal(0, 1));
}

void operation_loss(operation_check *check, const slad_tensor *tensor, const char *name, const double *weights,
                    size_t count)
{
    if (!tensor) return;
    assert_true(count <= LOSS_WEIGHTS);
    judged_tensor *item = judge_output(check, tensor, name);
    memcpy(item->weights, weights, count * sizeof *weights);
    item->weight_count = count;
}

void operation_expect(operation_check *check, const char *name, const float *expected, double tolerance)
{
    judged_tensor *item = NULL;
    for (size_t i = 0; i < check->judged_count; i++)
        if (strcmp(check->judged[i].name, name) == 0) item = &check->judged[i];
    if (!item) item = add_judged(check, NULL, SLAD_SLAB_ACTIVATION, "", name, "");
    item->expected = expected;
    item->expected_tolerance = tolerance;
}

/* ---- building ---- */

static void judge_filled(operation_check *check, const filled_tensor *item)
{
    const bool trained = item->role == OPERATION_TRAINED || item->role == OPERATION_TRAINED_HEAD;
    if (item->role == OPERATION_STATE) add_judged(check, item->tensor, SLAD_SLAB_ACTIVATION, "", item->name, "");
    if (item->role == OPERATION_GRADIENT) {
        const slad_tensor *gradient = slad_gradient_of(check->record, item->tensor);
        if (!gradient) fail_msg("%s: no gradient reaches %s", check->test->name, item->name);
        const judged_tensor *judged = add_judged(check, gradient, SLAD_SLAB_ACTIVATION, "d", item->name, "");
        slad_record_output(check->record, gradient, judged->name);
    }
    if (trained && check->test->steps == 0) add_judged(check, item->tensor, SLAD_SLAB_GRADIENT, "d", item->name, "");
    if (trained && check->test->steps > 0) {
        add_judged(check, item->tensor, SLAD_SLAB_ACTIVATION, "", item->name, "");
        add_judged(check, item->tensor, SLAD_SLAB_MOMENT_1, "", item->name, ".moment_1");
        add_judged(check, item->tensor, SLAD_SLAB_MOMENT_2, "", item->name, ".moment_2");
    }
}

/* Records the case and differentiates it; the record may have failed. */
static operation_check *check_create(operation_bench *bench, const operation_case *test)
{
    operation_check *check = calloc(1, sizeof *check);
    assert_non_null(check);
    check->bench = bench;
    check->test = test;
    const size_t limit = (size_t)(bench->device->info.max_allocation / sizeof(float));
    assert_int_equal(slad_store_create(bench->context, &check->store, limit), SLAD_OK);
    assert_int_equal(slad_record_create(bench->context, &check->record, check->store, test->name), SLAD_OK);
    test->build(check, test->parameters);
    bool wants_gradient = false;
    for (size_t i = 0; i < check->filled_count; i++) wants_gradient |= check->filled[i].wants_gradient;
    if (wants_gradient) (void)slad_record_differentiate(check->record);
    return check;
}

static void check_free(operation_check *check)
{
    for (size_t i = 0; i < check->filled_count; i++) free(check->filled[i].values);
    for (size_t i = 0; i < check->judged_count; i++) free(check->judged[i].reference);
    slad_record_free(check->record);
    slad_store_free(check->store);
    free(check);
}

/* ---- running ---- */

static void require(const operation_check *check, slad_status status, const char *what)
{
    if (status != SLAD_OK) fail_msg("%s: %s: %s", check->test->name, what, slad_context_message(check->bench->context));
}

static void write_filled(const operation_check *check, slad_executor *executor, const filled_tensor *item)
{
    if (item->role == OPERATION_FROZEN) return;
    require(check, slad_executor_write(executor, check->record, item->tensor, item->values), item->name);
}

void operation_set(operation_check *check, const char *name, const void *values)
{
    for (size_t i = 0; i < check->filled_count; i++) {
        if (strcmp(check->filled[i].name, name) != 0) continue;
        require(check, slad_executor_write(check->running, check->record, check->filled[i].tensor, values), name);
        return;
    }
    fail_msg("%s has no tensor %s", check->test->name, name);
}

static void run_phase(operation_check *check, slad_phase phase, unsigned step, unsigned micro_batch)
{
    const operation_case *test = check->test;
    if (phase == SLAD_PHASE_MICRO_BATCH && test->before_run)
        test->before_run(check, test->parameters, step, micro_batch);
    require(check, slad_executor_run(check->running, check->record, phase), "run");
}

/* The whole case, from fresh inputs, values and state. */
static void run_case(operation_check *check, slad_executor *executor)
{
    const unsigned steps = check->test->steps ? check->test->steps : 1;
    const unsigned micro_batches = check->test->micro_batches ? check->test->micro_batches : 1;
    check->running = executor;
    for (size_t i = 0; i < check->filled_count; i++) write_filled(check, executor, &check->filled[i]);
    for (unsigned step = 0; step < steps; step++) {
        for (unsigned m = 0; m < micro_batches; m++) run_phase(check, SLAD_PHASE_MICRO_BATCH, step, m);
        if (check->test->steps) run_phase(check, SLAD_PHASE_STEP, step, 0);
    }
}

static void read_judged(const operation_check *check, slad_executor *executor, const judged_tensor *item,
                        float *destination)
{
    if (!item->tensor) fail_msg("%s expects %s, which it does not have", check->test->name, item->name);
    const slad_status status = item->slab == SLAD_SLAB_ACTIVATION
                                   ? slad_executor_read(executor, check->record, item->tensor, destination)
                                   : slad_executor_read_slab(executor, item->tensor, item->slab, destination);
    require(check, status, item->name);
}

static void compare(const operation_check *check, const judged_tensor *item, const char *executor, const float *values,
                    const float *expected, double tolerance)
{
    const double error = operation_error(values, expected, item->elements);
    if (!(error <= tolerance))
        fail_msg("%s: %s on %s: error %.3g, allowed %.3g", check->test->name, item->name, executor, error, tolerance);
}

static void judge_reference(operation_check *check, slad_executor *executor)
{
    run_case(check, executor);
    for (size_t i = 0; i < check->judged_count; i++) {
        judged_tensor *item = &check->judged[i];
        read_judged(check, executor, item, item->reference);
        if (item->expected)
            compare(check, item, "the reference executor", item->reference, item->expected, item->expected_tolerance);
    }
}

static void judge_opencl(operation_check *check, slad_device *device)
{
    char words[320];
    slad_executor *executor = NULL;
    const slad_executor_options options = {.skip_self_test = true};
    const double tolerance = check->test->tolerance > 0 ? check->test->tolerance : 1e-5;
    snprintf(words, sizeof words, "%s (row lanes %u, vector width %u)", device->info.name, device->features.row_lanes,
             device->features.vector_width);
    require(check, slad_executor_create_opencl(check->bench->context, &executor, check->store, device, &options),
            words);
    require(check, slad_executor_add(executor, check->record), words);
    require(check, slad_executor_allocate(executor), words);
    run_case(check, executor);
    for (size_t i = 0; i < check->judged_count; i++) {
        const judged_tensor *item = &check->judged[i];
        float *values = new_floats(item->elements);
        read_judged(check, executor, item, values);
        compare(check, item, words, values, item->reference, tolerance);
        if (item->expected) compare(check, item, words, values, item->expected, item->expected_tolerance);
        free(values);
    }
    slad_executor_free(executor);
}

/* ---- differences ---- */

static double objective(operation_check *check, slad_executor *executor)
{
    double sum = 0;
    run_case(check, executor);
    for (size_t k = 0; k < check->judged_count; k++) {
        const judged_tensor *item = &check->judged[k];
        if (!item->direction && !item->weight_count) continue;
        float *values = new_floats(item->elements);
        read_judged(check, executor, item, values);
        for (size_t i = 0; i < item->elements; i++)
            sum += values[i] * (item->direction ? item->direction->values[i] : item->weights[i % item->weight_count]);
        free(values);
    }
    return sum;
}

/* The objective with item moved by `step` along `direction`. */
static double objective_moved(operation_check *check, slad_executor *executor, filled_tensor *item,
                              const float *direction, double step)
{
    float *own = item->values;
    item->values = new_floats(item->elements);
    for (size_t i = 0; i < item->elements; i++) item->values[i] = (float)(own[i] + step * direction[i]);
    const double value = objective(check, executor);
    free(item->values);
    item->values = own;
    return value;
}

static double root_mean_square(const float *values, size_t count)
{
    double squares = 0;
    for (size_t i = 0; i < count; i++) squares += (double)values[i] * values[i];
    return sqrt(squares / (double)count);
}

/* Central differences of fourth order against <gradient, direction>, relative to the gradient's norm, which is the
 * standard deviation of that product over random directions. */
static void judge_gradient(operation_check *check, slad_executor *executor, filled_tensor *item, const float *gradient,
                           double tolerance)
{
    const double size = root_mean_square(item->values, item->elements);
    const double step = DIFFERENCE_STEP * (size > 0 ? size : 1);
    const double norm = root_mean_square(gradient, item->elements) * sqrt((double)item->elements);
    float *direction = new_floats(item->elements);
    for (uint32_t k = 0; k < DIRECTIONS; k++) {
        double product = 0;
        operation_fill(direction, item->elements, 1000 + k, 0, 1);
        for (size_t i = 0; i < item->elements; i++) product += (double)gradient[i] * direction[i];
        const double near = objective_moved(check, executor, item, direction, step) -
                            objective_moved(check, executor, item, direction, -step);
        const double far = objective_moved(check, executor, item, direction, 2 * step) -
                           objective_moved(check, executor, item, direction, -2 * step);
        const double difference = (8 * near - far) / (12 * step);
        const double error = fabs(difference - product) / (norm > 0 ? norm : 1);
        if (!(error <= tolerance))
            fail_msg("%s: gradient of %s: differences give %g, the rule %g; error %.3g, allowed %.3g",
                     check->test->name, item->name, difference, product, error, tolerance);
    }
    free(direction);
}

static void judge_gradients(operation_check *check, slad_executor *executor)
{
    const operation_case *test = check->test;
    if (test->steps || test->difference_tolerance < 0) return;
    const double tolerance = test->difference_tolerance > 0 ? test->difference_tolerance : 1e-3;
    for (size_t i = 0; i < check->filled_count; i++) {
        filled_tensor *item = &check->filled[i];
        char name[NAME_BYTES + 1];
        snprintf(name, sizeof name, "d%s", item->name);
        for (size_t k = 0; item->wants_gradient && k < check->judged_count; k++)
            if (strcmp(check->judged[k].name, name) == 0)
                judge_gradient(check, executor, item, check->judged[k].reference, tolerance);
    }
}

/* ---- cases ---- */

void operation_run(operation_bench *bench, const operation_case *test)
{
    const char *wanted = getenv("TEST_CASE");
    if (wanted && !strstr(test->name, wanted)) return;
    operation_check *check = check_create(bench, test);
    slad_executor *reference = NULL;
    require(check, slad_record_status(check->record), "record");
    for (size_t i = 0; i < check->filled_count; i++) judge_filled(check, &check->filled[i]);
    require(check, slad_record_status(check->record), "record");
    require(check, slad_executor_create_reference(bench->context, &reference, check->store), "reference executor");
    require(check, slad_executor_add(reference, check->record), "reference executor");
    require(check, slad_executor_allocate(reference), "reference executor");
    judge_reference(check, reference);
    for (size_t i = 0; i < bench->variant_count; i++) judge_opencl(check, bench->variants[i]);
    judge_gradients(check, reference);
    slad_executor_free(reference);
    check_free(check);
}

void operation_expect_failure(operation_bench *bench, const operation_case *test, slad_status status, const char *part)
{
    operation_check *check = check_create(bench, test);
    assert_int_equal(slad_record_status(check->record), status);
    if (!strstr(slad_context_message(bench->context), part))
        fail_msg("%s: the message \"%s\" does not contain \"%s\"", test->name, slad_context_message(bench->context),
                 part);
    check_free(check);
}

size_t operation_count_nodes(operation_bench *bench, const operation_case *test, const char *operation)
{
    operation_check *check = check_create(bench, test);
    require(check, slad_record_status(check->record), "record");
    size_t count = 0;
    for (size_t i = 0; i < slad_record_node_count(check->record); i++)
        count += strcmp(slad_record_node_at(check->record, i)->operation->name, operation) == 0;
    check_free(check);
    return count;
}
