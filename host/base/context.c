/* The context: callbacks, the last error's message, the fault that tests arm. */
#include "base/memory.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Long enough for two paths and a sentence; a longer message is cut. No message is allocated, so that running out of
 * memory can be reported. */
enum { MESSAGE_SIZE = 4096 };

struct slad_context {
    slad_callbacks callbacks;
    slad_log_level level;
    pthread_mutex_t lock; /* guards quiet and message, and that one log call runs at a time */
    bool quiet;           /* errors are not logged */
    char message[MESSAGE_SIZE];
    _Atomic uint64_t fault_countdown; /* 0: no fault is armed */
};

slad_status slad_context_create(slad_context **out, const slad_callbacks *callbacks, slad_log_level level)
{
    *out = NULL;
    slad_context *context = calloc(1, sizeof *context);
    if (!context) return SLAD_ERROR_OUT_OF_MEMORY;
    if (pthread_mutex_init(&context->lock, NULL) != 0) {
        free(context);
        return SLAD_ERROR_OUT_OF_MEMORY;
    }
    if (callbacks) context->callbacks = *callbacks;
    context->level = level;
    atomic_init(&context->fault_countdown, 0);
    *out = context;
    return SLAD_OK;
}

void slad_context_free(slad_context *context)
{
    if (!context) return;
    pthread_mutex_destroy(&context->lock);
    free(context);
}

const char *slad_context_message(const slad_context *context)
{
    return context ? context->message : "";
}

/* The caller holds the lock. */
static void log_line(const slad_context *context, slad_log_level level, const char *line)
{
    if (context->callbacks.log && level <= context->level) context->callbacks.log(context->callbacks.user, level, line);
}

slad_status slad_report(slad_context *context, slad_status status, const char *condition, const char *file, int line,
                        const char *format, ...)
{
    if (!context) return status;
    char message[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    char place[MESSAGE_SIZE];
    (void)snprintf(place, sizeof place, "%s at %s:%d: %s", slad_status_name(status), file, line, condition);

    pthread_mutex_lock(&context->lock);
    memcpy(context->message, message, sizeof message);
    if (!context->quiet) log_line(context, SLAD_LOG_ERROR, message);
    if (!context->quiet) log_line(context, SLAD_LOG_DEBUG, place);
    pthread_mutex_unlock(&context->lock);
    return status;
}

void slad_report_quietly(slad_context *context, bool quiet)
{
    pthread_mutex_lock(&context->lock);
    context->quiet = quiet;
    pthread_mutex_unlock(&context->lock);
}

void slad_log(slad_context *context, slad_log_level level, const char *format, ...)
{
    if (!context || level > context->level) return;
    char message[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&context->lock);
    log_line(context, level, message);
    pthread_mutex_unlock(&context->lock);
}

void slad_progress_report(slad_context *context, const slad_progress *progress)
{
    if (context && context->callbacks.progress) context->callbacks.progress(context->callbacks.user, progress);
}

bool slad_cancelled(slad_context *context)
{
    return context && context->callbacks.cancelled && context->callbacks.cancelled(context->callbacks.user);
}

void slad_fault_arm(slad_context *context, uint64_t countdown)
{
    atomic_store(&context->fault_countdown, countdown);
}

bool slad_fault_due(slad_context *context)
{
    if (!context) return false;
    uint64_t countdown = atomic_load(&context->fault_countdown);
    while (countdown > 0) {
        if (atomic_compare_exchange_weak(&context->fault_countdown, &countdown, countdown - 1)) return countdown == 1;
    }
    return false;
}

bool slad_fault_pending(const slad_context *context)
{
    return context && atomic_load(&context->fault_countdown) > 0;
}
