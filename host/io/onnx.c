#include "io/onnx.h"
#include "base/files.h"
#include "base/memory.h"
#include "io/protobuf.h"
#include <stdio.h>
#include <string.h>

/* Fields of onnx.proto. */
enum { MODEL_IR_VERSION = 1, MODEL_PRODUCER = 2, MODEL_PRODUCER_VERSION = 3, MODEL_GRAPH = 7, MODEL_OPSET = 8 };
enum { MODEL_METADATA = 14, OPSET_DOMAIN = 1, OPSET_VERSION = 2, PAIR_KEY = 1, PAIR_VALUE = 2 };
enum { GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };
enum { NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_NAME = 3, NODE_OPERATION = 4, NODE_ATTRIBUTE = 5 };
enum { ATTRIBUTE_NAME = 1, ATTRIBUTE_FLOAT = 2, ATTRIBUTE_INTEGER = 3, ATTRIBUTE_INTEGERS = 8, ATTRIBUTE_TYPE = 20 };
enum { TENSOR_SIZE = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8, TENSOR_RAW = 9, TENSOR_EXTERNAL = 13, TENSOR_LOCATION = 14 };
enum { TYPE_FLOAT = 1, TYPE_INTEGER_64 = 7, LOCATION_EXTERNAL = 1, IR_VERSION = 8 };
enum { VALUE_NAME = 1, VALUE_TYPE = 2, TYPE_TENSOR = 1, TENSOR_TYPE_ELEMENT = 1, TENSOR_TYPE_SHAPE = 2 };
enum { SHAPE_SIZE = 1, SIZE_NUMBER = 1, SIZE_NAME = 2 };

static const char model_name[] = "model.onnx", data_name[] = "model.onnx.data";

/* Weights that are yet to be written. */
typedef struct onnx_weights {
    char name[SLAD_ONNX_NAME];
    size_t rank;
    uint64_t sizes[SLAD_ONNX_RANK], elements;
} onnx_weights;

struct slad_onnx {
    slad_context *context;
    slad_status status;
    slad_protobuf graph;    /* fields of GraphProto but for the weights */
    slad_protobuf metadata; /* fields of ModelProto */
    onnx_weights *weights;
    size_t weight_count, weight_capacity;
};

slad_status slad_onnx_create(slad_context *context, slad_onnx **graph, const char *name)
{
    slad_status status = SLAD_OK;
    *graph = NULL;
    SLAD_TRY(slad_allocate(context, graph, 1, sizeof **graph, "an ONNX graph"));
    (*graph)->context = context;
    (*graph)->graph = slad_protobuf_start(context);
    (*graph)->metadata = slad_protobuf_start(context);
    slad_protobuf_text(&(*graph)->graph, GRAPH_NAME, name);
cleanup:
    return status;
}

void slad_onnx_free(slad_onnx *graph)
{
    if (!graph) return;
    slad_protobuf_free(&graph->graph);
    slad_protobuf_free(&graph->metadata);
    slad_release(graph->weights);
    slad_release(graph);
}

static slad_onnx_value value_named(const char *name)
{
    slad_onnx_value value;
    (void)snprintf(value.name, sizeof value.name, "%s", name);
    return value;
}

/* A message that is put into another and given up. */
static void put(slad_protobuf *outer, unsigned field, slad_protobuf *inner)
{
    slad_protobuf_message(outer, field, inner);
    slad_protobuf_free(inner);
}

/* ValueInfoProto of a float tensor. */
static void declare(slad_onnx *graph, unsigned field, const char *name, size_t rank, const slad_onnx_size *sizes)
{
    slad_protobuf info = slad_protobuf_start(graph->context), type = info, tensor = info, shape = info;
    for (size_t i = 0; i < rank; i++) {
        slad_protobuf size = slad_protobuf_start(graph->context);
        if (sizes[i])
            slad_protobuf_integer(&size, SIZE_NUMBER, (int64_t)sizes[i]);
        else
            slad_protobuf_text(&size, SIZE_NAME, "batch");
        put(&shape, SHAPE_SIZE, &size);
    }
    slad_protobuf_integer(&tensor, TENSOR_TYPE_ELEMENT, TYPE_FLOAT);
    put(&tensor, TENSOR_TYPE_SHAPE, &shape);
    put(&type, TYPE_TENSOR, &tensor);
    slad_protobuf_text(&info, VALUE_NAME, name);
    put(&info, VALUE_TYPE, &type);
    put(&graph->graph, field, &info);
}

slad_onnx_value slad_onnx_input(slad_onnx *graph, const char *name, size_t rank, const slad_onnx_size *sizes)
{
    declare(graph, GRAPH_INPUT, name, rank, sizes);
    return value_named(name);
}

