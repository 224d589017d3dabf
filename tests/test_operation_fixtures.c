/* Both executors against PyTorch: the files of fixtures/operations, written by oracle/make_operations.py, which
 * documents the formula of the inputs. */
#include "base/safetensors.h"
#include "operation_check.h"
#include "ops/operations.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define EXPECTED_MOST 10

/* Expected values, which must live while a case runs. */
typedef struct fixture {
    const char *name;
    float *values[EXPECTED_MOST];
    size_t count;
    unsigned tau; /* of the distillation losses */
    bool drops;   /* of linear layers */
} fixture;

/* What a build function gets. */
typedef struct parameters {
    fixture *fixture;
} parameters;

/* One element of input `stream`, scaled and shifted. */
static float counter_value(uint32_t stream, uint32_t index, float scale, float shift)
{
    uint32_t h = index * 2654435761u + (stream * 2246822519u + 374761393u);
    h ^= h >> 16;
    h *= 73244475u;
    h ^= h >> 16;
    const float uniform = (float)(h >> 8) / 8388608.0f - 1.0f;
    const float scaled = scale * uniform;
    return scaled + shift;
}

static void fill_counter(float *values, size_t count, uint32_t stream, float scale, float shift)
{
    for (size_t i = 0; i < count; i++) values[i] = counter_value(stream, (uint32_t)i, scale, shift);
}

/* A tensor of counter values; operation_tensor copies them. */
static const slad_tensor *tensor(operation_check *check, operation_role role, const char *name, unsigned rank,
                                 const size_t *size, uint32_t stream, float scale, float shift)
{
    size_t elements = 1;
    for (unsigned i = 0; i < rank; i++) elements *= size[i];
    float *values = malloc(elements * sizeof *values);
    assert_non_null(values);
    fill_counter(values, elements, stream, scale, shift);
    const slad_tensor *made = operation_tensor(check, role, name, rank, size, operation_given(values));
    free(values);
    return made;
}

/* An output with a gradient of counter values in -1 .. 1. */
static void output(operation_check *check, const slad_tensor *y, const char *name, uint32_t stream)
{
    assert_non_null(y);
    const size_t elements = slad_tensor_elements(y);
    float *values = malloc(elements * sizeof *values);
    assert_non_null(values);
    fill_counter(values, elements, stream, 1, 0);
    operation_output_with_gradient(check, y, name, operation_given(values));
    free(values);
}

/* Reads a tensor of the fixture; it lives until the fixture is released. */
static const float *read_expected(operation_check *check, fixture *file, const char *name, size_t elements)
{
    char path[512];
    slad_context *context = slad_record_context(operation_record(check));
    slad_safetensors *opened = NULL;
    snprintf(path, sizeof path, "%s/operations/%s.safetensors", SLAD_FIXTURES, file->name);
    if (slad_safetensors_open(context, &opened, path) != SLAD_OK) fail_msg("%s", slad_context_message(context));
    const slad_safetensor *found = slad_safetensors_find(opened, name);
    if (!found) {
        fail_msg("%s has no tensor %s", path, name);
        return NULL;
    }
    assert_int_equal(found->elements, elements);
    assert_true(file->count < EXPECTED_MOST);
    float *values = malloc(elements * sizeof *values);
    assert_non_null(values);
    file->values[file->count++] = values;
    assert_int_equal(slad_safetensors_read_float(context, values, opened, found, 0, elements), SLAD_OK);
    slad_safetensors_close(opened);
    return values;
}

/* Expects the fixture's tensor of that name. */
static void expect(operation_check *check, const void *given, const char *name, size_t elements, double tolerance)
{
    fixture *file = ((const parameters *)given)->fixture;
    operation_expect(check, name, read_expected(check, file, name, elements), tolerance);
}

static void run(void **state, fixture *file, operation_case test)
{
    const parameters given = {file};
    test.name = file->name;
    test.parameters = &given;
    test.difference_tolerance = -1;
    operation_run(*state, &test);
    for (size_t i = 0; i < file->count; i++) free(file->values[i]);
}

