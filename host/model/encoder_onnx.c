#include "model/encoder_onnx.h"
#include "base/memory.h"
#include "io/onnx.h"
#include "model/position.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LABEL = 48, NAME = SLAD_ONNX_NAME };

/* How the values of a tensor stand in the file: as they are; [in, out] instead of [out, in], for MatMul; resized to the
 * grid of the images. */
typedef enum onnx_form { AS_IT_IS, TRANSPOSED, RESIZED } onnx_form;

typedef struct onnx_item {
    slad_hf_slot slot;
    onnx_form form;
} onnx_item;

typedef struct onnx_builder {
    slad_context *context;
    slad_status status;
    const slad_encoder_onnx *model;
    slad_onnx *graph;
    size_t side, tokens; /* patches along an edge; all tokens */
    onnx_item *items;    /* of the graph's weights, in their order */
    size_t item_count, item_capacity;
    slad_onnx_value pixels, batch, heads_shape, width_shape, attention_scale, half, one, root_of_two, token_axis;
    uint32_t layer; /* that is being built */
} onnx_builder;

typedef slad_onnx_value value;

#define INTEGER(key, number)                                                                                           \
    {                                                                                                                  \
        .name = (key), .type = SLAD_ONNX_INTEGER, .integers = {(number) }                                              \
    }

static value add(onnx_builder *builder, const char *label, const slad_onnx_node *node)
{
    return slad_onnx_add(builder->graph, label, node);
}

/* A node of the layer that is being built, without attributes. */
static value add_plain(onnx_builder *builder, const char *label, const char *operation, value left, value right)
{
    char name[NAME];
    const slad_onnx_node node = {.operation = operation, .inputs = {left, right}};
    (void)snprintf(name, sizeof name, "layer.%u.%s", builder->layer, label);
    return add(builder, name, &node);
}

static const value none = {""};

/* A tensor of the model as weights; of rank 2 and TRANSPOSED with its sizes exchanged. */
static value add_tensor(onnx_builder *builder, const slad_hf_slot *slot, onnx_form form)
{
    uint64_t sizes[SLAD_ONNX_RANK];
    memcpy(sizes, slot->shape, sizeof sizes);
    if (form == TRANSPOSED) {
        sizes[0] = slot->shape[1];
        sizes[1] = slot->shape[0];
    } else if (form == RESIZED) {
        sizes[1] = 1 + (uint64_t)builder->side * builder->side;
    }
    if (builder->status == SLAD_OK)
        builder->status = slad_grow(builder->context, &builder->items, &builder->item_capacity, builder->item_count + 1,
                                    sizeof *builder->items, "the weights of an ONNX file");
    if (builder->status == SLAD_OK) builder->items[builder->item_count++] = (onnx_item){*slot, form};
    return slad_onnx_weights(builder->graph, slot->name, slot->rank, sizes);
}

static value add_role(onnx_builder *builder, slad_hf_role role, onnx_form form)
{
    slad_hf_slot slot;
    if (!slad_hf_slot_of(&slot, builder->model->config, role, builder->layer)) return none;
    return add_tensor(builder, &slot, form);
}

/* x W^T + b; models may have no bias. */
static value add_linear(onnx_builder *builder, const char *label, value x, slad_hf_role weight, slad_hf_role bias)
{
    char product[LABEL];
    (void)snprintf(product, sizeof product, "%s.product", label);
    const value offset = add_role(builder, bias, AS_IT_IS);
    const value y = add_plain(builder, product, "MatMul", x, add_role(builder, weight, TRANSPOSED));
    return offset.name[0] ? add_plain(builder, label, "Add", y, offset) : y;
}

static value add_norm(onnx_builder *builder, const char *name, value x, slad_hf_role weight, slad_hf_role bias)
{
    const value scale = add_role(builder, weight, AS_IT_IS), offset = add_role(builder, bias, AS_IT_IS);
    const slad_onnx_node node = {
        .operation = "LayerNormalization",
        .inputs = {x, scale, offset},
        .attributes = {INTEGER("axis", -1),
                       {"epsilon", SLAD_ONNX_FLOAT, (float)builder->model->config->layer_norm_eps, 0, {0}}},
    };
    return add(builder, name, &node);
}

