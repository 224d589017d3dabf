/* A trainer that goes on from its files ends in the same bytes as one that never stopped; files that do not fit are
 * refused. */
#include "joint_fixture.h"

#include "base/files.h"

static void run_steps(joint *test, size_t first, size_t end)
{
    slad_batch batches[2];
    for (size_t step = first; step < end; step++) {
        batches[step % 2] = joint_batch(test, step);
        assert_int_equal(slad_trainer_step(test->trainer, &batches[step % 2], NULL, NULL), SLAD_OK);
    }
    assert_int_equal(slad_trainer_finish(test->trainer, NULL, NULL), SLAD_OK);
}

static void save(joint *test, char *folder, const char *name)
{
    (void)snprintf(folder, 1024, "%s/%s", test->own->folder, name);
    assert_int_equal(slad_trainer_save(test->trainer, folder), SLAD_OK);
}

static void assert_same_file(scratch *own, const char *left, const char *right, const char *name)
{
    char path[1100], *bytes[2];
    size_t size[2];
    const char *folders[2] = {left, right};
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folders[i], name);
        assert_int_equal(slad_file_read_all(own->context, &bytes[i], &size[i], path, 1u << 26), SLAD_OK);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    for (int i = 0; i < 2; i++) slad_release(bytes[i]);
}

static void test_resume(void **state)
{
    scratch *own = *state;
    joint test;
    char unbroken[1024], half[1024], resumed[1024];
    joint_open(&test, own, joint_options(SLAD_METHOD_SLAD));
    run_steps(&test, 0, 9);
    save(&test, unbroken, "unbroken");
    joint_close(&test);
    joint_open(&test, own, joint_options(SLAD_METHOD_SLAD));
    run_steps(&test, 0, 4);
    save(&test, half, "half");
    joint_close(&test);
    joint_open(&test, own, joint_options(SLAD_METHOD_SLAD));
    assert_int_equal(slad_trainer_resume(test.trainer, half), SLAD_OK);
    assert_int_equal(slad_trainer_steps_done(test.trainer), 4);
    run_steps(&test, 4, 9);
    save(&test, resumed, "resumed");
    joint_close(&test);
    assert_same_file(own, unbroken, resumed, "state.safetensors");
    assert_same_file(own, unbroken, resumed, "optimizer.safetensors");
}

/* Initial values may be any subset; unknown names and wrong shapes are named. */
static void test_initial_values(void **state)
{
    scratch *own = *state;
    joint test;
    char path[1100];
    static const float values[2 * JOINT_CLASSES] = {1, 2, 3, 4, 5, 6, 7};
    const uint64_t right[1] = {JOINT_CLASSES}, wrong[1] = {2 * JOINT_CLASSES};
    slad_safetensors_entry entry = {"student.head.bias", SLAD_SAFETENSORS_F32, 1, right, values};
    float read[JOINT_CLASSES];
    joint_open(&test, own, joint_options(SLAD_METHOD_SLAD));
    (void)snprintf(path, sizeof path, "%s/some.safetensors", own->folder);
    assert_int_equal(slad_safetensors_write(own->context, path, &entry, 1, NULL, 0), SLAD_OK);
    assert_int_equal(slad_trainer_load(test.trainer, path), SLAD_OK);
    const slad_tensor *tensor = slad_store_trained_find(test.trainer->store, "student.head.bias")->tensor;
    assert_int_equal(slad_executor_read(test.trainer->executor, NULL, tensor, read), SLAD_OK);
    assert_memory_equal(read, values, sizeof read);
    entry.shape = wrong;
    assert_int_equal(slad_safetensors_write(own->context, path, &entry, 1, NULL, 0), SLAD_OK);
    assert_int_equal(slad_trainer_load(test.trainer, path), SLAD_ERROR_DATA);
    assert_message(own, "[14]");
    entry.name = "student.layers.0.qkv.lora_A"; /* shared: it exists under teacher. only */
    assert_int_equal(slad_safetensors_write(own->context, path, &entry, 1, NULL, 0), SLAD_OK);
    assert_int_equal(slad_trainer_load(test.trainer, path), SLAD_ERROR_DATA);
    assert_message(own, "student.layers.0.qkv.lora_A");
    joint_close(&test);
}

static void test_wrong_checkpoints(void **state)
{
    scratch *own = *state;
    joint test;
    char folder[1024];
    joint_open(&test, own, joint_options(SLAD_METHOD_LORA));
    save(&test, folder, "lora");
    joint_close(&test);
    joint_open(&test, own, joint_options(SLAD_METHOD_SLAD));
    assert_int_equal(slad_trainer_resume(test.trainer, folder), SLAD_ERROR_DATA);
    assert_message(own, "value.teacher.layers.0.qkv.lora_A");
    assert_int_equal(slad_trainer_resume(test.trainer, own->folder), SLAD_ERROR_DATA);
    joint_close(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_resume, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_initial_values, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_wrong_checkpoints, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
