#include "data/colour.h"

#include "base/memory.h"
#include <math.h>
#include <string.h>

enum { CHANNELS = 3, RADIUS = 4, KERNEL = 2 * RADIUS + 1, ADJUSTMENTS = 4 };

static unsigned char luminance(const unsigned char *rgb)
{
    return (unsigned char)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

/* Pillow's Image.blend: in float, cut off instead of rounded. */
static unsigned char blend(unsigned char from, unsigned char to, float factor)
{
    const float value = (float)from + factor * (float)(to - from);
    if (value <= 0.0f) return 0;
    return value >= 255.0f ? 255 : (unsigned char)value;
}

static void blend_with(slad_image *image, unsigned char level, float factor)
{
    unsigned char table[256];
    const size_t count = image->height * image->width * CHANNELS;
    for (int i = 0; i < 256; i++) table[i] = blend(level, (unsigned char)i, factor);
    for (size_t i = 0; i < count; i++) image->pixels[i] = table[image->pixels[i]];
}

void slad_adjust_brightness(slad_image *image, double factor)
{
    blend_with(image, 0, (float)factor);
}

void slad_adjust_contrast(slad_image *image, double factor)
{
    const size_t count = image->height * image->width;
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += luminance(image->pixels + CHANNELS * i);
    blend_with(image, (unsigned char)((double)sum / (double)count + 0.5), (float)factor);
}

void slad_adjust_saturation(slad_image *image, double factor)
{
    const size_t count = image->height * image->width;
    for (size_t i = 0; i < count; i++) {
        unsigned char *rgb = image->pixels + CHANNELS * i;
        const unsigned char grey = luminance(rgb);
        for (size_t c = 0; c < CHANNELS; c++) rgb[c] = blend(grey, rgb[c], (float)factor);
    }
}

void slad_make_grey(slad_image *image)
{
    const size_t count = image->height * image->width;
    for (size_t i = 0; i < count; i++) memset(image->pixels + CHANNELS * i, luminance(image->pixels + CHANNELS * i), 3);
}

/* ---- Hue, saturation and value of 8 bits each, as Pillow converts them ---- */

static unsigned char clip(double value)
{
    return value <= 0 ? 0 : value >= 255 ? 255 : (unsigned char)value;
}

static void to_hsv(unsigned char hsv[CHANNELS], const unsigned char rgb[CHANNELS])
{
    unsigned char largest = rgb[0], smallest = rgb[0];
    for (size_t c = 1; c < CHANNELS; c++) {
        if (rgb[c] > largest) largest = rgb[c];
        if (rgb[c] < smallest) smallest = rgb[c];
    }
    hsv[0] = hsv[1] = 0;
    hsv[2] = largest;
    if (largest == smallest) return;
    const float range = (float)(largest - smallest), saturation = range / (float)largest;
    float distance[CHANNELS]; /* of each channel from the largest, in parts of the range */
    for (size_t c = 0; c < CHANNELS; c++) distance[c] = (float)(largest - rgb[c]) / range;
    float hue; /* sixths of the circle: red at 0, green at 2, blue at 4 */
    if (rgb[0] == largest)
        hue = distance[2] - distance[1];
    else if (rgb[1] == largest)
        hue = (float)(2.0 + (double)distance[0] - (double)distance[2]);
    else
        hue = (float)(4.0 + (double)distance[1] - (double)distance[0]);
    hue = (float)fmod((double)hue / 6.0 + 1.0, 1.0);
    hsv[0] = clip((double)hue * 255.0);
    hsv[1] = clip((double)saturation * 255.0);
}

static void to_rgb(unsigned char rgb[CHANNELS], const unsigned char hsv[CHANNELS])
{
    /* Which of value, p, q, t each channel is, in each sixth of the circle. */
    static const unsigned char roles[6][CHANNELS] = {{0, 3, 1}, {2, 0, 1}, {1, 0, 3}, {1, 2, 0}, {3, 1, 0}, {0, 1, 2}};
    if (hsv[1] == 0) {
        memset(rgb, hsv[2], CHANNELS);
        return;
    }
    const double sixths = (double)hsv[0] * 6.0 / 255.0, value = hsv[2];
    const int sixth = (int)sixths;
    const float rest = (float)(sixths - sixth), saturation = (float)(hsv[1] / 255.0);
    const unsigned char levels[4] = {
        hsv[2],
        clip(round(value * (1.0 - (double)saturation))),
        clip(round(value * (1.0 - (double)(saturation * rest)))),
        clip(round(value * (1.0 - (double)saturation * (1.0 - (double)rest)))),
    };
    for (size_t c = 0; c < CHANNELS; c++) rgb[c] = levels[roles[sixth % 6][c]];
}

void slad_adjust_hue(slad_image *image, double turns)
{
    const size_t count = image->height * image->width;
    const int shift = (int)(turns * 255.0);
    for (size_t i = 0; i < count; i++) {
        unsigned char hsv[CHANNELS];
        to_hsv(hsv, image->pixels + CHANNELS * i);
        hsv[0] = (unsigned char)(hsv[0] + shift); /* around the circle */
        to_rgb(image->pixels + CHANNELS * i, hsv);
    }
}

/* ---- Blur ---- */

/* The place within 0 .. size-1 that a place outside is reflected to, the border itself not repeated. */
static size_t reflect(ptrdiff_t place, size_t size)
{
    const ptrdiff_t last = (ptrdiff_t)size - 1;
    if (last == 0) return 0;
    while (place < 0 || place > last) place = place < 0 ? -place : 2 * last - place;
    return (size_t)place;
}

static void make_weights(float weights[KERNEL], double sigma)
{
    double sum = 0, values[KERNEL];
    for (int i = 0; i < KERNEL; i++) {
        const double x = (i - RADIUS) / sigma;
        values[i] = exp(-0.5 * x * x);
        sum += values[i];
    }
    for (int i = 0; i < KERNEL; i++) weights[i] = (float)(values[i] / sum);
}

slad_status slad_blur(slad_context *context, slad_image *image, double sigma)
{
    slad_status status = SLAD_OK;
    const size_t height = image->height, width = image->width, row = CHANNELS * width;
    float weights[KERNEL], *across = NULL;
    SLAD_TRY(slad_allocate(context, &across, height * row, sizeof *across, "blurred image"));
    make_weights(weights, sigma);
    for (size_t y = 0; y < height; y++) {
        for (size_t x = 0; x < width; x++) {
            float *sums = across + y * row + CHANNELS * x;
            for (int i = 0; i < KERNEL; i++) {
                const size_t from = reflect((ptrdiff_t)x + i - RADIUS, width);
                const unsigned char *rgb = image->pixels + y * row + CHANNELS * from;
                for (size_t c = 0; c < CHANNELS; c++) sums[c] += weights[i] * (float)rgb[c];
            }
        }
    }
    for (size_t y = 0; y < height; y++) {
        const float *rows[KERNEL];
        for (int i = 0; i < KERNEL; i++) rows[i] = across + reflect((ptrdiff_t)y + i - RADIUS, height) * row;
        for (size_t k = 0; k < row; k++) {
            float sum = 0;
            for (int i = 0; i < KERNEL; i++) sum += weights[i] * rows[i][k];
            image->pixels[y * row + k] = clip(nearbyint((double)sum));
        }
    }
cleanup:
    slad_release(across);
    return status;
}

/* ---- The recipe ---- */

static double uniform_between(slad_random *random, double low, double high)
{
    return low + (high - low) * (double)slad_random_uniform(random);
}

static void jitter(slad_image *image, slad_random *random)
{
    uint32_t order[ADJUSTMENTS];
    slad_random_permutation(order, ADJUSTMENTS, random);
    const double brightness = uniform_between(random, 0.6, 1.4), contrast = uniform_between(random, 0.6, 1.4);
    const double saturation = uniform_between(random, 0.6, 1.4), turns = uniform_between(random, -0.1, 0.1);
    for (size_t i = 0; i < ADJUSTMENTS; i++) {
        if (order[i] == 0) slad_adjust_brightness(image, brightness);
        if (order[i] == 1) slad_adjust_contrast(image, contrast);
        if (order[i] == 2) slad_adjust_saturation(image, saturation);
        if (order[i] == 3) slad_adjust_hue(image, turns);
    }
}

slad_status slad_distort(slad_context *context, slad_image *image, slad_random *random)
{
    slad_status status = SLAD_OK;
    if (slad_random_uniform(random) < 0.8f) jitter(image, random);
    if (slad_random_uniform(random) < 0.2f) slad_make_grey(image);
    if (slad_random_uniform(random) < 0.1f) SLAD_TRY(slad_blur(context, image, uniform_between(random, 0.1, 2.0)));
cleanup:
    return status;
}
