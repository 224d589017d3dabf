/* Context, errors, memory, fault injection, threads and hashes. */
#include "scratch.h"

#include "base/environment.h"
#include "base/hash.h"
#include "base/threads.h"
#include <sched.h>

typedef struct heard {
    char lines[8][256];
    slad_log_level levels[8];
    size_t count;
    bool inside; /* a callback is running */
    bool overlapped;
} heard;

static void hear(void *user, slad_log_level level, const char *message)
{
    heard *log = user;
    if (log->inside) log->overlapped = true;
    log->inside = true;
    const size_t slot = log->count++ % 8;
    (void)snprintf(log->lines[slot], sizeof log->lines[slot], "%s", message);
    log->levels[slot] = level;
    log->inside = false;
}

static slad_status fail_with(slad_context *context, int number)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(number == 7, SLAD_ERROR_DATA, "file %s: bad number %d", "a.bin", number);
cleanup:
    return status;
}

static slad_status pass_on(slad_context *context, int number)
{
    slad_status status = SLAD_OK;
    SLAD_TRY(fail_with(context, number));
cleanup:
    return status;
}

static void errors_are_kept_and_logged(void **state)
{
    (void)state;
    heard log = {0};
    const slad_callbacks callbacks = {.user = &log, .log = hear};
    slad_context *context = NULL;
    assert_int_equal(slad_context_create(&context, &callbacks, SLAD_LOG_DEBUG), SLAD_OK);
    assert_string_equal(slad_context_message(context), "");
    assert_int_equal(pass_on(context, 6), SLAD_OK);
    assert_int_equal(log.count, 0);
    assert_int_equal(pass_on(context, 7), SLAD_ERROR_DATA);
    assert_string_equal(slad_context_message(context), "file a.bin: bad number 7");
    assert_int_equal(log.count, 2);
    assert_string_equal(log.lines[0], "file a.bin: bad number 7");
    assert_int_equal(log.levels[0], SLAD_LOG_ERROR);
    assert_int_equal(log.levels[1], SLAD_LOG_DEBUG);
    assert_non_null(strstr(log.lines[1], "number == 7"));
    assert_non_null(strstr(log.lines[1], "test_base.c"));
    slad_context_free(context);
    assert_int_equal(pass_on(NULL, 7), SLAD_ERROR_DATA);
    assert_string_equal(slad_context_message(NULL), "");
    slad_context_free(NULL);
}

static void log_obeys_its_level(void **state)
{
    (void)state;
    heard log = {0};
    const slad_callbacks callbacks = {.user = &log, .log = hear};
    slad_context *context = NULL;
    assert_int_equal(slad_context_create(&context, &callbacks, SLAD_LOG_WARNING), SLAD_OK);
    slad_log(context, SLAD_LOG_INFO, "not heard");
    slad_log(context, SLAD_LOG_WARNING, "heard %d", 1);
    assert_int_equal(log.count, 1);
    assert_string_equal(log.lines[0], "heard 1");
    slad_log(NULL, SLAD_LOG_ERROR, "no context, no crash");
    slad_context_free(context);
}

static void long_messages_are_cut(void **state)
{
    scratch *own = *state;
    char text[20000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)slad_report(own->context, SLAD_ERROR_DATA, text, "file.c", 1, "%s", text);
    const size_t length = strlen(slad_context_message(own->context));
    assert_in_range(length, 1000, sizeof text - 2);
}

static void statuses_have_names(void **state)
{
    (void)state;
    static const slad_status all[] = {SLAD_OK,
                                      SLAD_ERROR_USAGE,
                                      SLAD_ERROR_DATA,
                                      SLAD_ERROR_NO_DEVICE,
                                      SLAD_ERROR_BUILD,
                                      SLAD_ERROR_SELF_TEST,
                                      SLAD_ERROR_OUT_OF_MEMORY,
                                      SLAD_ERROR_WRITE,
                                      SLAD_ERROR_DIVERGED,
                                      SLAD_ERROR_INTERNAL,
                                      SLAD_ERROR_INTERRUPTED};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_string_not_equal(slad_status_name(all[i]), "unknown status");
        for (size_t j = 0; j < i; j++) assert_string_not_equal(slad_status_name(all[i]), slad_status_name(all[j]));
    }
    assert_string_equal(slad_status_name((slad_status)99), "unknown status");
}

static void count_progress(void *user, const slad_progress *progress)
{
    *(uint64_t *)user += progress->done;
}

static bool always(void *user)
{
    return user != NULL;
}