static void build_layer_norm(operation_check *check, const void *given)
{
    const size_t columns = 50;
    const slad_tensor *x = tensor(check, OPERATION_GRADIENT, "x", 3, (const size_t[]){2, 5, columns}, 1, 2, 0.5f);
    const slad_tensor *gamma = tensor(check, OPERATION_TRAINED, "gamma", 1, &columns, 2, 0.5f, 1);
    const slad_tensor *beta = tensor(check, OPERATION_TRAINED, "beta", 1, &columns, 3, 1, 0);
    output(check, slad_layer_norm(operation_record(check), x, gamma, beta, 1e-6), "y", 4);
    expect(check, given, "y", 10 * columns, 2e-6);
    expect(check, given, "dx", 10 * columns, 2e-6);
    expect(check, given, "dgamma", columns, 2e-6);
    expect(check, given, "dbeta", columns, 2e-6);
}

static void test_layer_norm(void **state)
{
    run(state, &(fixture){.name = "layer_norm"}, (operation_case){.build = build_layer_norm});
}

static void build_layer_scale(operation_check *check, const void *given)
{
    const size_t size[] = {2, 17, 23}, elements = (size_t)2 * 17 * 23;
    slad_record *record = operation_record(check);
    const slad_tensor *x = tensor(check, OPERATION_GRADIENT, "x", 3, size, 60, 1, 0);
    const slad_tensor *z = tensor(check, OPERATION_GRADIENT, "z", 3, size, 61, 1, 0);
    const slad_tensor *gamma = tensor(check, OPERATION_TRAINED, "gamma", 1, &size[2], 62, 0.5f, 0.3f);
    const slad_tensor *y = slad_layer_scale(record, x, z, gamma);
    output(check, slad_layer_scale(record, y, z, NULL), "total", 63);
    expect(check, given, "total", elements, 1e-6);
    expect(check, given, "dx", elements, 1e-6);
    expect(check, given, "dz", elements, 1e-6);
    expect(check, given, "dgamma", size[2], 1e-6);
}

static void test_layer_scale(void **state)
{
    run(state, &(fixture){.name = "layer_scale"}, (operation_case){.build = build_layer_scale});
}

static void build_gelu(operation_check *check, const void *given)
{
    const slad_tensor *u = tensor(check, OPERATION_GRADIENT, "u", 2, (const size_t[]){7, 91}, 5, 6, 0);
    output(check, slad_gelu(operation_record(check), u), "v", 6);
    expect(check, given, "v", 637, 1e-6);
    expect(check, given, "du", 637, 1e-6);
}

static void test_gelu(void **state)
{
    run(state, &(fixture){.name = "gelu"}, (operation_case){.build = build_gelu});
}

static void build_swiglu(operation_check *check, const void *given)
{
    const slad_tensor *x = tensor(check, OPERATION_GRADIENT, "x", 2, (const size_t[]){7, 90}, 64, 6, 0);
    output(check, slad_swiglu(operation_record(check), x), "v", 65);
    expect(check, given, "v", 315, 1e-6);
    expect(check, given, "dx", 630, 1e-6);
}

static void test_swiglu(void **state)
{
    run(state, &(fixture){.name = "swiglu"}, (operation_case){.build = build_swiglu});
}

static void build_attention(operation_check *check, const void *given)
{
    const slad_tensor *qkv = tensor(check, OPERATION_GRADIENT, "qkv", 3, (const size_t[]){2, 17, 384}, 7, 2, 0);
    output(check, slad_attention(operation_record(check), qkv, 2), "o", 8);
    expect(check, given, "o", (size_t)2 * 17 * 128, 1e-5);
    expect(check, given, "dqkv", (size_t)2 * 17 * 384, 1e-5);
}

static void test_attention(void **state)
{
    run(state, &(fixture){.name = "attention"}, (operation_case){.build = build_attention});
}

