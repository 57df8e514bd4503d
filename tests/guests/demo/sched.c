/*
 * The scheduler.
 *
 * A thread that is THREAD_RUNNABLE is the current one of a CPU or is on exactly one run queue; both are protected by the lock of
 * the run queue of thread->cpu. schedule() holds that lock across the switch of stacks and the next thread lets it go, so that
 * nobody can take a thread off a queue while it still runs on its stack. A blocked thread is woken onto the CPU it ran on last;
 * an idle CPU takes from the others.
 */
#include "sched.h"

#include "apic.h"
#include "trap.h"
#include "x86.h"

#define MAX_THREADS     32
#define STACK_SIZE      8192

struct run_queue {
    struct spinlock lock;
    struct list threads;
    uint32_t length;
    struct list sleepers;
    struct thread idle;
    uint64_t switches;
};

static struct run_queue queues[MAX_CPUS];
static struct thread threads[MAX_THREADS];
static char stacks[MAX_THREADS][STACK_SIZE] __attribute__((aligned(16)));
static uint32_t thread_count;

void switch_stacks(uint64_t *save_rsp, uint64_t load_rsp);
void thread_entry(void);
_Noreturn void thread_main(void (*function)(void *), void *argument);

static bool is_idle(uint32_t cpu)
{
    return __atomic_load_n(&cpus[cpu].current, __ATOMIC_RELAXED) == &queues[cpu].idle;
}

void sched_adopt_idle(void)
{
    struct cpu *cpu = this_cpu();
    struct run_queue *queue = &queues[cpu->number];

    list_init(&queue->threads);
    list_init(&queue->sleepers);
    queue->idle.name = "idle";
    queue->idle.cpu = cpu->number;
    cpu->current = &queue->idle;
}

static void enqueue(struct run_queue *queue, struct thread *thread)
{
    list_add_tail(&queue->threads, &thread->link);
    queue->length++;
}

static struct thread *dequeue(struct run_queue *queue)
{
    struct list *first = list_pop(&queue->threads);

    if (first == NULL)
        return NULL;
    queue->length--;
    return list_entry(first, struct thread, link);
}

/* Takes a thread from another CPU's queue. Two CPUs that steal from each other must not wait for each other: only try. */
static struct thread *steal(struct cpu *thief)
{
    for (uint32_t i = 1; i < cpu_count; i++) {
        struct run_queue *victim = &queues[(thief->number + i) % cpu_count];
        struct thread *thread;

        if (__atomic_load_n(&victim->length, __ATOMIC_RELAXED) == 0 || !raw_trylock(&victim->lock))
            continue;
        thread = dequeue(victim);
        if (thread != NULL)
            thread->cpu = thief->number;
        raw_unlock(&victim->lock);
        if (thread != NULL)
            return thread;
    }
    return NULL;
}

void schedule(void)
{
    unsigned long flags = irq_save();
    struct cpu *cpu = this_cpu();
    struct run_queue *queue = &queues[cpu->number];
    struct thread *previous = cpu->current, *next;

    raw_lock(&queue->lock);
    cpu->need_resched = 0;
    if (previous != &queue->idle && previous->state == THREAD_RUNNABLE)
        enqueue(queue, previous);
    next = dequeue(queue);
    if (next == NULL)
        next = steal(cpu);
    if (next == NULL)
        next = &queue->idle;
    if (next != previous) {
        cpu->current = next;
        queue->switches++;
        switch_stacks(&previous->rsp, next->rsp);
        /* Back again, perhaps on another CPU, whose queue the thread before us left locked. */
        queue = &queues[cpu_number()];
    }
    raw_unlock(&queue->lock);
    irq_restore(flags);
}

/* The first thing a new thread does: what schedule() does after the switch. */
_Noreturn void thread_main(void (*function)(void *), void *argument)
{
    raw_unlock(&queues[cpu_number()].lock);
    irq_enable();
    function(argument);
    irq_disable();
    current()->state = THREAD_DEAD;
    schedule();
    panic("sched: a dead thread runs");
}

_Noreturn void sched_idle_loop(void)
{
    for (;;) {
        irq_disable();
        if (this_cpu()->need_resched || queues[cpu_number()].length > 0)
            irq_enable();
        else
            /* STI holds interrupts off for one instruction more, so none can come between the test and HLT. */
            __asm__ volatile("sti; hlt" : : : "memory");
        schedule();
    }
}

/* Tells a CPU that a thread was queued for it; if that one is busy, tells an idle one, which will steal. */
static void kick(uint32_t cpu)
{
    uint32_t self = cpu_number();

    if (!is_idle(cpu)) {
        uint32_t other = 0;

        while (other < cpu_count && !is_idle(other))
            other++;
        if (other == cpu_count)
            return;
        cpu = other;
    }
    if (cpu == self)
        cpus[cpu].need_resched = 1;
    else
        apic_send(cpus[cpu].apic_id, VECTOR_RESCHEDULE);
}

