/* The export of runs: that merged weights are base + B A of the same export, that a shared adapter is cut out as the
 * map says, that a trainer and a run's files give the same bytes, and what is refused. */
#include "joint_fixture.h"

#include "base/json.h"
#include "onnx_reader.h"
#include "slad/export.h"
#include "train/export.h"
#include <signal.h>
#include <sys/resource.h>

/* The pair of models of the joint fixture, and the folder of a run over them. */
static void make_models(scratch *own, char *teacher, char *student)
{
    formula_write_model(own, teacher, "teacher", &(formula_encoder){"teacher.", 128, 4, 2, 4, 14, 5});
    formula_write_model(own, student, "student", &(formula_encoder){"student.", 64, 3, 1, 4, 14, 5});
}

/* Writes RUN/config.json as a training does, as far as it is read. */
static void write_run_config(scratch *own, const slad_train_options *options, const char *teacher, const char *student)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *resolved = cJSON_AddObjectToObject(json, "options");
    char text[SLAD_OPTION_TEXT];
    for (size_t i = 0; i < slad_train_option_count(); i++) {
        const char *name = slad_train_option_at(i)->name;
        if (slad_train_options_get(options, name, text)) cJSON_AddStringToObject(resolved, name, text);
    }
    if (teacher) cJSON_AddStringToObject(json, "teacher", teacher);
    cJSON_AddStringToObject(json, "student", student);
    cJSON_AddNumberToObject(json, "image_size", JOINT_SIZE);
    cJSON *data = cJSON_AddObjectToObject(json, "data");
    cJSON *classes = cJSON_AddArrayToObject(data, "classes");
    cJSON_AddStringToObject(data, "path", "/data");
    for (int i = 0; i < JOINT_CLASSES; i++) {
        (void)snprintf(text, sizeof text, "class %d", i);
        cJSON_AddItemToArray(classes, cJSON_CreateString(text));
    }
    assert_int_equal(slad_directory_create(own->context, scratch_path(own, "run")), SLAD_OK);
    assert_int_equal(slad_json_write(own->context, scratch_path(own, "run/config.json"), json), SLAD_OK);
    cJSON_Delete(json);
}

/* The trained tensors of a state file, by the rule of formula.h. */
typedef struct state_list {
    slad_safetensors_entry entries[64];
    char names[64][96];
    uint64_t shapes[64][2];
    size_t count;
} state_list;

static void state_add(state_list *list, const char *prefix, const char *rest, uint64_t rows, uint64_t columns)
{
    const size_t slot = list->count++;
    const size_t elements = (size_t)(rows * (columns ? columns : 1));
    (void)snprintf(list->names[slot], sizeof list->names[slot], "%s%s", prefix, rest);
    list->shapes[slot][0] = rows;
    list->shapes[slot][1] = columns;
    float *values = malloc(elements * sizeof *values);
    assert_non_null(values);
    formula_tensor(values, elements, list->names[slot], 0.3, 0);
    list->entries[slot] =
        (slad_safetensors_entry){list->names[slot], SLAD_SAFETENSORS_F32, columns ? 2 : 1, list->shapes[slot], values};
}

static void state_add_model(state_list *list, const char *prefix, uint64_t width, size_t layers, uint64_t features)
{
    char rest[64];
    for (size_t i = 0; i < layers; i++) {
        (void)snprintf(rest, sizeof rest, "layers.%zu.qkv.lora_A", i);
        state_add(list, prefix, rest, JOINT_RANK, width);
        (void)snprintf(rest, sizeof rest, "layers.%zu.qkv.lora_B", i);
        state_add(list, prefix, rest, 3 * width, JOINT_RANK);
    }
    state_add(list, prefix, "head.weight", JOINT_CLASSES, features);
    state_add(list, prefix, "head.bias", JOINT_CLASSES, 0);
}

