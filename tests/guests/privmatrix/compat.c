/*
 * Compatibility mode (Intel SDM volume 3, 5.2 and 5.3; volume 2 for INTO, BOUND, ARPL): segment limits and types, which 64-bit mode
 * ignores, addresses that wrap at 4 GB, and instructions that 64-bit mode does not have.
 */
#include "probe.h"
#include "sections.h"
#include "string.h"

#define TEST_DATA   0x30b       /* a selector behind the matrix, RPL 3 */
#define TEST_CODE   0x31b
#define RFLAGS_OF   0x800
#define RFLAGS_ZF   0x40

SNIPPET32(compat_nop, "nop");
SNIPPET32(compat_read, "movl (%ebx), %eax");
SNIPPET32(compat_write, "movl %eax, (%ebx)");
SNIPPET32(compat_read_byte, "movb (%ebx), %al");
SNIPPET32(compat_write_byte, "movb %al, (%ebx)");
SNIPPET32(compat_load_ds, "movl %edx, %ds; movl (%ebx), %eax");
SNIPPET32(compat_write_ds, "movl %edx, %ds; movl %eax, (%ebx)");
SNIPPET32(compat_load_ss, "movl %edx, %ss; movl %ss:(%ebx), %eax");
SNIPPET32(compat_read_ebp, "movl %edx, %ss; movl (%ebp), %eax");
SNIPPET32(compat_push, "movl %edx, %ss; movl %ebx, %esp; pushl %eax");
SNIPPET32(compat_pop, "movl %edx, %ss; movl %ebx, %esp; popl %eax");
SNIPPET32(compat_read_cs, "movl %cs:(%ebx), %eax");
SNIPPET32(compat_write_cs, "movl %eax, %cs:(%ebx)");
SNIPPET32(compat_jump, "jmp *%ebx");
SNIPPET32(compat_into, "into");
SNIPPET32(compat_bound, "boundl %eax, (%ebx)");
SNIPPET32(compat_arpl, "arpl %cx, %ax; pushfl; popl %edx");
SNIPPET32(compat_aam_0, ".byte 0xd4, 0x00");
SNIPPET32(compat_push_cs, "pushl %cs; popl %eax");
SNIPPET32(compat_daa, "daa");
SNIPPET32(compat_pusha, "pushal; popal");
SNIPPET32(compat_inc, ".byte 0x48");
SNIPPET32(compat_lds, "lds (%ebx), %ecx; movl %ds, %edx");
SNIPPET32(compat_lcall, "lcall *(%ebx)");
SNIPPET32(compat_iret, "pushfl; pushl %cs; pushl %ecx; iretl");
SNIPPET32(compat_int, "int $0x90");
SNIPPET32(compat_swapgs, ".byte 0x0f, 0x01, 0xf8");
SNIPPET32(compat_lahf, "lahf");
SNIPPET32(compat_lock_mov_cr0, ".byte 0xf0, 0x0f, 0x20, 0xc0");
SNIPPET32(compat_shift_base, "movl %edx, %fs; movl %fs:(%ebx), %eax");
SNIPPET(compat_landing_64, "nop");
SNIPPET(compat_base_64, "movl %edx, %fs; movl %fs:(%rbx), %eax");

