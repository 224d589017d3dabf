/* Training that starts from adapters of PEFT: what the network then adds to its weights is what the folder says, and
 * what does not fit into a run is refused with the option that would make it fit. */
#include "joint_fixture.h"

#include "peft_folder.h"
#include "train/start_adapters.h"

enum { WIDTH = 64, RANK = 3, ALPHA = 2 };

/* Values of a trained tensor of the student; the caller frees. */
static float *trained_values(joint *test, const char *name)
{
    const slad_trained *trained = slad_store_trained_find(test->trainer->store, name);
    if (!trained) {
        fail_msg("%s is not trained", name);
        abort(); /* for analysers: fail_msg does not return */
    }
    float *values = malloc(slad_tensor_elements(trained->tensor) * sizeof *values);
    assert_non_null(values);
    assert_int_equal(slad_executor_read_slab(test->trainer->executor, trained->tensor, SLAD_SLAB_TRAINED, values),
                     SLAD_OK);
    return values;
}

static float *layer_values(joint *test, size_t layer, char factor)
{
    char name[96];
    (void)snprintf(name, sizeof name, "student.layers.%zu.qkv.lora_%c", layer, factor);
    return trained_values(test, name);
}

/* The rows of layer's qkv from first_row on are adapted by the folder's a [RANK, WIDTH] and b [rows, RANK]; b NULL: not
 * at all. */
static void assert_delta(joint *test, size_t layer, size_t first_row, size_t rows, const float *a, const float *b)
{
    float *own_a = layer_values(test, layer, 'A'), *own_b = layer_values(test, layer, 'B');
    for (size_t row = 0; row < rows; row++)
        for (size_t column = 0; column < WIDTH; column += 7) {
            double expected = 0, got = 0;
            for (size_t k = 0; b && k < RANK; k++)
                expected += (double)ALPHA / RANK * (double)b[row * RANK + k] * (double)a[k * WIDTH + column];
            for (size_t k = 0; k < JOINT_RANK; k++)
                got += 8.0 / JOINT_RANK * (double)own_b[(first_row + row) * JOINT_RANK + k] *
                       (double)own_a[k * WIDTH + column];
            assert_true(fabs(expected - got) < 1e-6);
        }
    free(own_a);
    free(own_b);
}

static void start_good(joint *test, scratch *own)
{
    if (slad_trainer_start_adapters(test->trainer, scratch_path(own, "peft"), false) != SLAD_OK)
        fail_msg("%s", slad_context_message(own->context));
}

static const char settings[] = "\"r\": 3, \"lora_alpha\": 2";

