#include "reference/position_interpolation.h"
#include "graph/host.h"
#include "graph/self_test.h"
#include "ops/kernel_table.h"
#include "ops/operands.h"
#include "ops/operations.h"

enum { AXIS, FIRST };

/* One product with the matrix of an axis, perhaps transposed: a kernel's work over [outer, .., inner] tensors. */
typedef struct axis_product {
    slad_tensor result, source; /* copies, whose offsets leave out the class token's row */
    const slad_tensor *matrix;
    size_t outer, inner;
    bool transposed, accumulate;
} axis_product;

/* The tensor without its first `columns` elements. */
static slad_tensor behind_first(const slad_tensor *tensor, size_t columns)
{
    slad_tensor grid = *tensor;
    grid.offset += columns;
    return grid;
}

static slad_status launch_axis(slad_launcher *launcher, const axis_product *product)
{
    const size_t rows = product->matrix->size[0], columns = product->matrix->size[1];
    const size_t n = product->transposed ? columns : rows, k = product->transposed ? rows : columns;
    const size_t width = slad_launcher_features(launcher)->vector_width;
    const slad_operand arguments[] = {
        SLAD_TENSOR(&product->result),
        SLAD_TENSOR(&product->source),
        SLAD_TENSOR(product->matrix),
        SLAD_UINT(product->accumulate),
        SLAD_UINT(product->outer),
        SLAD_UINT(n),
        SLAD_UINT(k),
        SLAD_UINT(product->inner),
        SLAD_UINT(product->transposed ? 1 : columns),
        SLAD_UINT(product->transposed ? columns : 1),
    };
    const slad_work work = {.items = {(product->inner + width - 1) / width, n, product->outer}, .split_axis = 1};
    return slad_launch_kernel(launcher, &slad_position_interpolation_kernels[AXIS], "", arguments,
                              sizeof arguments / sizeof *arguments, work);
}

static slad_status launch_first(slad_launcher *launcher, const slad_tensor *target, const slad_tensor *source,
                                bool accumulate)
{
    const size_t columns = slad_tensor_columns(source);
    const slad_operand arguments[] = {SLAD_TENSOR(target), SLAD_TENSOR(source), SLAD_UINT(accumulate),
                                      SLAD_UINT(columns)};
    return slad_launch_kernel(launcher, &slad_position_interpolation_kernels[FIRST], "", arguments,
                              sizeof arguments / sizeof *arguments, slad_work_of_vectors(launcher, columns));
}

/* position_interpolation: inputs table, down, across; outputs the resized table, and scratch [G, columns, d] */

enum { TABLE, DOWN, ACROSS, INPUTS };

static slad_reference_grids sizes_of(const slad_node *node)
{
    const slad_tensor *down = node->inputs[DOWN], *across = node->inputs[ACROSS];
    return (slad_reference_grids){
        .grid = down->size[1],
        .rows = down->size[0],
        .columns = across->size[0],
        .width = slad_tensor_columns(node->inputs[TABLE]),
    };
}

static slad_status launch_forward(slad_launcher *launcher, const slad_node *node)
{
    const slad_reference_grids sizes = sizes_of(node);
    const slad_tensor *table = node->inputs[TABLE], *resized = node->outputs[0], *scratch = node->outputs[1];
    const axis_product across = {
        .result = *scratch,
        .source = behind_first(table, sizes.width),
        .matrix = node->inputs[ACROSS],
        .outer = sizes.grid,
        .inner = sizes.width,
    };
    const axis_product down = {
        .result = behind_first(resized, sizes.width),
        .source = *scratch,
        .matrix = node->inputs[DOWN],
        .outer = 1,
        .inner = sizes.columns * sizes.width,
    };
    slad_status status = SLAD_OK;
    SLAD_TRY(launch_first(launcher, resized, table, false));
    SLAD_TRY(launch_axis(launcher, &across));
    SLAD_TRY(launch_axis(launcher, &down));
cleanup:
    return status;
}

static slad_status reference_forward(slad_host *host, const slad_node *node)
{
    const slad_reference_grids sizes = sizes_of(node);
    slad_reference_position_interpolation(
        slad_host_floats(host, node->outputs[0]), slad_host_floats(host, node->inputs[TABLE]),
        slad_host_floats(host, node->inputs[DOWN]), slad_host_floats(host, node->inputs[ACROSS]), &sizes);
    return SLAD_OK;
}

/* position_interpolation_backward: inputs dresized in the table's place, down, across; outputs scratch, then dtable */

typedef struct backward_parameters {
    bool accumulate;
} backward_parameters;

static slad_status launch_backward(slad_launcher *launcher, const slad_node *node)
{
    const backward_parameters *parameters = node->parameters;
    const slad_reference_grids sizes = sizes_of(node);
    const slad_tensor *dresized = node->inputs[TABLE], *scratch = node->outputs[0], *dtable = node->outputs[1];
    const axis_product down = {
        .result = *scratch,
        .source = behind_first(dresized, sizes.width),
        .matrix = node->inputs[DOWN],
        .outer = 1,
        .inner = sizes.columns * sizes.width,
        .transposed = true,
    };
    const axis_product across = {
        .result = behind_first(dtable, sizes.width),
        .source = *scratch,
        .matrix = node->inputs[ACROSS],
        .outer = sizes.grid,
        .inner = sizes.width,
        .transposed = true,
        .accumulate = parameters->accumulate,
    };
    slad_status status = SLAD_OK;
    SLAD_TRY(launch_first(launcher, dtable, dresized, parameters->accumulate));
    SLAD_TRY(launch_axis(launcher, &down));
    SLAD_TRY(launch_axis(launcher, &across));
cleanup:
    return status;
}

