/* Three nodes: patches unfolded into rows, a linear layer that projects them, and the assembly of tokens. The weight
 * and bias are trained, where they are, by the rule of the linear layer. */
#include "reference/patch_embedding.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"

enum { UNFOLD, ASSEMBLE, GATHER, SUMS };

/* patch_embedding_unfold: input pixels; output patches [batch * P, channels * patch * patch] */

typedef struct unfold_parameters {
    size_t patch;
} unfold_parameters;

static slad_reference_images images_of(const slad_node *node)
{
    const slad_tensor *pixels = node->inputs[0];
    return (slad_reference_images){
        .batch = pixels->size[0],
        .channels = pixels->size[1],
        .height = pixels->size[2],
        .width = pixels->size[3],
        .patch = ((const unfold_parameters *)node->parameters)->patch,
    };
}

static slad_status launch_unfold(slad_launcher *launcher, const slad_node *node)
{
    const slad_reference_images sizes = images_of(node);
    const size_t grid_height = sizes.height / sizes.patch, grid_width = sizes.width / sizes.patch;
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[0]), SLAD_TENSOR(node->inputs[0]), SLAD_UINT(sizes.batch), SLAD_UINT(sizes.channels),
        SLAD_UINT(grid_height),        SLAD_UINT(grid_width),        SLAD_UINT(sizes.patch),
    };
    const slad_work work = {.items = {sizes.channels * sizes.patch, sizes.batch * grid_height * grid_width, 1},
                            .split_axis = 1};
    return slad_launch_kernel(launcher, &slad_patch_embedding_kernels[UNFOLD], "", arguments,
                              sizeof arguments / sizeof *arguments, work);
}

static slad_status reference_unfold(slad_host *host, const slad_node *node)
{
    const slad_reference_images sizes = images_of(node);
    slad_reference_patch_unfold(slad_host_floats(host, node->outputs[0]), slad_host_floats(host, node->inputs[0]),
                                &sizes);
    return SLAD_OK;
}

static const slad_operation unfold_operation = {
    .name = "patch_embedding_unfold",
    .launch = launch_unfold,
    .reference = reference_unfold,
};

/* patch_embedding: inputs projected, class token, registers (may be NULL), position; output tokens */

enum { PROJECTED, CLASS_TOKEN, REGISTERS, POSITION, INPUTS };

static slad_reference_tokens sizes_of(const slad_tensor *tokens, size_t registers)
{
    return (slad_reference_tokens){
        .batch = tokens->size[0],
        .registers = registers,
        .patches = tokens->size[1] - 1 - registers,
        .columns = tokens->size[2],
    };
}

static size_t registers_of(const slad_node *node)
{
    return node->inputs[REGISTERS] ? slad_tensor_rows(node->inputs[REGISTERS]) : 0;
}

static size_t vectors_of(const slad_launcher *launcher, size_t columns)
{
    const size_t width = slad_launcher_features(launcher)->vector_width;
    return (columns + width - 1) / width;
}

static slad_status launch_assemble(slad_launcher *launcher, const slad_node *node)
{
    const slad_reference_tokens sizes = sizes_of(node->outputs[0], registers_of(node));
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[0]),
        SLAD_TENSOR(node->inputs[PROJECTED]),
        SLAD_TENSOR(node->inputs[CLASS_TOKEN]),
        SLAD_TENSOR(node->inputs[REGISTERS]),
        SLAD_TENSOR(node->inputs[POSITION]),
        SLAD_UINT(sizes.batch),
        SLAD_UINT(sizes.registers),
        SLAD_UINT(sizes.patches),
        SLAD_UINT(sizes.columns),
    };
    const slad_work work = {
        .items = {vectors_of(launcher, sizes.columns), 1 + sizes.registers + sizes.patches, sizes.batch},
        .split_axis = 2};
    return slad_launch_kernel(launcher, &slad_patch_embedding_kernels[ASSEMBLE], "", arguments,
                              sizeof arguments / sizeof *arguments, work);
}

static slad_status reference_assemble(slad_host *host, const slad_node *node)
{
    const slad_reference_tokens sizes = sizes_of(node->outputs[0], registers_of(node));
    slad_reference_patch_assemble(
        slad_host_floats(host, node->outputs[0]), slad_host_floats(host, node->inputs[PROJECTED]),
        slad_host_floats(host, node->inputs[CLASS_TOKEN]), slad_host_floats(host, node->inputs[REGISTERS]),
        slad_host_floats(host, node->inputs[POSITION]), &sizes);
    return SLAD_OK;
}

/* patch_embedding_gather: input dtokens; output dprojected */

typedef struct gather_parameters {
    size_t registers;
    bool accumulate;
} gather_parameters;

