/*
 * One measurement: enter a context by IRETQ, run a few instructions, and see by which vector it ends and in what state.
 * A snippet that succeeds ends in INT 0x80, printed as `ok`.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout_probe.h"
#include "serial.h"
#include "x86.h"

struct registers {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
};

struct frame {
    uint64_t rip, cs, rflags, rsp, ss;
};

struct probe {
    struct registers in;
    struct frame enter;
    uint64_t ds;                    /* DS and ES on entry */
    struct registers out;
    uint64_t vector, error;
    struct frame left;              /* what the vector's delivery pushed */
    uint64_t frame_at;              /* where it pushed it */
    uint64_t out_ds, out_es, out_fs, out_gs;
    uint64_t cr2, dr6;
    uint64_t handler_rflags;
};

#define VECTOR_OK       0x80        /* INT 0x80, allowed at CPL 3: a snippet's good end */
#define VECTOR_TEST     0x90        /* the gate that gates.c varies */
#define VECTOR_IPI      0x91        /* the interrupt that debug.c sends itself */

/* Memory of the probes, mapped for user mode too, below 4 GB so that compatibility mode reaches it. */
#define USER_CODE       0x400000ul
#define USER_DATA       0x500000ul  /* two pages */
#define USER_STACK      0x600000ul  /* a page, below USER_STACK_TOP */
#define USER_STACK_TOP  0x601000ul
#define USER_HOLE       0x700000ul  /* never mapped */

/*
 * Defines code to probe, at top level of a C file. It runs at USER_CODE + its offset, at any CPL. SNIPPET32 is for
 * compatibility mode.
 */
#define SNIPPET(name, code) \
    extern char name[]; \
    __asm__(".pushsection .user, \"ax\"; .balign 16; " #name ": " code "; int $0x80; ud2; .popsection")
#define SNIPPET32(name, code) \
    extern char name[]; \
    __asm__(".pushsection .user, \"ax\"; .balign 16; .code32; " #name ": " code "; int $0x80; ud2; .code64; " \
            ".popsection")

/* Fills GDT, IDT, TSS and the user pages. */
void probe_init(void);

/* Where a snippet is in user memory. */
uint64_t snippet_address(const char *snippet);

/* A context at CPL 0 or 3, 64-bit, interrupts off, stack and data segments in order, all registers 0. */
void probe_reset(struct probe *probe, const char *snippet, unsigned cpl);
void probe_run(struct probe *probe);

/* ` ok`, or ` pf(7)+3`: vector, error code where it has one, and RIP relative to where the probe began. */
void print_outcome(const struct probe *probe);
const char *vector_name(uint64_t vector);

/* Both, for the simplest of cases. */
void probe_print(struct probe *probe);

/* The tables, for those who change them. Each restore function puts back what probe_init() made. */
struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3, iomap_base;
    uint8_t iomap[16];              /* ports 0 to 0x77, then the byte of ones that must end it */
} __attribute__((packed));

#define GATE_TYPE_INTERRUPT 14
#define IST_EXCEPTIONS      1
#define IST_DOUBLE_FAULT    2
#define IST_TEST            3

extern struct gate idt[256];
extern struct tss tss;
extern uint64_t gdt[128], ldt[4];
extern char *const ring0_stack_top, *const ist_test_stack_top;

void gate_restore(unsigned vector);
void idt_load(uint16_t limit);
void tss_restore(void);
void gdt_restore(void);
void ldt_load(void);

/* The segment descriptors that segments.c, gates.c and transfers.c sweep over, from FIRST_MATRIX_SEL, 16 bytes apart. */
struct descriptor {
    const char *name;
    uint64_t low, high;
    uint16_t selector;              /* set by probe_init() when it is not in `matrix_special` */
};

extern struct descriptor matrix[];
extern const unsigned matrix_length;

#endif