static void write_state(scratch *own, const slad_train_options *options)
{
    static state_list list;
    const uint64_t heads = options->head == SLAD_HEAD_CLS ? 1 : 2;
    const bool with_teacher = options->teacher_adapt != SLAD_ADAPT_NONE;
    const bool own_adapters = options->share == SLAD_SHARE_NONE && options->student_adapt == SLAD_ADAPT_LORA;
    list.count = 0;
    if (with_teacher) state_add_model(&list, "teacher.", 128, 4, heads * 128);
    state_add_model(&list, "student.", 64, own_adapters ? 3 : 0, heads * 64);
    assert_int_equal(slad_safetensors_write(own->context, scratch_path(own, "run/state.safetensors"), list.entries,
                                            list.count, NULL, 0),
                     SLAD_OK);
    for (size_t i = 0; i < list.count; i++) free((void *)list.entries[i].data);
}

/* A run folder that no training made. */
static void make_run(scratch *own, const slad_train_options *options)
{
    char teacher[1024], student[1024];
    const bool with_teacher = options->teacher_adapt != SLAD_ADAPT_NONE;
    make_models(own, teacher, student);
    write_run_config(own, options, with_teacher ? teacher : NULL, student);
    write_state(own, options);
}

static slad_status export_run(scratch *own, unsigned *written, const char *out, unsigned parts)
{
    char run[1024], folder[1024];
    (void)snprintf(run, sizeof run, "%s/run", own->folder);
    (void)snprintf(folder, sizeof folder, "%s/%s", own->folder, out);
    const slad_run_export_options options = {run, folder, parts};
    return slad_run_export(own->context, written, &options);
}

/* A tensor of a file under the scratch folder; the caller frees. */
static float *read_tensor(scratch *own, const char *path, const char *name)
{
    slad_safetensors *file = NULL;
    assert_int_equal(slad_safetensors_open(own->context, &file, scratch_path(own, path)), SLAD_OK);
    float *values = fixture_read(own, file, name, NULL);
    slad_safetensors_close(file);
    return values;
}

/* The merged weights of the student are those of its base plus alpha / rank * B A of its PEFT folder. */
static void assert_merged(scratch *own, const slad_train_options *options, size_t layer, int module)
{
    static const char *const old_names[3] = {"query", "key", "value"}, *const new_names[3] = {"q", "k", "v"};
    char name[160];
    (void)snprintf(name, sizeof name, "encoder.layer.%zu.attention.attention.%s.weight", layer, old_names[module]);
    float *base = read_tensor(own, "student/model.safetensors", name);
    (void)snprintf(name, sizeof name, "dinov2.encoder.layer.%zu.attention.attention.%s.weight", layer,
                   old_names[module]);
    float *merged = read_tensor(own, "out/student/model.safetensors", name);
    const char *form = "base_model.model.dinov2.encoder.layer.%zu.attention.%s_proj.lora_%c.weight";
    (void)snprintf(name, sizeof name, form, layer, new_names[module], 'A');
    float *a = read_tensor(own, "out/student-adapter/adapter_model.safetensors", name);
    (void)snprintf(name, sizeof name, form, layer, new_names[module], 'B');
    float *b = read_tensor(own, "out/student-adapter/adapter_model.safetensors", name);
    for (size_t row = 0; row < 64; row++)
        for (size_t column = 0; column < 64; column++) {
            double sum = 0;
            for (size_t r = 0; r < JOINT_RANK; r++) sum += (double)b[row * JOINT_RANK + r] * (double)a[r * 64 + column];
            const double wanted = (double)base[row * 64 + column] + options->lora_alpha / JOINT_RANK * sum;
            assert_true(fabs((double)merged[row * 64 + column] - wanted) <= 1e-6);
        }
    free(base);
    free(merged);
    free(a);
    free(b);
}

