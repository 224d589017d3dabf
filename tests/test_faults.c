/* Fault injection: an allocation or OpenCL call is made to fail, ever later, until everything gets through. Each
 * failure must end in a status with a message, leak nothing (the sanitizers watch), and leave device and context
 * usable. */
#include "joint_fixture.h"

#define MOST_POINTS 1000000

/* The next point to fail at: every early one, then ever sparser ones, since later ones are more of the same. */
static uint64_t next_point(uint64_t point)
{
    return point + 1 + point / 6;
}

/* A trainer, a step, its report, its files. */
static slad_status train_and_save(joint *test, const char *folder)
{
    slad_context *context = test->own->context;
    slad_status status = SLAD_OK;
    const slad_batch batch = joint_batch(test, 0);
    static const char *const names[JOINT_CLASSES] = {"a", "b", "c", "d", "e", "f", "g"};
    SLAD_TRY(slad_trainer_create(context, &test->trainer, test->device, test->teacher, test->student, JOINT_CLASSES,
                                 JOINT_SIZE, JOINT_STEPS, &test->options));
    SLAD_TRY(slad_trainer_step(test->trainer, &batch, NULL, NULL));
    SLAD_TRY(slad_trainer_finish(test->trainer, NULL, NULL));
    SLAD_TRY(slad_trainer_save(test->trainer, folder));
    SLAD_TRY(slad_trainer_export_student(test->trainer, folder, names));
cleanup:
    slad_trainer_free(test->trainer);
    test->trainer = NULL;
    return status;
}

static void check_training(scratch *own, slad_train_options options)
{
    joint test;
    char folder[1024];
    uint64_t point = 1, failures = 0;
    (void)snprintf(folder, sizeof folder, "%s/out", own->folder);
    joint_open(&test, own, options);
    slad_trainer_free(test.trainer);
    for (; point < MOST_POINTS; point = next_point(point)) {
        slad_fault_arm(own->context, point);
        const slad_status status = train_and_save(&test, folder);
        const bool struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        if (!struck) {
            assert_int_equal(status, SLAD_OK);
            break;
        }
        if (status == SLAD_OK) continue; /* what failed could be done without: a cache */
        assert_true(strlen(slad_context_message(own->context)) > 0);
        failures++;
    }
    assert_true(point < MOST_POINTS && failures > 20);
    assert_int_equal(test.device->allocated, 0);
    print_message("%llu injected faults were reported, of %llu points\n", (unsigned long long)failures,
                  (unsigned long long)point);
    test.trainer = NULL;
    joint_close(&test);
}

static void test_training(void **state)
{
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    check_training(*state, options);
    options.recompute = SLAD_RECOMPUTE_ON;
    check_training(*state, options);
}

/* A step that fails half-way moves nothing, and no later step uses what it left behind. */
static void test_half_a_step(void **state)
{
    scratch *own = *state;
    joint test;
    char folder[1024];
    (void)snprintf(folder, sizeof folder, "%s/out", own->folder);
    joint_open(&test, own, joint_options(SLAD_METHOD_SLAD));
    const slad_tensor *bias = slad_store_trained_find(test.trainer->store, "student.head.bias")->tensor;
    float before[JOINT_CLASSES], after[JOINT_CLASSES];
    slad_batch batch = joint_batch(&test, 0);
    assert_int_equal(slad_executor_read(test.trainer->executor, NULL, bias, before), SLAD_OK);
    batch.count = 0;
    assert_int_equal(slad_trainer_step(test.trainer, &batch, NULL, NULL), SLAD_ERROR_DATA);
    batch.count = batch.capacity;
    slad_fault_arm(own->context, 20);
    assert_int_not_equal(slad_trainer_step(test.trainer, &batch, NULL, NULL), SLAD_OK);
    assert_false(slad_fault_pending(own->context));
    slad_fault_arm(own->context, 0);
    assert_null(test.trainer->flights[0].ticket.event);
    assert_int_equal(slad_trainer_step(test.trainer, &batch, NULL, NULL), SLAD_ERROR_INTERNAL);
    assert_message(own, "half-way");
    assert_int_equal(slad_trainer_finish(test.trainer, NULL, NULL), SLAD_OK);
    assert_int_equal(slad_trainer_save(test.trainer, folder), SLAD_OK);
    assert_int_equal(slad_executor_read(test.trainer->executor, NULL, bias, after), SLAD_OK);
    assert_memory_equal(before, after, sizeof before);
    joint_close(&test);
}

