/*
 * Cases that QEMU 7.2 gets wrong in a way that ends it, or the guest, so this section runs only when the command line asks for it
 * (`beyond-qemu`). All of them fault on a processor.
 */
#include "probe.h"
#include "sections.h"
#include "string.h"

SNIPPET(beyond_ltr, "ltr %ax");
SNIPPET(beyond_cr0, "movq %cr0, %rcx; xorq %rax, %rcx; movq %rcx, %cr0");
SNIPPET(beyond_cr3, "movq %cr3, %rcx; xorq %rax, %rcx; movq %rcx, %cr3");
SNIPPET(beyond_cr4, "movq %cr4, %rcx; xorq %rax, %rcx; movq %rcx, %cr4");

static void run(const char *name, const char *snippet, uint64_t rax)
{
    struct probe p;

    serial_printf("%s %lx", name, rax);
    probe_reset(&p, snippet, 0);
    p.in.rax = rax;
    probe_print(&p);
    serial_putc('\n');
}

void beyond_section(void)
{
    static const unsigned cr4_reserved[] = { 15, 19, 26, 30, 31, 32, 63 };

    /* PG without PE, and paging off in 64-bit code: #GP(0) (SDM volume 3, 2.5). */
    run("cr0 flip", beyond_cr0, 1ul << 0);
    run("cr0 flip", beyond_cr0, 1ul << 31);
    run("cr0 flip", beyond_cr0, 1ul << 31 | 1ul << 0);
    /* Address bits above every physical address: #GP(0). */
    run("cr3 flip", beyond_cr3, 1ul << 52);
    run("cr3 flip", beyond_cr3, 1ul << 62);
    run("cr3 flip", beyond_cr3, 1ul << 63);
    /* PAE off in long mode, and reserved bits: #GP(0). */
    run("cr4 flip", beyond_cr4, 1ul << 5);
    for (unsigned i = 0; i < sizeof(cr4_reserved) / sizeof(cr4_reserved[0]); i++)
        run("cr4 flip", beyond_cr4, 1ul << cr4_reserved[i]);
    /* SDM volume 2, LTR: a null selector is #GP(0), a 16-bit TSS in long mode #GP(selector). */
    for (unsigned rpl = 0; rpl < 4; rpl++)
        run("ltr null", beyond_ltr, rpl);
    for (unsigned i = 0; i < matrix_length; i++)
        if (strcmp(matrix[i].name, "tss16") == 0)
            run("ltr tss16", beyond_ltr, matrix[i].selector);
}
