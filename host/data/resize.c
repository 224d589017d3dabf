/* Pillow's resampling. All sums that reach a pixel are integers, so the result does not depend on the compiler or on
 * the width of vectors; the weights are computed in double with Pillow's own order of operations and then rounded. */
#include "data/resize.h"

#include "base/memory.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Weights are fixed-point numbers: 32 bits less 8 of a pixel less 2 for overshoot. */
#define WEIGHT_BITS 22
#define CHANNELS    3

static const double pi = 3.14159265358979323846;

/* A rectangle of pixels somewhere in memory. */
typedef struct pixel_view {
    const unsigned char *pixels;
    size_t stride; /* bytes from one row to the next */
    size_t height, width;
} pixel_view;

/* For one dimension: from which source pixels, and with which weights, each output pixel is made. */
typedef struct weight_table {
    size_t count;     /* output pixels */
    size_t taps;      /* room for weights per output pixel */
    size_t *first;    /* [count], first source pixel */
    size_t *used;     /* [count], source pixels used */
    int32_t *weights; /* [count, taps] */
} weight_table;

/* One dimension of a request: the box [low, high) of `size` source pixels becomes `total` output pixels, of which
 * `count` from `start` on are wanted. Pillow holds the box in single precision. */
typedef struct dimension {
    size_t size, total, start, count;
    float low, high;
} dimension;

static bool dimension_changes(const dimension *d)
{
    return d->size != d->total || d->low != 0.0f || d->high != (float)d->total;
}

static double sinc(double x)
{
    if (x == 0.0) return 1.0;
    x *= pi;
    return sin(x) / x;
}

static double filter_value(slad_filter filter, double x)
{
    const double a = -0.5; /* of the cubic */
    switch (filter) {
    case SLAD_FILTER_BOX:
        return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
    case SLAD_FILTER_BILINEAR:
        x = fabs(x);
        return x < 1.0 ? 1.0 - x : 0.0;
    case SLAD_FILTER_HAMMING:
        x = fabs(x);
        if (x == 0.0) return 1.0;
        if (x >= 1.0) return 0.0;
        x *= pi;
        /* Pillow writes these two in single precision. */
        return sin(x) / x * ((double)0.54f + (double)0.46f * cos(x));
    case SLAD_FILTER_BICUBIC:
        x = fabs(x);
        if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
        if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
        return 0.0;
    case SLAD_FILTER_LANCZOS:
        return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
    case SLAD_FILTER_NEAREST:
        break;
    }
    return 0.0;
}

/* Half the width of a filter, in pixels of the coarser grid. */
static double filter_support(slad_filter filter)
{
    switch (filter) {
    case SLAD_FILTER_BOX:
        return 0.5;
    case SLAD_FILTER_BILINEAR:
    case SLAD_FILTER_HAMMING:
        return 1.0;
    case SLAD_FILTER_BICUBIC:
        return 2.0;
    case SLAD_FILTER_LANCZOS:
        return 3.0;
    case SLAD_FILTER_NEAREST:
        break;
    }
    return 0.0;
}

static void weight_table_free(weight_table *table)
{
    slad_release(table->first);
    slad_release(table->used);
    slad_release(table->weights);
    memset(table, 0, sizeof *table);
}

static size_t clamp_index(double value, size_t size)
{
    if (value < 1.0) return 0;
    return value >= (double)size ? size : (size_t)value;
}

/* The weights of output pixel start + i, normalised to a sum of one and rounded. `values` has room for `taps`. */
static void fill_weights(weight_table *table, double *values, size_t i, const dimension *d, slad_filter filter,
                         double scale, double filter_scale)
{
    const double support = filter_support(filter) * filter_scale;
    const double center = (double)d->low + ((double)(d->start + i) + 0.5) * scale;
    const double inverse = 1.0 / filter_scale;
    const size_t first = clamp_index(center - support + 0.5, d->size);
    const size_t end = clamp_index(center + support + 0.5, d->size);
    size_t used = end > first ? end - first : 0;
    if (used > table->taps) used = table->taps;
    double sum = 0.0;
    for (size_t k = 0; k < used; k++) {
        values[k] = filter_value(filter, ((double)(k + first) - center + 0.5) * inverse);
        sum += values[k];
    }
    for (size_t k = 0; k < used; k++) {
        const double weight = (sum != 0.0 ? values[k] / sum : values[k]) * (double)(1 << WEIGHT_BITS);
        table->weights[i * table->taps + k] = (int32_t)(weight < 0.0 ? weight - 0.5 : weight + 0.5);
    }
    table->first[i] = first;
    table->used[i] = used;
}

