/* Values that C and Python (tests/oracle/formula.py, where the rule stands) compute alike, and model folders made of
 * them. */
#ifndef SLAD_TESTS_FORMULA_H
#define SLAD_TESTS_FORMULA_H

#include "scratch.h"

#include "base/safetensors.h"
#include <math.h>

static inline uint64_t formula_start(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

/* Value i in [-1, 1). */
static inline double formula_uniform(uint64_t start, uint64_t i)
{
    uint64_t state = start + (i + 1) * 0x9e3779b97f4a7c15u;
    state = (state ^ state >> 30) * 0xbf58476d1ce4e5b9u;
    state = (state ^ state >> 27) * 0x94d049bb133111ebu;
    state ^= state >> 31;
    return (double)(state >> 40) / 8388608.0 - 1.0;
}

static inline void formula_tensor(float *values, size_t count, const char *name, double scale, double shift)
{
    const uint64_t start = formula_start(name);
    for (size_t i = 0; i < count; i++) values[i] = (float)(formula_uniform(start, i) * scale + shift);
}

static inline void formula_labels(int32_t *values, size_t count, const char *name, int32_t classes)
{
    const uint64_t start = formula_start(name);
    for (size_t i = 0; i < count; i++) {
        const double label = (formula_uniform(start, i) + 1.0) / 2.0 * classes;
        values[i] = label < classes - 1 ? (int32_t)label : classes - 1;
    }
}

typedef struct formula_encoder {
    const char *prefix; /* keeps the values of models apart */
    size_t width, layers, heads, mlp_ratio, patch, grid;
} formula_encoder;

/* One tensor of a model. */
typedef struct formula_entry {
    char name[96];
    uint64_t shape[4];
    size_t rank;
    double scale, shift;
} formula_entry;

static inline void formula_add(formula_entry *entries, size_t *count, const char *name, size_t rank,
                               const uint64_t *shape, double scale, double shift)
{
    formula_entry *entry = &entries[(*count)++];
    (void)snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->rank = rank;
    memcpy(entry->shape, shape, rank * sizeof *shape);
    entry->scale = scale;
    entry->shift = shift;
}

static inline void formula_add_layer(formula_entry *entries, size_t *count, const formula_encoder *model, size_t layer)
{
    const uint64_t d = model->width, mlp = model->width * model->mlp_ratio;
    const uint64_t square[2] = {d, d}, wide[2] = {mlp, d}, narrow[2] = {d, mlp};
    const double unit = sqrt(3.0 / (double)d);
    const struct {
        const char *name;
        size_t rank;
        const uint64_t *shape;
        double scale, shift;
    } rows[] = {
        {"norm1.weight", 1, square, 0.3, 1.0},
        {"norm1.bias", 1, square, 0.2, 0},
        {"norm2.weight", 1, square, 0.3, 1.0},
        {"norm2.bias", 1, square, 0.2, 0},
        {"attention.attention.query.weight", 2, square, 1.5 * unit, 0},
        {"attention.attention.query.bias", 1, square, 0.2, 0},
        {"attention.attention.key.weight", 2, square, 1.5 * unit, 0},
        {"attention.attention.key.bias", 1, square, 0.2, 0},
        {"attention.attention.value.weight", 2, square, 1.5 * unit, 0},
        {"attention.attention.value.bias", 1, square, 0.2, 0},
        {"attention.output.dense.weight", 2, square, unit, 0},
        {"attention.output.dense.bias", 1, square, 0.1, 0},
        {"layer_scale1.lambda1", 1, square, 0.2, 0.5},
        {"mlp.fc1.weight", 2, wide, unit, 0},
        {"mlp.fc1.bias", 1, wide, 0.1, 0},
        {"mlp.fc2.weight", 2, narrow, sqrt(3.0 / (double)mlp), 0},
        {"mlp.fc2.bias", 1, narrow, 0.1, 0},
        {"layer_scale2.lambda1", 1, square, 0.2, 0.5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[96];
        (void)snprintf(name, sizeof name, "encoder.layer.%zu.%s", layer, rows[i].name);
        formula_add(entries, count, name, rows[i].rank, rows[i].shape, rows[i].scale, rows[i].shift);
    }
}

static inline size_t formula_entries(formula_entry *entries, const formula_encoder *model)
{
    const uint64_t d = model->width, patch = model->patch;
    const uint64_t cls[3] = {1, 1, d}, mask[2] = {1, d}, position[3] = {1, 1 + model->grid * model->grid, d};
    const uint64_t projection[4] = {d, 3, patch, patch};
    size_t count = 0;
    formula_add(entries, &count, "embeddings.cls_token", 3, cls, 0.5, 0);
    formula_add(entries, &count, "embeddings.mask_token", 2, mask, 0.1, 0);
    formula_add(entries, &count, "embeddings.position_embeddings", 3, position, 0.5, 0);
    formula_add(entries, &count, "embeddings.patch_embeddings.projection.weight", 4, projection,
                sqrt(3.0 / (double)(3 * patch * patch)), 0);
    formula_add(entries, &count, "embeddings.patch_embeddings.projection.bias", 1, projection, 0.1, 0);
    for (size_t i = 0; i < model->layers; i++) formula_add_layer(entries, &count, model, i);
    formula_add(entries, &count, "layernorm.weight", 1, projection, 0.3, 1.0);
    formula_add(entries, &count, "layernorm.bias", 1, projection, 0.2, 0);
    return count;
}

static inline void formula_write_config(scratch *own, const char *folder, const formula_encoder *model)
{
    char text[1024], path[1100];
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    const int length =
        snprintf(text, sizeof text,
                 "{\"model_type\": \"dinov2\", \"architectures\": [\"Dinov2Model\"], \"hidden_size\": %zu, "
                 "\"num_hidden_layers\": %zu, \"num_attention_heads\": %zu, \"mlp_ratio\": %zu, \"patch_size\": %zu, "
                 "\"image_size\": %zu, \"layer_norm_eps\": 1e-6, \"hidden_act\": \"gelu\", \"qkv_bias\": true, "
                 "\"use_swiglu_ffn\": false}\n",
                 model->width, model->layers, model->heads, model->mlp_ratio, model->patch, model->patch * model->grid);
    assert_int_equal(slad_file_write_all(own->context, path, text, (size_t)length), SLAD_OK);
}

static inline void formula_write_weights(scratch *own, const char *folder, const formula_encoder *model)
{
    static formula_entry entries[512];
    static slad_safetensors_entry list[512];
    char path[1100], name[160];
    slad_safetensors_writer *writer;
    const size_t count = formula_entries(entries, model);
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    for (size_t i = 0; i < count; i++)
        list[i] =
            (slad_safetensors_entry){entries[i].name, SLAD_SAFETENSORS_F32, entries[i].rank, entries[i].shape, NULL};
    assert_int_equal(slad_safetensors_writer_begin(own->context, &writer, path, list, count, NULL, 0), SLAD_OK);
    for (size_t position = 0; position < count; position++) {
        const size_t i = slad_safetensors_writer_order(writer, position);
        size_t elements = 1;
        for (size_t axis = 0; axis < entries[i].rank; axis++) elements *= (size_t)entries[i].shape[axis];
        float *values = malloc(elements * sizeof *values);
        assert_non_null(values);
        (void)snprintf(name, sizeof name, "%s%s", model->prefix, entries[i].name);
        formula_tensor(values, elements, name, entries[i].scale, entries[i].shift);
        assert_int_equal(slad_safetensors_writer_append(writer, i, values, elements), SLAD_OK);
        free(values);
    }
    assert_int_equal(slad_safetensors_writer_finish(writer), SLAD_OK);
}

/* Writes a Hugging Face folder of this model under the scratch folder; path holds 1024 bytes. */
static inline void formula_write_model(scratch *own, char *path, const char *name, const formula_encoder *model)
{
    (void)snprintf(path, 1024, "%s/%s", own->folder, name);
    assert_int_equal(slad_directory_create(own->context, path), SLAD_OK);
    formula_write_config(own, path, model);
    formula_write_weights(own, path, model);
}

/* Reads a whole tensor of a fixture; *count receives its elements. The caller frees. */
static inline float *fixture_read(scratch *own, slad_safetensors *file, const char *name, size_t *count)
{
    const slad_safetensor *tensor = slad_safetensors_find(file, name);
    if (!tensor) {
        fail_msg("the fixture has no tensor %s", name);
        abort(); /* for analysers: fail_msg does not return */
    }
    float *values = malloc((size_t)tensor->elements * sizeof *values);
    assert_non_null(values);
    assert_int_equal(slad_safetensors_read_float(own->context, values, file, tensor, 0, tensor->elements), SLAD_OK);
    if (count) *count = (size_t)tensor->elements;
    return values;
}

#endif
