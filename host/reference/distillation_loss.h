/* Cross entropy of student and teacher, and distillation between them, in plain C. Sums in double. */
#ifndef SLAD_REFERENCE_DISTILLATION_LOSS_H
#define SLAD_REFERENCE_DISTILLATION_LOSS_H

#include <stddef.h>
#include <stdint.h>

typedef struct slad_reference_distillation {
    double alpha_student, alpha_teacher, alpha_kl, tau;
    double inverse_task, inverse_kl; /* 1 / sum of the weights over the whole batch */
    size_t rows, classes;
} slad_reference_distillation;

/* With w = task weight * inverse_task and v = KL weight * inverse_kl of an image:
 *   terms [rows, 4] = w CE(student), w CE(teacher), v tau^2 KL(p || q), 0;
 *   right [rows, 2] = w where the first of the student's (teacher's) largest logits is the label's, else 0;
 *   dstudent = alpha_student w (softmax(z_S) - onehot) + alpha_kl v tau (q - p);
 *   dteacher = alpha_teacher w (softmax(z_T) - onehot): no gradient of the KL flows to the teacher;
 * p = softmax(z_T / tau), q = softmax(z_S / tau). student and teacher [rows, classes]; one of them may be NULL (its
 * gradient too), then its terms and the KL are 0. A label outside 0 .. classes-1 makes terms and gradients of its image
 * NaN, unless its task weight is 0. */
void slad_reference_distillation_loss(float *terms, float *right, float *dstudent, float *dteacher,
                                      const float *student, const float *teacher, const int32_t *labels,
                                      const float *task_weights, const float *kl_weights,
                                      const slad_reference_distillation *parameters);

#endif
