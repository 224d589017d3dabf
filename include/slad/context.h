/* A context carries what every call needs and the library must not keep in globals: the callbacks for log, progress and
 * cancelling, and the message of the last error. One context may be used by one thread at a time; the library's own
 * worker threads report through it safely. */
#ifndef SLAD_CONTEXT_H
#define SLAD_CONTEXT_H

#include "slad/status.h"
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct slad_context slad_context;

typedef enum slad_log_level { SLAD_LOG_ERROR, SLAD_LOG_WARNING, SLAD_LOG_INFO, SLAD_LOG_DEBUG } slad_log_level;

/* The state of a long piece of work. A field that is not known is negative (rates, seconds, accuracies, losses). */
typedef struct slad_progress {
    const char *activity; /* for example "training" or "evaluating"; valid during the callback */
    uint64_t done;        /* units finished, of total */
    uint64_t total;
    int32_t epoch;   /* 0-based, -1 if the work has none */
    double loss;     /* of the last step that was read back */
    double accuracy; /* in [0, 1], of the last evaluation or batch */
    double rate;     /* images a second */
    double seconds_left;
} slad_progress;

typedef struct slad_callbacks {
    void *user; /* handed to each callback, not owned */
    /* One line without a newline. May be called from worker threads, one call at a time. NULL: silent. */
    void (*log)(void *user, slad_log_level level, const char *message);
    /* Called between steps on the calling thread. NULL: none. */
    void (*progress)(void *user, const slad_progress *progress);
    /* Asked between steps; true ends the work with SLAD_ERROR_INTERRUPTED after a checkpoint. NULL: never. */
    bool (*cancelled)(void *user);
} slad_callbacks;

/* Creates a context. callbacks may be NULL. Errors: SLAD_ERROR_OUT_OF_MEMORY. Free with slad_context_free. */
SLAD_API slad_status slad_context_create(slad_context **context, const slad_callbacks *callbacks, slad_log_level level);

/* Frees a context; NULL is allowed. Objects made with it must be freed before. */
SLAD_API void slad_context_free(slad_context *context);

/* The message of the last error reported through this context, "" if none. Valid until the next error. */
SLAD_API const char *slad_context_message(const slad_context *context);

/* Frees a text that the library gave to the caller; NULL is allowed. */
SLAD_API void slad_text_free(char *text);

#ifdef __cplusplus
}
#endif
#endif