/* The student's own copy is the leading part of the teacher layer that the map names, computed here from the state. */
static void assert_shared(scratch *own, size_t layer, size_t from, int module)
{
    static const char *const names[3] = {"query", "key", "value"};
    char name[160];
    (void)snprintf(name, sizeof name, "teacher.layers.%zu.qkv.lora_A", from);
    float *teacher_a = read_tensor(own, "run/state.safetensors", name);
    (void)snprintf(name, sizeof name, "teacher.layers.%zu.qkv.lora_B", from);
    float *teacher_b = read_tensor(own, "run/state.safetensors", name);
    const char *form = "base_model.model.dinov2.encoder.layer.%zu.attention.attention.%s.lora_%c.weight";
    (void)snprintf(name, sizeof name, form, layer, names[module], 'A');
    float *a = read_tensor(own, "out/student-adapter/adapter_model.safetensors", name);
    (void)snprintf(name, sizeof name, form, layer, names[module], 'B');
    float *b = read_tensor(own, "out/student-adapter/adapter_model.safetensors", name);
    for (size_t r = 0; r < JOINT_RANK; r++)
        for (size_t i = 0; i < 64; i++) {
            assert_true(a[r * 64 + i] == teacher_a[r * 128 + i]);
            assert_true(b[i * JOINT_RANK + r] == teacher_b[((size_t)module * 128 + i) * JOINT_RANK + r]);
        }
    free(teacher_a);
    free(teacher_b);
    free(a);
    free(b);
}

static void test_run_export(void **state)
{
    /* even-a, even-b, even-c, first, last of 4 layers for 3 */
    static const size_t maps[5][3] = {{0, 1, 2}, {0, 1, 3}, {0, 2, 3}, {0, 1, 2}, {1, 2, 3}};
    scratch *own = *state;
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    for (int map = SLAD_MAP_EVEN_A; map <= SLAD_MAP_LAST; map++) {
        unsigned written = 0;
        options.share_map = (slad_share_map)map;
        make_run(own, &options);
        assert_int_equal(export_run(own, &written, "out", 0), SLAD_OK);
        assert_int_equal(written, SLAD_EXPORT_STUDENT | SLAD_EXPORT_STUDENT_ADAPTER | SLAD_EXPORT_TEACHER_ADAPTER);
        for (size_t layer = 0; layer < 3; layer++)
            for (int module = 0; module < 3; module++) {
                assert_merged(own, &options, layer, module);
                assert_shared(own, layer, maps[map][layer], module);
            }
        float *whole = read_tensor(own, "run/state.safetensors", "teacher.layers.3.qkv.lora_B");
        float *value = read_tensor(own, "out/teacher-adapter/adapter_model.safetensors",
                                   "base_model.model.dinov2.encoder.layer.3.attention.v_proj.lora_B.weight");
        assert_memory_equal(value, whole + 2 * 128 * JOINT_RANK, 128 * JOINT_RANK * sizeof *value);
        free(whole);
        free(value);
        assert_int_equal(slad_path_remove(own->context, scratch_path(own, "out")), SLAD_OK);
    }
}

/* The ONNX file has the weights of the merged student, and is written only where it is asked for. */
static void test_onnx_of_run(void **state)
{
    static const char *const names[] = {"encoder.layer.1.attention.attention.query.weight",
                                        "encoder.layer.2.attention.attention.value.weight"};
    scratch *own = *state;
    const slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    char name[160];
    unsigned written = 0;
    make_run(own, &options);
    assert_int_equal(export_run(own, &written, "out", SLAD_EXPORT_STUDENT | SLAD_EXPORT_ONNX), SLAD_OK);
    assert_int_equal(written, SLAD_EXPORT_STUDENT | SLAD_EXPORT_ONNX);
    onnx_model *onnx = onnx_open(own, "out/onnx");
    onnx_assert_sound(onnx);
    assert_int_equal(onnx->inputs[0].sizes[2], JOINT_SIZE);
    for (int i = 0; i < 2; i++) {
        const onnx_tensor *tensor = NULL;
        (void)snprintf(name, sizeof name, "dinov2.%s", names[i]);
        float *merged = read_tensor(own, "out/student/model.safetensors", name);
        const float *values = onnx_weights(onnx, names[i], &tensor);
        for (size_t row = 0; row < 64; row++)
            for (size_t column = 0; column < 64; column++)
                assert_true(values[column * 64 + row] == merged[row * 64 + column]);
        free(merged);
    }
    onnx_close(onnx);
    assert_int_equal(export_run(own, &written, "all", 0), SLAD_OK);
    assert_int_equal(written & SLAD_EXPORT_ONNX, 0);
    assert_int_equal(slad_path_look(scratch_path(own, "all/onnx")), SLAD_PATH_MISSING);
}

