#include "io/protobuf.h"
#include "base/memory.h"
#include <string.h>

/* The kinds of field, as a field's key holds them. */
enum { VARINT = 0, FIXED_64 = 1, DELIMITED = 2, FIXED_32 = 5 };

slad_protobuf slad_protobuf_start(slad_context *context)
{
    return (slad_protobuf){.context = context, .status = SLAD_OK};
}

void slad_protobuf_free(slad_protobuf *message)
{
    slad_release(message->bytes);
    *message = (slad_protobuf){0};
}

void slad_little_endian_32(unsigned char bytes[4], uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) bytes[i] = (unsigned char)(value >> 8 * i & 0xff);
}

void slad_little_endian_64(unsigned char bytes[8], uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) bytes[i] = (unsigned char)(value >> 8 * i & 0xff);
}

static void append(slad_protobuf *message, const void *bytes, size_t count)
{
    if (message->status != SLAD_OK || count == 0) return;
    message->status = slad_grow(message->context, &message->bytes, &message->capacity, message->size + count, 1,
                                "a message of protocol buffers");
    if (message->status != SLAD_OK) return;
    memcpy(message->bytes + message->size, bytes, count);
    message->size += count;
}

/* Seven bits a byte, the lowest first; the top bit says that more follow. */
static void append_varint(slad_protobuf *message, uint64_t value)
{
    unsigned char bytes[10];
    size_t count = 0;
    do {
        bytes[count] = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80u : 0u));
        value >>= 7;
        count++;
    } while (value);
    append(message, bytes, count);
}

static void append_key(slad_protobuf *message, unsigned field, unsigned kind)
{
    append_varint(message, (uint64_t)field << 3 | kind);
}

void slad_protobuf_integer(slad_protobuf *message, unsigned field, int64_t value)
{
    append_key(message, field, VARINT);
    append_varint(message, (uint64_t)value);
}

void slad_protobuf_float(slad_protobuf *message, unsigned field, float value)
{
    unsigned char bytes[4];
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    slad_little_endian_32(bytes, bits);
    append_key(message, field, FIXED_32);
    append(message, bytes, sizeof bytes);
}

void slad_protobuf_double(slad_protobuf *message, unsigned field, double value)
{
    unsigned char bytes[8];
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    slad_little_endian_64(bytes, bits);
    append_key(message, field, FIXED_64);
    append(message, bytes, sizeof bytes);
}

void slad_protobuf_announce(slad_protobuf *message, unsigned field, uint64_t bytes)
{
    append_key(message, field, DELIMITED);
    append_varint(message, bytes);
}

void slad_protobuf_bytes(slad_protobuf *message, unsigned field, const void *bytes, size_t count)
{
    slad_protobuf_announce(message, field, count);
    append(message, bytes, count);
}

void slad_protobuf_text(slad_protobuf *message, unsigned field, const char *text)
{
    slad_protobuf_bytes(message, field, text, strlen(text));
}

void slad_protobuf_message(slad_protobuf *message, unsigned field, const slad_protobuf *inner)
{
    if (message->status == SLAD_OK) message->status = inner->status;
    slad_protobuf_bytes(message, field, inner->bytes, inner->size);
}
