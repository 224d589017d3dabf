/* The end of a step: the norm of all gradients, clipping, AdamW over whole slabs, and the report. */
#include "common.h"

/* As in host/ops/step_values.h. */
#define STEP_BIAS_1    2
#define STEP_BIAS_2    3
#define STEP_DECAY     4
#define STEP_RATES     8
#define ACCUMULATORS   8
#define REPORT_NORM    8
#define REPORT_SKIPPED 9
/* As in host/ops/optimizer.c: what the finish tells to the update, and words of the table, one for 16 elements. */
#define CONTROL_FACTOR  0
#define CONTROL_GO      1
#define BLOCK           16
#define WORD_PADDING    0xffffffffu
#define WORD_DECAY      0x100u
#define WORD_GROUP_MASK 0xffu

/* sum += square, with the rounding error kept in `lost` (Kahan). */
#define ADD_COMPENSATED(type, sum, lost, square)                                                                       \
    do {                                                                                                               \
        const type corrected = (square) - (lost);                                                                      \
        const type next = (sum) + corrected;                                                                           \
        (lost) = (next - (sum)) - corrected;                                                                           \
        (sum) = next;                                                                                                  \
    } while (0)

/* partials[chunk] = sum of squares of the gradient's elements chunk * chunk_elements and on. Dimension 0: the lanes of
 * a chunk. Dimension 1: chunk. elements and chunk_elements are multiples of BLOCK. */
__kernel void optimizer_norm(__global float *restrict partials, const uint partials_offset,
                             __global const float *restrict gradient, const uint gradient_offset, const uint elements,
                             const uint chunk_elements)
{
    ROW_SCRATCH(scratch);
    const uint chunk = get_global_id(1), first = min(chunk * chunk_elements, elements);
    const uint vectors = min(chunk_elements, elements - first) / VECTOR_WIDTH;
    gradient += gradient_offset + first;
    floatv sum = (floatv)(0.0f), lost = (floatv)(0.0f);
    for (uint v = ROW_LANE; v < vectors; v += ROW_LANES) {
        const floatv g = vloadv(v, gradient);
        ADD_COMPENSATED(floatv, sum, lost, g * g);
    }
    const float whole = row_sum(horizontal_sum(sum), scratch);
    if (ROW_LANE == 0 && first < elements) partials[partials_offset + chunk] = whole;
}

/* Norm, clipping factor and whether to go on; then the report, and the accumulators cleared. One row of lanes. */
__kernel void optimizer_finish(__global float *restrict control, const uint control_offset,
                               __global float *restrict report, const uint report_offset,
                               __global float *restrict accumulators, const uint accumulators_offset,
                               __global const float *restrict partials, const uint partials_offset, const uint count,
                               const float max_norm)
{
    ROW_SCRATCH(scratch);
    float sum = 0.0f, lost = 0.0f;
    for (uint i = ROW_LANE; i < count; i += ROW_LANES) ADD_COMPENSATED(float, sum, lost, partials[partials_offset + i]);
    const float norm = sqrt(row_sum(sum, scratch));
    if (ROW_LANE != 0 || get_global_id(1) != 0) return;
    const int finite = is_finite(norm);
    float factor = 1.0f;
    if (max_norm > 0.0f && finite) factor = fmin(1.0f, max_norm / (norm + 1.0e-6f));
    control[control_offset + CONTROL_FACTOR] = factor;
    control[control_offset + CONTROL_GO] = finite ? 1.0f : 0.0f;
    report += report_offset;
    accumulators += accumulators_offset;
    for (uint i = 0; i < ACCUMULATORS; i++) {
        report[i] = accumulators[i];
        accumulators[i] = 0.0f;
    }
    report[REPORT_NORM] = norm;
    report[REPORT_SKIPPED] = finite ? 0.0f : 1.0f;
}

/* AdamW with decoupled decay, as torch.optim.AdamW orders it; clears the gradient. Where the norm was not finite, or in
 * padding, it only clears. Dimension 0: VECTOR_WIDTH elements. */
__kernel void
optimizer_adamw(__global float *restrict values, const uint values_offset, __global float *restrict gradient,
                const uint gradient_offset, __global float *restrict moment_1, const uint moment_1_offset,
                __global float *restrict moment_2, const uint moment_2_offset, __global const int *restrict table,
                const uint table_offset, __global const float *restrict control, const uint control_offset,
                __global const float *restrict step_values, const uint step_values_offset, const uint elements,
                const float one_minus_beta_1, const float beta_2, const float one_minus_beta_2, const float epsilon)
{
    const uint place = (uint)get_global_id(0);
    if (place >= elements / VECTOR_WIDTH) return;
    const uint word = (uint)table[table_offset + place * VECTOR_WIDTH / BLOCK];
    values += values_offset;
    gradient += gradient_offset;
    moment_1 += moment_1_offset;
    moment_2 += moment_2_offset;
    control += control_offset;
    step_values += step_values_offset;
    if (control[CONTROL_GO] != 0.0f && word != WORD_PADDING) {
        const float rate = step_values[STEP_RATES + (word & WORD_GROUP_MASK)];
        const float decay = (word & WORD_DECAY) ? step_values[STEP_DECAY] : 0.0f;
        const float step = rate * step_values[STEP_BIAS_1], root_bias = sqrt(step_values[STEP_BIAS_2]);
        const floatv g = vloadv(place, gradient) * control[CONTROL_FACTOR];
        floatv p = vloadv(place, values), m = vloadv(place, moment_1), v = vloadv(place, moment_2);
        m += one_minus_beta_1 * (g - m);
        v = v * beta_2 + one_minus_beta_2 * g * g;
        p -= rate * decay * p;
        p -= step * (m / (sqrt(v) * root_bias + epsilon));
        vstorev(p, place, values);
        vstorev(m, place, moment_1);
        vstorev(v, place, moment_2);
    }
    vstorev((floatv)(0.0f), place, gradient);
}
