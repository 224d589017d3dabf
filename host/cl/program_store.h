/* How programs are kept in memory and on disk. Private to this room. */
#ifndef SLAD_CL_PROGRAM_STORE_H
#define SLAD_CL_PROGRAM_STORE_H

#include "cl/program.h"

struct slad_program {
    char *file, *defines; /* what was asked for */
    char *options;        /* what the compiler is given */
    char *source;         /* includes spliced in */
    size_t source_size;
    char *key; /* text; see program.h */
    size_t key_size;
    char *name;    /* of its cache files, from the key's hash */
    cl_program cl; /* NULL until built */
    bool keep;     /* compiled here and not yet on disk */
};

struct slad_program_store {
    char *kernels_folder; /* NULL: built-in sources */
    char *cache_folder;   /* FOLDER/programs; NULL: no cache */
    /* Errors of the cache go to this context, which shows them to nobody: a cache may fail, work goes on. */
    slad_context *quiet;
    slad_program **programs;
    size_t count, capacity;
    slad_program_statistics statistics;
};

/* The text of FILE.cl with its includes spliced in, each once. Errors: SLAD_ERROR_DATA naming the file. */
slad_status slad_program_read_source(slad_context *context, char **source, size_t *size, const char *kernels_folder,
                                     const char *file);

/* The cache key of a program whose options and source are set. */
slad_status slad_program_make_key(const slad_device *device, slad_program *program);

/* The program's entry of the store, made with source and key but not built. */
slad_status slad_program_find(slad_device *device, slad_program **program, const char *file, const char *defines);

/* The binary kept under the program's key; false if there is none or anything about it is in doubt. Release *binary. */
bool slad_program_cache_load(const slad_program_store *store, const slad_program *program, unsigned char **binary,
                             size_t *size);
/* Keeps a binary. A failure is logged once at warning level and turns the cache off. */
void slad_program_cache_save(slad_device *device, const slad_program *program, const unsigned char *binary,
                             size_t size);
/* Turns the cache off after a failed writing, saying so. */
void slad_program_cache_give_up(slad_device *device, const char *path);

#endif
