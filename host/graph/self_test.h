/* The self-test: a tiny record of each kernel in use, run by the OpenCL and by the reference executor. */
#ifndef SLAD_GRAPH_SELF_TEST_H
#define SLAD_GRAPH_SELF_TEST_H

#include "graph/executor.h"

typedef struct slad_self_test_result {
    double error;   /* largest difference over the outputs, relative to each output's root mean square */
    char worst[64]; /* the output where it was */
} slad_self_test_result;

/* Runs a row's self-test on a device, for the specialisation `defines` of its program ("" for the row's own choice):
 * fills every input with random values (normal; integers below their bound), seeds nothing else, and compares all named
 * outputs and the gradients of all trained tensors. Errors: SLAD_ERROR_SELF_TEST with device, driver, kernel and
 * measured error. */
slad_status slad_self_test_run(slad_device *device, const slad_kernel_row *row, const char *defines,
                               slad_self_test_result *result);
/* The same unless the program cache remembers that it passed; remembers a pass. */
slad_status slad_self_test_ensure(slad_device *device, const slad_kernel_row *row, const char *defines);

/* Helpers for self_test rules and tests: tensors with reproducible random values of the given deviation. */
const slad_tensor *slad_self_test_frozen(slad_record *record, const char *name, unsigned rank, const size_t *size,
                                         double deviation);
const slad_tensor *slad_self_test_trained(slad_record *record, const char *name, unsigned rank, const size_t *size,
                                          double deviation);
/* Names y as an output, gives it a random gradient (an input called "d" + name), and differentiates the record; then
 * the gradient of each input that requires one is named "d" + its name. */
slad_status slad_self_test_differentiate(slad_record *record, const slad_tensor *y, const char *name);

#endif
