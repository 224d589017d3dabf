/* What an operation's launch rule speaks to. A rule is called twice: to plan, when the launcher only notes kernels,
 * GEMM shapes, packed weights and tensors in use, and to bind, when it makes launches. The rule need not know which. */
#ifndef SLAD_GRAPH_LAUNCHER_H
#define SLAD_GRAPH_LAUNCHER_H

#include "gemm/gemm.h"
#include "graph/record.h"

typedef struct slad_launcher slad_launcher;

/* One argument of a kernel. Tensors give their slab's buffer and their element offset. */
typedef struct slad_operand {
    char letter; /* as in slad_kernel_row.arguments */
    const slad_tensor *tensor;
    slad_argument value;
} slad_operand;

#define SLAD_TENSOR(t) ((slad_operand){.letter = 't', .tensor = (t)})
#define SLAD_UINT(n)   ((slad_operand){.letter = 'u', .value = slad_argument_uint(n)})
#define SLAD_FLOAT(x)  ((slad_operand){.letter = 'f', .value = slad_argument_float(x)})

/* The features of the device, from which a rule computes its work sizes. */
const slad_features *slad_launcher_features(const slad_launcher *launcher);

/* One kernel. `defines` specialises the program, for example "-DHEAD_DIM=64"; "" for none. */
slad_status slad_launch_kernel(slad_launcher *launcher, const slad_kernel_row *row, const char *defines,
                               const slad_operand *arguments, size_t count, slad_work work);

#define SLAD_MAX_ADAPTERS SLAD_GEMM_ADAPTERS

/* A LoRA pair: W + scale * B A. A [rank, in] (last stride 1); B [blocks, rows of a block, rank] (last stride 1) adapts
 * the rows first_row .. first_row + blocks * rows - 1 of W [out, in]: all of them, or those of q, k or v. */
typedef struct slad_adapter {
    const slad_tensor *lora_a, *lora_b;
    double scale;
    size_t first_row;
    uint32_t stream; /* of its dropout mask; adapters with one stream share their mask */
} slad_adapter;

/* LoRA dropout: adapters see drop(x) instead of x, and stay beside W instead of being merged. The mask is a function of
 * key, sample, stream and element (reference/linear.h) and is never stored. */
typedef struct slad_dropout {
    double rate;                /* 0: off; below 1 */
    const slad_tensor *key;     /* SLAD_I32 [4], state or input: the bits of seed low, seed high, step low, step high */
    const slad_tensor *samples; /* SLAD_I32 input [b]: index of each image in the whole batch */
} slad_dropout;

/* A weight [out, in] with its adapters, whose rows may overlap. Packed and merged by the executor, once if all is
 * frozen, else after each update; two requests for the same weight, adapters and orientation share one packed copy,
 * also between records. */
typedef struct slad_weight {
    const slad_tensor *weight;
    slad_adapter adapters[SLAD_MAX_ADAPTERS];
    unsigned adapter_count;
    slad_dropout dropout; /* looked at by slad_linear alone, which packs the weight without adapters then */
} slad_weight;

/* c = a W^T (+ bias), c [.., out], a [.., in]; or, transposed, c = a W, c [.., in], a [.., out]. bias may be NULL. */
slad_status slad_launch_gemm(slad_launcher *launcher, const slad_tensor *c, const slad_tensor *a,
                             const slad_weight *weight, const slad_tensor *bias, bool transposed, bool accumulate);

#endif
