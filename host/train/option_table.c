/* The table of training options: names, values, help; setting and reading them as text. */
#include "base/error.h"
#include "slad/train.h"
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum slad_option_kind {
    KIND_ABSENT,
    KIND_U32,
    KIND_AUTO_U32, /* "auto" is 0 */
    KIND_U64,
    KIND_NUMBER,
    KIND_PAIR, /* LOW,HIGH */
    KIND_SWITCH,
    KIND_METHOD,
    KIND_CHOICE
} slad_option_kind;

typedef struct slad_option_row {
    slad_option option;
    slad_option_kind kind;
    size_t offset;          /* of the field */
    const char *choices[6]; /* by the enumeration's value */
} slad_option_row;

#define FIELD(name) offsetof(slad_train_options, name)
#define ABSENT(name, values, help, group)                                                                              \
    {                                                                                                                  \
        {name, values, help, group, false}, KIND_ABSENT, 0,                                                            \
        {                                                                                                              \
            NULL                                                                                                       \
        }                                                                                                              \
    }

#define ADAPTERS "adapters"
#define LOSSES   "losses"
#define HEAD     "head"
#define RECIPE   "recipe"
#define TASK     "task"
#define RUNNING  "running"

static const slad_option_row rows[] = {
    {{"method", "slad|joint|lora|probe",
      "slad: both models with shared adapters; joint: each its own; lora, probe: the "
      "student alone",
      "method", true},
     KIND_METHOD,
     FIELD(method),
     {"slad", "joint", "lora", "probe"}},
    ABSENT("teacher-adapt", "none|probe|lora|all|frozen", "what of the teacher is trained", "method"),
    ABSENT("student-adapt", "probe|lora|all", "what of the student is trained", "method"),
    ABSENT("stages", "joint|two", "both models at once, or the teacher first", "method"),

    {{"lora-rank", "N", "rank of the adapters", ADAPTERS, true}, KIND_U32, FIELD(lora_rank), {NULL}},
    {{"lora-alpha", "X", "the adapters' scale is alpha / rank", ADAPTERS, true},
     KIND_NUMBER,
     FIELD(lora_alpha),
     {NULL}},
    {{"share", "both|none", "which factors of the teacher's adapters the student shares", ADAPTERS, true},
     KIND_CHOICE,
     FIELD(share),
     {"both", "none"}},
    {{"share-map", "even-a|first|last", "which teacher layer a student layer shares", ADAPTERS, true},
     KIND_CHOICE,
     FIELD(share_map),
     {"even-a", "first", "last"}},
    ABSENT("lora-form", "fused|split", "one adapter for q, k, v or one each", ADAPTERS),
    ABSENT("lora-targets", "qkv|all", "which layers are adapted", ADAPTERS),
    ABSENT("lora-dropout", "X", "dropout before the adapters", ADAPTERS),
    ABSENT("lora-plus", "X", "learning-rate ratio of B to A", ADAPTERS),
    ABSENT("share-truncation", "block|naive", "which rows of B the student reads", ADAPTERS),
    ABSENT("share-scale", "same|fan-in", "scale of the student's slice of A", ADAPTERS),
    ABSENT("unmapped", "lora|frozen", "teacher layers that no student layer shares", ADAPTERS),
    ABSENT("private-rank", "N", "rank of private adapters beside the shared", ADAPTERS),
    ABSENT("teacher-adapter", "DIR", "PEFT folder to start from", ADAPTERS),
    ABSENT("student-adapter", "DIR", "PEFT folder to start from", ADAPTERS),

    {{"alpha-student", "X", "weight of the student's task loss", LOSSES, true},
     KIND_NUMBER,
     FIELD(alpha_student),
     {NULL}},
    {{"alpha-teacher", "X", "weight of the teacher's task loss", LOSSES, true},
     KIND_NUMBER,
     FIELD(alpha_teacher),
     {NULL}},
    {{"alpha-kl", "X", "weight of the distillation loss", LOSSES, true}, KIND_NUMBER, FIELD(alpha_kl), {NULL}},
    {{"tau", "X", "temperature of the distillation loss", LOSSES, true}, KIND_NUMBER, FIELD(tau), {NULL}},
    {{"loss", "sum|convex",
      "sum: alpha-student CE_S + alpha-teacher CE_T + alpha-kl KL; convex: (1 - alpha-kl) CE_S + alpha-kl KL + "
      "alpha-teacher CE_T, with alpha-kl in 0 to 1 (at 1 the student sees no labels)",
      LOSSES, true},
     KIND_CHOICE,
     FIELD(loss),
     {"sum", "convex"}},
    {{"kl-direction", "forward|reverse|symmetric",
      "forward: KL(teacher || student); reverse: KL(student || teacher); symmetric: the mean of both (our choice)",
      LOSSES, true},
     KIND_CHOICE,
     FIELD(kl_direction),
     {"forward", "reverse", "symmetric"}},
    {{"kl-detach", "on|off", "on: the KL leaves the teacher's logits alone; off: it also pulls them to the student's",
      LOSSES, true},
     KIND_SWITCH,
     FIELD(kl_detach),
     {NULL}},
    {{"kl-tau2", "on|off", "on: multiply the KL by tau squared, so that its gradient keeps its size as tau grows",
      LOSSES, true},
     KIND_SWITCH,
     FIELD(kl_tau2),
     {NULL}},
    {{"label-smoothing", "X", "e in 0 to 1: targets of both task losses are (1 - e) onehot + e / classes", LOSSES,
      true},
     KIND_NUMBER,
     FIELD(label_smoothing),
     {NULL}},
    ABSENT("feature-loss", "none|cls|patch", "feature distillation", LOSSES),
    ABSENT("unlabelled", "DIR", "images that count in the KL only", LOSSES),

    {{"head", "cls-mean|cls", "what the heads read: CLS and the mean of the patches, or CLS", HEAD, true},
     KIND_CHOICE,
     FIELD(head),
     {"cls-mean", "cls"}},
    ABSENT("head-init", "random|probe", "start the heads from a probe", HEAD),
    ABSENT("head-layers", "1|4", "last layers that a segmentation head reads", HEAD),

    {{"epochs", "N", "passes over the training images", RECIPE, true}, KIND_U32, FIELD(epochs), {NULL}},
    {{"steps", "N", "steps; replaces --epochs (0: epochs decide)", RECIPE, true}, KIND_U64, FIELD(steps), {NULL}},
    {{"batch", "N", "images a step", RECIPE, true}, KIND_U32, FIELD(batch), {NULL}},
    {{"micro-batch", "auto|N", "images at once on the device; auto: as many as its memory plan permits", RECIPE, true},
     KIND_AUTO_U32,
     FIELD(micro_batch),
     {NULL}},
    {{"lr", "X", "learning rate of the adapters", RECIPE, true}, KIND_NUMBER, FIELD(learning_rate), {NULL}},
    {{"head-lr", "X", "learning rate of the heads", RECIPE, true}, KIND_NUMBER, FIELD(head_learning_rate), {NULL}},
    {{"weight-decay", "X", "decoupled decay of trained matrices", RECIPE, true},
     KIND_NUMBER,
     FIELD(weight_decay),
     {NULL}},
    {{"clip", "X", "global gradient norm to clip at; 0: off", RECIPE, true}, KIND_NUMBER, FIELD(clip), {NULL}},
    {{"schedule", "cosine|constant|poly", "course of the learning rate after warm-up", RECIPE, true},
     KIND_CHOICE,
     FIELD(schedule),
     {"cosine", "constant", "poly"}},
    {{"warmup", "X", "fraction of the steps in which the rate rises from 0", RECIPE, true},
     KIND_NUMBER,
     FIELD(warmup),
     {NULL}},
    {{"augment", "crop-flip|none", "augmentation of training images", RECIPE, true},
     KIND_CHOICE,
     FIELD(augment),
     {"crop-flip", "none"}},
    {{"crop-scale", "LOW,HIGH", "area of a random crop, as a fraction of the image's", RECIPE, true},
     KIND_PAIR,
     FIELD(crop_scale),
     {NULL}},
    {{"shuffle", "on|off", "a new order of images each epoch", RECIPE, true}, KIND_SWITCH, FIELD(shuffle), {NULL}},
    {{"seed", "N", "seed of everything random", RECIPE, true}, KIND_U64, FIELD(seed), {NULL}},
    ABSENT("ema", "X", "moving average of the trained values", RECIPE),
    ABSENT("mixup", "X", "mixup's alpha", RECIPE),
    ABSENT("cutmix", "X", "CutMix's alpha", RECIPE),

    {{"image-size", "N", "pixels a side; 0: the crop size of the student's preprocessor_config.json", TASK, true},
     KIND_U32,
     FIELD(image_size),
     {NULL}},
    {{"pos-embed", "auto|transformers|hub|antialias", "how position tables are resized; auto: as their owner does",
      TASK, true},
     KIND_CHOICE,
     FIELD(position_mode),
     {"auto", "transformers", "hub", "antialias"}},
    ABSENT("task", "classify|segment", "what is learnt; this version classifies", TASK),
    ABSENT("crop", "N", "training crop of segmentation", TASK),
    ABSENT("window", "N", "sliding window of segmentation", TASK),
    ABSENT("stride", "N", "stride of the sliding window", TASK),

    {{"eval-every", "X", "epochs between evaluations; 0: only at the end", RUNNING, true},
     KIND_NUMBER,
     FIELD(eval_every),
     {NULL}},
    {{"workers", "auto|N", "loader threads; they never change a result", RUNNING, true},
     KIND_AUTO_U32,
     FIELD(workers),
     {NULL}},
    ABSENT("checkpoint-every", "N|Nm", "steps or minutes between checkpoints", RUNNING),
    ABSENT("keep", "last|best", "which state is kept", RUNNING),
    ABSENT("resume", "", "continue a stopped run", RUNNING),
    ABSENT("precision", "fp32|fp16-storage|bf16-storage", "storage of weights and activations", RUNNING),
    ABSENT("recompute", "auto|on|off", "recompute activations to save memory", RUNNING),
    ABSENT("memory-limit", "MIB", "device memory to stay below", RUNNING),
};

