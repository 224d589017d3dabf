/* The small tensors through which host and device talk each step. All are SLAD_F32 state tensors of the store. */
#ifndef SLAD_OPS_STEP_VALUES_H
#define SLAD_OPS_STEP_VALUES_H

/* What changes from step to step, uploaded with the batch: tensor "step_values" [SLAD_STEP_VALUES]. */
enum {
    SLAD_STEP_INVERSE_TASK = 0, /* 1 / sum of task weights over the whole batch, 0 if the sum is 0 */
    SLAD_STEP_INVERSE_KL = 1,   /* the same of the KL weights */
    SLAD_STEP_BIAS_1 = 2,       /* 1 / (1 - beta1^t), t from 1 */
    SLAD_STEP_BIAS_2 = 3,       /* 1 / (1 - beta2^t) */
    SLAD_STEP_DECAY = 4,        /* weight decay */
    SLAD_STEP_AVERAGE = 5,      /* share of the new values in the moving average: 1 - its decay */
    SLAD_STEP_RATES = 8,        /* learning rate of each group */
    SLAD_STEP_VALUES = 16
};
/* adapters: their factors A, and base weights that are trained; adapters_b: B, whose rate LoRA+ raises. */
enum { SLAD_GROUP_ADAPTERS = 0, SLAD_GROUP_HEADS = 1, SLAD_GROUP_ADAPTERS_B = 2 };

/* AdamW's constants (torch.optim.AdamW's defaults). The bias corrections above are made with the same betas. */
#define SLAD_ADAM_BETA_1  0.9
#define SLAD_ADAM_BETA_2  0.999
#define SLAD_ADAM_EPSILON 1e-8

/* Sums over a step's micro-batches: tensor "accumulators" [SLAD_ACCUMULATORS]. */
enum {
    SLAD_SUM_STUDENT = 0, /* CE of the student, mean */
    SLAD_SUM_TEACHER = 1,
    SLAD_SUM_KL = 2,            /* with its tau^2 */
    SLAD_SUM_STUDENT_RIGHT = 3, /* images whose largest logit is the label's, times task weight and inverse sum */
    SLAD_SUM_TEACHER_RIGHT = 4,
    SLAD_SUM_FEATURE = 5, /* feature distillation, mean */
    SLAD_ACCUMULATORS = 8
};

/* What a step reports: tensor "report" [SLAD_REPORT]; the accumulators, then these. */
enum {
    SLAD_REPORT_NORM = 8,    /* global gradient norm before clipping */
    SLAD_REPORT_SKIPPED = 9, /* 1 if the norm was not finite and the update was skipped */
    /* Of slad_gradient_conflict_report, over what teacher and student share, before clipping; 0 without it. */
    SLAD_REPORT_SHARED_TEACHER_NORM = 10, /* norm of the teacher's own gradient */
    SLAD_REPORT_SHARED_STUDENT_NORM = 11, /* norm of what the student adds to it */
    SLAD_REPORT_SHARED_COSINE = 12,       /* of both; 0 where one of them is 0 or not finite */
    SLAD_REPORT = 16
};

#endif
