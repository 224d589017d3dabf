/* What must hold of joint training whatever the numbers are (method.md, section 15). */
#include "joint_fixture.h"

#include "base/files.h"

/* Loss of a forward and backward pass over the first batch, on any executor. */
static double loss_of(joint *test, slad_executor *executor)
{
    const slad_trainer *trainer = test->trainer;
    const slad_pass *pass = &trainer->training;
    const slad_batch batch = joint_batch(test, 0);
    const slad_train_options *options = &test->options;
    float values[SLAD_STEP_VALUES] = {0}, sums[SLAD_ACCUMULATORS] = {0};
    values[SLAD_STEP_INVERSE_TASK] = values[SLAD_STEP_INVERSE_KL] = 1.0f / JOINT_BATCH;
    assert_int_equal(slad_executor_write(executor, NULL, trainer->step_values, values), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, NULL, trainer->accumulators, sums), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->pixels, batch.pixel_values), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->labels, batch.labels), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->task_weights, batch.task_weights), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->kl_weights, batch.kl_weights), SLAD_OK);
    assert_int_equal(slad_executor_run(executor, pass->record, SLAD_PHASE_MICRO_BATCH), SLAD_OK);
    assert_int_equal(slad_executor_read(executor, NULL, trainer->accumulators, sums), SLAD_OK);
    return options->alpha_student * (double)sums[SLAD_SUM_STUDENT] +
           options->alpha_teacher * (double)sums[SLAD_SUM_TEACHER] + options->alpha_kl * (double)sums[SLAD_SUM_KL];
}

static float *read_tensor(const joint *test, const slad_tensor *tensor, slad_slab_kind kind)
{
    float *values = malloc(slad_tensor_elements(tensor) * sizeof *values);
    assert_non_null(values);
    assert_int_equal(slad_executor_read_slab(test->trainer->executor, tensor, kind, values), SLAD_OK);
    return values;
}

static const slad_tensor *tensor_named(const joint *test, const char *name)
{
    const slad_trained *trained = slad_store_trained_find(test->trainer->store, name);
    if (!trained) fail_msg("nothing trained is called %s", name);
    return trained ? trained->tensor : NULL;
}

/* The loss after moving one tensor along `direction` by `distance`, on the reference executor. */
static double loss_beside(joint *test, slad_executor *reference, const slad_tensor *tensor, const float *values,
                          const double *direction, double distance)
{
    const size_t count = slad_tensor_elements(tensor);
    float *moved = malloc(count * sizeof *moved);
    assert_non_null(moved);
    for (size_t i = 0; i < count; i++) moved[i] = (float)((double)values[i] + distance * direction[i]);
    assert_int_equal(slad_executor_write(reference, NULL, tensor, moved), SLAD_OK);
    const double loss = loss_of(test, reference);
    assert_int_equal(slad_executor_write(reference, NULL, tensor, values), SLAD_OK);
    free(moved);
    return loss;
}

/* The slope along the device's own gradient must be the gradient's norm. */
static void check_slope(joint *test, slad_executor *reference, const slad_tensor *tensor)
{
    const double step = 1e-2;
    const size_t count = slad_tensor_elements(tensor);
    float *gradient = read_tensor(test, tensor, SLAD_SLAB_GRADIENT),
          *values = read_tensor(test, tensor, SLAD_SLAB_TRAINED);
    double *direction = malloc(count * sizeof *direction), norm = 0;
    assert_non_null(direction);
    for (size_t i = 0; i < count; i++) norm += (double)gradient[i] * (double)gradient[i];
    norm = sqrt(norm);
    for (size_t i = 0; i < count; i++) direction[i] = (double)gradient[i] / norm;
    const double slope = (loss_beside(test, reference, tensor, values, direction, step) -
                          loss_beside(test, reference, tensor, values, direction, -step)) /
                         (2 * step);
    if (!(fabs(slope - norm) <= 5e-3 * norm))
        fail_msg("%s: the loss rises by %.6g along a gradient of norm %.6g", tensor->name, slope, norm);
    free(gradient);
    free(values);
    free(direction);
}

/* Finite differences of the whole model: every trained tensor whose name begins with `prefix`. */
static void check_slopes(scratch *own, slad_train_options options, const char *prefix)
{
    joint test;
    slad_executor *reference;
    joint_open(&test, own, options);
    (void)loss_of(&test, test.trainer->executor);
    assert_int_equal(slad_executor_create_reference(own->context, &reference, test.trainer->store), SLAD_OK);
    assert_int_equal(slad_executor_add(reference, test.trainer->training.record), SLAD_OK);
    assert_int_equal(slad_executor_allocate(reference), SLAD_OK);
    for (size_t i = 0; i < slad_store_trained_count(test.trainer->store); i++) {
        const slad_tensor *tensor = slad_store_trained_at(test.trainer->store, i)->tensor;
        float *values = read_tensor(&test, tensor, SLAD_SLAB_TRAINED);
        assert_int_equal(slad_executor_write(reference, NULL, tensor, values), SLAD_OK);
        free(values);
    }
    for (size_t i = 0; i < slad_store_trained_count(test.trainer->store); i++) {
        const slad_tensor *tensor = slad_store_trained_at(test.trainer->store, i)->tensor;
        if (strncmp(tensor->name, prefix, strlen(prefix)) == 0) check_slope(&test, reference, tensor);
    }
    slad_executor_free(reference);
    joint_close(&test);
}

