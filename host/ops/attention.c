/* Softmax attention. The tiles of its kernels are described in cl_kernels/attention_tile.h; here they are chosen. */
#include "reference/attention.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PACK, FORWARD, STATISTICS, BACKWARD_QUERIES, BACKWARD_KEYS };
enum { HEAD_STEP = SLAD_ATTENTION_HEAD_STEP, MAX_HEAD = SLAD_ATTENTION_HEAD_MOST };
/* No device has wider panels, so that a record, which knows no device, can say how much scratch a node needs. */
enum { MAX_PANEL = 32 };

typedef struct forward_parameters {
    slad_attention_sizes sizes;
} forward_parameters;

typedef struct backward_parameters {
    slad_attention_sizes sizes;
    bool accumulate;
} backward_parameters;

typedef struct attention_tiles {
    size_t rows, panel; /* of a work-item; of the packed side */
    char defines[96];
} attention_tiles;

static size_t blocks_of(size_t tokens, size_t block)
{
    return (tokens + block - 1) / block;
}

/* Where each work-item is a thread of its own with a large cache, it takes as many rows as its registers carry (two
 * vectors each, with 32 or 16 registers), and chunks of about 288 keys, whose scores stay in the first-level cache.
 * Elsewhere many items in flight stand for tall tiles, and a chunk must fit into registers. */
static attention_tiles choose_tiles(const slad_launcher *launcher, size_t head_dim)
{
    enum { CHUNK_TOKENS = 288 };
    const slad_features *features = slad_launcher_features(launcher);
    const bool tall = features->block_group_size == 1;
    size_t lanes = features->vector_width;
    while (head_dim % (2 * lanes) != 0) lanes /= 2; /* ends at 4: heads are multiples of 8 */
    attention_tiles tiles = {.rows = !tall ? 1 : features->vector_width >= 16 ? 8 : 6, .panel = 2 * lanes};
    (void)snprintf(tiles.defines, sizeof tiles.defines, "-DHEAD_DIM=%zu -DLANES=%zu -DTILE_ROWS=%zu -DCHUNK_PANELS=%zu",
                   head_dim, lanes, tiles.rows, tall ? CHUNK_TOKENS / tiles.panel : 1);
    return tiles;
}

/* Scratch for one of q, k, v or dout as panels, and for the two statistics of each row. */
static size_t panel_elements(const slad_attention_sizes *sizes)
{
    return sizes->batch * sizes->heads * blocks_of(sizes->tokens, MAX_PANEL) * MAX_PANEL * sizes->head_dim;
}

static size_t statistics_elements(const slad_attention_sizes *sizes)
{
    return 2 * sizes->batch * sizes->heads * blocks_of(sizes->tokens, MAX_PANEL) * MAX_PANEL;
}

static double scale_of(const slad_attention_sizes *sizes)
{
    return 1 / sqrt((double)sizes->head_dim);
}

/* Over blocks of one head, heads and images. */
static slad_work work_of_blocks(const slad_attention_sizes *sizes, size_t blocks)
{
    return (slad_work){.items = {blocks, sizes->heads, sizes->batch}, .split_axis = 0};
}

static slad_status launch_pack(slad_launcher *launcher, const attention_tiles *tiles, const slad_tensor *panels,
                               const slad_tensor *source, size_t first_column, const slad_attention_sizes *sizes)
{
    const slad_operand arguments[] = {
        SLAD_TENSOR(panels),      SLAD_TENSOR(source),
        SLAD_UINT(first_column),  SLAD_UINT(slad_tensor_columns(source)),
        SLAD_UINT(sizes->tokens), SLAD_UINT(sizes->heads),
        SLAD_UINT(sizes->batch),
    };
    return slad_launch_kernel(launcher, &slad_attention_kernels[PACK], tiles->defines, arguments,
                              sizeof arguments / sizeof *arguments,
                              work_of_blocks(sizes, blocks_of(sizes->tokens, tiles->panel)));
}

/* attention: input qkv; outputs out, logsumexp [b, heads, T], scratch for the keys' panels */

static slad_status launch_forward(slad_launcher *launcher, const slad_node *node)
{
    slad_status status = SLAD_OK;
    const slad_attention_sizes *sizes = &((const forward_parameters *)node->parameters)->sizes;
    const attention_tiles tiles = choose_tiles(launcher, sizes->head_dim);
    const slad_tensor *qkv = node->inputs[0], *keys = node->outputs[2];
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[0]),
        SLAD_TENSOR(node->outputs[1]),
        SLAD_TENSOR(qkv),
        SLAD_TENSOR(keys),
        SLAD_UINT(sizes->tokens),
        SLAD_UINT(sizes->heads),
        SLAD_UINT(sizes->batch),
        SLAD_FLOAT(scale_of(sizes)),
    };
    SLAD_TRY(launch_pack(launcher, &tiles, keys, qkv, sizes->heads * sizes->head_dim, sizes));
    SLAD_TRY(slad_launch_kernel(launcher, &slad_attention_kernels[FORWARD], tiles.defines, arguments,
                                sizeof arguments / sizeof *arguments,
                                work_of_blocks(sizes, blocks_of(sizes->tokens, tiles.rows))));
