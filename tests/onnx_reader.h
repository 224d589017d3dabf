/* A small reader of ONNX files, of its own making, for tests: nodes, weights, inputs, outputs, metadata. */
#ifndef SLAD_TESTS_ONNX_READER_H
#define SLAD_TESTS_ONNX_READER_H

#include "scratch.h"

enum { ONNX_MOST = 512, ONNX_TEXT = 128 };

typedef struct onnx_node {
    char operation[ONNX_TEXT], inputs[4][ONNX_TEXT], outputs[4][ONNX_TEXT];
    size_t input_count, output_count;
    const unsigned char *attributes[4];
    size_t attribute_bytes[4], attribute_count;
} onnx_node;

typedef struct onnx_tensor {
    char name[ONNX_TEXT];
    int64_t sizes[4], type;
    size_t rank, raw_bytes;
    const unsigned char *raw; /* NULL: external */
    uint64_t offset, length;  /* external */
    char location[ONNX_TEXT];
} onnx_tensor;

typedef struct onnx_end {
    char name[ONNX_TEXT], open[ONNX_TEXT]; /* the name of a size that is open, "" if there is none */
    int64_t sizes[4];                      /* 0: open */
    size_t rank;
} onnx_end;

typedef struct onnx_model {
    char *bytes, *data; /* of model.onnx and, if it is there, model.onnx.data */
    size_t size, data_size;
    int64_t ir_version, opset;
    onnx_node nodes[ONNX_MOST];
    onnx_tensor tensors[ONNX_MOST];
    onnx_end inputs[4], outputs[4];
    char keys[8][ONNX_TEXT], values[8][ONNX_TEXT];
    size_t node_count, tensor_count, input_count, output_count, pair_count;
} onnx_model;

/* A part of a message; of kinds other than 2 `value` holds it. */
typedef struct onnx_field {
    unsigned number, kind;
    uint64_t value;
    const unsigned char *start, *end;
} onnx_field;

static inline uint64_t onnx_varint(const unsigned char **at, const unsigned char *end)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        assert_true(*at < end && shift < 64);
        value |= (uint64_t)(**at & 0x7f) << shift;
        if (!(*(*at)++ & 0x80)) return value;
    }
}

static inline bool onnx_next(onnx_field *field, const unsigned char **at, const unsigned char *end)
{
    if (*at == end) return false;
    const uint64_t key = onnx_varint(at, end);
    *field = (onnx_field){.number = (unsigned)(key >> 3), .kind = (unsigned)(key & 7)};
    assert_true(field->kind == 0 || field->kind == 1 || field->kind == 2 || field->kind == 5);
    if (field->kind == 0) {
        field->value = onnx_varint(at, end);
        return true;
    }
    const uint64_t size = field->kind == 2 ? onnx_varint(at, end) : field->kind == 1 ? 8 : 4;
    assert_true((uint64_t)(end - *at) >= size);
    field->start = *at;
    *at += size;
    field->end = *at;
    if (field->kind != 2) memcpy(&field->value, field->start, (size_t)size);
    return true;
}

static inline void onnx_text(char *text, const onnx_field *field)
{
    assert_int_equal(field->kind, 2);
    assert_true(field->end - field->start < ONNX_TEXT);
    (void)snprintf(text, ONNX_TEXT, "%.*s", (int)(field->end - field->start), (const char *)field->start);
}

static inline void onnx_pair(char *key, char *value, const onnx_field *pair)
{
    onnx_field part;
    for (const unsigned char *at = pair->start; onnx_next(&part, &at, pair->end);)
        onnx_text(part.number == 1 ? key : value, &part);
}

