/* Training: options, a trainer that is fed batches, and whole runs. */
#ifndef SLAD_TRAIN_H
#define SLAD_TRAIN_H

#include "slad/data.h"
#include "slad/device.h"
#include "slad/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Presets over the switches below (slad_train_options_set_method):
 *   slad: both encoders with shared LoRA adapters; joint: each its own; probe, lora, finetune: the student alone;
 *   kd-probe, kd-lora, kd-finetune: the teacher first, then a LoRA student under the frozen teacher. */
typedef enum slad_method {
    SLAD_METHOD_SLAD,
    SLAD_METHOD_JOINT,
    SLAD_METHOD_KD_PROBE,
    SLAD_METHOD_KD_LORA,
    SLAD_METHOD_KD_FINETUNE,
    SLAD_METHOD_PROBE,
    SLAD_METHOD_LORA,
    SLAD_METHOD_FINETUNE
} slad_method;
/* What of an encoder is trained. none: there is no such encoder; probe: its head; lora: adapters and head; all: every
 * weight and the head; frozen: nothing (a teacher that has a head already). */
typedef enum slad_adapt {
    SLAD_ADAPT_NONE,
    SLAD_ADAPT_PROBE,
    SLAD_ADAPT_LORA,
    SLAD_ADAPT_ALL,
    SLAD_ADAPT_FROZEN
} slad_adapt;
/* joint: all that is trained at once; two: the teacher first, then the student with the teacher frozen. */
typedef enum slad_stages { SLAD_STAGES_JOINT, SLAD_STAGES_TWO } slad_stages;
/* Which factors of the teacher's adapters the student shares. */
typedef enum slad_share { SLAD_SHARE_BOTH, SLAD_SHARE_A, SLAD_SHARE_B, SLAD_SHARE_NONE } slad_share;
/* The teacher layer of student layer i, of L_S and L_T (method.md section 4.3): even-a floor(i L_T / L_S), even-b
 * floor((i + 1) L_T / L_S) - 1, even-c round(i (L_T - 1) / (L_S - 1)), first i, last i + L_T - L_S; list: share_list.
 */
typedef enum slad_share_map {
    SLAD_MAP_EVEN_A,
    SLAD_MAP_EVEN_B,
    SLAD_MAP_EVEN_C,
    SLAD_MAP_FIRST,
    SLAD_MAP_LAST,
    SLAD_MAP_LIST
} slad_share_map;
/* block: the leading rows of each of B's blocks q, k, v; naive: the leading rows of B as one matrix (an ablation). */
typedef enum slad_share_truncation { SLAD_TRUNCATION_BLOCK, SLAD_TRUNCATION_NAIVE } slad_share_truncation;
/* The scale of the student's part: same as the teacher's, or times sqrt(d_T / d_S), as its own fan-in would ask for. */
typedef enum slad_share_scale { SLAD_SHARE_SCALE_SAME, SLAD_SHARE_SCALE_FAN_IN } slad_share_scale;
/* What a teacher layer has that no student layer shares. */
typedef enum slad_unmapped { SLAD_UNMAPPED_LORA, SLAD_UNMAPPED_FROZEN } slad_unmapped;
/* fused: one A for q, k and v; split: an A and a B each. */
typedef enum slad_lora_form { SLAD_LORA_FUSED, SLAD_LORA_SPLIT } slad_lora_form;
/* all: qkv, the attention's output projection, and both layers of the MLP. */
typedef enum slad_lora_targets { SLAD_LORA_QKV, SLAD_LORA_ALL } slad_lora_targets;
typedef enum slad_head_kind { SLAD_HEAD_CLS_MEAN, SLAD_HEAD_CLS } slad_head_kind;
typedef enum slad_head_init { SLAD_HEAD_INIT_RANDOM, SLAD_HEAD_INIT_PROBE } slad_head_init;
typedef enum slad_schedule_kind { SLAD_SCHEDULE_COSINE, SLAD_SCHEDULE_CONSTANT, SLAD_SCHEDULE_POLY } slad_schedule_kind;
/* Of training images. crop-flip: RandomResizedCrop of crop_scale, ratio 3/4 .. 4/3, and a flip with probability 1/2;
 * strong: then the distortions of MoCo v2 (arXiv 2003.04297): with probability 0.8 brightness, contrast, saturation
 * (0.4) and hue (0.1) in a random order, grey with 0.2, and a Gaussian blur of sigma 0.1 to 2, with probability 0.1 as
 * in the second view of BYOL and DINOv2. */
