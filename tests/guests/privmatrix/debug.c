/*
 * Debug exceptions (Intel SDM volume 3, chapter 17) and the instructions that hold interrupts off for one more (STI, MOV SS, POP SS;
 * volume 3, 6.8.3). A line shows the outcome, then DR6 and whether the pushed RFLAGS have RF and TF.
 */
#include "probe.h"
#include "sections.h"
#include "string.h"

#define RFLAGS_RF   (1ul << 16)
#define DR6_NONE 0xffff0ff0ul    /* DR6 with nothing hit */
#define DR7_FIXED   0x400ul
#define DR7_GD      (1ul << 13)
#define LOCAL(n)    (1ul << (2 * (n)))
#define GLOBAL(n)   (2ul << (2 * (n)))
#define CONDITION(n, rw, length) ((uint64_t)((rw) | (length) << 2) << (16 + 4 * (n)))
#define RW_EXECUTE  0
#define RW_WRITE    1
#define RW_IO       2
#define RW_ACCESS   3
#define LENGTH_1    0
#define LENGTH_2    1
#define LENGTH_8    2
#define LENGTH_4    3
#define CR4_DE      (1ul << 3)
#define PORT_UNUSED 0x2a0

#define APIC_PADDR      0xfee00000
#define APIC_EOI        (0x0b0 / 4)
#define APIC_SPURIOUS   (0x0f0 / 4)
#define APIC_ICR        (0x300 / 4)
#define ICR_SELF        0x44000

/* EAX holds KDS; RBX USER_DATA. */
SNIPPET(debug_nop, "nop; nop");
SNIPPET(debug_mov_ss, "movl %eax, %ss; nop; nop");
SNIPPET(debug_mov_ss_int, "movl %eax, %ss; int $0x90");
SNIPPET(debug_mov_ss_ud, "movl %eax, %ss; ud2");
SNIPPET(debug_popf, "pushfq; andl $0xfffffeff, (%rsp); popfq; nop");
SNIPPET(debug_set_tf, "pushfq; orl $0x100, (%rsp); popfq; nop; nop; nop");
SNIPPET(debug_pushf, "pushfq; popq %rdx");
SNIPPET(debug_rep, "movl $3, %ecx; movq %rbx, %rsi; movq %rbx, %rdi; rep movsb; nop");
SNIPPET(debug_rep_only, "rep movsb; nop");
SNIPPET(debug_ud, "ud2");
SNIPPET(debug_int, "int $0x90");
SNIPPET(debug_icebp, ".byte 0xf1; nop");
SNIPPET(debug_int3, "int3; nop");
SNIPPET(debug_jump, "jmp 1f; nop; 1: nop");
SNIPPET(debug_write, "movl %eax, (%rbx); nop");
SNIPPET(debug_read, "movl (%rbx), %ecx; nop");
SNIPPET(debug_modify, "addl %eax, (%rbx); nop");
SNIPPET(debug_write_8, "movq %rax, -4(%rbx); nop");
SNIPPET(debug_write_next, "movb %al, 4(%rbx); nop");
SNIPPET(debug_push, "leaq 8(%rbx), %rsp; pushq %rax; nop");
SNIPPET(debug_write_ss, "movl %eax, %ss; movw %ss, (%rbx); nop");
SNIPPET(debug_ss_from_memory, "movw (%rbx), %ss; nop; nop");
SNIPPET(debug_read_dr, "movq %db7, %rcx; nop");
SNIPPET(debug_write_dr, "movq %rcx, %db0; nop");
SNIPPET(debug_dr4, ".byte 0x0f, 0x21, 0xe1; .byte 0x0f, 0x23, 0xe9");
SNIPPET(debug_dr6_high, "movq $-1, %rcx; movq %rcx, %db6");
SNIPPET(debug_dr7_high, "movl $1, %ecx; shlq $32, %rcx; movq %rcx, %db7");
SNIPPET(debug_dr7_low, "movl $0xffffdfff, %ecx; andl $0xff00, %ecx; movq %rcx, %db7; movq %db7, %rdx; movl $0x400, %ecx; "
                       "movq %rcx, %db7");
SNIPPET(debug_io, "outb %al, %dx; nop");

SNIPPET(shadow_sti, "sti; nop; nop; nop");
SNIPPET(shadow_sti_cli, "sti; cli; nop; nop");
SNIPPET(shadow_sti_sti, "sti; sti; nop; nop");
SNIPPET(shadow_sti_hlt, "sti; hlt; nop");
SNIPPET(shadow_popf, "pushfq; orl $0x200, (%rsp); popfq; nop; nop");
SNIPPET(shadow_ss, "movl %eax, %ss; nop; nop");
SNIPPET(shadow_sti_ud, "sti; ud2");
SNIPPET(shadow_cr8, "movl $15, %ecx; movq %rcx, %cr8; sti; nop; nop; xorl %ecx, %ecx; movq %rcx, %cr8; nop; nop");
SNIPPET(shadow_cr8_same, "movl $9, %ecx; movq %rcx, %cr8; sti; nop; nop; cli; xorl %ecx, %ecx; movq %rcx, %cr8");
SNIPPET(shadow_drain, "sti; nop; nop; nop; cli");

