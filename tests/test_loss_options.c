/* Every loss option against PyTorch: ten steps' losses, and gradients of the first step. */
#include "joint_fixture.h"

enum { STEPS = 10 };
#define LOSS_BOUND     5e-5 /* relative */
#define GRADIENT_BOUND 2e-4 /* of joint_error */

typedef struct loss_option {
    const char *name, *value;
} loss_option;

/* As in tests/oracle/make_losses.py. */
typedef struct loss_case {
    const char *name;
    loss_option options[7];
} loss_case;

static const loss_case cases[] = {
    {"reverse", {{"kl-direction", "reverse"}}},
    {"symmetric", {{"kl-direction", "symmetric"}}},
    {"attached", {{"kl-detach", "off"}}},
    {"attached_reverse", {{"kl-direction", "reverse"}, {"kl-detach", "off"}}},
    {"attached_symmetric", {{"kl-direction", "symmetric"}, {"kl-detach", "off"}}},
    {"without_tau2", {{"kl-tau2", "off"}}},
    {"smoothing", {{"label-smoothing", "0.1"}}},
    {"convex", {{"loss", "convex"}, {"alpha-kl", "0.3"}, {"alpha-teacher", "0.5"}}},
    {"mixed", {{"mixup", "1"}, {"label-smoothing", "0.1"}}},
    {"all",
     {{"kl-direction", "symmetric"},
      {"kl-detach", "off"},
      {"kl-tau2", "off"},
      {"label-smoothing", "0.2"},
      {"loss", "convex"},
      {"alpha-kl", "0.6"},
      {"alpha-teacher", "1.5"}}},
};

static const char *const gradients[] = {"student.head.weight", "student.head.bias", "teacher.head.bias",
                                        "teacher.layers.0.qkv.lora_A", "teacher.layers.3.qkv.lora_A"};

static float *expected(const joint *test, slad_safetensors *fixture, const char *what, const char *name, size_t *count)
{
    char full[192];
    (void)snprintf(full, sizeof full, "%s.%s%s", test->method, what, name);
    return fixture_read(test->own, fixture, full, count);
}

static double compare_step(const joint *test, const slad_step_report *report, const float *wanted)
{
    const double got[] = {report->loss, report->loss_student, report->loss_teacher, report->loss_kl};
    double worst = 0;
    for (size_t i = 0; i < 4; i++) {
        const double error = fabs(got[i] - (double)wanted[i]) / fabs((double)wanted[i]);
        if (!(error <= LOSS_BOUND))
            fail_msg("%s: loss %zu of step %u is %.9g, not %.9g", test->method, i, (unsigned)report->step, got[i],
                     (double)wanted[i]);
        worst = fmax(worst, error);
    }
    return worst;
}

static double compare_losses(joint *test, slad_safetensors *fixture)
{
    size_t count;
    double worst = 0;
    bool has_report;
    slad_step_report report;
    slad_batch batches[2]; /* the one in flight must stay */
    float *wanted = expected(test, fixture, "losses", "", &count);
    assert_int_equal(count, STEPS * 4);
    for (size_t step = 0; step < STEPS; step++) {
        batches[step % 2] = joint_batch(test, step);
        assert_int_equal(slad_trainer_step(test->trainer, &batches[step % 2], &report, &has_report), SLAD_OK);
        if (has_report) worst = fmax(worst, compare_step(test, &report, wanted + 4 * report.step));
    }
    assert_int_equal(slad_trainer_finish(test->trainer, &report, &has_report), SLAD_OK);
    assert_true(has_report && report.step == STEPS - 1);
    worst = fmax(worst, compare_step(test, &report, wanted + 4 * report.step));
    free(wanted);
    return worst;
}

/* A step clears the gradients, so they are made once more from the first values. */
static double compare_gradients(joint *test, slad_safetensors *fixture)
{
    double worst = 0;
    joint_initialise(test);
    joint_forward_and_backward(test);
    for (size_t i = 0; i < sizeof gradients / sizeof *gradients; i++) {
        size_t count;
        const slad_trained *trained = slad_store_trained_find(test->trainer->store, gradients[i]);
        float *wanted = expected(test, fixture, "gradient.", gradients[i], &count);
        assert_non_null(trained);
        assert_int_equal(count, slad_tensor_elements(trained->tensor));
        float *measured = malloc(count * sizeof *measured);
        assert_non_null(measured);
        assert_int_equal(
            slad_executor_read_slab(test->trainer->executor, trained->tensor, SLAD_SLAB_GRADIENT, measured), SLAD_OK);
        const double error = joint_error(measured, wanted, count);
        if (!(error <= GRADIENT_BOUND))
            fail_msg("%s: the gradient of %s is off by %.3g", test->method, gradients[i], error);
        worst = fmax(worst, error);
        free(measured);
        free(wanted);
    }
    return worst;
}