static void progress_and_cancel_have_defaults(void **state)
{
    scratch *own = *state;
    const slad_progress progress = {.activity = "training", .done = 3, .total = 4};
    slad_progress_report(own->context, &progress);
    slad_progress_report(NULL, &progress);
    assert_false(slad_cancelled(own->context));
    assert_false(slad_cancelled(NULL));
    uint64_t done = 0;
    const slad_callbacks callbacks = {.user = &done, .progress = count_progress, .cancelled = always};
    slad_context *context = NULL;
    assert_int_equal(slad_context_create(&context, &callbacks, SLAD_LOG_ERROR), SLAD_OK);
    slad_progress_report(context, &progress);
    assert_int_equal(done, 3);
    assert_true(slad_cancelled(context));
    slad_context_free(context);
}

static void allocations_are_zero_and_checked(void **state)
{
    scratch *own = *state;
    uint32_t *numbers = NULL;
    assert_int_equal(slad_allocate(own->context, &numbers, 1000, sizeof *numbers, "numbers"), SLAD_OK);
    for (size_t i = 0; i < 1000; i++) assert_int_equal(numbers[i], 0);
    slad_release(numbers);
    assert_int_equal(slad_allocate(own->context, &numbers, 0, sizeof *numbers, "nothing"), SLAD_OK);
    assert_non_null(numbers);
    slad_release(numbers);
    assert_int_equal(slad_allocate(own->context, &numbers, SIZE_MAX / 2, 4, "far too much"), SLAD_ERROR_OUT_OF_MEMORY);
    assert_null(numbers);
    assert_message(own, "far too much");
    slad_release(NULL);
}

static void arrays_grow_and_keep_their_items(void **state)
{
    scratch *own = *state;
    uint16_t *items = NULL;
    size_t capacity = 0;
    for (size_t count = 0; count < 1000; count++) {
        assert_int_equal(slad_grow(own->context, &items, &capacity, count + 1, sizeof *items, "items"), SLAD_OK);
        assert_true(capacity > count);
        assert_int_equal(items[count], 0);
        items[count] = (uint16_t)count;
    }
    assert_true(capacity <= 2048);
    for (size_t i = 0; i < 1000; i++) assert_int_equal(items[i], i);
    const size_t before = capacity;
    uint16_t *const kept = items;
    assert_int_equal(slad_grow(own->context, &items, &capacity, SIZE_MAX, sizeof *items, "items"),
                     SLAD_ERROR_OUT_OF_MEMORY);
    assert_ptr_equal(items, kept);
    assert_int_equal(capacity, before);
    assert_int_equal(items[999], 999);
    slad_release(items);
}

static void texts_are_made(void **state)
{
    scratch *own = *state;
    char *text = NULL;
    assert_int_equal(slad_duplicate(own->context, &text, "abc"), SLAD_OK);
    assert_string_equal(text, "abc");
    slad_release(text);
    assert_int_equal(slad_format(own->context, &text, "%s-%d-%s", "left", 12, "right"), SLAD_OK);
    assert_string_equal(text, "left-12-right");
    slad_release(text);
}