static void build_patch_embedding(operation_check *check, const void *given)
{
    const size_t columns = 20;
    const slad_tensor *pixels = tensor(check, OPERATION_INPUT, "pixels", 4, (const size_t[]){2, 3, 28, 42}, 9, 2, 0);
    const slad_tensor *weight =
        tensor(check, OPERATION_FROZEN, "weight", 2, (const size_t[]){columns, 588}, 10, 0.1f, 0);
    const slad_tensor *bias = tensor(check, OPERATION_FROZEN, "bias", 1, &columns, 11, 1, 0);
    const slad_tensor *class_token = tensor(check, OPERATION_FROZEN, "class_token", 1, &columns, 12, 1, 0);
    const slad_tensor *position =
        tensor(check, OPERATION_FROZEN, "position", 2, (const size_t[]){7, columns}, 13, 1, 0);
    operation_output(
        check, slad_patch_embedding(operation_record(check), pixels, weight, bias, class_token, NULL, position, 14),
        "tokens");
    expect(check, given, "tokens", 14 * columns, 5e-6);
}

static void test_patch_embedding(void **state)
{
    run(state, &(fixture){.name = "patch_embedding"}, (operation_case){.build = build_patch_embedding});
}

static void build_patch_embedding_trained(operation_check *check, const void *given)
{
    const size_t columns = 22;
    const slad_tensor *pixels = tensor(check, OPERATION_INPUT, "pixels", 4, (const size_t[]){2, 3, 12, 20}, 66, 2, 0);
    const slad_tensor *weight =
        tensor(check, OPERATION_TRAINED, "weight", 2, (const size_t[]){columns, 48}, 67, 0.1f, 0);
    const slad_tensor *bias = tensor(check, OPERATION_TRAINED, "bias", 1, &columns, 68, 1, 0);
    const slad_tensor *class_token = tensor(check, OPERATION_TRAINED, "class_token", 1, &columns, 69, 1, 0);
    const slad_tensor *registers =
        tensor(check, OPERATION_TRAINED, "registers", 2, (const size_t[]){4, columns}, 70, 1, 0);
    const slad_tensor *position =
        tensor(check, OPERATION_TRAINED, "position", 2, (const size_t[]){16, columns}, 71, 1, 0);
    output(check,
           slad_patch_embedding(operation_record(check), pixels, weight, bias, class_token, registers, position, 4),
           "tokens", 72);
    expect(check, given, "tokens", 40 * columns, 5e-6);
    expect(check, given, "dweight", 48 * columns, 5e-6);
    expect(check, given, "dbias", columns, 2e-6);
    expect(check, given, "dclass_token", columns, 2e-6);
    expect(check, given, "dregisters", 4 * columns, 2e-6);
    expect(check, given, "dposition", 16 * columns, 2e-6);
}

static void test_patch_embedding_trained(void **state)
{
    run(state, &(fixture){.name = "patch_embedding_trained"}, (operation_case){.build = build_patch_embedding_trained});
}

static void build_pool(operation_check *check, const void *given)
{
    const slad_tensor *tokens = tensor(check, OPERATION_GRADIENT, "tokens", 3, (const size_t[]){3, 11, 19}, 14, 1, 0);
    output(check, slad_pool(operation_record(check), tokens, SLAD_POOL_CLS_MEAN, 5), "pooled", 15);
    expect(check, given, "pooled", 114, 1e-6);
    expect(check, given, "dtokens", 627, 1e-6);
}

static void test_pool(void **state)
{
    run(state, &(fixture){.name = "pool"}, (operation_case){.build = build_pool});
}