typedef enum slad_augment_kind {
    SLAD_AUGMENTATION_CROP_FLIP,
    SLAD_AUGMENTATION_NONE,
    SLAD_AUGMENTATION_STRONG
} slad_augment_kind;
/* Features of the student, through a learned projection, that are pulled to the teacher's. */
typedef enum slad_feature_loss_kind {
    SLAD_FEATURE_LOSS_NONE,
    SLAD_FEATURE_LOSS_CLS,
    SLAD_FEATURE_LOSS_PATCH
} slad_feature_loss_kind;
typedef enum slad_keep { SLAD_KEEP_LAST, SLAD_KEEP_BEST } slad_keep;

/* Most layers of a student whose layer map is given as a list. */
enum { SLAD_SHARE_LIST = 64 };

/* How the losses combine, with CE_S and CE_T the task losses of student and teacher and a weight for each:
 *   sum: alpha_student CE_S + alpha_teacher CE_T + alpha_kl KL;
 *   convex: (1 - alpha_kl) CE_S + alpha_kl KL, as the predecessor (arXiv 2402.11305) trains a student, beside the
 *   teacher's own alpha_teacher CE_T; alpha_kl in [0, 1], alpha_student 1. At alpha_kl 1 no label reaches the student's
 *   loss. */
typedef enum slad_loss_kind { SLAD_LOSS_SUM, SLAD_LOSS_CONVEX } slad_loss_kind;
/* forward: KL(teacher || student); reverse: KL(student || teacher); symmetric: the mean of the two, which is our choice
 * (their sum, Jeffreys' divergence, is twice that). */
typedef enum slad_kl_direction { SLAD_KL_FORWARD, SLAD_KL_REVERSE, SLAD_KL_SYMMETRIC } slad_kl_direction;

/* Whether activations are computed a second time for the gradients instead of being kept: auto where memory is short.
 * No result depends on it. */
typedef enum slad_recompute { SLAD_RECOMPUTE_AUTO, SLAD_RECOMPUTE_ON, SLAD_RECOMPUTE_OFF } slad_recompute;

typedef struct slad_train_options {
    slad_method method;
    slad_adapt teacher_adapt, student_adapt; /* these, share and stages: set by slad_train_options_set_method */
    slad_stages stages;
    uint32_t lora_rank;
    double lora_alpha; /* the adapters' scale is alpha / rank */
    slad_lora_form lora_form;
    slad_lora_targets lora_targets;
    double lora_dropout; /* probability that an adapter does not see an element of its input */
    double lora_plus;    /* learning rate of B over that of A */
    slad_share share;
    slad_share_map share_map;
    int16_t share_list[SLAD_SHARE_LIST]; /* SLAD_MAP_LIST: a teacher layer for each student layer, -1: adapters of its
                                            own */
    uint32_t share_list_count;
    slad_share_truncation share_truncation;
    slad_share_scale share_scale;
    slad_unmapped unmapped;
    uint32_t private_rank; /* of adapters that each encoder has beside the shared ones, scale alpha / rank as theirs */
    double alpha_student, alpha_teacher, alpha_kl, tau;
    slad_loss_kind loss;
    slad_kl_direction kl_direction;
    bool kl_detach;         /* no gradient of the KL flows to the teacher's logits */
    bool kl_tau2;           /* the KL is multiplied by tau^2 */
    double label_smoothing; /* e: targets of both task losses are (1 - e) onehot + e / classes */
    slad_feature_loss_kind feature_loss;
    double alpha_feature; /* weight of the feature loss */
    slad_head_kind head;
    slad_head_init head_init;
    uint32_t epochs;
    uint64_t steps; /* 0: epochs decide */
    uint32_t batch;
    uint32_t micro_batch; /* 0: the largest that the device's memory plan permits */
    slad_recompute recompute;
    uint32_t memory_limit; /* MiB of device memory that training stays below, 0: the device's share */
    double learning_rate, head_learning_rate, weight_decay;
    double clip; /* global norm, 0: off */
    slad_schedule_kind schedule;
    double warmup;        /* fraction of the steps */
    double ema;           /* decay of the moving average that is evaluated and exported, 0: none */
    double mixup, cutmix; /* alpha of the Beta distribution of their mixing factors, 0: off */
    uint32_t image_size;  /* 0: the crop size of the student's preprocessor_config.json */
    slad_position_mode position_mode;
    slad_augment_kind augment;
    double crop_scale[2];
    bool shuffle;
    uint64_t seed;
    double eval_every;         /* epochs, 0: only at the end */
    uint64_t checkpoint_steps; /* between checkpoints beside those at the end of each epoch, 0: none */
    double checkpoint_minutes; /* the same by the clock, 0: none */
    slad_keep keep;            /* which state a run leaves */
    uint32_t workers;          /* loader threads, 0: one a processor */
} slad_train_options;

