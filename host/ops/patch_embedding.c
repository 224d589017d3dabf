#include "reference/patch_embedding.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"

enum { UNFOLD, ASSEMBLE };

/* patch_embedding: inputs as in the call; outputs the tokens, and two intermediates that nobody else reads: the
 * unfolded patches [batch * P, channels * patch * patch] and their projections [batch * P, d]. */
enum { PIXELS, WEIGHT, BIAS, CLASS_TOKEN, POSITION, INPUTS };
enum { TOKENS, PATCHES, PROJECTED };

typedef struct patch_parameters {
    size_t patch;
} patch_parameters;

static slad_reference_patches sizes_of(const slad_node *node)
{
    const patch_parameters *parameters = node->parameters;
    const slad_tensor *pixels = node->inputs[PIXELS];
    return (slad_reference_patches){
        .batch = pixels->size[0],
        .channels = pixels->size[1],
        .height = pixels->size[2],
        .width = pixels->size[3],
        .patch = parameters->patch,
        .columns = node->inputs[WEIGHT]->size[0],
    };
}

static slad_status launch_unfold(slad_launcher *launcher, const slad_node *node)
{
    const slad_reference_patches sizes = sizes_of(node);
    const size_t grid_height = sizes.height / sizes.patch, grid_width = sizes.width / sizes.patch;
    const slad_operand arguments[] = {
        SLAD_TENSOR(node->outputs[PATCHES]),
        SLAD_TENSOR(node->inputs[PIXELS]),
        SLAD_UINT(sizes.batch),
        SLAD_UINT(sizes.channels),
        SLAD_UINT(grid_height),
        SLAD_UINT(grid_width),
        SLAD_UINT(sizes.patch),
    };
    const slad_work work = {.items = {sizes.channels * sizes.patch, sizes.batch * grid_height * grid_width, 1},
                            .split_axis = 1};
    return slad_launch_kernel(launcher, &slad_patch_embedding_kernels[UNFOLD], "", arguments,
                              sizeof arguments / sizeof *arguments, work);
}

static slad_status launch_assemble(slad_launcher *launcher, const slad_node *node)
{
    const slad_tensor *tokens = node->outputs[TOKENS];
    const size_t batch = tokens->size[0], grid = tokens->size[1] - 1, columns = tokens->size[2];
    const size_t width = slad_launcher_features(launcher)->vector_width;
    const slad_operand arguments[] = {
        SLAD_TENSOR(tokens),
        SLAD_TENSOR(node->outputs[PROJECTED]),
        SLAD_TENSOR(node->inputs[CLASS_TOKEN]),
        SLAD_TENSOR(node->inputs[POSITION]),
        SLAD_UINT(batch),
        SLAD_UINT(grid),
        SLAD_UINT(columns),
    };
    const slad_work work = {.items = {(columns + width - 1) / width, 1 + grid, batch}, .split_axis = 2};
    return slad_launch_kernel(launcher, &slad_patch_embedding_kernels[ASSEMBLE], "", arguments,
                              sizeof arguments / sizeof *arguments, work);
}

static slad_status launch(slad_launcher *launcher, const slad_node *node)
{
    slad_status status = SLAD_OK;
    const slad_weight weight = {.weight = node->inputs[WEIGHT]};
    SLAD_TRY(launch_unfold(launcher, node));
    SLAD_TRY(slad_launch_gemm(launcher, node->outputs[PROJECTED], node->outputs[PATCHES], &weight, node->inputs[BIAS],
                              false, false));
    SLAD_TRY(launch_assemble(launcher, node));
cleanup:
    return status;
}

static slad_status reference(slad_host *host, const slad_node *node)
{
    const slad_reference_patches sizes = sizes_of(node);
    slad_reference_patch_embedding(
        slad_host_floats(host, node->outputs[TOKENS]), slad_host_floats(host, node->inputs[PIXELS]),
        slad_host_floats(host, node->inputs[WEIGHT]), slad_host_floats(host, node->inputs[BIAS]),
        slad_host_floats(host, node->inputs[CLASS_TOKEN]), slad_host_floats(host, node->inputs[POSITION]), &sizes);
    return SLAD_OK;
}

static const slad_operation operation = {
    .name = "patch_embedding",
    .launch = launch,
    .reference = reference,
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

const slad_tensor *slad_patch_embedding(slad_record *record, const slad_tensor *pixels, const slad_tensor *weight,
                                        const slad_tensor *bias, const slad_tensor *class_token,
                                        const slad_tensor *position, size_t patch)
{
    static const char name[] = "patch_embedding";
    const slad_tensor *inputs[INPUTS] = {pixels, weight, bias, class_token, position};
    const patch_parameters parameters = {patch};
    if (!check_pixels(record, pixels, patch) || !slad_check_operand(record, name, weight, 2)) return NULL;
    const size_t batch = pixels->size[0], columns = weight->size[0], taps = pixels->size[1] * patch * patch;
    const size_t grid = pixels->size[2] / patch * (pixels->size[3] / patch);
    if (!slad_check_frozen(record, name, weight, columns, taps) || !slad_check_frozen(record, name, bias, 0, columns) ||
        !slad_check_frozen(record, name, class_token, 0, columns) ||
        !slad_check_frozen(record, name, position, 1 + grid, columns))
        return NULL;
    slad_node *node =
        slad_record_append(record, &operation, SLAD_PHASE_MICRO_BATCH, inputs, INPUTS, &parameters, sizeof parameters);
    const slad_tensor *tokens = slad_node_output(record, node, 3, (const size_t[]){batch, 1 + grid, columns});
    slad_node_output(record, node, 2, (const size_t[]){batch * grid, taps});
    return slad_node_output(record, node, 2, (const size_t[]){batch * grid, columns}) ? tokens : NULL;
}

/* Images that are no square, and widths that are no multiple of a vector. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t patch = 5, columns = 27, tokens = 1 + 2 * 3;
    (void)context;
    const slad_tensor *pixels = slad_record_input(record, "pixels", SLAD_F32, 4, (const size_t[]){3, 3, 10, 15}, 0);
    const slad_tensor *weight = slad_self_test_frozen(record, "weight", 2, (const size_t[]){columns, 75}, 0.1);
    const slad_tensor *bias = slad_self_test_frozen(record, "bias", 1, &columns, 1.0);
    const slad_tensor *class_token = slad_self_test_frozen(record, "class_token", 1, &columns, 1.0);
    const slad_tensor *position = slad_self_test_frozen(record, "position", 2, (const size_t[]){tokens, columns}, 1.0);
    slad_record_output(record, slad_patch_embedding(record, pixels, weight, bias, class_token, position, patch), "y");
    return slad_record_status(record);
}

const slad_kernel_row slad_patch_embedding_kernels[] = {
    [UNFOLD] = {"patch_embedding", "patch_embedding_unfold", "ttuuuuu", SLAD_WORK_ITEMS, self_test, 1e-4},
    [ASSEMBLE] = {"patch_embedding", "patch_embedding_assemble", "ttttuuu", SLAD_WORK_ITEMS, self_test, 1e-4},
};
const size_t slad_patch_embedding_kernel_count =
    sizeof slad_patch_embedding_kernels / sizeof *slad_patch_embedding_kernels;
