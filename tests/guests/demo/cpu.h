/* Per-CPU data, reached through GS. */
#ifndef CPU_H
#define CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_CPUS 16

struct thread;

struct cpu {
    struct cpu *self;           /* %gs:0 */
    struct thread *current;     /* %gs:8 */
    uint32_t preempt_count;     /* %gs:16: not preempted while this is not 0 */
    uint32_t need_resched;      /* %gs:20 */
    uint32_t number;            /* %gs:24: index in cpus[] */
    uint32_t apic_id;
    uint64_t ticks;
    bool online;
};

_Static_assert(offsetof(struct cpu, current) == 8, "current() says %gs:8");
_Static_assert(offsetof(struct cpu, preempt_count) == 16, "preempt_disable() says %gs:16");
_Static_assert(offsetof(struct cpu, need_resched) == 20, "preempt_enable() says %gs:20");
_Static_assert(offsetof(struct cpu, number) == 24, "cpu_number() says %gs:24");

extern struct cpu cpus[MAX_CPUS];
extern uint32_t cpu_count;      /* found by firmware tables, at most MAX_CPUS; after smp_start(): online */

extern char image_end[];        /* its address is the physical end of the image */

void schedule(void);

/* Each of these is one instruction, so that a preemption cannot split "which CPU" from "what it holds". */
static inline struct cpu *this_cpu(void)
{
    struct cpu *cpu;
    __asm__ volatile("movq %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

static inline struct thread *current(void)
{
    struct thread *thread;
    __asm__ volatile("movq %%gs:8, %0" : "=r"(thread));
    return thread;
}

static inline uint32_t cpu_number(void)
{
    uint32_t number;
    __asm__ volatile("movl %%gs:24, %0" : "=r"(number));
    return number;
}

static inline void preempt_disable(void)
{
    __asm__ volatile("incl %%gs:16" : : : "memory", "cc");
}

static inline void preempt_enable(void)
{
    bool zero;
    uint32_t resched;

    __asm__ volatile("decl %%gs:16" : "=@ccz"(zero) : : "memory");
    __asm__ volatile("movl %%gs:20, %0" : "=r"(resched));
    if (zero && resched)
        schedule();
}

/* Points GS, the GDT, the TSS and the IDT of the CPU that runs this at cpus[number]. */
void cpu_init(uint32_t number);

#endif
