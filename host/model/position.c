#include "model/position.h"
#include "base/memory.h"
#include <math.h>
#include <string.h>

#define MAX_TAPS 512

/* The taps of one output coordinate: source indices first .. first + count - 1 (clamped where the rule clamps),
 * weights. */
typedef struct slad_taps {
    size_t index[MAX_TAPS];
    float weight[MAX_TAPS];
    size_t count;
} slad_taps;

/* Keys' cubic with parameter a at distance x. */
static float cubic(float x, float a)
{
    x = fabsf(x);
    if (x < 1.0f) return ((a + 2.0f) * x - (a + 3.0f)) * x * x + 1.0f;
    if (x < 2.0f) return ((a * x - 5.0f * a) * x + 8.0f * a) * x - 4.0f * a;
    return 0.0f;
}

/* Four taps around scale * (i + 0.5) - 0.5, clamped to the border; a = -0.75 (torch's interpolate without antialias).
 */
static void plain_taps(slad_taps *taps, size_t i, size_t grid, float scale)
{
    const float source = scale * ((float)i + 0.5f) - 0.5f;
    const float below = floorf(source), t = source - below;
    taps->count = 4;
    for (int k = 0; k < 4; k++) {
        const long index = (long)below + k - 1;
        taps->index[k] = index < 0 ? 0 : index >= (long)grid ? grid - 1 : (size_t)index;
        taps->weight[k] = cubic((float)(k - 1) - t, -0.75f);
    }
}

/* Antialiased taps, a = -0.5, normalised, as Pillow chooses them (method.md section 10.2). */
static void antialias_taps(slad_taps *taps, size_t i, size_t grid, float scale)
{
    const float stretch = scale > 1.0f ? scale : 1.0f, support = 2.0f * stretch;
    const float centre = ((float)i + 0.5f) * scale;
    const float low = centre - support + 0.5f, high = centre + support + 0.5f;
    const size_t first = low > 0.0f ? (size_t)low : 0;
    const size_t last = high < (float)grid ? (size_t)high : grid;
    float sum = 0.0f;
    taps->count = last - first < MAX_TAPS ? last - first : MAX_TAPS;
    for (size_t k = 0; k < taps->count; k++) {
        taps->index[k] = first + k;
        taps->weight[k] = cubic(((float)(first + k) - centre + 0.5f) / stretch, -0.5f);
        sum += taps->weight[k];
    }
    for (size_t k = 0; k < taps->count; k++) taps->weight[k] /= sum;
}

static void find_taps(slad_taps *taps, size_t i, size_t grid, size_t patches, slad_position_mode mode)
{
    if (mode == SLAD_POSITION_ANTIALIAS) {
        antialias_taps(taps, i, grid, (float)grid / (float)patches);
    } else if (mode == SLAD_POSITION_HUB) {
        /* torch takes the reciprocal of the given scale factor, in double, then rounds */
        plain_taps(taps, i, grid, (float)(1.0 / (((double)patches + 0.1) / (double)grid)));
    } else {
        plain_taps(taps, i, grid, (float)grid / (float)patches);
    }
}

/* One output vector: the taps of its row and column over the grid. */
static void resize_vector(float *result, const float *grid_values, const slad_taps *down, const slad_taps *across,
                          size_t grid, size_t width)
{
    for (size_t d = 0; d < width; d++) {
        float sum = 0.0f;
        for (size_t y = 0; y < down->count; y++) {
            float row = 0.0f;
            for (size_t x = 0; x < across->count; x++)
                row += across->weight[x] * grid_values[(down->index[y] * grid + across->index[x]) * width + d];
            sum += down->weight[y] * row;
        }
        result[d] = sum;
    }
}

static bool can_resize(size_t grid, size_t patches)
{
    return patches > 0 && grid / patches < MAX_TAPS / 4;
}

slad_status slad_position_resize(slad_context *context, float *result, const float *table, size_t grid, size_t rows,
                                 size_t columns, size_t width, slad_position_mode mode)
{
    slad_status status = SLAD_OK;
    slad_taps *across = NULL;
    slad_taps down;
    if (rows == grid && columns == grid) {
        memcpy(result, table, (1 + grid * grid) * width * sizeof *result);
        return SLAD_OK;
    }
    SLAD_FAIL_IF(!can_resize(grid, rows) || !can_resize(grid, columns), SLAD_ERROR_DATA,
                 "A position table of %zu x %zu cannot be resized to %zu x %zu", grid, grid, rows, columns);
    SLAD_TRY(slad_allocate(context, &across, columns, sizeof *across, "resizing of positions"));
    memcpy(result, table, width * sizeof *result);
    for (size_t x = 0; x < columns; x++) find_taps(&across[x], x, grid, columns, mode);
    for (size_t y = 0; y < rows; y++) {
        find_taps(&down, y, grid, rows, mode);
        for (size_t x = 0; x < columns; x++)
            resize_vector(result + (1 + y * columns + x) * width, table + width, &down, &across[x], grid, width);
    }
cleanup:
    slad_release(across);
    return status;
}

slad_status slad_position_matrix(slad_context *context, float *matrix, size_t grid, size_t patches,
                                 slad_position_mode mode)
{
    slad_status status = SLAD_OK;
    slad_taps taps;
    SLAD_FAIL_IF(!can_resize(grid, patches), SLAD_ERROR_DATA,
                 "A position table of %zu x %zu cannot be resized to %zu places a side", grid, grid, patches);
    memset(matrix, 0, patches * grid * sizeof *matrix);
    for (size_t i = 0; i < patches; i++) {
        find_taps(&taps, i, grid, patches, mode);
        for (size_t k = 0; k < taps.count; k++) matrix[i * grid + taps.index[k]] += taps.weight[k];
    }
cleanup:
    return status;
}