/* The defaults of `slad train`. */
SLAD_API slad_train_options slad_train_options_default(void);
/* Sets method and the switches that it is a preset over. */
SLAD_API void slad_train_options_set_method(slad_train_options *options, slad_method method);
/* Ranges and contradictions; the message names the option as on the command line. Errors: SLAD_ERROR_USAGE. */
SLAD_API slad_status slad_train_options_check(slad_context *context, const slad_train_options *options);

/* The options by the names of the command line, without the dashes, so that every client says and sets them alike. */
typedef struct slad_option {
    const char *name;   /* "lora-rank" */
    const char *values; /* "N", "cosine|constant|poly" */
    const char *help;   /* a line */
    const char *group;  /* heading: "adapters", "losses", ... */
    bool available;     /* false: named by the design, not in this version; setting it is refused */
} slad_option;
SLAD_API size_t slad_train_option_count(void);
SLAD_API const slad_option *slad_train_option_at(size_t index);
/* Sets one from text; "method" sets its presets too, so it comes first. Errors: SLAD_ERROR_USAGE naming the option:
 * there is none of that name, it is not available in this version, the text is no such value. */
SLAD_API slad_status slad_train_options_set(slad_context *context, slad_train_options *options, const char *name,
                                            const char *text);
/* Most bytes of an option's value as text. */
enum { SLAD_OPTION_TEXT = 512 };
/* Its value as text [SLAD_OPTION_TEXT]; false if there is no such option in this version. */
SLAD_API bool slad_train_options_get(const slad_train_options *options, const char *name, char *text);

/* What a step measured, of its forward pass, before its update. `loss` is what is minimised: the weighted sum. The
 * others are unweighted means, task losses with their label smoothing, loss_kl in its direction and with tau^2 where
 * that is on, loss_feature without its weight; NaN where there is no such term. */
typedef struct slad_step_report {
    uint64_t step; /* 0-based */
    double loss, loss_student, loss_teacher, loss_kl, loss_feature;
    double gradient_norm; /* before clipping */
    /* Of the adapters that both share: the norms of the teacher's own gradient and of the student's part of it, and the
     * cosine between the two, negative where they pull apart; NaN where nothing is shared. */
    double shared_teacher_norm, shared_student_norm, shared_cosine;
    double learning_rate; /* of the adapters (of the head for probes) */
    double accuracy;      /* of the student on the batch */
    bool skipped;         /* gradients were not finite: nothing was updated */
} slad_step_report;

typedef struct slad_trainer slad_trainer;

/* Makes a trainer: records the step, computes and logs the memory plan, builds and checks kernels, allocates, uploads.
 * teacher is NULL for the methods lora and probe. total_steps is what the schedule spans. The encoders, the device and
 * the context must outlive it. Errors: SLAD_ERROR_USAGE (models that cannot share), SLAD_ERROR_OUT_OF_MEMORY (with what
 * would fit), SLAD_ERROR_BUILD, SLAD_ERROR_SELF_TEST, SLAD_ERROR_DATA. */
SLAD_API slad_status slad_trainer_create(slad_context *context, slad_trainer **trainer, slad_device *device,
                                         const slad_encoder *teacher, const slad_encoder *student, size_t classes,
                                         size_t image_size, uint64_t total_steps, const slad_train_options *options);
SLAD_API void slad_trainer_free(slad_trainer *trainer);

/* Enqueues one step over a batch of at most options.batch images and returns without waiting for it. The batch must
 * stay as it is until the next call of slad_trainer_step or slad_trainer_finish returns. *report (may be NULL) receives
 * the step before, and *has_report whether there was one. Errors: SLAD_ERROR_DIVERGED naming the step before, whose
 * gradients were not finite and moved no value: the step of this call is under way by then and counts, from the last
 * good values, and moves them unless it diverges too; SLAD_ERROR_DATA for a batch that does not fit, of which nothing
 * was used. After any other error the trainer makes no further step, and can be saved as it was after
 * slad_trainer_steps_done, unless the device failed amid an update, when slad_trainer_save is refused. */
