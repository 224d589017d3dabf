/* Every gradient of one step, of each method, against PyTorch. */
#include "joint_fixture.h"

#define BOUND 2e-4 /* of joint_error */

static void check_method(scratch *own, slad_method method, bool like_a_gpu)
{
    joint test;
    double worst = 0;
    joint_open_with(&test, own, joint_options(method), like_a_gpu);
    joint_forward_and_backward(&test);
    const size_t trained = slad_store_trained_count(test.trainer->store);
    for (size_t i = 0; i < trained; i++) {
        const slad_tensor *tensor = slad_store_trained_at(test.trainer->store, i)->tensor;
        size_t count;
        float *expected = joint_expected(&test, "gradient", tensor->name, &count);
        assert_int_equal(count, slad_tensor_elements(tensor));
        float *measured = malloc(count * sizeof *measured);
        assert_non_null(measured);
        assert_int_equal(slad_executor_read_slab(test.trainer->executor, tensor, SLAD_SLAB_GRADIENT, measured),
                         SLAD_OK);
        const double error = joint_error(measured, expected, count);
        if (!(error <= BOUND)) fail_msg("%s: the gradient of %s is off by %.3g", test.method, tensor->name, error);
        worst = fmax(worst, error);
        free(measured);
        free(expected);
    }
    print_message("%s: %zu gradients, largest relative error %.2g\n", test.method, trained, worst);
    joint_close(&test);
}

static void test_slad(void **state)
{
    check_method(*state, SLAD_METHOD_SLAD, false);
}

static void test_joint(void **state)
{
    check_method(*state, SLAD_METHOD_JOINT, false);
}

static void test_lora(void **state)
{
    check_method(*state, SLAD_METHOD_LORA, false);
}

static void test_probe(void **state)
{
    check_method(*state, SLAD_METHOD_PROBE, false);
}

/* Local memory, barriers, narrow vectors, launches cut into pieces, and CLBlast for the products. */
static void test_as_on_a_gpu(void **state)
{
    check_method(*state, SLAD_METHOD_SLAD, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_slad, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_joint, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_lora, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_probe, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_as_on_a_gpu, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