/* Without the KL, whose gradient by definition leaves the teacher alone, the shared tensors' gradient is the slope. */
static void test_shared_slopes(void **state)
{
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    options.alpha_kl = 0;
    check_slopes(*state, options, "");
}

/* With it, that of the student's own tensors is. */
static void test_student_slopes(void **state)
{
    check_slopes(*state, joint_options(SLAD_METHOD_JOINT), "student.");
}

static void read_logits(joint *test, float *student, float *teacher)
{
    const slad_batch batch = joint_batch(test, 0);
    assert_int_equal(slad_trainer_logits(test->trainer, student, teacher, &batch), SLAD_OK);
}

static void zero_adapters(joint *test)
{
    for (size_t i = 0; i < slad_store_trained_count(test->trainer->store); i++) {
        const slad_tensor *tensor = slad_store_trained_at(test->trainer->store, i)->tensor;
        if (!strstr(tensor->name, "lora_B")) continue;
        float *zeros = calloc(slad_tensor_elements(tensor), sizeof *zeros);
        assert_non_null(zeros);
        assert_int_equal(slad_executor_write(test->trainer->executor, NULL, tensor, zeros), SLAD_OK);
        free(zeros);
    }
}

/* 1: with B = 0 an adapted model is the pre-trained one, to the bit. */
static void test_zero_adapters_change_nothing(void **state)
{
    scratch *own = *state;
    joint adapted, probe;
    float with[JOINT_BATCH * JOINT_CLASSES], without[JOINT_BATCH * JOINT_CLASSES];
    joint_open(&adapted, own, joint_options(SLAD_METHOD_SLAD));
    zero_adapters(&adapted);
    joint_open(&probe, own, joint_options(SLAD_METHOD_PROBE));
    read_logits(&adapted, with, NULL);
    read_logits(&probe, without, NULL);
    assert_memory_equal(with, without, sizeof with);
    joint_close(&probe);
    joint_close(&adapted);
}

/* Gives the student the teacher's weights and the teacher's head. */
static void open_twins(joint *test, scratch *own, slad_train_options options)
{
    joint_open(test, own, options);
    slad_trainer_free(test->trainer);
    slad_encoder_free(test->student);
    char folder[1024];
    formula_write_model(own, folder, "twin", &(formula_encoder){"teacher.", 128, 4, 2, 4, 14, 5});
    assert_int_equal(slad_encoder_open(own->context, &test->student, folder), SLAD_OK);
    joint_open_trainer(test);
    joint_initialise(test);
    if (!slad_store_trained_find(test->trainer->store, "teacher.head.weight")) return;
    float *weight = read_tensor(test, tensor_named(test, "teacher.head.weight"), SLAD_SLAB_TRAINED);
    float *bias = read_tensor(test, tensor_named(test, "teacher.head.bias"), SLAD_SLAB_TRAINED);
    slad_executor *executor = test->trainer->executor;
    assert_int_equal(slad_executor_write(executor, NULL, tensor_named(test, "student.head.weight"), weight), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, NULL, tensor_named(test, "student.head.bias"), bias), SLAD_OK);
    free(weight);
    free(bias);
}

/* 4: twins that share everything agree, and the shared gradient is twice that of one of them. */
static void test_twins(void **state)
{
    scratch *own = *state;
    joint twins;
    float student[JOINT_BATCH * JOINT_CLASSES], teacher[JOINT_BATCH * JOINT_CLASSES], sums[SLAD_ACCUMULATORS];
    static const char name[] = "teacher.layers.2.qkv.lora_B";
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    open_twins(&twins, own, options);
    read_logits(&twins, student, teacher);
    assert_memory_equal(student, teacher, sizeof student);
    (void)loss_of(&twins, twins.trainer->executor);
    assert_int_equal(slad_executor_read(twins.trainer->executor, NULL, twins.trainer->accumulators, sums), SLAD_OK);
    assert_true(fabsf(sums[SLAD_SUM_KL]) < 1e-6f);
    assert_true(sums[SLAD_SUM_STUDENT] == sums[SLAD_SUM_TEACHER]);
    const slad_tensor *tensor = tensor_named(&twins, name);
    const size_t count = slad_tensor_elements(tensor);
    float *both = read_tensor(&twins, tensor, SLAD_SLAB_GRADIENT);
    joint_close(&twins);
    options.alpha_student = options.alpha_kl = 0;
    open_twins(&twins, own, options);
    (void)loss_of(&twins, twins.trainer->executor);
    float *one = read_tensor(&twins, tensor_named(&twins, name), SLAD_SLAB_GRADIENT);
    double worst = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        worst = fmax(worst, fabs((double)both[i] - 2 * (double)one[i]));
        largest = fmax(largest, fabs((double)both[i]));
    }
    assert_true(largest > 0 && worst <= 1e-5 * largest);
    free(both);
    free(one);
    joint_close(&twins);
}