static inline void onnx_read_node(onnx_node *node, const onnx_field *field)
{
    onnx_field part;
    for (const unsigned char *at = field->start; onnx_next(&part, &at, field->end);) {
        if (part.number == 1) onnx_text(node->inputs[node->input_count++], &part);
        if (part.number == 2) onnx_text(node->outputs[node->output_count++], &part);
        if (part.number == 4) onnx_text(node->operation, &part);
        if (part.number == 5) {
            node->attributes[node->attribute_count] = part.start;
            node->attribute_bytes[node->attribute_count++] = (size_t)(part.end - part.start);
        }
        assert_true(node->input_count < 5 && node->output_count < 5 && node->attribute_count < 5);
    }
}

static inline void onnx_read_tensor(onnx_tensor *tensor, const onnx_field *field)
{
    onnx_field part;
    for (const unsigned char *at = field->start; onnx_next(&part, &at, field->end);) {
        char key[ONNX_TEXT] = "", value[ONNX_TEXT] = "";
        if (part.number == 1) tensor->sizes[tensor->rank++] = (int64_t)part.value;
        if (part.number == 2) tensor->type = (int64_t)part.value;
        if (part.number == 8) onnx_text(tensor->name, &part);
        if (part.number == 9) {
            tensor->raw = part.start;
            tensor->raw_bytes = (size_t)(part.end - part.start);
        }
        if (part.number == 13) onnx_pair(key, value, &part);
        if (strcmp(key, "location") == 0) memcpy(tensor->location, value, sizeof value);
        if (strcmp(key, "offset") == 0) tensor->offset = strtoull(value, NULL, 10);
        if (strcmp(key, "length") == 0) tensor->length = strtoull(value, NULL, 10);
        assert_true(tensor->rank < 5);
    }
}

/* The sizes of a ValueInfoProto: its fields 2 / 1 / 2 / 1. */
static inline void onnx_read_sizes(onnx_end *out, const onnx_field *field, unsigned depth)
{
    static const unsigned path[4] = {2, 1, 2, 1};
    onnx_field part;
    for (const unsigned char *at = field->start; onnx_next(&part, &at, field->end);) {
        if (depth == 0 && part.number == 1) onnx_text(out->name, &part);
        if (depth < 4 && part.number == path[depth] && part.kind == 2) onnx_read_sizes(out, &part, depth + 1);
        if (depth == 4 && part.number == 1) out->sizes[out->rank] = (int64_t)part.value;
        if (depth == 4 && part.number == 2) onnx_text(out->open, &part);
    }
    if (depth == 4) out->rank++;
}

static inline void onnx_read_graph(onnx_model *model, const onnx_field *field)
{
    onnx_field part;
    for (const unsigned char *at = field->start; onnx_next(&part, &at, field->end);) {
        if (part.number == 1) onnx_read_node(&model->nodes[model->node_count++], &part);
        if (part.number == 5) onnx_read_tensor(&model->tensors[model->tensor_count++], &part);
        if (part.number == 11) onnx_read_sizes(&model->inputs[model->input_count++], &part, 0);
        if (part.number == 12) onnx_read_sizes(&model->outputs[model->output_count++], &part, 0);
        assert_true(model->node_count < ONNX_MOST && model->tensor_count < ONNX_MOST);
        assert_true(model->input_count < 4 && model->output_count < 4);
    }
}

/* FOLDER/model.onnx of the scratch folder. Free with onnx_close. */
static inline onnx_model *onnx_open(scratch *own, const char *folder)
{
    char path[256];
    onnx_field part, inner;
    onnx_model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    (void)snprintf(path, sizeof path, "%s/model.onnx", folder);
    assert_int_equal(slad_file_read_all(own->context, &model->bytes, &model->size, scratch_path(own, path), 1u << 28),
                     SLAD_OK);
    (void)snprintf(path, sizeof path, "%s/model.onnx.data", folder);
    if (slad_path_look(scratch_path(own, path)) == SLAD_PATH_FILE)
        assert_int_equal(
            slad_file_read_all(own->context, &model->data, &model->data_size, scratch_path(own, path), 1u << 28),
            SLAD_OK);
    const unsigned char *at = (const unsigned char *)model->bytes, *const end = at + model->size;
    while (onnx_next(&part, &at, end)) {
        if (part.number == 1) model->ir_version = (int64_t)part.value;
        if (part.number == 7) onnx_read_graph(model, &part);
        if (part.number == 14) {
            assert_true(model->pair_count < 8);
            onnx_pair(model->keys[model->pair_count], model->values[model->pair_count], &part);
            model->pair_count++;
        }
        for (const unsigned char *in = part.start; part.number == 8 && onnx_next(&inner, &in, part.end);)
            if (inner.number == 2) model->opset = (int64_t)inner.value;
    }
    return model;
}

