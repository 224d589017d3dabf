/* Resize, crop and normalise. */
#include "data/preprocess.h"

#include "data/colour.h"

#include <math.h>

enum { CHANNELS = 3, LEVELS = 256, CROP_TRIES = 10 };

slad_preprocess slad_preprocess_default(void)
{
    return (slad_preprocess){.do_resize = true,
                             .shortest_edge = 256,
                             .filter = SLAD_FILTER_BICUBIC,
                             .do_center_crop = true,
                             .crop_height = 224,
                             .crop_width = 224,
                             .rescale_factor = 1.0 / 255.0,
                             .mean = {0.485f, 0.456f, 0.406f},
                             .deviation = {0.229f, 0.224f, 0.225f}};
}

static size_t scale_rounded(size_t value, size_t numerator, size_t denominator)
{
    const size_t scaled = (value * numerator * 2 + denominator) / (denominator * 2);
    return value > 0 && scaled == 0 ? 1 : scaled;
}

void slad_preprocess_set_size(slad_preprocess *preprocess, size_t size)
{
    slad_preprocess *p = preprocess;
    const size_t short_crop = p->crop_height < p->crop_width ? p->crop_height : p->crop_width;
    p->shortest_edge = scale_rounded(p->shortest_edge, size, short_crop);
    p->resize_height = scale_rounded(p->resize_height, size, p->crop_height);
    p->resize_width = scale_rounded(p->resize_width, size, p->crop_width);
    p->crop_height = p->crop_width = size;
}

/* The normalised value of every level of every channel. As transformers: the product in double, rounded to float, then
 * difference and quotient in float. */
static void fill_levels(float levels[CHANNELS][LEVELS], const slad_preprocess *preprocess)
{
    for (int channel = 0; channel < CHANNELS; channel++) {
        for (int level = 0; level < LEVELS; level++) {
            const float value = (float)(level * preprocess->rescale_factor);
            levels[channel][level] = (value - preprocess->mean[channel]) / preprocess->deviation[channel];
        }
    }
}

/* Writes `patch` into the tensor [3, crop_height, crop_width] at (top, left), mirrored if `flip`, and black around it.
 * The patch lies inside. */
static void write_normalised(float *pixels, const slad_preprocess *preprocess, const slad_image *patch, size_t top,
                             size_t left, bool flip)
{
    float levels[CHANNELS][LEVELS];
    const size_t height = preprocess->crop_height, width = preprocess->crop_width;
    fill_levels(levels, preprocess);
    for (size_t channel = 0; channel < CHANNELS; channel++) {
        const float *level = levels[channel];
        float *plane = pixels + channel * height * width;
        if (patch->height < height || patch->width < width)
            for (size_t i = 0; i < height * width; i++) plane[i] = level[0];
        for (size_t y = 0; y < patch->height; y++) {
            const unsigned char *source = patch->pixels + y * patch->width * CHANNELS + channel;
            float *row = plane + (top + y) * width + left;
            for (size_t x = 0; x < patch->width; x++)
                row[flip ? patch->width - 1 - x : x] = level[source[x * CHANNELS]];
        }
    }
}

static void resized_size(size_t *height, size_t *width, const slad_preprocess *preprocess, const slad_image *image)
{
    const size_t edge = preprocess->shortest_edge;
    *height = image->height;
    *width = image->width;
    if (!preprocess->do_resize) return;
    if (edge == 0) {
        *height = preprocess->resize_height;
        *width = preprocess->resize_width;
    } else if (image->width <= image->height) {
        *height = (size_t)((double)(edge * image->height) / (double)image->width);
        *width = edge;
    } else {
        *width = (size_t)((double)(edge * image->width) / (double)image->height);
        *height = edge;
    }
}

/* One side of the centre crop: `count` pixels from `start` of the resized image go to `target` of the tensor. */
static void center_crop(size_t *start, size_t *count, size_t *target, size_t size, size_t crop)
{
    *start = size > crop ? (size - crop) / 2 : 0;
    *count = size > crop ? crop : size;
    *target = size > crop ? 0 : (crop - size + 1) / 2;
}

