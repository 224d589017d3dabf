/* Messages of protocol buffers, written field by field into memory. ONNX files and TensorBoard's events need four kinds
 * of field; a library that generates code for whole schemas, such as protobuf-c, would bring a compiler and thousands
 * of lines for that. Format: "Encoding" of the protocol buffers documentation. */
#ifndef SLAD_IO_PROTOBUF_H
#define SLAD_IO_PROTOBUF_H

#include "base/error.h"
#include <stddef.h>

/* A message that grows. Errors stick: after one, nothing is added, and the field status says it. */
typedef struct slad_protobuf {
    slad_context *context;
    unsigned char *bytes;
    size_t size, capacity;
    slad_status status;
} slad_protobuf;

slad_protobuf slad_protobuf_start(slad_context *context);
void slad_protobuf_free(slad_protobuf *message);

/* A field of a whole number, bool or enumeration; negative ones as their two's complement in 64 bits. */
void slad_protobuf_integer(slad_protobuf *message, unsigned field, int64_t value);
void slad_protobuf_float(slad_protobuf *message, unsigned field, float value);
void slad_protobuf_double(slad_protobuf *message, unsigned field, double value);
void slad_protobuf_bytes(slad_protobuf *message, unsigned field, const void *bytes, size_t count);
void slad_protobuf_text(slad_protobuf *message, unsigned field, const char *text);
/* A message within the message. */
void slad_protobuf_message(slad_protobuf *message, unsigned field, const slad_protobuf *inner);
/* Starts a field of that many bytes, which the caller writes behind this message by other means. */
void slad_protobuf_announce(slad_protobuf *message, unsigned field, uint64_t bytes);

/* Little-endian forms, for what stands outside of messages. */
void slad_little_endian_32(unsigned char bytes[4], uint32_t value);
void slad_little_endian_64(unsigned char bytes[8], uint64_t value);

#endif
