#include "model/adapter_plan.h"
#include "base/memory.h"
#include <math.h>
#include <stdio.h>

/* A weight that an adapter acts on: [blocks * rows, in], from first_row of its target on. */
typedef struct slad_site {
    slad_target target;
    const char *name; /* in files */
    size_t in, blocks, rows, first_row;
    uint32_t kind; /* numbers the sites of a layer */
} slad_site;

enum { MOST_SITES = 6, MOST_ADAPTERS = 2 * MOST_SITES };

/* One network's side of the sharing, while its plan is made. */
typedef struct slad_planning {
    slad_context *context;
    slad_adapter_plan *plan;
    const slad_train_options *options;
    const char *prefix; /* "teacher." */
    uint32_t model;     /* 0 teacher, 1 student */
} slad_planning;

size_t slad_share_map_layer(slad_share_map map, size_t i, size_t teacher_layers, size_t student_layers)
{
    const size_t last = student_layers - 1;
    if (map == SLAD_MAP_FIRST) return i;
    if (map == SLAD_MAP_LAST) return i + teacher_layers - student_layers;
    if (map == SLAD_MAP_EVEN_B) return (i + 1) * teacher_layers / student_layers - 1;
    if (map == SLAD_MAP_EVEN_C) return last ? (2 * i * (teacher_layers - 1) + last) / (2 * last) : 0;
    return i * teacher_layers / student_layers;
}

/* The weights of a block that these options adapt; returns their number. */
static size_t list_sites(slad_site sites[MOST_SITES], const slad_encoder_info *info, const slad_train_options *options)
{
    static const char *const parts[] = {"q", "k", "v"};
    const size_t d = info->width, m = info->mlp_width;
    size_t count = 0;
    if (options->lora_form == SLAD_LORA_FUSED)
        sites[count++] = (slad_site){SLAD_TARGET_QKV, "qkv", d, 3, d, 0, 0};
    else
        for (uint32_t c = 0; c < 3; c++) sites[count++] = (slad_site){SLAD_TARGET_QKV, parts[c], d, 1, d, c * d, c + 1};
    if (options->lora_targets == SLAD_LORA_QKV) return count;
    sites[count++] = (slad_site){SLAD_TARGET_PROJ, "proj", d, 1, d, 0, 4};
    sites[count++] = (slad_site){SLAD_TARGET_FC1, "fc1", d, info->gated ? 2 : 1, m, 0, 5};
    sites[count++] = (slad_site){SLAD_TARGET_FC2, "fc2", m, 1, d, 0, 6};
    return count;
}

/* The factors of an adapter that the network owns itself. */
static void own_factors(slad_planned_adapter *adapter, const slad_planning *planning, const slad_site *site)
{
    const char *kind = adapter->is_private ? "private" : "lora";
    const size_t rank = adapter->rank;
    adapter->a = (slad_factor){
        .dimensions = 2, .stored = {rank, site->in, 1}, .size = {rank, site->in, 1}, .stride = {site->in, 1, 0}};
    adapter->b = (slad_factor){.dimensions = 3,
                               .stored = {site->blocks, site->rows, rank},
                               .size = {site->blocks, site->rows, rank},
                               .stride = {site->rows * rank, rank, 1}};
    (void)snprintf(adapter->a.name, sizeof adapter->a.name, "%slayers.%zu.%s.%s_A", planning->prefix, adapter->layer,
                   site->name, kind);
    (void)snprintf(adapter->b.name, sizeof adapter->b.name, "%slayers.%zu.%s.%s_B", planning->prefix, adapter->layer,
                   site->name, kind);
}

