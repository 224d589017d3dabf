/* Values that C and Python (tests/oracle/formula.py, where the rule stands) compute alike, and model folders made of
 * them. */
#ifndef SLAD_TESTS_FORMULA_H
#define SLAD_TESTS_FORMULA_H

#include "own_names.h"
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

/* The same of another kind, as formula.py's `kind`, `registers` and `gated` say; named by transformers, hub or timm,
 * the latter two as a single file. */
typedef struct formula_variant {
    formula_encoder encoder;
    slad_hf_type type;
    size_t registers;
    bool gated;
    slad_hf_naming naming;
} formula_variant;

/* Width of an MLP's hidden layer, of a gated one behind the gate. */
static inline size_t formula_mlp(const formula_variant *model)
{
    const size_t mlp = model->encoder.width * model->encoder.mlp_ratio;
    return model->gated ? (mlp * 2 / 3 + 7) / 8 * 8 : mlp;
}

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

static inline void formula_add_layer(formula_entry *entries, size_t *count, const formula_variant *model, size_t layer)
{
    const uint64_t d = model->encoder.width, mlp = formula_mlp(model), in = model->gated ? 2 * mlp : mlp;
    const uint64_t square[2] = {d, d}, wide[2] = {in, d}, narrow[2] = {d, mlp};
    const double unit = sqrt(3.0 / (double)d);
    const bool vit = model->type == SLAD_HF_VIT;
    const struct {
        const char *name;
        size_t rank;
        const uint64_t *shape;
        double scale, shift;
    } rows[] = {
        {vit ? "layernorm_before.weight" : "norm1.weight", 1, square, 0.3, 1.0},
        {vit ? "layernorm_before.bias" : "norm1.bias", 1, square, 0.2, 0},
        {vit ? "layernorm_after.weight" : "norm2.weight", 1, square, 0.3, 1.0},
        {vit ? "layernorm_after.bias" : "norm2.bias", 1, square, 0.2, 0},
        {"attention.attention.query.weight", 2, square, 1.5 * unit, 0},
        {"attention.attention.query.bias", 1, square, 0.2, 0},
        {"attention.attention.key.weight", 2, square, 1.5 * unit, 0},
        {"attention.attention.key.bias", 1, square, 0.2, 0},
        {"attention.attention.value.weight", 2, square, 1.5 * unit, 0},
        {"attention.attention.value.bias", 1, square, 0.2, 0},
        {"attention.output.dense.weight", 2, square, unit, 0},
        {"attention.output.dense.bias", 1, square, 0.1, 0},
        {"layer_scale1.lambda1", 1, square, 0.2, 0.5},
        {vit            ? "intermediate.dense.weight"
         : model->gated ? "mlp.weights_in.weight"
                        : "mlp.fc1.weight",
         2, wide, unit, 0},
        {vit            ? "intermediate.dense.bias"
         : model->gated ? "mlp.weights_in.bias"
                        : "mlp.fc1.bias",
         1, wide, 0.1, 0},
        {vit            ? "output.dense.weight"
         : model->gated ? "mlp.weights_out.weight"
                        : "mlp.fc2.weight",
         2, narrow, sqrt(3.0 / (double)mlp), 0},
        {vit            ? "output.dense.bias"
         : model->gated ? "mlp.weights_out.bias"
                        : "mlp.fc2.bias",
         1, narrow, 0.1, 0},
        {"layer_scale2.lambda1", 1, square, 0.2, 0.5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[96];
        if (vit && strstr(rows[i].name, "layer_scale")) continue;
        (void)snprintf(name, sizeof name, "encoder.layer.%zu.%s", layer, rows[i].name);
        formula_add(entries, count, name, rows[i].rank, rows[i].shape, rows[i].scale, rows[i].shift);
    }
}

static inline size_t formula_entries(formula_entry *entries, const formula_variant *model)
{
    const uint64_t d = model->encoder.width, patch = model->encoder.patch, grid = model->encoder.grid;
    const uint64_t cls[3] = {1, 1, d}, mask[2] = {1, d}, position[3] = {1, 1 + grid * grid, d};
    const uint64_t registers[3] = {1, model->registers, d}, projection[4] = {d, 3, patch, patch};
    size_t count = 0;
    formula_add(entries, &count, "embeddings.cls_token", 3, cls, 0.5, 0);
    if (model->type != SLAD_HF_VIT) formula_add(entries, &count, "embeddings.mask_token", 2, mask, 0.1, 0);
    if (model->registers) formula_add(entries, &count, "embeddings.register_tokens", 3, registers, 0.5, 0);
    formula_add(entries, &count, "embeddings.position_embeddings", 3, position, 0.5, 0);
    formula_add(entries, &count, "embeddings.patch_embeddings.projection.weight", 4, projection,
                sqrt(3.0 / (double)(3 * patch * patch)), 0);
    formula_add(entries, &count, "embeddings.patch_embeddings.projection.bias", 1, projection, 0.1, 0);
    for (size_t i = 0; i < model->encoder.layers; i++) formula_add_layer(entries, &count, model, i);
    formula_add(entries, &count, "layernorm.weight", 1, projection, 0.3, 1.0);
    formula_add(entries, &count, "layernorm.bias", 1, projection, 0.2, 0);
    return count;
}

static inline void formula_write_config(scratch *own, const char *folder, const formula_variant *variant)
{
    const formula_encoder *model = &variant->encoder;
    const bool vit = variant->type == SLAD_HF_VIT;
    char text[1024], path[1100], registers[48] = "";
    (void)snprintf(path, sizeof path, "%s/config.json", folder);
    if (variant->registers)
        (void)snprintf(registers, sizeof registers, ", \"num_register_tokens\": %zu", variant->registers);
    const int length =
        snprintf(text, sizeof text,
                 "{\"model_type\": \"%s\", \"hidden_size\": %zu, "
                 "\"num_hidden_layers\": %zu, \"num_attention_heads\": %zu, \"%s\": %zu, \"patch_size\": %zu, "
                 "\"image_size\": %zu, \"layer_norm_eps\": %s, \"hidden_act\": \"gelu\", \"qkv_bias\": true, "
                 "\"use_swiglu_ffn\": %s%s}\n",
                 slad_hf_type_name(variant->type), model->width, model->layers, model->heads,
                 vit ? "intermediate_size" : "mlp_ratio", vit ? formula_mlp(variant) : model->mlp_ratio, model->patch,
                 model->patch * model->grid, vit ? "1e-12" : "1e-6", variant->gated ? "true" : "false", registers);
    assert_int_equal(slad_file_write_all(own->context, path, text, (size_t)length), SLAD_OK);
}

/* Values of the tensor that transformers calls `name`. */
static inline void formula_fill(float *values, size_t elements, const formula_variant *model,
                                const formula_entry *entry, const char *name)
{
    char full[160];
    (void)snprintf(full, sizeof full, "%s%s", model->encoder.prefix, name);
    formula_tensor(values, elements, full, entry->scale, entry->shift);
}

/* The parts of an entry that stand in one tensor of a file: query, key and value of hub and timm. The caller frees. */
static inline float *formula_values(const formula_variant *model, const formula_entry *entry, size_t elements)
{
    static const char *const parts[3] = {"query", "key", "value"};
    const char *part = model->naming == SLAD_HF_TRANSFORMERS ? NULL : strstr(entry->name, "query");
    float *values = malloc(elements * sizeof *values);
    assert_non_null(values);
    if (!part) {
        formula_fill(values, elements, model, entry, entry->name);
        return values;
    }
    for (size_t i = 0; i < 3; i++) {
        char name[112];
        (void)snprintf(name, sizeof name, "%.*s%s%s", (int)(part - entry->name), entry->name, parts[i], part + 5);
        formula_fill(values + i * (elements / 3), elements / 3, model, entry, name);
    }
    return values;
}

/* Turns transformers' entries to those of the file: hub and timm have query, key and value in one; timm has no mask
 * token, and with registers no position of the class token, which the token itself has had added. */
static inline size_t formula_rename(formula_entry *entries, size_t count, const formula_variant *model)
{
    size_t kept = 0;
    if (model->naming == SLAD_HF_TRANSFORMERS) return count;
    for (size_t i = 0; i < count; i++) {
        if (strstr(entries[i].name, "attention.key") || strstr(entries[i].name, "attention.value")) continue;
        if (model->naming == SLAD_HF_TIMM && strstr(entries[i].name, "mask_token")) continue;
        entries[kept] = entries[i];
        if (strstr(entries[kept].name, "query")) entries[kept].shape[0] *= 3;
        kept++;
    }
    return kept;
}

static inline void formula_write_file(scratch *own, const char *path, const formula_variant *model)
{
    static formula_entry entries[512];
    static slad_safetensors_entry list[512];
    static char names[512][SLAD_HF_NAME_SIZE];
    slad_safetensors_writer *writer;
    const bool added = model->naming == SLAD_HF_TIMM && model->registers;
    const size_t width = model->encoder.width;
    const size_t count = formula_rename(entries, formula_entries(entries, model), model);
    for (size_t i = 0; i < count; i++) {
        own_name(names[i], model->naming, entries[i].name);
        if (added && strstr(entries[i].name, "position")) entries[i].shape[1]--;
        list[i] = (slad_safetensors_entry){names[i], SLAD_SAFETENSORS_F32, entries[i].rank, entries[i].shape, NULL};
    }
    assert_int_equal(slad_safetensors_writer_begin(own->context, &writer, path, list, count, NULL, 0), SLAD_OK);
    for (size_t position = 0; position < count; position++) {
        const size_t i = slad_safetensors_writer_order(writer, position);
        size_t elements = 1, lead = 0;
        for (size_t axis = 0; axis < entries[i].rank; axis++) elements *= (size_t)entries[i].shape[axis];
        if (added && strstr(entries[i].name, "position")) lead = width;
        float *values = formula_values(model, &entries[i], elements + lead);
        if (added && strstr(entries[i].name, "cls_token")) {
            formula_entry table = entries[i];
            float *first = malloc(width * sizeof *first);
            assert_non_null(first);
            formula_fill(first, width, model, &table, "embeddings.position_embeddings");
            for (size_t k = 0; k < width; k++) values[k] += first[k];
            free(first);
        }
        assert_int_equal(slad_safetensors_writer_append(writer, i, values + lead, elements), SLAD_OK);
        free(values);
    }
    assert_int_equal(slad_safetensors_writer_finish(writer), SLAD_OK);
}

/* Writes a Hugging Face folder, or a single file, under the scratch folder; path holds 1024 bytes. */
static inline void formula_write_variant(scratch *own, char *path, const char *name, const formula_variant *model)
{
    char weights[1100];
    const bool single = model->naming != SLAD_HF_TRANSFORMERS;
    (void)snprintf(path, 1024, "%s/%s%s", own->folder, name, single ? ".safetensors" : "");
    (void)snprintf(weights, sizeof weights, "%s%s", path, single ? "" : "/model.safetensors");
    if (!single) {
        assert_int_equal(slad_directory_create(own->context, path), SLAD_OK);
        formula_write_config(own, path, model);
    }
    formula_write_file(own, weights, model);
}

/* Writes a Hugging Face folder of a DINOv2 under the scratch folder; path holds 1024 bytes. */
static inline void formula_write_model(scratch *own, char *path, const char *name, const formula_encoder *model)
{
    const formula_variant variant = {.encoder = *model};
    formula_write_variant(own, path, name, &variant);
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
