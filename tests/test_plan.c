/* The memory plan: what lives at the same time never shares memory, and no buffer exceeds the device's limit. */
#include "scratch.h"

#include "base/random.h"
#include "graph/plan.h"

static const slad_operation operation = {.name = "copy"};

/* y = f(x), of `elements` elements. */
static const slad_tensor *append(slad_record *record, const slad_tensor *const *inputs, unsigned count, size_t elements)
{
    slad_node *node = slad_record_append(record, &operation, SLAD_PHASE_MICRO_BATCH, inputs, count, NULL, 0);
    return slad_node_output(record, node, 1, &elements);
}

typedef struct lives {
    size_t first[256], last[256];
} lives;

static void find_lives(lives *found, const slad_record *record, const slad_tensor *kept)
{
    const size_t nodes = slad_record_node_count(record);
    for (size_t i = 0; i < 256; i++) {
        found->first[i] = SIZE_MAX;
        found->last[i] = 0;
    }
    for (size_t n = 0; n < nodes; n++) {
        const slad_node *node = slad_record_node_at(record, n);
        for (unsigned i = 0; i < node->input_count; i++) found->last[node->inputs[i]->slab->id] = n;
        for (unsigned i = 0; i < node->output_count; i++) {
            const uint32_t id = node->outputs[i]->slab->id;
            if (found->first[id] > n) found->first[id] = n;
            if (found->last[id] < n) found->last[id] = n;
        }
    }
    found->last[kept->slab->id] = nodes;
}

static void check_placements(const slad_record *record, const slad_placement *placements, const slad_arena *arena,
                             const lives *found, size_t limit)
{
    const size_t slabs = slad_record_slab_count(record);
    for (size_t i = 0; i < arena->count; i++) assert_true(arena->elements[i] <= limit);
    for (size_t a = 0; a < slabs; a++) {
        const slad_slab *left = slad_record_slab_at(record, a);
        if (left->kind != SLAD_SLAB_ACTIVATION) continue;
        assert_true(placements[a].offset % SLAD_PLACEMENT_ALIGNMENT == 0);
        assert_true(placements[a].offset + left->elements <= arena->elements[placements[a].buffer]);
        for (size_t b = 0; b < a; b++) {
            const slad_slab *right = slad_record_slab_at(record, b);
            if (right->kind != SLAD_SLAB_ACTIVATION || placements[a].buffer != placements[b].buffer) continue;
            if (found->first[a] > found->last[b] || found->first[b] > found->last[a]) continue;
            assert_true(placements[a].offset + left->elements <= placements[b].offset ||
                        placements[b].offset + right->elements <= placements[a].offset);
        }
    }
}

/* A record of 60 nodes that read random earlier results. */
static void check_random_record(scratch *own, uint64_t seed)
{
    slad_store *store;
    slad_record *record;
    slad_placement placements[256];
    slad_arena arena = {0};
    lives found;
    const size_t limit = 4096, size = 100;
    const slad_tensor *results[61];
    slad_random random = slad_random_start(seed, SLAD_RANDOM_VERIFY, 0, 0);
    assert_int_equal(slad_store_create(own->context, &store, limit), SLAD_OK);
    assert_int_equal(slad_record_create(own->context, &record, store, "random"), SLAD_OK);
    results[0] = slad_record_input(record, "x", SLAD_F32, 1, &size, 0);
    for (uint32_t i = 1; i <= 60; i++) {
        const slad_tensor *inputs[2] = {results[slad_random_below(&random, i)], results[i - 1]};
        results[i] = append(record, inputs, 2, 1 + slad_random_below(&random, 1500));
    }
    slad_record_output(record, results[7], "kept");
    assert_int_equal(slad_record_status(record), SLAD_OK);
    assert_int_equal(slad_plan_arena(own->context, placements, &arena, record, limit), SLAD_OK);
    find_lives(&found, record, results[7]);
    check_placements(record, placements, &arena, &found, limit);
    slad_arena_free(&arena);
    slad_record_free(record);
    slad_store_free(store);
}

static void test_random_records(void **state)
{
    for (uint64_t seed = 0; seed < 20; seed++) check_random_record(*state, seed);
}

/* A chain needs the memory of two neighbours, however long it is. */
static void test_chain(void **state)
{
    scratch *own = *state;
    slad_store *store;
    slad_record *record;
    slad_placement placements[64];
    slad_arena arena = {0};
    const size_t size = 640;
    assert_int_equal(slad_store_create(own->context, &store, 1u << 20), SLAD_OK);
    assert_int_equal(slad_record_create(own->context, &record, store, "chain"), SLAD_OK);
    const slad_tensor *x = slad_record_input(record, "x", SLAD_F32, 1, &size, 0);
    for (int i = 0; i < 50; i++) x = append(record, &x, 1, size);
    assert_int_equal(slad_plan_arena(own->context, placements, &arena, record, 1u << 20), SLAD_OK);
    assert_int_equal(arena.count, 1);
    assert_int_equal(arena.elements[0], 2 * size);
    slad_arena_free(&arena);
    slad_record_free(record);
    slad_store_free(store);
}

static void test_too_large(void **state)
{
    scratch *own = *state;
    slad_store *store;
    slad_record *record;
    slad_placement placements[4];
    slad_arena arena = {0};
    const size_t size = 10;
    assert_int_equal(slad_store_create(own->context, &store, 1000), SLAD_OK);
    assert_int_equal(slad_record_create(own->context, &record, store, "large"), SLAD_OK);
    const slad_tensor *x = slad_record_input(record, "x", SLAD_F32, 1, &size, 0);
    (void)append(record, &x, 1, 2000);
    assert_int_equal(slad_plan_arena(own->context, placements, &arena, record, 1000), SLAD_ERROR_OUT_OF_MEMORY);
    assert_message(own, "--micro-batch");
    slad_arena_free(&arena);
    slad_record_free(record);
    slad_store_free(store);
}

/* A device may allow larger buffers than kernels can count to: no tensor may need one. */
static void test_counting(void **state)
{
    scratch *own = *state;
    slad_store *store;
    const slad_tensor *tensor;
    const size_t fits[2] = {1u << 15, 65535}, exceeds[2] = {1u << 16, 1u << 15};
    assert_int_equal(slad_store_create(own->context, &store, SIZE_MAX), SLAD_OK);
    assert_int_equal(slad_store_frozen(store, &tensor, "fits", SLAD_F32, 2, fits, NULL, NULL, 0), SLAD_OK);
    assert_int_equal(slad_store_frozen(store, &tensor, "exceeds", SLAD_F32, 2, exceeds, NULL, NULL, 0),
                     SLAD_ERROR_OUT_OF_MEMORY);
    assert_message(own, "exceeds");
    slad_store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_counting, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_random_records, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_chain, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_too_large, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
