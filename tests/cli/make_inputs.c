/* Makes what the scripts of this folder feed to the program: tiny models, images, tensor files, right or wrong; and
 * checks what it printed. Usage: make_inputs COMMAND ARGUMENT..., see the table at the end. */
#include "base/files.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/safetensors.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

enum { NAME_SIZE = 96, PATH_SIZE = 1024, TENSOR_LIMIT = 256, PATCH = 14 };

static void on_log(void *user, slad_log_level level, const char *message)
{
    (void)user;
    (void)level;
    fprintf(stderr, "make_inputs: %s\n", message);
}

static _Noreturn void give_up(const char *message)
{
    fprintf(stderr, "make_inputs: %s\n", message);
    exit(1);
}

static void must(slad_status status)
{
    if (status != SLAD_OK) give_up(slad_status_name(status));
}

static size_t number(const char *text)
{
    char *rest;
    const unsigned long value = strtoul(text, &rest, 10);
    if (*text < '0' || *text > '9' || *rest) give_up("a number is expected");
    return value;
}

/* Tensors that are about to be written. */
typedef struct tensor_list {
    slad_safetensors_entry entries[TENSOR_LIMIT];
    char names[TENSOR_LIMIT][NAME_SIZE];
    uint64_t shapes[TENSOR_LIMIT][4];
    float *values[TENSOR_LIMIT]; /* owned */
    size_t count;
} tensor_list;

static void add_tensor(slad_context *context, tensor_list *list, const char *name, const uint64_t *shape, size_t rank,
                       double shift)
{
    const size_t slot = list->count++;
    uint64_t elements = 1;
    float *values = NULL;
    if (slot == TENSOR_LIMIT) give_up("too many tensors");
    snprintf(list->names[slot], NAME_SIZE, "%s", name);
    memcpy(list->shapes[slot], shape, rank * sizeof *shape);
    for (size_t i = 0; i < rank; i++) elements *= shape[i];
    must(slad_allocate(context, &values, (size_t)elements, sizeof *values, name));
    slad_random random = slad_random_start(strlen(name), SLAD_RANDOM_VERIFY, (uint32_t)slot, 0);
    for (uint64_t i = 0; i < elements; i++) values[i] = (float)(0.2 * (double)slad_random_normal(&random) + shift);
    list->values[slot] = values;
    list->entries[slot] =
        (slad_safetensors_entry){list->names[slot], SLAD_SAFETENSORS_F32, rank, list->shapes[slot], values};
}

static void write_tensors(slad_context *context, const char *path, const tensor_list *list)
{
    must(slad_safetensors_write(context, path, list->entries, list->count, NULL, 0));
    for (size_t i = 0; i < list->count; i++) slad_release(list->values[i]);
}

static void add_layer(slad_context *context, tensor_list *list, size_t layer, uint64_t d)
{
    const uint64_t square[2] = {d, d}, wide[2] = {4 * d, d}, narrow[2] = {d, 4 * d};
    const struct {
        const char *name;
        const uint64_t *shape;
        size_t rank;
        double shift;
    } rows[] = {
        {"norm1.weight", square, 1, 1},
        {"norm1.bias", square, 1, 0},
        {"norm2.weight", square, 1, 1},
        {"norm2.bias", square, 1, 0},
        {"attention.attention.query.weight", square, 2, 0},
        {"attention.attention.query.bias", square, 1, 0},
        {"attention.attention.key.weight", square, 2, 0},
        {"attention.attention.key.bias", square, 1, 0},
        {"attention.attention.value.weight", square, 2, 0},
        {"attention.attention.value.bias", square, 1, 0},
        {"attention.output.dense.weight", square, 2, 0},
        {"attention.output.dense.bias", square, 1, 0},
        {"layer_scale1.lambda1", square, 1, 1},
        {"mlp.fc1.weight", wide, 2, 0},
        {"mlp.fc1.bias", wide, 1, 0},
        {"mlp.fc2.weight", narrow, 2, 0},
        {"mlp.fc2.bias", narrow, 1, 0},
        {"layer_scale2.lambda1", square, 1, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "encoder.layer.%zu.%s", layer, rows[i].name);
        add_tensor(context, list, name, rows[i].shape, rows[i].rank, rows[i].shift);
    }
}