/* Windows of the teacher's factors, as far as they are shared. */
static void share_factors(slad_planned_adapter *adapter, const slad_train_options *options, size_t layer,
                          const slad_site *own, const slad_site *teacher)
{
    const size_t rank = adapter->rank;
    if (options->share != SLAD_SHARE_B) {
        adapter->a.shared = true;
        adapter->a.stored[1] = teacher->in;
        adapter->a.stride[0] = teacher->in;
        (void)snprintf(adapter->a.name, sizeof adapter->a.name, "teacher.layers.%zu.%s.lora_A", layer, own->name);
    }
    if (options->share != SLAD_SHARE_A) {
        const bool naive = options->share_truncation == SLAD_TRUNCATION_NAIVE;
        adapter->b.shared = true;
        adapter->b.stored[1] = teacher->rows;
        adapter->b.stride[0] = (naive ? own->rows : teacher->rows) * rank;
        (void)snprintf(adapter->b.name, sizeof adapter->b.name, "teacher.layers.%zu.%s.lora_B", layer, own->name);
    }
    if (options->share_scale == SLAD_SHARE_SCALE_FAN_IN) adapter->scale *= sqrt((double)teacher->in / (double)own->in);
}

static slad_planned_adapter *append(const slad_planning *planning, size_t layer, const slad_site *site, bool is_private)
{
    const slad_train_options *options = planning->options;
    slad_planned_adapter *adapter = &planning->plan->items[planning->plan->count++];
    const size_t rank = is_private ? options->private_rank : options->lora_rank;
    *adapter = (slad_planned_adapter){
        .layer = layer,
        .target = site->target,
        .first_row = site->first_row,
        .rank = rank,
        .scale = options->lora_alpha / (double)rank,
        .is_private = is_private,
        .model = planning->model,
        .stream = (uint32_t)layer | (site->kind << 1 | (is_private ? 1u : 0u)) << 16,
        .mask_stream = ((uint32_t)layer << 4 | site->kind << 1 | (is_private ? 1u : 0u)) << 1 | planning->model,
        .seed = options->seed,
    };
    own_factors(adapter, planning, site);
    return adapter;
}

static slad_status begin(slad_planning *planning, size_t layers)
{
    *planning->plan = (slad_adapter_plan){0};
    return slad_allocate(planning->context, &planning->plan->items, layers * MOST_ADAPTERS,
                         sizeof *planning->plan->items, "the plan of the adapters");
}

/* The teacher layer of a student layer, or -1 where the student's adapters are its own. */
static int64_t mapped_layer(const slad_train_options *options, size_t layer, const slad_encoder_info *teacher,
                            const slad_encoder_info *student)
{
    if (options->share == SLAD_SHARE_NONE) return -1;
    if (options->share_map == SLAD_MAP_LIST) return options->share_list[layer];
    return (int64_t)slad_share_map_layer(options->share_map, layer, teacher->layers, student->layers);
}

static bool is_mapped(const slad_train_options *options, size_t teacher_layer, const slad_encoder_info *teacher,
                      const slad_encoder_info *student)
{
    for (size_t i = 0; i < student->layers; i++)
        if (mapped_layer(options, i, teacher, student) == (int64_t)teacher_layer) return true;
    return false;
}

static slad_status check_list(slad_context *context, const slad_train_options *options,
                              const slad_encoder_info *teacher, const slad_encoder_info *student)
{
    slad_status status = SLAD_OK;
    if (options->share_map != SLAD_MAP_LIST) return SLAD_OK;
    SLAD_FAIL_IF(options->share_list_count != student->layers, SLAD_ERROR_USAGE,
                 "--share-map lists %u layers, but the student has %zu: give one number for each of its layers",
                 options->share_list_count, student->layers);
    for (size_t i = 0; i < student->layers; i++)
        SLAD_FAIL_IF(options->share_list[i] < -1 || options->share_list[i] >= (int64_t)teacher->layers,
                     SLAD_ERROR_USAGE,
                     "--share-map shares layer %d of the teacher, which has %zu layers, counted from 0",
                     options->share_list[i], teacher->layers);
cleanup:
    return status;
}