cleanup:
    return status;
}

static slad_status reference_forward(slad_host *host, const slad_node *node)
{
    const forward_parameters *parameters = node->parameters;
    return slad_reference_attention(slad_host_context(host), slad_host_floats(host, node->outputs[0]),
                                    slad_host_floats(host, node->outputs[1]), slad_host_floats(host, node->inputs[0]),
                                    &parameters->sizes);
}

/* attention_backward: inputs dout, out, logsumexp, qkv; outputs dqkv, scratch for the statistics and for two operands'
 * panels: first keys and values, then queries and dout */

enum { DOUT, OUT, LOGSUMEXP, QKV };         /* inputs */
enum { DQKV, ROW_STATISTICS, LEFT, RIGHT }; /* outputs */

static slad_status launch_statistics(slad_launcher *launcher, const slad_node *node, const attention_tiles *tiles,
                                     const slad_attention_sizes *sizes)
{
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[ROW_STATISTICS]),
        SLAD_TENSOR(node->inputs[DOUT]),
        SLAD_TENSOR(node->inputs[OUT]),
        SLAD_TENSOR(node->inputs[LOGSUMEXP]),
        SLAD_UINT(sizes->tokens),
        SLAD_UINT(sizes->heads),
        SLAD_UINT(sizes->batch),
    };
    return slad_launch_kernel(launcher, &slad_attention_kernels[STATISTICS], tiles->defines, arguments,
                              sizeof arguments / sizeof *arguments,
                              work_of_blocks(sizes, blocks_of(sizes->tokens, tiles->panel) * tiles->panel));
}

/* Either of the two gathering kernels. */
static slad_status launch_gather(slad_launcher *launcher, const slad_node *node, int kernel,
                                 const attention_tiles *tiles)
{
    const backward_parameters *parameters = node->parameters;
    const slad_attention_sizes *sizes = &parameters->sizes;
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[DQKV]), SLAD_TENSOR(node->inputs[QKV]),    SLAD_TENSOR(node->inputs[DOUT]),
        SLAD_TENSOR(node->outputs[LEFT]), SLAD_TENSOR(node->outputs[RIGHT]), SLAD_TENSOR(node->outputs[ROW_STATISTICS]),
        SLAD_UINT(sizes->tokens),         SLAD_UINT(sizes->heads),           SLAD_UINT(sizes->batch),
        SLAD_FLOAT(scale_of(sizes)),      SLAD_UINT(parameters->accumulate),
    };
    return slad_launch_kernel(launcher, &slad_attention_kernels[kernel], tiles->defines, arguments,
                              sizeof arguments / sizeof *arguments,
                              work_of_blocks(sizes, blocks_of(sizes->tokens, tiles->rows)));
}

static slad_status launch_backward(slad_launcher *launcher, const slad_node *node)
{
    slad_status status = SLAD_OK;
    const slad_attention_sizes *sizes = &((const backward_parameters *)node->parameters)->sizes;
    const attention_tiles tiles = choose_tiles(launcher, sizes->head_dim);
    const slad_tensor *qkv = node->inputs[QKV], *left = node->outputs[LEFT], *right = node->outputs[RIGHT];
    const size_t width = sizes->heads * sizes->head_dim;
    SLAD_TRY(launch_statistics(launcher, node, &tiles, sizes));
    SLAD_TRY(launch_pack(launcher, &tiles, left, qkv, width, sizes));
    SLAD_TRY(launch_pack(launcher, &tiles, right, qkv, 2 * width, sizes));
    SLAD_TRY(launch_gather(launcher, node, BACKWARD_QUERIES, &tiles));
    SLAD_TRY(launch_pack(launcher, &tiles, left, qkv, 0, sizes));
    SLAD_TRY(launch_pack(launcher, &tiles, right, node->inputs[DOUT], 0, sizes));
    SLAD_TRY(launch_gather(launcher, node, BACKWARD_KEYS, &tiles));
cleanup:
    return status;
}

static slad_status reference_backward(slad_host *host, const slad_node *node)
{
    const backward_parameters *parameters = node->parameters;
    return slad_reference_attention_backward(
        slad_host_context(host), slad_host_floats(host, node->outputs[DQKV]),
        slad_host_floats(host, node->inputs[DOUT]), slad_host_floats(host, node->inputs[OUT]),
        slad_host_floats(host, node->inputs[LOGSUMEXP]), slad_host_floats(host, node->inputs[QKV]),
        parameters->accumulate, &parameters->sizes);
}

static const slad_operation backward_operation = {
    .name = "attention_backward",
    .launch = launch_backward,
    .reference = reference_backward,
};

