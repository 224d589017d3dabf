#include "reference/patch_embedding.h"

/* One output of the convolution: `image` begins at the patch's first pixel, `filter` is [channels, patch, patch]. */
static double filter_patch(const float *image, const float *filter, const slad_reference_patches *sizes)
{
    double sum = 0;
    for (size_t channel = 0; channel < sizes->channels; channel++) {
        for (size_t y = 0; y < sizes->patch; y++) {
            const float *pixel = image + (channel * sizes->height + y) * sizes->width;
            const float *tap = filter + (channel * sizes->patch + y) * sizes->patch;
            for (size_t x = 0; x < sizes->patch; x++) sum += (double)pixel[x] * tap[x];
        }
    }
    return sum;
}

void slad_reference_patch_embedding(float *tokens, const float *pixels, const float *weight, const float *bias,
                                    const float *class_token, const float *position,
                                    const slad_reference_patches *sizes)
{
    const size_t columns = sizes->columns, grid_width = sizes->width / sizes->patch;
    const size_t patches = sizes->height / sizes->patch * grid_width;
    const size_t filter_size = sizes->channels * sizes->patch * sizes->patch;
    for (size_t b = 0; b < sizes->batch; b++) {
        const float *image = pixels + b * sizes->channels * sizes->height * sizes->width;
        float *token = tokens + b * (1 + patches) * columns;
        for (size_t j = 0; j < columns; j++) token[j] = class_token[j] + position[j];
        for (size_t p = 0; p < patches; p++) {
            const size_t top = p / grid_width * sizes->patch, left = p % grid_width * sizes->patch;
            for (size_t j = 0; j < columns; j++) {
                const double value = filter_patch(image + top * sizes->width + left, weight + j * filter_size, sizes);
                token[(1 + p) * columns + j] = (float)(value + bias[j] + position[(1 + p) * columns + j]);
            }
        }
    }
}
