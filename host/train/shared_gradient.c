#include "train/shared_gradient.h"
#include "base/memory.h"
#include <string.h>

typedef struct slad_shared_views {
    const slad_tensor **views;
    size_t count;
} slad_shared_views;

static bool is_same_window(const slad_tensor *one, const slad_tensor *other)
{
    return one->slab == other->slab && one->offset == other->offset &&
           memcmp(one->size, other->size, sizeof one->size) == 0;
}

/* Shared tensors are the teacher's by name; two layers of the student may share one window. */
static void add_view(slad_shared_views *list, const slad_tensor *factor)
{
    if (strncmp(factor->name, "teacher.", 8) != 0) return;
    for (size_t i = 0; i < list->count; i++)
        if (is_same_window(list->views[i], factor)) return;
    list->views[list->count++] = factor;
}

slad_status slad_shared_gradient_place(slad_trainer *trainer)
{
    slad_context *context = trainer->context;
    slad_status status = SLAD_OK;
    const slad_network *student = &trainer->student;
    slad_shared_views list = {0};
    trainer->conflict = NULL;
    if (trainer->options.share == SLAD_SHARE_NONE) return SLAD_OK;
    SLAD_TRY(slad_allocate(context, &list.views, 2 * student->plan.count, sizeof(slad_tensor *), "shared adapters"));
    for (size_t layer = 0; layer < trainer->student_encoder->info.layers; layer++)
        for (int target = 0; target < SLAD_TARGETS; target++) {
            const slad_adapter_list *adapters = &student->adapters[layer].targets[target];
            for (unsigned i = 0; i < adapters->count; i++) {
                add_view(&list, adapters->items[i].lora_a);
                add_view(&list, adapters->items[i].lora_b);
            }
        }
    if (list.count)
        SLAD_TRY(slad_gradient_conflict_place(context, &trainer->conflict, trainer->store, list.views, list.count));
cleanup:
    slad_release((void *)list.views);
    return status;
}