/* Choices are copied as int into enumerations. */
_Static_assert(sizeof(slad_share) == sizeof(int) && sizeof(slad_share_map) == sizeof(int) &&
                   sizeof(slad_head_kind) == sizeof(int) && sizeof(slad_schedule_kind) == sizeof(int) &&
                   sizeof(slad_augment_kind) == sizeof(int) && sizeof(slad_position_mode) == sizeof(int),
               "enumerations of the options have the size of int");

static const size_t row_count = sizeof rows / sizeof *rows;

size_t slad_train_option_count(void)
{
    return row_count;
}

const slad_option *slad_train_option_at(size_t index)
{
    return &rows[index].option;
}

static const slad_option_row *find_row(const char *name)
{
    for (size_t i = 0; i < row_count; i++)
        if (strcmp(rows[i].option.name, name) == 0) return &rows[i];
    return NULL;
}

static bool parse_number(double *value, const char *text, char end)
{
    char *rest;
    errno = 0;
    *value = strtod(text, &rest);
    return rest != text && *rest == end && errno == 0 && isfinite(*value);
}

static bool parse_whole(uint64_t *value, const char *text, uint64_t most)
{
    char *rest;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    *value = strtoull(text, &rest, 10);
    return *rest == '\0' && errno == 0 && *value <= most;
}