static slad_status launch_gather(slad_launcher *launcher, const slad_node *node)
{
    const gather_parameters *parameters = node->parameters;
    const slad_reference_tokens sizes = sizes_of(node->inputs[0], parameters->registers);
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[0]), SLAD_TENSOR(node->inputs[0]),   SLAD_UINT(parameters->accumulate),
        SLAD_UINT(sizes.batch),        SLAD_UINT(1 + sizes.registers), SLAD_UINT(sizes.patches),
        SLAD_UINT(sizes.columns),
    };
    const slad_work work = {.items = {vectors_of(launcher, sizes.columns), sizes.patches, sizes.batch},
                            .split_axis = 2};
    return slad_launch_kernel(launcher, &slad_patch_embedding_kernels[GATHER], "", arguments,
                              sizeof arguments / sizeof *arguments, work);
}

static slad_status reference_gather(slad_host *host, const slad_node *node)
{
    const gather_parameters *parameters = node->parameters;
    const slad_reference_tokens sizes = sizes_of(node->inputs[0], parameters->registers);
    slad_reference_patch_gather(slad_host_floats(host, node->outputs[0]), slad_host_floats(host, node->inputs[0]),
                                parameters->accumulate, &sizes);
    return SLAD_OK;
}

static const slad_operation gather_operation = {
    .name = "patch_embedding_gather",
    .launch = launch_gather,
    .reference = reference_gather,
};

/* patch_embedding_sums: input dtokens; output the gradient of one parameter that every image adds to its tokens */

typedef struct sums_parameters {
    size_t registers, first, skip; /* which tokens, as reference/patch_embedding.h tells */
    bool accumulate;
} sums_parameters;

static slad_status launch_sums(slad_launcher *launcher, const slad_node *node)
{
    const sums_parameters *parameters = node->parameters;
    const slad_tensor *target = node->outputs[0], *dtokens = node->inputs[0];
    const size_t rows = slad_tensor_elements(target) / dtokens->size[2], columns = dtokens->size[2];
    const slad_operand arguments[] = {
        SLAD_TENSOR(target),
        SLAD_TENSOR(dtokens),
        SLAD_UINT(parameters->accumulate),
        SLAD_UINT(dtokens->size[0]),
        SLAD_UINT(dtokens->size[1]),
        SLAD_UINT(parameters->first),
        SLAD_UINT(parameters->skip),
        SLAD_UINT(rows),
        SLAD_UINT(columns),
    };
    const slad_work work = {.items = {vectors_of(launcher, columns), rows, 1}, .split_axis = 1};
    return slad_launch_kernel(launcher, &slad_patch_embedding_kernels[SUMS], "", arguments,
                              sizeof arguments / sizeof *arguments, work);
}

static slad_status reference_sums(slad_host *host, const slad_node *node)
{
    const sums_parameters *parameters = node->parameters;
    const slad_tensor *target = node->outputs[0], *dtokens = node->inputs[0];
    const slad_reference_tokens sizes = sizes_of(dtokens, parameters->registers);
    slad_reference_patch_sums(slad_host_floats(host, target), slad_host_floats(host, dtokens), parameters->accumulate,
                              parameters->first, parameters->skip, slad_tensor_elements(target) / sizes.columns,
                              &sizes);
    return SLAD_OK;
}

static const slad_operation sums_operation = {
    .name = "patch_embedding_sums",
    .launch = launch_sums,
    .reference = reference_sums,
};

static void append_sums(slad_record *record, const slad_node *node, const slad_tensor *dtokens, unsigned input,
                        size_t first)
{
    const slad_tensor *parameter = node->inputs[input];
    if (!parameter || !parameter->needs_gradient) return;
    sums_parameters parameters = {.registers = registers_of(node), .first = first};
    if (input == POSITION) parameters.skip = parameters.registers;
    const slad_tensor *target = slad_gradient_target(record, parameter, &parameters.accumulate);
    slad_node *made =
        slad_record_append(record, &sums_operation, node->phase, &dtokens, 1, &parameters, sizeof parameters);
    slad_node_writes(record, made, target);
}

static slad_status gradient_of_patch_embedding(slad_record *record, const slad_node *node)
{
    const slad_tensor *projected = node->inputs[PROJECTED];
    const slad_tensor *dtokens = slad_gradient_of(record, node->outputs[0]);
    if (!dtokens) return slad_record_status(record);
    append_sums(record, node, dtokens, CLASS_TOKEN, 0);
    append_sums(record, node, dtokens, REGISTERS, 1);
    append_sums(record, node, dtokens, POSITION, 0);
    if (projected->needs_gradient) {
        gather_parameters parameters = {.registers = registers_of(node)};
        const slad_tensor *dprojected = slad_gradient_target(record, projected, &parameters.accumulate);
        slad_node *made =
            slad_record_append(record, &gather_operation, node->phase, &dtokens, 1, &parameters, sizeof parameters);
        slad_node_writes(record, made, dprojected);
    }
    return slad_record_status(record);
}

static const slad_operation assemble_operation = {
    .name = "patch_embedding",
    .gradient = gradient_of_patch_embedding,
    .launch = launch_assemble,
    .reference = reference_assemble,
};