enum { TEACHER_WIDTH = 128, STUDENT_WIDTH = 64, MLP_RATIO = 4 };

/* A value of a made-up state: a function of its tensor's name and its place in it. */
static float state_value(const char *name, size_t index)
{
    uint32_t hash = 7;
    for (; *name; name++) hash = hash * 31 + (unsigned char)*name;
    return (float)((hash + index * 40503u) % 1001) / 1000.0f - 0.5f;
}

static slad_status read_made_up(slad_context *context, float *destination, const char *name, size_t rank,
                                const uint64_t *shape, const void *user)
{
    size_t elements = 1;
    (void)context;
    (void)user;
    for (size_t i = 0; i < rank; i++) elements *= (size_t)shape[i];
    for (size_t i = 0; i < elements; i++) destination[i] = state_value(name, i);
    return SLAD_OK;
}

/* A stored pair of factors, as a network sees it: the first `inputs` columns of A, which has a_columns, and rows of B
 * from first_row on. */
typedef struct stored_pair {
    char a[96], b[96];
    size_t rank, a_columns, first_row;
    double scale;
} stored_pair;

static double stored_delta(const stored_pair *pair, size_t row, size_t column)
{
    double sum = 0;
    for (size_t r = 0; r < pair->rank; r++)
        sum += (double)state_value(pair->b, (pair->first_row + row) * pair->rank + r) *
               (double)state_value(pair->a, r * pair->a_columns + column);
    return pair->scale * sum;
}

/* What a pair adds to a few elements of its weight must be what the stored ones add together. */
static void assert_delta(const slad_peft_pair *pair, const stored_pair *stored, size_t stored_count)
{
    size_t rank = 0;
    for (size_t i = 0; i < stored_count; i++) rank += stored[i].rank;
    assert_int_equal(pair->rank, rank);
    for (size_t k = 0; k < 50; k++) {
        const size_t row = k * 37 % pair->outputs, column = k * 53 % pair->inputs;
        double expected = 0, got = 0;
        for (size_t i = 0; i < stored_count; i++) expected += stored_delta(&stored[i], row, column);
        for (size_t r = 0; r < rank; r++)
            got += (double)pair->b[row * rank + r] * (double)pair->a[r * pair->inputs + column];
        if (!(fabs(pair->scale * got - expected) < 1e-6))
            fail_msg("layer %zu, %s: %g instead of %g", pair->layer, slad_peft_target_name(pair->target),
                     pair->scale * got, expected);
    }
}

static const slad_peft_pair *find_pair(const slad_peft_pair *pairs, size_t count, size_t layer, slad_peft_target target)
{
    for (size_t i = 0; i < count; i++)
        if (pairs[i].layer == layer && pairs[i].target == target) return &pairs[i];
    return NULL;
}

/* Options of a case, with what they make of the student's layer 1. */
typedef struct export_form {
    const char *name;
    slad_lora_form form;
    slad_lora_targets targets;
    slad_share share;
    slad_share_truncation truncation;
    slad_share_scale scale;
    uint32_t private_rank;
    int16_t list[3]; /* of the map; all 0: even-a */
} export_form;

static slad_train_options form_options(const export_form *form)
{
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    options.lora_form = form->form;
    options.lora_targets = form->targets;
    options.share = form->share;
    options.share_truncation = form->truncation;
    options.share_scale = form->scale;
    options.private_rank = form->private_rank;
    if (form->list[0] || form->list[1] || form->list[2]) {
        options.share_map = SLAD_MAP_LIST;
        options.share_list_count = 3;
        memcpy(options.share_list, form->list, sizeof form->list);
    }
    return options;
}