slad_status slad_preprocess_evaluate(slad_context *context, float *pixels, const slad_preprocess *preprocess,
                                     const slad_image *image)
{
    slad_status status = SLAD_OK;
    slad_image patch = {0};
    slad_rectangle window = {0};
    const slad_rectangle whole = {0, 0, image->height, image->width};
    size_t height = 0, width = 0, top = 0, left = 0;
    resized_size(&height, &width, preprocess, image);
    center_crop(&window.top, &window.height, &top, height, preprocess->crop_height);
    center_crop(&window.left, &window.width, &left, width, preprocess->crop_width);
    SLAD_TRY(slad_image_resize_window(context, &patch, image, whole, height, width, window, preprocess->filter));
    write_normalised(pixels, preprocess, &patch, top, left, false);
cleanup:
    slad_image_free(&patch);
    return status;
}

static double uniform_between(slad_random *random, double low, double high)
{
    return low + (high - low) * (double)slad_random_uniform(random);
}

/* Rounds to the nearest, halves to even, as Python does; at least 0. */
static size_t round_side(double value)
{
    return value > 0.0 ? (size_t)nearbyint(value) : 0;
}

slad_rectangle slad_random_crop(size_t height, size_t width, double scale_low, double scale_high, slad_random *random)
{
    const double ratio_low = 3.0 / 4.0, ratio_high = 4.0 / 3.0;
    const double area = (double)height * (double)width;
    for (int i = 0; i < CROP_TRIES; i++) {
        const double target = area * uniform_between(random, scale_low, scale_high);
        const double ratio = exp(uniform_between(random, log(ratio_low), log(ratio_high)));
        const size_t crop_width = round_side(sqrt(target * ratio));
        const size_t crop_height = round_side(sqrt(target / ratio));
        if (crop_width == 0 || crop_width > width || crop_height == 0 || crop_height > height) continue;
        const size_t top = slad_random_below(random, (uint32_t)(height - crop_height + 1));
        const size_t left = slad_random_below(random, (uint32_t)(width - crop_width + 1));
        return (slad_rectangle){top, left, crop_height, crop_width};
    }
    slad_rectangle crop = {0, 0, height, width};
    const double ratio = (double)width / (double)height;
    if (ratio < ratio_low) crop.height = round_side((double)width / ratio_low);
    if (ratio > ratio_high) crop.width = round_side((double)height * ratio_high);
    crop.top = (height - crop.height) / 2;
    crop.left = (width - crop.width) / 2;
    return crop;
}

static slad_status augment(slad_context *context, float *pixels, const slad_preprocess *preprocess,
                           const slad_image *image, const double scale[2], bool distorted, slad_random *random)
{
    slad_status status = SLAD_OK;
    slad_image patch = {0};
    const size_t height = preprocess->crop_height, width = preprocess->crop_width;
    const slad_rectangle all = {0, 0, height, width};
    const slad_rectangle crop = slad_random_crop(image->height, image->width, scale[0], scale[1], random);
    const bool flip = slad_random_uniform(random) < 0.5f;
    SLAD_TRY(slad_image_resize_window(context, &patch, image, crop, height, width, all, preprocess->filter));
    if (distorted) SLAD_TRY(slad_distort(context, &patch, random)); /* the flip, still to come, commutes with it */
    write_normalised(pixels, preprocess, &patch, 0, 0, flip);
cleanup:
    slad_image_free(&patch);
    return status;
}

slad_status slad_preprocess_crop_flip(slad_context *context, float *pixels, const slad_preprocess *preprocess,
                                      const slad_image *image, double scale_low, double scale_high, slad_random *random)
{
    const double scale[2] = {scale_low, scale_high};
    return augment(context, pixels, preprocess, image, scale, false, random);
}

slad_status slad_preprocess_strong(slad_context *context, float *pixels, const slad_preprocess *preprocess,
                                   const slad_image *image, double scale_low, double scale_high, slad_random *random)
{
    const double scale[2] = {scale_low, scale_high};
    return augment(context, pixels, preprocess, image, scale, true, random);
}
