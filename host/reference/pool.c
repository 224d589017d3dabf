#include "reference/pool.h"

void slad_reference_pool(float *pooled, const float *tokens, const slad_reference_pooling *sizes)
{
    const size_t columns = sizes->columns, patches = sizes->tokens - sizes->prefix;
    const size_t features = sizes->mean ? 2 * columns : columns;
    for (size_t b = 0; b < sizes->batch; b++) {
        const float *image = tokens + b * sizes->tokens * columns;
        for (size_t j = 0; j < columns; j++) {
            pooled[b * features + j] = image[j];
            if (!sizes->mean) continue;
            double sum = 0;
            for (size_t t = sizes->prefix; t < sizes->tokens; t++) sum += image[t * columns + j];
            pooled[b * features + columns + j] = (float)(sum / (double)patches);
        }
    }
}

void slad_reference_pool_backward(float *dtokens, const float *dpooled, bool accumulate,
                                  const slad_reference_pooling *sizes)
{
    const size_t columns = sizes->columns, patches = sizes->tokens - sizes->prefix;
    const size_t features = sizes->mean ? 2 * columns : columns;
    for (size_t b = 0; b < sizes->batch; b++) {
        const float *gradient = dpooled + b * features;
        for (size_t t = 0; t < sizes->tokens; t++) {
            for (size_t j = 0; j < columns; j++) {
                double value = 0;
                if (t == 0) value = gradient[j];
                if (t >= sizes->prefix && sizes->mean) value = gradient[columns + j] / (double)patches;
                float *target = dtokens + (b * sizes->tokens + t) * columns + j;
                *target = (float)(accumulate ? *target + value : value);
            }
        }
    }
}