static void build_distillation(operation_check *check, const void *given)
{
    static const int32_t labels[] = {9, 1, 3, 7, 2, 6};
    static const float task[] = {1, 0, 1, 1, 0, 0.5f}, kl[] = {1, 1, 0, 1, 0, 0.25f};
    static const float zeros[SLAD_ACCUMULATORS] = {0};
    float values[SLAD_STEP_VALUES] = {0};
    values[SLAD_STEP_INVERSE_TASK] = 1 / 3.5f;
    values[SLAD_STEP_INVERSE_KL] = 1 / 3.25f;
    const unsigned tau = ((const parameters *)given)->fixture->tau;
    const slad_distillation loss = {
        .alpha_student = tau == 2 ? 0.7 : 1,
        .alpha_teacher = tau == 1   ? 1
                         : tau == 2 ? 1.3
                                    : 0,
        .alpha_kl = tau == 1   ? 1
                    : tau == 2 ? 0.4
                               : 2,
        .tau = tau,
    };
    const double alphas[] = {loss.alpha_student, loss.alpha_teacher, loss.alpha_kl, 0};
    const size_t size[] = {6, 11}, steps = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS;
    const slad_tensor *student = tensor(check, OPERATION_GRADIENT, "student_z", 2, size, 16, 4, 0);
    const slad_tensor *teacher = tensor(check, OPERATION_GRADIENT, "teacher_z", 2, size, 17, 6, 0);
    const slad_tensor *terms = slad_distillation_loss(
        operation_record(check), student, teacher, operation_integers(check, "labels", 1, size, 11, labels), NULL, NULL,
        operation_tensor(check, OPERATION_INPUT, "task_weights", 1, size, operation_given(task)),
        operation_tensor(check, OPERATION_INPUT, "kl_weights", 1, size, operation_given(kl)),
        operation_tensor(check, OPERATION_STATE, "step_values", 1, &steps, operation_given(values)),
        operation_tensor(check, OPERATION_STATE, "accumulators", 1, &sums, operation_given(zeros)), &loss);
    operation_loss(check, terms, "terms", alphas, 4);
    expect(check, given, "terms", 24, 2e-6);
    expect(check, given, "accumulators", SLAD_ACCUMULATORS, 2e-6);
    expect(check, given, "dstudent_z", 66, 2e-6);
    expect(check, given, "dteacher_z", 66, 2e-6);
}

static void test_distillation(void **state)
{
    run(state, &(fixture){.name = "distillation_tau_1", .tau = 1}, (operation_case){.build = build_distillation});
    run(state, &(fixture){.name = "distillation_tau_2", .tau = 2}, (operation_case){.build = build_distillation});
    run(state, &(fixture){.name = "distillation_tau_4", .tau = 4}, (operation_case){.build = build_distillation});
}

/* By way of a projection that is trained, as a training step does it. */
static void build_feature_loss(operation_check *check, const void *given)
{
    static const float kl[] = {1, 0.5f, 0}, zeros[SLAD_ACCUMULATORS] = {0};
    const float values[SLAD_STEP_VALUES] = {[SLAD_STEP_INVERSE_KL] = 1 / 1.5f};
    const slad_feature_distillation loss = {.alpha = 1.5, .compared = 4};
    const size_t images = 3, steps = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS;
    slad_record *record = operation_record(check);
    const slad_tensor *tokens = tensor(check, OPERATION_GRADIENT, "tokens", 3, (const size_t[]){3, 6, 10}, 60, 1, 0);
    const slad_weight projection = {
        .weight = tensor(check, OPERATION_TRAINED, "projection", 2, (const size_t[]){23, 10}, 61, 0.5f, 0)};
    const slad_tensor *target = tensor(check, OPERATION_INPUT, "target", 3, (const size_t[]){3, 5, 23}, 62, 2, 1);
    const slad_tensor *terms = slad_feature_loss(
        record, slad_linear(record, tokens, &projection, NULL), target,
        operation_tensor(check, OPERATION_INPUT, "kl_weights", 1, &images, operation_given(kl)),
        operation_tensor(check, OPERATION_STATE, "step_values", 1, &steps, operation_given(values)),
        operation_tensor(check, OPERATION_STATE, "accumulators", 1, &sums, operation_given(zeros)), &loss);
    operation_loss(check, terms, "terms", &loss.alpha, 1);
    expect(check, given, "accumulators", SLAD_ACCUMULATORS, 2e-6);
    expect(check, given, "dtokens", 180, 5e-6);
    expect(check, given, "dprojection", 230, 5e-6);
}

