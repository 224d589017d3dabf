#include "data/image_guard.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

enum { MARKER_DHT = 0xC4, MARKER_SOI = 0xD8, MARKER_EOI = 0xD9, MARKER_SOS = 0xDA, MARKER_RST0 = 0xD0 };

/* stb_image neither scales the values of binary PGM and PPM files to 255 nor handles two bytes a value. */
static const char *portable_map_objection(const unsigned char *bytes, size_t size)
{
    unsigned long value = 0;
    size_t i = 2;
    for (int field = 0; field < 3; field++) {
        while (i < size && (isspace(bytes[i]) || bytes[i] == '#')) {
            if (bytes[i] == '#')
                while (i < size && bytes[i] != '\n') i++;
            else
                i++;
        }
        for (value = 0; i < size && isdigit(bytes[i]) && value < INT_MAX / 10; i++)
            value = value * 10 + (unsigned long)(bytes[i] - '0');
    }
    return value == 255 ? NULL : "of PPM and PGM files only those with values up to 255 are read";
}

/* A Huffman segment: tables of 16 counts, each followed by as many values as the counts add up to. Before 2.28,
 * stb_image writes past its table if they add up to more than 256. bytes[0] is the first of the length field. */
static bool huffman_segment_is_sound(const unsigned char *bytes, size_t size)
{
    if (size < 2) return true; /* the end of the file comes first */
    const size_t length = (size_t)bytes[0] << 8 | bytes[1];
    for (size_t i = 2; i < length && i < size;) { /* a table that begins inside is read to its end, wherever that is */
        size_t values = 0;
        for (size_t k = i + 1; k <= i + 16 && k < size; k++) values += bytes[k];
        if (values > 256) return false;
        i += 17 + values;
    }
    return true;
}

/* Walks through the segments up to the first scan; from there on, where the borders between scan data and segments
 * depend on the decoder, everything that looks like a Huffman segment must be sound. */
static const char *jpeg_objection(const unsigned char *bytes, size_t *size)
{
    static const char unsound[] = "broken Huffman tables";
    size_t i = 2;
    bool in_scan = false;
    while (i + 1 < *size) {
        if (bytes[i] != 0xFF || bytes[i + 1] == 0xFF) {
            i++;
            continue;
        }
        const unsigned char marker = bytes[i + 1];
        i += 2;
        if (marker == MARKER_EOI) {
            *size = i;
            break;
        }
        if (marker == MARKER_DHT && !huffman_segment_is_sound(bytes + i, *size - i)) return unsound;
        if (in_scan || marker == 0 || (marker >= MARKER_RST0 && marker <= MARKER_SOI)) continue;
        in_scan = marker == MARKER_SOS;
        if (!in_scan && i + 1 < *size) i += (size_t)bytes[i] << 8 | bytes[i + 1];
    }
    return NULL;
}

const char *slad_image_objection(const unsigned char *bytes, size_t *size)
{
    if (*size >= 2 && bytes[0] == 'P' && (bytes[1] == '5' || bytes[1] == '6'))
        return portable_map_objection(bytes, *size);
    if (*size >= 2 && bytes[0] == 0xFF) return jpeg_objection(bytes, size);
    return NULL;
}

void slad_image_png_size(size_t *width, size_t *height, const unsigned char *bytes, size_t size)
{
    static const unsigned char start[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    enum { SIZES = 16 }; /* behind the length and the type of the first chunk */
    if (size < SIZES + 8 || memcmp(bytes, start, sizeof start) != 0) return;
    size_t sides[2] = {0, 0};
    for (size_t i = 0; i < 8; i++) sides[i / 4] = sides[i / 4] << 8 | bytes[SIZES + i];
    *width = sides[0];
    *height = sides[1];
}
