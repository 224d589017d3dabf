/* Records: sticky errors, views, and where gradients flow. */
#include "scratch.h"

#include "graph/record.h"

/* y = x1 + x2 as far as records care: its rule hands the gradient to each input that wants one. */
static slad_status sum_gradient(slad_record *record, const slad_node *node);
static const slad_operation sum = {.name = "sum", .gradient = sum_gradient};
static const slad_operation sum_backward = {.name = "sum_backward"};
static const slad_operation stubborn = {.name = "stubborn"};

static slad_status sum_gradient(slad_record *record, const slad_node *node)
{
    const slad_tensor *dy = slad_gradient_of(record, node->outputs[0]);
    for (unsigned i = 0; i < node->input_count; i++) {
        bool accumulate;
        if (!node->inputs[i]->needs_gradient) continue;
        const slad_tensor *dx = slad_gradient_target(record, node->inputs[i], &accumulate);
        slad_node *back =
            slad_record_append(record, &sum_backward, SLAD_PHASE_MICRO_BATCH, &dy, 1, &accumulate, sizeof accumulate);
        slad_node_writes(record, back, dx);
    }
    return slad_record_status(record);
}

static const slad_tensor *append(slad_record *record, const slad_operation *operation, const slad_tensor *left,
                                 const slad_tensor *right)
{
    const slad_tensor *inputs[2] = {left, right};
    if (!left || !right) return NULL;
    slad_node *node = slad_record_append(record, operation, SLAD_PHASE_MICRO_BATCH, inputs, 2, NULL, 0);
    return slad_node_output(record, node, left->rank, left->size);
}

typedef struct fixture {
    scratch *own;
    slad_store *store;
    slad_record *record;
    const slad_tensor *trained, *frozen, *input;
} fixture;

static void open_fixture(fixture *test, scratch *own)
{
    const size_t size[2] = {4, 6};
    *test = (fixture){.own = own};
    assert_int_equal(slad_store_create(own->context, &test->store, 1000), SLAD_OK);
    assert_int_equal(slad_store_trained(test->store, &test->trained, "t", 2, size, 0, true, NULL, NULL, 0), SLAD_OK);
    assert_int_equal(slad_store_frozen(test->store, &test->frozen, "f", SLAD_F32, 2, size, NULL, NULL, 0), SLAD_OK);
    assert_int_equal(slad_record_create(own->context, &test->record, test->store, "test"), SLAD_OK);
    test->input = slad_record_input(test->record, "x", SLAD_F32, 2, size, 0);
}

static void close_fixture(fixture *test)
{
    slad_record_free(test->record);
    slad_store_free(test->store);
}

/* The node that writes to a slab as the count-th of the record's gradient nodes; NULL if there are fewer. */
static const slad_node *backward_node(const slad_record *record, size_t count)
{
    for (size_t i = 0; i < slad_record_node_count(record); i++) {
        const slad_node *node = slad_record_node_at(record, i);
        if (node->operation == &sum_backward && count-- == 0) return node;
    }
    return NULL;
}

static void test_errors_stick(void **state)
{
    fixture test;
    const size_t size[1] = {5};
    open_fixture(&test, *state);
    assert_null(slad_record_fail(test.record, SLAD_ERROR_DATA, "%s is wrong", "it"));
    assert_null(slad_record_input(test.record, "y", SLAD_F32, 1, size, 0));
    assert_null(append(test.record, &sum, test.input, test.input));
    assert_null(slad_record_fail(test.record, SLAD_ERROR_USAGE, "a later one"));
    assert_int_equal(slad_record_status(test.record), SLAD_ERROR_DATA);
    assert_message(test.own, "Recording test: it is wrong");
    close_fixture(&test);
}