static bool parse_choice(int *value, const slad_option_row *row, const char *text)
{
    for (*value = 0; row->choices[*value]; ++*value)
        if (strcmp(row->choices[*value], text) == 0) return true;
    return false;
}

static bool set_pair(double *pair, const char *text)
{
    const char *comma = strchr(text, ',');
    return comma && parse_number(&pair[0], text, ',') && parse_number(&pair[1], comma + 1, '\0');
}

static bool set_switch(bool *field, const char *text)
{
    *field = strcmp(text, "on") == 0;
    return *field || strcmp(text, "off") == 0;
}

/* Parses text into the row's field; false if it is no such value. */
static bool set_field(slad_train_options *options, const slad_option_row *row, const char *text)
{
    char *field = (char *)options + row->offset;
    uint64_t whole = 0;
    int choice = 0;
    switch (row->kind) {
    case KIND_AUTO_U32:
    case KIND_U32:
        if (!(row->kind == KIND_AUTO_U32 && strcmp(text, "auto") == 0) && !parse_whole(&whole, text, UINT32_MAX))
            return false;
        *(uint32_t *)(void *)field = (uint32_t)whole;
        return true;
    case KIND_U64:
        return parse_whole((uint64_t *)(void *)field, text, UINT64_MAX);
    case KIND_NUMBER:
        return parse_number((double *)(void *)field, text, '\0');
    case KIND_PAIR:
        return set_pair((double *)(void *)field, text);
    case KIND_SWITCH:
        return set_switch((bool *)(void *)field, text);
    case KIND_METHOD:
        if (!parse_choice(&choice, row, text)) return false;
        slad_train_options_set_method(options, (slad_method)choice);
        return true;
    case KIND_CHOICE:
        if (!parse_choice(&choice, row, text)) return false;
        memcpy(field, &choice, sizeof choice); /* every enumeration of the options has the size of int */
        return true;
    case KIND_ABSENT:
        break;
    }
    return false;
}