/* A device that fails amid the update leaves values that no step has made: they are not saved. One that fails before it
 * leaves those of the steps done. */
static void test_torn_update(void **state)
{
    scratch *own = *state;
    joint test;
    char folder[1024];
    size_t torn = 0, whole = 0;
    bool struck = true;
    (void)snprintf(folder, sizeof folder, "%s/out", own->folder);
    joint_open(&test, own, joint_options(SLAD_METHOD_SLAD));
    slad_trainer_free(test.trainer);
    /* An update is the last few launches of a step: its end is found in wide strides, then walked to in small ones. */
    uint64_t stride = 32;
    for (uint64_t point = 1; struck || stride > 2; point += stride) {
        if (!struck) {
            point -= 2 * stride; /* the last that struck */
            stride = 2;
        }
        const slad_batch batch = joint_batch(&test, 0);
        assert_int_equal(slad_trainer_create(own->context, &test.trainer, test.device, test.teacher, test.student,
                                             JOINT_CLASSES, JOINT_SIZE, JOINT_STEPS, &test.options),
                         SLAD_OK);
        assert_int_equal(slad_trainer_step(test.trainer, &batch, NULL, NULL), SLAD_OK);
        slad_fault_arm(own->context, point);
        const slad_status status = slad_trainer_step(test.trainer, &batch, NULL, NULL);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        (void)slad_trainer_finish(test.trainer, NULL, NULL);
        const slad_status saved = slad_trainer_save(test.trainer, folder);
        if (test.trainer->torn) {
            assert_int_not_equal(status, SLAD_OK);
            assert_int_equal(saved, SLAD_ERROR_INTERNAL);
            assert_message(own, "Step 1 failed amid its update");
            torn++;
        } else {
            assert_int_equal(saved, SLAD_OK);
            assert_int_equal(slad_trainer_steps_done(test.trainer), test.trainer->half_made ? 1 : 2);
            whole += test.trainer->half_made;
        }
        slad_trainer_free(test.trainer);
    }
    assert_true(torn > 0 && whole > 0);
    test.trainer = NULL;
    joint_close(&test);
}

static slad_status open_everything(scratch *own, joint *test)
{
    slad_context *context = own->context;
    slad_status status = SLAD_OK;
    char folder[1024];
    const slad_device_options options = {.spec = getenv("TEST_DEVICE")};
    (void)snprintf(folder, sizeof folder, "%s/teacher", own->folder);
    SLAD_TRY(slad_device_open(context, &test->device, &options));
    SLAD_TRY(slad_encoder_open(context, &test->teacher, folder));
cleanup:
    slad_encoder_free(test->teacher);
    slad_device_free(test->device);
    test->teacher = NULL;
    test->device = NULL;
    return status;
}

static void test_opening(void **state)
{
    scratch *own = *state;
    joint test = {.own = own};
    char folder[1024];
    uint64_t point = 1;
    formula_write_model(own, folder, "teacher", &(formula_encoder){"teacher.", 128, 4, 2, 4, 14, 5});
    for (; point < MOST_POINTS; point = next_point(point)) {
        slad_fault_arm(own->context, point);
        const slad_status status = open_everything(own, &test);
        const bool struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        if (struck) continue;
        assert_int_equal(status, SLAD_OK);
        break;
    }
    assert_true(point > 10 && point < MOST_POINTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_training, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_half_a_step, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_torn_update, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_opening, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