static void write_text(slad_context *context, const char *folder, const char *name, const char *text)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    must(slad_file_write_all(context, path, text, strlen(text)));
}

/* model DIR WIDTH LAYERS HEADS SIDE: a Hugging Face folder for images of SIDE pixels in patches of 14. */
static void make_model(slad_context *context, char **arguments, int count)
{
    (void)count;
    const char *folder = arguments[0];
    const uint64_t d = number(arguments[1]), layers = number(arguments[2]), heads = number(arguments[3]);
    const uint64_t side = number(arguments[4]), grid = side / PATCH;
    const uint64_t cls[3] = {1, 1, d}, position[3] = {1, 1 + grid * grid, d}, projection[4] = {d, 3, PATCH, PATCH};
    tensor_list *list = calloc(1, sizeof *list);
    char text[1024], path[PATH_SIZE];
    if (!list) give_up("no memory");
    must(slad_directory_create(context, folder));
    add_tensor(context, list, "embeddings.cls_token", cls, 3, 0);
    add_tensor(context, list, "embeddings.position_embeddings", position, 3, 0);
    add_tensor(context, list, "embeddings.patch_embeddings.projection.weight", projection, 4, 0);
    add_tensor(context, list, "embeddings.patch_embeddings.projection.bias", projection, 1, 0);
    for (uint64_t i = 0; i < layers; i++) add_layer(context, list, (size_t)i, d);
    add_tensor(context, list, "layernorm.weight", projection, 1, 1);
    add_tensor(context, list, "layernorm.bias", projection, 1, 0);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    write_tensors(context, path, list);
    free(list);
    snprintf(text, sizeof text,
             "{\"model_type\": \"dinov2\", \"architectures\": [\"Dinov2Model\"], \n\"hidden_size\": %" PRIu64 ",\n"
             "\"num_hidden_layers\": %" PRIu64 ",\n\"num_attention_heads\": %" PRIu64 ",\n\"mlp_ratio\": 4,\n"
             "\"patch_size\": %d,\n\"image_size\": %" PRIu64 ",\n\"qkv_bias\": true}\n",
             d, layers, heads, PATCH, side);
    write_text(context, folder, "config.json", text);
    snprintf(text, sizeof text,
             "{\"image_processor_type\": \"BitImageProcessor\", \"size\": {\"shortest_edge\": %" PRIu64 "},\n"
             "\"crop_size\": {\"height\": %" PRIu64 ", \"width\": %" PRIu64 "}}\n",
             side, side, side);
    write_text(context, folder, "preprocessor_config.json", text);
}

/* A PNG that is put together chunk by chunk in a growing buffer. */
typedef struct png {
    unsigned char *bytes;
    size_t size;
} png;

static void put(png *out, const void *bytes, size_t size)
{
    unsigned char *grown = realloc(out->bytes, out->size + size);
    if (!grown) give_up("no memory");
    memcpy(grown + out->size, bytes, size);
    out->bytes = grown;
    out->size += size;
}

static void put_number(png *out, uint64_t value)
{
    const unsigned char bytes[4] = {(unsigned char)(value >> 24), (unsigned char)(value >> 16),
                                    (unsigned char)(value >> 8), (unsigned char)value};
    put(out, bytes, sizeof bytes);
}

static void put_chunk(png *out, const char *type, const unsigned char *bytes, size_t size)
{
    put_number(out, size);
    const size_t start = out->size;
    put(out, type, 4);
    if (size > 0) put(out, bytes, size);
    put_number(out, crc32(0, out->bytes + start, (uInt)(size + 4)));
}