static slad_status weight_table_init(slad_context *context, weight_table *table, const dimension *d, slad_filter filter)
{
    slad_status status = SLAD_OK;
    double *values = NULL;
    const double scale = (double)(d->high - d->low) / (double)d->total;
    const double filter_scale = scale < 1.0 ? 1.0 : scale;
    table->count = d->count;
    table->taps = (size_t)ceil(filter_support(filter) * filter_scale) * 2 + 1;
    SLAD_FAIL_IF(table->taps > SLAD_IMAGE_PIXEL_LIMIT / d->count, SLAD_ERROR_DATA,
                 "an image side of %zu pixels cannot be resized to %zu: it is too long for its filter; crop the image "
                 "or shrink it beforehand",
                 d->size, d->total);
    SLAD_TRY(slad_allocate(context, &table->first, d->count, sizeof *table->first, "resize bounds"));
    SLAD_TRY(slad_allocate(context, &table->used, d->count, sizeof *table->used, "resize bounds"));
    SLAD_TRY(slad_allocate(context, &table->weights, d->count * table->taps, sizeof *table->weights, "resize weights"));
    SLAD_TRY(slad_allocate(context, &values, table->taps, sizeof *values, "resize weights"));
    for (size_t i = 0; i < d->count; i++) fill_weights(table, values, i, d, filter, scale, filter_scale);
cleanup:
    slad_release(values);
    if (status != SLAD_OK) weight_table_free(table);
    return status;
}

static unsigned char clip_to_byte(int32_t sum)
{
    const int32_t value = sum >> WEIGHT_BITS;
    if (value < 0) return 0;
    return (unsigned char)(value > 255 ? 255 : value);
}

/* result: [height of source, table->count, 3]. */
static void horizontal_pass(unsigned char *result, const pixel_view *source, const weight_table *table)
{
    for (size_t y = 0; y < source->height; y++) {
        const unsigned char *row = source->pixels + y * source->stride;
        for (size_t x = 0; x < table->count; x++) {
            const unsigned char *pixel = row + table->first[x] * CHANNELS;
            const int32_t *weights = table->weights + x * table->taps;
            int32_t red = 1 << (WEIGHT_BITS - 1), green = red, blue = red;
            for (size_t k = 0; k < table->used[x]; k++, pixel += CHANNELS) {
                red += pixel[0] * weights[k];
                green += pixel[1] * weights[k];
                blue += pixel[2] * weights[k];
            }
            *result++ = clip_to_byte(red);
            *result++ = clip_to_byte(green);
            *result++ = clip_to_byte(blue);
        }
    }
}

/* result: [table->count, width of source, 3]. sums: [width of source, 3]. */
static void vertical_pass(unsigned char *result, int32_t *sums, const pixel_view *source, const weight_table *table)
{
    const size_t values = source->width * CHANNELS;
    for (size_t y = 0; y < table->count; y++) {
        const unsigned char *row = source->pixels + table->first[y] * source->stride;
        const int32_t *weights = table->weights + y * table->taps;
        for (size_t i = 0; i < values; i++) sums[i] = 1 << (WEIGHT_BITS - 1);
        for (size_t k = 0; k < table->used[y]; k++, row += source->stride) {
            const int32_t weight = weights[k];
            for (size_t i = 0; i < values; i++) sums[i] += row[i] * weight;
        }
        for (size_t i = 0; i < values; i++) *result++ = clip_to_byte(sums[i]);
    }
}

static slad_status image_allocate(slad_context *context, slad_image *image, size_t height, size_t width)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(height > SLAD_IMAGE_PIXEL_LIMIT / width, SLAD_ERROR_DATA,
                 "resizing would need an image of %zu x %zu pixels, more than %u; crop the image or shrink it "
                 "beforehand",
                 height, width, SLAD_IMAGE_PIXEL_LIMIT);
    SLAD_TRY(slad_allocate(context, &image->pixels, height * width, CHANNELS, "image"));
    image->height = height;
    image->width = width;
cleanup:
    return status;
}

