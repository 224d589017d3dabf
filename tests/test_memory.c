/* What a trainer chooses for the memory that it may use: the first of its choices whose plan stays below the limit, and
 * words for when there is none; and that no choice but the micro-batch changes a byte. */
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

/* Bytes that a choice needs. */
static uint64_t needed(joint *test, slad_memory_choice choice)
{
    slad_trainer *trainer = test->trainer;
    slad_trainer_dismantle(trainer);
    assert_int_equal(slad_trainer_record(trainer, choice), SLAD_OK);
    return trainer->plan.device_total;
}

/* What may be chosen for a batch of 64, in the order of preference: with 17 rows an image, half a batch has too few
 * rows to be preferred to packing on use. */
static const slad_memory_choice choices[] = {{64, false}, {64, true}, {32, true}, {16, true},
                                             {8, true},   {4, true},  {2, true},  {1, true}};
enum { CHOICES = sizeof choices / sizeof *choices };

static void test_limit(void **state)
{
    joint test;
    joint_open(&test, *state, joint_options(SLAD_METHOD_SLAD));
    uint32_t chosen = 0;
    uint64_t bytes[CHOICES];
    for (size_t i = 0; i < CHOICES; i++) bytes[i] = needed(&test, choices[i]);
    for (uint32_t limit = 1; limit <= 1 + (uint32_t)((double)bytes[0] / MEBIBYTE); limit++) {
        size_t first = 0;
        while (first < CHOICES && bytes[first] > (uint64_t)limit << 20) first++;
        slad_trainer *trainer = plan(&test, 0, limit);
        assert_true((trainer != NULL) == (first < CHOICES));
        if (!trainer) {
            assert_message(test.own, "--memory-limit");
            continue;
        }
        assert_int_equal(trainer->choice.micro_batch, choices[first].micro_batch);
        assert_int_equal(trainer->choice.pack_on_use, choices[first].pack_on_use);
        assert_true(trainer->plan.device_total <= (uint64_t)limit << 20);
        chosen |= 1u << first;
        slad_trainer_free(trainer);
    }
    assert_true(chosen & 1);
    assert_true(chosen & ~1u);
    joint_close(&test);
}

/* A micro-batch that was asked for is not made smaller in silence. */
static void test_given(void **state)
{
    joint test;
    joint_open(&test, *state, joint_options(SLAD_METHOD_SLAD));
    const uint32_t limit = (uint32_t)((double)needed(&test, (slad_memory_choice){32, true}) / MEBIBYTE) + 1;
    slad_trainer *trainer = plan(&test, 32, limit);
    assert_non_null(trainer);
    assert_int_equal(trainer->choice.micro_batch, 32);
    slad_trainer_free(trainer);
    assert_null(plan(&test, 64, limit));
    assert_message(test.own, "--micro-batch 32 would fit");
    joint_close(&test);
}

/* The trained values after some steps, made with a choice. The caller frees. */
static float *train(scratch *own, slad_train_options options, slad_memory_choice choice, bool like_a_gpu, size_t *count)
{
    enum { STEPS = 5 };
    joint test;
    slad_batch batches[STEPS];
    joint_open_with(&test, own, joint_options(SLAD_METHOD_SLAD), like_a_gpu);
    slad_trainer_free(test.trainer);
    test.options = options;
    joint_open_trainer(&test);
    slad_trainer_dismantle(test.trainer);
    assert_int_equal(slad_trainer_record(test.trainer, choice), SLAD_OK);
    assert_int_equal(slad_executor_allocate(test.trainer->executor), SLAD_OK);
    for (size_t step = 0; step < STEPS; step++) {
        batches[step] = joint_batch(&test, step);
        assert_int_equal(slad_trainer_step(test.trainer, &batches[step], NULL, NULL), SLAD_OK);
    }
    assert_int_equal(slad_trainer_finish(test.trainer, NULL, NULL), SLAD_OK);
    *count = slad_trainer_parameter_count(test.trainer);
    float *values = malloc(*count * sizeof *values), *place = values;
    assert_non_null(values);
    for (size_t i = 0; i < slad_store_trained_count(test.trainer->store); i++) {
        const slad_tensor *tensor = slad_store_trained_at(test.trainer->store, i)->tensor;
        assert_int_equal(slad_executor_read(test.trainer->executor, NULL, tensor, place), SLAD_OK);
        place += slad_tensor_elements(tensor);
    }
    joint_close(&test);
    return values;
}

/* Memory is saved without a change of any byte. */
static void check_same(scratch *own, slad_train_options options, slad_memory_choice choice, bool like_a_gpu)
{
    size_t count, other_count;
    float *values = train(own, options, (slad_memory_choice){.micro_batch = choice.micro_batch}, like_a_gpu, &count);
    float *others = train(own, options, choice, like_a_gpu, &other_count);
    assert_int_equal(count, other_count);
    assert_memory_equal(values, others, count * sizeof *values);
    free(values);
    free(others);
}

static void test_pack_on_use(void **state)
{
    slad_train_options split = joint_options(SLAD_METHOD_SLAD);
    split.lora_form = SLAD_LORA_SPLIT;
    split.lora_targets = SLAD_LORA_ALL;
    split.private_rank = 3;
    check_same(*state, joint_options(SLAD_METHOD_SLAD), (slad_memory_choice){3, true}, false);
    check_same(*state, joint_options(SLAD_METHOD_FINETUNE), (slad_memory_choice){8, true}, false);
    check_same(*state, split, (slad_memory_choice){8, true}, false);
    check_same(*state, split, (slad_memory_choice){8, true}, true);
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
        cmocka_unit_test_setup_teardown(test_pack_on_use, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_text, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
