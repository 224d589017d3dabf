/* What a trainer chooses for the memory that it may use: the largest micro-batch whose plan stays below the limit, and
 * words for when there is none. */
#include "joint_fixture.h"

#define MEBIBYTE 1048576.0

/* Plans a trainer over the tiny models with a batch of 64; NULL if nothing fits. */
static slad_trainer *plan(joint *test, uint32_t micro_batch, uint32_t memory_limit)
{
    slad_trainer *trainer = NULL;
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    options.batch = 64;
    options.micro_batch = micro_batch;
    options.memory_limit = memory_limit;
    const slad_status status = slad_trainer_create(test->own->context, &trainer, test->device, test->teacher,
                                                   test->student, JOINT_CLASSES, JOINT_SIZE, JOINT_STEPS, &options);
    assert_true(status == SLAD_OK || status == SLAD_ERROR_OUT_OF_MEMORY);
    assert_true((status == SLAD_OK) == (trainer != NULL));
    return trainer;
}

/* Bytes that a given micro-batch needs. */
static uint64_t needed(joint *test, uint32_t micro_batch)
{
    slad_trainer *trainer = plan(test, micro_batch, 0);
    const uint64_t bytes = trainer->plan.device_total;
    assert_int_equal(trainer->choice.micro_batch, micro_batch);
    slad_trainer_free(trainer);
    return bytes;
}

static void test_limit(void **state)
{
    joint test;
    joint_open(&test, *state, joint_options(SLAD_METHOD_SLAD));
    uint32_t seen = 0;
    uint64_t bytes[7];
    for (uint32_t i = 0; i < 7; i++) bytes[i] = needed(&test, 1u << i);
    for (uint32_t limit = 1; limit <= 1 + (uint32_t)((double)bytes[6] / MEBIBYTE); limit++) {
        uint32_t largest = 0;
        for (uint32_t i = 0; i < 7; i++)
            if (bytes[i] <= (uint64_t)limit << 20) largest = 1u << i;
        slad_trainer *trainer = plan(&test, 0, limit);
        assert_true((trainer != NULL) == (largest > 0));
        if (!trainer) {
            assert_message(test.own, "--memory-limit");
            continue;
        }
        assert_int_equal(trainer->choice.micro_batch, largest);
        assert_true(trainer->plan.device_total <= (uint64_t)limit << 20);
        seen |= largest;
        slad_trainer_free(trainer);
    }
    assert_true(seen & 64);
    assert_true(seen & ~64u);
    joint_close(&test);
}

/* A micro-batch that was asked for is not made smaller in silence. */
static void test_given(void **state)
{
    joint test;
    joint_open(&test, *state, joint_options(SLAD_METHOD_SLAD));
    const uint32_t limit = (uint32_t)((double)needed(&test, 32) / MEBIBYTE) + 1;
    slad_trainer *trainer = plan(&test, 32, limit);
    assert_non_null(trainer);
    assert_int_equal(trainer->choice.micro_batch, 32);
    slad_trainer_free(trainer);
    assert_null(plan(&test, 64, limit));
    assert_message(test.own, "--micro-batch 32 would fit");
    joint_close(&test);
}

static void test_text(void **state)
{
    scratch *own = *state;
    char text[SLAD_OPTION_TEXT];
    slad_train_options options = slad_train_options_default();
    static const struct {
        const char *given, *kept; /* NULL: refused */
    } cases[] = {{"2G", "2048"}, {"300", "300"}, {"auto", "auto"}, {"0", NULL},          {"G", NULL},
                 {"", NULL},     {"-1", NULL},   {"2g", NULL},     {"1.5G", NULL},       {"99999999", NULL},
                 {"2GG", NULL},  {"0x10", NULL}, {"autoG", NULL},  {"4294967296G", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const slad_status status = slad_train_options_set(own->context, &options, "memory-limit", cases[i].given);
        assert_int_equal(status, cases[i].kept ? SLAD_OK : SLAD_ERROR_USAGE);
        if (!cases[i].kept) continue;
        assert_true(slad_train_options_get(&options, "memory-limit", text));
        assert_string_equal(text, cases[i].kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_limit, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_given, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_text, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