static void set_segment(unsigned selector, uint32_t base, uint32_t limit, uint8_t access, uint8_t flags)
{
    gdt[selector / 8] = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
                        (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}

static void reset(struct probe *p, const char *snippet)
{
    probe_reset(p, snippet, 3);
    p->enter.cs = UCS32;
    p->in.rbx = USER_DATA;
    p->in.rdx = TEST_DATA;
}

static void run_at(const char *snippet, uint32_t offset)
{
    struct probe p;

    reset(&p, snippet);
    p.in.rbx = offset;
    p.in.rbp = offset;
    probe_print(&p);
    if (p.vector == 14)
        serial_printf(":cr2=%lx", p.cr2);
}

/* Kinds of data segment, all at USER_DATA with limit 0xff, by offset, through DS and SS. */
static void sweep_limits(void)
{
    static const struct {
        const char *name;
        uint8_t access, flags;
    } kinds[] = {
        { "rw", 0xf2, 4 }, { "ro", 0xf0, 4 }, { "down", 0xf6, 4 }, { "down16", 0xf6, 0 }, { "code", 0xfa, 4 },
        { "np", 0x72, 4 },
    };
    static const uint32_t offsets[] = { 0, 0xfc, 0xfd, 0xff, 0x100, 0xffd, 0xfffc, 0xffff, 0xffffffff };
    static const char *const snippets[] = { compat_load_ds, compat_write_ds, compat_load_ss, compat_read_ebp, compat_push,
                                            compat_pop };

    for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        for (unsigned o = 0; o < sizeof(offsets) / sizeof(offsets[0]); o++) {
            serial_printf("limit %s %x", kinds[k].name, offsets[o]);
            for (unsigned s = 0; s < sizeof(snippets) / sizeof(snippets[0]); s++) {
                set_segment(TEST_DATA, USER_DATA, 0xff, kinds[k].access, kinds[k].flags);
                run_at(snippets[s], offsets[o]);
            }
            serial_putc('\n');
        }
    }
}

static void run_in_code(const char *name, const char *snippet, uint8_t access, uint32_t limit, uint32_t offset)
{
    struct probe p;

    set_segment(TEST_CODE, 0, limit, access, 0xc);
    serial_printf("code %s %x", name, offset);
    reset(&p, snippet);
    p.enter.cs = TEST_CODE;
    p.in.rbx = offset;
    probe_print(&p);
    serial_putc('\n');
}

/* Limits in pages: 0x5ff is up to 0x5fffff, so that the snippets and the data are inside. */
static void sweep_code_segments(void)
{
    run_in_code("read", compat_read_cs, 0xfa, 0x5ff, USER_DATA);
    run_in_code("read-execute-only", compat_read_cs, 0xf8, 0x5ff, USER_DATA);
    run_in_code("write", compat_write_cs, 0xfa, 0x5ff, USER_DATA);
    run_in_code("read-beyond", compat_read_cs, 0xfa, 0x5ff, 0x5ffffd);
    run_in_code("jump-beyond", compat_jump, 0xfa, 0x5ff, 0x600000);
    run_in_code("begin-beyond", compat_nop, 0xfa, 0x3ff, 0);
    run_in_code("np", compat_nop, 0x7a, 0x5ff, 0);
}

/* A null DS is loaded without complaint and used with one; 64-bit code does not care. */
static void probe_null_segments(void)
{
    static const char *const snippets[] = { compat_read, compat_write, compat_load_ds };

    serial_puts("null-ds");
    for (unsigned i = 0; i < 3; i++) {
        struct probe p;

        reset(&p, snippets[i]);
        p.ds = 0;
        p.in.rdx = 0;
        probe_print(&p);
    }
    serial_putc('\n');
}

static void probe_wrap(void)
{
    struct probe p;

    /* 0xfff00000 + 0x600000 is 0x500000 in compatibility mode, and 0x100500000 in 64-bit mode. */
    set_segment(TEST_DATA, 0xfff00000, 0xfffff, 0xf2, 0xc);
    serial_puts("wrap");
    run_at(compat_shift_base, USER_DATA + 0x100000);
    probe_reset(&p, compat_base_64, 3);
    p.in.rbx = USER_DATA + 0x100000;
    p.in.rdx = TEST_DATA;
    probe_print(&p);
    serial_printf(":cr2=%lx", p.cr2);
    set_segment(TEST_DATA, 0, 0xfffff, 0xf2, 0xc);
    run_at(compat_push, 2);
    run_at(compat_read, 0xfffffffe);
    serial_putc('\n');
}