void slad_onnx_output(slad_onnx *graph, const char *name, size_t rank, const slad_onnx_size *sizes)
{
    declare(graph, GRAPH_OUTPUT, name, rank, sizes);
}

/* StringStringEntryProto */
static void put_pair(slad_protobuf *outer, unsigned field, const char *key, const char *value)
{
    slad_protobuf pair = slad_protobuf_start(outer->context);
    slad_protobuf_text(&pair, PAIR_KEY, key);
    slad_protobuf_text(&pair, PAIR_VALUE, value);
    put(outer, field, &pair);
}

void slad_onnx_metadata(slad_onnx *graph, const char *key, const char *value)
{
    put_pair(&graph->metadata, MODEL_METADATA, key, value);
}

slad_onnx_value slad_onnx_weights(slad_onnx *graph, const char *name, size_t rank, const uint64_t *sizes)
{
    onnx_weights made = {.rank = rank, .elements = 1};
    const slad_onnx_value value = value_named(name);
    memcpy(made.name, value.name, sizeof made.name);
    for (size_t i = 0; i < rank; i++) {
        made.sizes[i] = sizes[i];
        made.elements *= sizes[i];
    }
    if (graph->status == SLAD_OK)
        graph->status = slad_grow(graph->context, &graph->weights, &graph->weight_capacity, graph->weight_count + 1,
                                  sizeof made, "the weights of an ONNX graph");
    if (graph->status == SLAD_OK) graph->weights[graph->weight_count++] = made;
    return value;
}

slad_onnx_value slad_onnx_integers(slad_onnx *graph, const char *name, size_t count, const int64_t *values)
{
    unsigned char raw[8 * SLAD_ONNX_RANK];
    slad_protobuf tensor = slad_protobuf_start(graph->context);
    for (size_t i = 0; i < count; i++) slad_little_endian_64(raw + 8 * i, (uint64_t)values[i]);
    slad_protobuf_integer(&tensor, TENSOR_SIZE, (int64_t)count);
    slad_protobuf_integer(&tensor, TENSOR_TYPE, TYPE_INTEGER_64);
    slad_protobuf_text(&tensor, TENSOR_NAME, name);
    slad_protobuf_bytes(&tensor, TENSOR_RAW, raw, 8 * count);
    put(&graph->graph, GRAPH_INITIALIZER, &tensor);
    return value_named(name);
}

slad_onnx_value slad_onnx_scalar(slad_onnx *graph, const char *name, float value)
{
    unsigned char raw[4];
    uint32_t bits;
    slad_protobuf tensor = slad_protobuf_start(graph->context);
    memcpy(&bits, &value, sizeof bits);
    slad_little_endian_32(raw, bits);
    slad_protobuf_integer(&tensor, TENSOR_TYPE, TYPE_FLOAT);
    slad_protobuf_text(&tensor, TENSOR_NAME, name);
    slad_protobuf_bytes(&tensor, TENSOR_RAW, raw, sizeof raw);
    put(&graph->graph, GRAPH_INITIALIZER, &tensor);
    return value_named(name);
}

static void put_attribute(slad_protobuf *node, const slad_onnx_attribute *attribute)
{
    slad_protobuf message = slad_protobuf_start(node->context);
    slad_protobuf_text(&message, ATTRIBUTE_NAME, attribute->name);
    if (attribute->type == SLAD_ONNX_FLOAT) slad_protobuf_float(&message, ATTRIBUTE_FLOAT, attribute->number);
    if (attribute->type == SLAD_ONNX_INTEGER)
        slad_protobuf_integer(&message, ATTRIBUTE_INTEGER, attribute->integers[0]);
    for (size_t i = 0; attribute->type == SLAD_ONNX_INTEGERS && i < attribute->count; i++)
        slad_protobuf_integer(&message, ATTRIBUTE_INTEGERS, attribute->integers[i]);
    slad_protobuf_integer(&message, ATTRIBUTE_TYPE, attribute->type);
    put(node, NODE_ATTRIBUTE, &message);
}

