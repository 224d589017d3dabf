/* The losses of both models and their gradients with respect to the logits, in one pass over each image's row:
 *   CE = -sum t log softmax(z), t = (1 - e) onehot + e / classes,     dz = softmax(z) - t;
 *   of a mixed image onehot = m onehot(label) + (1 - m) onehot(second label);
 *   KL(p || q), p = softmax(z_T / tau), q = softmax(z_S / tau),       tau dz_S = q - p, tau dz_T = p (l - mean_p l);
 *   KL(q || p),                                                       tau dz_S = -q (l - mean_q l), tau dz_T = p - q;
 * with l = log p - log q and its means under p and q. dz_T of the KL is left out where the teacher is detached.
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
    float mean;             /* of z - largest */
} normaliser;

GROUP_FUNCTION normaliser normalise(__global const float *z, const uint classes,
                                    const float inverse_tau SCRATCH_PARAMETER)
{
    normaliser n;
    float part = -FLT_MAX;
    for (uint c = ROW_LANE; c < classes; c += ROW_LANES) part = fmax(part, z[c]);
    n.largest = row_max(part, scratch);
    float sum = 0.0f, softened = 0.0f, total = 0.0f;
    for (uint c = ROW_LANE; c < classes; c += ROW_LANES) {
        const float shifted = z[c] - n.largest;
        sum += exp(shifted);
        softened += exp(shifted * inverse_tau);
        total += shifted;
    }
    n.log_sum = log(row_sum(sum, scratch));
    n.softened_log_sum = log(row_sum(softened, scratch));
    n.mean = row_sum(total, scratch) / (float)classes;
    return n;
}

/* log softmax(z / tau) of one logit. */
static inline float softened_log(const float z, const normaliser n, const float inverse_tau)
{
    return (z - n.largest) * inverse_tau - n.softened_log_sum;
}

/* Its target is the label alone where the label's share is 1; the rest is the second label's. A label that is no class
 * counts as the largest logit's. Inlined always: left out of line, it makes LLVM keep a noalias.scope.decl that Oclgrind
 * 21 does not know. */
GROUP_FUNCTION float cross_entropy(__global const float *z, const uint classes, const uint label, const uint second,
                                   const float share, const float smoothing, const normaliser n)
{
    const float first = label < classes ? z[label] - n.largest : 0.0f;
    const float other = second < classes ? z[second] - n.largest : 0.0f;
    /* Of a label without a share a logit of minus infinity must not count. */
    const float shifted = share == 1.0f ? first : share == 0.0f ? other : share * first + (1.0f - share) * other;
    /* Without smoothing a logit of minus infinity must not count. */
    return n.log_sum - (1.0f - smoothing) * shifted - (smoothing > 0.0f ? smoothing * n.mean : 0.0f);
}

/* The divergence of two rows, with the factors of its directions, and the means of log p - log q under p and q. */
typedef struct divergence {
    float value, under_teacher, under_student;
} divergence;

