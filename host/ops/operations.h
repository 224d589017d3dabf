/* Every operation that a model or a training step can record. Each call returns its output, or NULL on a record that
 * has failed (graph/record.h). Matrices are row-major; "rows" stands for all leading sizes. */
#ifndef SLAD_OPS_OPERATIONS_H
#define SLAD_OPS_OPERATIONS_H

#include "graph/launcher.h"
#include "ops/step_values.h"

/* Images [b, channels, height, width] to tokens [b, 1 + R + P, d]: each patch times weight [d, channels * patch *
 * patch] plus bias [d], before them the class token [d], position [1 + P, d] added to all of these; and between class
 * token and patches the registers [R, d], which have no position (NULL: R = 0). P = (height / patch) * (width / patch),
 * patches in row-major order (method.md section 6.3). Gradients of whatever of it is trained, except the pixels.
 * position may also be computed, by slad_position_interpolation. */
const slad_tensor *slad_patch_embedding(slad_record *record, const slad_tensor *pixels, const slad_tensor *weight,
                                        const slad_tensor *bias, const slad_tensor *class_token,
                                        const slad_tensor *registers, const slad_tensor *position, size_t patch);

/* A position table [1 + G * G, d] resized to [1 + rows * columns, d], so that the table itself can be trained: the
 * first row as it is, the others seen as a G x G image whose vertical places are mixed by down [rows, G] and horizontal
 * ones by across [columns, G]. Both matrices are frozen tensors of the store, filled by slad_position_matrix
 * (model/position.h), which knows the rules of all owners (method.md section 6.4); where rows and columns both
 * are G the table is used as it is. A frozen table is resized once, on the host, by slad_position_resize.
 * Gradient: the transposed products, in a fixed order. */
const slad_tensor *slad_position_interpolation(slad_record *record, const slad_tensor *table, const slad_tensor *down,
                                               const slad_tensor *across);

/* y = (x - mean) / sqrt(variance + epsilon) * gamma + beta over the last size, biased variance. gamma, beta [d]:
 * frozen, or trained; gradients dgamma = sum of dy (x - mean) rstd over the rows, dbeta = sum of dy. */
const slad_tensor *slad_layer_norm(slad_record *record, const slad_tensor *x, const slad_tensor *gamma,
                                   const slad_tensor *beta, double epsilon);

/* y = x W_eff^T + bias, W_eff = W + sum scale B A. x [.., in], W [out, in], bias [out] or NULL. Gradients: dx = dy
 * W_eff; of each adapter by skinny products (method.md section 8); of W and bias where they are trained. With dropout x
 * is [b, .., in], and y = x W^T + bias + sum scale (drop(x) A^T) B^T is computed as it stands, without merging; records
 * for evaluation leave dropout off and share the merged weight. */
const slad_tensor *slad_linear(slad_record *record, const slad_tensor *x, const slad_weight *weight,
                               const slad_tensor *bias);

/* Widths of a head that attention has kernels for: multiples of the first up to the second. */
enum { SLAD_ATTENTION_HEAD_STEP = 8, SLAD_ATTENTION_HEAD_MOST = 256 };
/* Softmax attention. qkv [b, T, 3 * heads * head_dim], blocks q, k, v, heads inside; result [b, T, heads * head_dim].
 * Scores are scaled by 1 / sqrt(head_dim). Any T; no tensor of T x T is ever stored. */
const slad_tensor *slad_attention(slad_record *record, const slad_tensor *qkv, size_t heads);

/* y = x Phi(x), exact (erf). */
const slad_tensor *slad_gelu(slad_record *record, const slad_tensor *x);

/* y = silu(u1) u2, silu(a) = a / (1 + exp(-a)): x [.., 2 h] holds u1 and then u2, y is [.., h] (method.md section 7).
 */
const slad_tensor *slad_swiglu(slad_record *record, const slad_tensor *x);

/* y = x + gamma * z: LayerScale gamma [d] on a branch z and the residual x. gamma: frozen, or trained (dgamma = sum of
 * dy z over the rows), or NULL, where a model has no LayerScale: y = x + z. */
