/* Event files: framing and checksums as TFRecord has them, messages as TensorBoard reads them, and what happens to the
 * files of a run that is resumed. */
#include "scratch.h"

#include "base/json.h"
#include "io/events.h"
#include "io/metrics.h"
#include <math.h>

/* A value that was read. */
typedef struct seen {
    uint64_t step;
    char tag[64];
    float value;
} seen;

/* What a file holds. */
typedef struct read_events {
    seen values[32];
    size_t count, records, starts;
    uint64_t start_step;
    char version[32];
} read_events;

static uint32_t checksum(const unsigned char *bytes, size_t count)
{
    uint32_t table[256], crc = 0xffffffffu;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++) table[i] = (table[i] & 1) ? table[i] >> 1 ^ 0x82f63b78u : table[i] >> 1;
    }
    for (size_t i = 0; i < count; i++) crc = table[(crc ^ bytes[i]) & 0xff] ^ crc >> 8;
    crc ^= 0xffffffffu;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint64_t little_endian(const unsigned char *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = count; i-- > 0;) value = value << 8 | bytes[i];
    return value;
}

/* A field of a message; text points into it. */
typedef struct field {
    unsigned number, kind;
    uint64_t value;
    const unsigned char *text;
} field;

static uint64_t take_varint(const unsigned char **at, const unsigned char *end)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        assert_true(*at < end && shift < 64);
        value |= (uint64_t)(**at & 0x7f) << shift;
        if (!(*(*at)++ & 0x80)) return value;
    }
}

static field take_field(const unsigned char **at, const unsigned char *end)
{
    field taken = {0};
    const uint64_t key = take_varint(at, end);
    taken.number = (unsigned)(key >> 3);
    taken.kind = (unsigned)(key & 7);
    if (taken.kind == 0) {
        taken.value = take_varint(at, end);
    } else {
        const size_t size = taken.kind == 1 ? 8 : taken.kind == 5 ? 4 : (size_t)take_varint(at, end);
        assert_true(taken.kind == 1 || taken.kind == 2 || taken.kind == 5);
        assert_true((size_t)(end - *at) >= size);
        taken.value = taken.kind == 2 ? size : little_endian(*at, size);
        taken.text = *at;
        *at += size;
    }
    return taken;
}

static void read_value(read_events *out, uint64_t step, const unsigned char *at, const unsigned char *end)
{
    seen *value = &out->values[out->count++];
    assert_true(out->count <= 32);
    value->step = step;
    while (at < end) {
        const field part = take_field(&at, end);
        const uint32_t bits = (uint32_t)part.value;
        if (part.number == 1) (void)snprintf(value->tag, sizeof value->tag, "%.*s", (int)part.value, part.text);
        if (part.number == 2) memcpy(&value->value, &bits, sizeof bits);
    }
}

static void read_event(read_events *out, const unsigned char *at, const unsigned char *end)
{
    uint64_t step = 0;
    double when = 0;
    while (at < end) {
        field part = take_field(&at, end);
        if (part.number == 1) memcpy(&when, &part.value, sizeof when);
        if (part.number == 2) step = part.value;
        if (part.number == 3) (void)snprintf(out->version, sizeof out->version, "%.*s", (int)part.value, part.text);
        if (part.number == 7) {
            assert_memory_equal(part.text, "\x08\x01", 2);
            out->starts++;
            out->start_step = step;
        }
        for (const unsigned char *inner = part.text; part.number == 5 && inner < part.text + part.value;) {
            const field value = take_field(&inner, part.text + part.value);
            assert_int_equal(value.number, 1);
            read_value(out, step, value.text, value.text + value.value);
        }
    }
    assert_true(when > 1.6e9 && when < 1e11);
}

static read_events *read_file(scratch *own, const char *name)
{
    read_events *out = calloc(1, sizeof *out);
    char *bytes = NULL;
    size_t size = 0;
    assert_non_null(out);
    assert_int_equal(slad_file_read_all(own->context, &bytes, &size, scratch_path(own, name), 1 << 20), SLAD_OK);
    const unsigned char *at = (const unsigned char *)bytes, *const end = at + size;
    while (at < end) {
        assert_true(end - at > 16);
        const uint64_t length = little_endian(at, 8);
        assert_int_equal(little_endian(at + 8, 4), checksum(at, 8));
        assert_true((uint64_t)(end - at) >= length + 16);
        assert_int_equal(little_endian(at + 12 + length, 4), checksum(at + 12, (size_t)length));
        read_event(out, at + 12, at + 12 + length);
        at += length + 16;
        out->records++;
    }
    slad_release(bytes);
    return out;
}

static void assert_seen(const read_events *events, size_t index, uint64_t step, const char *tag, double value)
{
    assert_true(index < events->count);
    assert_int_equal(events->values[index].step, step);
    assert_string_equal(events->values[index].tag, tag);
    assert_true(events->values[index].value == (float)value);
}