static pixel_view view_of(const slad_image *image)
{
    return (pixel_view){image->pixels, image->width * CHANNELS, image->height, image->width};
}

/* Makes the table of a dimension, or none if nothing changes along it; first and count become the source pixels that
 * are needed, and the table counts from the first of them. */
static slad_status prepare(slad_context *context, weight_table *table, size_t *first, size_t *count, const dimension *d,
                           slad_filter filter)
{
    slad_status status = SLAD_OK;
    size_t end = 0;
    *first = d->start;
    *count = d->count;
    if (!dimension_changes(d)) return SLAD_OK;
    SLAD_TRY(weight_table_init(context, table, d, filter));
    *first = table->first[0];
    for (size_t i = 0; i < table->count; i++) {
        if (table->first[i] + table->used[i] > end) end = table->first[i] + table->used[i];
        table->first[i] -= *first;
    }
    *count = end - *first;
cleanup:
    return status;
}

/* One pass over `view`, which then shows the result; a table without weights leaves all as it is. */
static slad_status pass(slad_context *context, slad_image *result, pixel_view *view, const weight_table *table,
                        bool vertical)
{
    slad_status status = SLAD_OK;
    int32_t *sums = NULL;
    if (!table->weights) return SLAD_OK;
    SLAD_TRY(
        image_allocate(context, result, vertical ? table->count : view->height, vertical ? view->width : table->count));
    if (vertical) {
        SLAD_TRY(slad_allocate(context, &sums, view->width * CHANNELS, sizeof *sums, "resize sums"));
        vertical_pass(result->pixels, sums, view, table);
    } else {
        horizontal_pass(result->pixels, view, table);
    }
    *view = view_of(result);
cleanup:
    slad_release(sums);
    return status;
}

/* Horizontal first, except where the height shrinks by more than twice as many pixels as the width: so does Pillow
 * since 13.0 (its pull request 9549), and the rounding between the passes shows the order. */
static bool vertical_is_first(const dimension *down, const dimension *across)
{
    const int64_t fewer_rows = (int64_t)down->size - (int64_t)down->total;
    const int64_t fewer_columns = (int64_t)across->size - (int64_t)across->total;
    return fewer_rows > 0 && fewer_rows > 2 * fewer_columns;
}

static slad_status resample(slad_context *context, slad_image *result, const pixel_view *source, const dimension *down,
                            const dimension *across, slad_filter filter)
{
    slad_status status = SLAD_OK;
    weight_table tables[2] = {0};         /* down, across */
    slad_image middle = {0}, final = {0}; /* after the first and the second pass */
    pixel_view view = *source;
    size_t row = 0, column = 0;
    const int first = vertical_is_first(down, across) ? 0 : 1;
    SLAD_TRY(prepare(context, &tables[0], &row, &view.height, down, filter));
    SLAD_TRY(prepare(context, &tables[1], &column, &view.width, across, filter));
    view.pixels += row * view.stride + column * CHANNELS;
    SLAD_TRY(pass(context, &middle, &view, &tables[first], first == 0));
    SLAD_TRY(pass(context, &final, &view, &tables[1 - first], first == 1));
    if (view.pixels == final.pixels || view.pixels == middle.pixels) {
        slad_image *last = view.pixels == final.pixels ? &final : &middle;
        *result = *last;
        *last = (slad_image){0};
    } else {
        SLAD_TRY(image_allocate(context, result, view.height, view.width));
        for (size_t y = 0; y < view.height; y++)
            memcpy(result->pixels + y * view.width * CHANNELS, view.pixels + y * view.stride, view.width * CHANNELS);
    }
cleanup:
    weight_table_free(&tables[0]);
    weight_table_free(&tables[1]);
    slad_image_free(&middle);
    slad_image_free(&final);
    return status;
}

/* The source pixel of each wanted output pixel; `size` where there is none. Positions are added up from the left, as
 * Pillow does, since one multiplication would round differently. */
static void nearest_positions(size_t *positions, const dimension *d)
{
    const double step = (double)(d->high - d->low) / (double)d->total;
    double position = (double)d->low + step * 0.5;
    for (size_t i = 0; i < d->start + d->count; i++, position += step) {
        if (i < d->start) continue;
        const bool inside = position >= 0.0 && position < (double)d->size;
        positions[i - d->start] = inside ? (size_t)position : d->size;
    }
}