static value add_transpose(onnx_builder *builder, const char *name, value x, size_t rank, const int64_t *order)
{
    slad_onnx_node node = {
        .operation = "Transpose",
        .inputs = {x},
        .attributes = {{.name = "perm", .type = SLAD_ONNX_INTEGERS, .count = rank}},
    };
    memcpy(node.attributes[0].integers, order, rank * sizeof *order);
    return add(builder, name, &node);
}

/* [b, T, d] to [b, heads, T, d / heads], or (turned) to [b, heads, d / heads, T]. */
static value add_heads(onnx_builder *builder, const char *label, value x, bool turned)
{
    static const int64_t upright_order[4] = {0, 2, 1, 3}, turned_order[4] = {0, 2, 3, 1};
    char split[LABEL], name[NAME];
    (void)snprintf(split, sizeof split, "%s.split", label);
    (void)snprintf(name, sizeof name, "layer.%u.%s.heads", builder->layer, label);
    const value parts = add_plain(builder, split, "Reshape", x, builder->heads_shape);
    return add_transpose(builder, name, parts, 4, turned ? turned_order : upright_order);
}

static value add_attention(onnx_builder *builder, value x)
{
    static const int64_t back[4] = {0, 2, 1, 3};
    char name[NAME];
    value q = add_linear(builder, "attention.q", x, SLAD_HF_QUERY_WEIGHT, SLAD_HF_QUERY_BIAS);
    value k = add_linear(builder, "attention.k", x, SLAD_HF_KEY_WEIGHT, SLAD_HF_KEY_BIAS);
    value v = add_linear(builder, "attention.v", x, SLAD_HF_VALUE_WEIGHT, SLAD_HF_VALUE_BIAS);
    q = add_heads(builder, "attention.q", q, false);
    k = add_heads(builder, "attention.k", k, true);
    v = add_heads(builder, "attention.v", v, false);
    q = add_plain(builder, "attention.q.scaled", "Mul", q, builder->attention_scale);
    const value scores = add_plain(builder, "attention.scores", "MatMul", q, k);
    const slad_onnx_node softmax = {.operation = "Softmax", .inputs = {scores}, .attributes = {INTEGER("axis", -1)}};
    (void)snprintf(name, sizeof name, "layer.%u.attention.weights", builder->layer);
    value o = add_plain(builder, "attention.heads", "MatMul", add(builder, name, &softmax), v);
    (void)snprintf(name, sizeof name, "layer.%u.attention.turned", builder->layer);
    o = add_transpose(builder, name, o, 4, back);
    o = add_plain(builder, "attention.joined", "Reshape", o, builder->width_shape);
    return add_linear(builder, "attention.output", o, SLAD_HF_PROJ_WEIGHT, SLAD_HF_PROJ_BIAS);
}

/* x (1 + erf(x / sqrt(2))) / 2 */
static value add_gelu(onnx_builder *builder, value x)
{
    value y = add_plain(builder, "mlp.gelu.scaled", "Div", x, builder->root_of_two);
    y = add_plain(builder, "mlp.gelu.erf", "Erf", y, none);
    y = add_plain(builder, "mlp.gelu.shifted", "Add", y, builder->one);
    y = add_plain(builder, "mlp.gelu.product", "Mul", x, y);
    return add_plain(builder, "mlp.gelu", "Mul", y, builder->half);
}

/* silu(u1) u2 of x = [u1 | u2] */
static value add_gate(onnx_builder *builder, value x)
{
    char name[NAME];
    const slad_onnx_node split = {
        .operation = "Split", .inputs = {x}, .attributes = {INTEGER("axis", -1)}, .results = 2};
    (void)snprintf(name, sizeof name, "layer.%u.mlp.parts", builder->layer);
    const value gate = add(builder, name, &split);
    value up; /* the second result */
    (void)snprintf(up.name, sizeof up.name, "layer.%u.mlp.parts.1", builder->layer);
    const value sigmoid = add_plain(builder, "mlp.gate.sigmoid", "Sigmoid", gate, none);
    const value silu = add_plain(builder, "mlp.gate", "Mul", gate, sigmoid);
    return add_plain(builder, "mlp.gated", "Mul", silu, up);
}

/* x + scale y; models may have no LayerScale. */
static value add_residual(onnx_builder *builder, const char *label, value x, value y, slad_hf_role scale)
{
    char scaled[LABEL];
    const value factors = add_role(builder, scale, AS_IT_IS);
    (void)snprintf(scaled, sizeof scaled, "%s.scaled", label);
    if (factors.name[0]) y = add_plain(builder, scaled, "Mul", y, factors);
    return add_plain(builder, label, "Add", x, y);
}