slad_status slad_train_options_set(slad_context *context, slad_train_options *options, const char *name,
                                   const char *text)
{
    slad_status status = SLAD_OK;
    const slad_option_row *row = find_row(name);
    SLAD_FAIL_IF(!row, SLAD_ERROR_USAGE, "There is no option --%s; see slad train --help", name);
    SLAD_FAIL_IF(!row->option.available, SLAD_ERROR_USAGE, "Option --%s is not available in this version of slad",
                 name);
    SLAD_FAIL_IF(!set_field(options, row, text), SLAD_ERROR_USAGE,
                 "\"%s\" is no value of --%s in this version of slad; it takes %s", text, name, row->option.values);
cleanup:
    return status;
}

static const char *choice_text(const slad_train_options *options, const slad_option_row *row)
{
    int choice;
    memcpy(&choice, (const char *)options + row->offset, sizeof choice);
    return row->choices[choice];
}

bool slad_train_options_get(const slad_train_options *options, const char *name, char *text)
{
    const slad_option_row *row = find_row(name);
    if (!row || !row->option.available) return false;
    const void *field = (const char *)options + row->offset;
    const double *numbers = field;
    switch (row->kind) {
    case KIND_AUTO_U32:
        if (*(const uint32_t *)field == 0) return snprintf(text, 64, "auto") > 0;
        return snprintf(text, 64, "%u", *(const uint32_t *)field) > 0;
    case KIND_U32:
        return snprintf(text, 64, "%u", *(const uint32_t *)field) > 0;
    case KIND_U64:
        return snprintf(text, 64, "%llu", (unsigned long long)*(const uint64_t *)field) > 0;
    case KIND_NUMBER:
        return snprintf(text, 64, "%.9g", numbers[0]) > 0;
    case KIND_PAIR:
        return snprintf(text, 64, "%.9g,%.9g", numbers[0], numbers[1]) > 0;
    case KIND_SWITCH:
        return snprintf(text, 64, "%s", *(const bool *)field ? "on" : "off") > 0;
    case KIND_METHOD:
    case KIND_CHOICE:
        return snprintf(text, 64, "%s", choice_text(options, row)) > 0;
    case KIND_ABSENT:
        break;
    }
    return false;
}
