/* Reading folders of PEFT: what slad writes, the names of hub and timm, patterns and rsLoRA, and what is refused.
 * tests/oracle/check_peft.py has slad read folders that peft itself wrote. */
#include "formula.h"
#include "peft_folder.h"
#include "tiny_model.h"

#include "base/pattern.h"
#include "io/peft.h"

enum { WIDTH = 6 };

static slad_peft *open_good(scratch *own)
{
    slad_peft *peft = NULL;
    if (slad_peft_open(own->context, &peft, scratch_path(own, "peft")) != SLAD_OK)
        fail_msg("%s", slad_context_message(own->context));
    return peft;
}

static void assert_refused(scratch *own, const char *part)
{
    slad_peft *peft = NULL;
    assert_int_equal(slad_peft_open(own->context, &peft, scratch_path(own, "peft")), SLAD_ERROR_DATA);
    assert_null(peft);
    assert_message(own, part);
}

/* What is written is read back: each of q, k, v once, though it stands there under two names. */
static void test_round_trip(void **state)
{
    enum { RANK = 2, CLASSES = 3, LAYERS = 2 };
    scratch *own = *state;
    float a[LAYERS][RANK * WIDTH], b[LAYERS][3 * WIDTH * RANK], weight[CLASSES * 2 * WIDTH], bias[CLASSES];
    static const char *const names[CLASSES] = {"a", "b \"c\"", "\xc3\xa9"};
    slad_peft_pair pairs[3 * LAYERS];
    const slad_peft_adapter adapter = {.base = "../base",
                                       .layers = LAYERS,
                                       .pairs = pairs,
                                       .count = 3 * LAYERS,
                                       .classes = CLASSES,
                                       .features = 2 * WIDTH,
                                       .classifier_weight = weight,
                                       .classifier_bias = bias,
                                       .class_names = names};
    for (size_t i = 0; i < 3 * LAYERS; i++)
        pairs[i] = (slad_peft_pair){i / 3,    (slad_peft_target)(SLAD_PEFT_Q + i % 3), RANK, WIDTH, WIDTH, 1.5,
                                    a[i / 3], b[i / 3] + i % 3 * WIDTH * RANK};
    for (size_t i = 0; i < LAYERS; i++) {
        formula_tensor(a[i], RANK * WIDTH, i ? "a1" : "a0", 1.0, 0);
        formula_tensor(b[i], 3 * WIDTH * RANK, i ? "b1" : "b0", 1.0, 0);
    }
    formula_tensor(weight, CLASSES * 2 * WIDTH, "weight", 1.0, 0);
    formula_tensor(bias, CLASSES, "bias", 1.0, 0);
    assert_int_equal(slad_peft_write(own->context, scratch_path(own, "peft"), &adapter), SLAD_OK);
    slad_peft *peft = open_good(own);
    assert_int_equal(peft->count, 3 * LAYERS);
    for (size_t i = 0; i < peft->count; i++) {
        const slad_peft_pair *pair = &peft->pairs[i];
        assert_int_equal(pair->layer, i / 3);
        assert_int_equal(pair->target, SLAD_PEFT_Q + i % 3);
        assert_int_equal(pair->rank, RANK);
        assert_true(pair->scale == 1.5);
        assert_memory_equal(pair->a, a[i / 3], sizeof a[0]);
        assert_memory_equal(pair->b, b[i / 3] + i % 3 * WIDTH * RANK, sizeof b[0] / 3);
    }
    assert_int_equal(peft->classes, CLASSES);
    assert_int_equal(peft->features, 2 * WIDTH);
    assert_memory_equal(peft->classifier_weight, weight, sizeof weight);
    assert_memory_equal(peft->classifier_bias, bias, sizeof bias);
    for (size_t i = 0; i < CLASSES; i++) assert_string_equal(peft->class_names[i], names[i]);
    assert_string_equal(peft->base, "../base");
    slad_peft_close(peft);
}

