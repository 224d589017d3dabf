/* Cross entropy of student and teacher, and distillation between them, in plain C. Sums in double. */
#ifndef SLAD_REFERENCE_DISTILLATION_LOSS_H
#define SLAD_REFERENCE_DISTILLATION_LOSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct slad_reference_distillation {
    double alpha_student, alpha_teacher, alpha_kl, tau;
    double forward, reverse; /* factors of the KL's two directions, tau^2 among them where it is wanted */
    double label_smoothing;
    bool kl_reaches_teacher;         /* false: its gradient leaves the teacher alone */
    double inverse_task, inverse_kl; /* 1 / sum of the weights over the whole batch */
    size_t rows, classes;
} slad_reference_distillation;

/* With w = task weight * inverse_task and v = KL weight * inverse_kl of an image:
 *   terms [rows, 4] = w CE(student), w CE(teacher), v (forward KL(p || q) + reverse KL(q || p)), 0;
 *   right [rows, 2] = w where the first of the student's (teacher's) largest logits is the label's, else 0;
 *   dstudent = alpha_student w (softmax(z_S) - t) + alpha_kl v / tau (forward (q - p) - reverse q (l - mean_q l));
 *   dteacher = alpha_teacher w (softmax(z_T) - t) + alpha_kl v / tau (forward p (l - mean_p l) + reverse (p - q)), the
 *              second only if it reaches the teacher;
 * p = softmax(z_T / tau), q = softmax(z_S / tau), l = log p - log q, means over the classes with p or q as weights;
 * targets t = (1 - label_smoothing) (mix onehot(label) + (1 - mix) onehot(label_2)) + label_smoothing / classes,
 * CE = -sum t log softmax(z); "the label" above is that with the larger share, the first of equals. labels_2 and mix
 * may be NULL, which is a mix of 1. student and teacher [rows, classes]; one of them may be NULL (its gradient too),
 * then its terms and the KL are 0. A label outside 0 .. classes-1 makes terms and gradients of its image NaN, unless
 * its task weight is 0. */
void slad_reference_distillation_loss(float *terms, float *right, float *dstudent, float *dteacher,
                                      const float *student, const float *teacher, const int32_t *labels,
                                      const int32_t *labels_2, const float *mix, const float *task_weights,
                                      const float *kl_weights, const slad_reference_distillation *parameters);

#endif