slad_onnx_value slad_onnx_add(slad_onnx *graph, const char *name, const slad_onnx_node *node)
{
    slad_protobuf message = slad_protobuf_start(graph->context);
    for (size_t i = 0; i < SLAD_ONNX_INPUTS && node->inputs[i].name[0]; i++)
        slad_protobuf_text(&message, NODE_INPUT, node->inputs[i].name);
    slad_protobuf_text(&message, NODE_OUTPUT, name);
    for (unsigned i = 1; i < node->results; i++) {
        char other[SLAD_ONNX_NAME + 16];
        (void)snprintf(other, sizeof other, "%s.%u", name, i);
        slad_protobuf_text(&message, NODE_OUTPUT, other);
    }
    slad_protobuf_text(&message, NODE_NAME, name);
    slad_protobuf_text(&message, NODE_OPERATION, node->operation);
    for (size_t i = 0; i < SLAD_ONNX_RANK && node->attributes[i].name; i++)
        put_attribute(&message, &node->attributes[i]);
    put(&graph->graph, GRAPH_NODE, &message);
    return value_named(name);
}

/* A file, or two, being written. */
typedef struct onnx_file {
    slad_onnx *graph;
    const slad_onnx_source *source;
    float *values;  /* room for the largest weights */
    bool external;  /* weights stand in a file of their own */
    uint64_t place; /* in that file */
} onnx_file;

/* TensorProto of weights, up to their values where these stand in it. */
static slad_protobuf describe_weights(const onnx_file *file, const onnx_weights *weights, uint64_t place)
{
    slad_protobuf tensor = slad_protobuf_start(file->graph->context);
    const uint64_t bytes = weights->elements * sizeof(float);
    for (size_t i = 0; i < weights->rank; i++) slad_protobuf_integer(&tensor, TENSOR_SIZE, (int64_t)weights->sizes[i]);
    slad_protobuf_integer(&tensor, TENSOR_TYPE, TYPE_FLOAT);
    slad_protobuf_text(&tensor, TENSOR_NAME, weights->name);
    if (file->external) {
        char number[2][24];
        (void)snprintf(number[0], sizeof number[0], "%llu", (unsigned long long)place);
        (void)snprintf(number[1], sizeof number[1], "%llu", (unsigned long long)bytes);
        put_pair(&tensor, TENSOR_EXTERNAL, "location", data_name);
        put_pair(&tensor, TENSOR_EXTERNAL, "offset", number[0]);
        put_pair(&tensor, TENSOR_EXTERNAL, "length", number[1]);
        slad_protobuf_integer(&tensor, TENSOR_LOCATION, LOCATION_EXTERNAL);
    } else {
        slad_protobuf_announce(&tensor, TENSOR_RAW, bytes);
    }
    return tensor;
}

/* The field of GraphProto that holds the weights, up to their values; *field_bytes is its length with them. */
static slad_protobuf frame_weights(const onnx_file *file, const onnx_weights *weights, uint64_t place,
                                   uint64_t *field_bytes)
{
    slad_protobuf tensor = describe_weights(file, weights, place), field = slad_protobuf_start(file->graph->context);
    const uint64_t behind = file->external ? 0 : weights->elements * sizeof(float);
    slad_protobuf_announce(&field, GRAPH_INITIALIZER, tensor.size + behind);
    *field_bytes = field.size + tensor.size + behind;
    if (field.status == SLAD_OK) field.status = tensor.status;
    slad_protobuf_free(&tensor);
    return field;
}

/* The length of GraphProto. */
static slad_status measure(const onnx_file *file, uint64_t *bytes)
{
    slad_status status = file->graph->graph.status;
    uint64_t place = 0;
    *bytes = file->graph->graph.size;
    for (size_t i = 0; status == SLAD_OK && i < file->graph->weight_count; i++) {
        uint64_t field_bytes = 0;
        slad_protobuf field = frame_weights(file, &file->graph->weights[i], place, &field_bytes);
        status = field.status;
        *bytes += field_bytes;
        place += file->graph->weights[i].elements * sizeof(float);
        slad_protobuf_free(&field);
    }
    return status;
}

/* The values of weights, to whichever file holds them. Hosts are little-endian, as for safetensors. */
static slad_status write_values(onnx_file *file, slad_writer *output, size_t index)
{
    slad_context *context = file->graph->context;
    slad_status status = SLAD_OK;
    const uint64_t elements = file->graph->weights[index].elements;
    SLAD_TRY(file->source->fill(context, file->values, index, elements, file->source->user));
    SLAD_TRY(slad_writer_write(output, file->values, (size_t)elements * sizeof(float)));
cleanup:
    return status;
}

static slad_status write_data(onnx_file *file, const char *path)
{
    slad_context *context = file->graph->context;
    slad_status status = SLAD_OK;
    slad_writer *output = NULL;
    SLAD_TRY(slad_writer_open(context, &output, path));
    for (size_t i = 0; i < file->graph->weight_count; i++) SLAD_TRY(write_values(file, output, i));
    slad_writer *finishing = output;
    output = NULL;
    SLAD_TRY(slad_writer_finish(finishing));
cleanup:
    slad_writer_abandon(output);
    return status;
}

