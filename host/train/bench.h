/* The inside of slad_bench: bench.c (order and limits), bench_kernels.c (one kernel at a time), bench_models.c (whole
 * steps) and bench_text.c. */
#ifndef SLAD_TRAIN_BENCH_H
#define SLAD_TRAIN_BENCH_H

#include "cl/peak.h"
#include "gemm/gemm.h"
#include "slad/bench.h"
#include "slad/model.h"

enum { SLAD_BENCH_SIZES = 4, SLAD_BENCH_CLASSES = 10 };

typedef struct slad_bench_size {
    const char *name;
    size_t value;
} slad_bench_size;

/* One line of the table of kernels. */
typedef struct slad_bench_row {
    const char *name; /* NULL: there is none */
    slad_bench_size sizes[SLAD_BENCH_SIZES];
    double flops; /* that the mathematics needs; 0: the kernel only moves memory */
    double bytes; /* that must be read or written, each once */
    slad_measured seconds;
} slad_bench_row;

/* A whole model. */
typedef struct slad_bench_model {
    const char *name;      /* "training of teacher and student"; NULL: not measured */
    slad_measured seconds; /* a batch */
    double flops;
    uint64_t device_bytes;  /* buffers on the device */
    uint64_t peak_resident; /* of the process, so far */
} slad_bench_model;

/* The sizes of an encoder that matter to kernels. */
typedef struct slad_bench_encoder {
    size_t tokens, width, heads, mlp_width;
} slad_bench_encoder;

enum { SLAD_BENCH_MODELS = 3 };

typedef struct slad_bench_state {
    slad_context *context;
    slad_device *device;
    slad_bench_options options; /* with the defaults filled in */
    double start;
    slad_peak peak;
    slad_measured bandwidth, launch, round_trip; /* GB/s; seconds */
    slad_bench_row *rows;
    size_t row_count, row_capacity;
    slad_bench_model models[SLAD_BENCH_MODELS];
    size_t left_out;
    slad_gemm_problem *problems; /* distinct GEMM shapes */
    size_t problem_count, problem_capacity;
    slad_bench_encoder encoders[2];
    size_t encoder_count;
    size_t trained; /* elements */
    char gemm[160]; /* provider and parameters */
} slad_bench_state;

/* Whether there is time for another measurement; counts it as left out if not. */
bool slad_bench_has_time(slad_bench_state *state);
/* Notes a GEMM shape unless it is there already. */
slad_status slad_bench_note_problem(slad_bench_state *state, size_t rows, size_t columns, size_t depth);

/* bench_kernels.c: measures every GEMM shape noted and the other kernels of the encoders noted. */
slad_status slad_bench_kernels(slad_bench_state *state);
/* bench_models.c: training and inference of the encoders in options, whose shapes and sizes it notes. */
slad_status slad_bench_models(slad_bench_state *state);
/* FLOPs of an encoder's forward pass for one image of size x size: linear layers and attention. */
double slad_bench_forward_flops(const slad_encoder_info *info, size_t size);
/* bench_text.c */
slad_status slad_bench_texts(const slad_bench_state *state, slad_bench_result *result);

#endif