/* What the state stores of a target of a student's layer: its part of the teacher's, or its own, and a private one. */
static size_t store_of(stored_pair *stored, const export_form *form, const slad_train_options *options, size_t layer,
                       slad_peft_target target)
{
    static const char *const split_names[SLAD_PEFT_TARGETS] = {
        [SLAD_PEFT_Q] = "q",       [SLAD_PEFT_K] = "k",     [SLAD_PEFT_V] = "v",
        [SLAD_PEFT_PROJ] = "proj", [SLAD_PEFT_FC1] = "fc1", [SLAD_PEFT_FC2] = "fc2"};
    const bool of_qkv = target <= SLAD_PEFT_V, fused = of_qkv && form->form == SLAD_LORA_FUSED;
    const size_t from = options->share_map == SLAD_MAP_LIST ? (size_t)form->list[layer] : layer;
    const bool mapped =
        form->share != SLAD_SHARE_NONE && !(options->share_map == SLAD_MAP_LIST && form->list[layer] < 0);
    const bool shares_a = mapped && form->share != SLAD_SHARE_B, shares_b = mapped && form->share != SLAD_SHARE_A;
    const size_t in = target == SLAD_PEFT_FC2 ? MLP_RATIO : 1;
    const char *name = fused ? "qkv" : split_names[target];
    const size_t block = fused ? (size_t)(target - SLAD_PEFT_Q) : 0;
    size_t rows = STUDENT_WIDTH;
    if (shares_b && form->truncation == SLAD_TRUNCATION_BLOCK) rows = TEACHER_WIDTH;
    stored[0] = (stored_pair){.rank = JOINT_RANK,
                              .a_columns = in * (shares_a ? TEACHER_WIDTH : STUDENT_WIDTH),
                              .first_row = block * rows,
                              .scale = 8.0 / JOINT_RANK};
    if (mapped && form->scale == SLAD_SHARE_SCALE_FAN_IN) stored[0].scale *= sqrt(2.0);
    (void)snprintf(stored[0].a, sizeof stored[0].a, "%s.layers.%zu.%s.lora_A", shares_a ? "teacher" : "student",
                   shares_a ? from : layer, name);
    (void)snprintf(stored[0].b, sizeof stored[0].b, "%s.layers.%zu.%s.lora_B", shares_b ? "teacher" : "student",
                   shares_b ? from : layer, name);
    if (!mapped || !form->private_rank) return 1;
    stored[1] = (stored_pair){.rank = form->private_rank,
                              .a_columns = in * STUDENT_WIDTH,
                              .first_row = block * STUDENT_WIDTH,
                              .scale = 8.0 / form->private_rank};
    (void)snprintf(stored[1].a, sizeof stored[1].a, "student.layers.%zu.%s.private_A", layer, name);
    (void)snprintf(stored[1].b, sizeof stored[1].b, "student.layers.%zu.%s.private_B", layer, name);
    return 2;
}

/* Pairs that were written are read back as they were. */
static void assert_read_back(scratch *own, const slad_train_options *options, const slad_peft_pair *pairs, size_t count,
                             size_t layers)
{
    float weight[JOINT_CLASSES * 2 * STUDENT_WIDTH] = {0}, bias[JOINT_CLASSES] = {0};
    const slad_peft_adapter adapter = {.base = "base",
                                       .layers = layers,
                                       .pairs = pairs,
                                       .count = count,
                                       .dropout = options->lora_dropout,
                                       .classes = JOINT_CLASSES,
                                       .features = 2 * STUDENT_WIDTH,
                                       .classifier_weight = weight,
                                       .classifier_bias = bias};
    slad_peft *peft = NULL;
    assert_int_equal(slad_peft_write(own->context, scratch_path(own, "peft"), &adapter), SLAD_OK);
    if (slad_peft_open(own->context, &peft, scratch_path(own, "peft")) != SLAD_OK)
        fail_msg("%s", slad_context_message(own->context));
    assert_int_equal(peft->count, count);
    for (size_t i = 0; i < count; i++) {
        const slad_peft_pair *read = find_pair(peft->pairs, count, pairs[i].layer, pairs[i].target);
        assert_non_null(read);
        assert_int_equal(read->rank, pairs[i].rank);
        assert_true(fabs(read->scale / pairs[i].scale - 1) < 1e-14);
        assert_memory_equal(read->a, pairs[i].a, read->rank * read->inputs * sizeof(float));
        assert_memory_equal(read->b, pairs[i].b, read->rank * read->outputs * sizeof(float));
    }
    slad_peft_close(peft);
}