static slad_status reference_backward(slad_host *host, const slad_node *node)
{
    const backward_parameters *parameters = node->parameters;
    const slad_reference_grids sizes = sizes_of(node);
    slad_reference_position_interpolation_backward(
        slad_host_floats(host, node->outputs[1]), slad_host_floats(host, node->inputs[TABLE]),
        slad_host_floats(host, node->inputs[DOWN]), slad_host_floats(host, node->inputs[ACROSS]),
        parameters->accumulate, &sizes);
    return SLAD_OK;
}

static const slad_operation backward_operation = {
    .name = "position_interpolation_backward",
    .launch = launch_backward,
    .reference = reference_backward,
};

static slad_status gradient_of_position_interpolation(slad_record *record, const slad_node *node)
{
    backward_parameters parameters;
    const slad_tensor *table = node->inputs[TABLE];
    const slad_tensor *dresized = slad_gradient_of(record, node->outputs[0]);
    if (!dresized || !table->needs_gradient) return slad_record_status(record);
    const slad_reference_grids sizes = sizes_of(node);
    const slad_tensor *inputs[INPUTS] = {dresized, node->inputs[DOWN], node->inputs[ACROSS]};
    const slad_tensor *dtable = slad_gradient_target(record, table, &parameters.accumulate);
    slad_node *made =
        slad_record_append(record, &backward_operation, node->phase, inputs, INPUTS, &parameters, sizeof parameters);
    (void)slad_node_scratch(record, made, sizes.grid * sizes.columns * sizes.width);
    slad_node_writes(record, made, dtable);
    return slad_record_status(record);
}

static const slad_operation forward_operation = {
    .name = "position_interpolation",
    .gradient = gradient_of_position_interpolation,
    .launch = launch_forward,
    .reference = reference_forward,
};

/* Whether it is a frozen matrix [.., grid]. */
static bool check_axis(slad_record *record, const slad_tensor *matrix, size_t grid)
{
    static const char name[] = "position_interpolation";
    if (!slad_check_operand(record, name, matrix, 2)) return false;
    if (matrix->needs_gradient)
        return slad_record_fail(record, SLAD_ERROR_INTERNAL, "%s: %s cannot have a gradient", name, matrix->name);
    return slad_check_matrix(record, name, matrix, matrix->size[0], grid);
}

const slad_tensor *slad_position_interpolation(slad_record *record, const slad_tensor *table, const slad_tensor *down,
                                               const slad_tensor *across)
{
    static const char name[] = "position_interpolation";
    const slad_tensor *inputs[INPUTS] = {table, down, across};
    if (!slad_check_operand(record, name, table, 0) || !slad_check_operand(record, name, down, 2)) return NULL;
    const size_t grid = down->size[1], width = slad_tensor_columns(table);
    if (!slad_check_matrix(record, name, table, 1 + grid * grid, width) || !check_axis(record, down, grid) ||
        !check_axis(record, across, grid))
        return NULL;
    slad_node *node = slad_record_append(record, &forward_operation, SLAD_PHASE_MICRO_BATCH, inputs, INPUTS, NULL, 0);
    const slad_tensor *resized =
        slad_node_output(record, node, 2, (const size_t[]){1 + down->size[0] * across->size[0], width});
    return slad_node_scratch(record, node, grid * across->size[0] * width) ? resized : NULL;
}

/* To a grid that is no square, twice, so that the table's gradient is also added to. */
static slad_status self_test(slad_context *context, slad_record *record)
{
    const size_t grid = 7, width = 37;
    (void)context;
    const slad_tensor *table =
        slad_record_input(record, "table", SLAD_F32, 2, (const size_t[]){1 + grid * grid, width}, 0);
    slad_record_require_gradient(record, table);
    const slad_tensor *down = slad_self_test_frozen(record, "down", 2, (const size_t[]){3, grid}, 1.0);
    const slad_tensor *across = slad_self_test_frozen(record, "across", 2, (const size_t[]){9, grid}, 1.0);
    return slad_self_test_differentiate(
        record,
        slad_layer_scale(record, slad_position_interpolation(record, table, down, across),
                         slad_position_interpolation(record, table, down, across), NULL),
        "resized");
}

const slad_kernel_row slad_position_interpolation_kernels[] = {
    [AXIS] = {"position_interpolation", "position_interpolation_axis", "tttuuuuuuu", SLAD_WORK_ITEMS, self_test, 1e-5},
    [FIRST] = {"position_interpolation", "position_interpolation_first", "ttuu", SLAD_WORK_ITEMS, self_test, 1e-5},
};
const size_t slad_position_interpolation_kernel_count =
    sizeof slad_position_interpolation_kernels / sizeof *slad_position_interpolation_kernels;
