/* IDX files, the format of MNIST and its family: a big-endian magic number, sizes, then bytes; gzipped or not. */
#include "data/dataset_internal.h"

#include "base/files.h"
#include "base/memory.h"
#include <limits.h>
#include <string.h>
#include <zlib.h>

enum {
    MAGIC_LABELS = 0x00000801, /* unsigned bytes, one size */
    MAGIC_IMAGES = 0x00000803, /* unsigned bytes, three sizes */
    SIDE_LIMIT = 16384,
    DEFLATE_RATIO = 1032 /* no deflate stream grows by more */
};

#define FILE_LIMIT ((size_t)INT_MAX)

/* The bytes of a file, unpacked. */
typedef struct idx_file {
    unsigned char *bytes;
    size_t size;
} idx_file;

static const char *const part_names[] = {"train", "t10k"};

/* The path of one of the files if it exists in one of its spellings; else *path becomes NULL. */
static slad_status find_file(slad_context *context, char **path, const char *folder, const char *part, const char *kind,
                             int sizes)
{
    slad_status status = SLAD_OK;
    char *name = NULL;
    *path = NULL;
    for (int i = 0; i < 4; i++) {
        SLAD_TRY(slad_format(context, &name, "%s-%s%cidx%d-ubyte%s", part, kind, i < 2 ? '-' : '.', sizes,
                             i % 2 ? ".gz" : ""));
        SLAD_TRY(slad_path_join(context, path, folder, name));
        slad_release(name);
        name = NULL;
        if (slad_path_look(*path) == SLAD_PATH_FILE) return SLAD_OK;
        slad_release(*path);
        *path = NULL;
    }
cleanup:
    slad_release(name);
    return status;
}

slad_status slad_dataset_look_for_idx(slad_context *context, bool *found, const char *path)
{
    char *images = NULL;
    const slad_status status = find_file(context, &images, path, part_names[0], "images", 3);
    *found = images != NULL;
    slad_release(images);
    return status;
}