static void test_views(void **state)
{
    fixture test;
    const size_t part[2] = {4, 3}, beyond[2] = {5, 6}, strides[2] = {6, 1}, flat[1] = {24};
    open_fixture(&test, *state);
    const slad_tensor *view = slad_record_view(test.record, test.trained, 2, 2, part, strides);
    assert_int_equal(view->offset, test.trained->offset + 2);
    assert_true(view->needs_gradient && !slad_tensor_is_contiguous(view));
    assert_true(slad_tensor_is_contiguous(slad_record_reshape(test.record, test.input, 1, flat)));
    const slad_tensor *gradient = slad_gradient_of(test.record, view);
    assert_ptr_equal(gradient->slab, test.trained->slab->gradient);
    assert_int_equal(gradient->offset, view->offset);
    assert_false(slad_record_detach(test.record, view)->needs_gradient);
    assert_null(slad_record_view(test.record, test.input, 0, 2, beyond, strides));
    assert_int_equal(slad_record_status(test.record), SLAD_ERROR_INTERNAL);
    close_fixture(&test);
}

/* Frozen prefixes get no gradient nodes; a tensor that is read twice gets its second gradient added. */
static void test_gradients(void **state)
{
    fixture test;
    bool accumulate;
    open_fixture(&test, *state);
    const slad_tensor *below = append(test.record, &sum, test.input, test.frozen);
    const slad_tensor *a = append(test.record, &sum, below, test.trained);
    const slad_tensor *y = append(test.record, &sum, a, a);
    assert_false(below->needs_gradient);
    assert_true(y->needs_gradient);
    const slad_tensor *dy = slad_record_input(test.record, "dy", SLAD_F32, 2, y->size, 0);
    slad_gradient_pass(test.record, y, dy);
    assert_int_equal(slad_record_differentiate(test.record), SLAD_OK);
    memcpy(&accumulate, backward_node(test.record, 0)->parameters, sizeof accumulate);
    assert_false(accumulate);
    memcpy(&accumulate, backward_node(test.record, 1)->parameters, sizeof accumulate);
    assert_true(accumulate);
    assert_ptr_equal(backward_node(test.record, 0)->outputs[0]->slab, backward_node(test.record, 1)->outputs[0]->slab);
    const slad_node *last = backward_node(test.record, 2);
    memcpy(&accumulate, last->parameters, sizeof accumulate);
    assert_true(accumulate); /* a trained tensor's gradient is always added to */
    assert_ptr_equal(last->outputs[0]->slab, test.trained->slab->gradient);
    assert_null(backward_node(test.record, 3));
    assert_null(slad_gradient_of(test.record, below));
    close_fixture(&test);
}

static void test_missing_rule(void **state)
{
    fixture test;
    open_fixture(&test, *state);
    const slad_tensor *y = append(test.record, &stubborn, test.input, test.trained);
    slad_gradient_pass(test.record, y, slad_record_input(test.record, "dy", SLAD_F32, 2, y->size, 0));
    assert_int_equal(slad_record_differentiate(test.record), SLAD_ERROR_INTERNAL);
    assert_message(test.own, "stubborn");
    close_fixture(&test);
}

/* Trained tensors share a slab until it is full, each begins on a block, and views keep to it. */
static void test_store(void **state)
{
    scratch *own = *state;
    slad_store *store;
    const slad_tensor *first, *second, *third, *view;
    const size_t small[1] = {17}, large[1] = {80}, huge[1] = {101}, stride[1] = {1};
    assert_int_equal(slad_store_create(own->context, &store, 100), SLAD_OK);
    assert_int_equal(slad_store_trained(store, &first, "a", 1, small, 0, true, NULL, NULL, 0), SLAD_OK);
    assert_int_equal(slad_store_trained(store, &second, "b", 1, small, 1, false, NULL, NULL, 0), SLAD_OK);
    assert_int_equal(slad_store_trained(store, &third, "c", 1, large, 1, false, NULL, NULL, 0), SLAD_OK);
    assert_ptr_equal(first->slab, second->slab);
    assert_int_equal(second->offset, 32);
    assert_true(third->slab != first->slab && third->offset == 0);
    assert_int_equal(first->slab->gradient->elements, 64);
    assert_int_equal(slad_store_slab_count(store, SLAD_SLAB_TRAINED), 2);
    assert_int_equal(slad_store_view(store, &view, second, 3, 1, (const size_t[1]){5}, stride), SLAD_OK);
    assert_int_equal(view->offset, 35);
    assert_string_equal(view->name, "b");
    assert_int_equal(slad_store_trained(store, &third, "d", 1, huge, 0, true, NULL, NULL, 0), SLAD_ERROR_OUT_OF_MEMORY);
    assert_message(own, "Tensor d");
    slad_store_free(store);
}