static void test_feature_loss(void **state)
{
    run(state, &(fixture){.name = "feature_loss"}, (operation_case){.build = build_feature_loss});
}

static void build_mixed(operation_check *check, const void *given)
{
    static const int32_t labels[] = {9, 1, 3, 7, 2, 6}, second[] = {2, 1, 5, 0, 10, 3};
    static const float mix[] = {0.75f, 0.3f, 1, 0, 0.5f, 0.125f}, task[] = {1, 1, 1, 1, 0.5f, 0};
    static const float kl[] = {1, 1, 1, 1, 1, 1};
    static const float values[SLAD_STEP_VALUES] = {1 / 4.5f, 1 / 6.0f}, zeros[SLAD_ACCUMULATORS];
    const slad_distillation loss = {
        .alpha_student = 0.7, .alpha_teacher = 1.3, .alpha_kl = 0.4, .tau = 2, .label_smoothing = 0.1};
    const double alphas[] = {loss.alpha_student, loss.alpha_teacher, loss.alpha_kl, 0};
    const size_t size[] = {6, 11}, steps = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS;
    const slad_tensor *student = tensor(check, OPERATION_GRADIENT, "student_z", 2, size, 16, 4, 0);
    const slad_tensor *teacher = tensor(check, OPERATION_GRADIENT, "teacher_z", 2, size, 17, 6, 0);
    const slad_tensor *terms = slad_distillation_loss(
        operation_record(check), student, teacher, operation_integers(check, "labels", 1, size, 11, labels),
        operation_integers(check, "labels_2", 1, size, 11, second),
        operation_tensor(check, OPERATION_INPUT, "mix", 1, size, operation_given(mix)),
        operation_tensor(check, OPERATION_INPUT, "task_weights", 1, size, operation_given(task)),
        operation_tensor(check, OPERATION_INPUT, "kl_weights", 1, size, operation_given(kl)),
        operation_tensor(check, OPERATION_STATE, "step_values", 1, &steps, operation_given(values)),
        operation_tensor(check, OPERATION_STATE, "accumulators", 1, &sums, operation_given(zeros)), &loss);
    operation_loss(check, terms, "terms", alphas, 4);
    expect(check, given, "terms", 24, 2e-6);
    expect(check, given, "accumulators", SLAD_ACCUMULATORS, 2e-6);
    expect(check, given, "dstudent_z", 66, 2e-6);
    expect(check, given, "dteacher_z", 66, 2e-6);
}

static void test_mixed_distillation(void **state)
{
    run(state, &(fixture){.name = "distillation_mixed"}, (operation_case){.build = build_mixed});
}

/* Pair i of linear_adapters: views of wider tensors, as oracle/make_operations.py makes them. */
static slad_adapter fixture_adapter(operation_check *check, unsigned i, size_t channels, size_t width)
{
    static const double scales[] = {0.5, 1.5, 2.0, 0.75};
    static const uint32_t streams[] = {9, 10, 11, 9};
    slad_record *record = operation_record(check);
    const size_t rank = i < 3 ? 4 : 3, rows = i < 3 ? width : 3 * width, wide = channels + 3, tall = rows + 2;
    const char a_name[] = {'A', (char)('0' + i), 0}, b_name[] = {'B', (char)('0' + i), 0};
    const slad_tensor *lora_a =
        tensor(check, OPERATION_TRAINED, a_name, 2, (const size_t[]){rank, wide}, 73 + 2 * i, 0.3f, 0);
    const slad_tensor *lora_b =
        tensor(check, OPERATION_TRAINED, b_name, 2, (const size_t[]){tall, rank}, 74 + 2 * i, 0.3f, 0);
    return (slad_adapter){
        .lora_a = slad_record_view(record, lora_a, 0, 2, (const size_t[]){rank, channels}, (const size_t[]){wide, 1}),
        .lora_b = slad_record_view(record, lora_b, 0, 3, (const size_t[]){1, rows, rank},
                                   (const size_t[]){tall * rank, rank, 1}),
        .scale = scales[i],
        .first_row = i < 3 ? i * width : 0,
        .stream = streams[i],
    };
}