/* Rows of a slope that differs with the seed; so well packed that an image of any size is a small file. */
static void put_pixels(png *out, size_t height, size_t row, size_t seed)
{
    unsigned char *line = calloc(row + 1, 1), packed[1 << 15];
    z_stream stream = {0};
    png data = {0};
    if (!line || deflateInit(&stream, 1) != Z_OK) give_up("no memory");
    for (size_t y = 0; y <= height; y++) {
        for (size_t x = 1; x <= row && y < height; x++) line[x] = (unsigned char)(seed * 37 + y * 3 + x * (seed + 1));
        stream.next_in = line;
        stream.avail_in = y < height ? (uInt)(row + 1) : 0;
        do {
            stream.next_out = packed;
            stream.avail_out = sizeof packed;
            (void)deflate(&stream, y < height ? Z_NO_FLUSH : Z_FINISH);
            put(&data, packed, sizeof packed - stream.avail_out);
        } while (stream.avail_out == 0);
    }
    put_chunk(out, "IDAT", data.bytes, data.size);
    (void)deflateEnd(&stream);
    free(data.bytes);
    free(line);
}

static void write_png(slad_context *context, const char *path, size_t width, size_t height, size_t channels,
                      size_t bits, size_t seed)
{
    static const unsigned char colour_types[5] = {0, 0, 4, 2, 6};
    png out = {0}, header = {0};
    if (channels < 1 || channels > 4 || (bits != 8 && bits != 16)) give_up("no such kind of PNG");
    const unsigned char kind[5] = {(unsigned char)bits, colour_types[channels], 0, 0, 0};
    put(&out, "\x89PNG\r\n\x1a\n", 8);
    put_number(&header, width);
    put_number(&header, height);
    put(&header, kind, sizeof kind);
    put_chunk(&out, "IHDR", header.bytes, header.size);
    put_pixels(&out, height, width * channels * bits / 8, seed);
    put_chunk(&out, "IEND", NULL, 0);
    must(slad_file_write_all(context, path, out.bytes, out.size));
    free(header.bytes);
    free(out.bytes);
}

/* png FILE WIDTH HEIGHT CHANNELS BITS */
static void make_png(slad_context *context, char **arguments, int count)
{
    (void)count;
    write_png(context, arguments[0], number(arguments[1]), number(arguments[2]), number(arguments[3]),
              number(arguments[4]), 1);
}

/* folder DIR CLASSES TRAIN VAL SIDE: train/ and, if VAL is not 0, val/, with so many images a class. */
static void make_folder(slad_context *context, char **arguments, int count)
{
    (void)count;
    const size_t classes = number(arguments[1]), side = number(arguments[4]);
    for (size_t part = 0; part < 2; part++)
        for (size_t label = 0; label < classes; label++)
            for (size_t i = 0; i < number(arguments[2 + part]); i++) {
                char path[PATH_SIZE];
                snprintf(path, sizeof path, "%s/%s/class-%zu", arguments[0], part ? "val" : "train", label);
                must(slad_directory_create(context, path));
                const size_t used = strlen(path);
                snprintf(path + used, sizeof path - used, "/%zu.png", i);
                write_png(context, path, side, side, 3, 8, 11 * label + i + 5 * part);
            }
}

/* tensors FILE SIDE LABEL...: pixel_values and labels, one image a label. A label "nan" is 0 with a NaN for a pixel. */
static void make_tensors(slad_context *context, char **arguments, int count)
{
    tensor_list *list = calloc(1, sizeof *list);
    int64_t *labels = calloc((size_t)count, sizeof *labels);
    const uint64_t side = number(arguments[1]), images = (uint64_t)count - 2;
    const uint64_t shape[4] = {images, 3, side, side};
    if (!list || !labels) give_up("no memory");
    add_tensor(context, list, "pixel_values", shape, 4, 0);
    for (size_t i = 0; i < images; i++) {
        const char *label = arguments[2 + i];
        labels[i] = strcmp(label, "nan") == 0 ? 0 : strtoll(label, NULL, 10);
        if (strcmp(label, "nan") == 0) list->values[0][3 * side * side * i] = strtof("nan", NULL);
    }
    list->entries[list->count++] = (slad_safetensors_entry){"labels", SLAD_SAFETENSORS_I64, 1, shape, labels};
    write_tensors(context, arguments[0], list);
    free(labels);
    free(list);
}