/* ModelProto up to its graph. */
static slad_protobuf start_model(const slad_onnx *graph, uint64_t graph_bytes)
{
    slad_protobuf model = slad_protobuf_start(graph->context), opset = slad_protobuf_start(graph->context);
    slad_protobuf_integer(&model, MODEL_IR_VERSION, IR_VERSION);
    slad_protobuf_text(&model, MODEL_PRODUCER, "slad");
    slad_protobuf_text(&model, MODEL_PRODUCER_VERSION, SLAD_VERSION);
    slad_protobuf_text(&opset, OPSET_DOMAIN, "");
    slad_protobuf_integer(&opset, OPSET_VERSION, SLAD_ONNX_OPSET);
    put(&model, MODEL_OPSET, &opset);
    slad_protobuf_announce(&model, MODEL_GRAPH, graph_bytes);
    return model;
}

static slad_status write_weights(onnx_file *file, slad_writer *output, size_t index)
{
    slad_context *context = file->graph->context;
    slad_status status = SLAD_OK;
    const onnx_weights *weights = &file->graph->weights[index];
    uint64_t field_bytes = 0;
    slad_protobuf field = frame_weights(file, weights, file->place, &field_bytes);
    slad_protobuf tensor = describe_weights(file, weights, file->place);
    SLAD_FAIL_IF(field.status != SLAD_OK || tensor.status != SLAD_OK, SLAD_ERROR_OUT_OF_MEMORY,
                 "No host memory to describe %s", weights->name);
    SLAD_TRY(slad_writer_write(output, field.bytes, field.size));
    SLAD_TRY(slad_writer_write(output, tensor.bytes, tensor.size));
    file->place += weights->elements * sizeof(float);
    if (!file->external) SLAD_TRY(write_values(file, output, index));
cleanup:
    slad_protobuf_free(&field);
    slad_protobuf_free(&tensor);
    return status;
}

static slad_status write_model(onnx_file *file, const char *path, uint64_t graph_bytes)
{
    slad_onnx *graph = file->graph;
    slad_context *context = graph->context;
    slad_status status = SLAD_OK;
    slad_writer *output = NULL;
    slad_protobuf model = start_model(graph, graph_bytes);
    SLAD_TRY(model.status);
    SLAD_TRY(slad_writer_open(context, &output, path));
    SLAD_TRY(slad_writer_write(output, model.bytes, model.size));
    SLAD_TRY(slad_writer_write(output, graph->graph.bytes, graph->graph.size));
    for (size_t i = 0; i < graph->weight_count; i++) SLAD_TRY(write_weights(file, output, i));
    SLAD_TRY(slad_writer_write(output, graph->metadata.bytes, graph->metadata.size));
    slad_writer *finishing = output;
    output = NULL;
    SLAD_TRY(slad_writer_finish(finishing));
cleanup:
    slad_writer_abandon(output);
    slad_protobuf_free(&model);
    return status;
}

slad_status slad_onnx_write(slad_onnx *graph, const char *folder, uint64_t inline_limit, const slad_onnx_source *source)
{
    slad_context *context = graph->context;
    slad_status status = graph->status;
    enum { FRONT_BYTES = 4096 }; /* more than what stands before the graph */
    const uint64_t limit = inline_limit ? inline_limit : INT32_MAX;
    onnx_file file = {.graph = graph, .source = source};
    uint64_t graph_bytes = 0, largest = 0;
    char *model_path = NULL, *data_path = NULL;
    SLAD_TRY(status);
    SLAD_TRY(graph->metadata.status);
    SLAD_TRY(measure(&file, &graph_bytes));
    file.external = graph_bytes + graph->metadata.size + FRONT_BYTES > limit;
    if (file.external) SLAD_TRY(measure(&file, &graph_bytes));
    for (size_t i = 0; i < graph->weight_count; i++)
        if (graph->weights[i].elements > largest) largest = graph->weights[i].elements;
    SLAD_TRY(slad_allocate(context, &file.values, (size_t)largest, sizeof *file.values, "the largest weights"));
    SLAD_TRY(slad_directory_create(context, folder));
    SLAD_TRY(slad_path_join(context, &model_path, folder, model_name));
    SLAD_TRY(slad_path_join(context, &data_path, folder, data_name));
    if (file.external) SLAD_TRY(write_data(&file, data_path));
    SLAD_TRY(write_model(&file, model_path, graph_bytes));
    if (!file.external) SLAD_TRY(slad_path_remove(context, data_path));
cleanup:
    slad_release(data_path);
    slad_release(model_path);
    slad_release(file.values);
    return status;
}