SLAD_API slad_status slad_trainer_step(slad_trainer *trainer, const slad_batch *batch, slad_step_report *report,
                                       bool *has_report);
/* Waits for the last step and reports it. */
SLAD_API slad_status slad_trainer_finish(slad_trainer *trainer, slad_step_report *report, bool *has_report);

/* Logits of both models for a batch, [batch->count, classes]; either may be NULL. Waits. */
SLAD_API slad_status slad_trainer_logits(slad_trainer *trainer, float *student, float *teacher,
                                         const slad_batch *batch);

/* Evaluation of one model over a split. */
typedef struct slad_evaluation {
    bool present;
    uint64_t images;
    double top1, mean_per_class; /* in [0, 1] */
    slad_measure measure;        /* which of them is the data set's own */
    uint64_t *confusion;         /* [classes, classes], rows are labels; owned, slad_evaluation_free */
    size_t classes;
} slad_evaluation;
SLAD_API void slad_evaluation_free(slad_evaluation *evaluation);

/* CKA of the teacher's and the student's features of the same images (method.md section 11), 1 for features that differ
 * by a rotation, scale or shift. NaN where features do not vary. */
typedef struct slad_cka_scores {
    double cls, mean; /* at the output: CLS, and mean of the patches, after the final LayerNorm */
    double *layers;   /* [layers]: CLS of what a student block and its teacher block give; owned by the result */
} slad_cka_scores;
typedef struct slad_cka_result {
    bool present;                            /* false: not measured */
    size_t batch, batches;                   /* minibatches of so many images; the images left over are not used */
    size_t layers;                           /* student layers that the layer map gives a teacher layer */
    size_t *student_layers, *teacher_layers; /* [layers] */
    slad_cka_scores adapted;
    bool has_pretrained; /* the folders that training started from are still there */
    slad_cka_scores pretrained;
    double delta; /* percent: 100 (pretrained.cls - adapted.cls) / pretrained.cls; NaN unless pretrained.cls > 0 */
} slad_cka_result;
SLAD_API void slad_cka_result_free(slad_cka_result *result);
/* auto: of a run with a teacher, if there are at least four images; on: the same, or an error that says why not. */
typedef enum slad_cka_mode { SLAD_CKA_AUTO, SLAD_CKA_ON, SLAD_CKA_OFF } slad_cka_mode;

/* Writes state.safetensors (all that is trained) and optimizer.safetensors (the same with the optimizer's moments and
 * the number of steps done) to a folder, each atomically. */
SLAD_API slad_status slad_trainer_save(slad_trainer *trainer, const char *folder);
/* Goes on from FOLDER/optimizer.safetensors: values, moments, steps done. The trainer must be made with the same
 * models, options and total steps. Errors: SLAD_ERROR_DATA. */
SLAD_API slad_status slad_trainer_resume(slad_trainer *trainer, const char *folder);
/* Steps done so far. */
SLAD_API uint64_t slad_trainer_steps_done(const slad_trainer *trainer);
/* Replaces trained tensors by those of a safetensors file that holds any subset of them under the names of
 * state.safetensors. Errors: SLAD_ERROR_DATA for an unknown name or a wrong shape. */
SLAD_API slad_status slad_trainer_load(slad_trainer *trainer, const char *path);
/* Writes the merged student as a Hugging Face folder. class_names [classes]. preprocess of the student's folder is
 * written with the crop set to the image size. */
SLAD_API slad_status slad_trainer_export_student(slad_trainer *trainer, const char *folder,
                                                 const char *const *class_names);
SLAD_API size_t slad_trainer_parameter_count(const slad_trainer *trainer);

/* A whole run, as `slad train` does it: data, trainer, epochs, evaluation, checkpoints, the run folder of design. */
typedef struct slad_run_options {
    const char *teacher, *student, *data, *out;    /* folders; teacher NULL where the method has none */
    const char *init;                              /* safetensors of trained tensors to start from, or NULL */
    const char *teacher_adapter, *student_adapter; /* PEFT folders whose adapters training starts from, or NULL */
    const char *unlabelled;                        /* images that count in the KL only, or NULL */
    bool overwrite, strict_data;
    bool resume;   /* go on from the last checkpoint of `out` */
    bool skip_cka; /* leave CKA out of the report of a run with a teacher; it costs a walk over the validation images */
    slad_train_options train;
} slad_run_options;
/* The options that a run was started with, for going on with it: sets all of *options but out and skip_cka, with resume
 * on; what they point to is owned by *start. Free with slad_run_start_free. Errors: SLAD_ERROR_USAGE if the folder
 * holds no run that can be resumed, SLAD_ERROR_DATA. */
