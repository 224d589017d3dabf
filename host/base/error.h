/* Reporting errors: a status, a message for people, one cleanup label. */
#ifndef SLAD_BASE_ERROR_H
#define SLAD_BASE_ERROR_H

#include "slad/context.h"

#if defined(__GNUC__)
#define SLAD_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define SLAD_PRINTF(format_index, first)
#endif

/* Stores the formatted message as the context's last error, logs it (the failed condition and its place at debug
 * level) and returns status. Safe from any thread. context may be NULL: then only the status is returned. */
slad_status slad_report(slad_context *context, slad_status status, const char *condition, const char *file, int line,
                        const char *format, ...) SLAD_PRINTF(6, 7);

/* Between true and false, slad_report keeps messages but logs nothing: for attempts that may fail and are followed by
 * another. Does not nest. */
void slad_report_quietly(slad_context *context, bool quiet);

/* Logs one formatted line at the given level. Safe from any thread. */
void slad_log(slad_context *context, slad_log_level level, const char *format, ...) SLAD_PRINTF(3, 4);

/* Both macros need in scope: slad_context *context, slad_status status, and the label cleanup.
 * The message says what is wrong, names the file, tensor, option or device, and says what to do next. */
#define SLAD_FAIL_IF(condition, code, ...)                                                                             \
    do {                                                                                                               \
        if (condition) {                                                                                               \
            status = (code); /* said here, so that static analysis sees that it is an error */                         \
            (void)slad_report(context, status, #condition, __FILE__, __LINE__, __VA_ARGS__);                           \
            goto cleanup;                                                                                              \
        }                                                                                                              \
    } while (0)

#define SLAD_TRY(call)                                                                                                 \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status != SLAD_OK) goto cleanup;                                                                           \
    } while (0)

/* The progress and cancel callbacks of the context, or their defaults where none is set. */
void slad_progress_report(slad_context *context, const slad_progress *progress);
bool slad_cancelled(slad_context *context);

#endif