static value add_layer(onnx_builder *builder, value x)
{
    char name[NAME];
    (void)snprintf(name, sizeof name, "layer.%u.norm1", builder->layer);
    value y = add_norm(builder, name, x, SLAD_HF_NORM1_WEIGHT, SLAD_HF_NORM1_BIAS);
    x = add_residual(builder, "middle", x, add_attention(builder, y), SLAD_HF_SCALE1);
    (void)snprintf(name, sizeof name, "layer.%u.norm2", builder->layer);
    y = add_norm(builder, name, x, SLAD_HF_NORM2_WEIGHT, SLAD_HF_NORM2_BIAS);
    y = add_linear(builder, "mlp.fc1", y, SLAD_HF_FC1_WEIGHT, SLAD_HF_FC1_BIAS);
    y = builder->model->config->gated ? add_gate(builder, y) : add_gelu(builder, y);
    y = add_linear(builder, "mlp.fc2", y, SLAD_HF_FC2_WEIGHT, SLAD_HF_FC2_BIAS);
    return add_residual(builder, "output", x, y, SLAD_HF_SCALE2);
}

/* A tensor [1, count, d] once for each image. */
static value add_repeated(onnx_builder *builder, const char *name, slad_hf_role role, int64_t count)
{
    char label[LABEL];
    const int64_t rest[2] = {count, builder->model->config->hidden_size};
    const value tensor = add_role(builder, role, AS_IT_IS);
    (void)snprintf(label, sizeof label, "%s.sizes", name);
    const value sizes = slad_onnx_integers(builder->graph, label, 2, rest);
    (void)snprintf(label, sizeof label, "%s.shape", name);
    const slad_onnx_node shape = {
        .operation = "Concat", .inputs = {builder->batch, sizes}, .attributes = {INTEGER("axis", 0)}};
    const slad_onnx_node expand = {.operation = "Expand", .inputs = {tensor, add(builder, label, &shape)}};
    return add(builder, name, &expand);
}

/* The patches as rows [b, patches, d]. */
static value add_patches(onnx_builder *builder)
{
    static const int64_t order[3] = {0, 2, 1};
    const int64_t patch = builder->model->config->patch_size;
    const int64_t rows[3] = {0, builder->model->config->hidden_size, -1};
    const value weight = add_role(builder, SLAD_HF_PATCH_WEIGHT, AS_IT_IS);
    const value bias = add_role(builder, SLAD_HF_PATCH_BIAS, AS_IT_IS);
    const slad_onnx_node convolution = {
        .operation = "Conv",
        .inputs = {builder->pixels, weight, bias},
        .attributes = {{"strides", SLAD_ONNX_INTEGERS, 0, 2, {patch, patch}}},
    };
    const value image = add(builder, "patches.image", &convolution);
    const value shape = slad_onnx_integers(builder->graph, "patches.shape", 3, rows);
    const slad_onnx_node reshape = {.operation = "Reshape", .inputs = {image, shape}};
    return add_transpose(builder, "patches", add(builder, "patches.columns", &reshape), 3, order);
}

static value add_concat(onnx_builder *builder, const char *name, value first, value second, value third)
{
    const slad_onnx_node node = {
        .operation = "Concat", .inputs = {first, second, third}, .attributes = {INTEGER("axis", 1)}};
    return add(builder, name, &node);
}

/* The tokens first .. last-1 of each image. */
static value add_slice(onnx_builder *builder, const char *name, value x, size_t first, size_t last)
{
    char label[LABEL];
    const int64_t bounds[2] = {(int64_t)first, (int64_t)last};
    (void)snprintf(label, sizeof label, "%s.first", name);
    const value start = slad_onnx_integers(builder->graph, label, 1, bounds);
    (void)snprintf(label, sizeof label, "%s.last", name);
    const value end = slad_onnx_integers(builder->graph, label, 1, bounds + 1);
    const slad_onnx_node node = {.operation = "Slice", .inputs = {x, start, end, builder->token_axis}};
    return add(builder, name, &node);
}

