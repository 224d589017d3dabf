#include "reference/distillation_loss.h"
#include <math.h>
#include <stdbool.h>

/* log sum_c exp(z_c / tau) */
static double log_sum_exp(const float *z, double tau, size_t classes)
{
    double largest = -INFINITY, sum = 0;
    for (size_t c = 0; c < classes; c++) largest = fmax(largest, (double)z[c] / tau);
    for (size_t c = 0; c < classes; c++) sum += exp((double)z[c] / tau - largest);
    return largest + log(sum);
}

static bool first_largest_is(const float *z, size_t label, size_t classes)
{
    size_t best = 0;
    for (size_t c = 1; c < classes; c++)
        if (z[c] > z[best]) best = c;
    return best == label;
}

/* What the target of a row asks for. */
typedef struct target {
    size_t label, second;
    double share; /* of the label; the second's is the rest */
} target;

static size_t likelier(target t)
{
    return t.share >= 0.5 ? t.label : t.second;
}

/* w CE of one row, and dz = alpha w (softmax(z) - target). */
static void cross_entropy(float *term, float *right, float *dz, const float *z, target t, double alpha, double weight,
                          const slad_reference_distillation *parameters)
{
    const size_t classes = parameters->classes;
    const double log_sum = log_sum_exp(z, 1, classes), smoothing = parameters->label_smoothing;
    double loss = 0;
    for (size_t c = 0; c < classes; c++) {
        const double onehot = (c == t.label ? t.share : 0) + (c == t.second ? 1 - t.share : 0);
        const double wanted = (1 - smoothing) * onehot + smoothing / (double)classes;
        const double log_probability = (double)z[c] - log_sum;
        if (!(wanted <= 0)) loss -= wanted * log_probability; /* what no target asks for may be impossible */
        dz[c] = (float)(alpha * weight * (exp(log_probability) - wanted));
    }
    if (isnan(log_sum)) loss = NAN;
    *term = (float)(weight * loss);
    *right = (float)(weight * (!isnan(loss) && first_largest_is(z, likelier(t), classes) ? 1 : 0));
}

/* The divergence of one row times its weight; adds its gradients, to dteacher only if it is not NULL. */
static float distillation(float *dstudent, float *dteacher, const float *student, const float *teacher, double weight,
                          const slad_reference_distillation *parameters)
{
    const double tau = parameters->tau, forward = parameters->forward, reverse = parameters->reverse;
    const double student_sum = log_sum_exp(student, tau, parameters->classes);
    const double teacher_sum = log_sum_exp(teacher, tau, parameters->classes);
    const double slope = parameters->alpha_kl * weight / tau;
    double mean_p = 0, mean_q = 0; /* of log p - log q: KL(p || q) and -KL(q || p) */
    for (size_t c = 0; c < parameters->classes; c++) {
        const double log_q = (double)student[c] / tau - student_sum, log_p = (double)teacher[c] / tau - teacher_sum;
        mean_p += exp(log_p) * (log_p - log_q);
        mean_q += exp(log_q) * (log_p - log_q);
    }
    for (size_t c = 0; c < parameters->classes; c++) {
        const double log_q = (double)student[c] / tau - student_sum, log_p = (double)teacher[c] / tau - teacher_sum;
        const double p = exp(log_p), q = exp(log_q), ratio = log_p - log_q;
        dstudent[c] = (float)((double)dstudent[c] + slope * (forward * (q - p) - reverse * q * (ratio - mean_q)));
        if (dteacher)
            dteacher[c] = (float)((double)dteacher[c] + slope * (forward * p * (ratio - mean_p) + reverse * (p - q)));
    }
    return (float)(weight * (forward * mean_p - reverse * mean_q));
}

/* `classes` for a label that is none. */
static size_t class_of(int32_t label, size_t classes)
{
    return label < 0 || (size_t)label > classes ? classes : (size_t)label;
}

void slad_reference_distillation_loss(float *terms, float *right, float *dstudent, float *dteacher,
                                      const float *student, const float *teacher, const int32_t *labels,
                                      const int32_t *labels_2, const float *mix, const float *task_weights,
                                      const float *kl_weights, const slad_reference_distillation *parameters)
{
    const size_t classes = parameters->classes;
    for (size_t row = 0; row < parameters->rows; row++) {
        float *term = terms + 4 * row, *hit = right + 2 * row;
        const size_t place = row * classes;
        const target t = {class_of(labels[row], classes), class_of(mix ? labels_2[row] : labels[row], classes),
                          mix ? (double)mix[row] : 1};
        double weight = (double)task_weights[row] * parameters->inverse_task;
        if ((t.label >= classes || t.second >= classes) && weight != 0) weight = NAN;
        term[0] = term[1] = term[2] = term[3] = hit[0] = hit[1] = 0;
        if (student)
            cross_entropy(&term[0], &hit[0], dstudent + place, student + place, t, parameters->alpha_student, weight,
                          parameters);
        if (teacher)
            cross_entropy(&term[1], &hit[1], dteacher + place, teacher + place, t, parameters->alpha_teacher, weight,
                          parameters);
        if (student && teacher)
            term[2] = distillation(dstudent + place, parameters->kl_reaches_teacher ? dteacher + place : NULL,
                                   student + place, teacher + place, (double)kl_weights[row] * parameters->inverse_kl,
                                   parameters);
    }
}