/* A fused pair of lower rank: the rest of A stays, the rest of B is zero, and so stays what other layers have. */
static void test_fused(void **state)
{
    scratch *own = *state;
    joint test;
    made_peft list = {0};
    joint_open(&test, own, joint_options(SLAD_METHOD_LORA));
    float *before = layer_values(&test, 1, 'A'), *other = layer_values(&test, 0, 'B');
    made_add_pair(&list, "blocks.1.attn.qkv", RANK, WIDTH, 3 * WIDTH);
    made_add(&list, "classifier.weight", JOINT_CLASSES, 2 * WIDTH);
    made_add(&list, "classifier.bias", JOINT_CLASSES, 0);
    made_write(own, &list, settings);
    start_good(&test, own);
    assert_delta(&test, 1, 0, 3 * WIDTH, list.values[0], list.values[1]);
    float *after = layer_values(&test, 1, 'A'), *b = layer_values(&test, 1, 'B'), *same = layer_values(&test, 0, 'B');
    assert_memory_equal(after + RANK * WIDTH, before + RANK * WIDTH, (JOINT_RANK - RANK) * WIDTH * sizeof *after);
    for (size_t row = 0; row < 3 * WIDTH; row++)
        for (size_t k = RANK; k < JOINT_RANK; k++) assert_true(b[row * JOINT_RANK + k] == 0.0f);
    assert_memory_equal(same, other, 3 * WIDTH * JOINT_RANK * sizeof *same);
    float *weight = trained_values(&test, "student.head.weight"), *bias = trained_values(&test, "student.head.bias");
    assert_memory_equal(weight, list.values[2], (size_t)JOINT_CLASSES * 2 * WIDTH * sizeof *weight);
    assert_memory_equal(bias, list.values[3], JOINT_CLASSES * sizeof *bias);
    float *const all[] = {before, other, after, b, same, weight, bias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    made_free(&list);
    joint_close(&test);
}

/* q and v with one A are a fused pair that does nothing to k; with an A each they are not. */
static void test_split_in_fused(void **state)
{
    scratch *own = *state;
    joint test;
    made_peft list = {0};
    joint_open(&test, own, joint_options(SLAD_METHOD_LORA));
    made_add_pair(&list, "encoder.layer.0.attention.q_proj", RANK, WIDTH, WIDTH);
    made_add_pair(&list, "encoder.layer.0.attention.v_proj", RANK, WIDTH, WIDTH);
    made_write(own, &list, settings);
    assert_int_equal(slad_trainer_start_adapters(test.trainer, scratch_path(own, "peft"), false), SLAD_ERROR_USAGE);
    assert_message(own, "--lora-form split");
    memcpy(list.values[2], list.values[0], RANK * WIDTH * sizeof(float));
    made_write(own, &list, settings);
    start_good(&test, own);
    assert_delta(&test, 0, 0, WIDTH, list.values[0], list.values[1]);
    assert_delta(&test, 0, WIDTH, WIDTH, NULL, NULL);
    assert_delta(&test, 0, 2 * WIDTH, WIDTH, list.values[2], list.values[3]);
    made_free(&list);
    joint_close(&test);
}

/* A classifier of other classes is left out; one of a head that reads the class token alone fits such a head. */
static void test_heads(void **state)
{
    scratch *own = *state;
    joint test;
    made_peft list = {0};
    slad_train_options options = joint_options(SLAD_METHOD_LORA);
    options.head = SLAD_HEAD_CLS;
    joint_open(&test, own, options);
    float *before = trained_values(&test, "student.head.weight");
    made_add_pair(&list, "blocks.1.attn.qkv", RANK, WIDTH, 3 * WIDTH);
    made_add(&list, "classifier.weight", JOINT_CLASSES, 2 * WIDTH);
    made_add(&list, "classifier.bias", JOINT_CLASSES, 0);
    made_write(own, &list, settings);
    start_good(&test, own);
    float *after = trained_values(&test, "student.head.weight");
    assert_memory_equal(before, after, (size_t)JOINT_CLASSES * WIDTH * sizeof *after);
    free(after);
    for (size_t row = 0; row < JOINT_CLASSES; row++)
        memset(list.values[2] + (2 * row + 1) * WIDTH, 0, WIDTH * sizeof(float));
    made_write(own, &list, settings);
    start_good(&test, own);
    after = trained_values(&test, "student.head.weight");
    for (size_t row = 0; row < JOINT_CLASSES; row++)
        assert_memory_equal(after + row * WIDTH, list.values[2] + 2 * row * WIDTH, WIDTH * sizeof *after);
    free(before);
    free(after);
    made_free(&list);
    joint_close(&test);
}

static void test_refused(void **state)
{
    static const struct {
        const char *module;
        uint64_t rank, inputs, outputs;
        const char *fields, *message;
    } rows[] = {
        {"blocks.0.attn.proj", 3, WIDTH, WIDTH, "\"r\": 3", "--lora-targets all"},
        {"blocks.0.attn.qkv", 6, WIDTH, 3 * WIDTH, "\"r\": 6", "--lora-rank 6"},
        {"blocks.3.attn.qkv", 3, WIDTH, 3 * WIDTH, "\"r\": 3", "3 layers"},
        {"blocks.0.attn.qkv", 3, WIDTH, WIDTH, "\"r\": 3", "different models"},
    };
    static const struct {
        slad_method method;
        const char *message;
    } methods[] = {{SLAD_METHOD_SLAD, "--share none"}, {SLAD_METHOD_PROBE, "--student-adapt lora"}};
    scratch *own = *state;
    joint test;
    joint_open(&test, own, joint_options(SLAD_METHOD_LORA));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        made_peft list = {0};
        made_add_pair(&list, rows[i].module, rows[i].rank, rows[i].inputs, rows[i].outputs);
        made_write(own, &list, rows[i].fields);
        assert_int_not_equal(slad_trainer_start_adapters(test.trainer, scratch_path(own, "peft"), false), SLAD_OK);
        assert_message(own, rows[i].message);
        made_free(&list);
    }
    joint_close(&test);
    for (size_t i = 0; i < 2; i++) {
        joint_open(&test, own, joint_options(methods[i].method));
        assert_int_equal(slad_trainer_start_adapters(test.trainer, scratch_path(own, "peft"), false), SLAD_ERROR_USAGE);
        assert_message(own, methods[i].message);
        joint_close(&test);
    }
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(test_fused),
        WITH_SCRATCH(test_split_in_fused),
        WITH_SCRATCH(test_heads),
        WITH_SCRATCH(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
