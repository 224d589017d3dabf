/* Adapters as PEFT folders: what the files hold, hostile paths, full disks, lack of memory. tests/oracle/check_peft.py
 * has peft itself read such folders. */
#include "formula.h"

#include "base/json.h"
#include "io/peft.h"
#include <signal.h>
#include <sys/resource.h>

enum { WIDTH = 6, LAYERS = 2, RANK = 2, CLASSES = 3 };

/* A small adapter of made-up values. */
typedef struct small {
    float a[LAYERS][RANK * WIDTH], b[LAYERS][3 * WIDTH * RANK], weight[CLASSES * 2 * WIDTH], bias[CLASSES];
    slad_peft_pair pairs[3 * LAYERS];
    slad_peft_adapter adapter;
} small;

static void small_make(small *made, const char *base)
{
    for (size_t i = 0; i < LAYERS; i++) {
        formula_tensor(made->a[i], RANK * WIDTH, i ? "a1" : "a0", 1.0, 0);
        formula_tensor(made->b[i], 3 * WIDTH * RANK, i ? "b1" : "b0", 1.0, 0);
        for (size_t part = 0; part < 3; part++)
            made->pairs[3 * i + part] =
                (slad_peft_pair){i,          (slad_peft_target)(SLAD_PEFT_Q + part), RANK, WIDTH, WIDTH, 1.5,
                                 made->a[i], made->b[i] + part * WIDTH * RANK};
    }
    formula_tensor(made->weight, CLASSES * 2 * WIDTH, "weight", 1.0, 0);
    formula_tensor(made->bias, CLASSES, "bias", 1.0, 0);
    made->adapter = (slad_peft_adapter){.base = base,
                                        .layers = LAYERS,
                                        .pairs = made->pairs,
                                        .count = 3 * LAYERS,
                                        .classes = CLASSES,
                                        .features = 2 * WIDTH,
                                        .classifier_weight = made->weight,
                                        .classifier_bias = made->bias};
}

/* Values and shape of a tensor, which must be F32. */
static void assert_tensor(scratch *own, slad_safetensors *file, const char *name, const float *values, uint64_t rows,
                          uint64_t columns)
{
    size_t count = 0;
    float *read = fixture_read(own, file, name, &count);
    const slad_safetensor *tensor = slad_safetensors_find(file, name);
    assert_int_equal(tensor->type, SLAD_SAFETENSORS_F32);
    assert_int_equal(tensor->rank, columns ? 2 : 1);
    assert_int_equal(tensor->shape[0], rows);
    if (columns) assert_int_equal(tensor->shape[1], columns);
    assert_memory_equal(read, values, count * sizeof *read);
    free(read);
}

/* Fused to split: every one of q, k, v has the whole of A and its own rows of B, under both names. */
static void test_tensors(void **state)
{
    static const char *const paths[6] = {"attention.attention.query", "attention.attention.key",
                                         "attention.attention.value", "attention.q_proj",
                                         "attention.k_proj",          "attention.v_proj"};
    scratch *own = *state;
    small made;
    slad_safetensors *file = NULL;
    char name[160];
    small_make(&made, "base");
    assert_int_equal(slad_peft_write(own->context, scratch_path(own, "adapter"), &made.adapter), SLAD_OK);
    assert_int_equal(slad_safetensors_open(own->context, &file, scratch_path(own, "adapter/adapter_model.safetensors")),
                     SLAD_OK);
    assert_int_equal(slad_safetensors_count(file), LAYERS * 12 + 2);
    assert_string_equal(slad_safetensors_metadata(file, "format"), "pt");
    for (size_t i = 0; i < LAYERS; i++)
        for (size_t module = 0; module < 6; module++) {
            const char *form = "base_model.model.dinov2.encoder.layer.%zu.%s.lora_%c.weight";
            (void)snprintf(name, sizeof name, form, i, paths[module], 'A');
            assert_tensor(own, file, name, made.a[i], RANK, WIDTH);
            (void)snprintf(name, sizeof name, form, i, paths[module], 'B');
            assert_tensor(own, file, name, made.b[i] + module % 3 * WIDTH * RANK, WIDTH, RANK);
        }
    assert_tensor(own, file, "base_model.model.classifier.weight", made.weight, CLASSES, 2 * WIDTH);
    assert_tensor(own, file, "base_model.model.classifier.bias", made.bias, CLASSES, 0);
    slad_safetensors_close(file);
}

