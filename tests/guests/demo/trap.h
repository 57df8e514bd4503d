/* The IDT, and what a handler finds on the stack. */
#ifndef TRAP_H
#define TRAP_H

#include <stdint.h>

#define VECTOR_NMI          2
#define VECTOR_DOUBLE_FAULT 8
#define VECTOR_UD           6
#define VECTOR_PAGE_FAULT   14
#define VECTOR_MACHINE_CHECK 18
#define VECTOR_TIMER        0x40
#define VECTOR_RESCHEDULE   0xf0
#define VECTOR_SHOOTDOWN    0xf1
#define VECTOR_STOP         0xf2
#define VECTOR_SPURIOUS     0xff

#define IST_DOUBLE_FAULT    1
#define IST_NMI             2
#define IST_MACHINE_CHECK   3

struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* Fills the IDT that all CPUs share. */
void trap_init(void);

/* Loads it on the CPU that runs this. */
void trap_load(void);

/* Replaces one gate. */
void trap_set_gate(unsigned vector, void (*handler)(void), unsigned ist);

#endif