const slad_tensor *slad_layer_scale(slad_record *record, const slad_tensor *x, const slad_tensor *z,
                                    const slad_tensor *gamma);

/* What a classification head reads of tokens [b, T, d]: CLS, or CLS and then the mean of the patches. `prefix` tokens
 * (CLS and registers) come before the patches. Result [b, d] or [b, 2 d]. */
typedef enum slad_pool_kind { SLAD_POOL_CLS_MEAN, SLAD_POOL_CLS } slad_pool_kind;
const slad_tensor *slad_pool(slad_record *record, const slad_tensor *tokens, slad_pool_kind kind, size_t prefix);

/* The losses of both models and their gradients in one operation (method.md section 5):
 *   student_z, teacher_z [b, C]: logits; one of them may be NULL, then its terms and the KL are left out.
 *   labels [b] I32, task_weights [b], kl_weights [b]; step_values: SLAD_STEP_INVERSE_TASK and _KL multiply the sums;
 *   labels_2 [b] I32 and mix [b] in 0 .. 1, of mixed images (mixup, CutMix), or both NULL: then mix is 1.
 * L = alpha_student CE(student) + alpha_teacher CE(teacher) + alpha_kl D, each a weighted mean over the whole batch;
 *   CE against the targets (1 - label_smoothing) (mix onehot(labels) + (1 - mix) onehot(labels_2)) + label_smoothing /
 *   C, as timm's mixup_target; what is right is judged by the label with the larger share, labels where they are equal;
 *   D = tau^2 ((1 - kl_reverse) KL(p || q) + kl_reverse KL(q || p)), p = softmax(teacher_z / tau), q that of the
 * student. Adds to `accumulators` [SLAD_ACCUMULATORS], unweighted by alpha: in a fixed order. Returns the per-image
 * terms [b, 4]: CE student, CE teacher, D (each already times weight and inverse sum), unused 0. In a differentiated
 * record its rule hands dz to both. What is 0 or false here is the usual choice. */
typedef struct slad_distillation {
    double alpha_student, alpha_teacher, alpha_kl, tau;
    double label_smoothing;  /* 0 to 1 */
    double kl_reverse;       /* 0: KL(teacher || student), 1: KL(student || teacher), between: a mixture of both */
    bool kl_reaches_teacher; /* false: the gradient of D flows to the student only */
    bool kl_without_tau2;    /* true: D without its factor tau^2 */
} slad_distillation;
const slad_tensor *slad_distillation_loss(slad_record *record, const slad_tensor *student_z,
                                          const slad_tensor *teacher_z, const slad_tensor *labels,
                                          const slad_tensor *labels_2, const slad_tensor *mix,
                                          const slad_tensor *task_weights, const slad_tensor *kl_weights,
                                          const slad_tensor *step_values, const slad_tensor *accumulators,
                                          const slad_distillation *parameters);

/* Feature distillation (method.md section 13): the mean squared difference between a student's tokens, projected to the
 * teacher's width by the caller, and the teacher's tokens, detached, standardised over their channels (LayerNorm
 * without affine parameters, epsilon 1e-6; the projection takes up any other scale and shift, so nothing is done to
 * `projected`): D_i = 1 / (compared d) sum over compared tokens and channels of (projected - LN(target))^2, L = alpha
 * sum_i kl_weight_i D_i SLAD_STEP_INVERSE_KL. projected [b, T, d], or [b, d] for one token an image; target [b, T', d];
 * kl_weights [b]. Compared are the first token (CLS) and the last compared - 1 of both (patches): registers between
 * them, which one model may have more of, are left out. Adds to accumulators[SLAD_SUM_FEATURE] without alpha. Returns
 * the terms [b, T], each already times weight and inverse sum; their sum is L / alpha. In a differentiated record its
 * rule hands its gradient to projected, which must have no other reader. */
