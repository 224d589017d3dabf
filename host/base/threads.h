/* Threads, locks, conditions and clocks: a thin skin over the system's. */
#ifndef SLAD_BASE_THREADS_H
#define SLAD_BASE_THREADS_H

#include "base/error.h"

typedef struct slad_thread slad_thread;
slad_status slad_thread_start(slad_context *context, slad_thread **thread, void (*run)(void *user), void *user);
/* Waits for the end of run and frees the thread; NULL is allowed. */
void slad_thread_join(slad_thread *thread);

typedef struct slad_lock slad_lock;
slad_status slad_lock_create(slad_context *context, slad_lock **lock);
void slad_lock_free(slad_lock *lock);
void slad_lock_acquire(slad_lock *lock);
void slad_lock_release(slad_lock *lock);

typedef struct slad_condition slad_condition;
slad_status slad_condition_create(slad_context *context, slad_condition **condition);
void slad_condition_free(slad_condition *condition);
void slad_condition_wait(slad_condition *condition, slad_lock *lock);
void slad_condition_signal_all(slad_condition *condition);

/* Seconds of a clock that never goes back. */
double slad_clock_seconds(void);
/* Seconds since 1970, as the system's clock says. */
double slad_time_seconds(void);
/* Processors this process may use, at least 1. */
unsigned slad_processor_count(void);
/* Seconds that this process had of the processors so far, all threads, user and system. 0 if unknown. */
double slad_processor_seconds(void);
/* Peak resident memory of this process in bytes, 0 if unknown. */
uint64_t slad_peak_memory(void);
/* Memory of this machine in bytes, 0 if unknown. */
uint64_t slad_physical_memory(void);
/* "2026-01-31T12:00:00Z", for files that people read; text holds at least 32 bytes. */
void slad_time_text(char *text);

#endif
