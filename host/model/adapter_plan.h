/* Which LoRA adapters a network has, what they are called, and what of the teacher's a student shares (method.md
 * section 4). A plan is a list of facts: training places it in a store, inference and export read files by it.
 *
 * The teacher owns shared tensors; the student's are windows of them (reading T1): leading columns of A, leading rows
 * of each of B's blocks q, k, v. A shared tensor is trained once, and both models' gradients are summed in it. */
#ifndef SLAD_MODEL_ADAPTER_PLAN_H
#define SLAD_MODEL_ADAPTER_PLAN_H

#include "base/error.h"
#include "slad/model.h"
#include "slad/train.h"

/* The linear layers of a block that adapters can act on, by their names in files: qkv, proj, fc1, fc2. */
typedef enum slad_target {
    SLAD_TARGET_QKV,
    SLAD_TARGET_PROJ,
    SLAD_TARGET_FC1,
    SLAD_TARGET_FC2,
    SLAD_TARGETS
} slad_target;

enum { SLAD_FACTOR_NAME = 64 };

/* A factor of an adapter: a stored tensor, and the window of it that this network reads. A is [rank, in], B is [blocks,
 * rows of a block, rank] (state.safetensors calls it [blocks * rows, rank]). The window begins at the first element. */
typedef struct slad_factor {
    char name[SLAD_FACTOR_NAME]; /* "teacher.layers.3.qkv.lora_A" */
    bool shared;                 /* the tensor is the teacher's, the network a student */
    unsigned dimensions;         /* 2 or 3 */
    size_t stored[3];
    size_t size[3], stride[3]; /* elements of the stored tensor */
} slad_factor;

typedef struct slad_planned_adapter {
    size_t layer;
    slad_target target;
    size_t first_row; /* of the target's weight that B's first row adapts: 0, or that of k or v in split form */
    size_t rank;
    double scale;
    bool is_private;
    /* Where the random numbers of its own A come from, and those of its dropout masks: no two adapters share one. */
    uint32_t model, stream, mask_stream;
    uint64_t seed;
    slad_factor a, b;
} slad_planned_adapter;

/* In the order of layers, targets, q k v, shared before private. */
typedef struct slad_adapter_plan {
    slad_planned_adapter *items;
    size_t count;
} slad_adapter_plan;

/* The teacher layer that student layer i shares; the map must not be SLAD_MAP_LIST. */
size_t slad_share_map_layer(slad_share_map map, size_t i, size_t teacher_layers, size_t student_layers);

/* The adapters of the teacher: every layer, without those that nothing shares where options->unmapped says frozen.
 * student may be NULL when nothing is shared. Free with slad_adapter_plan_free. Errors: as slad_adapter_plan_student.
 */
slad_status slad_adapter_plan_teacher(slad_context *context, slad_adapter_plan *plan, const slad_encoder_info *teacher,
                                      const slad_encoder_info *student, const slad_train_options *options);
/* The adapters of the student. teacher may be NULL when nothing is shared. Errors: SLAD_ERROR_USAGE when the student is
 * wider or deeper than the teacher whose adapters it is to share, their head widths or kinds of MLP differ, or a list
 * of layers does not fit. */
slad_status slad_adapter_plan_student(slad_context *context, slad_adapter_plan *plan, const slad_encoder_info *student,
                                      const slad_encoder_info *teacher, const slad_train_options *options);
void slad_adapter_plan_free(slad_adapter_plan *plan);

#endif
