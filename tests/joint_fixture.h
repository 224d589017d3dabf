/* The tiny pair of encoders of tests/oracle/make_joint.py, and a trainer over it. */
#ifndef SLAD_TESTS_JOINT_FIXTURE_H
#define SLAD_TESTS_JOINT_FIXTURE_H

#include "formula.h"

#include "cl/device.h"
#include "train/trainer.h"

enum { JOINT_SIZE = 56, JOINT_CLASSES = 7, JOINT_IMAGES = 22, JOINT_BATCH = 8, JOINT_STEPS = 24, JOINT_RANK = 5 };

typedef struct joint {
    scratch *own;
    slad_device *device;
    slad_encoder *teacher, *student;
    slad_trainer *trainer;
    slad_train_options options;
    slad_safetensors *fixture;
    const char *method;
    bool like_a_gpu; /* set before joint_open_with: the device's features become those of a GPU */
    float *pixels;   /* of all images */
    int32_t labels[JOINT_IMAGES];
    float weights[JOINT_IMAGES];
    int32_t labels_2[JOINT_IMAGES]; /* of images that are mixed, as far as labels go: those of the batch in reverse */
    float mix[JOINT_IMAGES];
} joint;

#define JOINT_SHARE 0.7f /* of the first label, where images are mixed */

/* The options of the script. */
static inline slad_train_options joint_options(slad_method method)
{
    slad_train_options options = slad_train_options_default();
    slad_train_options_set_method(&options, method);
    options.lora_rank = JOINT_RANK;
    options.lora_alpha = 8;
    options.batch = JOINT_BATCH;
    options.micro_batch = JOINT_BATCH;
    options.learning_rate = 5e-3;
    options.head_learning_rate = 1e-2;
    options.weight_decay = 0.05;
    options.clip = 4.0;
    options.warmup = 0.1;
    return options;
}

/* Replaces every trained tensor by the script's initial values, through a file as --init does. */
static inline void joint_initialise(joint *test)
{
    static slad_safetensors_entry entries[64];
    static uint64_t shapes[64][2];
    static float *values[64];
    scratch *own = test->own;
    char name[128], path[1100];
    const size_t count = slad_store_trained_count(test->trainer->store);
    for (size_t i = 0; i < count; i++) {
        const slad_tensor *tensor = slad_store_trained_at(test->trainer->store, i)->tensor;
        const size_t elements = slad_tensor_elements(tensor);
        shapes[i][0] = tensor->rank == 1 ? elements : slad_tensor_rows(tensor);
        shapes[i][1] = slad_tensor_columns(tensor);
        values[i] = malloc(elements * sizeof **values);
        assert_non_null(values[i]);
        (void)snprintf(name, sizeof name, "init.%s", tensor->name);
        formula_tensor(values[i], elements, name, 0.1, 0);
        entries[i] = (slad_safetensors_entry){tensor->name, SLAD_SAFETENSORS_F32, tensor->rank == 1 ? 1 : 2, shapes[i],
                                              values[i]};
    }
    (void)snprintf(path, sizeof path, "%s/init.safetensors", own->folder);
    assert_int_equal(slad_safetensors_write(own->context, path, entries, count, NULL, 0), SLAD_OK);
    assert_int_equal(slad_trainer_load(test->trainer, path), SLAD_OK);
    for (size_t i = 0; i < count; i++) free(values[i]);
}

static inline void joint_open_models(joint *test)
{
    char folder[1024];
    scratch *own = test->own;
    const slad_device_options device_options = {.spec = getenv("TEST_DEVICE")};
    assert_int_equal(slad_device_open(own->context, &test->device, &device_options), SLAD_OK);
    if (test->like_a_gpu) {
        test->device->features.vector_width = 4;
        test->device->features.row_lanes = 16;
        test->device->features.block_group_size = 32;
        test->device->features.max_groups_per_enqueue = 7;
        test->device->features.use_clblast = true;
    }
    formula_write_model(own, folder, "teacher", &(formula_encoder){"teacher.", 128, 4, 2, 4, 14, 5});
    assert_int_equal(slad_encoder_open(own->context, &test->teacher, folder), SLAD_OK);
    formula_write_model(own, folder, "student", &(formula_encoder){"student.", 64, 3, 1, 4, 14, 5});
    assert_int_equal(slad_encoder_open(own->context, &test->student, folder), SLAD_OK);
}

static inline void joint_open_trainer(joint *test)
{
    const bool alone = test->options.teacher_adapt == SLAD_ADAPT_NONE;
    assert_int_equal(slad_trainer_create(test->own->context, &test->trainer, test->device, alone ? NULL : test->teacher,
                                         test->student, JOINT_CLASSES, JOINT_SIZE, JOINT_STEPS, &test->options),
                     SLAD_OK);
}

