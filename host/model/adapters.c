#include "model/adapters.h"
#include "base/random.h"
#include <math.h>
#include <stdio.h>

size_t slad_share_map_layer(slad_share_map map, size_t i, size_t teacher_layers, size_t student_layers)
{
    const size_t last = student_layers - 1; /* of the student */
    if (map == SLAD_MAP_FIRST) return i;
    if (map == SLAD_MAP_LAST) return i + teacher_layers - student_layers;
    if (map == SLAD_MAP_EVEN_B) return (i + 1) * teacher_layers / student_layers - 1;
    if (map == SLAD_MAP_EVEN_C) return last ? (2 * i * (teacher_layers - 1) + last) / (2 * last) : 0;
    return i * teacher_layers / student_layers;
}

/* lora_A as PEFT draws it: Kaiming-uniform with a = sqrt(5), that is U(-1/sqrt(d), 1/sqrt(d)). index: model, layer and
 * width, so that the values do not depend on the order of anything. */
typedef struct slad_draw {
    unsigned model;
    uint32_t layer;
    uint32_t rank;
} slad_draw;

static size_t pack_draw(slad_draw draw)
{
    return ((size_t)draw.rank << 17) | ((size_t)draw.layer << 1) | draw.model;
}

static slad_draw unpack_draw(size_t index)
{
    return (slad_draw){(unsigned)(index & 1), (uint32_t)(index >> 1 & 0xffff), (uint32_t)(index >> 17)};
}

static slad_status fill_lora_a(slad_context *context, void *destination, size_t elements, const void *user,
                               size_t index)
{
    const slad_adapter_options *options = user;
    const slad_draw draw = unpack_draw(index);
    const size_t width = elements / draw.rank;
    const double bound = 1.0 / sqrt((double)width);
    slad_random random = slad_random_start(options->seed, SLAD_RANDOM_ADAPTER, draw.model, draw.layer);
    float *values = destination;
    (void)context;
    for (size_t i = 0; i < elements; i++)
        values[i] = (float)(bound * (2.0 * (double)slad_random_uniform(&random) - 1.0));
    return SLAD_OK;
}

slad_status slad_adapters_create(slad_context *context, slad_adapter *adapters, slad_store *store,
                                 const slad_encoder_info *info, const char *prefix, unsigned model,
                                 const slad_adapter_options *options)
{
    slad_status status = SLAD_OK;
    char name[96];
    const size_t a_size[2] = {options->rank, info->width}, b_size[3] = {3, info->width, options->rank};
    (void)context;
    for (size_t i = 0; i < info->layers; i++) {
        const size_t draw = pack_draw((slad_draw){model, (uint32_t)i, (uint32_t)options->rank});
        adapters[i].scale = options->alpha / (double)options->rank;
        snprintf(name, sizeof name, "%slayers.%zu.qkv.lora_A", prefix, i);
        SLAD_TRY(slad_store_trained(store, &adapters[i].lora_a, name, 2, a_size, SLAD_GROUP_ADAPTERS, true, fill_lora_a,
                                    options, draw));
        snprintf(name, sizeof name, "%slayers.%zu.qkv.lora_B", prefix, i);
        SLAD_TRY(
            slad_store_trained(store, &adapters[i].lora_b, name, 3, b_size, SLAD_GROUP_ADAPTERS, true, NULL, NULL, 0));
    }
cleanup:
    return status;
}

slad_status slad_adapters_share(slad_context *context, slad_adapter *student, slad_store *store,
                                const slad_adapter *teacher, const slad_encoder_info *student_info,
                                const slad_encoder_info *teacher_info, const slad_adapter_options *options)
{
    slad_status status = SLAD_OK;
    const size_t d = student_info->width, rank = options->rank;
    SLAD_FAIL_IF(d > teacher_info->width || student_info->layers > teacher_info->layers, SLAD_ERROR_USAGE,
                 "The student (width %zu, %zu layers) is larger than the teacher (width %zu, %zu layers), so it cannot "
                 "share the teacher's adapters; swap --teacher and --student, or use --share none",
                 d, student_info->layers, teacher_info->width, teacher_info->layers);
    SLAD_FAIL_IF(student_info->head_width != teacher_info->head_width, SLAD_ERROR_USAGE,
                 "The student's attention heads are %zu wide, the teacher's %zu; sharing needs equal heads; "
                 "use --share none",
                 student_info->head_width, teacher_info->head_width);
    for (size_t i = 0; i < student_info->layers; i++) {
        const slad_adapter *source =
            &teacher[slad_share_map_layer(options->map, i, teacher_info->layers, student_info->layers)];
        const size_t a_size[2] = {rank, d}, b_size[3] = {3, d, rank};
        student[i].scale = source->scale;
        SLAD_TRY(slad_store_view(store, &student[i].lora_a, source->lora_a, 0, 2, a_size, source->lora_a->stride));
        SLAD_TRY(slad_store_view(store, &student[i].lora_b, source->lora_b, 0, 3, b_size, source->lora_b->stride));
    }
cleanup:
    return status;
}

slad_status slad_adapters_place(slad_adapter *adapters, slad_store *store, const slad_encoder_info *info,
                                const char *prefix, size_t rank, double scale, slad_fill fill, const void *user)
{
    slad_status status = SLAD_OK;
    char name[96];
    const size_t a_size[2] = {rank, info->width}, b_size[3] = {3, info->width, rank};
    for (size_t i = 0; i < info->layers; i++) {
        adapters[i].scale = scale;
        snprintf(name, sizeof name, "%slayers.%zu.qkv.lora_A", prefix, i);
        SLAD_TRY(slad_store_frozen(store, &adapters[i].lora_a, name, SLAD_F32, 2, a_size, fill, user, 2 * i));
        snprintf(name, sizeof name, "%slayers.%zu.qkv.lora_B", prefix, i);
        SLAD_TRY(slad_store_frozen(store, &adapters[i].lora_b, name, SLAD_F32, 3, b_size, fill, user, 2 * i + 1));
    }
cleanup:
    return status;
}
