/* What is looked at in an image file before stb_image sees it: things that some of its versions, which come as packages
 * of many ages, take without checking. */
#ifndef SLAD_DATA_IMAGE_GUARD_H
#define SLAD_DATA_IMAGE_GUARD_H

#include <stddef.h>

/* NULL if the file may be decoded, else the reason why not, as part of a sentence. *size may become smaller: what lies
 * behind the end of a JPEG picture (videos of telephones, for example) is not to be looked at. */
const char *slad_image_objection(const unsigned char *bytes, size_t *size);

/* Width and height that the header of a PNG announces; both stay as they are for other files. stb_image says of one
 * that is too large for it only that it is no image. */
void slad_image_png_size(size_t *width, size_t *height, const unsigned char *bytes, size_t size);

#endif
