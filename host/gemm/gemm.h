/* The one GEMM interface: C[rows, columns] = A[rows, depth] * B[depth, columns] (+ bias[columns]) (+ C).
 * A and C are row-major activations; B is a weight that was packed once (frozen) or once an update (adapted) into the
 * layout its provider wants. Two providers: the register-tile kernel (gemm_register_tile.c, cl_kernels/gemm.cl) and
 * CLBlast (gemm_clblast.c). No device memory is allocated by an enqueue.
 *
 * The result depends on the provider and its parameters (slad_gemm_description), not on the number of compute units or
 * on anything measured: two runs on one device give the same bytes. C may not overlap A, B or the bias. */
#ifndef SLAD_GEMM_GEMM_H
#define SLAD_GEMM_GEMM_H

#include "cl/launch.h"

/* Where B[k, n] lies in the packed buffer: (n / panel) * depth * panel + k * panel + n % panel. The last panel is
 * filled up with zeros. CLBlast's row-major B is the case panel = columns. */
typedef struct slad_gemm_layout {
    size_t depth, columns;
    size_t panel;
    size_t elements; /* of the packed buffer */
} slad_gemm_layout;

typedef struct slad_gemm_problem {
    size_t rows, columns, depth;
    size_t a_stride, c_stride; /* elements from row to row, at least depth and columns */
    bool bias;                 /* add bias[columns] to each row */
    bool accumulate;           /* add to what C holds */
} slad_gemm_problem;

typedef struct slad_gemm slad_gemm; /* the dispatcher of one device */

/* AUTO: CLBlast where the device's feature use_clblast says so and work-groups may be large enough, else the
 * register-tile kernel, which runs with any. */
enum { SLAD_GEMM_CLBLAST_LEAST_GROUP = 256 }; /* work-items: 16 x 16 in its transpositions */
typedef enum slad_gemm_provider { SLAD_GEMM_AUTO, SLAD_GEMM_REGISTER_TILE, SLAD_GEMM_CLBLAST } slad_gemm_provider;

/* The device must outlive the dispatcher. CLBlast's parameters of our own (CPUs only) are set for the device's id in
 * this process: whoever uses CLBlast on the same device beside slad gets them too. Free with slad_gemm_free. */
slad_status slad_gemm_create(slad_device *device, slad_gemm **gemm, slad_gemm_provider provider);
void slad_gemm_free(slad_gemm *gemm);
/* "register-tile 8x32 ..." or "CLBlast 1.5.3 ...": provider and parameters, for config.json and messages. CLBlast's
 * version is that of the header at build time, since the library does not tell its own. */
const char *slad_gemm_description(const slad_gemm *gemm);

slad_gemm_layout slad_gemm_get_layout(const slad_gemm *gemm, size_t columns, size_t depth);

/* Scratch bytes that the provider needs for this problem, whatever the operands' offsets; the caller makes one buffer
 * of the largest and gives it with slad_gemm_set_scratch before it binds. All calls may share it: the queue is in
 * order. */
slad_status slad_gemm_scratch_bytes(slad_gemm *gemm, uint64_t *bytes, const slad_gemm_problem *problem);
void slad_gemm_set_scratch(slad_gemm *gemm, cl_mem scratch, uint64_t bytes);

/* Checks one problem against the mathematics: random A and B, C between sentinels, NaN where nothing may be read; B is
 * packed from both orientations; C*v is compared with A*(B*v) in double for random v. Takes device memory for the
 * operands meanwhile, so it is best called before other memory is taken. Run once a (problem, parameters, device) and
 * remembered in the program cache. Errors: SLAD_ERROR_SELF_TEST naming device, driver, provider, shape and the measured
 * error. */
slad_status slad_gemm_verify(slad_gemm *gemm, const slad_gemm_problem *problem);

typedef struct slad_gemm_operand {
    cl_mem buffer;   /* not owned */
    uint32_t offset; /* elements */
} slad_gemm_operand;

/* A bound GEMM, enqueued any number of times. Free with slad_gemm_call_free.
 * Errors: SLAD_ERROR_INTERNAL if an operand ends behind its buffer, a stride is too short or scratch too small;
 * SLAD_ERROR_OUT_OF_MEMORY if an operand ends behind 2^31 elements. bias is looked at only if the problem has one. */
typedef struct slad_gemm_call {
    slad_gemm *gemm;
    slad_gemm_problem problem;
    slad_gemm_operand c, a, b, bias;
    slad_launch launches[2]; /* the tile kernel; or, for CLBlast, the kernel that lays bias into C first */
    unsigned launch_count;
} slad_gemm_call;
slad_status slad_gemm_bind(slad_gemm *gemm, slad_gemm_call *call, slad_gemm_operand c, slad_gemm_operand a,
                           slad_gemm_operand b, slad_gemm_operand bias, const slad_gemm_problem *problem);
slad_status slad_gemm_enqueue(const slad_gemm_call *call);
void slad_gemm_call_free(slad_gemm_call *call);

/* Packing: with merged = W + scale * lora_B lora_A (an adapted layer's merged weight, method.md section 8,
 * implementation B), B[k, n] = merged[n, k], or, transposed, B[k, n] = merged[k, n]. W is a layer's weight [out, in]
 * with in contiguous. Forward (y = x W^T): columns = out, depth = in, transposed = false. Input gradient (dx = dy W):
 * columns = in, depth = out, transposed = true. lora_A is [rank, in] with row stride a_stride; lora_B is [blocks,
 * block_rows, rank] with strides b_block_stride and b_row_stride, rank contiguous, and adapts the rows of W from
 * first_row on, blocks * block_rows of them: a student's view of a shared tensor has strides of its teacher. */
typedef struct slad_gemm_adapter {
    slad_gemm_operand lora_a, lora_b;
    size_t rank, a_stride, blocks, block_rows, b_block_stride, b_row_stride, first_row; /* elements; rank at least 1 */
    float scale;
} slad_gemm_adapter;

/* Most adapters of one weight: q, k and v each with a shared and a private one. */
#define SLAD_GEMM_ADAPTERS 6

/* A bound packing, enqueued any number of times: one launch for each adapter, and for each run of rows that has none.
 * Free with slad_gemm_packing_free. */
typedef struct slad_gemm_packing {
    slad_gemm *gemm;
    slad_launch launches[2 * SLAD_GEMM_ADAPTERS + 1];
    unsigned launch_count;
} slad_gemm_packing;

/* Adapters whose rows meet are merged in a fixed order. The layout is slad_gemm_get_layout of the same columns and
 * depth. Errors: as slad_gemm_bind. */
slad_status slad_gemm_bind_pack(slad_gemm *gemm, slad_gemm_packing *packing, slad_gemm_operand packed,
                                const slad_gemm_layout *layout, slad_gemm_operand weight, size_t out, size_t in,
                                bool transposed, const slad_gemm_adapter *adapters, unsigned adapter_count);
slad_status slad_gemm_enqueue_pack(const slad_gemm_packing *packing);
void slad_gemm_packing_free(slad_gemm_packing *packing);

/* Rows of the kernel table of this room. */
extern const slad_kernel_row slad_gemm_kernels[];
extern const size_t slad_gemm_kernel_count;

#endif