static void train_some(joint *test, size_t steps)
{
    slad_batch batches[2];
    for (size_t step = 0; step < steps; step++) {
        batches[step % 2] = joint_batch(test, step);
        assert_int_equal(slad_trainer_step(test->trainer, &batches[step % 2], NULL, NULL), SLAD_OK);
    }
    assert_int_equal(slad_trainer_finish(test->trainer, NULL, NULL), SLAD_OK);
}

/* 5: a student that counts for nothing leaves the teacher's training alone, although it shares its adapters. */
static void test_sharing_does_not_leak(void **state)
{
    scratch *own = *state;
    joint shared, apart;
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    options.alpha_student = options.alpha_kl = 0;
    options.weight_decay = 0; /* decay moves a student's own tensors, and so the norm, whatever its losses */
    joint_open(&shared, own, options);
    train_some(&shared, 6);
    slad_train_options_set_method(&options, SLAD_METHOD_JOINT);
    joint_open(&apart, own, options);
    train_some(&apart, 6);
    for (size_t i = 0; i < slad_store_trained_count(shared.trainer->store); i++) {
        const slad_tensor *tensor = slad_store_trained_at(shared.trainer->store, i)->tensor;
        if (strncmp(tensor->name, "teacher.", 8) != 0) continue;
        const size_t count = slad_tensor_elements(tensor);
        float *with = read_tensor(&shared, tensor, SLAD_SLAB_TRAINED);
        float *without = read_tensor(&apart, tensor_named(&apart, tensor->name), SLAD_SLAB_TRAINED);
        for (size_t k = 0; k < count; k++)
            if (fabs((double)with[k] - (double)without[k]) > 1e-6)
                fail_msg("%s[%zu] is %.9g when shared and %.9g alone", tensor->name, k, (double)with[k],
                         (double)without[k]);
        free(with);
        free(without);
    }
    joint_close(&shared);
    joint_close(&apart);
}

static void saved_state(scratch *own, const char *name, char **bytes, size_t *size)
{
    joint test;
    char folder[1024], path[1100];
    joint_open(&test, own, joint_options(SLAD_METHOD_SLAD));
    train_some(&test, 5);
    (void)snprintf(folder, sizeof folder, "%s/%s", own->folder, name);
    assert_int_equal(slad_trainer_save(test.trainer, folder), SLAD_OK);
    (void)snprintf(path, sizeof path, "%s/state.safetensors", folder);
    assert_int_equal(slad_file_read_all(own->context, bytes, size, path, 1u << 26), SLAD_OK);
    joint_close(&test);
}

/* 13: two trainings write the same bytes. */
static void test_determinism(void **state)
{
    scratch *own = *state;
    char *first, *second;
    size_t first_size, second_size;
    saved_state(own, "first", &first, &first_size);
    saved_state(own, "second", &second, &second_size);
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    slad_release(first);
    slad_release(second);
}

/* 15: eight images are learnt by heart by both. */
static void test_overfitting(void **state)
{
    scratch *own = *state;
    joint test;
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    slad_step_report report = {.loss_student = 10, .loss_teacher = 10};
    bool has_report;
    options.schedule = SLAD_SCHEDULE_CONSTANT;
    options.warmup = options.weight_decay = 0;
    options.clip = 1.0;
    joint_open(&test, own, options);
    const slad_batch batch = joint_batch(&test, 0);
    for (size_t step = 0; step < 200; step++)
        assert_int_equal(slad_trainer_step(test.trainer, &batch, &report, &has_report), SLAD_OK);
    assert_int_equal(slad_trainer_finish(test.trainer, &report, &has_report), SLAD_OK);
    print_message("after 200 steps: student %.3g, teacher %.3g\n", report.loss_student, report.loss_teacher);
    assert_true(report.loss_student < 0.02 && report.loss_teacher < 0.02);
    joint_close(&test);
}

/* A diverged step is reported, and leaves every value as it was. */
static void test_divergence(void **state)
{
    scratch *own = *state;
    joint test;
    slad_step_report report;
    bool has_report;
    joint_open(&test, own, joint_options(SLAD_METHOD_SLAD));
    const slad_tensor *tensor = tensor_named(&test, "teacher.layers.0.qkv.lora_A");
    float *before = read_tensor(&test, tensor, SLAD_SLAB_TRAINED);
    slad_batch batch = joint_batch(&test, 0);
    test.pixels[5] = NAN;
    assert_int_equal(slad_trainer_step(test.trainer, &batch, &report, &has_report), SLAD_OK);
    assert_int_equal(slad_trainer_finish(test.trainer, &report, &has_report), SLAD_ERROR_DIVERGED);
    assert_true(has_report && report.skipped);
    assert_message(own, "step 0");
    float *after = read_tensor(&test, tensor, SLAD_SLAB_TRAINED);
    assert_memory_equal(before, after, slad_tensor_elements(tensor) * sizeof *before);
    free(before);
    free(after);
    joint_close(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shared_slopes, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_student_slopes, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_zero_adapters_change_nothing, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_twins, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_sharing_does_not_leak, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_determinism, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_overfitting, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_divergence, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
