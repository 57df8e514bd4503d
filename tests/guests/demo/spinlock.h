/*
 * Spinlocks. spin_lock() keeps the holder from being preempted; the irqsave form also keeps interrupts away, for
 * data that interrupt handlers touch.
 */
#ifndef SPINLOCK_H
#define SPINLOCK_H

#include "cpu.h"
#include "x86.h"

struct spinlock {
    int locked;
};

static inline bool raw_trylock(struct spinlock *lock)
{
    return __atomic_exchange_n(&lock->locked, 1, __ATOMIC_ACQUIRE) == 0;
}

/* The caller has made sure that it is neither preempted nor interrupted. */
static inline void raw_lock(struct spinlock *lock)
{
    while (!raw_trylock(lock))
        while (__atomic_load_n(&lock->locked, __ATOMIC_RELAXED))
            pause();
}

static inline void raw_unlock(struct spinlock *lock)
{
    __atomic_store_n(&lock->locked, 0, __ATOMIC_RELEASE);
}

static inline void spin_lock(struct spinlock *lock)
{
    preempt_disable();
    raw_lock(lock);
}

static inline void spin_unlock(struct spinlock *lock)
{
    raw_unlock(lock);
    preempt_enable();
}

static inline unsigned long spin_lock_irqsave(struct spinlock *lock)
{
    unsigned long flags = irq_save();

    raw_lock(lock);
    return flags;
}

static inline void spin_unlock_irqrestore(struct spinlock *lock, unsigned long flags)
{
    raw_unlock(lock);
    irq_restore(flags);
}

#endif
