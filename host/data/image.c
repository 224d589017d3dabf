/* The one file that holds stb_image. It is given callbacks instead of a buffer, since it reads zeros past the end of a
 * buffer: only so can a truncated file be told from a whole one. */
#include "data/image.h"

#include "base/files.h"
#include "base/memory.h"
#include "data/image_guard.h"
#include "data/stb_memory.h"
#include <ctype.h>
#include <string.h>

#define STBI_MALLOC(size)                          stb_allocate(size)
#define STBI_REALLOC_SIZED(memory, old_size, size) stb_reallocate(memory, old_size, size)
#define STBI_FREE(memory)                          slad_release(memory)
#define STBI_ASSERT(condition)                     ((void)(condition)) /* the library never ends the program */
#define STBI_NO_STDIO
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_NO_PIC
#define STBI_NO_PSD
#define STBI_FAILURE_USERMSG
#define STBI_MAX_DIMENSIONS (1 << 24)
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function" /* reported at the end of the file, so it cannot be popped */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#include <stb_image.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/* Compressed files beyond this are not images that anyone trains on; BMP needs 4 bytes a pixel at most. */
#define FILE_SIZE_LIMIT ((size_t)SLAD_IMAGE_PIXEL_LIMIT * 4 + (1u << 20))

typedef struct source {
    const unsigned char *bytes;
    size_t size, position;
    const char *window; /* stb_image's look-ahead buffer, which its first call fills */
    bool past_end;      /* bytes were asked for that do not exist */
} source;

static int source_read(void *user, char *data, int size)
{
    source *s = user;
    const size_t left = s->size - s->position;
    size_t count = size > 0 ? (size_t)size : 0;
    if (!s->window) s->window = data;
    /* The look-ahead buffer may be filled in part; every other read wants all that it asks for. */
    if (count > left && (left == 0 || data != s->window)) s->past_end = true;
    if (count > left) count = left;
    memcpy(data, s->bytes + s->position, count);
    s->position += count;
    return (int)count;
}

static void source_skip(void *user, int count)
{
    source *s = user;
    if ((size_t)count > s->size - s->position) {
        s->past_end = true;
        s->position = s->size;
    } else {
        s->position += (size_t)count;
    }
}

static int source_at_end(void *user)
{
    const source *s = user;
    return s->position >= s->size;
}

static const stbi_io_callbacks callbacks = {source_read, source_skip, source_at_end};

static slad_status check_pixel_count(slad_context *context, size_t width, size_t height, const char *origin)
{
    slad_status status = SLAD_OK;
    SLAD_FAIL_IF(width > 0 && height > SLAD_IMAGE_PIXEL_LIMIT / width, SLAD_ERROR_DATA,
                 "%s: %zu x %zu are more than %u pixels; shrink or remove it", origin, width, height,
                 SLAD_IMAGE_PIXEL_LIMIT);
cleanup:
    return status;
}

slad_status slad_image_decode(slad_context *context, slad_image *image, const unsigned char *bytes, size_t size,
                              const char *origin)
{
    slad_status status = SLAD_OK;
    source s;
    unsigned char *pixels = NULL;
    int width = 0, height = 0, channels = 0;
    size_t png_width = 0, png_height = 0;
    *image = (slad_image){0};
    SLAD_FAIL_IF(size == 0, SLAD_ERROR_DATA, "%s: the image file is empty; replace or remove it", origin);
    const char *objection = slad_image_objection(bytes, &size);
    SLAD_FAIL_IF(objection, SLAD_ERROR_DATA, "%s: %s; convert, replace or remove it", origin, objection);
    slad_image_png_size(&png_width, &png_height, bytes, size);
    SLAD_TRY(check_pixel_count(context, png_width, png_height, origin));
    s = (source){.bytes = bytes, .size = size};
    SLAD_FAIL_IF(!stbi_info_from_callbacks(&callbacks, &s, &width, &height, &channels) || width <= 0 || height <= 0,
                 SLAD_ERROR_DATA, "%s: not an image that can be read (%s); replace or remove it", origin,
                 stbi_failure_reason());
    SLAD_TRY(check_pixel_count(context, (size_t)width, (size_t)height, origin));
    s = (source){.bytes = bytes, .size = size};
    pixels = stbi_load_from_callbacks(&callbacks, &s, &width, &height, &channels, 3);
    SLAD_FAIL_IF(!pixels && strcmp(stbi_failure_reason(), "Out of memory") == 0, SLAD_ERROR_OUT_OF_MEMORY,
                 "%s: no host memory to decode %d x %d pixels; use fewer workers or smaller images", origin, width,
                 height);
    SLAD_FAIL_IF(s.past_end, SLAD_ERROR_DATA, "%s: the image file is truncated; replace or remove it", origin);
    SLAD_FAIL_IF(!pixels, SLAD_ERROR_DATA, "%s: the image is broken (%s); replace or remove it", origin,
                 stbi_failure_reason());
    image->pixels = pixels;
    image->height = (size_t)height;
    image->width = (size_t)width;
    pixels = NULL;
cleanup:
    slad_release(pixels);
    return status;
}

slad_status slad_image_read(slad_context *context, slad_image *image, const char *path)
{
    slad_status status = SLAD_OK;
    char *bytes = NULL;
    size_t size = 0;
    *image = (slad_image){0};
    SLAD_TRY(slad_file_read_all(context, &bytes, &size, path, FILE_SIZE_LIMIT));
    SLAD_TRY(slad_image_decode(context, image, (const unsigned char *)bytes, size, path));
cleanup:
    slad_release(bytes);
    return status;
}

void slad_image_free(slad_image *image)
{
    slad_release(image->pixels);
    *image = (slad_image){0};
}

bool slad_image_has_known_name(const char *name)
{
    static const char *const endings[] = {"jpg", "jpeg", "png", "bmp", "gif", "tga", "ppm", "pgm", "pnm"};
    const char *dot = strrchr(name, '.');
    if (!dot) return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t k = 0;
        while (endings[i][k] && tolower((unsigned char)dot[1 + k]) == endings[i][k]) k++;
        if (!endings[i][k] && !dot[1 + k]) return true;
    }
    return false;
}
