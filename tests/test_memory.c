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

/* What may be chosen for a batch of 64 on a CPU, in the order of preference: with 17 rows an image, half a batch has
 * too few rows to be preferred to packing on use. */
static const slad_memory_choice choices[] = {
    {64, false, false}, {64, true, false}, {32, true, false}, {16, true, false}, {8, true, false},
    {4, true, false},   {2, true, false},  {1, true, false},  {64, true, true},  {32, true, true},
    {16, true, true},   {8, true, true},   {4, true, true},   {2, true, true},   {1, true, true}};
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
        assert_int_equal(trainer->choice.recompute, choices[first].recompute);
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
    const uint32_t limit = (uint32_t)((double)needed(&test, (slad_memory_choice){32, true, true}) / MEBIBYTE) + 1;
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
    check_same(*state, joint_options(SLAD_METHOD_SLAD), (slad_memory_choice){3, true, false}, false);
    check_same(*state, joint_options(SLAD_METHOD_FINETUNE), (slad_memory_choice){8, true, false}, false);
    check_same(*state, split, (slad_memory_choice){8, true, false}, false);
    check_same(*state, split, (slad_memory_choice){8, true, false}, true);
}

static void test_recompute(void **state)
{
    slad_train_options split = joint_options(SLAD_METHOD_SLAD);
    split.lora_form = SLAD_LORA_SPLIT;
    split.lora_targets = SLAD_LORA_ALL;
    split.private_rank = 3;
    slad_train_options dropped = joint_options(SLAD_METHOD_SLAD);
    dropped.lora_dropout = 0.2;
    check_same(*state, joint_options(SLAD_METHOD_SLAD), (slad_memory_choice){3, false, true}, false);
    check_same(*state, joint_options(SLAD_METHOD_FINETUNE), (slad_memory_choice){8, true, true}, false);
    check_same(*state, split, (slad_memory_choice){8, true, true}, true);
    check_same(*state, dropped, (slad_memory_choice){3, false, true}, false);
}

/* The gradients of the first batch by the reference executor. The caller frees. */
static float *reference_gradients(joint *test, bool recompute)
{
    slad_trainer *trainer = test->trainer;
    slad_executor *executor;
    const slad_batch batch = joint_batch(test, 0);
    float values[SLAD_STEP_VALUES] = {0};
    values[SLAD_STEP_INVERSE_TASK] = values[SLAD_STEP_INVERSE_KL] = 1.0f / 2;
    slad_trainer_dismantle(trainer);
    assert_int_equal(slad_trainer_record(trainer, (slad_memory_choice){2, false, recompute}), SLAD_OK);
    const slad_pass *pass = &trainer->training;
    assert_int_equal(slad_executor_create_reference(test->own->context, &executor, trainer->store), SLAD_OK);
    assert_int_equal(slad_executor_add(executor, pass->record), SLAD_OK);
    assert_int_equal(slad_executor_allocate(executor), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, NULL, trainer->step_values, values), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->pixels, batch.pixel_values), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->labels, batch.labels), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->task_weights, batch.task_weights), SLAD_OK);
    assert_int_equal(slad_executor_write(executor, pass->record, pass->kl_weights, batch.kl_weights), SLAD_OK);
    assert_int_equal(slad_executor_run(executor, pass->record, SLAD_PHASE_MICRO_BATCH), SLAD_OK);
    float *gradients = malloc(slad_trainer_parameter_count(trainer) * sizeof *gradients), *place = gradients;
    assert_non_null(gradients);
    for (size_t i = 0; i < slad_store_trained_count(trainer->store); i++) {
        const slad_tensor *tensor = slad_store_trained_at(trainer->store, i)->tensor;
        assert_int_equal(slad_executor_read_slab(executor, tensor, SLAD_SLAB_GRADIENT, place), SLAD_OK);
        place += slad_tensor_elements(tensor);
    }
    slad_executor_free(executor);
    return gradients;
}

static void test_recompute_reference(void **state)
{
    joint test;
    joint_open(&test, *state, joint_options(SLAD_METHOD_SLAD));
    const size_t count = slad_trainer_parameter_count(test.trainer);
    double squares = 0;
    float *kept = reference_gradients(&test, false), *recomputed = reference_gradients(&test, true);
    for (size_t i = 0; i < count; i++) squares += (double)kept[i] * (double)kept[i];
    assert_true(squares > 0);
    assert_memory_equal(kept, recomputed, count * sizeof *kept);
    free(kept);
    free(recomputed);
    joint_close(&test);
}

/* Recomputation saves what it promises: of each block but one little more than its input is kept. Without gradients in
 * the blocks there is nothing to recompute. */
static void test_recompute_saves(void **state)
{
    joint test;
    joint_open(&test, *state, joint_options(SLAD_METHOD_SLAD));
    (void)needed(&test, (slad_memory_choice){64, false, false});
    const uint64_t kept = test.trainer->plan.arena;
    const size_t nodes = slad_record_node_count(test.trainer->training.record);
    (void)needed(&test, (slad_memory_choice){64, false, true});
    assert_true(test.trainer->plan.arena < kept / 2);
    assert_true(slad_record_node_count(test.trainer->training.record) > nodes);
    slad_trainer_free(test.trainer);
    test.options = joint_options(SLAD_METHOD_PROBE);
    joint_open_trainer(&test);
    (void)needed(&test, (slad_memory_choice){64, false, false});
    const size_t probe_nodes = slad_record_node_count(test.trainer->training.record);
    (void)needed(&test, (slad_memory_choice){64, false, true});
    assert_int_equal(slad_record_node_count(test.trainer->training.record), probe_nodes);
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
        cmocka_unit_test_setup_teardown(test_pack_on_use, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_recompute, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_recompute_reference, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_recompute_saves, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_text, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
