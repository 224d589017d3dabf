/* The one file that holds stb_image_write. */
#include "data/png.h"

#include "base/memory.h"
#include "data/resize.h"
#include "data/stb_memory.h"
#include <limits.h>
#include <string.h>

#define STBIW_MALLOC(size)                          stb_allocate(size)
#define STBIW_REALLOC_SIZED(memory, old_size, size) stb_reallocate(memory, old_size, size)
#define STBIW_FREE(memory)                          slad_release(memory)
#define STBIW_ASSERT(condition)                     ((void)(condition)) /* the library never ends the program */
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function" /* reported at the end of the file, so it cannot be popped */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#include <stb_image_write.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

slad_status slad_png_encode(slad_context *context, unsigned char **bytes, size_t *size, const slad_image *image)
{
    slad_status status = SLAD_OK;
    int length = 0;
    *bytes = NULL;
    *size = 0;
    SLAD_FAIL_IF(image->width == 0 || image->height == 0 || image->width > INT_MAX / 3 / image->height,
                 SLAD_ERROR_USAGE, "An image of %zu x %zu pixels cannot become a PNG", image->width, image->height);
    if (!slad_fault_due(context))
        *bytes = stbi_write_png_to_mem(image->pixels, 0, (int)image->width, (int)image->height, 3, &length);
    SLAD_FAIL_IF(!*bytes, SLAD_ERROR_OUT_OF_MEMORY, "No host memory for a PNG of %zu x %zu pixels", image->width,
                 image->height);
    *size = (size_t)length;
cleanup:
    return status;
}

slad_status slad_png_thumbnail(slad_context *context, unsigned char **bytes, size_t *size, const slad_image *image,
                               size_t side)
{
    slad_status status = SLAD_OK;
    slad_image small = {0};
    const size_t longer = image->width > image->height ? image->width : image->height;
    *bytes = NULL;
    if (longer <= side) return slad_png_encode(context, bytes, size, image);
    const size_t width = (image->width * side + longer / 2) / longer;
    const size_t height = (image->height * side + longer / 2) / longer;
    SLAD_TRY(slad_image_resize(context, &small, image, 0, 0, (double)image->width, (double)image->height,
                               height ? height : 1, width ? width : 1, SLAD_FILTER_BICUBIC));
    SLAD_TRY(slad_png_encode(context, bytes, size, &small));
cleanup:
    slad_image_free(&small);
    return status;
}
