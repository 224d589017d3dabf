/* Feature distillation: the mean squared difference between a student's projected tokens and a teacher's tokens, which
 * are standardised here (LayerNorm without affine parameters), and its gradient with respect to the former.
 * ROW_LANES work-items share a token; columns are dealt to them as in layer_norm.cl, and the mean is made exact as
 * there. */
#include "common.h"

/* As in host/ops/step_values.h. */
#define STEP_INVERSE_KL 1
#define SUM_FEATURE     5

/* Sums a (vector part, scalar part) pair over the row. */
#define ROW_TOTAL(vector_part, scalar_part) row_sum(horizontal_sum(vector_part) + (scalar_part), scratch)

/* terms [batch, tokens] and dprojected [batch, tokens, columns]; projected likewise, target [batch, target_tokens,
 * columns]. Compared are the first token and the last compared - 1 of each image; the others get 0. `share` is
 * 1 / (compared * columns). Dimension 0: the lanes. Dimension 1: token. Dimension 2: image. */
__kernel void feature_loss(__global float *restrict terms, const uint terms_offset, __global float *restrict dprojected,
                           const uint dprojected_offset, __global const float *restrict projected,
                           const uint projected_offset, __global const float *restrict target, const uint target_offset,
                           __global const float *restrict kl_weights, const uint kl_weights_offset,
                           __global const float *restrict step_values, const uint step_values_offset, const uint batch,
                           const uint tokens, const uint target_tokens, const uint columns, const uint compared,
                           const float epsilon, const float share, const float alpha)
{
    ROW_SCRATCH(scratch);
    /* All lanes reach all reductions: a token that does not exist is worked as the first, and not stored; one that is
     * not compared is worked against the teacher's first, with a weight of 0. */
    const int exists = get_global_id(1) < tokens && get_global_id(2) < batch;
    const uint token = exists ? (uint)get_global_id(1) : 0, image = exists ? (uint)get_global_id(2) : 0;
    const int is_compared = token == 0 || tokens - token < compared;
    const uint partner = is_compared && token > 0 ? target_tokens - (tokens - token) : 0;
    const uint row = image * tokens + token;
    const float weight =
        is_compared ? kl_weights[kl_weights_offset + image] * step_values[step_values_offset + STEP_INVERSE_KL] * share
                    : 0.0f;
    projected += projected_offset + (size_t)row * columns;
    dprojected += dprojected_offset + (size_t)row * columns;
    target += target_offset + ((size_t)image * target_tokens + partner) * columns;
    const uint vectors = columns / VECTOR_WIDTH, rest = vectors * VECTOR_WIDTH;
    const float inverse_columns = 1.0f / (float)columns;

    floatv sum = (floatv)(0.0f);
    float rest_sum = 0.0f;
    for (uint i = ROW_LANE; i < vectors; i += ROW_LANES) sum += vloadv(i, target);
    for (uint j = rest + ROW_LANE; j < columns; j += ROW_LANES) rest_sum += target[j];
    const float estimate = ROW_TOTAL(sum, rest_sum) * inverse_columns;

    floatv squares = (floatv)(0.0f);
    float rest_squares = 0.0f;
    sum = (floatv)(0.0f);
    rest_sum = 0.0f;
    for (uint i = ROW_LANE; i < vectors; i += ROW_LANES) {
        const floatv difference = vloadv(i, target) - estimate;
        sum += difference;
        squares = multiply_add(difference, difference, squares);
    }
    for (uint j = rest + ROW_LANE; j < columns; j += ROW_LANES) {
        const float difference = target[j] - estimate;
        rest_sum += difference;
        rest_squares = multiply_add(difference, difference, rest_squares);
    }
    const float correction = ROW_TOTAL(sum, rest_sum) * inverse_columns;
    const float variance = ROW_TOTAL(squares, rest_squares) * inverse_columns - correction * correction;
    const float mean = estimate + correction;
    const float rstd = 1.0f / sqrt(fmax(variance, 0.0f) + epsilon);

    const float slope = 2.0f * alpha * weight;
    squares = (floatv)(0.0f);
    rest_squares = 0.0f;
    for (uint i = ROW_LANE; i < vectors; i += ROW_LANES) {
        const floatv difference = vloadv(i, projected) - (vloadv(i, target) - mean) * rstd;
        squares = multiply_add(difference, difference, squares);
        if (exists) vstorev(slope * difference, i, dprojected);
    }
    for (uint j = rest + ROW_LANE; j < columns; j += ROW_LANES) {
        const float difference = projected[j] - (target[j] - mean) * rstd;
        rest_squares = multiply_add(difference, difference, rest_squares);
        if (exists) dprojected[j] = slope * difference;
    }
    const float total = ROW_TOTAL(squares, rest_squares);
    if (exists && ROW_LANE == 0) terms[terms_offset + row] = weight * total;
}

/* accumulators += the sum of the terms, over the images in their order. One row of lanes. */
__kernel void feature_loss_sum(__global float *restrict accumulators, const uint accumulators_offset,
                               __global const float *restrict terms, const uint terms_offset, const uint batch,
                               const uint tokens)
{
    ROW_SCRATCH(scratch);
    float sum = 0.0f;
    terms += terms_offset;
    for (uint image = 0; image < batch; image++, terms += tokens) {
        float of_image = 0.0f;
        for (uint token = ROW_LANE; token < tokens; token += ROW_LANES) of_image += terms[token];
        sum += of_image;
    }
    const float total = row_sum(sum, scratch);
    if (ROW_LANE == 0 && get_global_id(1) == 0) accumulators[accumulators_offset + SUM_FEATURE] += total;
}
