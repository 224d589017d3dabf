#include "graph/plan.h"
#include "base/memory.h"
#include <stdlib.h>

/* An activation to be placed. */
typedef struct slad_life {
    uint32_t slab;
    size_t elements;    /* rounded up to the alignment */
    size_t first, last; /* nodes */
    slad_placement place;
} slad_life;

static void touch(slad_life *lives, const slad_tensor *tensor, size_t node)
{
    if (!tensor || tensor->slab->kind != SLAD_SLAB_ACTIVATION) return;
    slad_life *life = &lives[tensor->slab->id];
    if (life->first > node) life->first = node;
    if (life->last < node) life->last = node;
}

static void find_lives(slad_life *lives, const slad_record *record)
{
    const size_t slabs = slad_record_slab_count(record), nodes = slad_record_node_count(record);
    for (size_t i = 0; i < slabs; i++) {
        const size_t elements = slad_record_slab_at(record, i)->elements;
        const size_t blocks = (elements + SLAD_PLACEMENT_ALIGNMENT - 1) / SLAD_PLACEMENT_ALIGNMENT;
        lives[i] = (slad_life){(uint32_t)i, blocks * SLAD_PLACEMENT_ALIGNMENT, SIZE_MAX, 0, {0, 0}};
    }
    for (size_t n = 0; n < nodes; n++) {
        const slad_node *node = slad_record_node_at(record, n);
        for (unsigned i = 0; i < node->input_count; i++) touch(lives, node->inputs[i], n);
        for (unsigned i = 0; i < node->output_count; i++) touch(lives, node->outputs[i], n);
    }
    for (size_t i = 0; i < slad_record_named_count(record); i++) {
        const char *name;
        bool is_output;
        uint32_t bound;
        const slad_tensor *tensor = slad_record_named_at(record, i, &name, &is_output, &bound);
        if (is_output) touch(lives, tensor, nodes);
    }
}

static int larger_first(const void *left, const void *right)
{
    const slad_life *a = left, *b = right;
    if (a->elements != b->elements) return a->elements < b->elements ? 1 : -1;
    return a->slab < b->slab ? -1 : a->slab > b->slab;
}

static bool lives_meet(const slad_life *a, const slad_life *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset of `buffer` at which `life` fits between those already placed that live at the same time. */
static size_t lowest_offset(const slad_life *life, const slad_life *placed, size_t count, uint32_t buffer)
{
    size_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < count; i++) {
            const slad_life *other = &placed[i];
            if (other->place.buffer != buffer || !lives_meet(life, other)) continue;
            if (offset < other->place.offset + other->elements && other->place.offset < offset + life->elements) {
                offset = other->place.offset + other->elements;
                moved = true;
            }
        }
    }
    return offset;
}

static slad_status place(slad_context *context, slad_life *life, const slad_life *placed, size_t count,
                         slad_arena *arena, size_t limit)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(life->elements > limit, SLAD_ERROR_OUT_OF_MEMORY,
                 "One activation needs %zu MiB, one buffer holds at most %zu MiB; use a smaller --batch "
                 "(--micro-batch in training) or --image-size",
                 life->elements / (1u << 18), limit / (1u << 18));
    for (uint32_t buffer = 0;; buffer++) {
        const size_t offset = lowest_offset(life, placed, count, buffer);
        if (offset + life->elements > limit) continue;
        SLAD_TRY(slad_grow(context, &arena->elements, &arena->capacity, (size_t)buffer + 1, sizeof *arena->elements,
                           "the arena's plan"));
        if (arena->count <= buffer) arena->count = (size_t)buffer + 1;
        if (arena->elements[buffer] < offset + life->elements) arena->elements[buffer] = offset + life->elements;
        life->place = (slad_placement){buffer, offset};
        break;
    }
cleanup:
    return status;
}

slad_status slad_plan_arena(slad_context *context, slad_placement *placements, slad_arena *arena,
                            const slad_record *record, size_t limit)
{
    slad_status status = SLAD_OK;
    slad_life *lives = NULL;
    size_t count = 0;
    const size_t slabs = slad_record_slab_count(record);
    SLAD_TRY(slad_allocate(context, &lives, slabs, sizeof *lives, "the memory plan"));
    find_lives(lives, record);
    for (size_t i = 0; i < slabs; i++)
        if (lives[i].first <= lives[i].last) lives[count++] = lives[i];
    qsort(lives, count, sizeof *lives, larger_first);
    for (size_t i = 0; i < count; i++) {
        SLAD_TRY(place(context, &lives[i], lives, i, arena, limit));
        placements[lives[i].slab] = lives[i].place;
    }
cleanup:
    slad_release(lives);
    return status;
}

void slad_arena_free(slad_arena *arena)
{
    slad_release(arena->elements);
    *arena = (slad_arena){0};
}