/* Every way of storing adapters, as the pairs that PEFT knows. */
static void test_forms(void **state)
{
    static const export_form forms[] = {
        {.name = "split", .form = SLAD_LORA_SPLIT},
        {.name = "all", .targets = SLAD_LORA_ALL},
        {.name = "split, all, own", .form = SLAD_LORA_SPLIT, .targets = SLAD_LORA_ALL, .share = SLAD_SHARE_NONE},
        {.name = "a", .share = SLAD_SHARE_A},
        {.name = "b", .share = SLAD_SHARE_B, .targets = SLAD_LORA_ALL},
        {.name = "naive", .truncation = SLAD_TRUNCATION_NAIVE},
        {.name = "fan-in", .scale = SLAD_SHARE_SCALE_FAN_IN, .list = {3, 0, 1}},
        {.name = "private", .private_rank = 3, .targets = SLAD_LORA_ALL},
        {.name = "private, fan-in, list", .private_rank = 2, .scale = SLAD_SHARE_SCALE_FAN_IN, .list = {2, -1, 3}},
    };
    scratch *own = *state;
    char teacher_folder[1024], student_folder[1024];
    slad_encoder *teacher = NULL, *student = NULL;
    make_models(own, teacher_folder, student_folder);
    assert_int_equal(slad_encoder_open(own->context, &teacher, teacher_folder), SLAD_OK);
    assert_int_equal(slad_encoder_open(own->context, &student, student_folder), SLAD_OK);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const slad_train_options options = form_options(&forms[i]);
        const slad_export_source source = {.teacher = teacher,
                                           .student = student,
                                           .options = &options,
                                           .classes = JOINT_CLASSES,
                                           .image_size = JOINT_SIZE,
                                           .read = read_made_up};
        slad_peft_pair *pairs = NULL;
        size_t count = 0;
        assert_int_equal(slad_export_read_pairs(own->context, &pairs, &count, &source, false), SLAD_OK);
        assert_int_equal(count, 3 * (forms[i].targets == SLAD_LORA_ALL ? 6 : 3));
        for (size_t k = 0; k < count; k++) {
            stored_pair stored[2];
            const size_t stored_count = store_of(stored, &forms[i], &options, pairs[k].layer, pairs[k].target);
            assert_delta(&pairs[k], stored, stored_count);
        }
        assert_read_back(own, &options, pairs, count, 3);
        slad_export_free_pairs(pairs, count);
    }
    slad_encoder_free(teacher);
    slad_encoder_free(student);
}

/* Layers of the teacher that nothing shares have no adapter where they are frozen, and PEFT is told so. */
static void test_unmapped(void **state)
{
    scratch *own = *state;
    char teacher_folder[1024], student_folder[1024];
    slad_encoder *teacher = NULL, *student = NULL;
    slad_peft_pair *pairs = NULL;
    size_t count = 0;
    cJSON *json = NULL;
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    options.unmapped = SLAD_UNMAPPED_FROZEN;
    options.lora_dropout = 0.25;
    make_models(own, teacher_folder, student_folder);
    assert_int_equal(slad_encoder_open(own->context, &teacher, teacher_folder), SLAD_OK);
    assert_int_equal(slad_encoder_open(own->context, &student, student_folder), SLAD_OK);
    const slad_export_source source = {
        .teacher = teacher, .student = student, .options = &options, .read = read_made_up};
    assert_int_equal(slad_export_read_pairs(own->context, &pairs, &count, &source, true), SLAD_OK);
    assert_int_equal(count, 9);
    assert_null(find_pair(pairs, count, 3, SLAD_PEFT_Q));
    assert_read_back(own, &options, pairs, count, 4);
    assert_int_equal(slad_json_read(own->context, &json, scratch_path(own, "peft/adapter_config.json")), SLAD_OK);
    char *layers = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(json, "layers_to_transform"));
    assert_string_equal(layers, "[0,1,2]");
    assert_true(cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(json, "lora_dropout")) == 0.25);
    cJSON_free(layers);
    cJSON_Delete(json);
    slad_export_free_pairs(pairs, count);
    slad_encoder_free(teacher);
    slad_encoder_free(student);
}

