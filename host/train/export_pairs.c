/* Adapters as pairs that any program understands, from the plan by which they were trained. */
#include "base/memory.h"
#include "model/adapter_plan.h"
#include "train/export.h"
#include <string.h>

enum { QKV = 3 };

static slad_status make_plan(slad_context *context, slad_adapter_plan *plan, const slad_export_source *source,
                             bool teacher)
{
    const slad_encoder_info *of_teacher = source->teacher ? slad_encoder_get_info(source->teacher) : NULL;
    const slad_encoder_info *of_student = source->student ? slad_encoder_get_info(source->student) : NULL;
    const slad_status status = teacher
                                   ? slad_adapter_plan_teacher(context, plan, of_teacher, of_student, source->options)
                                   : slad_adapter_plan_student(context, plan, of_student, of_teacher, source->options);
    /* These options have trained already, so it is the models that are not those of the run. */
    return status == SLAD_ERROR_USAGE ? SLAD_ERROR_DATA : status;
}

/* The values that the network sees of a factor, one behind another. */
static slad_status read_factor(slad_context *context, float **window, const slad_factor *factor,
                               const slad_export_source *source)
{
    slad_status status = SLAD_OK;
    const bool is_b = factor->dimensions == QKV;
    const size_t *stored = factor->stored, *size = factor->size, *stride = factor->stride;
    const size_t last = is_b ? size[2] : 1;
    const uint64_t shape[2] = {is_b ? stored[0] * stored[1] : stored[0], is_b ? stored[2] : stored[1]};
    float *whole = NULL, *next;
    SLAD_TRY(slad_allocate(context, &whole, (size_t)(shape[0] * shape[1]), sizeof *whole, factor->name));
    SLAD_TRY(slad_allocate(context, window, size[0] * size[1] * last, sizeof **window, factor->name));
    SLAD_TRY(source->read(context, whole, factor->name, 2, shape, source->user));
    next = *window;
    for (size_t i = 0; i < size[0]; i++)
        for (size_t j = 0; j < size[1]; j++)
            for (size_t k = 0; k < last; k++)
                *next++ = whole[i * stride[0] + j * stride[1] + (is_b ? k * stride[2] : 0)];
cleanup:
    slad_release(whole);
    return status;
}

/* Whether two adapters act on the same weight, so that they are one of a higher rank. */
static bool same_place(const slad_planned_adapter *a, const slad_planned_adapter *b)
{
    return a->layer == b->layer && a->target == b->target && a->first_row == b->first_row;
}

/* The target of one of the blocks of an adapter's B. */
static slad_peft_target target_of(const slad_planned_adapter *item, size_t block)
{
    static const slad_peft_target targets[SLAD_TARGETS] = {
        [SLAD_TARGET_QKV] = SLAD_PEFT_Q,
        [SLAD_TARGET_PROJ] = SLAD_PEFT_PROJ,
        [SLAD_TARGET_FC1] = SLAD_PEFT_FC1,
        [SLAD_TARGET_FC2] = SLAD_PEFT_FC2,
    };
    const size_t part = item->target == SLAD_TARGET_QKV ? item->first_row / item->b.size[1] + block : 0;
    return (slad_peft_target)(targets[item->target] + part);
}

/* Blocks of B that become pairs of their own: q, k, v of a fused one. */
static size_t blocks_of(const slad_planned_adapter *item)
{
    return item->target == SLAD_TARGET_QKV ? item->b.size[0] : 1;
}

/* Empty pairs for the items first .. last-1, which act on the same weight. */
static slad_status start_pairs(slad_context *context, slad_peft_pair *pairs, const slad_planned_adapter *first,
                               const slad_planned_adapter *last)
{
    slad_status status = SLAD_OK;
    const size_t blocks = blocks_of(first);
    size_t rank = 0;
    for (const slad_planned_adapter *item = first; item < last; item++) rank += item->rank;
    for (size_t block = 0; block < blocks; block++) {
        slad_peft_pair *pair = &pairs[block];
        *pair = (slad_peft_pair){.layer = first->layer,
                                 .target = target_of(first, block),
                                 .rank = rank,
                                 .inputs = first->a.size[1],
                                 .outputs = first->b.size[0] * first->b.size[1] / blocks,
                                 .scale = first->scale};
        SLAD_TRY(slad_allocate(context, &pair->a, rank * pair->inputs, sizeof *pair->a, "an adapter"));
        SLAD_TRY(slad_allocate(context, &pair->b, pair->outputs * rank, sizeof *pair->b, "an adapter"));
    }
cleanup:
    return status;
}

/* Puts an item at its place in the rank of the pairs. A scale of its own goes into B. */
static slad_status put_item(slad_context *context, slad_peft_pair *pairs, size_t at, const slad_planned_adapter *item,
                            const slad_export_source *source)
{
    slad_status status = SLAD_OK;
    const size_t blocks = blocks_of(item), rank = item->rank;
    const double ratio = item->scale / pairs->scale;
    float *a = NULL, *b = NULL;
    SLAD_TRY(read_factor(context, &a, &item->a, source));
    SLAD_TRY(read_factor(context, &b, &item->b, source));
    for (size_t block = 0; block < blocks; block++) {
        slad_peft_pair *pair = &pairs[block];
        const float *rows = b + block * pair->outputs * rank;
        memcpy(pair->a + at * pair->inputs, a, rank * pair->inputs * sizeof *a);
        for (size_t row = 0; row < pair->outputs; row++)
            for (size_t k = 0; k < rank; k++)
                pair->b[row * pair->rank + at + k] = (float)(ratio * (double)rows[row * rank + k]);
    }
cleanup:
    slad_release(a);
    slad_release(b);
    return status;
}

slad_status slad_export_read_pairs(slad_context *context, slad_peft_pair **out, size_t *out_count,
                                   const slad_export_source *source, bool teacher)
{
    slad_status status = SLAD_OK;
    slad_adapter_plan plan = {0};
    slad_peft_pair *pairs = NULL;
    size_t count = 0, next = 0;
    *out = NULL;
    *out_count = 0;
    SLAD_TRY(make_plan(context, &plan, source, teacher));
    SLAD_TRY(slad_allocate(context, &pairs, plan.count * QKV, sizeof *pairs, "adapters"));
    for (size_t first = 0; first < plan.count; first = next) {
        size_t at = 0;
        const slad_planned_adapter *items = plan.items;
        for (next = first + 1; next < plan.count && same_place(&items[first], &items[next]);) next++;
        slad_peft_pair *made = &pairs[count];
        count += blocks_of(&items[first]);
        SLAD_TRY(start_pairs(context, made, &items[first], &items[next]));
        for (size_t i = first; i < next; i++) {
            SLAD_TRY(put_item(context, made, at, &items[i], source));
            at += items[i].rank;
        }
    }
    *out = pairs;
    *out_count = count;
    pairs = NULL;
cleanup:
    slad_export_free_pairs(pairs, count);
    slad_adapter_plan_free(&plan);
    return status;
}

void slad_export_free_pairs(slad_peft_pair *pairs, size_t count)
{
    for (size_t i = 0; pairs && i < count; i++) {
        slad_release(pairs[i].a);
        slad_release(pairs[i].b);
    }
    slad_release(pairs);
}