static inline void onnx_close(onnx_model *model)
{
    slad_release(model->bytes);
    slad_release(model->data);
    free(model);
}

/* The values of weights of that name; *tensor receives their description. */
static inline const float *onnx_weights(const onnx_model *model, const char *name, const onnx_tensor **tensor)
{
    static float aligned[1 << 16];
    for (size_t i = 0; i < model->tensor_count; i++) {
        const onnx_tensor *found = &model->tensors[i];
        size_t elements = 1;
        if (strcmp(found->name, name) != 0) continue;
        for (size_t axis = 0; axis < found->rank; axis++) elements *= (size_t)found->sizes[axis];
        assert_int_equal(found->type, 1);
        assert_true(elements <= sizeof aligned / sizeof *aligned);
        if (found->raw) {
            assert_int_equal(found->raw_bytes, elements * sizeof(float));
            memcpy(aligned, found->raw, found->raw_bytes);
        } else {
            assert_string_equal(found->location, "model.onnx.data");
            assert_int_equal(found->length, elements * sizeof(float));
            assert_true(found->offset + found->length <= model->data_size);
            memcpy(aligned, model->data + found->offset, (size_t)found->length);
        }
        *tensor = found;
        return aligned;
    }
    fail_msg("there are no weights %s", name);
    abort(); /* for analysers: fail_msg does not return */
}

static inline bool onnx_knows(char (*known)[ONNX_TEXT], size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(known[i], name) == 0) return true;
    return false;
}

/* Every value is made once, before it is used, and all weights are used. */
static inline void onnx_assert_sound(const onnx_model *model)
{
    static char known[4 * ONNX_MOST][ONNX_TEXT], used[8 * ONNX_MOST][ONNX_TEXT];
    size_t count = 0, uses = 0;
    for (size_t i = 0; i < model->input_count; i++) memcpy(known[count++], model->inputs[i].name, ONNX_TEXT);
    for (size_t i = 0; i < model->tensor_count; i++) {
        if (onnx_knows(known, count, model->tensors[i].name)) fail_msg("%s stands twice", model->tensors[i].name);
        memcpy(known[count++], model->tensors[i].name, ONNX_TEXT);
    }
    for (size_t i = 0; i < model->node_count; i++) {
        const onnx_node *node = &model->nodes[i];
        for (size_t k = 0; k < node->input_count; k++) {
            if (!onnx_knows(known, count, node->inputs[k])) fail_msg("%s is not made before", node->inputs[k]);
            memcpy(used[uses++], node->inputs[k], ONNX_TEXT);
        }
        for (size_t k = 0; k < node->output_count; k++) {
            if (onnx_knows(known, count, node->outputs[k])) fail_msg("%s is made twice", node->outputs[k]);
            memcpy(known[count++], node->outputs[k], ONNX_TEXT);
        }
    }
    for (size_t i = 0; i < model->output_count; i++) memcpy(used[uses++], model->outputs[i].name, ONNX_TEXT);
    for (size_t i = 0; i < count; i++)
        if (!onnx_knows(used, uses, known[i])) fail_msg("%s is not used", known[i]);
}

static inline size_t onnx_count(const onnx_model *model, const char *operation)
{
    size_t count = 0;
    for (size_t i = 0; i < model->node_count; i++) count += strcmp(model->nodes[i].operation, operation) == 0;
    return count;
}

#endif