/* Layers by all their names. */
static void test_names(void **state)
{
    static const struct {
        const char *module;
        size_t layer;
        slad_peft_target target;
    } rows[] = {
        {"blocks.0.attn.qkv", 0, SLAD_PEFT_QKV},
        {"blocks.1.attn.proj", 1, SLAD_PEFT_PROJ},
        {"blocks.2.mlp.fc1", 2, SLAD_PEFT_FC1},
        {"blocks.3.mlp.w12", 3, SLAD_PEFT_FC1},
        {"blocks.4.mlp.w3", 4, SLAD_PEFT_FC2},
        {"encoder.layer.5.attention.attention.key", 5, SLAD_PEFT_K},
        {"dinov2.encoder.layer.6.attention.v_proj", 6, SLAD_PEFT_V},
        {"dinov2_with_registers.encoder.layer.7.attention.output.dense", 7, SLAD_PEFT_PROJ},
        {"vit.encoder.layer.8.intermediate.dense", 8, SLAD_PEFT_FC1},
        {"vit.encoder.layer.9.output.dense", 9, SLAD_PEFT_FC2},
        {"vit.layers.10.attention.o_proj", 10, SLAD_PEFT_PROJ},
        {"dinov2.encoder.layer.11.mlp.gate_proj", 11, SLAD_PEFT_GATE},
        {"dinov2.encoder.layer.12.mlp.up_proj", 12, SLAD_PEFT_UP},
        {"dinov2.encoder.layer.39.mlp.weights_out", 39, SLAD_PEFT_FC2},
    };
    scratch *own = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        made_peft list = {0};
        made_add_pair(&list, rows[i].module, 8, WIDTH, WIDTH);
        made_write(own, &list, "");
        slad_peft *peft = open_good(own);
        assert_int_equal(peft->count, 1);
        assert_int_equal(peft->pairs->layer, rows[i].layer);
        assert_int_equal(peft->pairs->target, rows[i].target);
        assert_true(peft->pairs->scale == 1.0);
        assert_int_equal(peft->classes, 0);
        slad_peft_close(peft);
        made_free(&list);
    }
}

/* The first expression that fits decides; square roots with rsLoRA. */
static void test_scales(void **state)
{
    scratch *own = *state;
    made_peft list = {0};
    made_add_pair(&list, "blocks.0.attn.qkv", 4, WIDTH, 3 * WIDTH);
    made_add_pair(&list, "blocks.0.attn.proj", 9, WIDTH, WIDTH);
    made_add_pair(&list, "blocks.1.attn.proj", 4, WIDTH, WIDTH);
    made_write(
        own, &list,
        "\"r\": 4, \"lora_alpha\": 6, \"rank_pattern\": {\"^blocks.0.attn.pr\": 1, \"0\\\\.attn\\\\.(proj|x)\": "
        "9}, \"alpha_pattern\": {\"attn.proj\": 18, \"blocks.1.attn.proj\": 1}, \"layers_to_transform\": [0, 1]");
    slad_peft *peft = open_good(own);
    assert_int_equal(peft->count, 3);
    assert_true(peft->pairs[0].scale == 6.0 / 4 && peft->pairs[1].scale == 2 && peft->pairs[2].scale == 18.0 / 4);
    slad_peft_close(peft);
    made_write(own, &list,
               "\"r\": 4, \"lora_alpha\": 6, \"rank_pattern\": {\"blocks.0.attn.proj\": 9}, \"use_rslora\": true");
    peft = open_good(own);
    assert_true(peft->pairs[0].scale == 3 && peft->pairs[1].scale == 2 && peft->pairs[2].scale == 3);
    slad_peft_close(peft);
    made_free(&list);
}

static void test_patterns(void **state)
{
    static const struct {
        const char *text, *subject;
        bool matches;
    } rows[] = {
        {"proj", "a.b.proj", true},
        {"proj", "a.b.xproj", false},
        {"proj", "proj.b", false},
        {"^a", "a", true},
        {"^a", "b.a", false},
        {"a.c", "x.abc", true},
        {"a\\.c", "abc", false},
        {"layer\\.[02-4]\\.q", "l.layer.3.q", true},
        {"layer\\.[^3].q", "layer.3.q", false},
        {"(?:q|k)_proj", "z.k_proj", true},
        {"layer.\\d+?.q", "layer.17.q", true},
        {"layer.[\\d]*.q", "layer.17.q", true},
        {"(l(ayer)+\\.)+(\\d)+", "layerlayer.layer.17", true},
        {"\\<q", "a.q", false},
        {"\\<q", "a.<q", true},
    };
    static const char *const bad[] = {"(?=a)",
                                      "a{2}",
                                      "\\w",
                                      "a**",
                                      "[",
                                      "(a",
                                      "[a-",
                                      "a\\",
                                      "(((((((((((((((((((((((((((((((a)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+)+"
                                      ")+)+)+)+)+)+)+"}; /* would grow by 2^31 */
    scratch *own = *state;
    slad_pattern *pattern = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(slad_pattern_compile(own->context, &pattern, rows[i].text, "here"), SLAD_OK);
        if (slad_pattern_matches(pattern, rows[i].subject) != rows[i].matches)
            fail_msg("\"%s\" with \"%s\"", rows[i].text, rows[i].subject);
        slad_pattern_free(pattern);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(slad_pattern_compile(own->context, &pattern, bad[i], "here"), SLAD_ERROR_DATA);
        assert_null(pattern);
        assert_message(own, "here");
    }
}