/* Called with interrupts off. A thread that blocked but has not left its CPU yet just goes on. */
static void wake(struct thread *thread)
{
    struct run_queue *queue = &queues[thread->cpu];
    bool queued = false;

    raw_lock(&queue->lock);
    if (thread->state == THREAD_BLOCKED) {
        thread->state = THREAD_RUNNABLE;
        if (cpus[thread->cpu].current != thread) {
            enqueue(queue, thread);
            queued = true;
        }
    }
    raw_unlock(&queue->lock);
    if (queued)
        kick(thread->cpu);
}

static void wake_sleepers(struct cpu *cpu, struct run_queue *queue)
{
    struct list *link = queue->sleepers.next;

    while (link != &queue->sleepers) {
        struct thread *thread = list_entry(link, struct thread, link);

        link = link->next;
        if (thread->wake_tick > cpu->ticks)
            continue;
        list_remove(&thread->link);
        thread->state = THREAD_RUNNABLE;
        enqueue(queue, thread);
    }
}

void sched_tick(void)
{
    struct cpu *cpu = this_cpu();
    struct run_queue *queue = &queues[cpu->number];

    raw_lock(&queue->lock);
    cpu->ticks++;
    wake_sleepers(cpu, queue);
    raw_unlock(&queue->lock);
    /* An idle CPU looks for work of others, a busy one lets the next thread run. */
    cpu->need_resched = 1;
}

void thread_sleep_ticks(uint64_t ticks)
{
    unsigned long flags = irq_save();
    struct cpu *cpu = this_cpu();
    struct run_queue *queue = &queues[cpu->number];
    struct thread *self = cpu->current;

    raw_lock(&queue->lock);
    self->wake_tick = cpu->ticks + ticks;
    self->state = THREAD_BLOCKED;
    list_add_tail(&queue->sleepers, &self->link);
    raw_unlock(&queue->lock);
    schedule();
    irq_restore(flags);
}

struct thread *thread_create(const char *name, void (*function)(void *), void *argument, uint32_t cpu)
{
    uint32_t index = __atomic_fetch_add(&thread_count, 1, __ATOMIC_RELAXED);
    struct run_queue *queue = &queues[cpu];
    struct thread *thread = &threads[index];
    uint64_t *stack;
    unsigned long flags;

    if (index >= MAX_THREADS)
        panic("sched: too many threads");
    /* What switch_stacks() pops: R15 R14 R13 R12 RBX RBP, and where it returns to. */
    stack = (uint64_t *)(stacks[index] + STACK_SIZE) - 7;
    stack[3] = (uint64_t)argument;
    stack[4] = (uint64_t)function;
    stack[6] = (uint64_t)thread_entry;
    thread->rsp = (uint64_t)stack;
    thread->name = name;
    thread->function = function;
    thread->argument = argument;
    thread->cpu = cpu;
    thread->state = THREAD_RUNNABLE;

    flags = spin_lock_irqsave(&queue->lock);
    enqueue(queue, thread);
    spin_unlock_irqrestore(&queue->lock, flags);
    kick(cpu);
    return thread;
}

const char *current_name(void)
{
    return current() != NULL ? current()->name : "boot";
}

uint64_t context_switches(void)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < cpu_count; i++)
        sum += queues[i].switches;
    return sum;
}

void mutex_init(struct mutex *mutex)
{
    mutex->lock.locked = 0;
    mutex->owner = NULL;
    list_init(&mutex->waiters);
}

void mutex_lock(struct mutex *mutex)
{
    struct thread *self = current();
    unsigned long flags = spin_lock_irqsave(&mutex->lock);

    if (mutex->owner == NULL) {
        mutex->owner = self;
        spin_unlock_irqrestore(&mutex->lock, flags);
        return;
    }
    self->state = THREAD_BLOCKED;
    list_add_tail(&mutex->waiters, &self->link);
    raw_unlock(&mutex->lock);
    schedule();
    irq_restore(flags);
}

void mutex_unlock(struct mutex *mutex)
{
    unsigned long flags = spin_lock_irqsave(&mutex->lock);
    struct list *first;

    if (mutex->owner != current())
        panic("mutex: %p unlocked by %s, which does not hold it", (void *)mutex, current_name());
    first = list_pop(&mutex->waiters);
    if (first == NULL) {
        mutex->owner = NULL;
    } else {
        mutex->owner = list_entry(first, struct thread, link);
        wake(mutex->owner);
    }
    spin_unlock_irqrestore(&mutex->lock, flags);
}

void countdown_init(struct countdown *countdown, uint32_t count)
{
    countdown->lock.locked = 0;
    countdown->remaining = count;
    countdown->waiter = NULL;
}

void countdown_done(struct countdown *countdown)
{
    unsigned long flags = spin_lock_irqsave(&countdown->lock);

    countdown->remaining--;
    if (countdown->remaining == 0 && countdown->waiter != NULL)
        wake(countdown->waiter);
    spin_unlock_irqrestore(&countdown->lock, flags);
}

void countdown_wait(struct countdown *countdown)
{
    struct thread *self = current();
    unsigned long flags = spin_lock_irqsave(&countdown->lock);

    if (countdown->remaining > 0) {
        countdown->waiter = self;
        self->state = THREAD_BLOCKED;
        raw_unlock(&countdown->lock);
        schedule();
    } else {
        raw_unlock(&countdown->lock);
    }
    irq_restore(flags);
}