static slad_status pick_nearest(slad_context *context, slad_image *result, const pixel_view *source,
                                const dimension *down, const dimension *across)
{
    slad_status status = SLAD_OK;
    size_t *rows = NULL, *columns = NULL;
    SLAD_TRY(image_allocate(context, result, down->count, across->count));
    SLAD_TRY(slad_allocate(context, &rows, down->count, sizeof *rows, "resize positions"));
    SLAD_TRY(slad_allocate(context, &columns, across->count, sizeof *columns, "resize positions"));
    nearest_positions(rows, down);
    nearest_positions(columns, across);
    for (size_t y = 0; y < down->count; y++) {
        if (rows[y] == source->height) continue;
        for (size_t x = 0; x < across->count; x++) {
            if (columns[x] == source->width) continue;
            memcpy(result->pixels + (y * across->count + x) * CHANNELS,
                   source->pixels + rows[y] * source->stride + columns[x] * CHANNELS, CHANNELS);
        }
    }
cleanup:
    slad_release(rows);
    slad_release(columns);
    if (status != SLAD_OK) slad_image_free(result);
    return status;
}

static slad_status resize_any(slad_context *context, slad_image *result, const pixel_view *source,
                              const dimension *down, const dimension *across, slad_filter filter)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(down->total > INT32_MAX || across->total > INT32_MAX, SLAD_ERROR_DATA,
                 "an image of %zu x %zu pixels is too long and thin: resized it would have %zu x %zu; crop it "
                 "beforehand",
                 down->size, across->size, down->total, across->total);
    if (filter == SLAD_FILTER_NEAREST)
        SLAD_TRY(pick_nearest(context, result, source, down, across));
    else
        SLAD_TRY(resample(context, result, source, down, across, filter));
cleanup:
    return status;
}

slad_status slad_image_resize(slad_context *context, slad_image *result, const slad_image *source, double left,
                              double top, double box_width, double box_height, size_t height, size_t width,
                              slad_filter filter)
{
    slad_status status = SLAD_OK;
    const dimension down = {source->height, height, 0, height, (float)top, (float)(top + box_height)};
    const dimension across = {source->width, width, 0, width, (float)left, (float)(left + box_width)};
    const pixel_view view = view_of(source);
    SLAD_FAIL_IF(height == 0 || width == 0, SLAD_ERROR_USAGE, "cannot resize an image to %zu x %zu pixels", height,
                 width);
    SLAD_FAIL_IF(!(left >= 0.0 && top >= 0.0 && across.high > across.low && down.high > down.low &&
                   across.high <= (float)source->width && down.high <= (float)source->height),
                 SLAD_ERROR_USAGE, "the box (%g, %g) + (%g, %g) is not inside an image of %zu x %zu pixels", left, top,
                 box_width, box_height, source->width, source->height);
    SLAD_TRY(resize_any(context, result, &view, &down, &across, filter));
cleanup:
    return status;
}

slad_status slad_image_resize_window(slad_context *context, slad_image *result, const slad_image *source,
                                     slad_rectangle crop, size_t height, size_t width, slad_rectangle window,
                                     slad_filter filter)
{
    slad_status status = SLAD_OK;
    const dimension down = {crop.height, height, window.top, window.height, 0.0f, (float)crop.height};
    const dimension across = {crop.width, width, window.left, window.width, 0.0f, (float)crop.width};
    pixel_view view = view_of(source);
    SLAD_FAIL_IF(crop.height == 0 || crop.width == 0 || crop.top + crop.height > source->height ||
                     crop.left + crop.width > source->width,
                 SLAD_ERROR_USAGE, "the crop (%zu, %zu) + (%zu, %zu) is not inside an image of %zu x %zu pixels",
                 crop.left, crop.top, crop.width, crop.height, source->width, source->height);
    SLAD_FAIL_IF(window.height == 0 || window.width == 0 || window.top + window.height > height ||
                     window.left + window.width > width,
                 SLAD_ERROR_USAGE, "the window (%zu, %zu) + (%zu, %zu) is not inside %zu x %zu pixels", window.left,
                 window.top, window.width, window.height, width, height);
    view.pixels += crop.top * view.stride + crop.left * CHANNELS;
    view.height = crop.height;
    view.width = crop.width;
    SLAD_TRY(resize_any(context, result, &view, &down, &across, filter));
cleanup:
    return status;
}
