/* The table of training options: names, values, help. */
#include "train/option_table.h"
#include <stddef.h>

#define FIELD(name) offsetof(slad_train_options, name)
/* One of the design that this version does not have. */
#define ABSENT(name, values, help, group)                                                                              \
    {                                                                                                                  \
        {name, values, help, group, false}, KIND_ABSENT, 0,                                                            \
        {                                                                                                              \
            NULL                                                                                                       \
        }                                                                                                              \
    }
/* A whole number or a number, by its kind. */
#define VALUE(name, values, help, group, kind, field)                                                                  \
    {                                                                                                                  \
        {name, values, help, group, true}, kind, FIELD(field),                                                         \
        {                                                                                                              \
            NULL                                                                                                       \
        }                                                                                                              \
    }
/* An enumeration; the choices are by its values. */
#define CHOICE(name, values, help, group, field, ...)                                                                  \
    {                                                                                                                  \
        {name, values, help, group, true}, KIND_CHOICE, FIELD(field),                                                  \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

#define METHOD   "method"
#define ADAPTERS "adapters"
#define LOSSES   "losses"
#define HEAD     "head"
#define RECIPE   "recipe"
#define TASK     "task"
#define RUNNING  "running"

/* clang-format off */
const slad_option_row slad_option_rows[] = {
    {{"method", "slad|joint|kd-probe|kd-lora|kd-finetune|probe|lora|finetune",
      "slad: both models with shared adapters; joint: each its own; kd-*: the teacher first (its head, adapters or all "
      "weights), then a LoRA student under it; probe, lora, finetune: the student alone", METHOD, true},
     KIND_METHOD, FIELD(method),
     {"slad", "joint", "kd-probe", "kd-lora", "kd-finetune", "probe", "lora", "finetune"}},
    CHOICE("teacher-adapt", "none|probe|lora|all|frozen", "what of the teacher is trained: its head, adapters and head, all, or "
           "nothing (frozen: a run or a folder with a classifier)", METHOD, teacher_adapt, "none", "probe", "lora", "all", "frozen"),
    CHOICE("student-adapt", "probe|lora|all", "what of the student is trained: its head, adapters and head, or all", METHOD,
           student_adapt, "none", "probe", "lora", "all"),
    CHOICE("stages", "joint|two", "both models at once, or the teacher first and then the student with the teacher frozen, each "
           "for all epochs", METHOD, stages, "joint", "two"),

    VALUE("lora-rank", "N", "rank of the adapters", ADAPTERS, KIND_U32, lora_rank),
    VALUE("lora-alpha", "X", "the adapters' scale is alpha / rank", ADAPTERS, KIND_NUMBER, lora_alpha),
    CHOICE("lora-form", "fused|split", "one adapter for q, k and v, or one each as PEFT makes them for Hugging Face models", ADAPTERS,
           lora_form, "fused", "split"),
    CHOICE("lora-targets", "qkv|all", "which layers are adapted: the attention's qkv, or every linear layer of a block", ADAPTERS,
           lora_targets, "qkv", "all"),
    VALUE("lora-dropout", "X", "probability that an adapter does not see an element of its input", ADAPTERS, KIND_NUMBER, lora_dropout),
    VALUE("lora-plus", "X", "learning rate of B over that of A", ADAPTERS, KIND_NUMBER, lora_plus),
    CHOICE("share", "both|a|b|none", "which factors of the teacher's adapters the student shares", ADAPTERS, share, "both", "a", "b",
           "none"),
    {{"share-map", "even-a|even-b|even-c|first|last|LIST", "which teacher layer a student layer shares; LIST: one number for each "
      "student layer, from 0, -1 for adapters of its own", ADAPTERS, true},
     KIND_MAP, FIELD(share_map), {"even-a", "even-b", "even-c", "first", "last"}},
    CHOICE("share-truncation", "block|naive", "which rows of B the student reads: the first of each of q, k, v, or the first of all "
           "(an ablation)", ADAPTERS, share_truncation, "block", "naive"),
    CHOICE("share-scale", "same|fan-in", "scale of the student's part: the teacher's, or that times the root of the widths' ratio",
           ADAPTERS, share_scale, "same", "fan-in"),
    CHOICE("unmapped", "lora|frozen", "teacher layers that no student layer shares: adapted too, or left as they are", ADAPTERS,
           unmapped, "lora", "frozen"),
    VALUE("private-rank", "N", "rank of adapters that each model has beside the shared ones; 0: none", ADAPTERS, KIND_U32, private_rank),

    VALUE("alpha-student", "X", "weight of the student's task loss", LOSSES, KIND_NUMBER, alpha_student),
    VALUE("alpha-teacher", "X", "weight of the teacher's task loss", LOSSES, KIND_NUMBER, alpha_teacher),
    VALUE("alpha-kl", "X", "weight of the distillation loss", LOSSES, KIND_NUMBER, alpha_kl),
    VALUE("tau", "X", "temperature of the distillation loss", LOSSES, KIND_NUMBER, tau),
    CHOICE("loss", "sum|convex", "sum: alpha-student CE_S + alpha-teacher CE_T + alpha-kl KL; convex: (1 - alpha-kl) CE_S + alpha-kl "
           "KL + alpha-teacher CE_T, with alpha-kl in 0 to 1 (at 1 the student sees no labels)", LOSSES, loss, "sum", "convex"),
    CHOICE("kl-direction", "forward|reverse|symmetric", "forward: KL(teacher || student); reverse: KL(student || teacher); symmetric: "
           "the mean of both (our choice)", LOSSES, kl_direction, "forward", "reverse", "symmetric"),
    VALUE("kl-detach", "on|off", "on: the KL leaves the teacher's logits alone; off: it also pulls them to the student's", LOSSES,
          KIND_SWITCH, kl_detach),
    VALUE("kl-tau2", "on|off", "on: multiply the KL by tau squared, so that its gradient keeps its size as tau grows", LOSSES,
          KIND_SWITCH, kl_tau2),
    VALUE("label-smoothing", "X", "e in 0 to 1: targets of both task losses are (1 - e) onehot + e / classes", LOSSES, KIND_NUMBER,
          label_smoothing),
    CHOICE("feature-loss", "none|cls|patch", "also pull the student's features, through a learned projection, to the teacher's: the "
           "class token's, or all tokens'", LOSSES, feature_loss, "none", "cls", "patch"),
    VALUE("alpha-feature", "X", "weight of the feature loss", LOSSES, KIND_NUMBER, alpha_feature),

    CHOICE("head", "cls-mean|cls", "what the heads read: CLS and the mean of the patches, or CLS", HEAD, head, "cls-mean", "cls"),
    CHOICE("head-init", "random|probe", "start the heads at random, or from a first stage that trains them alone for all epochs", HEAD,
           head_init, "random", "probe"),
    ABSENT("head-layers", "1|4", "last layers that a segmentation head reads", HEAD),

    VALUE("epochs", "N", "passes over the training images, of each stage", RECIPE, KIND_U32, epochs),
    VALUE("steps", "N", "steps of each stage; replaces --epochs (0: epochs decide)", RECIPE, KIND_U64, steps),
    VALUE("batch", "N", "images a step", RECIPE, KIND_U32, batch),
    VALUE("micro-batch", "auto|N", "images at once on the device; auto: as many as its memory plan permits", RECIPE, KIND_AUTO_U32,
          micro_batch),
    VALUE("lr", "X", "learning rate of adapters, and of weights where all are trained", RECIPE, KIND_NUMBER, learning_rate),
    VALUE("head-lr", "X", "learning rate of the heads", RECIPE, KIND_NUMBER, head_learning_rate),
    VALUE("weight-decay", "X", "decoupled decay of trained matrices", RECIPE, KIND_NUMBER, weight_decay),
    VALUE("clip", "X", "global gradient norm to clip at; 0: off", RECIPE, KIND_NUMBER, clip),
    CHOICE("schedule", "cosine|constant|poly", "course of the learning rate after warm-up", RECIPE, schedule, "cosine", "constant",
           "poly"),
    VALUE("warmup", "X", "fraction of the steps in which the rate rises from 0", RECIPE, KIND_NUMBER, warmup),
    VALUE("ema", "X", "decay of a moving average of all that is trained, which is then evaluated and exported; 0: none", RECIPE,
          KIND_NUMBER, ema),
    VALUE("mixup", "X", "alpha of mixup's Beta distribution; 0: off", RECIPE, KIND_NUMBER, mixup),
    VALUE("cutmix", "X", "alpha of CutMix's Beta distribution; 0: off; with mixup, one of them a batch", RECIPE, KIND_NUMBER, cutmix),
    CHOICE("augment", "crop-flip|none|strong", "augmentation of training images; strong: MoCo v2's colours, grey and blur too", RECIPE, augment,
           "crop-flip", "none", "strong"),
    VALUE("crop-scale", "LOW,HIGH", "area of a random crop, as a fraction of the image's", RECIPE, KIND_PAIR, crop_scale),
    VALUE("shuffle", "on|off", "a new order of images each epoch", RECIPE, KIND_SWITCH, shuffle),
    VALUE("seed", "N", "seed of everything random", RECIPE, KIND_U64, seed),

    VALUE("image-size", "N", "pixels a side; 0: the crop size of the student's preprocessor_config.json", TASK, KIND_U32, image_size),
    CHOICE("pos-embed", "auto|transformers|hub|antialias", "how position tables are resized; auto: as their owner does", TASK,
           position_mode, "auto", "transformers", "hub", "antialias"),
    ABSENT("task", "classify|segment", "what is learnt; this version classifies", TASK),
    ABSENT("crop", "N", "training crop of segmentation", TASK),
    ABSENT("window", "N", "sliding window of segmentation", TASK),
    ABSENT("stride", "N", "stride of the sliding window", TASK),

    VALUE("eval-every", "X", "epochs between evaluations; 0: only at the end", RUNNING, KIND_NUMBER, eval_every),
    {{"checkpoint-every", "N|Nm", "steps, or minutes with an m, between checkpoints, beside those at the end of each epoch; 0: none",
      RUNNING, true}, KIND_INTERVAL, FIELD(checkpoint_steps), {NULL}},
    CHOICE("keep", "last|best", "which state a run leaves: the last, or the one whose evaluation was best for the student", RUNNING,
           keep, "last", "best"),
    VALUE("workers", "auto|N", "loader threads; they never change a result", RUNNING, KIND_AUTO_U32, workers),
    ABSENT("precision", "fp32|fp16-storage|bf16-storage", "storage of weights and activations", RUNNING),
    CHOICE("recompute", "auto|on|off", "compute activations again for the gradients instead of keeping them; auto: where memory is "
           "short; results stay the same", RUNNING, recompute, "auto", "on", "off"),
    VALUE("memory-limit", "auto|MIB|NG", "device memory that training stays below, in MiB or GiB; auto: most of the device's", RUNNING,
          KIND_MEBIBYTES, memory_limit),
};
/* clang-format on */

const size_t slad_option_row_count = sizeof slad_option_rows / sizeof *slad_option_rows;

size_t slad_train_option_count(void)
{
    return slad_option_row_count;
}

const slad_option *slad_train_option_at(size_t index)
{
    return &slad_option_rows[index].option;
}