typedef struct slad_feature_distillation {
    double alpha;
    size_t compared; /* 1: CLS alone; 1 + patches: CLS and all patches */
} slad_feature_distillation;
const slad_tensor *slad_feature_loss(slad_record *record, const slad_tensor *projected, const slad_tensor *target,
                                     const slad_tensor *kl_weights, const slad_tensor *step_values,
                                     const slad_tensor *accumulators, const slad_feature_distillation *parameters);

/* Whether the student's gradient of shared tensors works with or against the teacher's own (method.md section 4.5): the
 * cosine between both and their norms, of the whole step, in the report. To be recorded so:
 *     slad_gradient_conflict_place(context, &conflict, store, shared, count);   when all that is trained is placed
 *     slad_gradient_conflict_student_begins(record, conflict);
 *     ... the student's forward pass ...
 *     slad_gradient_conflict_student_ends(record, conflict);
 *     ... the teacher's forward pass, losses ...
 *     slad_record_differentiate(record);
 *     slad_gradient_conflict_report(record, conflict, report);
 *     slad_optimizer(record, ...);
 * The marks do nothing in the forward pass. Walked backwards, the one at the student's end subtracts the gradient G
 * that has been gathered so far from S, the one at its begin adds G, so that S becomes the student's part of G, over
 * all micro-batches. What is between the marks must be the student's alone. */
typedef struct slad_gradient_conflict slad_gradient_conflict;

/* shared: the student's views of the teacher's trained tensors, one to three sizes, unit stride in the last. Adds a
 * state tensor as large as each trained slab that they lie in. The conflict is owned by the store; nothing may be
 * trained that is placed later. Errors: SLAD_ERROR_INTERNAL, SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_gradient_conflict_place(slad_context *context, const slad_gradient_conflict **conflict,
                                         slad_store *store, const slad_tensor *const *shared, size_t count);
void slad_gradient_conflict_student_begins(slad_record *record, const slad_gradient_conflict *conflict);
void slad_gradient_conflict_student_ends(slad_record *record, const slad_gradient_conflict *conflict);
/* Phase SLAD_PHASE_STEP: writes the SLAD_REPORT_SHARED_ entries of the report and clears S. */
slad_status slad_gradient_conflict_report(slad_record *record, const slad_gradient_conflict *conflict,
                                          const slad_tensor *report);

/* The end of a step, phase SLAD_PHASE_STEP: the global norm of all gradients (each trained entry once); clipping to
 * max_norm as torch.nn.utils.clip_grad_norm_ does (factor max_norm / (norm + 1e-6), at most 1; 0: off); AdamW on every
 * trained slab (method.md section 9) with rates, bias corrections and decay of the step values; gradients cleared.
 * If the norm is not finite no value, moment or accumulator moves on: values stay as they were, gradients are cleared.
 * Then `report` [SLAD_REPORT] receives the accumulators, the norm and a flag, and the accumulators are cleared; its
 * other entries stay. */
slad_status slad_optimizer(slad_record *record, const slad_tensor *step_values, const slad_tensor *accumulators,
                           const slad_tensor *report, double max_norm);

/* The exponential moving average of all trained values, phase SLAD_PHASE_STEP, to be recorded behind slad_optimizer:
 * average += SLAD_STEP_AVERAGE * (value - average), the share being 1 - d_t of this step (train/schedule.h). A step
 * that the report calls skipped moves no average. The store must keep averages (slad_store_keep_averages); they are 0
 * before the first update, whose share is 1. */
slad_status slad_moving_average(slad_record *record, const slad_tensor *step_values, const slad_tensor *report);

/* Values and averages change places, phase SLAD_PHASE_STEP, for a record of its own:
 *     slad_executor_run(executor, exchange, SLAD_PHASE_STEP);    now evaluation, export and files see the averages
 *     slad_executor_run(executor, exchange, SLAD_PHASE_STEP);    training can go on
 * As after any run of that phase, derived weights are made anew before the next micro-batch. Moments and gradients
 * stay.
 */
slad_status slad_moving_average_exchange(slad_record *record);

#endif