/* Steps and evaluations that go to metrics.jsonl are there too. */
static void test_metrics(void **state)
{
    scratch *own = *state;
    slad_metrics *metrics = NULL;
    cJSON *json = NULL;
    static const char text[] = "{\"event\":\"eval\",\"step\":300,\"epoch\":1,\"images\":5,\"student\":{\"top1\":0.25,"
                               "\"list\":[1,2]},\"cka\":{\"output\":{\"cls\":0.5}}}";
    /* the checksum of RFC 3720's other test vector, "123456789", is e3069283 */
    assert_int_equal(checksum((const unsigned char *)"123456789", 9),
                     (0xe3069283u >> 15 | 0xe3069283u << 17) + 0xa282ead8u);
    assert_int_equal(slad_metrics_open(own->context, &metrics, scratch_path(own, "metrics.jsonl"), true), SLAD_OK);
    assert_int_equal(slad_metrics_add_events(own->context, metrics, own->folder, 300), SLAD_OK);
    const slad_metrics_step step = {.step = 300, .loss = 2.5, .has_kl = true, .loss_kl = NAN, .learning_rate = 1e-3};
    assert_int_equal(slad_metrics_write_step(own->context, metrics, &step), SLAD_OK);
    assert_int_equal(slad_json_parse(own->context, &json, text, sizeof text - 1, "text"), SLAD_OK);
    assert_int_equal(slad_metrics_write(own->context, metrics, json), SLAD_OK);
    cJSON_DeleteItemFromObject(json, "step");
    assert_int_equal(slad_metrics_write(own->context, metrics, json), SLAD_OK);
    cJSON_Delete(json);
    slad_metrics_close(metrics);
    read_events *events = read_file(own, "events.out.tfevents.0000000300");
    assert_string_equal(events->version, "brain.Event:2");
    assert_int_equal(events->starts, 1);
    assert_int_equal(events->start_step, 300);
    assert_int_equal(events->records, 4);
    assert_int_equal(events->count, 6);
    assert_seen(events, 0, 300, "loss/total", 2.5);
    assert_seen(events, 1, 300, "lr", 1e-3);
    assert_seen(events, 2, 300, "images_per_s", 0);
    assert_seen(events, 3, 300, "eval/images", 5);
    assert_seen(events, 4, 300, "eval/student/top1", 0.25);
    assert_seen(events, 5, 300, "eval/cka/output/cls", 0.5);
    free(events);
}

/* Parts that begin where a resumed run begins, or later, are made anew; earlier ones and other files stay. */
static void test_resumed(void **state)
{
    static const char *const names[] = {"events.out.tfevents.0000000000", "events.out.tfevents.0000000040",
                                        "events.out.tfevents.0000000090", "events.out.tfevents.x",
                                        "events.out.tfevents."};
    static const slad_path_kind after[] = {SLAD_PATH_FILE, SLAD_PATH_FILE, SLAD_PATH_MISSING, SLAD_PATH_FILE,
                                           SLAD_PATH_FILE};
    scratch *own = *state;
    slad_events *events = NULL;
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(slad_file_write_all(own->context, scratch_path(own, names[i]), "old", 3), SLAD_OK);
    assert_int_equal(slad_events_open(own->context, &events, own->folder, 40), SLAD_OK);
    const slad_event_scalar scalar = {"a", 1};
    assert_int_equal(slad_events_write(own->context, events, 1ull << 40, &scalar, 1), SLAD_OK);
    slad_events_close(events);
    for (size_t i = 0; i < 5; i++) assert_int_equal(slad_path_look(scratch_path(own, names[i])), after[i]);
    read_events *seen_there = read_file(own, names[1]);
    assert_int_equal(seen_there->records, 3);
    assert_seen(seen_there, 0, 1ull << 40, "a", 1);
    free(seen_there);
    assert_int_equal(slad_events_open(own->context, &events, scratch_path(own, names[0]), 0), SLAD_ERROR_WRITE);
    assert_int_equal(slad_events_remove(own->context, scratch_path(own, "nowhere"), 0), SLAD_OK);
}

/* With each allocation made to fail in turn. */
static void test_no_memory(void **state)
{
    scratch *own = *state;
    bool struck = true;
    for (uint64_t countdown = 1; struck; countdown++) {
        slad_events *events = NULL;
        const slad_event_scalar scalars[2] = {{"a", 1}, {"b", 2}};
        slad_fault_arm(own->context, countdown);
        slad_status status = slad_events_open(own->context, &events, own->folder, 0);
        if (status == SLAD_OK) status = slad_events_write(own->context, events, 7, scalars, 2);
        struck = !slad_fault_pending(own->context);
        slad_fault_arm(own->context, 0);
        slad_events_close(events);
        assert_int_equal(status, struck ? SLAD_ERROR_OUT_OF_MEMORY : SLAD_OK);
        assert_true(countdown < 1000);
    }
}

#define WITH_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SCRATCH(test_metrics),
        WITH_SCRATCH(test_resumed),
        WITH_SCRATCH(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
