/* A folder for data sets that a test makes, and what goes into it. Include cmocka.h first. */
#ifndef SLAD_TESTS_DATA_FOLDER_H
#define SLAD_TESTS_DATA_FOLDER_H

#include "base/files.h"
#include "base/memory.h"
#include "base/safetensors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct data_folder {
    slad_context *context;
    char root[64];
    char log[16384]; /* all lines since data_folder_clear_log, each ended by a newline */
} data_folder;

static inline void data_folder_log(void *user, slad_log_level level, const char *message)
{
    data_folder *folder = user;
    const size_t used = strlen(folder->log);
    (void)snprintf(folder->log + used, sizeof folder->log - used, "%d %s\n", (int)level, message);
}

static inline void data_folder_clear_log(data_folder *folder)
{
    folder->log[0] = '\0';
}

static inline int data_folder_open(void **state)
{
    data_folder *folder = calloc(1, sizeof *folder);
    if (!folder) return -1;
    (void)snprintf(folder->root, sizeof folder->root, "/tmp/slad-test-data-XXXXXX");
    const slad_callbacks callbacks = {.user = folder, .log = data_folder_log};
    if (!mkdtemp(folder->root)) return -1;
    *state = folder;
    return slad_context_create(&folder->context, &callbacks, SLAD_LOG_INFO) == SLAD_OK ? 0 : -1;
}

static inline int data_folder_close(void **state)
{
    data_folder *folder = *state;
    (void)slad_path_remove(folder->context, folder->root);
    slad_context_free(folder->context);
    free(folder);
    return 0;
}

/* The path of something in the folder; valid until the next call but three. */
static inline const char *data_folder_path(const data_folder *folder, const char *relative)
{
    static char paths[4][512];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder->root, relative);
    return path;
}

static inline void write_bytes(data_folder *folder, const char *relative, const void *bytes, size_t count)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", folder->root, relative);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(slad_directory_create(folder->context, path), SLAD_OK);
    *slash = '/';
    assert_int_equal(slad_file_write_all(folder->context, path, bytes, count), SLAD_OK);
}

static inline void write_text(data_folder *folder, const char *relative, const char *text)
{
    write_bytes(folder, relative, text, strlen(text));
}

/* A PPM image whose bytes are `value`, `value` + 1 and so on. */
static inline void write_image(data_folder *folder, const char *relative, size_t height, size_t width, unsigned value)
{
    unsigned char bytes[8192];
    const int header = snprintf((char *)bytes, sizeof bytes, "P6 %zu %zu 255\n", width, height);
    const size_t count = height * width * 3;
    assert_true((size_t)header + count <= sizeof bytes);
    for (size_t i = 0; i < count; i++) bytes[(size_t)header + i] = (unsigned char)(value + i);
    write_bytes(folder, relative, bytes, (size_t)header + count);
}

/* pixel_values [count, 3, side, side] = 0, 1, 2, ... and the labels; `classes` may be NULL. */
static inline void write_tensors(data_folder *folder, const char *relative, size_t count, size_t side,
                                 const int64_t *labels, const char *classes)
{
    const uint64_t pixel_shape[] = {count, 3, side, side}, label_shape[] = {count};
    const size_t values = count * 3 * side * side;
    float *pixels = calloc(values, sizeof *pixels);
    assert_non_null(pixels);
    for (size_t i = 0; i < values; i++) pixels[i] = (float)i;
    const slad_safetensors_entry entries[] = {
        {"pixel_values", SLAD_SAFETENSORS_F32, 4, pixel_shape, pixels},
        {"labels", SLAD_SAFETENSORS_I64, 1, label_shape, labels},
    };
    const slad_safetensors_pair metadata[] = {{"num_classes", classes}};
    write_text(folder, relative, ""); /* makes the folders */
    assert_int_equal(slad_safetensors_write(folder->context, data_folder_path(folder, relative), entries, 2, metadata,
                                            classes ? 1 : 0),
                     SLAD_OK);
    free(pixels);
}

#endif
