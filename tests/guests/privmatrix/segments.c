/*
 * Loading and asking about segments (Intel SDM volume 2: MOV, LAR, LSL, VERR, LTR, LLDT; volume 3, chapter 5): every descriptor of the
 * matrix against RPL and CPL. A load that sets the accessed bit of its descriptor is marked `*`.
 */
#include "probe.h"
#include "sections.h"

SNIPPET(load_ds, "movl %eax, %ds; movl %ds, %ecx");
SNIPPET(load_fs, "movl %eax, %fs; movl %fs, %ecx");
SNIPPET(load_ss, "movl %eax, %ss; movl %ss, %ecx");
SNIPPET(load_cs, ".byte 0x8e, 0xc8");
SNIPPET(lar_32, "lar %eax, %ecx; pushfq; popq %rdx");
SNIPPET(lsl_32, "lsl %eax, %ecx; pushfq; popq %rdx");
SNIPPET(lar_64, "lar %rax, %rcx; pushfq; popq %rdx");
SNIPPET(verify_read, "verr %ax; pushfq; popq %rdx");
SNIPPET(verify_write, "verw %ax; pushfq; popq %rdx");
SNIPPET(load_tr, "ltr %ax; str %ecx");
SNIPPET(load_ldt, "lldt %ax; sldt %ecx");
SNIPPET(load_far, "lfs (%rbx), %ecx; movl %fs, %edx");

#define RFLAGS_ZF 0x40
#define ACCESSED  (1ul << 40)
#define S_BIT     (1ul << 44)
#define GARBAGE   0xdeadbeefcafe0123ul

static bool accessed(const struct descriptor *d)
{
    return (d->selector & 4) == 0 && (gdt[d->selector / 8] & S_BIT) && (gdt[d->selector / 8] & ACCESSED);
}

static void probe_load(const struct descriptor *d, const char *snippet, unsigned cpl, unsigned rpl)
{
    struct probe p;

    gdt_restore();
    probe_reset(&p, snippet, cpl);
    p.in.rax = d->selector | rpl;
    probe_run(&p);
    print_outcome(&p);
    if (p.vector == VECTOR_OK && p.out.rcx != p.in.rax)
        serial_printf(":%lx", p.out.rcx);
    if (accessed(d))
        serial_putc('*');
}

static void sweep_loads(const char *name, const char *snippet)
{
    for (unsigned i = 0; i < matrix_length; i++) {
        serial_printf("load %s %s", name, matrix[i].name);
        for (unsigned cpl = 0; cpl <= 3; cpl += 3)
            for (unsigned rpl = 0; rpl <= 3; rpl++)
                probe_load(&matrix[i], snippet, cpl, rpl);
        serial_putc('\n');
    }
}

/* ZF as `y` or `n`, with the value for LAR and LSL. Without ZF the destination keeps what it held. */
static void probe_query(const struct descriptor *d, const char *snippet, unsigned cpl, unsigned rpl)
{
    struct probe p;

    probe_reset(&p, snippet, cpl);
    p.in.rax = d->selector | rpl;
    p.in.rcx = GARBAGE;
    probe_run(&p);
    if (p.vector != VECTOR_OK) {
        print_outcome(&p);
        return;
    }
    serial_puts(p.out.rdx & RFLAGS_ZF ? " y" : " n");
    if (p.out.rcx != GARBAGE)
        serial_printf(":%lx", p.out.rcx);
}

static void sweep_queries(void)
{
    static const struct {
        const char *name, *snippet;
    } queries[] = {
        { "lar", lar_32 }, { "lar64", lar_64 }, { "lsl", lsl_32 }, { "verr", verify_read }, { "verw", verify_write },
    };

    gdt_restore();
    for (unsigned q = 0; q < sizeof(queries) / sizeof(queries[0]); q++) {
        for (unsigned i = 0; i < matrix_length; i++) {
            serial_printf("%s %s", queries[q].name, matrix[i].name);
            for (unsigned cpl = 0; cpl <= 3; cpl += 3)
                for (unsigned rpl = 0; rpl <= 3; rpl += 3)
                    probe_query(&matrix[i], queries[q].snippet, cpl, rpl);
            serial_putc('\n');
        }
    }
}

static void restore_task(void)
{
    gdt_restore();
    gdt[TSS_SEL / 8] &= ~(2ul << 40);
    __asm__ volatile("ltr %w0" : : "r"(TSS_SEL));
    ldt_load();
}

/* LTR and LLDT of everything. A TSS that LTR took has become busy. */
static void sweep_system_loads(void)
{
    for (unsigned i = 0; i < matrix_length; i++) {
        struct descriptor *d = &matrix[i];
        uint64_t before;
        struct probe p;

        serial_printf("ltr+lldt %s", d->name);
        restore_task();
        before = gdt[d->selector / 8];
        probe_reset(&p, load_tr, 0);
        p.in.rax = d->selector;
        /* The new task register may lead nowhere; IST stacks come from it. Point it at the real TSS. */
        if ((before >> 40 & 0x1f) == 9) {
            uint64_t base = (uint64_t)&tss;

            gdt[d->selector / 8] = (before & 0x0000ff0000000000ul) | (sizeof(tss) - 1) | (base & 0xffffff) << 16 |
                                   (base >> 24 & 0xff) << 56;
            gdt[d->selector / 8 + 1] = base >> 32;
        }
        before = gdt[d->selector / 8];
        probe_run(&p);
        print_outcome(&p);
        if (gdt[d->selector / 8] != before)
            serial_printf(":%lx", gdt[d->selector / 8] >> 40 & 0xff);
        restore_task();
        probe_reset(&p, load_ldt, 0);
        p.in.rax = d->selector;
        probe_run(&p);
        print_outcome(&p);
        serial_putc('\n');
    }
    restore_task();
}

/* LFS loads the register and the selector, or neither. */
static void sweep_far_pointers(void)
{
    gdt_restore();
    for (unsigned i = 0; i < matrix_length; i++) {
        struct {
            uint32_t offset;
            uint16_t selector;
        } __attribute__((packed)) *pointer = (void *)USER_DATA;
        struct probe p;

        pointer->offset = 0x12345678;
        pointer->selector = (uint16_t)(matrix[i].selector | 3);
        probe_reset(&p, load_far, 3);
        p.in.rbx = USER_DATA;
        p.in.rcx = GARBAGE;
        serial_printf("lfs %s", matrix[i].name);
        probe_print(&p);
        serial_printf(" %lx\n", p.out.rcx);
    }
}

void segments_section(void)
{
    struct probe p;

    sweep_loads("ds", load_ds);
    sweep_loads("fs", load_fs);
    sweep_loads("ss", load_ss);
    gdt_restore();
    serial_puts("load cs");
    probe_reset(&p, load_cs, 0);
    probe_print(&p);
    serial_putc('\n');
    sweep_queries();
    sweep_system_loads();
    sweep_far_pointers();
}
