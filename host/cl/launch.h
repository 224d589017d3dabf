/* A launch: a kernel with its arguments bound, ready to be enqueued any number of times. */
#ifndef SLAD_CL_LAUNCH_H
#define SLAD_CL_LAUNCH_H

#include "cl/program.h"

typedef struct slad_argument {
    char letter; /* as in slad_kernel_row.arguments */
    cl_mem buffer;
    uint32_t offset; /* elements */
    union {
        uint32_t u;
        int32_t i;
        float f;
    } value;
} slad_argument;

static inline slad_argument slad_argument_buffer(cl_mem buffer, uint32_t offset)
{
    return (slad_argument){.letter = 't', .buffer = buffer, .offset = offset};
}
static inline slad_argument slad_argument_uint(size_t value)
{
    return (slad_argument){.letter = 'u', .value = {.u = (uint32_t)value}};
}
static inline slad_argument slad_argument_float(double value)
{
    return (slad_argument){.letter = 'f', .value = {.f = (float)value}};
}

/* How many work-items. Kernels test their ids against sizes among their arguments, because the global size is rounded
 * up to whole work-groups. group 0: chosen by the row's rule. With SLAD_WORK_ROWS, items[0] must be ROW_LANES. */
typedef struct slad_work {
    size_t items[3]; /* 0 counts as 1 */
    size_t group[3]; /* 0: chosen */
    int split_axis;  /* the axis along which a long launch may be cut into several; -1: none */
} slad_work;

typedef struct slad_launch {
    const slad_kernel_row *row;
    cl_kernel kernel;
    size_t global[3], local[3];
    int split_axis;
} slad_launch;

/* Binds. Checks count and letters of the arguments against the row, and the work-group against what the built kernel
 * allows (halving dimension 0 until it fits). Errors: SLAD_ERROR_INTERNAL naming the kernel; those of slad_program_get.
 */
slad_status slad_launch_bind(slad_device *device, slad_launch *launch, const slad_kernel_row *row, const char *defines,
                             const slad_argument *arguments, size_t count, slad_work work);
/* Changes one bound value by its place in the row's letters. */
slad_status slad_launch_set(slad_device *device, slad_launch *launch, size_t index, slad_argument argument);
slad_status slad_launch_enqueue(slad_device *device, const slad_launch *launch);
void slad_launch_free(slad_launch *launch);

#endif
