/* The losses of both models and their gradients with respect to the logits, in one pass over each image's row:
 *   CE = log sum exp(z) - z_label,                          dz = softmax(z) - onehot(label);
 *   tau^2 KL(p || q), p = softmax(z_T / tau), q = softmax(z_S / tau), dz_S = tau (q - p), dz_T = 0 (teacher detached).
 * Rows are short (a thousand classes at most, tens of images), so elements are taken one by one. */
#include "common.h"

/* As in host/ops/step_values.h. */
#define STEP_INVERSE_TASK 0
#define STEP_INVERSE_KL   1
#define ACCUMULATED       5

#if ROW_LANES > 1
#define SCRATCH_PARAMETER , __local float *scratch
#define SCRATCH_ARGUMENT  , scratch
#else
#define SCRATCH_PARAMETER
#define SCRATCH_ARGUMENT
#endif

/* What makes a row of logits a distribution. */
typedef struct normaliser {
    float largest;
    float log_sum;          /* log sum exp(z - largest) */
    float softened_log_sum; /* log sum exp((z - largest) / tau) */
} normaliser;

GROUP_FUNCTION normaliser normalise(__global const float *z, const uint classes,
                                    const float inverse_tau SCRATCH_PARAMETER)
{
    normaliser n;
    float part = -FLT_MAX;
    for (uint c = ROW_LANE; c < classes; c += ROW_LANES) part = fmax(part, z[c]);
    n.largest = row_max(part, scratch);
    float sum = 0.0f, softened = 0.0f;
    for (uint c = ROW_LANE; c < classes; c += ROW_LANES) {
        sum += exp(z[c] - n.largest);
        softened += exp((z[c] - n.largest) * inverse_tau);
    }
    n.log_sum = log(row_sum(sum, scratch));
    n.softened_log_sum = log(row_sum(softened, scratch));
    return n;
}

/* Whether the first of the largest logits is the label's; never where the loss is NaN. */
GROUP_FUNCTION float is_right(__global const float *z, const uint classes, const uint label, const float largest,
                              const float loss SCRATCH_PARAMETER)
{
    float first = (float)classes;
    for (uint c = ROW_LANE; c < classes; c += ROW_LANES)
        if (z[c] == largest) first = fmin(first, (float)c);
    first = -row_max(-first, scratch);
    return first == (float)label && is_finite(loss) ? 1.0f : 0.0f;
}

/* terms [rows, 4]: CE of student and teacher, tau^2 KL, 0, each times its weight; right [rows, 2] likewise.
 * Dimension 0: the lanes of a row. Dimension 1: row. */
