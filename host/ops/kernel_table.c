#include "ops/kernel_table.h"
#include "gemm/gemm.h"

typedef struct slad_kernel_list {
    const slad_kernel_row *rows;
    const size_t *count;
} slad_kernel_list;

static const slad_kernel_list lists[] = {
    {slad_gemm_kernels, &slad_gemm_kernel_count},
    {slad_attention_kernels, &slad_attention_kernel_count},
    {slad_distillation_loss_kernels, &slad_distillation_loss_kernel_count},
    {slad_feature_loss_kernels, &slad_feature_loss_kernel_count},
    {slad_gelu_kernels, &slad_gelu_kernel_count},
    {slad_gradient_conflict_kernels, &slad_gradient_conflict_kernel_count},
    {slad_layer_norm_kernels, &slad_layer_norm_kernel_count},
    {slad_layer_scale_kernels, &slad_layer_scale_kernel_count},
    {slad_linear_kernels, &slad_linear_kernel_count},
    {slad_moving_average_kernels, &slad_moving_average_kernel_count},
    {slad_optimizer_kernels, &slad_optimizer_kernel_count},
    {slad_patch_embedding_kernels, &slad_patch_embedding_kernel_count},
    {slad_pool_kernels, &slad_pool_kernel_count},
    {slad_position_interpolation_kernels, &slad_position_interpolation_kernel_count},
    {slad_swiglu_kernels, &slad_swiglu_kernel_count},
};
enum { LIST_COUNT = sizeof lists / sizeof *lists };

size_t slad_kernel_table_count(void)
{
    size_t count = 0;
    for (size_t i = 0; i < LIST_COUNT; i++) count += *lists[i].count;
    return count;
}

const slad_kernel_row *slad_kernel_table_at(size_t index)
{
    for (size_t i = 0; i < LIST_COUNT; i++) {
        if (index < *lists[i].count) return &lists[i].rows[index];
        index -= *lists[i].count;
    }
    return NULL;
}