/* Fields that would make another function of the model, or are nonsense. */
static void test_refused_fields(void **state)
{
    static const struct {
        const char *fields, *message;
    } rows[] = {
        {"\"use_dora\": true", "use_dora"},
        {"\"lora_bias\": true", "lora_bias"},
        {"\"bias\": \"all\"", "\"bias\""},
        {"\"fan_in_fan_out\": true", "fan_in_fan_out"},
        {"\"layer_replication\": [[0, 1]]", "layer_replication"},
        {"\"something_new\": 3", "something_new"},
        {"\"init_lora_weights\": \"pissa\"", "pissa"},
        {"\"init_lora_weights\": 7", "init_lora_weights"},
        {"\"r\": 4", "rank 4"},
        {"\"r\": 0", "\"r\""},
        {"\"r\": \"8\"", "\"r\""},
        {"\"lora_alpha\": 1e300", "lora_alpha"},
        {"\"rank_pattern\": 3", "rank_pattern"},
        {"\"rank_pattern\": {\"(\": 3}", "expression"},
        {"\"alpha_pattern\": {\"a\": \"b\"}", "\"a\""},
        {"\"layers_to_transform\": [1]", "layers_to_transform"},
        {"\"layers_to_transform\": \"all\"", "layers_to_transform"},
        {"\"modules_to_save\": [\"classifier\"]", "classifier"},
        {"\"base_model_name_or_path\": 3", "base_model_name_or_path"},
        {"\"r\": 8, \"r\": 8", "twice"},
    };
    scratch *own = *state;
    made_peft list = {0};
    made_add_pair(&list, "blocks.0.attn.qkv", 8, WIDTH, 3 * WIDTH);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        made_write(own, &list, rows[i].fields);
        assert_refused(own, rows[i].message);
    }
    made_write(own, &list, "\"use_dora\": null, \"loftq_config\": {}, \"init_lora_weights\": \"gaussian\"");
    slad_peft_close(open_good(own));
    assert_int_equal(
        slad_file_write_all(own->context, scratch_path(own, "peft/adapter_config.json"), "{\"peft_type\":\"IA3\"}", 19),
        SLAD_OK);
    assert_refused(own, "IA3");
    made_free(&list);
}

/* Tensors that are more, fewer or of other shapes than an adapter has. */
static void test_refused_tensors(void **state)
{
    static const struct {
        const char *name;
        uint64_t rows, columns;
        const char *message;
    } rows[] = {
        {"blocks.0.attn.qkv.lora_magnitude_vector", 18, 0, "DoRA"},
        {"blocks.0.attn.qkv.lora_B.bias", 18, 0, "lora_bias"},
        {"patch_embed.proj.lora_A.weight", 8, 6, "cannot be adapted"},
        {"blocks.0.attn.proj.lora_A.weight", 8, 6, "lora_B.weight\" is missing"},
        {"blocks.0.attn.proj.lora_B.weight", 6, 8, "lora_A.weight\" is missing"},
        {"blocks.12345.attn.proj.lora_A.weight", 8, 6, "cannot be adapted"},
        {"blocks..attn.proj.lora_A.weight", 8, 6, "cannot be adapted"},
        {"blocks.00.attn.proj.lora_A.weight", 8, 6, "cannot be adapted"},
        {"classifier.weight", 3, 12, "classifier.bias\" is missing"},
        {"head.weight", 3, 12, "head.weight"},
    };
    scratch *own = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        made_peft list = {0};
        made_add_pair(&list, "blocks.0.attn.qkv", 8, WIDTH, 3 * WIDTH);
        made_add(&list, rows[i].name, rows[i].rows, rows[i].columns);
        made_write(own, &list, "");
        assert_refused(own, rows[i].message);
        made_free(&list);
    }
    made_peft list = {0};
    made_write(own, &list, "");
    assert_refused(own, "no adapter");
    made_add_pair(&list, "blocks.0.attn.qkv", 8, WIDTH, 3 * WIDTH);
    list.values[0][3] = (float)INFINITY;
    made_write(own, &list, "");
    assert_refused(own, "not finite");
    list.values[0][3] = 0;
    made_add_pair(&list, "encoder.layer.0.attention.q_proj", 8, WIDTH, WIDTH);
    made_write(own, &list, "");
    assert_refused(own, "a part of it");
    made_free(&list);
    made_add_pair(&list, "encoder.layer.0.attention.q_proj", 8, WIDTH, WIDTH);
    made_add_pair(&list, "encoder.layer.0.attention.attention.query", 8, WIDTH, WIDTH);
    made_write(own, &list, "");
    assert_refused(own, "two different adapters");
    made_free(&list);
    made_add(&list, "blocks.0.attn.qkv.lora_A.weight", 8, WIDTH);
    made_add(&list, "blocks.0.attn.qkv.lora_B.weight", WIDTH, 7);
    made_write(own, &list, "");
    assert_refused(own, "[outputs, r]");
    made_free(&list);
}