static void build_linear_adapters(operation_check *check, const void *given)
{
    enum { IMAGES = 3, TOKENS = 7, CHANNELS = 22, WIDTH = 11, OUT = 3 * WIDTH, PAIRS = 4 };
    /* seed 0x123456789abcdef0, step 0x500000007 */
    static const int32_t key[] = {(int32_t)0x9abcdef0u, 0x12345678, 7, 5}, samples[] = {5, 0, 1};
    const size_t out = OUT;
    const fixture *file = ((const parameters *)given)->fixture;
    const slad_tensor *x =
        tensor(check, OPERATION_GRADIENT, "x", 3, (const size_t[]){IMAGES, TOKENS, CHANNELS}, 70, 1, 0);
    slad_weight weight = {
        .weight = tensor(check, OPERATION_FROZEN, "weight", 2, (const size_t[]){OUT, CHANNELS}, 71, 0.2f, 0),
        .adapter_count = PAIRS};
    const slad_tensor *bias = tensor(check, OPERATION_FROZEN, "bias", 1, &out, 72, 1, 0);
    for (unsigned i = 0; i < PAIRS; i++) weight.adapters[i] = fixture_adapter(check, i, CHANNELS, WIDTH);
    if (file->drops)
        weight.dropout = (slad_dropout){
            .rate = 0.3,
            .key = operation_integers(check, "key", 1, (const size_t[]){4}, INT32_MAX, key),
            .samples = operation_integers(check, "samples", 1, (const size_t[]){IMAGES}, INT32_MAX, samples)};
    output(check, slad_linear(operation_record(check), x, &weight, bias), "y", 81);
    expect(check, given, "y", (size_t)IMAGES * TOKENS * OUT, 2e-6);
    expect(check, given, "dx", (size_t)IMAGES * TOKENS * CHANNELS, 2e-6);
    for (unsigned i = 0; i < PAIRS; i++) {
        const char a_name[] = {'d', 'A', (char)('0' + i), 0}, b_name[] = {'d', 'B', (char)('0' + i), 0};
        const size_t rank = i < 3 ? 4 : 3, rows = i < 3 ? WIDTH : OUT;
        expect(check, given, a_name, rank * (CHANNELS + 3), 2e-6);
        expect(check, given, b_name, rank * (rows + 2), 2e-6);
    }
}

static void test_linear_adapters(void **state)
{
    run(state, &(fixture){.name = "linear_adapters"}, (operation_case){.build = build_linear_adapters});
    run(state, &(fixture){.name = "linear_dropout", .drops = true}, (operation_case){.build = build_linear_adapters});
}

enum { ADAMW_STEPS = 5, MATRIX = 5 * 23, BIAS = 13 };