/* A head that reads the class token alone is zero for the mean of the patches, in every part. */
static void test_narrow_head(void **state)
{
    static const char *const files[2] = {"out/student/model.safetensors",
                                         "out/student-adapter/adapter_model.safetensors"};
    static const char *const names[2] = {"classifier.weight", "base_model.model.classifier.weight"};
    scratch *own = *state;
    slad_train_options options = joint_options(SLAD_METHOD_LORA);
    options.head = SLAD_HEAD_CLS;
    make_run(own, &options);
    assert_int_equal(export_run(own, NULL, "out", 0), SLAD_OK);
    float *head = read_tensor(own, "run/state.safetensors", "student.head.weight");
    for (int i = 0; i < 2; i++) {
        float *weight = read_tensor(own, files[i], names[i]);
        for (size_t row = 0; row < JOINT_CLASSES; row++)
            for (size_t k = 0; k < 128; k++) assert_true(weight[row * 128 + k] == (k < 64 ? head[row * 64 + k] : 0.0f));
        free(weight);
    }
    free(head);
    assert_merged(own, &options, 2, 1);
    assert_int_equal(slad_path_look(scratch_path(own, "out/teacher-adapter")), SLAD_PATH_MISSING);
}

/* Parts that a method does not make, places that are taken, models and tensors that are not what the run says: each is
 * refused, and nothing is left behind. */
static void test_refusals(void **state)
{
    scratch *own = *state;
    unsigned written = 0;
    slad_train_options options = joint_options(SLAD_METHOD_PROBE);
    assert_int_equal(export_run(own, NULL, "out", 0), SLAD_ERROR_DATA);
    make_run(own, &options);
    assert_int_equal(export_run(own, NULL, "out", SLAD_EXPORT_STUDENT_ADAPTER), SLAD_ERROR_USAGE);
    assert_message(own, "student-adapter");
    assert_int_equal(export_run(own, NULL, "out", SLAD_EXPORT_TEACHER_ADAPTER), SLAD_ERROR_USAGE);
    assert_int_equal(slad_path_look(scratch_path(own, "out")), SLAD_PATH_MISSING);
    assert_int_equal(export_run(own, &written, "out", 0), SLAD_OK);
    assert_int_equal(written, SLAD_EXPORT_STUDENT);
    assert_int_equal(export_run(own, NULL, "out", 0), SLAD_ERROR_USAGE);
    assert_message(own, "exists already");
    assert_int_equal(export_run(own, NULL, "run/config.json", 0), SLAD_ERROR_USAGE);

    options = joint_options(SLAD_METHOD_JOINT);
    make_run(own, &options);
    options.lora_rank = JOINT_RANK + 1;
    write_run_config(own, &options, scratch_path(own, "teacher"), own->path);
    assert_int_equal(export_run(own, NULL, "wrong", 0), SLAD_ERROR_DATA);
    assert_message(own, "student.layers.0.qkv.lora_A");
    assert_int_equal(slad_path_look(scratch_path(own, "wrong/student")), SLAD_PATH_MISSING);

    options = joint_options(SLAD_METHOD_SLAD);
    make_run(own, &options);
    assert_int_equal(slad_path_remove(own->context, scratch_path(own, "teacher")), SLAD_OK);
    assert_int_equal(export_run(own, NULL, "gone", 0), SLAD_ERROR_DATA);
    assert_message(own, "teacher");
}