/* Whether the student's adapters are parts of the teacher's at all. */
static slad_status check_partners(slad_context *context, const slad_train_options *options,
                                  const slad_encoder_info *teacher, const slad_encoder_info *student)
{
    slad_status status = SLAD_OK;
    if (options->share == SLAD_SHARE_NONE) return SLAD_OK;
    SLAD_FAIL_IF(!teacher || !student, SLAD_ERROR_INTERNAL, "Sharing was planned without one of its partners");
    SLAD_FAIL_IF(student->width > teacher->width || student->layers > teacher->layers, SLAD_ERROR_USAGE,
                 "The student (width %zu, %zu layers) is larger than the teacher (width %zu, %zu layers), so it cannot "
                 "share the teacher's adapters; swap --teacher and --student, or use --share none",
                 student->width, student->layers, teacher->width, teacher->layers);
    SLAD_FAIL_IF(student->head_width != teacher->head_width, SLAD_ERROR_USAGE,
                 "The student's attention heads are %zu wide, the teacher's %zu; sharing needs equal heads; "
                 "use --share none",
                 student->head_width, teacher->head_width);
    SLAD_FAIL_IF(options->lora_targets == SLAD_LORA_ALL && student->gated != teacher->gated, SLAD_ERROR_USAGE,
                 "The %s has gated MLPs (SwiGLU), the %s has not; use --lora-targets qkv, or --share none",
                 student->gated ? "student" : "teacher", student->gated ? "teacher" : "student");
    SLAD_FAIL_IF(options->lora_targets == SLAD_LORA_ALL && student->mlp_width > teacher->mlp_width, SLAD_ERROR_USAGE,
                 "The student's MLP is %zu wide, the teacher's only %zu; use --lora-targets qkv, or --share none",
                 student->mlp_width, teacher->mlp_width);
    SLAD_TRY(check_list(context, options, teacher, student));
cleanup:
    return status;
}

slad_status slad_adapter_plan_teacher(slad_context *context, slad_adapter_plan *plan, const slad_encoder_info *teacher,
                                      const slad_encoder_info *student, const slad_train_options *options)
{
    slad_status status = SLAD_OK;
    slad_planning planning = {context, plan, options, "teacher.", 0};
    slad_site sites[MOST_SITES];
    const size_t count = list_sites(sites, teacher, options);
    SLAD_TRY(begin(&planning, teacher->layers));
    SLAD_TRY(check_partners(context, options, teacher, student));
    for (size_t layer = 0; layer < teacher->layers; layer++) {
        const bool mapped = options->share != SLAD_SHARE_NONE && is_mapped(options, layer, teacher, student);
        if (!mapped && options->unmapped == SLAD_UNMAPPED_FROZEN) continue;
        for (size_t i = 0; i < count; i++) {
            (void)append(&planning, layer, &sites[i], false);
            if (mapped && options->private_rank) (void)append(&planning, layer, &sites[i], true);
        }
    }
cleanup:
    if (status != SLAD_OK) slad_adapter_plan_free(plan);
    return status;
}

slad_status slad_adapter_plan_student(slad_context *context, slad_adapter_plan *plan, const slad_encoder_info *student,
                                      const slad_encoder_info *teacher, const slad_train_options *options)
{
    slad_status status = SLAD_OK;
    slad_planning planning = {context, plan, options, "student.", 1};
    slad_site sites[MOST_SITES], owners[MOST_SITES];
    const size_t count = list_sites(sites, student, options);
    SLAD_TRY(begin(&planning, student->layers));
    SLAD_TRY(check_partners(context, options, teacher, student));
    if (options->share != SLAD_SHARE_NONE) (void)list_sites(owners, teacher, options);
    for (size_t layer = 0; layer < student->layers; layer++) {
        const int64_t from = mapped_layer(options, layer, teacher, student);
        for (size_t i = 0; i < count; i++) {
            slad_planned_adapter *adapter = append(&planning, layer, &sites[i], false);
            if (from < 0) continue;
            share_factors(adapter, options, (size_t)from, &sites[i], &owners[i]);
            if (options->private_rank) (void)append(&planning, layer, &sites[i], true);
        }
    }
cleanup:
    if (status != SLAD_OK) slad_adapter_plan_free(plan);
    return status;
}

void slad_adapter_plan_free(slad_adapter_plan *plan)
{
    slad_release(plan->items);
    *plan = (slad_adapter_plan){0};
}
