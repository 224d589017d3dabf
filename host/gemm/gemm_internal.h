/* What the files of this room share: the dispatcher's state and what a provider supplies. */
#ifndef SLAD_GEMM_GEMM_INTERNAL_H
#define SLAD_GEMM_GEMM_INTERNAL_H

#include "gemm/gemm.h"

/* Places in slad_gemm_kernels. */
enum { SLAD_GEMM_KERNEL_TILE, SLAD_GEMM_KERNEL_BIAS, SLAD_GEMM_KERNEL_PACK, SLAD_GEMM_KERNEL_PACK_ADD };

typedef struct slad_gemm_rules {
    /* Chooses parameters for gemm->device and writes gemm->description. */
    slad_status (*set_up)(slad_gemm *gemm);
    size_t (*panel)(const slad_gemm *gemm, size_t columns);
    slad_status (*scratch_bytes)(slad_gemm *gemm, uint64_t *bytes, const slad_gemm_problem *problem);
    /* call holds the checked operands and the problem; binds call->launches. */
    slad_status (*bind)(slad_gemm *gemm, slad_gemm_call *call);
    /* Enqueues what comes after call->launches; NULL: nothing does. */
    slad_status (*enqueue)(const slad_gemm_call *call);
} slad_gemm_rules;

struct slad_gemm {
    slad_device *device;
    const slad_gemm_rules *rules;
    char description[160];
    /* The caller's. */
    cl_mem scratch;
    uint64_t scratch_bytes;
    /* Of the register-tile kernel; see cl_kernels/gemm.cl. */
    unsigned tile_rows, tile_vectors, tile_lanes;
    char defines[96];
};

extern const slad_gemm_rules slad_gemm_register_tile_rules, slad_gemm_clblast_rules;

/* Fails with SLAD_ERROR_INTERNAL unless `elements` floats from the operand's offset lie inside its buffer and within
 * the 31 bits that kernels and CLBlast count elements in. */
slad_status slad_gemm_check_operand(const slad_gemm *gemm, slad_gemm_operand operand, uint64_t elements,
                                    const char *what);

#endif
