/* 24 steps of each method against PyTorch: unlike depths, a short last batch in every epoch, micro-batches, decay,
 * warm-up and cosine, and clipping that bites in some steps only. */
#include "joint_fixture.h"

#define LOSS_BOUND  5e-5 /* relative */
#define VALUE_BOUND 2e-3 /* of the distance that the tensor travelled */

typedef struct losses {
    double sum[JOINT_STEPS][4], norm[JOINT_STEPS];
} losses;

static void keep(losses *kept, const slad_step_report *report)
{
    double *row = kept->sum[report->step];
    row[0] = report->loss;
    row[1] = report->loss_student;
    row[2] = report->loss_teacher;
    row[3] = report->loss_kl;
    kept->norm[report->step] = report->gradient_norm;
}

static void train(joint *test, losses *kept)
{
    slad_step_report report;
    bool has_report;
    slad_batch batches[2]; /* the one in flight must stay */
    for (size_t step = 0; step < JOINT_STEPS; step++) {
        batches[step % 2] = joint_batch(test, step);
        assert_int_equal(slad_trainer_step(test->trainer, &batches[step % 2], &report, &has_report), SLAD_OK);
        assert_int_equal(has_report, step > 0);
        if (has_report) keep(kept, &report);
    }
    assert_int_equal(slad_trainer_finish(test->trainer, &report, &has_report), SLAD_OK);
    assert_true(has_report);
    keep(kept, &report);
}

static double compare_losses(joint *test, const losses *kept)
{
    double worst = 0;
    float *expected = joint_expected(test, "losses", NULL, NULL), *norms = joint_expected(test, "norms", NULL, NULL);
    size_t clipped = 0;
    for (size_t step = 0; step < JOINT_STEPS; step++) {
        clipped += norms[step] > test->options.clip;
        for (size_t i = 0; i < 4; i++) {
            const double wanted = (double)expected[step * 4 + i], got = kept->sum[step][i];
            if (isnan(wanted)) continue;
            const double error = fabs(got - wanted) / fabs(wanted);
            if (!(error <= LOSS_BOUND))
                fail_msg("%s: loss %zu of step %zu is %.9g, not %.9g", test->method, i, step, got, wanted);
            worst = fmax(worst, error);
        }
        assert_true(fabs(kept->norm[step] - (double)norms[step]) <= 1e-3 * (double)norms[step]);
    }
    assert_true(clipped > 0 && clipped < JOINT_STEPS);
    free(expected);
    free(norms);
    return worst;
}

/* How far a tensor is from where PyTorch took it, as a fraction of the way from its initial values. */
static double distance_error(joint *test, const slad_tensor *tensor)
{
    size_t count;
    char name[128];
    double off = 0, way = 0;
    float *expected = joint_expected(test, "final", tensor->name, &count);
    float *measured = malloc(count * sizeof *measured), *initial = malloc(count * sizeof *initial);
    assert_non_null(measured);
    assert_non_null(initial);
    (void)snprintf(name, sizeof name, "init.%s", tensor->name);
    formula_tensor(initial, count, name, 0.1, 0);
    assert_int_equal(slad_executor_read(test->trainer->executor, NULL, tensor, measured), SLAD_OK);
    for (size_t i = 0; i < count; i++) {
        off += pow((double)measured[i] - (double)expected[i], 2);
        way += pow((double)expected[i] - (double)initial[i], 2);
    }
    free(expected);
    free(measured);
    free(initial);
    return sqrt(off / way);
}

static void check_method(scratch *own, slad_method method, uint32_t micro_batch)
{
    joint test;
    losses kept;
    double worst = 0;
    slad_train_options options = joint_options(method);
    options.micro_batch = micro_batch;
    joint_open(&test, own, options);
    train(&test, &kept);
    const double loss = compare_losses(&test, &kept);
    for (size_t i = 0; i < slad_store_trained_count(test.trainer->store); i++) {
        const slad_tensor *tensor = slad_store_trained_at(test.trainer->store, i)->tensor;
        const double error = distance_error(&test, tensor);
        if (!(error <= VALUE_BOUND))
            fail_msg("%s: %s ended %.3g of its way from where it should", test.method, tensor->name, error);
        worst = fmax(worst, error);
    }
    print_message("%s, micro-batches of %u: losses within %.2g, tensors within %.2g of their way\n", test.method,
                  micro_batch, loss, worst);
    joint_close(&test);
}

static void test_slad(void **state)
{
    check_method(*state, SLAD_METHOD_SLAD, 8);
}

static void test_slad_in_micro_batches(void **state)
{
    check_method(*state, SLAD_METHOD_SLAD, 3);
}

static void test_joint(void **state)
{
    check_method(*state, SLAD_METHOD_JOINT, 5);
}

static void test_lora(void **state)
{
    check_method(*state, SLAD_METHOD_LORA, 8);
}

static void test_probe(void **state)
{
    check_method(*state, SLAD_METHOD_PROBE, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_slad, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_slad_in_micro_batches, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_joint, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_lora, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_probe, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
