#include "io/events.h"
#include "base/files.h"
#include "base/memory.h"
#include "base/threads.h"
#include "io/protobuf.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fields of Event, Summary, Summary.Value and SessionLog. */
enum { EVENT_TIME = 1, EVENT_STEP = 2, EVENT_VERSION = 3, EVENT_SUMMARY = 5, EVENT_SESSION = 7 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, SESSION_STATUS = 1, SESSION_START = 1 };
enum { FRAME_HEAD = 12, FRAME_TAIL = 4, NAME_DIGITS = 10 };

struct slad_events {
    slad_appender *output;
};

/* CRC-32C (Castagnoli), rotated and shifted as TFRecord asks, so that checksums of checksums stay useful. */
static uint32_t masked_checksum(const unsigned char *bytes, size_t count)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0u);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* One write call a record, so that a killed program leaves whole records only. */
static slad_status write_record(slad_context *context, slad_events *events, const slad_protobuf *event)
{
    slad_status status = event->status;
    unsigned char *record = NULL;
    if (status != SLAD_OK) goto cleanup;
    SLAD_TRY(slad_allocate(context, &record, FRAME_HEAD + event->size + FRAME_TAIL, 1, "an event"));
    slad_little_endian_64(record, event->size);
    slad_little_endian_32(record + 8, masked_checksum(record, 8));
    memcpy(record + FRAME_HEAD, event->bytes, event->size);
    slad_little_endian_32(record + FRAME_HEAD + event->size, masked_checksum(event->bytes, event->size));
    SLAD_TRY(slad_appender_write(events->output, record, FRAME_HEAD + event->size + FRAME_TAIL));
cleanup:
    slad_release(record);
    return status;
}

static slad_protobuf start_event(slad_context *context, uint64_t step)
{
    slad_protobuf event = slad_protobuf_start(context);
    slad_protobuf_double(&event, EVENT_TIME, slad_time_seconds());
    slad_protobuf_integer(&event, EVENT_STEP, (int64_t)step);
    return event;
}

/* The record that every file begins with, and the one that says that steps from here on are made anew. */
static slad_status write_beginning(slad_context *context, slad_events *events, uint64_t first_step)
{
    slad_status status = SLAD_OK;
    slad_protobuf version = slad_protobuf_start(context), start = start_event(context, first_step);
    slad_protobuf session = slad_protobuf_start(context);
    slad_protobuf_double(&version, EVENT_TIME, slad_time_seconds());
    slad_protobuf_text(&version, EVENT_VERSION, "brain.Event:2");
    slad_protobuf_integer(&session, SESSION_STATUS, SESSION_START);
    slad_protobuf_message(&start, EVENT_SESSION, &session);
    SLAD_TRY(write_record(context, events, &version));
    SLAD_TRY(write_record(context, events, &start));
cleanup:
    slad_protobuf_free(&version);
    slad_protobuf_free(&session);
    slad_protobuf_free(&start);
    return status;
}

slad_status slad_events_remove(slad_context *context, const char *folder, uint64_t first_step)
{
    slad_status status = SLAD_OK;
    slad_directory directory = {0};
    char *path = NULL;
    const size_t length = strlen(SLAD_EVENTS_NAME);
    if (slad_path_look(folder) != SLAD_PATH_DIRECTORY) return SLAD_OK;
    SLAD_TRY(slad_directory_read(context, &directory, folder));
    for (size_t i = 0; i < directory.count; i++) {
        const char *name = directory.entries[i].name, *digits = name + length;
        if (strncmp(name, SLAD_EVENTS_NAME, length) != 0 || strspn(digits, "0123456789") != strlen(digits) || !*digits)
            continue;
        if (strtoull(digits, NULL, 10) < first_step) continue;
        SLAD_TRY(slad_path_join(context, &path, folder, name));
        SLAD_TRY(slad_path_remove(context, path));
        slad_release(path);
        path = NULL;
    }
cleanup:
    slad_release(path);
    slad_directory_free(&directory);
    return status;
}

slad_status slad_events_open(slad_context *context, slad_events **out, const char *folder, uint64_t first_step)
{
    slad_status status = SLAD_OK;
    slad_events *events = NULL;
    char *path = NULL;
    *out = NULL;
    SLAD_TRY(slad_events_remove(context, folder, first_step));
    SLAD_TRY(slad_format(context, &path, "%s/%s%0*llu", folder, SLAD_EVENTS_NAME, NAME_DIGITS,
                         (unsigned long long)first_step));
    SLAD_TRY(slad_allocate(context, &events, 1, sizeof *events, "the event file"));
    SLAD_TRY(slad_appender_open(context, &events->output, path, true));
    SLAD_TRY(write_beginning(context, events, first_step));
    *out = events;
    events = NULL;
cleanup:
    slad_events_close(events);
    slad_release(path);
    return status;
}

void slad_events_close(slad_events *events)
{
    if (!events) return;
    slad_appender_close(events->output);
    slad_release(events);
}

slad_status slad_events_write(slad_context *context, slad_events *events, uint64_t step,
                              const slad_event_scalar *scalars, size_t count)
{
    slad_status status = SLAD_OK;
    slad_protobuf event = start_event(context, step), summary = slad_protobuf_start(context);
    for (size_t i = 0; i < count; i++) {
        slad_protobuf value = slad_protobuf_start(context);
        if (!isfinite(scalars[i].value)) continue;
        slad_protobuf_text(&value, VALUE_TAG, scalars[i].tag);
        slad_protobuf_float(&value, VALUE_SIMPLE, (float)scalars[i].value);
        slad_protobuf_message(&summary, SUMMARY_VALUE, &value);
        slad_protobuf_free(&value);
    }
    slad_protobuf_message(&event, EVENT_SUMMARY, &summary);
    SLAD_TRY(write_record(context, events, &event));
cleanup:
    slad_protobuf_free(&summary);
    slad_protobuf_free(&event);
    return status;
}
