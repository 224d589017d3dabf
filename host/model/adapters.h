/* LoRA adapters on the fused qkv layers, and their sharing between teacher and student (method.md section 4). The
 * teacher owns shared tensors; the student's are views of them: leading columns of A, leading rows of each of B's
 * blocks q, k, v (reading T1). A shared tensor is trained once, and both models' gradients are summed in it. */
#ifndef SLAD_MODEL_ADAPTERS_H
#define SLAD_MODEL_ADAPTERS_H

#include "model/encoder.h"
#include "slad/train.h"

typedef struct slad_adapter_options {
    size_t rank;
    double alpha;
    slad_share_map map;
    uint64_t seed;
} slad_adapter_options;

/* The teacher layer that student layer i reads: even-a floor(i T / S), first i, last i + T - S (0-based). */
size_t slad_share_map_layer(slad_share_map map, size_t i, size_t teacher_layers, size_t student_layers);

/* One adapter a layer of its own: trained "PREFIXlayers.{i}.qkv.lora_A" [rank, d] from U(-1/sqrt(d), 1/sqrt(d)) and
 * "PREFIXlayers.{i}.qkv.lora_B" [3, d, rank] of zeros (files call it [3 d, rank]). adapters [layers] is owned by the
 * caller. A's values depend on seed, layer and `model` (0 teacher, 1 student) only. `seed` must be that of options,
 * which must outlive the store. */
slad_status slad_adapters_create(slad_context *context, slad_adapter *adapters, slad_store *store,
                                 const slad_encoder_info *info, const char *prefix, unsigned model,
                                 const slad_adapter_options *options);

/* The student's adapters as views of the teacher's. Errors: SLAD_ERROR_USAGE when the student is wider or deeper than
 * the teacher, or their head widths differ, and says so. */
slad_status slad_adapters_share(slad_context *context, slad_adapter *student, slad_store *store,
                                const slad_adapter *teacher, const slad_encoder_info *student_info,
                                const slad_encoder_info *teacher_info, const slad_adapter_options *options);

/* The same tensors, frozen, read from a state file by name: adapters of a finished run. fill is called with user and
 * the index layer * 2 for lora_A, layer * 2 + 1 for lora_B. */
slad_status slad_adapters_place(slad_adapter *adapters, slad_store *store, const slad_encoder_info *info,
                                const char *prefix, size_t rank, double scale, slad_fill fill, const void *user);

#endif
