/* Every row of the kernel table: those of each operation, and those of the room gemm. `slad devices`, warm-up, the
 * offline bundle and the tests walk it. */
#ifndef SLAD_OPS_KERNEL_TABLE_H
#define SLAD_OPS_KERNEL_TABLE_H

#include "cl/kernel_table.h"
#include <stddef.h>

extern const slad_kernel_row slad_attention_kernels[];
extern const size_t slad_attention_kernel_count;
extern const slad_kernel_row slad_distillation_loss_kernels[];
extern const size_t slad_distillation_loss_kernel_count;
extern const slad_kernel_row slad_feature_loss_kernels[];
extern const size_t slad_feature_loss_kernel_count;
extern const slad_kernel_row slad_gelu_kernels[];
extern const size_t slad_gelu_kernel_count;
extern const slad_kernel_row slad_gradient_conflict_kernels[];
extern const size_t slad_gradient_conflict_kernel_count;
extern const slad_kernel_row slad_layer_norm_kernels[];
extern const size_t slad_layer_norm_kernel_count;
extern const slad_kernel_row slad_layer_scale_kernels[];
extern const size_t slad_layer_scale_kernel_count;
extern const slad_kernel_row slad_linear_kernels[];
extern const size_t slad_linear_kernel_count;
extern const slad_kernel_row slad_moving_average_kernels[];
extern const size_t slad_moving_average_kernel_count;
extern const slad_kernel_row slad_optimizer_kernels[];
extern const size_t slad_optimizer_kernel_count;
extern const slad_kernel_row slad_patch_embedding_kernels[];
extern const size_t slad_patch_embedding_kernel_count;
extern const slad_kernel_row slad_pool_kernels[];
extern const size_t slad_pool_kernel_count;
extern const slad_kernel_row slad_position_interpolation_kernels[];
extern const size_t slad_position_interpolation_kernel_count;
extern const slad_kernel_row slad_swiglu_kernels[];
extern const size_t slad_swiglu_kernel_count;

/* Rows are numbered from 0 without gaps, in a fixed order. */
size_t slad_kernel_table_count(void);
const slad_kernel_row *slad_kernel_table_at(size_t index);

#endif