typedef struct slad_run_start slad_run_start;
SLAD_API slad_status slad_run_start_read(slad_context *context, slad_run_start **start, slad_run_options *options,
                                         const char *run);
SLAD_API void slad_run_start_free(slad_run_start *start);
/* Trains, or with resume goes on from the last checkpoint, to the bytes that an unbroken run has (but for times);
 * options must then be those that the run was started with, but for out and workers. Errors: all of the above;
 * SLAD_ERROR_USAGE when `out` exists without overwrite; SLAD_ERROR_INTERRUPTED after the cancel callback said so: the
 * checkpoint is written. */
SLAD_API slad_status slad_run_train(slad_context *context, slad_device *device, const slad_run_options *options);

/* Evaluation of a run (student and teacher) or of a Hugging Face folder with a classifier (student), over the
 * validation part of the data (its only part for a single tensor file). CKA costs a second walk over the images, by the
 * two encoders that training started from. */
typedef struct slad_eval_options {
    const char *model, *data;
    const char *predictions; /* safetensors with student_logits, teacher_logits, labels; or NULL */
    uint32_t batch, workers;
    uint32_t image_size; /* 0: what the run or the model's preprocessor_config.json says */
    slad_position_mode position_mode;
    bool strict_data;
    slad_cka_mode cka;
} slad_eval_options;
/* What it measured; {0} to begin with. Free with slad_eval_result_free. */
typedef struct slad_eval_result {
    slad_evaluation student, teacher; /* teacher: of a run that has one */
    slad_cka_result cka;
} slad_eval_result;
SLAD_API slad_status slad_run_eval(slad_context *context, slad_device *device, slad_eval_result *result,
                                   const slad_eval_options *options);
SLAD_API void slad_eval_result_free(slad_eval_result *result);
/* The result as a JSON object: images; measure, by which the data set is judged; student and teacher with top1,
 * mean_per_class and, of at most 1000 classes, confusion; cka with images, batch, output {cls, mean}, layers [{student,
 * teacher, cka}], pretrained {output, layers} and delta. NaN becomes null. Free *text with slad_text_free. */
SLAD_API slad_status slad_eval_result_json(slad_context *context, char **text, const slad_eval_result *result);

/* Features of a frozen encoder, or of the adapted ones of a run: last_hidden_state [N,T,d] after the final LayerNorm,
 * cls [N,d], mean [N,d] of the patches. */
typedef struct slad_features_options {
    const char *model, *data, *out;
    bool teacher; /* of a run: the teacher's features instead of the student's */
    uint32_t batch, workers;
    uint32_t image_size;
    slad_position_mode position_mode;
    slad_split split;
    bool strict_data;
} slad_features_options;
SLAD_API slad_status slad_run_features(slad_context *context, slad_device *device,
                                       const slad_features_options *options);

/* Class probabilities of images on disk, [image_count, classes], by a Hugging Face folder with a classifier or a run.
 * *class_names [*classes] and *probabilities are owned by the caller: slad_predictions_free. */
typedef struct slad_predictions {
    float *probabilities;
    char **class_names;
    size_t images, classes;
} slad_predictions;
SLAD_API slad_status slad_run_predict(slad_context *context, slad_device *device, slad_predictions *predictions,
                                      const char *model, const char *const *paths, size_t count);
SLAD_API void slad_predictions_free(slad_predictions *predictions);
/* The class that follows `previous` in the order of an image's probabilities (ties: the earlier class first); the most
 * probable one where previous is the number of classes. */
SLAD_API size_t slad_predictions_next(const slad_predictions *predictions, size_t image, size_t previous);
/* {"predictions": [{"image", "classes": [{"index", "class", "probability"}]}]} with so many classes of each image.
 * Bytes of a path that are no UTF-8 become U+FFFD. Free *text with slad_text_free. */
SLAD_API slad_status slad_predictions_json(slad_context *context, char **text, const slad_predictions *predictions,
                                           const char *const *paths, size_t top);
/* Writes a sheet of the pictures with their classes: an HTML page that holds all it needs. Reads the images again.
 * Errors: those of slad_run_predict for an image, SLAD_ERROR_WRITE. */
SLAD_API slad_status slad_predictions_sheet(slad_context *context, const slad_predictions *predictions,
                                            const char *const *paths, size_t top, const char *sheet);

#ifdef __cplusplus
}
#endif
#endif