static value add_embedding(onnx_builder *builder)
{
    const uint32_t registers = builder->model->config->registers;
    const size_t patches = builder->side * builder->side;
    const value class_token = add_repeated(builder, "class_token", SLAD_HF_CLASS_TOKEN, 1);
    const value tokens = add_concat(builder, "tokens", class_token, add_patches(builder), none);
    const slad_onnx_node place = {.operation = "Add", .inputs = {tokens, add_role(builder, SLAD_HF_POSITION, RESIZED)}};
    const value placed = add(builder, "tokens.placed", &place);
    if (!registers) return placed;
    const value first = add_slice(builder, "tokens.class", placed, 0, 1);
    const value rest = add_slice(builder, "tokens.patches", placed, 1, 1 + patches);
    return add_concat(builder, "tokens.all", first, add_repeated(builder, "registers", SLAD_HF_REGISTERS, registers),
                      rest);
}

/* The classifier, of the class token or of that and the mean of the patches. */
static void add_head(onnx_builder *builder, value x)
{
    const slad_encoder_onnx *model = builder->model;
    const uint64_t features = slad_hf_classifier_features(model->config), classes = model->classes;
    const slad_hf_slot weight = {
        .name = "classifier.weight", .rank = 2, .shape = {classes, features}, .elements = classes * features};
    const slad_hf_slot bias = {.name = "classifier.bias", .rank = 1, .shape = {classes}, .elements = classes};
    const value token = add_slice(builder, "class_row", x, 0, 1);
    const slad_onnx_node squeeze = {.operation = "Squeeze", .inputs = {token, builder->token_axis}};
    value read = add(builder, "class_features", &squeeze);
    if (features > model->config->hidden_size) {
        const value patches = add_slice(builder, "patch_rows", x, 1 + model->config->registers, builder->tokens);
        const slad_onnx_node mean = {.operation = "ReduceMean",
                                     .inputs = {patches},
                                     .attributes = {{"axes", SLAD_ONNX_INTEGERS, 0, 1, {1}}, INTEGER("keepdims", 0)}};
        read = add_concat(builder, "features", read, add(builder, "patch_features", &mean), none);
    }
    const value matrix = add_tensor(builder, &weight, AS_IT_IS), offset = add_tensor(builder, &bias, AS_IT_IS);
    const slad_onnx_node linear = {
        .operation = "Gemm", .inputs = {read, matrix, offset}, .attributes = {INTEGER("transB", 1)}};
    (void)add(builder, "logits", &linear);
}

static void add_constants(onnx_builder *builder)
{
    const slad_hf_config *config = builder->model->config;
    const size_t head_width = config->hidden_size / config->heads;
    const int64_t heads[4] = {0, 0, config->heads, (int64_t)head_width}, width[3] = {0, 0, config->hidden_size};
    const int64_t axis = 1;
    const slad_onnx_node shape = {
        .operation = "Shape", .inputs = {builder->pixels}, .attributes = {INTEGER("start", 0), INTEGER("end", 1)}};
    slad_onnx *graph = builder->graph;
    builder->batch = add(builder, "batch", &shape);
    builder->heads_shape = slad_onnx_integers(graph, "heads_shape", 4, heads);
    builder->width_shape = slad_onnx_integers(graph, "width_shape", 3, width);
    builder->token_axis = slad_onnx_integers(graph, "token_axis", 1, &axis);
    builder->attention_scale = slad_onnx_scalar(graph, "attention_scale", (float)(1.0 / sqrt((double)head_width)));
    if (config->gated) return; /* no GELU */
    builder->half = slad_onnx_scalar(graph, "half", 0.5f);
    builder->one = slad_onnx_scalar(graph, "one", 1.0f);
    builder->root_of_two = slad_onnx_scalar(graph, "root_of_two", (float)sqrt(2.0));
}

static void build_graph(onnx_builder *builder)
{
    const slad_encoder_onnx *model = builder->model;
    const slad_onnx_size image[4] = {0, model->config->channels, model->image_size, model->image_size};
    const slad_onnx_size result[2] = {0, model->classes};
    builder->pixels = slad_onnx_input(builder->graph, "pixel_values", 4, image);
    slad_onnx_output(builder->graph, "logits", 2, result);
    add_constants(builder);
    value x = add_embedding(builder);
    for (builder->layer = 0; builder->layer < model->config->layers; builder->layer++) x = add_layer(builder, x);
    builder->layer = 0;
    add_head(builder, add_norm(builder, "norm", x, SLAD_HF_NORM_WEIGHT, SLAD_HF_NORM_BIAS));
}