/* The gradient of a residual is that of the sum: so the inputs "dy_matrix" and "dy_bias" are the gradients. */
static void build_adamw(operation_check *check, const void *given)
{
    static const float zeros[SLAD_REPORT] = {0};
    const size_t matrix_size[] = {5, 23}, bias_size[] = {1, 13};
    const size_t steps = SLAD_STEP_VALUES, sums = SLAD_ACCUMULATORS, reported = SLAD_REPORT;
    fixture *file = ((const parameters *)given)->fixture;
    slad_record *record = operation_record(check);
    const slad_tensor *matrix = tensor(check, OPERATION_TRAINED, "matrix", 2, matrix_size, 18, 1, 0);
    const slad_tensor *bias = tensor(check, OPERATION_TRAINED_HEAD, "bias", 2, bias_size, 19, 1, 0);
    const slad_tensor *branch_m = tensor(check, OPERATION_INPUT, "branch_m", 2, matrix_size, 50, 1, 0);
    const slad_tensor *branch_b = tensor(check, OPERATION_INPUT, "branch_b", 2, bias_size, 51, 1, 0);
    const slad_tensor *gamma_m = tensor(check, OPERATION_FROZEN, "gamma_m", 1, &matrix_size[1], 52, 1, 0);
    const slad_tensor *gamma_b = tensor(check, OPERATION_FROZEN, "gamma_b", 1, &bias_size[1], 53, 1, 0);
    output(check, slad_layer_scale(record, matrix, branch_m, gamma_m), "y_matrix", 0);
    output(check, slad_layer_scale(record, bias, branch_b, gamma_b), "y_bias", 0);
    const slad_tensor *values =
        operation_tensor(check, OPERATION_STATE, "step_values", 1, &steps, operation_given(zeros));
    const slad_tensor *accumulators =
        operation_tensor(check, OPERATION_STATE, "accumulators", 1, &sums, operation_given(zeros));
    const slad_tensor *report =
        operation_tensor(check, OPERATION_STATE, "report", 1, &reported, operation_given(zeros));
    assert_int_equal(slad_optimizer(record, values, accumulators, report, 1.0), SLAD_OK);
    expect(check, given, "matrix", MATRIX, 1e-6);
    expect(check, given, "matrix.moment_1", MATRIX, 1e-5);
    expect(check, given, "matrix.moment_2", MATRIX, 1e-5);
    expect(check, given, "bias", BIAS, 1e-6);
    expect(check, given, "bias.moment_1", BIAS, 1e-5);
    expect(check, given, "bias.moment_2", BIAS, 1e-5);
    /* After the last step the report is the norm alone: nothing was accumulated, no step was skipped. */
    const float *norms = read_expected(check, file, "norms", ADAMW_STEPS);
    float *last = calloc(SLAD_REPORT, sizeof *last);
    assert_non_null(last);
    last[SLAD_REPORT_NORM] = norms[ADAMW_STEPS - 1];
    file->values[file->count++] = last;
    operation_expect(check, "report", last, 1e-6);
}

static void set_adamw_step(operation_check *check, const void *given, unsigned step, unsigned micro_batch)
{
    static const float scales[ADAMW_STEPS] = {1, 0.05f, 0.3f, 0.01f, 2};
    float values[SLAD_STEP_VALUES] = {0}, gradient[MATRIX];
    double beta_1 = 1, beta_2 = 1;
    (void)given;
    (void)micro_batch;
    for (unsigned i = 0; i <= step; i++) {
        beta_1 *= 0.9;
        beta_2 *= 0.999;
    }
    values[SLAD_STEP_BIAS_1] = (float)(1 / (1 - beta_1));
    values[SLAD_STEP_BIAS_2] = (float)(1 / (1 - beta_2));
    values[SLAD_STEP_DECAY] = 0.1f;
    values[SLAD_STEP_RATES + SLAD_GROUP_ADAPTERS] = 0.01f * (float)(step + 1);
    values[SLAD_STEP_RATES + SLAD_GROUP_HEADS] = 0.02f;
    operation_set(check, "step_values", values);
    fill_counter(gradient, MATRIX, 20 + step, scales[step], 0);
    operation_set(check, "dy_matrix", gradient);
    fill_counter(gradient, BIAS, 30 + step, scales[step], 0);
    operation_set(check, "dy_bias", gradient);
}

static void test_adamw(void **state)
{
    run(state, &(fixture){.name = "adamw"},
        (operation_case){.build = build_adamw, .steps = ADAMW_STEPS, .before_run = set_adamw_step});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_layer_scale),
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_patch_embedding),
        cmocka_unit_test(test_patch_embedding_trained),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_distillation),
        cmocka_unit_test(test_mixed_distillation),
        cmocka_unit_test(test_feature_loss),
        cmocka_unit_test(test_linear_adapters),
        cmocka_unit_test(test_adamw),
    };
    return cmocka_run_group_tests(tests, operation_bench_open, operation_bench_close);
}
