/*
 * Addresses that are not canonical (Intel SDM volume 1, 3.3.7.1): #SS for references by way of the stack, #GP for all others; and
 * alignment checks (volume 3, 6.15, vector 17).
 */
#include "probe.h"
#include "sections.h"

#define CR0_AM          (1ul << 18)
#define RFLAGS_AC       (1ul << 18)
#define NONCANONICAL    0x0000800000000000ul
#define LAST_CANONICAL  0x00007ffffffffffful

/* RBX, RSI, RDI and RAX hold the address; RSP and RBP too where the name says so. */
#define ACCESSES(X) \
    X(read, "movl (%rbx), %ecx", 0) X(write, "movl %ecx, (%rbx)", 0) X(modify, "lock addl $1, (%rbx)", 0) \
    X(read_rbp, "movl (%rbp), %ecx", 0) X(read_rsp, "movl (%rsp), %ecx", 1) X(read_rbp_index, "movl (%rcx,%rbp), %edx", 0) \
    X(read_ds_rbp, "movl %ds:(%rbp), %ecx", 0) X(read_ss_rbx, "movl %ss:(%rbx), %ecx", 0) \
    X(read_fs_rbp, "movl %fs:(%rbp), %ecx", 0) \
    X(push, "pushq %rcx", 1) X(pop, "popq %rcx", 1) X(pop_memory, "popq (%rbx)", 0) X(push_memory, "pushq (%rbx)", 0) \
    X(call_near, "call 1f; 1:", 1) X(ret, "ret", 1) X(leave, "leave", 0) X(enter, "enter $16, $0", 1) X(enter_1, "enter $16, $2", 0) \
    X(pushf, "pushfq", 1) X(popf, "popfq", 1) X(iret, "iretq", 1) X(retf, "lretq", 1) \
    X(jmp_register, "jmp *%rax", 0) X(call_register, "call *%rax", 0) X(ret_to, "pushq %rax; ret", 0) \
    X(jmp_memory, "jmp *(%rbx)", 0) X(lods, "lodsl", 0) X(stos, "stosl", 0) X(movs, "movsl", 0) X(rep_movs_0, "rep movsl", 0) \
    X(xlat, "xlatb", 0) X(lea, "leaq 1(%rbx), %rcx", 0) X(prefetch, "prefetcht0 (%rbx)", 0) X(invlpg, "invlpg (%rbx)", 0) \
    X(nop_memory, "nopl (%rbx)", 0) X(absolute, "movabsl 0x0000800000000000, %eax", 0) X(cmpxchg8b, "cmpxchg8b (%rbx)", 0) \
    X(bit_far, "btq %rbx, (%rbx)", 0) X(lgdt, "lgdt (%rbx)", 0) X(sgdt, "sgdt (%rbx)", 0) X(fxsave, "fxsave (%rbx)", 0) \
    X(fld, "fldl (%rbx)", 0) X(ljmp, "ljmpl *(%rbx)", 0) X(lfs, "lfs (%rbx), %ecx", 0) X(mov_sreg, "movw (%rbx), %fs", 0)

#define DEFINE(name, code, stack) SNIPPET(memory_##name, code);
#define LIST(name, code, stack) { #name, memory_##name, stack },
ACCESSES(DEFINE)

static const struct {
    const char *name, *snippet;
    bool by_stack;
} accesses[] = { ACCESSES(LIST) };

SNIPPET(align_2, "movw (%rbx), %cx");
SNIPPET(align_4, "movl (%rbx), %ecx");
SNIPPET(align_8, "movq (%rbx), %rcx");
SNIPPET(align_write, "movl %ecx, (%rbx)");
SNIPPET(align_push, "pushq %rcx");
SNIPPET(align_x87, "fldl (%rbx)");
SNIPPET(align_movups, "movups (%rbx), %xmm0");
SNIPPET(align_string, "movq %rbx, %rsi; lodsl");
SNIPPET(align_table, "sgdt (%rbx)");

static void set_address(struct probe *p, uint64_t address, bool by_stack)
{
    p->in.rax = address;
    p->in.rbx = address;
    p->in.rsi = address;
    p->in.rdi = address;
    p->in.rbp = address;
    if (by_stack)
        p->enter.rsp = address;
}

static void sweep_canonical(void)
{
    for (unsigned i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
        struct probe p;

        serial_printf("noncanonical %s", accesses[i].name);
        for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
            probe_reset(&p, accesses[i].snippet, cpl);
            set_address(&p, NONCANONICAL, accesses[i].by_stack);
            probe_print(&p);
        }
        /* Begins on the last canonical byte. The page is not mapped, and the fault for the address comes first. */
        probe_reset(&p, accesses[i].snippet, 3);
        set_address(&p, LAST_CANONICAL, accesses[i].by_stack);
        probe_print(&p);
        serial_putc('\n');
    }
}

static void sweep_alignment(void)
{
    static const struct {
        const char *name, *snippet;
    } kinds[] = {
        { "2", align_2 }, { "4", align_4 }, { "8", align_8 }, { "write", align_write }, { "push", align_push },
        { "x87", align_x87 }, { "movups", align_movups }, { "string", align_string }, { "sgdt", align_table },
    };
    uint64_t cr0;

    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    for (unsigned mode = 0; mode < 4; mode++) {
        __asm__ volatile("mov %0, %%cr0" : : "r"(mode & 1 ? cr0 | CR0_AM : cr0 & ~CR0_AM));
        for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
            serial_printf("align%s%s %s", mode & 1 ? " am" : "", mode & 2 ? " ac" : "", kinds[i].name);
            for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
                for (unsigned offset = 0; offset < 5; offset++) {
                    struct probe p;

                    if (offset == 3)
                        continue;
                    probe_reset(&p, kinds[i].snippet, cpl);
                    p.in.rbx = USER_DATA + offset;
                    p.enter.rsp += offset;
                    p.enter.rflags |= mode & 2 ? RFLAGS_AC : 0;
                    probe_print(&p);
                }
            }
            serial_putc('\n');
        }
    }
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0));
}

void memory_section(void)
{
    uint64_t cr4;

    /* OSFXSR, for MOVUPS. */
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | 1ul << 9));
    sweep_canonical();
    sweep_alignment();
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4));
}
