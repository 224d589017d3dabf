/* Program binaries on disk; the format stands in cl/program.h. */
#include "base/files.h"
#include "base/hash.h"
#include "base/memory.h"
#include "cl/program_store.h"
#include <string.h>

static const char magic_word[8] = {'S', 'L', 'A', 'D', 'C', 'L', '0', '1'}; /* the last two: format version */
static const size_t max_file = (size_t)1 << 30;

/* Sizes and hashes in the file: eight bytes, little endian. */
static void put_number(unsigned char bytes[8], uint64_t number)
{
    for (unsigned i = 0; i < 8; i++) bytes[i] = (unsigned char)(number >> (8 * i));
}

static uint64_t get_number(const unsigned char bytes[8])
{
    uint64_t number = 0;
    for (unsigned i = 0; i < 8; i++) number |= (uint64_t)bytes[i] << (8 * i);
    return number;
}

/* What stands before the key, and between key and binary. */
typedef struct file_head {
    char magic[8];
    unsigned char key_size[8], binary_size[8], binary_hash[8];
} file_head;

static slad_status make_path(slad_context *context, char **path, const slad_program_store *store,
                             const slad_program *program)
{
    slad_status status = SLAD_OK;
    char *name = NULL;
    SLAD_TRY(slad_format(context, &name, "%s.bin", program->name));
    SLAD_TRY(slad_path_join(context, path, store->cache_folder, name));
cleanup:
    slad_release(name);
    return status;
}

/* Whether the file's bytes are a whole cache file of exactly this program. */
static bool is_valid(const unsigned char *bytes, size_t size, const slad_program *program)
{
    file_head head;
    if (size < sizeof head) return false;
    memcpy(&head, bytes, sizeof head);
    const uint64_t binary_size = get_number(head.binary_size);
    if (memcmp(head.magic, magic_word, sizeof magic_word) != 0 || get_number(head.key_size) != program->key_size)
        return false;
    if (size - sizeof head < program->key_size || size - sizeof head - program->key_size != binary_size) return false;
    if (memcmp(bytes + sizeof head, program->key, program->key_size) != 0) return false;
    const unsigned char *binary = bytes + sizeof head + program->key_size;
    return binary_size > 0 &&
           slad_hash_bytes(SLAD_HASH_START, binary, (size_t)binary_size) == get_number(head.binary_hash);
}

bool slad_program_cache_load(const slad_program_store *store, const slad_program *program, unsigned char **binary,
                             size_t *size)
{
    slad_status status = SLAD_OK;
    slad_context *context = store->quiet;
    char *path = NULL, *bytes = NULL;
    size_t file_size = 0;
    bool valid = false;
    *binary = NULL;
    if (!store->cache_folder) return false;
    SLAD_TRY(make_path(context, &path, store, program));
    if (slad_path_look(path) != SLAD_PATH_FILE) goto cleanup;
    SLAD_TRY(slad_file_read_all(context, &bytes, &file_size, path, max_file));
    if (!is_valid((const unsigned char *)bytes, file_size, program)) goto cleanup;
    *size = file_size - sizeof(file_head) - program->key_size;
    SLAD_TRY(slad_allocate(context, binary, *size, 1, "a program binary"));
    memcpy(*binary, bytes + sizeof(file_head) + program->key_size, *size);
    valid = true;
cleanup:
    slad_release(path);
    slad_release(bytes);
    return valid && status == SLAD_OK;
}

void slad_program_cache_give_up(slad_device *device, const char *path)
{
    slad_program_store *store = device->programs;
    slad_log(device->context, SLAD_LOG_WARNING, "compiled kernels are not kept in %s: %s", path,
             slad_context_message(store->quiet));
    slad_release(store->cache_folder);
    store->cache_folder = NULL;
}

void slad_program_cache_save(slad_device *device, const slad_program *program, const unsigned char *binary, size_t size)
{
    slad_status status = SLAD_OK;
    slad_program_store *store = device->programs;
    slad_context *context = store->quiet;
    slad_writer *writer = NULL;
    char *path = NULL;
    file_head head;
    if (!store->cache_folder) return;
    memcpy(head.magic, magic_word, sizeof magic_word);
    put_number(head.key_size, program->key_size);
    put_number(head.binary_size, size);
    put_number(head.binary_hash, slad_hash_bytes(SLAD_HASH_START, binary, size));
    SLAD_TRY(slad_directory_create(context, store->cache_folder));
    SLAD_TRY(make_path(context, &path, store, program));
    SLAD_TRY(slad_writer_open(context, &writer, path));
    SLAD_TRY(slad_writer_write(writer, &head, sizeof head));
    SLAD_TRY(slad_writer_write(writer, program->key, program->key_size));
    SLAD_TRY(slad_writer_write(writer, binary, size));
    status = slad_writer_finish(writer);
    writer = NULL;
cleanup:
    slad_writer_abandon(writer);
    if (status != SLAD_OK) slad_program_cache_give_up(device, path ? path : store->cache_folder);
    slad_release(path);
}