static bool list_holds(const cJSON *json, const char *field, const char *text)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(json, field))
    {
        if (strcmp(cJSON_GetStringValue(item), text) == 0) return true;
    }
    return false;
}

static cJSON *read_config(scratch *own, const char *name)
{
    cJSON *json = NULL;
    assert_int_equal(slad_json_read(own->context, &json, scratch_path(own, name)), SLAD_OK);
    return json;
}

static void assert_number(const cJSON *json, const char *field, double value)
{
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(json, field)) == value);
}

static void test_config(void **state)
{
    static const char *const targets[6] = {"query", "key", "value", "q_proj", "k_proj", "v_proj"};
    static const char *const off[3] = {"fan_in_fan_out", "use_rslora", "use_dora"};
    scratch *own = *state;
    small made;
    small_make(&made, "/models/base \"x\"\n\xc3\xa9");
    assert_int_equal(slad_peft_write(own->context, scratch_path(own, "adapter"), &made.adapter), SLAD_OK);
    cJSON *json = read_config(own, "adapter/adapter_config.json");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "peft_type")), "LORA");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "base_model_name_or_path")),
                        made.adapter.base);
    assert_number(json, "r", RANK);
    assert_number(json, "lora_alpha", 3);
    assert_number(json, "lora_dropout", 0);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "target_modules")), 6);
    for (size_t i = 0; i < 6; i++) assert_true(list_holds(json, "target_modules", targets[i]));
    for (size_t i = 0; i < 3; i++) assert_true(cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(json, off[i])));
    assert_true(list_holds(json, "modules_to_save", "classifier"));
    cJSON_Delete(json);
}

/* Names of folders may hold anything; a base that JSON cannot name is left out. */
static void test_hostile_paths(void **state)
{
    scratch *own = *state;
    small made;
    small_make(&made, "/models/caf\xe9");
    assert_int_equal(slad_peft_write(own->context, scratch_path(own, "a \"b\"\n%s \xff/c"), &made.adapter), SLAD_OK);
    cJSON *json = read_config(own, "a \"b\"\n%s \xff/c/adapter_config.json");
    assert_true(cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json, "base_model_name_or_path")));
    cJSON_Delete(json);
    assert_int_equal(slad_file_write_all(own->context, scratch_path(own, "file"), "x", 1), SLAD_OK);
    assert_int_equal(slad_peft_write(own->context, scratch_path(own, "file"), &made.adapter), SLAD_ERROR_WRITE);
    assert_int_equal(slad_peft_write(own->context, scratch_path(own, "file/below"), &made.adapter), SLAD_ERROR_WRITE);
    assert_int_equal(slad_directory_create(own->context, scratch_path(own, "taken/adapter_model.safetensors/x")),
                     SLAD_OK);
    assert_int_equal(slad_peft_write(own->context, scratch_path(own, "taken"), &made.adapter), SLAD_ERROR_WRITE);
    assert_message(own, "adapter_model.safetensors");
    assert_int_equal(slad_path_look(scratch_path(own, "taken/adapter_config.json")), SLAD_PATH_MISSING);
}

/* Files that may not grow stand for a full disk: an error, and neither half a file nor a temporary one. */
static void test_full_disk(void **state)
{
    scratch *own = *state;
    small made;
    struct rlimit before;
    small_make(&made, "base");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit little = {1024, before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    const slad_status status = slad_peft_write(own->context, scratch_path(own, "adapter"), &made.adapter);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(status, SLAD_ERROR_WRITE);
    assert_message(own, "adapter_model.safetensors");
    slad_directory directory;
    assert_int_equal(slad_directory_read(own->context, &directory, scratch_path(own, "adapter")), SLAD_OK);
    assert_int_equal(directory.count, 0);
    slad_directory_free(&directory);
}

/* With each allocation made to fail in turn. */
static void test_no_memory(void **state)
{
    scratch *own = *state;
    small made;
    bool struck = true;
    small_make(&made, "base");
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_fault_arm(own->context, countdown);
        const slad_status status = slad_peft_write(own->context, scratch_path(own, "adapter"), &made.adapter);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        assert_true(countdown < 1000);
    }
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(test_tensors),   WITH_SCRATCH(test_config),    WITH_SCRATCH(test_hostile_paths),
        WITH_SCRATCH(test_full_disk), WITH_SCRATCH(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
