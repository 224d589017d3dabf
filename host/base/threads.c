/* Threads, locks, conditions and clocks over POSIX threads. */
#if defined(__linux__)
/* NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): the switch for sched_getaffinity */
#define _GNU_SOURCE
#endif
#include "base/threads.h"
#include "base/memory.h"
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct slad_thread {
    pthread_t handle;
    void (*run)(void *user);
    void *user;
};

struct slad_lock {
    pthread_mutex_t mutex;
};

struct slad_condition {
    pthread_cond_t condition;
};

static void *thread_main(void *argument)
{
    const slad_thread *thread = argument;
    thread->run(thread->user);
    return NULL;
}

slad_status slad_thread_start(slad_context *context, slad_thread **out, void (*run)(void *user), void *user)
{
    slad_status status = SLAD_OK;
    slad_thread *thread = NULL;
    *out = NULL;
    SLAD_TRY(slad_allocate(context, &thread, 1, sizeof *thread, "a thread"));
    thread->run = run;
    thread->user = user;
    const int error = pthread_create(&thread->handle, NULL, thread_main, thread);
    SLAD_FAIL_IF(error != 0, SLAD_ERROR_OUT_OF_MEMORY, "the system starts no further thread (%s); use fewer workers",
                 strerror(error));
    *out = thread;
    thread = NULL;
cleanup:
    slad_release(thread);
    return status;
}

void slad_thread_join(slad_thread *thread)
{
    if (!thread) return;
    pthread_join(thread->handle, NULL);
    slad_release(thread);
}

slad_status slad_lock_create(slad_context *context, slad_lock **out)
{
    slad_status status = SLAD_OK;
    slad_lock *lock = NULL;
    *out = NULL;
    SLAD_TRY(slad_allocate(context, &lock, 1, sizeof *lock, "a lock"));
    const int error = pthread_mutex_init(&lock->mutex, NULL);
    SLAD_FAIL_IF(error != 0, SLAD_ERROR_OUT_OF_MEMORY, "the system gives no further lock (%s)", strerror(error));
    *out = lock;
    lock = NULL;
cleanup:
    slad_release(lock);
    return status;
}

void slad_lock_free(slad_lock *lock)
{
    if (!lock) return;
    pthread_mutex_destroy(&lock->mutex);
    slad_release(lock);
}

void slad_lock_acquire(slad_lock *lock)
{
    pthread_mutex_lock(&lock->mutex);
}

void slad_lock_release(slad_lock *lock)
{
    pthread_mutex_unlock(&lock->mutex);
}

slad_status slad_condition_create(slad_context *context, slad_condition **out)
{
    slad_status status = SLAD_OK;
    slad_condition *condition = NULL;
    *out = NULL;
    SLAD_TRY(slad_allocate(context, &condition, 1, sizeof *condition, "a condition"));
    const int error = pthread_cond_init(&condition->condition, NULL);
    SLAD_FAIL_IF(error != 0, SLAD_ERROR_OUT_OF_MEMORY, "the system gives no further condition (%s)", strerror(error));
    *out = condition;
    condition = NULL;
cleanup:
    slad_release(condition);
    return status;
}

void slad_condition_free(slad_condition *condition)
{
    if (!condition) return;
    pthread_cond_destroy(&condition->condition);
    slad_release(condition);
}

void slad_condition_wait(slad_condition *condition, slad_lock *lock)
{
    pthread_cond_wait(&condition->condition, &lock->mutex);
}

void slad_condition_signal_all(slad_condition *condition)
{
    pthread_cond_broadcast(&condition->condition);
}

double slad_clock_seconds(void)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

unsigned slad_processor_count(void)
{
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) > 0)
        return (unsigned)CPU_COUNT(&allowed);
#endif
    const long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}

double slad_processor_seconds(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           1e-6 * ((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec);
}

uint64_t slad_peak_memory(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0 || usage.ru_maxrss < 0) return 0;
#if defined(__APPLE__)
    return (uint64_t)usage.ru_maxrss; /* already bytes there */
#else
    return (uint64_t)usage.ru_maxrss * 1024;
#endif
}

uint64_t slad_physical_memory(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

double slad_time_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void slad_time_text(char *text)
{
    const time_t now = time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) text[0] = '\0';
}