static slad_status add_metadata(onnx_builder *builder)
{
    slad_context *context = builder->context;
    slad_status status = SLAD_OK;
    const slad_encoder_onnx *model = builder->model;
    static const char *const keys[3] = {"class_names", "image_mean", "image_std"};
    cJSON *lists[3] = {cJSON_CreateStringArray(model->class_names, (int)model->classes),
                       cJSON_CreateFloatArray(model->image_mean, 3), cJSON_CreateFloatArray(model->image_std, 3)};
    for (int i = 0; i < 3; i++) {
        char *text = lists[i] && !slad_fault_due(context) ? cJSON_PrintUnformatted(lists[i]) : NULL;
        SLAD_FAIL_IF(!text, SLAD_ERROR_OUT_OF_MEMORY, "No host memory for the metadata of an ONNX file");
        slad_onnx_metadata(builder->graph, keys[i], text);
        cJSON_free(text);
    }
    slad_onnx_metadata(builder->graph, "slad_version", SLAD_VERSION);
cleanup:
    for (int i = 0; i < 3; i++) cJSON_Delete(lists[i]);
    return status;
}

static slad_status fill_transposed(slad_context *context, float *destination, const onnx_builder *builder,
                                   const slad_hf_slot *slot)
{
    slad_status status = SLAD_OK;
    const size_t rows = (size_t)slot->shape[0], columns = (size_t)slot->shape[1];
    float *upright = NULL;
    SLAD_TRY(slad_allocate(context, &upright, (size_t)slot->elements, sizeof *upright, slot->name));
    SLAD_TRY(builder->model->fill(context, upright, slot->name, slot->elements, builder->model->user));
    for (size_t row = 0; row < rows; row++)
        for (size_t column = 0; column < columns; column++)
            destination[column * rows + row] = upright[row * columns + column];
cleanup:
    slad_release(upright);
    return status;
}

static slad_status fill_resized(slad_context *context, float *destination, const onnx_builder *builder,
                                const slad_hf_slot *slot)
{
    slad_status status = SLAD_OK;
    const slad_encoder_onnx *model = builder->model;
    const slad_position_mode mode = model->mode == SLAD_POSITION_AUTO ? model->config->position_mode : model->mode;
    float *table = NULL;
    SLAD_TRY(slad_allocate(context, &table, (size_t)slot->elements, sizeof *table, slot->name));
    SLAD_TRY(model->fill(context, table, slot->name, slot->elements, model->user));
    SLAD_TRY(slad_position_resize(context, destination, table, model->config->position_grid, builder->side,
                                  builder->side, model->config->hidden_size, mode));
cleanup:
    slad_release(table);
    return status;
}

static slad_status fill_item(slad_context *context, float *destination, size_t index, uint64_t elements, void *user)
{
    const onnx_builder *builder = user;
    const onnx_item *item = &builder->items[index];
    if (item->form == TRANSPOSED) return fill_transposed(context, destination, builder, &item->slot);
    if (item->form == RESIZED) return fill_resized(context, destination, builder, &item->slot);
    return builder->model->fill(context, destination, item->slot.name, elements, builder->model->user);
}

slad_status slad_encoder_onnx_write(slad_context *context, const char *folder, const slad_encoder_onnx *model)
{
    slad_status status = SLAD_OK;
    const size_t patch = model->config->patch_size;
    onnx_builder builder = {.context = context, .model = model};
    const slad_onnx_source source = {fill_item, &builder};
    SLAD_FAIL_IF(model->image_size == 0 || model->image_size % patch, SLAD_ERROR_USAGE,
                 "The image size %zu is no multiple of the patch size %zu of the model", model->image_size, patch);
    builder.side = model->image_size / patch;
    builder.tokens = 1 + model->config->registers + builder.side * builder.side;
    SLAD_TRY(slad_onnx_create(context, &builder.graph, "slad"));
    build_graph(&builder);
    SLAD_TRY(builder.status);
    SLAD_TRY(add_metadata(&builder));
    SLAD_TRY(slad_onnx_write(builder.graph, folder, model->inline_limit, &source));
cleanup:
    slad_onnx_free(builder.graph);
    slad_release(builder.items);
    return status;
}