/* A student larger than the teacher whose adapters it is said to share: nothing is read past an end. */
static void test_contradictory_run(void **state)
{
    scratch *own = *state;
    char teacher[1024], student[1024];
    const slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    make_models(own, teacher, student);
    write_run_config(own, &options, student, teacher);
    write_state(own, &options);
    assert_int_equal(export_run(own, NULL, "out", 0), SLAD_ERROR_DATA);
    assert_message(own, "larger than");
    write_run_config(own, &options, NULL, student);
    assert_int_equal(export_run(own, NULL, "out", 0), SLAD_ERROR_DATA);
    assert_message(own, "names no teacher");
}

/* A disk that fills up half-way: the parts that were written before are taken back. */
static void test_run_on_full_disk(void **state)
{
    scratch *own = *state;
    const slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    struct rlimit before;
    make_run(own, &options);
    assert_int_equal(export_run(own, NULL, "small", SLAD_EXPORT_STUDENT_ADAPTER), SLAD_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit enough_for_student_adapter = {100000, before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &enough_for_student_adapter), 0);
    const slad_status status = export_run(own, NULL, "full", SLAD_EXPORT_STUDENT_ADAPTER | SLAD_EXPORT_TEACHER_ADAPTER);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(status, SLAD_ERROR_WRITE);
    assert_message(own, "teacher-adapter");
    assert_int_equal(slad_path_look(scratch_path(own, "full/student-adapter")), SLAD_PATH_MISSING);
    assert_int_equal(slad_path_look(scratch_path(own, "full/teacher-adapter")), SLAD_PATH_MISSING);
}

static void assert_same_file(scratch *own, const char *name)
{
    static const char *const folders[2] = {"run", "out"};
    char path[256], *bytes[2];
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folders[i], name);
        assert_int_equal(slad_file_read_all(own->context, &bytes[i], &size[i], scratch_path(own, path), 1u << 26),
                         SLAD_OK);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    for (int i = 0; i < 2; i++) slad_release(bytes[i]);
}

/* What a trainer exports at the end of a run, and what the run's files give later, are the same bytes. */
static void test_trainer_and_files(void **state)
{
    static const char *const files[] = {
        "student/config.json",
        "student/model.safetensors",
        "student/preprocessor_config.json",
        "student-adapter/adapter_config.json",
        "student-adapter/adapter_model.safetensors",
        "teacher-adapter/adapter_config.json",
        "teacher-adapter/adapter_model.safetensors",
    };
    static const char *const names[JOINT_CLASSES] = {"class 0", "class 1", "class 2", "class 3",
                                                     "class 4", "class 5", "class 6"};
    scratch *own = *state;
    joint test;
    char run[1024];
    slad_train_options options = joint_options(SLAD_METHOD_SLAD);
    options.share_map = SLAD_MAP_LAST;
    joint_open(&test, own, options);
    const slad_batch batch = joint_batch(&test, 0);
    assert_int_equal(slad_trainer_step(test.trainer, &batch, NULL, NULL), SLAD_OK);
    assert_int_equal(slad_trainer_finish(test.trainer, NULL, NULL), SLAD_OK);
    write_run_config(own, &options, slad_encoder_path(test.teacher), slad_encoder_path(test.student));
    (void)snprintf(run, sizeof run, "%s/run", own->folder);
    assert_int_equal(slad_trainer_save(test.trainer, run), SLAD_OK);
    assert_int_equal(slad_trainer_export(test.trainer, run, names), SLAD_OK);
    joint_close(&test);
    assert_int_equal(export_run(own, NULL, "out", 0), SLAD_OK);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) assert_same_file(own, files[i]);
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(test_run_export),        WITH_SCRATCH(test_onnx_of_run),      WITH_SCRATCH(test_forms),
        WITH_SCRATCH(test_unmapped),          WITH_SCRATCH(test_narrow_head),      WITH_SCRATCH(test_refusals),
        WITH_SCRATCH(test_contradictory_run), WITH_SCRATCH(test_run_on_full_disk), WITH_SCRATCH(test_trainer_and_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
