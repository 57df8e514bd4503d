/* SYSCALL and SYSRET (Intel SDM volume 2): selectors, flags, and the conditions under which they fault. */
#include "probe.h"
#include "sections.h"

#define MSR_EFER        0xc0000080
#define MSR_STAR        0xc0000081
#define MSR_LSTAR       0xc0000082
#define MSR_CSTAR       0xc0000083
#define MSR_SFMASK      0xc0000084
#define EFER_SCE        1ul
#define NONCANONICAL    0x0000800000000000ul
#define ALL_FLAGS       0x0000000000244ed5ul    /* but TF, NT with its own effect on IRET, RF and VM */

SNIPPET(syscall_call, "syscall");
SNIPPET(syscall_target, "pushfq; popq %rbx; movl %cs, %edx; movl %ss, %esi");
SNIPPET(syscall_return, "sysretq");
SNIPPET(syscall_return_32, "sysretl");
SNIPPET(syscall_landing, "nop");
SNIPPET32(syscall_from_compat, "syscall");
SNIPPET32(syscall_sysret_compat, "sysret");
SNIPPET(sysenter_call, "sysenter");
SNIPPET(sysexit_return, "sysexitl");

static void set_star(uint64_t user, uint64_t kernel)
{
    wrmsr(MSR_STAR, user << 48 | kernel << 32);
}

static void sweep_masks(void)
{
    static const uint64_t masks[] = { 0, 0x200, 0xffffffff, 0x47700, 0x100, 0xcd5 };

    for (unsigned i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
        struct probe p;

        wrmsr(MSR_SFMASK, masks[i]);
        probe_reset(&p, syscall_call, 3);
        p.enter.rflags |= ALL_FLAGS;
        serial_printf("syscall mask %lx", masks[i]);
        probe_run(&p);
        print_outcome(&p);
        serial_printf(" rcx+%lu r11=%lx flags=%lx cs=%lx ss=%lx rsp+%ld\n", p.out.rcx - p.enter.rip, p.out.r11, p.out.rbx,
                      p.out.rdx, p.out.rsi, (long)(p.left.rsp - p.enter.rsp));
    }
    wrmsr(MSR_SFMASK, 0);
}

/* RCX and R11 as SYSRET takes them, from CPL 0, and as CPL 3 may not. */
static void run_sysret(const char *snippet, unsigned cpl, uint64_t rcx, uint64_t r11)
{
    struct probe p;

    probe_reset(&p, snippet, cpl);
    p.in.rcx = rcx;
    p.in.r11 = r11;
    probe_run(&p);
    print_outcome(&p);
    serial_printf(":cs=%lx,ss=%lx,flags=%lx", p.left.cs, p.left.ss, p.left.rflags);
}

static void sweep_sysret(void)
{
    static const uint64_t flags[] = { 2, 0, 0xffffffffffffffff & ~0x100ul, 0x10002, 0x20002, 0x4002, 0x3202 };
    uint64_t landing = snippet_address(syscall_landing);

    for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        serial_printf("sysret flags %lx", flags[i]);
        run_sysret(syscall_return, 0, landing, flags[i]);
        run_sysret(syscall_return_32, 0, landing, flags[i]);
        serial_putc('\n');
    }
    serial_puts("sysret high-rcx");
    run_sysret(syscall_return_32, 0, landing | 0xabcd000000000000, 2);
    serial_puts("\nsysret cpl3");
    run_sysret(syscall_return, 3, landing, 2);
    run_sysret(syscall_return_32, 3, landing, 2);
    /* Intel: #GP at CPL 0, before anything changed. */
    serial_puts("\nsysret noncanonical");
    run_sysret(syscall_return, 0, NONCANONICAL, 2);
    serial_putc('\n');
}

/* SYSCALL and SYSRET load fixed segments, whatever STAR's RPL bits and the descriptors say. */
static void sweep_star(void)
{
    static const uint64_t user[] = { 0x18, 0x19, 0x1b, 0x00, 0x3f8 };
    static const uint64_t kernel[] = { KCS64, KCS64 | 3 };

    for (unsigned i = 0; i < sizeof(user) / sizeof(user[0]); i++) {
        set_star(user[i], KCS64);
        serial_printf("star user %lx", user[i]);
        run_sysret(syscall_return, 0, snippet_address(syscall_landing), 2);
        run_sysret(syscall_return_32, 0, snippet_address(syscall_landing), 2);
        serial_putc('\n');
    }
    for (unsigned i = 0; i < sizeof(kernel) / sizeof(kernel[0]); i++) {
        struct probe p;

        set_star(0x18, kernel[i]);
        serial_printf("star kernel %lx", kernel[i]);
        probe_reset(&p, syscall_call, 3);
        probe_run(&p);
        print_outcome(&p);
        serial_printf(" cs=%lx ss=%lx\n", p.out.rdx, p.out.rsi);
    }
    set_star(0x18, KCS64);
}

static void probe_compat(const char *name, const char *snippet, unsigned cpl)
{
    struct probe p;

    serial_printf("%s", name);
    probe_reset(&p, snippet, cpl);
    p.enter.cs = cpl == 0 ? KCS32 : UCS32;
    p.in.rcx = snippet_address(syscall_landing);
    p.in.r11 = 2;
    probe_print(&p);
    serial_putc('\n');
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

void syscall_section(void)
{
    probe_named("syscall without sce", syscall_call);
    probe_named("sysret without sce", syscall_return);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    set_star(0x18, KCS64);
    wrmsr(MSR_LSTAR, snippet_address(syscall_target));
    wrmsr(MSR_CSTAR, snippet_address(syscall_landing));
    probe_named("syscall", syscall_call);
    sweep_masks();
    sweep_sysret();
    sweep_star();
    probe_compat("syscall compat cpl3", syscall_from_compat, 3);
    probe_compat("sysret compat cpl0", syscall_sysret_compat, 0);
    wrmsr(0x174, 0);
    probe_named("sysenter with cs 0", sysenter_call);
    probe_named("sysexit with cs 0", sysexit_return);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SCE);
}
