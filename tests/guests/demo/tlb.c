#include "tlb.h"

#include "apic.h"
#include "spinlock.h"
#include "trap.h"

/* One request at a time: its page, and how many CPUs have yet to answer. */
static struct spinlock request_lock;
static uintptr_t request_vaddr;
static uint32_t answers_missing;

void tlb_shootdown(uintptr_t vaddr)
{
    /* Interrupts stay on while waiting, for the lock as for the answers: the CPU waited for may be waiting for us. */
    spin_lock(&request_lock);
    request_vaddr = vaddr;
    invlpg(vaddr);
    if (cpu_count > 1) {
        __atomic_store_n(&answers_missing, cpu_count - 1, __ATOMIC_RELEASE);
        apic_send_others(VECTOR_SHOOTDOWN);
        while (__atomic_load_n(&answers_missing, __ATOMIC_ACQUIRE) != 0)
            pause();
    }
    spin_unlock(&request_lock);
}

void tlb_shootdown_interrupt(void)
{
    invlpg(request_vaddr);
    __atomic_fetch_sub(&answers_missing, 1, __ATOMIC_ACQ_REL);
}
