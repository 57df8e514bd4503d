/* Preemptive threads with a run queue per CPU, sleeping, and what waits on threads. */
#ifndef SCHED_H
#define SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu.h"
#include "list.h"
#include "spinlock.h"

enum thread_state {
    THREAD_RUNNABLE,    /* running, or on a run queue */
    THREAD_BLOCKED,     /* on somebody's list of waiters, or about to leave the CPU for one */
    THREAD_DEAD,
};

struct thread {
    uint64_t rsp;               /* while it does not run */
    enum thread_state state;
    uint32_t cpu;               /* where it runs, ran last, or is queued */
    uint64_t wake_tick;
    struct list link;           /* on a run queue or a list of waiters */
    const char *name;
    void (*function)(void *argument);
    void *argument;
};

/* A lock whose waiters sleep. It is handed to the first of them, so nobody starves. */
struct mutex {
    struct spinlock lock;
    struct thread *owner;
    struct list waiters;
};

/* Counts down to 0; one thread may wait for that. */
struct countdown {
    struct spinlock lock;
    uint32_t remaining;
    struct thread *waiter;
};

/* Makes the context that calls it the idle thread of its CPU. */
void sched_adopt_idle(void);
_Noreturn void sched_idle_loop(void);

/* The timer interrupt's part. */
void sched_tick(void);

/* A new thread, put on the queue of `cpu`. `name` is kept, not copied. Threads' stacks are never given back. */
struct thread *thread_create(const char *name, void (*function)(void *), void *argument, uint32_t cpu);
void thread_sleep_ticks(uint64_t ticks);
const char *current_name(void);
uint64_t context_switches(void);

void mutex_init(struct mutex *mutex);
void mutex_lock(struct mutex *mutex);
void mutex_unlock(struct mutex *mutex);

void countdown_init(struct countdown *countdown, uint32_t count);
void countdown_done(struct countdown *countdown);
void countdown_wait(struct countdown *countdown);

#endif