/* The base is looked for beside the adapter. */
static void test_base(void **state)
{
    scratch *own = *state;
    made_peft list = {0};
    char *path = NULL;
    made_add_pair(&list, "blocks.0.attn.qkv", 8, WIDTH, 3 * WIDTH);
    made_write(own, &list, "\"base_model_name_or_path\": \"the/base\"");
    slad_peft *peft = open_good(own);
    assert_int_equal(slad_peft_base(own->context, &path, peft), SLAD_ERROR_DATA);
    assert_message(own, "the/base");
    assert_int_equal(slad_directory_create(own->context, scratch_path(own, "the/base")), SLAD_OK);
    assert_int_equal(slad_peft_base(own->context, &path, peft), SLAD_OK);
    assert_int_equal(slad_path_look(path), SLAD_PATH_DIRECTORY);
    slad_release(path);
    slad_peft_close(peft);
    made_write(own, &list, "\"base_model_name_or_path\": null");
    peft = open_good(own);
    assert_int_equal(slad_peft_base(own->context, &path, peft), SLAD_ERROR_DATA);
    assert_message(own, "empty");
    slad_peft_close(peft);
    made_free(&list);
}

/* A folder of PEFT stands for its base model with the adapters merged in, in every program and for every form. */
static void test_adapted_model(void **state)
{
    enum { HIDDEN = 8, MLP = 32 };
    scratch *own = *state;
    tiny model = tiny_default();
    made_peft list = {0};
    slad_hf_model *base = NULL, *adapted = NULL;
    float before[MLP * HIDDEN], after[MLP * HIDDEN];
    write_config(own, &model);
    write_tensors(own, &model);
    made_add_pair(&list, "blocks.0.attn.qkv", 2, HIDDEN, 3 * HIDDEN);
    made_add_pair(&list, "encoder.layer.1.attention.attention.query", 2, HIDDEN, HIDDEN);
    made_add_pair(&list, "encoder.layer.1.mlp.fc2", 2, MLP, HIDDEN);
    made_add(&list, "classifier.weight", 5, 2 * HIDDEN);
    made_add(&list, "classifier.bias", 5, 0);
    made_write(own, &list, "\"r\": 2, \"lora_alpha\": 3, \"base_model_name_or_path\": \".\"");
    assert_int_equal(slad_hf_open(own->context, &base, own->folder), SLAD_OK);
    if (slad_hf_open(own->context, &adapted, scratch_path(own, "peft")) != SLAD_OK)
        fail_msg("%s", slad_context_message(own->context));
    assert_int_equal(slad_hf_config_of(adapted)->classes, 5);
    assert_string_equal(slad_hf_class_name(adapted, 4), "4");
    static const struct {
        const char *name;
        size_t rows, columns, entry, from_row;
    } rows[] = {
        {"encoder.layer.0.attention.attention.query.weight", HIDDEN, HIDDEN, 0, 0},
        {"encoder.layer.0.attention.attention.value.weight", HIDDEN, HIDDEN, 0, 2 * HIDDEN},
        {"encoder.layer.1.attention.attention.query.weight", HIDDEN, HIDDEN, 2, 0},
        {"encoder.layer.1.mlp.fc2.weight", HIDDEN, MLP, 4, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const float *a = list.values[rows[i].entry], *b = list.values[rows[i].entry + 1] + rows[i].from_row * 2;
        assert_int_equal(slad_hf_read(own->context, before, base, rows[i].name), SLAD_OK);
        assert_int_equal(slad_hf_read(own->context, after, adapted, rows[i].name), SLAD_OK);
        for (size_t row = 0; row < rows[i].rows; row++)
            for (size_t column = 0; column < rows[i].columns; column++) {
                const size_t at = row * rows[i].columns + column;
                const double delta = 1.5 * ((double)b[2 * row] * (double)a[column] +
                                            (double)b[2 * row + 1] * (double)a[rows[i].columns + column]);
                assert_true(fabs((double)before[at] + delta - (double)after[at]) < 1e-6);
            }
    }
    assert_int_equal(slad_hf_read(own->context, before, base, "encoder.layer.1.mlp.fc1.weight"), SLAD_OK);
    assert_int_equal(slad_hf_read(own->context, after, adapted, "encoder.layer.1.mlp.fc1.weight"), SLAD_OK);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(slad_hf_read(own->context, after, adapted, "classifier.bias"), SLAD_OK);
    assert_memory_equal(after, list.values[7], 5 * sizeof *after);
    slad_hf_close(adapted);
    slad_hf_close(base);
    made_free(&list);
}

/* Adapters of another model, and of themselves. */
static void test_adapted_wrong_model(void **state)
{
    static const struct {
        const char *module;
        uint64_t inputs, outputs;
        const char *message;
    } rows[] = {
        {"blocks.2.attn.qkv", 8, 24, "2 layers"},
        {"blocks.0.attn.qkv", 8, 8, "[8, 8]"},
        {"blocks.0.mlp.fc1", 9, 32, "[32, 9]"},
        {"encoder.layer.0.mlp.gate_proj", 8, 32, "not there"},
    };
    scratch *own = *state;
    const tiny model = tiny_default();
    slad_hf_model *adapted = NULL;
    write_config(own, &model);
    write_tensors(own, &model);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        made_peft list = {0};
        made_add_pair(&list, rows[i].module, 8, rows[i].inputs, rows[i].outputs);
        made_write(own, &list, "\"base_model_name_or_path\": \".\"");
        assert_int_equal(slad_hf_open(own->context, &adapted, scratch_path(own, "peft")), SLAD_ERROR_DATA);
        assert_message(own, rows[i].message);
        made_free(&list);
    }
    made_peft list = {0};
    made_add_pair(&list, "blocks.0.attn.qkv", 8, 8, 24);
    made_add(&list, "classifier.weight", 5, 8);
    made_add(&list, "classifier.bias", 5, 0);
    made_write(own, &list, "\"base_model_name_or_path\": \".\"");
    assert_int_equal(slad_hf_open(own->context, &adapted, scratch_path(own, "peft")), SLAD_ERROR_DATA);
    assert_message(own, "8 features");
    made_write(own, &list, "\"base_model_name_or_path\": \"peft\"");
    assert_int_equal(slad_hf_open(own->context, &adapted, scratch_path(own, "peft")), SLAD_ERROR_DATA);
    assert_message(own, "an adapter itself");
    made_free(&list);
}

/* With each allocation made to fail in turn. */
static void test_no_memory(void **state)
{
    scratch *own = *state;
    made_peft list = {0};
    bool struck = true;
    made_add_pair(&list, "blocks.0.attn.qkv", 8, WIDTH, 3 * WIDTH);
    made_add(&list, "classifier.weight", 3, 12);
    made_add(&list, "classifier.bias", 3, 0);
    made_write(own, &list, "\"rank_pattern\": {\"qkv\": 8}");
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_peft *peft = NULL;
        slad_fault_arm(own->context, countdown);
        const slad_status status = slad_peft_open(own->context, &peft, scratch_path(own, "peft"));
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        slad_peft_close(peft);
        assert_true(countdown < 1000);
    }
    made_free(&list);
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(test_round_trip), WITH_SCRATCH(test_names),          WITH_SCRATCH(test_scales),
        WITH_SCRATCH(test_patterns),   WITH_SCRATCH(test_refused_fields), WITH_SCRATCH(test_refused_tensors),
        WITH_SCRATCH(test_base),       WITH_SCRATCH(test_adapted_model),  WITH_SCRATCH(test_adapted_wrong_model),
        WITH_SCRATCH(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