static inline void joint_open_with(joint *test, scratch *own, slad_train_options options, bool like_a_gpu)
{
    static const char *const names[] = {"slad",        "joint", "kd-probe", "kd-lora",
                                        "kd-finetune", "probe", "lora",     "finetune"};
    const size_t floats = (size_t)JOINT_IMAGES * 3 * JOINT_SIZE * JOINT_SIZE;
    *test = (joint){.own = own, .options = options, .method = names[options.method], .like_a_gpu = like_a_gpu};
    assert_int_equal(slad_safetensors_open(own->context, &test->fixture, SLAD_FIXTURES "/joint.safetensors"), SLAD_OK);
    test->pixels = malloc(floats * sizeof *test->pixels);
    assert_non_null(test->pixels);
    formula_tensor(test->pixels, floats, "joint.pixels", 2.0, 0);
    formula_labels(test->labels, JOINT_IMAGES, "joint.labels", JOINT_CLASSES);
    for (size_t i = 0; i < JOINT_IMAGES; i++) test->weights[i] = 1.0f;
    joint_open_models(test);
    joint_open_trainer(test);
    joint_initialise(test);
}

static inline void joint_open(joint *test, scratch *own, slad_train_options options)
{
    joint_open_with(test, own, options, false);
}

static inline void joint_close(joint *test)
{
    slad_trainer_free(test->trainer);
    slad_encoder_free(test->teacher);
    slad_encoder_free(test->student);
    slad_device_free(test->device);
    slad_safetensors_close(test->fixture);
    free(test->pixels);
}

/* The batch of a step: the images in order, the last batch of an epoch short. */
static inline slad_batch joint_batch(joint *test, size_t step)
{
    const size_t batches = (JOINT_IMAGES + JOINT_BATCH - 1) / JOINT_BATCH, first = step % batches * JOINT_BATCH;
    const size_t left = JOINT_IMAGES - first, count = left < JOINT_BATCH ? left : JOINT_BATCH;
    const bool is_mixed = test->options.mixup > 0 || test->options.cutmix > 0;
    for (size_t i = 0; i < count; i++) {
        test->labels_2[first + i] = test->labels[first + count - 1 - i];
        test->mix[first + i] = JOINT_SHARE;
    }
    return (slad_batch){
        .pixel_values = test->pixels + first * 3 * JOINT_SIZE * JOINT_SIZE,
        .labels = test->labels + first,
        .labels_2 = is_mixed ? test->labels_2 + first : NULL,
        .mix = is_mixed ? test->mix + first : NULL,
        .task_weights = test->weights + first,
        .kl_weights = test->weights + first,
        .capacity = count,
        .count = count,
        .height = JOINT_SIZE,
        .width = JOINT_SIZE,
    };
}

/* A tensor "METHOD.what" of the fixture. The caller frees. */
static inline float *joint_expected(joint *test, const char *what, const char *name, size_t *count)
{
    char full[192];
    (void)snprintf(full, sizeof full, "%s.%s%s%s", test->method, what, name ? "." : "", name ? name : "");
    return fixture_read(test->own, test->fixture, full, count);
}

/* The micro-batch phase over the first batch, after which the gradients of step 0 can be read. */
static inline void joint_forward_and_backward(joint *test)
{
    slad_trainer *trainer = test->trainer;
    const slad_pass *pass = &trainer->training;
    const slad_batch batch = joint_batch(test, 0);
    float values[SLAD_STEP_VALUES] = {0};
    values[SLAD_STEP_INVERSE_TASK] = values[SLAD_STEP_INVERSE_KL] = 1.0f / JOINT_BATCH;
    slad_executor *executor = trainer->executor;
    assert_int_equal(slad_executor_write(executor, NULL, trainer->step_values, values), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->pixels, batch.pixel_values), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->labels, batch.labels), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->task_weights, batch.task_weights), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->kl_weights, batch.kl_weights), SLAD_OK);
    if (pass->mix) {
        assert_int_equal(slad_executor_write(executor, pass->record, pass->labels_2, batch.labels_2), SLAD_OK);
        assert_int_equal(slad_executor_write(executor, pass->record, pass->mix, batch.mix), SLAD_OK);
    }
    assert_int_equal(slad_executor_run(executor, pass->record, SLAD_PHASE_MICRO_BATCH), SLAD_OK);
}

/* The largest error of a tensor, relative to the root mean square of what is expected of it. */
static inline double joint_error(const float *measured, const float *expected, size_t count)
{
    double worst = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(measured[i]));
        worst = fmax(worst, fabs((double)measured[i] - (double)expected[i]));
        squares += (double)expected[i] * (double)expected[i];
    }
    assert_true(squares > 0);
    return worst / sqrt(squares / (double)count);
}

#endif
