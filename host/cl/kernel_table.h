/* The kernel table: one row a kernel. Loading, launching, self-test, warm-up and the tests walk rows; a kernel that has
 * no row cannot be launched. Rows stand beside the operation that launches them; ops/kernel_table.h lists them all. */
#ifndef SLAD_CL_KERNEL_TABLE_H
#define SLAD_CL_KERNEL_TABLE_H

#include "base/error.h"

/* A step as graph/record.h defines it; this room only hands it through. */
struct slad_record;

typedef enum slad_work_rule {
    SLAD_WORK_ITEMS,  /* independent work-items: any work-group size will do, the device's preferred one is taken */
    SLAD_WORK_SINGLE, /* each work-item does a large block: work-groups of one item on CPUs, else as ITEMS */
    SLAD_WORK_ROWS    /* ROW_LANES items of dimension 0 share a row and may use local memory: group (ROW_LANES, 1, 1) */
} slad_work_rule;

typedef struct slad_kernel_row {
    const char *file;  /* "attention": cl_kernels/attention.cl */
    const char *entry; /* the kernel function */
    /* One letter an argument, checked at each launch: t a tensor (two kernel arguments: __global pointer, uint offset
     * in elements), u uint, i int, f float. */
    const char *arguments;
    slad_work_rule rule;
    /* Records a tiny instance of the operation that launches this kernel, forward and backward, for the self-test: the
     * OpenCL and the reference executor run it and must agree within `tolerance`, relative to the root mean square of
     * each output. NULL: the room checks the kernel in its own way (the GEMM: slad_gemm_verify, on each real shape). */
    slad_status (*self_test)(slad_context *context, struct slad_record *record);
    double tolerance;
} slad_kernel_row;

#endif
