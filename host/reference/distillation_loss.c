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

/* w CE of one row, and dz = alpha w (softmax(z) - onehot). */
static void cross_entropy(float *term, float *right, float *dz, const float *z, size_t label, double alpha,
                          double weight, size_t classes)
{
    const double log_sum = log_sum_exp(z, 1, classes);
    const double loss = log_sum - (label < classes ? (double)z[label] : 0);
    for (size_t c = 0; c < classes; c++)
        dz[c] = (float)(alpha * weight * (exp((double)z[c] - log_sum) - (c == label ? 1 : 0)));
    *term = (float)(weight * loss);
    *right = (float)(weight * (!isnan(loss) && first_largest_is(z, label, classes) ? 1 : 0));
}

/* v tau^2 KL(p || q) of one row; adds alpha_kl v tau (q - p) to dstudent. */
static float distillation(float *dstudent, const float *student, const float *teacher, double weight,
                          const slad_reference_distillation *parameters)
{
    const double tau = parameters->tau;
    const double student_sum = log_sum_exp(student, tau, parameters->classes);
    const double teacher_sum = log_sum_exp(teacher, tau, parameters->classes);
    double divergence = 0;
    for (size_t c = 0; c < parameters->classes; c++) {
        const double log_q = (double)student[c] / tau - student_sum, log_p = (double)teacher[c] / tau - teacher_sum;
        divergence += exp(log_p) * (log_p - log_q);
        dstudent[c] = (float)((double)dstudent[c] + parameters->alpha_kl * weight * tau * (exp(log_q) - exp(log_p)));
    }
    return (float)(weight * tau * tau * divergence);
}

void slad_reference_distillation_loss(float *terms, float *right, float *dstudent, float *dteacher,
                                      const float *student, const float *teacher, const int32_t *labels,
                                      const float *task_weights, const float *kl_weights,
                                      const slad_reference_distillation *parameters)
{
    const size_t classes = parameters->classes;
    for (size_t row = 0; row < parameters->rows; row++) {
        float *term = terms + 4 * row, *hit = right + 2 * row;
        const size_t label = labels[row] < 0 ? classes : (size_t)labels[row], place = row * classes;
        double weight = (double)task_weights[row] * parameters->inverse_task;
        if (label >= classes && weight != 0) weight = NAN;
        term[0] = term[1] = term[2] = term[3] = hit[0] = hit[1] = 0;
        if (student)
            cross_entropy(&term[0], &hit[0], dstudent + place, student + place, label, parameters->alpha_student,
                          weight, classes);
        if (teacher)
            cross_entropy(&term[1], &hit[1], dteacher + place, teacher + place, label, parameters->alpha_teacher,
                          weight, classes);
        if (student && teacher)
            term[2] = distillation(dstudent + place, student + place, teacher + place,
                                   (double)kl_weights[row] * parameters->inverse_kl, parameters);
    }
}
