/* How far the student's gradient of shared tensors points the same way as the teacher's own: the student's part S of the
 * gradient G is tracked while the micro-batches add to G, then the products of S and G - S are summed over the shared
 * regions, in a fixed order. */
#include "common.h"

/* As in host/ops/step_values.h. */
#define REPORT_SHARED_TEACHER_NORM 10
#define REPORT_SHARED_STUDENT_NORM 11
#define REPORT_SHARED_COSINE       12
/* As in host/ops/gradient_conflict.c: what is done to S, and the words of a region in the table. */
#define TRACK_SUBTRACT 0
#define TRACK_ADD      1
#define REGION_WORDS   8
/* Sums of a region. */
#define SUMS 3

/* sum += value, with the rounding error kept in `lost` (Kahan). */
#define ADD_COMPENSATED(type, sum, lost, value)                                                                        \
    do {                                                                                                               \
        const type corrected = (value) - (lost);                                                                       \
        const type next = (sum) + corrected;                                                                           \
        (lost) = (next - (sum)) - corrected;                                                                           \
        (sum) = next;                                                                                                  \
    } while (0)

/* student -= gradient, += gradient, or cleared. Slabs are whole vectors. Dimension 0: VECTOR_WIDTH elements. */
__kernel void gradient_conflict_track(__global float *restrict student, const uint student_offset,
                                      __global const float *restrict gradient, const uint gradient_offset,
                                      const uint elements, const uint action)
{
    const uint place = (uint)get_global_id(0);
    if (place >= elements / VECTOR_WIDTH) return;
    student += student_offset;
    floatv value = (floatv)(0.0f);
    if (action == TRACK_SUBTRACT) value = vloadv(place, student) - vloadv(place, gradient + gradient_offset);
    if (action == TRACK_ADD) value = vloadv(place, student) + vloadv(place, gradient + gradient_offset);
    vstorev(value, place, student);
}

/* partials[region]: teacher . student, |teacher|^2, |student|^2, where the teacher's is gradient - student. Dimension 0:
 * the lanes of a region. Dimension 1: region. A table row: offset, three sizes, two strides; see slad_reference_region. */
__kernel void gradient_conflict_sums(__global float *restrict partials, const uint partials_offset,
                                     __global const float *restrict student, const uint student_offset,
                                     __global const float *restrict gradient, const uint gradient_offset,
                                     __global const int *restrict table, const uint table_offset, const uint regions)
{
    ROW_SCRATCH(scratch);
    const uint region = get_global_id(1);
    const int exists = region < regions;
    __global const int *words = table + table_offset + (exists ? region : 0) * REGION_WORDS;
    const uint rows_0 = exists ? (uint)words[1] : 0, rows_1 = (uint)words[2], columns = (uint)words[3];
    const uint vectors = columns / VECTOR_WIDTH;
    floatv product = (floatv)(0.0f), teacher = product, own = product;
    floatv lost_product = product, lost_teacher = product, lost_own = product;
    float rest_product = 0.0f, rest_teacher = 0.0f, rest_own = 0.0f;
    for (uint i = 0; i < rows_0; i++) {
        for (uint j = 0; j < rows_1; j++) {
            const size_t row = (size_t)words[0] + (size_t)i * (uint)words[4] + (size_t)j * (uint)words[5];
            __global const float *s_row = student + student_offset + row;
            __global const float *g_row = gradient + gradient_offset + row;
            for (uint v = ROW_LANE; v < vectors; v += ROW_LANES) {
                const floatv s = vloadv(v, s_row), t = vloadv(v, g_row) - s;
                ADD_COMPENSATED(floatv, product, lost_product, t * s);
                ADD_COMPENSATED(floatv, teacher, lost_teacher, t * t);
                ADD_COMPENSATED(floatv, own, lost_own, s * s);
            }
            for (uint k = vectors * VECTOR_WIDTH + ROW_LANE; k < columns; k += ROW_LANES) {
                const float s = s_row[k], t = g_row[k] - s;
                rest_product = multiply_add(t, s, rest_product);
                rest_teacher = multiply_add(t, t, rest_teacher);
                rest_own = multiply_add(s, s, rest_own);
            }
        }
    }
    const float whole_product = row_sum(horizontal_sum(product) + rest_product, scratch);
    const float whole_teacher = row_sum(horizontal_sum(teacher) + rest_teacher, scratch);
    const float whole_own = row_sum(horizontal_sum(own) + rest_own, scratch);
    if (ROW_LANE == 0 && exists) {
        __global float *place = partials + partials_offset + region * SUMS;
        place[0] = whole_product;
        place[1] = whole_teacher;
        place[2] = whole_own;
    }
}

/* The report's entries, from the sums of all regions in their order. One work-item. What is not finite is told as 0. */
__kernel void gradient_conflict_finish(__global float *restrict report, const uint report_offset,
                                       __global const float *restrict partials, const uint partials_offset,
                                       const uint regions)
{
    if (get_global_id(0) != 0) return;
    float sum[SUMS], lost[SUMS];
    for (uint i = 0; i < SUMS; i++) sum[i] = lost[i] = 0.0f;
    partials += partials_offset;
    report += report_offset;
    for (uint region = 0; region < regions; region++)
        for (uint i = 0; i < SUMS; i++) ADD_COMPENSATED(float, sum[i], lost[i], partials[region * SUMS + i]);
    const int finite = is_finite(sum[0]) && is_finite(sum[1]) && is_finite(sum[2]);
    const float teacher_norm = finite ? sqrt(sum[1]) : 0.0f, student_norm = finite ? sqrt(sum[2]) : 0.0f;
    float cosine = 0.0f;
    if (teacher_norm > 0.0f && student_norm > 0.0f) cosine = sum[0] / teacher_norm / student_norm;
    report[REPORT_SHARED_TEACHER_NORM] = teacher_norm;
    report[REPORT_SHARED_STUDENT_NORM] = student_norm;
    report[REPORT_SHARED_COSINE] = cosine;
}
