#include "data/mixing.h"

#include <math.h>

slad_rectangle slad_cutmix_box(double *share, size_t height, size_t width, size_t centre_y, size_t centre_x)
{
    const double ratio = sqrt(1.0 - *share);
    const size_t cut_height = (size_t)((double)height * ratio), cut_width = (size_t)((double)width * ratio);
    const size_t top = centre_y > cut_height / 2 ? centre_y - cut_height / 2 : 0;
    const size_t left = centre_x > cut_width / 2 ? centre_x - cut_width / 2 : 0;
    size_t bottom = centre_y + (cut_height + 1) / 2, right = centre_x + (cut_width + 1) / 2;
    if (bottom > height) bottom = height;
    if (right > width) right = width;
    const slad_rectangle box = {top, left, bottom - top, right - left};
    *share = 1.0 - (double)(box.height * box.width) / ((double)height * (double)width);
    return box;
}

slad_mixing slad_mixing_draw(slad_random *random, double mixup, double cutmix, size_t height, size_t width)
{
    slad_mixing mixing = {.share = 1};
    if (!(mixup > 0) && !(cutmix > 0)) return mixing;
    mixing.has_box = cutmix > 0;
    if (mixup > 0 && cutmix > 0) mixing.has_box = slad_random_uniform(random) < 0.5f;
    mixing.share = slad_random_beta(random, mixing.has_box ? cutmix : mixup);
    if (mixing.has_box) {
        const size_t centre_y = slad_random_below(random, (uint32_t)height);
        const size_t centre_x = slad_random_below(random, (uint32_t)width);
        mixing.box = slad_cutmix_box(&mixing.share, height, width, centre_y, centre_x);
    }
    return mixing;
}

static void blend(float *one, float *other, size_t count, double share)
{
    const float own = (float)share, rest = (float)(1.0 - share);
    for (size_t i = 0; i < count; i++) {
        const float a = one[i], b = other[i];
        one[i] = own * a + rest * b;
        other[i] = own * b + rest * a;
    }
}

static void swap(float *one, float *other, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const float kept = one[i];
        one[i] = other[i];
        other[i] = kept;
    }
}

static void mix_pixels(const slad_batch *batch, size_t first, size_t second, const slad_mixing *mixing)
{
    const size_t plane = batch->height * batch->width;
    float *one = batch->pixel_values + 3 * plane * first, *other = batch->pixel_values + 3 * plane * second;
    const slad_rectangle *box = &mixing->box;
    if (!mixing->has_box) {
        blend(one, other, 3 * plane, mixing->share);
        return;
    }
    for (size_t channel = 0; channel < 3; channel++) {
        for (size_t y = box->top; y < box->top + box->height; y++) {
            const size_t start = channel * plane + y * batch->width + box->left;
            swap(one + start, other + start, box->width);
        }
    }
}

static void mix_pair(slad_batch *batch, size_t first, size_t second, const slad_mixing *mixing)
{
    mix_pixels(batch, first, second, mixing);
    batch->labels_2[first] = batch->labels[second];
    batch->labels_2[second] = batch->labels[first];
    batch->mix[first] = batch->mix[second] = (float)mixing->share;
    if (batch->task_weights[first] == 0.0f || batch->task_weights[second] == 0.0f)
        batch->task_weights[first] = batch->task_weights[second] = 0.0f;
}

void slad_mixing_apply(slad_batch *batch, const slad_mixing *mixing)
{
    for (size_t i = 0; i < batch->capacity; i++) {
        batch->labels_2[i] = i < batch->count ? batch->labels[i] : 0;
        batch->mix[i] = i < batch->count ? 1.0f : 0.0f;
    }
    if (mixing->share == 1.0) return;
    for (size_t i = 0; i < batch->count / 2; i++) {
        const size_t partner = batch->count - 1 - i;
        if (batch->kl_weights[i] != 0.0f && batch->kl_weights[partner] != 0.0f) mix_pair(batch, i, partner, mixing);
    }
}