static slad_status gradient_of_attention(slad_record *record, const slad_node *node)
{
    const slad_tensor *qkv = node->inputs[0], *out = node->outputs[0];
    backward_parameters parameters = {.sizes = ((const forward_parameters *)node->parameters)->sizes};
    const slad_tensor *dout = slad_gradient_of(record, out);
    if (!dout || !qkv->needs_gradient) return slad_record_status(record);
    const slad_tensor *inputs[] = {dout, out, node->outputs[1], qkv};
    const slad_tensor *dqkv = slad_gradient_target(record, qkv, &parameters.accumulate);
    slad_node *made =
        slad_record_append(record, &backward_operation, node->phase, inputs, 4, &parameters, sizeof parameters);
    slad_node_writes(record, made, dqkv);
    (void)slad_node_scratch(record, made, statistics_elements(&parameters.sizes));
    (void)slad_node_scratch(record, made, panel_elements(&parameters.sizes));
    (void)slad_node_scratch(record, made, panel_elements(&parameters.sizes));
    return slad_record_status(record);
}

static const slad_operation forward_operation = {
    .name = "attention",
    .gradient = gradient_of_attention,
    .launch = launch_forward,
    .reference = reference_forward,
};

static bool check_heads(slad_record *record, const slad_tensor *qkv, size_t heads)
{
    char shape[96];
    slad_tensor_shape_text(shape, qkv);
    const size_t columns = qkv->size[2];
    if (heads == 0 || columns % (3 * heads) != 0)
        return slad_record_fail(
            record, SLAD_ERROR_DATA,
            "attention: %s %s cannot be parted into q, k and v of %zu heads each; the model's width "
            "must be a multiple of its number of heads",
            qkv->name, shape, heads);
    const size_t head_dim = columns / (3 * heads);
    if (head_dim % HEAD_STEP != 0 || head_dim > MAX_HEAD)
        return slad_record_fail(
            record, SLAD_ERROR_DATA,
            "attention: %s %s with %zu heads makes heads of %zu elements, but only multiples of %d up "
            "to %d are supported; choose another model",
            qkv->name, shape, heads, head_dim, HEAD_STEP, MAX_HEAD);
    return true;
}

const slad_tensor *slad_attention(slad_record *record, const slad_tensor *qkv, size_t heads)
{
    if (!slad_check_operand(record, "attention", qkv, 3) || !check_heads(record, qkv, heads)) return NULL;
    const size_t batch = qkv->size[0], tokens = qkv->size[1], width = qkv->size[2] / 3;
    const forward_parameters parameters = {{batch, tokens, heads, width / heads}};
    slad_node *node =
        slad_record_append(record, &forward_operation, SLAD_PHASE_MICRO_BATCH, &qkv, 1, &parameters, sizeof parameters);
    const slad_tensor *out = slad_node_output(record, node, 3, (const size_t[]){batch, tokens, width});
    (void)slad_node_output(record, node, 3, (const size_t[]){batch, heads, tokens});
    return slad_node_scratch(record, node, panel_elements(&parameters.sizes)) ? out : NULL;
}

/* The width of a head in the program under test; 64, as in every DINOv2, where none is. */
static size_t specialised_head_dim(const slad_record *record)
{
    static const char option[] = "-DHEAD_DIM=";
    const char *found = strstr(slad_record_specialisation(record), option);
    const unsigned long head_dim = found ? strtoul(found + sizeof option - 1, NULL, 10) : 0;
    return head_dim ? (size_t)head_dim : 64;
}

/* Sizes that leave a part of a panel and of a block, and a second use of qkv, so that its gradient is also added to. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t batch = 2, tokens = 37, heads = 2, width = heads * specialised_head_dim(record);
    (void)context;
    const slad_tensor *qkv =
        slad_record_input(record, "qkv", SLAD_F32, 3, (const size_t[]){batch, tokens, 3 * width}, 0);
    slad_record_require_gradient(record, qkv);
    const slad_tensor *gamma = slad_self_test_frozen(record, "gamma", 1, &width, 1.0);
    const slad_tensor *once = slad_attention(record, qkv, heads), *twice = slad_attention(record, qkv, heads);
    return slad_self_test_differentiate(record, slad_layer_scale(record, once, twice, gamma), "out");
}

const slad_kernel_row slad_attention_kernels[] = {
    [PACK] = {"attention", "attention_pack", "ttuuuuu", SLAD_WORK_SINGLE, self_test, 1e-4},
    [FORWARD] = {"attention", "attention_forward", "ttttuuuf", SLAD_WORK_SINGLE, self_test, 1e-4},
    [STATISTICS] = {"attention_backward", "attention_statistics", "ttttuuu", SLAD_WORK_ITEMS, self_test, 1e-4},
    [BACKWARD_QUERIES] = {"attention_backward", "attention_backward_queries", "ttttttuuufu", SLAD_WORK_SINGLE,
                          self_test, 1e-4},
    [BACKWARD_KEYS] = {"attention_backward", "attention_backward_keys", "ttttttuuufu", SLAD_WORK_SINGLE, self_test,
                       1e-4},
};
const size_t slad_attention_kernel_count = sizeof slad_attention_kernels / sizeof *slad_attention_kernels;
