/* The IDT, exceptions, and the way from a vector to its handler. */
#include "trap.h"

#include "apic.h"
#include "cpu.h"
#include "panic.h"
#include "sched.h"
#include "serial.h"
#include "tlb.h"
#include "x86.h"

#define GATE_INTERRUPT 0x8e

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

extern char trap_stubs[];

void trap(struct trap_frame *f);

static struct gate idt[256] __attribute__((aligned(16)));

static const char *const exception_names[32] = {
    "divide error", "debug", "NMI", "breakpoint", "overflow", "bound", "undefined opcode", "no FPU", "double fault",
    "FPU overrun", "invalid TSS", "segment not present", "stack fault", "general protection", "page fault", "reserved",
    "x87 error", "alignment check", "machine check", "SIMD error", "virtualization", "control protection",
};

void trap_set_gate(unsigned vector, void (*handler)(void), unsigned ist)
{
    uint64_t offset = (uint64_t)handler;

    idt[vector] = (struct gate){
        .offset_low = (uint16_t)offset,
        .selector = KERNEL_CS,
        .ist = (uint8_t)ist,
        .type = GATE_INTERRUPT,
        .offset_middle = (uint16_t)(offset >> 16),
        .offset_high = (uint32_t)(offset >> 32),
    };
}

void trap_init(void)
{
    for (unsigned vector = 0; vector < 256; vector++)
        trap_set_gate(vector, (void (*)(void))(trap_stubs + 16 * vector), 0);
    idt[VECTOR_DOUBLE_FAULT].ist = IST_DOUBLE_FAULT;
    idt[VECTOR_NMI].ist = IST_NMI;
    idt[VECTOR_MACHINE_CHECK].ist = IST_MACHINE_CHECK;
}

void trap_load(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = { sizeof(idt) - 1, (uint64_t)idt };

    __asm__ volatile("lidt %0" : : "m"(pointer));
}

static void print_registers(const struct trap_frame *f)
{
    serial_printf("rip %016lx  rflags %08lx  cs %04lx  ss %04lx\n", f->rip, f->rflags, f->cs, f->ss);
    serial_printf("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
    serial_printf("rsi %016lx  rdi %016lx  rbp %016lx  rsp %016lx\n", f->rsi, f->rdi, f->rbp, f->rsp);
    serial_printf("r8  %016lx  r9  %016lx  r10 %016lx  r11 %016lx\n", f->r8, f->r9, f->r10, f->r11);
    serial_printf("r12 %016lx  r13 %016lx  r14 %016lx  r15 %016lx\n", f->r12, f->r13, f->r14, f->r15);
    serial_printf("cr2 %016lx  cr3 %016lx\n", read_cr2(), read_cr3());
}

static _Noreturn void exception(const struct trap_frame *f)
{
    const char *name = f->vector < 32 && exception_names[f->vector] ? exception_names[f->vector] : "unknown exception";

    smp_stop_others();
    serial_printf("trap %lu, error %lx, interrupted:\n", f->vector, f->error);
    print_registers(f);
    backtrace(f->rip, f->rbp);
    if (f->vector == VECTOR_PAGE_FAULT)
        panic("%s at %016lx", name, read_cr2());
    panic("%s", name);
}

/* Called by trap_common with interrupts off. */
void trap(struct trap_frame *f)
{
    struct cpu *cpu = this_cpu();

    switch (f->vector) {
    case VECTOR_NMI:
    case VECTOR_STOP:
        halt_forever();
    case VECTOR_TIMER:
        apic_end_of_interrupt();
        apic_timer_rearm();
        sched_tick();
        break;
    case VECTOR_RESCHEDULE:
        apic_end_of_interrupt();
        cpu->need_resched = 1;
        break;
    case VECTOR_SHOOTDOWN:
        apic_end_of_interrupt();
        tlb_shootdown_interrupt();
        break;
    case VECTOR_SPURIOUS:
        return;
    default:
        exception(f);
    }
    if (cpu->need_resched && cpu->preempt_count == 0)
        schedule();
}
