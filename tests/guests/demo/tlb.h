/* TLB shootdown. */
#ifndef TLB_H
#define TLB_H

#include <stdint.h>

/* Returns when no CPU can use an old translation of `vaddr`. Interrupts are on and no spinlock is held. */
void tlb_shootdown(uintptr_t vaddr);

/* The handler of VECTOR_SHOOTDOWN. */
void tlb_shootdown_interrupt(void);

#endif