static void write_dr(unsigned number, uint64_t value)
{
    switch (number) {
    case 0: __asm__ volatile("mov %0, %%db0" : : "r"(value)); break;
    case 1: __asm__ volatile("mov %0, %%db1" : : "r"(value)); break;
    case 2: __asm__ volatile("mov %0, %%db2" : : "r"(value)); break;
    case 3: __asm__ volatile("mov %0, %%db3" : : "r"(value)); break;
    case 6: __asm__ volatile("mov %0, %%db6" : : "r"(value)); break;
    case 7: __asm__ volatile("mov %0, %%db7" : : "r"(value)); break;
    }
}

static void print_debug(const struct probe *p)
{
    print_outcome(p);
    if (p->vector != VECTOR_OK || p->dr6 != DR6_NONE)
        serial_printf(":%lx", p->dr6);
    serial_printf("%s%s", p->left.rflags & RFLAGS_RF ? ",rf" : "", p->left.rflags & RFLAGS_TF ? ",tf" : "");
}

static void set_up(struct probe *p, const char *snippet, unsigned cpl, uint64_t flags)
{
    probe_reset(p, snippet, cpl);
    p->enter.rflags |= flags;
    p->in.rax = p->enter.ss;
    p->in.rbx = USER_DATA + 64;
    p->in.rdx = PORT_UNUSED;
    memcpy((void *)(USER_DATA + 64), &p->enter.ss, sizeof(p->enter.ss));
    write_dr(6, DR6_NONE);
}

static void run(const char *snippet, unsigned cpl, uint64_t flags, uint64_t dr7)
{
    struct probe p;

    set_up(&p, snippet, cpl, flags);
    write_dr(7, DR7_FIXED | dr7);
    probe_run(&p);
    write_dr(7, DR7_FIXED);
    print_debug(&p);
}

static void sweep_single_step(void)
{
    static const struct {
        const char *name, *snippet;
    } cases[] = {
        { "nop", debug_nop }, { "mov-ss", debug_mov_ss }, { "mov-ss-int", debug_mov_ss_int },
        { "mov-ss-ud", debug_mov_ss_ud }, { "popf", debug_popf }, { "pushf", debug_pushf }, { "rep", debug_rep_only },
        { "ud", debug_ud }, { "int", debug_int }, { "icebp", debug_icebp }, { "int3", debug_int3 }, { "jump", debug_jump },
        { "write", debug_write },
    };

    idt[VECTOR_TEST].type |= 0x60;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        serial_printf("step %s", cases[i].name);
        for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
            run(cases[i].snippet, cpl, 0, 0);
            run(cases[i].snippet, cpl, RFLAGS_TF, 0);
            run(cases[i].snippet, cpl, RFLAGS_TF | RFLAGS_RF, 0);
        }
        serial_putc('\n');
    }
    gate_restore(VECTOR_TEST);
    serial_puts("step set-tf");
    run(debug_set_tf, 0, 0, 0);
    run(debug_set_tf, 3, 0, 0);
    serial_putc('\n');
}

/* REP with TF: a trap after every iteration, and RCX says how many are left. */
static void probe_step_rep(void)
{
    for (uint64_t count = 0; count < 3; count++) {
        struct probe p;

        set_up(&p, debug_rep_only, 3, RFLAGS_TF);
        p.in.rcx = count;
        p.in.rsi = USER_DATA;
        p.in.rdi = USER_DATA;
        serial_printf("step rep %lu", count);
        probe_run(&p);
        print_debug(&p);
        serial_printf(" rcx=%lu\n", p.out.rcx);
    }
}

static void sweep_execution(void)
{
    uint64_t nop = snippet_address(debug_nop);

    for (uint64_t offset = 0; offset < 3; offset++) {
        write_dr(0, nop + offset);
        serial_printf("break execute +%lu", offset);
        run(debug_nop, 3, 0, LOCAL(0));
        run(debug_nop, 0, 0, GLOBAL(0));
        run(debug_nop, 3, RFLAGS_RF, LOCAL(0));
        run(debug_nop, 3, RFLAGS_TF, LOCAL(0));
        run(debug_nop, 3, 0, LOCAL(0) | CONDITION(0, RW_EXECUTE, LENGTH_4));
        run(debug_nop, 3, 0, CONDITION(0, RW_EXECUTE, LENGTH_1));
        serial_putc('\n');
    }
    write_dr(0, snippet_address(debug_mov_ss) + 2);
    serial_puts("break execute after mov-ss");
    run(debug_mov_ss, 3, 0, LOCAL(0));
    run(debug_mov_ss, 3, RFLAGS_TF, LOCAL(0));
    write_dr(0, snippet_address(debug_ud));
    serial_puts("\nbreak execute on ud");
    run(debug_ud, 3, 0, LOCAL(0));
    run(debug_ud, 3, RFLAGS_RF, LOCAL(0));
    serial_putc('\n');
}

