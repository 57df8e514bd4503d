/*
 * Control registers and model-specific registers (Intel SDM volume 3, 2.5 and 2.8; volume 4): bits that must not be set, combinations that
 * must not be made, addresses that must be canonical. Values that would take effect are put back at once.
 */
#include "probe.h"
#include "sections.h"

SNIPPET(control_cr0, "movq %cr0, %rcx; movq %rcx, %rdx; xorq %rax, %rdx; movq %rdx, %cr0; movq %cr0, %rdx; movq %rcx, %cr0");
SNIPPET(control_cr3, "movq %cr3, %rcx; movq %rcx, %rdx; xorq %rax, %rdx; movq %rdx, %cr3; movq %cr3, %rdx; movq %rcx, %cr3");
SNIPPET(control_cr4, "movq %cr4, %rcx; movq %rcx, %rdx; xorq %rax, %rdx; movq %rdx, %cr4; movq %cr4, %rdx; movq %rcx, %cr4");
SNIPPET(control_cr8, "movq %rax, %cr8; movq %cr8, %rdx; movq %rcx, %cr8");
SNIPPET(control_cr2, "movq %rax, %cr2; movq %cr2, %rdx");
SNIPPET(control_cr1, ".byte 0x0f, 0x22, 0xc8");
SNIPPET(control_cr5, ".byte 0x0f, 0x20, 0xe8");
SNIPPET(control_cr9, ".byte 0x44, 0x0f, 0x22, 0xc8");
SNIPPET(control_lmsw, "movq %cr0, %rcx; lmsw %ax; smsw %rdx; movq %rcx, %cr0");
SNIPPET(control_clts, "movq %cr0, %rcx; movq %rcx, %rdx; orq $8, %rdx; movq %rdx, %cr0; clts; movq %cr0, %rdx");
SNIPPET(control_wrmsr, "movl %esi, %ecx; rdmsr; movl %eax, %r8d; movl %edx, %r9d; movl %edi, %eax; movl %ebx, %edx; wrmsr; "
                       "rdmsr; shlq $32, %rdx; leaq (%rax,%rdx), %rbp; movl %r8d, %eax; movl %r9d, %edx; wrmsr");
SNIPPET(control_rdmsr, "rdmsr");

static void probe_flip(const char *name, const char *snippet, uint64_t flip)
{
    struct probe p;

    serial_printf("%s flip %lx", name, flip);
    probe_reset(&p, snippet, 0);
    p.in.rax = flip;
    probe_run(&p);
    print_outcome(&p);
    if (p.vector == VECTOR_OK)
        serial_printf(" changed %lx", p.out.rdx ^ p.out.rcx);
    serial_putc('\n');
}

static void sweep_cr0(void)
{
    /* NW without CD, CD alone, both, the harmless ones, the reserved ones. beyond.c has PE and PG. */
    static const uint64_t flips[] = { 1ul << 29, 1ul << 30, 3ul << 29, 1ul << 1, 1ul << 2, 1ul << 3, 1ul << 4, 1ul << 5,
                                      1ul << 16, 1ul << 18, 1ul << 6, 1ul << 17, 1ul << 28, 1ul << 32, 1ul << 63 };

    for (unsigned i = 0; i < sizeof(flips) / sizeof(flips[0]); i++)
        probe_flip("cr0", control_cr0, flips[i]);
}

/* The bits that every long-mode processor has; beyond.c has PAE and the reserved ones. */
static void sweep_cr4(void)
{
    static const unsigned bits[] = { 0, 1, 2, 3, 4, 6, 7, 8, 9, 10 };

    for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
        probe_flip("cr4", control_cr4, 1ul << bits[i]);
}

static void sweep_cr3(void)
{
    /* All ignored. beyond.c has the reserved ones. */
    static const unsigned bits[] = { 0, 3, 4, 5, 11 };

    for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
        probe_flip("cr3", control_cr3, 1ul << bits[i]);
}

static void sweep_values(const char *name, const char *snippet, const uint64_t *values, unsigned length)
{
    for (unsigned i = 0; i < length; i++) {
        struct probe p;

        serial_printf("%s %lx", name, values[i]);
        probe_reset(&p, snippet, 0);
        p.in.rax = values[i];
        probe_run(&p);
        print_outcome(&p);
        serial_printf(" %lx\n", p.out.rdx);
    }
}

static void probe_msr(uint32_t msr, uint64_t value)
{
    struct probe p;

    serial_printf("wrmsr %x %lx", msr, value);
    probe_reset(&p, control_wrmsr, 0);
    p.in.rsi = msr;
    p.in.rdi = (uint32_t)value;
    p.in.rbx = value >> 32;
    probe_run(&p);
    print_outcome(&p);
    if (p.vector == VECTOR_OK)
        serial_printf(" %lx", p.out.rbp);
    serial_putc('\n');
}

static void sweep_msrs(void)
{
    /* FS, GS and KERNEL_GS bases, LSTAR, CSTAR, SYSENTER ESP and EIP hold addresses. */
    static const uint32_t addresses[] = { 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000082, 0xc0000083, 0x175, 0x176 };
    static const uint64_t values[] = { 0x00007fffffffffff, 0x0000800000000000, 0xffff7fffffffffff, 0xffff800000000000,
                                       0x1234567812345678 };
    static const uint64_t efer_flips[] = { 1, 1ul << 1, 1ul << 8, 1ul << 9, 1ul << 10, 1ul << 16, 1ul << 63 };
    static const uint32_t unknown[] = { 0x3, 0x4000, 0xc0000fff, 0xffffffff };
    uint64_t efer = rdmsr(0xc0000080);

    for (unsigned m = 0; m < sizeof(addresses) / sizeof(addresses[0]); m++)
        for (unsigned v = 0; v < sizeof(values) / sizeof(values[0]); v++)
            probe_msr(addresses[m], values[v]);
    for (unsigned i = 0; i < sizeof(efer_flips) / sizeof(efer_flips[0]); i++)
        probe_msr(0xc0000080, efer ^ efer_flips[i]);
    /* The PAT's eight types: 2 and 3 do not exist. A MTRR of a type that does not exist. */
    probe_msr(0x277, 0x0007040600070406);
    probe_msr(0x277, 0x0007040600070402);
    probe_msr(0x277, 0x0307040600070406);
    probe_msr(0xc0000084, 0x1ffffffff);
    for (unsigned i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        struct probe p;

        serial_printf("rdmsr %x", unknown[i]);
        probe_reset(&p, control_rdmsr, 0);
        p.in.rcx = unknown[i];
        probe_print(&p);
        serial_putc('\n');
    }
}

static void probe_named(const char *name, const char *snippet)
{
    struct probe p;

    serial_printf("%s", name);
    for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
        probe_reset(&p, snippet, cpl);
        probe_print(&p);
    }
    serial_putc('\n');
}

void control_section(void)
{
    static const uint64_t cr8[] = { 0, 15, 16, 1ul << 63 };
    static const uint64_t cr2[] = { 0, 0x1234567812345678, ~0ul };
    static const uint64_t lmsw[] = { 0, 0xf, 0x31, 0xfffe };

    sweep_cr0();
    sweep_cr3();
    sweep_cr4();
    sweep_values("cr8", control_cr8, cr8, 4);
    sweep_values("cr2", control_cr2, cr2, 3);
    sweep_values("lmsw", control_lmsw, lmsw, 4);
    probe_named("clts", control_clts);
    probe_named("mov cr1", control_cr1);
    probe_named("mov cr5", control_cr5);
    probe_named("mov cr9", control_cr9);
    sweep_msrs();
}
