/* Reading the values of tensors. */
#include "base/safetensors_internal.h"
#include <string.h>

enum { CHUNK_BYTES = 1 << 15 };

/* IEEE 754 binary16 to binary32, exactly; the payload of a NaN stays. */
static uint32_t half_to_float_bits(uint32_t half)
{
    const uint32_t sign = (half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu;
    uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0x1f) return sign | 0x7f800000u | mantissa << 13;
    if (exponent == 0) {
        if (mantissa == 0) return sign;
        exponent = 1; /* a subnormal half is a normal float */
        while (!(mantissa & 0x400u)) {
            mantissa <<= 1;
            exponent--; /* may pass below 0, where the sum below is meant to wrap */
        }
        mantissa &= 0x3ffu;
    }
    return sign | (exponent + 112u) << 23 | mantissa << 13;
}

static void decode_float(float *destination, const unsigned char *source, slad_safetensors_type type, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = 0;
        if (type == SLAD_SAFETENSORS_F32)
            bits = (uint32_t)slad_load_little(source + 4 * i, 4);
        else if (type == SLAD_SAFETENSORS_F16)
            bits = half_to_float_bits((uint32_t)slad_load_little(source + 2 * i, 2));
        else
            bits = (uint32_t)slad_load_little(source + 2 * i, 2) << 16;
        memcpy(&destination[i], &bits, sizeof bits);
    }
}

static slad_status check_range(slad_context *context, const slad_safetensors *file, const slad_safetensor *tensor,
                               uint64_t first, uint64_t count)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(first > tensor->elements || count > tensor->elements - first, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" has %llu elements, but %llu are needed from element %llu on",
                 slad_safetensors_path(file), tensor->name, (unsigned long long)tensor->elements,
                 (unsigned long long)count, (unsigned long long)first);
cleanup:
    return status;
}

slad_status slad_safetensors_read_float(slad_context *context, float *destination, const slad_safetensors *file,
                                        const slad_safetensor *tensor, uint64_t first, uint64_t count)
{
    slad_status status = SLAD_OK;
    unsigned char chunk[CHUNK_BYTES];
    SLAD_FAIL_IF(tensor->type != SLAD_SAFETENSORS_F32 && tensor->type != SLAD_SAFETENSORS_F16 &&
                     tensor->type != SLAD_SAFETENSORS_BF16,
                 SLAD_ERROR_DATA, "%s: tensor \"%s\" is %s; only F32, F16 and BF16 can be read here, convert the file",
                 slad_safetensors_path(file), tensor->name, tensor->type_name);
    SLAD_TRY(check_range(context, file, tensor, first, count));
    const size_t size = tensor->type == SLAD_SAFETENSORS_F32 ? 4 : 2;
    while (count > 0) {
        const size_t part = count < CHUNK_BYTES / size ? (size_t)count : CHUNK_BYTES / size;
        SLAD_TRY(slad_file_read_at(context, chunk, file->input, tensor->offset + first * size, part * size));
        decode_float(destination, chunk, tensor->type, part);
        destination += part;
        first += part;
        count -= part;
    }
cleanup:
    return status;
}

slad_status slad_safetensors_read_int32(slad_context *context, int32_t *destination, const slad_safetensors *file,
                                        const slad_safetensor *tensor, uint64_t first, uint64_t count, int32_t low,
                                        int32_t high)
{
    slad_status status = SLAD_OK;
    unsigned char chunk[CHUNK_BYTES];
    SLAD_FAIL_IF(tensor->type != SLAD_SAFETENSORS_I64 && tensor->type != SLAD_SAFETENSORS_I32, SLAD_ERROR_DATA,
                 "%s: tensor \"%s\" is %s; whole numbers must be I64 or I32, convert the file",
                 slad_safetensors_path(file), tensor->name, tensor->type_name);
    SLAD_TRY(check_range(context, file, tensor, first, count));
    const size_t size = tensor->type == SLAD_SAFETENSORS_I64 ? 8 : 4;
    while (count > 0) {
        const size_t part = count < CHUNK_BYTES / size ? (size_t)count : CHUNK_BYTES / size;
        SLAD_TRY(slad_file_read_at(context, chunk, file->input, tensor->offset + first * size, part * size));
        for (size_t i = 0; i < part; i++) {
            const uint64_t bits = slad_load_little(chunk + i * size, size);
            const int64_t value = size == 8 ? (int64_t)bits : (int32_t)(uint32_t)bits;
            SLAD_FAIL_IF(value < low || value > high, SLAD_ERROR_DATA,
                         "%s: tensor \"%s\": element %llu is %lld, but must lie in %d .. %d",
                         slad_safetensors_path(file), tensor->name, (unsigned long long)(first + i), (long long)value,
                         (int)low, (int)high);
            destination[i] = (int32_t)value;
        }
        destination += part;
        first += part;
        count -= part;
    }
cleanup:
    return status;
}