static void sweep_data(void)
{
    static const struct {
        const char *name, *snippet;
    } cases[] = {
        { "read", debug_read }, { "write", debug_write }, { "modify", debug_modify }, { "write8-before", debug_write_8 },
        { "write-next", debug_write_next }, { "push", debug_push }, { "ss-then-write", debug_write_ss },
        { "ss-from-memory", debug_ss_from_memory }, { "rep", debug_rep },
    };
    static const unsigned conditions[] = { RW_WRITE, RW_ACCESS };
    static const unsigned lengths[] = { LENGTH_1, LENGTH_2, LENGTH_4, LENGTH_8 };

    write_dr(0, USER_DATA + 64);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned c = 0; c < 2; c++) {
            serial_printf("break %s on %s", conditions[c] == RW_WRITE ? "write" : "access", cases[i].name);
            for (unsigned l = 0; l < 4; l++)
                run(cases[i].snippet, 3, 0, LOCAL(0) | CONDITION(0, conditions[c], lengths[l]));
            serial_putc('\n');
        }
    }
    /* Several at once, one of them not enabled: its bit may be set all the same. */
    for (unsigned n = 0; n < 4; n++)
        write_dr(n, USER_DATA + 64);
    serial_puts("break several");
    run(debug_write, 3, 0, LOCAL(1) | CONDITION(1, RW_WRITE, LENGTH_4) | GLOBAL(3) | CONDITION(3, RW_ACCESS, LENGTH_1));
    run(debug_write, 3, RFLAGS_TF, LOCAL(2) | CONDITION(2, RW_WRITE, LENGTH_4));
    serial_putc('\n');
}

static void probe_registers(void)
{
    static const struct {
        const char *name, *snippet;
        uint64_t dr7;
    } cases[] = {
        { "gd-read", debug_read_dr, DR7_GD }, { "gd-write", debug_write_dr, DR7_GD }, { "dr4", debug_dr4, 0 },
        { "dr6-high", debug_dr6_high, 0 }, { "dr7-high", debug_dr7_high, 0 }, { "dr7-low", debug_dr7_low, 0 },
        { "read-at-3", debug_read_dr, 0 },
    };
    uint64_t cr4;

    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        serial_printf("dr %s", cases[i].name);
        run(cases[i].snippet, 0, 0, cases[i].dr7);
        if (!(cases[i].dr7 & DR7_GD))
            run(cases[i].snippet, 3, 0, 0);
        __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_DE));
        run(cases[i].snippet, 0, 0, cases[i].dr7);
        __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
        serial_putc('\n');
    }
    for (unsigned de = 0; de < 2; de++) {
        __asm__ volatile("mov %0, %%cr4" : : "r"(de ? cr4 | CR4_DE : cr4));
        write_dr(0, PORT_UNUSED);
        serial_printf("break io%s", de ? " de" : "");
        run(debug_io, 0, 0, LOCAL(0) | CONDITION(0, RW_IO, LENGTH_1));
        write_dr(0, PORT_UNUSED + 1);
        run(debug_io, 0, 0, LOCAL(0) | CONDITION(0, RW_IO, LENGTH_1));
        serial_putc('\n');
    }
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
}

/* An interrupt is pending while the snippet opens the gate for it. */
static void run_shadow(const char *name, const char *snippet, uint64_t flags)
{
    volatile uint32_t *apic = physmap(APIC_PADDR);
    struct probe p;

    apic[APIC_SPURIOUS] = 0x1ff;
    apic[APIC_ICR] = ICR_SELF | VECTOR_IPI;
    set_up(&p, snippet, 0, flags);
    serial_printf("shadow %s", name);
    probe_print(&p);
    serial_putc('\n');
    while (p.vector != VECTOR_IPI) {
        probe_reset(&p, shadow_drain, 0);
        probe_run(&p);
    }
    apic[APIC_EOI] = 0;
    __asm__ volatile("mov %0, %%cr8" : : "r"(0ul));
}

static void sweep_shadows(void)
{
    run_shadow("sti", shadow_sti, 0);
    run_shadow("sti-cli", shadow_sti_cli, 0);
    run_shadow("sti-sti", shadow_sti_sti, 0);
    run_shadow("sti-hlt", shadow_sti_hlt, 0);
    run_shadow("sti-ud", shadow_sti_ud, 0);
    run_shadow("popf", shadow_popf, 0);
    run_shadow("iret", shadow_sti, RFLAGS_IF);
    run_shadow("mov-ss", shadow_ss, RFLAGS_IF);
    run_shadow("cr8", shadow_cr8, 0);
    run_shadow("cr8-same-class", shadow_cr8_same, 0);
}

void debug_section(void)
{
    sweep_single_step();
    probe_step_rep();
    sweep_execution();
    sweep_data();
    probe_registers();
    sweep_shadows();
    for (unsigned n = 0; n < 4; n++)
        write_dr(n, 0);
    write_dr(6, DR6_NONE);
}
