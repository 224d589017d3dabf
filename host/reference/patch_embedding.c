#include "reference/patch_embedding.h"
#include <string.h>

void slad_reference_patch_unfold(float *patches, const float *pixels, const slad_reference_images *sizes)
{
    const size_t side = sizes->patch, rows = sizes->height / side, columns = sizes->width / side;
    for (size_t b = 0; b < sizes->batch; b++) {
        for (size_t p = 0; p < rows * columns; p++) {
            const size_t top = p / columns * side, left = p % columns * side;
            for (size_t channel = 0; channel < sizes->channels; channel++) {
                const float *image = pixels + (b * sizes->channels + channel) * sizes->height * sizes->width;
                for (size_t y = 0; y < side; y++, patches += side)
                    memcpy(patches, image + (top + y) * sizes->width + left, side * sizeof *patches);
            }
        }
    }
}

void slad_reference_patch_assemble(float *tokens, const float *projected, const float *class_token,
                                   const float *registers, const float *position, const slad_reference_tokens *sizes)
{
    const size_t columns = sizes->columns, prefix = 1 + sizes->registers;
    for (size_t b = 0; b < sizes->batch; b++) {
        float *image = tokens + b * (prefix + sizes->patches) * columns;
        for (size_t j = 0; j < columns; j++) {
            image[j] = class_token[j] + position[j];
            for (size_t i = 0; i < sizes->registers; i++) image[(1 + i) * columns + j] = registers[i * columns + j];
            for (size_t p = 0; p < sizes->patches; p++)
                image[(prefix + p) * columns + j] =
                    projected[(b * sizes->patches + p) * columns + j] + position[(1 + p) * columns + j];
        }
    }
}

void slad_reference_patch_gather(float *dprojected, const float *dtokens, bool accumulate,
                                 const slad_reference_tokens *sizes)
{
    const size_t columns = sizes->columns, prefix = 1 + sizes->registers, elements = sizes->patches * columns;
    for (size_t b = 0; b < sizes->batch; b++) {
        const float *source = dtokens + (b * (prefix + sizes->patches) + prefix) * columns;
        float *target = dprojected + b * elements;
        for (size_t i = 0; i < elements; i++) target[i] = accumulate ? target[i] + source[i] : source[i];
    }
}

void slad_reference_patch_sums(float *target, const float *dtokens, bool accumulate, size_t first, size_t skip,
                               size_t rows, const slad_reference_tokens *sizes)
{
    const size_t columns = sizes->columns, tokens = 1 + sizes->registers + sizes->patches;
    for (size_t row = 0; row < rows; row++) {
        const size_t token = first + row + (row > 0 ? skip : 0);
        for (size_t j = 0; j < columns; j++) {
            double sum = accumulate ? (double)target[row * columns + j] : 0;
            for (size_t b = 0; b < sizes->batch; b++) sum += (double)dtokens[(b * tokens + token) * columns + j];
            target[row * columns + j] = (float)sum;
        }
    }
}