static void probe_bounds(void)
{
    static const int32_t values[] = { -6, -5, 0, 7, 8 };
    static const int32_t bounds[2] = { -5, 7 };

    memcpy((void *)USER_DATA, bounds, sizeof(bounds));
    serial_puts("bound");
    for (unsigned i = 0; i < 5; i++) {
        struct probe p;

        reset(&p, compat_bound);
        p.in.rax = (uint32_t)values[i];
        probe_print(&p);
    }
    serial_puts("\ninto");
    for (unsigned dpl = 0; dpl <= 3; dpl += 3) {
        for (unsigned flag = 0; flag < 2; flag++) {
            struct probe p;

            idt[4].type = (uint8_t)(0x8e | dpl << 5);
            reset(&p, compat_into);
            p.enter.rflags |= flag ? RFLAGS_OF : 0;
            probe_print(&p);
        }
    }
    gate_restore(4);
    serial_putc('\n');
}

static void sweep_arpl(void)
{
    for (unsigned destination = 0; destination < 4; destination++) {
        serial_printf("arpl %u", destination);
        for (unsigned source = 0; source < 4; source++) {
            struct probe p;

            reset(&p, compat_arpl);
            p.in.rax = 0x1230 | destination;
            p.in.rcx = source;
            probe_run(&p);
            print_outcome(&p);
            serial_printf(":%lx%s", p.out.rax, p.out.rdx & RFLAGS_ZF ? "z" : "");
        }
        serial_putc('\n');
    }
}

static void probe_instructions(void)
{
    static const struct {
        const char *name, *snippet;
    } cases[] = {
        { "aam-0", compat_aam_0 }, { "push-cs", compat_push_cs }, { "daa", compat_daa }, { "pusha", compat_pusha },
        { "inc", compat_inc }, { "swapgs", compat_swapgs }, { "lahf", compat_lahf }, { "lock-mov-cr0", compat_lock_mov_cr0 },
        { "iret", compat_iret }, { "read", compat_read_byte }, { "write", compat_write_byte },
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct probe p;

        serial_printf("compat %s", cases[i].name);
        reset(&p, cases[i].snippet);
        p.in.rcx = snippet_address(compat_nop);
        probe_print(&p);
        p.enter.cs = KCS32;
        p.enter.ss = KDS;
        probe_print(&p);
        serial_putc('\n');
    }
}

/* From 32-bit to 64-bit code and back into a handler: how much of RSP and RIP is pushed. */
static void probe_mode_changes(void)
{
    struct {
        uint32_t offset;
        uint16_t selector;
    } __attribute__((packed)) *pointer = (void *)USER_DATA;
    struct probe p;

    pointer->offset = (uint32_t)snippet_address(compat_landing_64);
    pointer->selector = UCS64;
    reset(&p, compat_lcall);
    serial_puts("compat lcall 64");
    probe_print(&p);
    serial_printf(":cs=%lx,rsp%ld\n", p.left.cs, (long)(p.left.rsp - p.enter.rsp));

    pointer->selector = TEST_DATA;
    set_segment(TEST_DATA, 0, 0xfffff, 0xf2, 0xc);
    reset(&p, compat_lds);
    serial_puts("compat lds");
    probe_print(&p);
    serial_printf(":%lx:%lx\n", p.out.rdx, p.out.rcx);

    idt[VECTOR_TEST].type |= 0x60;
    reset(&p, compat_int);
    p.enter.rsp |= 0xffffffff00000000;
    p.in.rax = ~0ul;
    p.in.r15 = 0x1234567812345678;
    serial_puts("compat int");
    probe_print(&p);
    serial_printf(":cs=%lx,rsp=%lx,rax=%lx,r15=%lx\n", p.left.cs, p.left.rsp, p.out.rax, p.out.r15);
    gate_restore(VECTOR_TEST);
}

void compat_section(void)
{
    sweep_limits();
    sweep_code_segments();
    probe_null_segments();
    probe_wrap();
    probe_bounds();
    sweep_arpl();
    probe_instructions();
    probe_mode_changes();
    gdt_restore();
}