GROUP_FUNCTION divergence diverge(__global const float *student_z, const normaliser student,
                                  __global const float *teacher_z, const normaliser teacher, const uint classes,
                                  const float inverse_tau, const float forward, const float reverse SCRATCH_PARAMETER)
{
    float value = 0.0f, under_teacher = 0.0f, under_student = 0.0f;
    for (uint c = ROW_LANE; c < classes; c += ROW_LANES) {
        const float log_q = softened_log(student_z[c], student, inverse_tau);
        const float log_p = softened_log(teacher_z[c], teacher, inverse_tau);
        const float p = exp(log_p), q = exp(log_q), ratio = log_p - log_q;
        /* The differences q - p sum to 0. With them a rounding error of the normalisers, which tau^2 would magnify,
         * cancels to first order. */
        value += forward * (p * ratio + (q - p)) - reverse * (q * ratio + (q - p));
        under_teacher += p * ratio;
        under_student += q * ratio;
    }
    divergence d;
    d.value = row_sum(value, scratch);
    d.under_teacher = row_sum(under_teacher, scratch);
    d.under_student = row_sum(under_student, scratch);
    return d;
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

/* terms [rows, 4]: CE of student and teacher, forward KL(p || q) + reverse KL(q || p), 0, each times its weight; right
 * [rows, 2] likewise. Dimension 0: the lanes of a row. Dimension 1: row. */
__kernel void distillation_loss(
    __global float *restrict terms, const uint terms_offset, __global float *restrict right, const uint right_offset,
    __global float *restrict student_dz, const uint student_dz_offset, __global float *restrict teacher_dz,
    const uint teacher_dz_offset, __global const float *restrict student_z, const uint student_z_offset,
    __global const float *restrict teacher_z, const uint teacher_z_offset, __global const int *restrict labels,
    const uint labels_offset, __global const int *restrict labels_2, const uint labels_2_offset,
    __global const float *restrict mix, const uint mix_offset, __global const float *restrict task_weights,
    const uint task_weights_offset, __global const float *restrict kl_weights, const uint kl_weights_offset,
    __global const float *restrict step_values, const uint step_values_offset, const uint rows, const uint classes,
    const uint has_student, const uint has_teacher, const uint is_mixed, const uint kl_reaches_teacher,
    const float alpha_student, const float alpha_teacher, const float alpha_kl, const float tau, const float forward,
    const float reverse, const float smoothing)
{
    ROW_SCRATCH(scratch);
    /* All lanes reach all reductions: a row past the end is worked as a copy of the last, and a model that is not there
     * as a copy of the other. Neither is stored. */
    const uint wanted_row = get_global_id(1), row = min(wanted_row, rows - 1);
    const size_t place = (size_t)row * classes;
    const float inverse_tau = 1.0f / tau;
    const uint label = (uint)labels[labels_offset + row];
    const uint second = is_mixed ? (uint)labels_2[labels_2_offset + row] : label;
    const float share = is_mixed ? mix[mix_offset + row] : 1.0f;
    const uint likelier = share >= 0.5f ? label : second;
    const float kl_weight = kl_weights[kl_weights_offset + row] * step_values[step_values_offset + STEP_INVERSE_KL];
    float weight = task_weights[task_weights_offset + row] * step_values[step_values_offset + STEP_INVERSE_TASK];
    /* An image without a label has weight 0 and may have any label; any other wrong label must not go unnoticed. */
    if ((label >= classes || second >= classes) && weight != 0.0f) weight = as_float(0x7fc00000u);
    __global const float *student_row = has_student ? student_z + student_z_offset : teacher_z + teacher_z_offset;
    __global const float *teacher_row = has_teacher ? teacher_z + teacher_z_offset : student_row;
    student_row += place;
    teacher_row += place;

    const normaliser student = normalise(student_row, classes, inverse_tau SCRATCH_ARGUMENT);
    const normaliser teacher = normalise(teacher_row, classes, inverse_tau SCRATCH_ARGUMENT);
    const float student_loss = cross_entropy(student_row, classes, label, second, share, smoothing, student);
    const float teacher_loss = cross_entropy(teacher_row, classes, label, second, share, smoothing, teacher);
    const float student_right =
        is_right(student_row, classes, likelier, student.largest, student_loss SCRATCH_ARGUMENT);
    const float teacher_right =
        is_right(teacher_row, classes, likelier, teacher.largest, teacher_loss SCRATCH_ARGUMENT);

    const divergence kl =
        diverge(student_row, student, teacher_row, teacher, classes, inverse_tau, forward, reverse SCRATCH_ARGUMENT);
    if (wanted_row >= rows) return;

    const int both = has_student && has_teacher;
    const float kl_slope = alpha_kl * kl_weight * inverse_tau, everywhere = smoothing / (float)classes;
    for (uint c = ROW_LANE; c < classes; c += ROW_LANES) {
        const float wanted = (c == label ? (1.0f - smoothing) * share : 0.0f) +
                             (c == second ? (1.0f - smoothing) * (1.0f - share) : 0.0f) + everywhere;
        float student_slope =
            alpha_student * weight * (exp(student_row[c] - student.largest - student.log_sum) - wanted);
        float teacher_slope =
            alpha_teacher * weight * (exp(teacher_row[c] - teacher.largest - teacher.log_sum) - wanted);
        if (both) {
            const float log_q = softened_log(student_row[c], student, inverse_tau);
            const float log_p = softened_log(teacher_row[c], teacher, inverse_tau);
            const float p = exp(log_p), q = exp(log_q), ratio = log_p - log_q;
            student_slope += kl_slope * (forward * (q - p) - reverse * q * (ratio - kl.under_student));
            if (kl_reaches_teacher)
                teacher_slope += kl_slope * (forward * p * (ratio - kl.under_teacher) + reverse * (p - q));
        }
        if (has_student) student_dz[student_dz_offset + place + c] = student_slope;
        if (has_teacher) teacher_dz[teacher_dz_offset + place + c] = teacher_slope;
    }
    if (ROW_LANE != 0) return;
    terms += terms_offset + (size_t)row * 4;
    right += right_offset + (size_t)row * 2;
    terms[0] = has_student ? weight * student_loss : 0.0f;
    terms[1] = has_teacher ? weight * teacher_loss : 0.0f;
    terms[2] = both ? kl_weight * kl.value : 0.0f;
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