/* raw FILE HEADER BYTES: a safetensors file of just this header and so many bytes of data. */
static void make_raw(slad_context *context, char **arguments, int count)
{
    (void)count;
    png out = {0};
    unsigned char length[8], zeros[64] = {0};
    const size_t size = strlen(arguments[1]), bytes = number(arguments[2]);
    if (bytes > sizeof zeros) give_up("too many bytes");
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)size >> (8 * i));
    put(&out, length, sizeof length);
    put(&out, arguments[1], size);
    put(&out, zeros, bytes);
    must(slad_file_write_all(context, arguments[0], out.bytes, out.size));
    free(out.bytes);
}

/* json FILE FIELD...: the file is one JSON object and nothing else, and has these fields. */
static void check_json(slad_context *context, char **arguments, int count)
{
    cJSON *json = NULL;
    must(slad_json_read(context, &json, arguments[0]));
    for (int i = 1; i < count; i++)
        if (!cJSON_GetObjectItemCaseSensitive(json, arguments[i])) {
            fprintf(stderr, "%s has no field %s\n", arguments[0], arguments[i]);
            exit(1);
        }
    cJSON_Delete(json);
}

/* names FILE: the tensors of a safetensors file, all of whose numbers must be finite, one a line. */
static void list_names(slad_context *context, char **arguments, int count)
{
    (void)count;
    slad_safetensors *file = NULL;
    must(slad_safetensors_open(context, &file, arguments[0]));
    for (size_t i = 0; i < slad_safetensors_count(file); i++) {
        const slad_safetensor *tensor = slad_safetensors_at(file, i);
        float *values = NULL;
        printf("%s\n", tensor->name);
        if (tensor->type != SLAD_SAFETENSORS_F32) continue;
        must(slad_allocate(context, &values, (size_t)tensor->elements, sizeof *values, tensor->name));
        must(slad_safetensors_read_float(context, values, file, tensor, 0, tensor->elements));
        for (uint64_t k = 0; k < tensor->elements; k++)
            if (!(values[k] - values[k] == 0.0f)) {
                fprintf(stderr, "%s: %s holds a value that is not finite\n", arguments[0], tensor->name);
                exit(1);
            }
        slad_release(values);
    }
    slad_safetensors_close(file);
}

/* limited BYTES COMMAND...: runs it with files of at most so many bytes; the signal that comes with the limit has its
 * usual effect, which is to kill. */
static void run_limited(slad_context *context, char **arguments, int count)
{
    const struct rlimit limit = {number(arguments[0]), number(arguments[0])};
    (void)context;
    (void)count;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) give_up("the limit cannot be set");
    (void)signal(SIGXFSZ, SIG_DFL);
    execv(arguments[1], arguments + 1);
    give_up("the command cannot be run");
}

/* signalled COMMAND...: runs it with the signals that end a program set to their usual effect, which shells take from
 * programs in the background. */
static void run_signalled(slad_context *context, char **arguments, int count)
{
    (void)context;
    (void)count;
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGHUP, SIG_DFL);
    execv(arguments[0], arguments);
    give_up("the command cannot be run");
}

static const struct {
    const char *name;
    int fewest; /* arguments */
    void (*run)(slad_context *context, char **arguments, int count);
} commands[] = {
    {"model", 5, make_model},     {"png", 5, make_png},        {"folder", 5, make_folder},
    {"tensors", 3, make_tensors}, {"limited", 2, run_limited}, {"signalled", 1, run_signalled},
    {"raw", 3, make_raw},         {"json", 1, check_json},     {"names", 1, list_names},
};

int main(int argc, char **argv)
{
    slad_context *context = NULL;
    const slad_callbacks callbacks = {.log = on_log};
    must(slad_context_create(&context, &callbacks, SLAD_LOG_ERROR));
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, argv[1]) != 0 || argc - 2 < commands[i].fewest) continue;
        commands[i].run(context, argv + 2, argc - 2);
        slad_context_free(context);
        return 0;
    }
    give_up("no such command, or too few arguments");
}