static void check_case(scratch *own, const loss_case *given)
{
    joint test;
    slad_safetensors *fixture;
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    for (size_t i = 0; i < sizeof given->options / sizeof *given->options && given->options[i].name; i++)
        assert_int_equal(
            slad_train_options_set(own->context, &options, given->options[i].name, given->options[i].value), SLAD_OK);
    joint_open(&test, own, options);
    test.method = given->name;
    assert_int_equal(slad_safetensors_open(own->context, &fixture, SLAD_FIXTURES "/losses.safetensors"), SLAD_OK);
    const double loss = compare_losses(&test, fixture), gradient = compare_gradients(&test, fixture);
    print_message("%s: losses within %.2g, gradients within %.2g\n", given->name, loss, gradient);
    slad_safetensors_close(fixture);
    joint_close(&test);
}

static void test_every_case(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(*state, &cases[i]);
}

/* Second labels and shares go with their rows, also where a batch is cut and its last part padded. */
static void test_mixed_micro_batches(void **state)
{
    scratch *own = *state;
    joint test;
    slad_safetensors *fixture;
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    options.mixup = 1;
    options.label_smoothing = 0.1;
    options.micro_batch = 3;
    joint_open(&test, own, options);
    test.method = "mixed";
    assert_int_equal(slad_safetensors_open(own->context, &fixture, SLAD_FIXTURES "/losses.safetensors"), SLAD_OK);
    (void)compare_losses(&test, fixture);
    slad_safetensors_close(fixture);
    joint_close(&test);
}

/* A batch that is mixed where the options are not, or the other way round, or with what is no label or share. */
static void test_mixed_batches_must_fit(void **state)
{
    scratch *own = *state;
    for (int mixing = 0; mixing < 2; mixing++) {
        joint test;
        slad_train_options options = joint_options(SLAD_METHOD_SLAD);
        options.cutmix = mixing;
        joint_open(&test, own, options);
        int32_t labels_2[JOINT_BATCH] = {0};
        float mix[JOINT_BATCH] = {0};
        slad_batch batch = joint_batch(&test, 0);
        batch.labels_2 = mixing ? NULL : labels_2;
        batch.mix = mix;
        assert_int_equal(slad_trainer_step(test.trainer, &batch, NULL, NULL), SLAD_ERROR_DATA);
        assert_non_null(strstr(slad_context_message(own->context), "--mixup"));
        batch.labels_2 = labels_2;
        for (int i = 0; mixing && i < 3; i++) {
            labels_2[1] = i == 0 ? JOINT_CLASSES : 0;
            mix[1] = i == 1 ? 1.5f : NAN;
            assert_int_equal(slad_trainer_step(test.trainer, &batch, NULL, NULL), SLAD_ERROR_DATA);
            assert_non_null(strstr(slad_context_message(own->context), i == 0 ? "second label 7" : "mixing factor"));
        }
        joint_close(&test);
    }
}

/* A batch without labels trains by the KL alone, as without the task losses. */
static void test_batches_without_labels(void **state)
{
    float none[JOINT_BATCH] = {0};
    double after[2] = {0};
    for (int alphas = 0; alphas < 2; alphas++) {
        joint test;
        slad_step_report report;
        bool has_report;
        slad_train_options options = joint_options(SLAD_METHOD_SLAD);
        if (alphas) options.alpha_student = options.alpha_teacher = 0;
        joint_open(&test, *state, options);
        slad_batch batch = joint_batch(&test, 0);
        if (!alphas) batch.task_weights = none;
        assert_int_equal(slad_trainer_step(test.trainer, &batch, NULL, NULL), SLAD_OK);
        assert_int_equal(slad_trainer_step(test.trainer, &batch, &report, &has_report), SLAD_OK);
        assert_true(has_report && report.gradient_norm > 0);
        if (!alphas) assert_true(report.loss_student == 0 && report.loss_teacher == 0 && report.accuracy == 0);
        assert_true(report.loss == report.loss_kl);
        assert_int_equal(slad_trainer_finish(test.trainer, &report, &has_report), SLAD_OK);
        after[alphas] = report.loss_kl;
        joint_close(&test);
    }
    assert_true(after[0] == after[1] && after[0] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_case, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_mixed_micro_batches, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_mixed_batches_must_fit, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_batches_without_labels, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
