/* The judge of an operation. A test describes a small record once. The check runs it on the reference executor and on
 * the OpenCL device in several variants of its features (row lanes, vector width), and compares every output, gradient
 * and state tensor; compares both with expected values where the test gives some (fixtures made with PyTorch); checks
 * the gradients by central differences of the reference executor along random directions; and fails on any NaN or
 * infinity. Errors are relative to the root mean square of the tensor that they are in.
 *
 *     static void build(operation_check *check, const void *parameters)
 *     {
 *         const size_t size[] = {3, 33};
 *         const slad_tensor *x = operation_tensor(check, OPERATION_GRADIENT, "x", 2, size, operation_normal(0.5, 1.0));
 *         operation_output(check, slad_gelu(operation_record(check), x), "y");
 *     }
 *     static void test_it(void **state)
 *     {
 *         operation_run(*state, &(operation_case){.name = "gelu 3 x 33", .build = build});
 *     }
 *     ... cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
 */
#ifndef OPERATION_CHECK_H
#define OPERATION_CHECK_H

#include "cl/launch.h"
#include "graph/record.h"

/* The device opened several times, with other features each time: all tests of a program share it. Group setup and
 * teardown; *state is the bench. Of the environment: TEST_DEVICE is a device spec; TEST_VARIANTS=1 keeps to the
 * device's own features; TEST_CASE=TEXT runs only cases whose name contains TEXT. */
#define OPERATION_VARIANTS 4
typedef struct operation_bench {
    slad_context *context;
    slad_device *device; /* the one that operation_launch uses: variants[0] unless a test chooses another */
    slad_device *variants[OPERATION_VARIANTS]; /* [0] has the device's own features */
    size_t variant_count;
} operation_bench;
int operation_bench_open(void **state);
int operation_bench_close(void **state);

/* A record under test, while it is built. */
typedef struct operation_check operation_check;
slad_record *operation_record(operation_check *check);

typedef enum operation_role {
    OPERATION_INPUT,        /* a record's input */
    OPERATION_GRADIENT,     /* the same, and its gradient is checked */
    OPERATION_FROZEN,       /* a frozen tensor of the store */
    OPERATION_TRAINED,      /* a trained one (adapters' group, with decay), and its gradient is checked */
    OPERATION_TRAINED_HEAD, /* the same in the heads' group, without decay */
    OPERATION_STATE         /* a state tensor; its final value is compared */
} operation_role;

/* Where values come from: normal random numbers, or given ones, which are copied. */
typedef struct operation_values {
    double mean, deviation;
    const float *floats; /* NULL: random */
} operation_values;
operation_values operation_normal(double mean, double deviation);
operation_values operation_given(const float *floats);

const slad_tensor *operation_tensor(operation_check *check, operation_role role, const char *name, unsigned rank,
                                    const size_t *size, operation_values values);
/* An SLAD_I32 input; values NULL: random ones in 0 .. bound-1. */
const slad_tensor *operation_integers(operation_check *check, const char *name, unsigned rank, const size_t *size,
                                      uint32_t bound, const int32_t *values);

/* Compares a result of the record, and makes it part of the objective whose gradients are checked: the sum over all
 * outputs of <dy, y> with a random dy (an input called "d" + name), or with the given one. The record is differentiated
 * when build returns, if there is a gradient to check. NULL is passed over (the record has failed). */
void operation_output(operation_check *check, const slad_tensor *tensor, const char *name);
void operation_output_with_gradient(operation_check *check, const slad_tensor *tensor, const char *name,
                                    operation_values gradient);
/* The same for a result through which no gradient is to flow. */
void operation_output_only(operation_check *check, const slad_tensor *tensor, const char *name);
/* For losses, whose rule starts gradients itself: the objective gains sum_i weights[i % count] * tensor[i]. At most 8.
 */
void operation_loss(operation_check *check, const slad_tensor *tensor, const char *name, const double *weights,
                    size_t count);
/* Expected values: of an output by its name, of a gradient by "d" + name of its input or trained tensor, of a trained
 * or state tensor after the last step by its name; its moments by name + ".moment_1" and
 * ".moment_2". `expected` must live as long as the case runs. */
void operation_expect(operation_check *check, const char *name, const float *expected, double tolerance);

typedef struct operation_case {
    const char *name; /* for messages */
    void (*build)(operation_check *check, const void *parameters);
    const void *parameters;
    double tolerance;            /* OpenCL against reference; 0: 1e-5 */
    double difference_tolerance; /* gradients against differences, relative to the norm; 0: 1e-3; negative: left out */
    /* 0: one run of the micro-batch phase. Else so many steps, each of `micro_batches` runs (0 counts as 1) and one run
     * of the step phase; then trained values and moments are compared instead of gradients (which a step clears).
     * Inputs keep their values unless before_run writes others through operation_set. */
    unsigned steps, micro_batches;
    void (*before_run)(operation_check *check, const void *parameters, unsigned step, unsigned micro_batch);
} operation_case;

/* Runs a case; any difference fails the test, naming case, tensor, device, features and error. */
void operation_run(operation_bench *bench, const operation_case *test);
/* In before_run: writes all of an input or state tensor, on the executor that is about to run. */
void operation_set(operation_check *check, const char *name, const void *values);

/* Builds only, and asserts that the record fails so, with a message that contains `part`. */
void operation_expect_failure(operation_bench *bench, const operation_case *test, slad_status status, const char *part);
/* Builds, and differentiates if a gradient is asked for, and returns the number of nodes with operations of this name.
 */
size_t operation_count_nodes(operation_bench *bench, const operation_case *test, const char *operation);

/* A kernel by itself, over buffers that have sentinels before and behind what the kernel may touch. Letter 't': `data`
 * holds `elements` floats (or int32) that are uploaded, and read back if `written`; sentinels, and tensors that are not
 * written, must come back unchanged. Other letters: value, as slad_argument_uint and _float make it. */
typedef struct operation_argument {
    char letter;
    void *data;
    size_t elements;
    bool written;
    slad_argument value;
} operation_argument;
#define OPERATION_READ(values, count) ((operation_argument){.letter = 't', .data = (values), .elements = (count)})
#define OPERATION_WRITE(values, count)                                                                                 \
    ((operation_argument){.letter = 't', .data = (values), .elements = (count), .written = true})
#define OPERATION_UINT(n)  ((operation_argument){.letter = 'u', .value = slad_argument_uint(n)})
#define OPERATION_FLOAT(x) ((operation_argument){.letter = 'f', .value = slad_argument_float(x)})
void operation_launch(operation_bench *bench, const slad_kernel_row *row, const char *defines,
                      operation_argument *arguments, size_t count, slad_work work);

/* For tests that compare by themselves: the largest difference relative to the root mean square of `expected`; fails on
 * NaN and infinity. And normal random numbers that depend on nothing but `stream`. */
double operation_error(const float *values, const float *expected, size_t count);
void operation_fill(float *values, size_t count, uint32_t stream, double mean, double deviation);

#endif