/* Whether the image can be cut into patches and is not itself to be trained. */
static bool check_pixels(slad_record *record, const slad_tensor *pixels, size_t patch)
{
    char shape[96];
    if (!slad_check_operand(record, "patch_embedding", pixels, 4)) return false;
    slad_tensor_shape_text(shape, pixels);
    if (pixels->needs_gradient)
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "patch_embedding: %s cannot have a gradient",
                                pixels->name);
    if (patch == 0 || pixels->size[2] % patch != 0 || pixels->size[3] % patch != 0)
        return slad_record_fail(
            record, SLAD_ERROR_USAGE,
            "patch_embedding: images %s [batch, channels, height, width] cannot be cut into patches "
            "of %zu x %zu; choose an image size that is a multiple of %zu",
            shape, patch, patch, patch);
    return true;
}

/* projected [batch * P, d] */
static const slad_tensor *record_projection(slad_record *record, const slad_tensor *pixels, const slad_tensor *weight,
                                            const slad_tensor *bias, size_t patch)
{
    const unfold_parameters parameters = {patch};
    const slad_weight plain = {.weight = weight};
    const size_t patches = pixels->size[0] * (pixels->size[2] / patch) * (pixels->size[3] / patch);
    slad_node *node = slad_record_append(record, &unfold_operation, SLAD_PHASE_MICRO_BATCH, &pixels, 1, &parameters,
                                         sizeof parameters);
    return slad_linear(record, slad_node_output(record, node, 2, (const size_t[]){patches, weight->size[1]}), &plain,
                       bias);
}

const slad_tensor *slad_patch_embedding(slad_record *record, const slad_tensor *pixels, const slad_tensor *weight,
                                        const slad_tensor *bias, const slad_tensor *class_token,
                                        const slad_tensor *registers, const slad_tensor *position, size_t patch)
{
    static const char name[] = "patch_embedding";
    if (!check_pixels(record, pixels, patch) || !slad_check_operand(record, name, weight, 2)) return NULL;
    const size_t columns = weight->size[0], taps = pixels->size[1] * patch * patch;
    const size_t grid = pixels->size[2] / patch * (pixels->size[3] / patch);
    const size_t register_count = registers ? slad_tensor_rows(registers) : 0;
    if (!slad_check_parameter(record, name, weight, columns, taps) ||
        !slad_check_parameter(record, name, bias, 1, columns) ||
        !slad_check_matrix(record, name, class_token, 1, columns) ||
        (registers && !slad_check_matrix(record, name, registers, register_count, columns)) ||
        !slad_check_matrix(record, name, position, 1 + grid, columns))
        return NULL;
    const slad_tensor *inputs[INPUTS] = {record_projection(record, pixels, weight, bias, patch), class_token, registers,
                                         position};
    slad_node *node = slad_record_append(record, &assemble_operation, SLAD_PHASE_MICRO_BATCH, inputs, INPUTS, NULL, 0);
    return slad_node_output(record, node, 3, (const size_t[]){pixels->size[0], 1 + register_count + grid, columns});
}

/* Images that are no square, widths that are no multiple of a vector, and everything trained. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t patch = 5, columns = 27, tokens = 1 + 2 * 3;
    (void)context;
    const slad_tensor *pixels = slad_record_input(record, "pixels", SLAD_F32, 4, (const size_t[]){3, 3, 10, 15}, 0);
    const slad_tensor *weight = slad_self_test_trained(record, "weight", 2, (const size_t[]){columns, 75}, 0.1);
    const slad_tensor *bias = slad_self_test_trained(record, "bias", 1, &columns, 1.0);
    const slad_tensor *class_token = slad_self_test_trained(record, "class_token", 1, &columns, 1.0);
    const slad_tensor *registers = slad_self_test_trained(record, "registers", 2, (const size_t[]){4, columns}, 1.0);
    const slad_tensor *position = slad_self_test_trained(record, "position", 2, (const size_t[]){tokens, columns}, 1.0);
    return slad_self_test_differentiate(
        record, slad_patch_embedding(record, pixels, weight, bias, class_token, registers, position, patch), "y");
}

const slad_kernel_row slad_patch_embedding_kernels[] = {
    [UNFOLD] = {"patch_embedding", "patch_embedding_unfold", "ttuuuuu", SLAD_WORK_ITEMS, self_test, 1e-4},
    [ASSEMBLE] = {"patch_embedding", "patch_embedding_assemble", "tttttuuuu", SLAD_WORK_ITEMS, self_test, 1e-4},
    [GATHER] = {"patch_embedding", "patch_embedding_gather", "ttuuuuu", SLAD_WORK_ITEMS, self_test, 1e-4},
    [SUMS] = {"patch_embedding", "patch_embedding_sums", "ttuuuuuuu", SLAD_WORK_ITEMS, self_test, 1e-4},
};
const size_t slad_patch_embedding_kernel_count =
    sizeof slad_patch_embedding_kernels / sizeof *slad_patch_embedding_kernels;