static void armed_fault_strikes_once_where_asked(void **state)
{
    scratch *own = *state;
    void *memory = NULL;
    slad_fault_arm(own->context, 3);
    for (int call = 1; call <= 5; call++) {
        assert_int_equal(slad_fault_pending(own->context), call <= 3);
        const slad_status status = slad_allocate_bytes(own->context, &memory, 1, 8, "memory");
        assert_int_equal(status, call == 3 ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        slad_release(memory);
    }
    slad_fault_arm(own->context, 2);
    slad_fault_arm(own->context, 0);
    assert_false(slad_fault_pending(own->context));
    for (int call = 0; call < 5; call++) assert_false(slad_fault_due(own->context));
    assert_false(slad_fault_due(NULL));
}

/* FNV-1a's published test values. */
static void hashes_are_fnv(void **state)
{
    (void)state;
    assert_true(slad_hash_text(SLAD_HASH_START, "") == UINT64_C(0xcbf29ce484222325));
    assert_true(slad_hash_text(SLAD_HASH_START, "a") == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(slad_hash_text(SLAD_HASH_START, "foobar") == UINT64_C(0x85944171f73967e8));
    assert_true(slad_hash_text(slad_hash_bytes(SLAD_HASH_START, "foo", 3), "bar") == UINT64_C(0x85944171f73967e8));
}

enum { WORKERS = 4, ROUNDS = 2000 };

typedef struct shared {
    slad_context *context;
    slad_lock *lock;
    slad_condition *condition;
    uint64_t sum;
    unsigned waiting;
    bool go;
    volatile bool inside; /* a worker holds the lock */
    volatile bool met;    /* two of them did at once */
} shared;

static void work(void *user)
{
    shared *own = user;
    slad_lock_acquire(own->lock);
    own->waiting++;
    slad_condition_signal_all(own->condition);
    while (!own->go) slad_condition_wait(own->condition, own->lock);
    slad_lock_release(own->lock);
    for (int i = 0; i < ROUNDS; i++) {
        slad_lock_acquire(own->lock);
        if (own->inside) own->met = true;
        own->inside = true;
        own->sum++;
        if (i % 10 == 0) (void)sched_yield();
        own->inside = false;
        slad_lock_release(own->lock);
        if (i % 100 == 0)
            (void)slad_report(own->context, SLAD_ERROR_DATA, "condition", "file.c", i, "report %d of a worker", i);
    }
}

static void threads_share_and_report(void **state)
{
    (void)state;
    heard log = {0};
    const slad_callbacks callbacks = {.user = &log, .log = hear};
    shared own = {0};
    assert_int_equal(slad_context_create(&own.context, &callbacks, SLAD_LOG_DEBUG), SLAD_OK);
    assert_int_equal(slad_lock_create(own.context, &own.lock), SLAD_OK);
    assert_int_equal(slad_condition_create(own.context, &own.condition), SLAD_OK);
    slad_thread *threads[WORKERS] = {NULL};
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(slad_thread_start(own.context, &threads[i], work, &own), SLAD_OK);
    slad_lock_acquire(own.lock);
    while (own.waiting < WORKERS) slad_condition_wait(own.condition, own.lock);
    assert_int_equal(own.sum, 0);
    own.go = true;
    slad_condition_signal_all(own.condition);
    slad_lock_release(own.lock);
    for (int i = 0; i < WORKERS; i++) slad_thread_join(threads[i]);
    assert_int_equal(own.sum, WORKERS * ROUNDS);
    assert_false(own.met);
    assert_int_equal(log.count, 2 * WORKERS * ROUNDS / 100);
    assert_false(log.overlapped);
    assert_non_null(strstr(slad_context_message(own.context), "of a worker"));
    slad_thread_join(NULL);
    slad_lock_free(NULL);
    slad_condition_free(NULL);
    slad_condition_free(own.condition);
    slad_lock_free(own.lock);
    slad_context_free(own.context);
}

static void clocks_and_counts_are_plausible(void **state)
{
    (void)state;
    const double start = slad_clock_seconds();
    assert_true(slad_clock_seconds() >= start);
    assert_in_range(slad_processor_count(), 1, 100000);
    assert_true(slad_peak_memory() > 100000);
    char text[32];
    slad_time_text(text);
    assert_int_equal(strlen(text), 20);
    assert_true(text[4] == '-' && text[10] == 'T' && text[19] == 'Z');
}

static void environment_is_listed_in_order(void **state)
{
    scratch *own = *state;
    setenv("SLAD_TEST_B", "two words", 1);
    setenv("SLAD_TEST_A", "", 1);
    setenv("OTHER_SLAD_TEST", "not asked for", 1);
    static const char *const prefixes[] = {"SLAD_TEST_", "NO_SUCH_"};
    char *text = NULL;
    assert_int_equal(slad_environment_list(own->context, &text, prefixes, 2), SLAD_OK);
    assert_string_equal(text, "SLAD_TEST_A=\nSLAD_TEST_B=two words\n");
    slad_release(text);
    assert_int_equal(slad_environment_list(own->context, &text, prefixes + 1, 1), SLAD_OK);
    assert_string_equal(text, "");
    slad_release(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_kept_and_logged),
        cmocka_unit_test(log_obeys_its_level),
        cmocka_unit_test_setup_teardown(long_messages_are_cut, scratch_begin, scratch_end),
        cmocka_unit_test(statuses_have_names),
        cmocka_unit_test_setup_teardown(progress_and_cancel_have_defaults, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(allocations_are_zero_and_checked, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(arrays_grow_and_keep_their_items, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(texts_are_made, scratch_begin, scratch_end),
        cmocka_unit_test_setup_teardown(armed_fault_strikes_once_where_asked, scratch_begin, scratch_end),
        cmocka_unit_test(hashes_are_fnv),
        cmocka_unit_test(threads_share_and_report),
        cmocka_unit_test_setup_teardown(environment_is_listed_in_order, scratch_begin, scratch_end),
        cmocka_unit_test(clocks_and_counts_are_plausible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