static size_t read_number(const unsigned char *bytes)
{
    return (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
}

/* The size of the unpacked file as its header gives it; 0 if the header is not that of the kind. */
static size_t announced_size(const unsigned char *header, size_t available, size_t magic)
{
    const size_t offset = magic == MAGIC_IMAGES ? 16 : 8;
    if (available < offset || read_number(header) != magic) return 0;
    const size_t count = read_number(header + 4);
    if (magic == MAGIC_LABELS) return count <= FILE_LIMIT - offset ? offset + count : 0;
    const size_t height = read_number(header + 8), width = read_number(header + 12);
    if (height == 0 || height > SIDE_LIMIT || width == 0 || width > SIDE_LIMIT) return 0;
    return count <= (FILE_LIMIT - offset) / (height * width) ? offset + count * height * width : 0;
}

/* Unpacks as many of the `packed` bytes as `size` bytes of result need. *whole: the stream ends with them. */
static slad_status unpack(slad_context *context, unsigned char *result, size_t size, bool *whole, unsigned char *packed,
                          size_t packed_size, const char *path)
{
    slad_status status = SLAD_OK;
    unsigned char beyond = 0;
    z_stream stream = {.next_in = packed, .avail_in = (uInt)packed_size};
    const int started = inflateInit2(&stream, 16 + MAX_WBITS);
    SLAD_FAIL_IF(started != Z_OK, SLAD_ERROR_OUT_OF_MEMORY, "%s: no host memory to unpack the file", path);
    stream.next_out = result;
    stream.avail_out = (uInt)size;
    int code = inflate(&stream, Z_SYNC_FLUSH);
    if (code == Z_OK && stream.avail_out == 0) {
        /* One byte more tells the end of the stream, with its checksum, from further data. */
        stream.next_out = &beyond;
        stream.avail_out = 1;
        code = inflate(&stream, Z_SYNC_FLUSH);
        *whole = code == Z_STREAM_END && stream.avail_out == 1;
    } else {
        *whole = code == Z_STREAM_END && stream.avail_out == 0;
    }
    SLAD_FAIL_IF(code == Z_DATA_ERROR, SLAD_ERROR_DATA, "%s: the gzip data is broken; fetch the file again", path);
cleanup:
    if (started == Z_OK) (void)inflateEnd(&stream);
    return status;
}

static slad_status read_gzipped(slad_context *context, idx_file *file, size_t magic, const char *path)
{
    slad_status status = SLAD_OK;
    char *packed = NULL;
    size_t packed_size = 0;
    unsigned char header[16] = {0};
    bool whole = false;
    SLAD_TRY(slad_file_read_all(context, &packed, &packed_size, path, FILE_LIMIT));
    SLAD_TRY(unpack(context, header, sizeof header, &whole, (unsigned char *)packed, packed_size, path));
    const size_t size = announced_size(header, sizeof header, magic);
    SLAD_FAIL_IF(size == 0 || size / DEFLATE_RATIO > packed_size, SLAD_ERROR_DATA,
                 "%s: not an IDX file of %s that can be read; fetch it again", path,
                 magic == MAGIC_IMAGES ? "images" : "labels");
    SLAD_TRY(slad_allocate(context, &file->bytes, size, 1, path));
    SLAD_TRY(unpack(context, file->bytes, size, &whole, (unsigned char *)packed, packed_size, path));
    SLAD_FAIL_IF(!whole, SLAD_ERROR_DATA, "%s: unpacked, the file does not have the %zu bytes that its header says",
                 path, size);
    file->size = size;
cleanup:
    slad_release(packed);
    return status;
}

static slad_status read_file(slad_context *context, idx_file *file, size_t magic, const char *path)
{
    slad_status status = SLAD_OK;
    char *bytes = NULL;
    const size_t length = strlen(path);
    if (length > 3 && strcmp(path + length - 3, ".gz") == 0) return read_gzipped(context, file, magic, path);
    SLAD_TRY(slad_file_read_all(context, &bytes, &file->size, path, FILE_LIMIT));
    file->bytes = (unsigned char *)bytes;
    const size_t size = announced_size(file->bytes, file->size, magic);
    SLAD_FAIL_IF(size == 0, SLAD_ERROR_DATA, "%s: not an IDX file of %s that can be read; fetch it again", path,
                 magic == MAGIC_IMAGES ? "images" : "labels");
    SLAD_FAIL_IF(size != file->size, SLAD_ERROR_DATA, "%s: has %zu bytes, but its header says %zu; fetch it again",
                 path, file->size, size);
cleanup:
    return status;
}

static slad_status take_images(slad_context *context, slad_dataset *dataset, slad_split split, const idx_file *images,
                               const char *path)
{
    slad_status status = SLAD_OK;
    slad_dataset_part *part = &dataset->parts[split];
    const size_t height = read_number(images->bytes + 8), width = read_number(images->bytes + 12);
    SLAD_FAIL_IF(split == SLAD_SPLIT_VALIDATION && (height != dataset->height || width != dataset->width),
                 SLAD_ERROR_DATA, "%s: images of %zu x %zu, but those for training have %zu x %zu", path, height, width,
                 dataset->height, dataset->width);
    dataset->height = height;
    dataset->width = width;
    part->count = read_number(images->bytes + 4);
    SLAD_TRY(slad_allocate(context, &part->pixels, images->size - 16, 1, path));
    memcpy(part->pixels, images->bytes + 16, images->size - 16);
    SLAD_TRY(slad_duplicate(context, &part->origin, path));
cleanup:
    return status;
}

static slad_status take_labels(slad_context *context, slad_dataset *dataset, slad_split split, const idx_file *labels,
                               const char *path, size_t *class_count)
{
    slad_status status = SLAD_OK;
    slad_dataset_part *part = &dataset->parts[split];
    const size_t count = read_number(labels->bytes + 4);
    SLAD_FAIL_IF(count != part->count, SLAD_ERROR_DATA, "%s: %zu labels, but %s has %zu images", path, count,
                 part->origin, part->count);
    SLAD_TRY(slad_allocate(context, &part->labels, count, sizeof *part->labels, "labels"));
    for (size_t i = 0; i < count; i++) {
        const unsigned char label = labels->bytes[8 + i];
        part->labels[i] = label;
        SLAD_FAIL_IF(split == SLAD_SPLIT_VALIDATION && label >= *class_count, SLAD_ERROR_DATA,
                     "%s: label %zu is %u, but the largest for training is %zu", path, i, label, *class_count - 1);
        if (label >= *class_count) *class_count = (size_t)label + 1;
    }
cleanup:
    return status;
}

static slad_status read_part(slad_context *context, slad_dataset *dataset, slad_split split, const char *folder,
                             size_t *class_count)
{
    slad_status status = SLAD_OK;
    char *images_path = NULL, *labels_path = NULL;
    idx_file images = {0}, labels = {0};
    const char *name = part_names[split];
    SLAD_TRY(find_file(context, &images_path, folder, name, "images", 3));
    SLAD_TRY(find_file(context, &labels_path, folder, name, "labels", 1));
    if (!images_path && !labels_path) goto cleanup;
    SLAD_FAIL_IF(!labels_path, SLAD_ERROR_DATA, "%s/%s-labels-idx1-ubyte: missing beside %s", folder, name,
                 images_path);
    SLAD_FAIL_IF(!images_path, SLAD_ERROR_DATA, "%s/%s-images-idx3-ubyte: missing beside %s", folder, name,
                 labels_path);
    SLAD_TRY(read_file(context, &images, MAGIC_IMAGES, images_path));
    SLAD_TRY(read_file(context, &labels, MAGIC_LABELS, labels_path));
    SLAD_TRY(take_images(context, dataset, split, &images, images_path));
    SLAD_TRY(take_labels(context, dataset, split, &labels, labels_path, class_count));
cleanup:
    slad_release(images.bytes);
    slad_release(labels.bytes);
    slad_release(images_path);
    slad_release(labels_path);
    return status;
}

slad_status slad_dataset_read_idx(slad_context *context, slad_dataset *dataset, const char *path)
{
    slad_status status = SLAD_OK;
    size_t class_count = 0;
    SLAD_TRY(read_part(context, dataset, SLAD_SPLIT_TRAIN, path, &class_count));
    SLAD_TRY(read_part(context, dataset, SLAD_SPLIT_VALIDATION, path, &class_count));
    SLAD_TRY(slad_dataset_number_classes(context, dataset, class_count));
cleanup:
    return status;
}
