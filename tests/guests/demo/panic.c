#include "panic.h"

#include "apic.h"
#include "cpu.h"
#include "sched.h"
#include "serial.h"
#include "spinlock.h"
#include "x86.h"

#define MAX_FRAMES 24

bool quiet;

static struct spinlock console_lock;
static int panicking;           /* 1 + the CPU that panicked first */

static void print(const char *format, va_list arguments)
{
    unsigned long flags = spin_lock_irqsave(&console_lock);

    serial_vprintf(format, arguments);
    spin_unlock_irqrestore(&console_lock, flags);
}

void printk(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print(format, arguments);
    va_end(arguments);
}

void print_progress(const char *format, ...)
{
    va_list arguments;

    if (quiet)
        return;
    va_start(arguments, format);
    print(format, arguments);
    va_end(arguments);
}

static bool is_kernel_address(uint64_t vaddr)
{
    return vaddr >= KERNEL_BASE + LOAD_ADDRESS && vaddr < KERNEL_BASE + (uint64_t)image_end;
}

void backtrace(uint64_t rip, uint64_t rbp)
{
    for (int i = 0; i < MAX_FRAMES; i++) {
        serial_printf("  [<%016lx>]\n", rip);
        /* Thread stacks are part of the image, so one test keeps the walk from faulting. */
        if (!is_kernel_address(rbp) || rbp % 8 != 0)
            return;
        rip = ((uint64_t *)rbp)[1];
        rbp = ((uint64_t *)rbp)[0];
        if (rip == 0)
            return;
    }
}

_Noreturn void panic(const char *format, ...)
{
    uint64_t rbp = (uint64_t)__builtin_frame_address(0);
    int self, first = 0;
    va_list arguments;

    irq_disable();
    self = (int)cpu_number() + 1;
    if (!__atomic_compare_exchange_n(&panicking, &first, self, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        halt_forever();
    smp_stop_others();

    /* The owner of the console lock may be stopped for good: nothing here takes a lock. */
    serial_puts("panic: ");
    va_start(arguments, format);
    serial_vprintf(format, arguments);
    va_end(arguments);
    serial_printf("\ncpu %d, thread %s\nbacktrace:\n", self - 1, current_name());
    backtrace(((uint64_t *)rbp)[1], ((uint64_t *)rbp)[0]);
    serial_puts("halted\n");
    halt_forever();
}
