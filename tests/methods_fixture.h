/* The pair of encoders of tests/oracle/make_methods.py in each of its kinds, its options and batches. */
#ifndef SLAD_TESTS_METHODS_FIXTURE_H
#define SLAD_TESTS_METHODS_FIXTURE_H

#include "formula.h"

#include "cl/device.h"
#include "slad/train.h"

enum {
    SIZE = 16,
    CLASSES = 5,
    IMAGES = 16,
    BATCH = 6,
    MICRO_BATCH = 3,
    STEPS = 10,
    SEED = 7,
    LOSSES = 5,
    METHODS_SETTINGS = 6
};

/* The two encoders as they may be made. */
enum { PLAIN, GIANT, VIT, KINDS };
static const char *const kind_names[KINDS] = {"plain", "giant", "vit"};
#define TEACHER_MODEL                                                                                                  \
    {                                                                                                                  \
        "teacher.", 24, 5, 3, 4, 4, 5                                                                                  \
    }
#define STUDENT_MODEL                                                                                                  \
    {                                                                                                                  \
        "student.", 16, 2, 2, 4, 4, 5                                                                                  \
    }
static const formula_variant teacher_models[KINDS] = {
    [PLAIN] = {.encoder = TEACHER_MODEL},
    [GIANT] = {.encoder = TEACHER_MODEL, .type = SLAD_HF_DINOV2_WITH_REGISTERS, .registers = 3, .gated = true},
    [VIT] = {.encoder = TEACHER_MODEL, .type = SLAD_HF_VIT},
};
static const formula_variant student_models[KINDS] = {
    [PLAIN] = {.encoder = STUDENT_MODEL},
    [GIANT] = {.encoder = STUDENT_MODEL, .type = SLAD_HF_DINOV2_WITH_REGISTERS, .registers = 3, .gated = true},
    [VIT] = {.encoder = STUDENT_MODEL, .type = SLAD_HF_VIT},
};

typedef struct setting {
    const char *option, *value;
} setting;

/* The options of the script's cases, as the command line has them; the method is slad where none is set. "teacher" and
 * "student" choose one of the kinds above. */
typedef struct method_case {
    const char *name;
    setting settings[METHODS_SETTINGS];
} method_case;

/* What all cases share. */
typedef struct methods_bench {
    scratch *own;
    slad_device *devices[2]; /* as it is, and like a GPU */
    slad_encoder *teachers[KINDS], *students[KINDS];
    slad_safetensors *fixture;
    float pixels[IMAGES * 3 * SIZE * SIZE], weights[IMAGES], mix[IMAGES];
    int32_t labels[IMAGES], labels_2[IMAGES];
} methods_bench;

static methods_bench methods;

static inline void methods_require(slad_status status, const char *name)
{
    if (status != SLAD_OK) fail_msg("%s: %s", name, slad_context_message(methods.own->context));
}

static inline int methods_open(void **state)
{
    char folder[1024], name[64];
    void *own = NULL;
    (void)state;
    if (scratch_begin(&own) != 0) return -1;
    methods.own = own;
    const slad_device_options options = {.spec = getenv("TEST_DEVICE")};
    slad_context *context = methods.own->context;
    for (int i = 0; i < 2; i++) methods_require(slad_device_open(context, &methods.devices[i], &options), "device");
    slad_features *features = &methods.devices[1]->features;
    features->vector_width = 4;
    features->row_lanes = 16;
    features->block_group_size = 32;
    features->max_groups_per_enqueue = 7;
    features->use_clblast = true;
    methods_require(slad_safetensors_open(context, &methods.fixture, SLAD_FIXTURES "/methods.safetensors"), "fixture");
    for (size_t kind = 0; kind < KINDS; kind++) {
        (void)snprintf(name, sizeof name, "teacher-%s", kind_names[kind]);
        formula_write_variant(methods.own, folder, name, &teacher_models[kind]);
        methods_require(slad_encoder_open(context, &methods.teachers[kind], folder), name);
        (void)snprintf(name, sizeof name, "student-%s", kind_names[kind]);
        formula_write_variant(methods.own, folder, name, &student_models[kind]);
        methods_require(slad_encoder_open(context, &methods.students[kind], folder), name);
    }
    formula_tensor(methods.pixels, sizeof methods.pixels / sizeof *methods.pixels, "methods.pixels", 2.0, 0);
    formula_labels(methods.labels, IMAGES, "methods.labels", CLASSES);
    formula_labels(methods.labels_2, IMAGES, "methods.labels_2", CLASSES);
    formula_tensor(methods.mix, IMAGES, "methods.mix", 0.5, 0.5);
    for (size_t i = 0; i < IMAGES; i++) methods.weights[i] = 1.0f;
    return 0;
}

static inline int methods_close(void **state)
{
    void *own = methods.own;
    (void)state;
    for (size_t kind = 0; kind < KINDS; kind++) {
        slad_encoder_free(methods.teachers[kind]);
        slad_encoder_free(methods.students[kind]);
    }
    for (int i = 0; i < 2; i++) slad_device_free(methods.devices[i]);
    slad_safetensors_close(methods.fixture);
    return scratch_end(&own);
}

/* The options of the script. */
static inline slad_train_options methods_options(const method_case *test)
{
    slad_train_options options = slad_train_options_default();
    slad_train_options_set_method(&options, SLAD_METHOD_SLAD);
    options.lora_rank = 3;
    options.lora_alpha = 4;
    options.batch = BATCH;
    options.micro_batch = MICRO_BATCH;
    options.learning_rate = 4e-3;
    options.head_learning_rate = 1e-2;
    options.weight_decay = 0.05;
    options.clip = 2.5;
    options.warmup = 0.2;
    options.seed = SEED;
    for (size_t i = 0; i < METHODS_SETTINGS && test->settings[i].option; i++) {
        const setting *set = &test->settings[i];
        if (strcmp(set->option, "teacher") == 0 || strcmp(set->option, "student") == 0) continue;
        methods_require(slad_train_options_set(methods.own->context, &options, set->option, set->value), test->name);
    }
    return options;
}

/* The kind that the case has of a model. */
static inline size_t methods_kind(const method_case *test, const char *model)
{
    for (size_t i = 0; i < METHODS_SETTINGS && test->settings[i].option; i++)
        for (size_t kind = 0; kind < KINDS; kind++)
            if (strcmp(test->settings[i].option, model) == 0 && strcmp(test->settings[i].value, kind_names[kind]) == 0)
                return kind;
    return PLAIN;
}

/* The images in order, the last batch of an epoch short. Where images are mixed, these count as mixed already. */
static inline slad_batch methods_batch(const slad_train_options *options, size_t step)
{
    const bool mixed = options->mixup > 0 || options->cutmix > 0;
    const size_t batches = (IMAGES + BATCH - 1) / BATCH, first = step % batches * BATCH;
    const size_t left = IMAGES - first, count = left < BATCH ? left : BATCH;
    return (slad_batch){
        .pixel_values = methods.pixels + first * 3 * SIZE * SIZE,
        .labels = methods.labels + first,
        .labels_2 = mixed ? methods.labels_2 + first : NULL,
        .mix = mixed ? methods.mix + first : NULL,
        .task_weights = methods.weights + first,
        .kl_weights = methods.weights + first,
        .capacity = count,
        .count = count,
        .height = SIZE,
        .width = SIZE,
    };
}

#endif
