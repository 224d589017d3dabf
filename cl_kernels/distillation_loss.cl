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

static inline normaliser normalise(__global const float *z, const uint classes, const float inverse_tau SCRATCH_PARAMETER)
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
static inline float is_right(__global const float *z, const uint classes, const uint label, const float largest,
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
    const uint row = get_global_id(1);
    if (row >= rows) return; /* the same for all lanes */
    const size_t place = (size_t)row * classes;
    const float inverse_tau = 1.0f / tau;
    const uint label = (uint)labels[labels_offset + row];
    const float kl_weight = kl_weights[kl_weights_offset + row] * step_values[step_values_offset + STEP_INVERSE_KL];
    float weight = task_weights[task_weights_offset + row] * step_values[step_values_offset + STEP_INVERSE_TASK];
    /* An image without a label has weight 0 and may have any label; any other wrong label must not go unnoticed. */
    if (label >= classes && weight != 0.0f) weight = as_float(0x7fc00000u);
    student_z += student_z_offset + (has_student ? place : 0);
    student_dz += student_dz_offset + (has_student ? place : 0);
    teacher_z += teacher_z_offset + (has_teacher ? place : 0);
    teacher_dz += teacher_dz_offset + (has_teacher ? place : 0);

    normaliser student = {0.0f, 0.0f, 0.0f}, teacher = {0.0f, 0.0f, 0.0f};
    float student_loss = 0.0f, teacher_loss = 0.0f, student_right = 0.0f, teacher_right = 0.0f;
    if (has_student) {
        student = normalise(student_z, classes, inverse_tau SCRATCH_ARGUMENT);
        student_loss = student.log_sum - (label < classes ? student_z[label] - student.largest : 0.0f);
        student_right = is_right(student_z, classes, label, student.largest, student_loss SCRATCH_ARGUMENT);
    }
    if (has_teacher) {
        teacher = normalise(teacher_z, classes, inverse_tau SCRATCH_ARGUMENT);
        teacher_loss = teacher.log_sum - (label < classes ? teacher_z[label] - teacher.largest : 0.0f);
        teacher_right = is_right(teacher_z, classes, label, teacher.largest, teacher_loss SCRATCH_ARGUMENT);
    }

    float kl = 0.0f;
    for (uint c = ROW_LANE; c < classes; c += ROW_LANES) {
        const float hot = c == label ? 1.0f : 0.0f;
        float gradient = 0.0f;
        if (has_student)
            gradient = alpha_student * weight * (exp(student_z[c] - student.largest - student.log_sum) - hot);
        if (has_teacher)
            teacher_dz[c] = alpha_teacher * weight * (exp(teacher_z[c] - teacher.largest - teacher.log_sum) - hot);
        if (has_student && has_teacher) {
            const float log_q = (student_z[c] - student.largest) * inverse_tau - student.softened_log_sum;
            const float log_p = (teacher_z[c] - teacher.largest) * inverse_tau - teacher.softened_log_sum;
            const float p = exp(log_p);
            kl += p * (log_p - log_q);
            gradient += alpha_kl * tau * kl_weight * (exp(log_q) - p);
        }
        if (has_student) student_dz[c] = gradient;
    }
    kl = row_sum(kl, scratch);
    if (ROW_LANE != 0) return;
    terms += terms_offset + (size_t)row * 4;
    right += right_offset + (size_t)row * 2;
    terms[0] = weight * student_loss;
    terms[1] = weight * teacher_loss;
    terms[2] = kl_weight * tau * tau * kl;
    terms[3] = 0.0f;
    right[0] = weight * student_right;
    right[1] = weight * teacher_right;
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