/* y = x1 * x2 as far as records care: its gradient reads what it was made of. */
static slad_status product_gradient(slad_record *record, const slad_node *node);
static const slad_operation product = {.name = "product", .gradient = product_gradient};
static const slad_operation product_backward = {.name = "product_backward"};

static slad_status product_gradient(slad_record *record, const slad_node *node)
{
    const slad_tensor *inputs[2] = {slad_gradient_of(record, node->outputs[0]), node->inputs[0]};
    bool accumulate;
    slad_node *back = slad_record_append(record, &product_backward, SLAD_PHASE_MICRO_BATCH, inputs, 2, NULL, 0);
    slad_node_writes(record, back, slad_gradient_target(record, node->inputs[0], &accumulate));
    return slad_record_status(record);
}

static size_t count_nodes(const slad_record *record, const slad_operation *operation)
{
    size_t count = 0;
    for (size_t i = 0; i < slad_record_node_count(record); i++)
        count += slad_record_node_at(record, i)->operation == operation;
    return count;
}

/* What gradients of a segment read is computed again; the last result of the segment is not, since they do not read
 * it. */
static void test_segments(void **state)
{
    fixture test;
    open_fixture(&test, *state);
    slad_record_set_recompute(test.record, true);
    slad_record_segment_begin(test.record);
    const slad_tensor *inner = append(test.record, &product, test.trained, test.input);
    const slad_tensor *last = append(test.record, &product, inner, test.input);
    slad_record_segment_end(test.record);
    const slad_tensor *loss = append(test.record, &product, last, test.input);
    slad_gradient_pass(test.record, loss, append(test.record, &stubborn, test.input, test.input));
    assert_int_equal(slad_record_differentiate(test.record), SLAD_OK);
    assert_int_equal(count_nodes(test.record, &product), 4);
    assert_int_equal(count_nodes(test.record, &product_backward), 3);
    const size_t nodes = slad_record_node_count(test.record);
    const slad_node *of_loss = slad_record_node_at(test.record, 4), *copy = slad_record_node_at(test.record, 5);
    const slad_node *of_last = slad_record_node_at(test.record, 6), *of_inner = slad_record_node_at(test.record, 7);
    assert_int_equal(nodes, 8);
    assert_ptr_equal(of_loss->inputs[1]->slab, last->slab);
    assert_ptr_equal(copy->inputs[0]->slab, test.trained->slab);
    assert_ptr_not_equal(copy->outputs[0]->slab, inner->slab);
    assert_ptr_equal(of_last->inputs[0]->slab, of_loss->outputs[0]->slab);
    assert_ptr_equal(of_last->inputs[1]->slab, copy->outputs[0]->slab);
    assert_ptr_equal(of_inner->outputs[0]->slab, test.trained->slab->gradient);
    close_fixture(&test);
}

/* Running statistics must not be updated twice. */
static void test_segment_with_state(void **state)
{
    fixture test;
    open_fixture(&test, *state);
    slad_record_set_recompute(test.record, true);
    slad_record_segment_begin(test.record);
    const slad_tensor *y = append(test.record, &product, test.trained, test.input);
    slad_node *node = slad_record_append(test.record, &product, SLAD_PHASE_MICRO_BATCH, &y, 1, NULL, 0);
    slad_node_writes(test.record, node, test.frozen);
    slad_record_segment_end(test.record);
    slad_gradient_pass(test.record, y, append(test.record, &stubborn, test.input, test.input));
    assert_int_equal(slad_record_differentiate(test.record), SLAD_ERROR_INTERNAL);
    assert_message(test.own, "cannot be recomputed");
    close_fixture(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_errors_stick, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_views, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_gradients, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_missing_rule, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_segments, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_segment_with_state, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(test_store, scratch_begin, scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