__kernel void distillation_loss(__global float *restrict terms, const uint terms_offset, __global float *restrict right,
                                const uint right_offset, __global float *restrict student_dz,
                                const uint student_dz_offset, __global float *restrict teacher_dz,
                                const uint teacher_dz_offset, __global const float *restrict student_z,
                                const uint student_z_offset, __global const float *restrict teacher_z,
                                const uint teacher_z_offset, __global const int *restrict labels,
                                const uint labels_offset, __global const float *restrict task_weights,
                                const uint task_weights_offset, __global const float *restrict kl_weights,
                                const uint kl_weights_offset, __global const float *restrict step_values,
                                const uint step_values_offset, const uint rows, const uint classes,
                                const uint has_student, const uint has_teacher, const float alpha_student,
                                const float alpha_teacher, const float alpha_kl, const float tau)
{
    ROW_SCRATCH(scratch);
    /* All lanes reach all reductions: a row past the end is worked as a copy of the last, and a model that is not there
     * as a copy of the other. Neither is stored. */
    const uint wanted_row = get_global_id(1), row = min(wanted_row, rows - 1);
    const size_t place = (size_t)row * classes;
    const float inverse_tau = 1.0f / tau;
    const uint label = (uint)labels[labels_offset + row];
    const float kl_weight = kl_weights[kl_weights_offset + row] * step_values[step_values_offset + STEP_INVERSE_KL];
    float weight = task_weights[task_weights_offset + row] * step_values[step_values_offset + STEP_INVERSE_TASK];
    /* An image without a label has weight 0 and may have any label; any other wrong label must not go unnoticed. */
    if (label >= classes && weight != 0.0f) weight = as_float(0x7fc00000u);
    __global const float *student_row = has_student ? student_z + student_z_offset : teacher_z + teacher_z_offset;
    __global const float *teacher_row = has_teacher ? teacher_z + teacher_z_offset : student_row;
    student_row += place;
    teacher_row += place;

    const normaliser student = normalise(student_row, classes, inverse_tau SCRATCH_ARGUMENT);
    const normaliser teacher = normalise(teacher_row, classes, inverse_tau SCRATCH_ARGUMENT);
    const float student_loss = student.log_sum - (label < classes ? student_row[label] - student.largest : 0.0f);
    const float teacher_loss = teacher.log_sum - (label < classes ? teacher_row[label] - teacher.largest : 0.0f);
    const float student_right = is_right(student_row, classes, label, student.largest, student_loss SCRATCH_ARGUMENT);
    const float teacher_right = is_right(teacher_row, classes, label, teacher.largest, teacher_loss SCRATCH_ARGUMENT);

    const int both = has_student && has_teacher && wanted_row < rows;
    float kl = 0.0f;
    for (uint c = ROW_LANE; wanted_row < rows && c < classes; c += ROW_LANES) {
        const float hot = c == label ? 1.0f : 0.0f;
        const float student_shifted = student_row[c] - student.largest;
        const float teacher_shifted = teacher_row[c] - teacher.largest;
        float gradient = alpha_student * weight * (exp(student_shifted - student.log_sum) - hot);
        if (both) {
            const float log_q = student_shifted * inverse_tau - student.softened_log_sum;
            const float log_p = teacher_shifted * inverse_tau - teacher.softened_log_sum;
            const float p = exp(log_p), difference = exp(log_q) - p;
            /* The differences sum to 0. With them a rounding error of the normalisers, which tau^2 would magnify, cancels
             * to first order. */
            kl += p * (log_p - log_q) + difference;
            gradient += alpha_kl * tau * kl_weight * difference;
        }
        if (has_student) student_dz[student_dz_offset + place + c] = gradient;
        if (has_teacher)
            teacher_dz[teacher_dz_offset + place + c] =
                alpha_teacher * weight * (exp(teacher_shifted - teacher.log_sum) - hot);
    }
    kl = row_sum(kl, scratch);
    if (ROW_LANE != 0 || wanted_row >= rows) return;
    terms += terms_offset + (size_t)row * 4;
    right += right_offset + (size_t)row * 2;
    terms[0] = has_student ? weight * student_loss : 0.0f;
    terms[1] = has_teacher ? weight * teacher_loss : 0.0f;
    terms[2] = both ? kl_weight * tau * tau * kl : 0.0f;
    terms[3] = 0.0f;
    right[0] = has_student ? weight * student_right : 0.0f;
    right[1] = has_teacher ? weight * teacher_right : 0.0f;
}

/* accumulators += the sums of the terms and of what was right, over the rows in their order. Dimension 0: which. */
__kernel void distillation_loss_sum(__global float *restrict accumulators, const uint accumulators_offset,
                                    __global const float *restrict terms, const uint terms_offset,
                                    __global const float *restrict right, const uint right_offset, const uint rows)
{
    const uint which = get_global_id(0);
    if (which >= ACCUMULATED) return;
    float sum = 0.0f;
    for (uint row = 0; row < rows; row++)
        sum += which < 3 ? terms[terms_offset + row * 4 + which] : right[right_offset + row * 2 + (which - 3)];
    accumulators[accumulators_offset + which] += sum;
}
