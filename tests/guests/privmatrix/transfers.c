/*
 * Far control transfers (Intel SDM volume 2: IRET, RET, JMP, CALL; volume 3, 5.8): every descriptor of the matrix as the new CS and as
 * the new SS, against RPL and CPL, and return addresses that are not canonical. A success prints the CS it arrived with.
 */
#include "probe.h"
#include "sections.h"
#include "string.h"

SNIPPET(landing, "nop");
SNIPPET(far_return, "lretq");
SNIPPET(far_return_32, "lretl");
SNIPPET(far_return_pop, "lretq $16");
SNIPPET(interrupt_return, "iretq");
SNIPPET(interrupt_return_32, "iretl");
SNIPPET(far_jump, "ljmpl *(%rbx)");
SNIPPET(far_call, "lcalll *(%rbx)");

#define NONCANONICAL    0x0000800000000000ul

struct far_pointer {
    uint32_t offset;
    uint16_t selector;
} __attribute__((packed));

static uint64_t *stack_of(struct probe *p, unsigned slots)
{
    p->enter.rsp = USER_STACK_TOP - 256 - 8 * slots;
    return (uint64_t *)p->enter.rsp;
}

static void print_arrival(const struct probe *p)
{
    print_outcome(p);
    if (p->vector == VECTOR_OK)
        serial_printf(":%lx", p->left.cs);
}

/* What the data segment registers hold after a return to an outer ring: those of inner rings are cleared. */
static void print_data_segments(const struct probe *p)
{
    serial_printf(" ds=%lx es=%lx fs=%lx gs=%lx", p->out_ds, p->out_es, p->out_fs, p->out_gs);
}

static uint64_t user_ss_of(unsigned rpl)
{
    return rpl == 0 ? KDS : (UDS & ~3ul) | rpl;
}

/* The IRETQ of probe_run() itself: from CPL 0 to every CS, with an SS that fits the CS's RPL. */
static void sweep_iret_cs(void)
{
    for (unsigned i = 0; i < matrix_length; i++) {
        serial_printf("iretq cs %s", matrix[i].name);
        for (unsigned rpl = 0; rpl < 4; rpl++) {
            struct probe p;

            gdt_restore();
            probe_reset(&p, landing, 0);
            p.enter.cs = matrix[i].selector | rpl;
            p.enter.ss = user_ss_of(rpl);
            probe_run(&p);
            print_arrival(&p);
        }
        serial_putc('\n');
    }
}

static void sweep_iret_ss(void)
{
    for (unsigned i = 0; i < matrix_length; i++) {
        serial_printf("iretq ss %s", matrix[i].name);
        for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
            for (unsigned rpl = 0; rpl < 4; rpl++) {
                struct probe p;

                gdt_restore();
                probe_reset(&p, landing, cpl);
                p.enter.ss = matrix[i].selector | rpl;
                probe_run(&p);
                print_outcome(&p);
                if (p.vector == VECTOR_OK)
                    serial_printf(":%lx", p.left.ss);
            }
        }
        /* The null SS is allowed in 64-bit code only. */
        for (unsigned rpl = 0; rpl < 4; rpl += 3) {
            struct probe p;

            gdt_restore();
            probe_reset(&p, landing, rpl);
            p.enter.cs = rpl == 0 ? KCS32 : UCS32;
            p.enter.ss = matrix[i].selector | rpl;
            probe_run(&p);
            print_outcome(&p);
        }
        serial_putc('\n');
    }
}

/* IRET and RETF executed by the snippet, from both rings. */
static void run_return(const char *snippet, unsigned cpl, const struct frame *frame, unsigned slots, unsigned size)
{
    struct probe p;
    uint8_t *at;
    const uint64_t *value = &frame->rip;

    gdt_restore();
    probe_reset(&p, snippet, cpl);
    at = (uint8_t *)stack_of(&p, 5);
    for (unsigned i = 0; i < slots; i++)
        memcpy(at + i * size, &value[i], size);
    probe_run(&p);
    print_arrival(&p);
}

static void sweep_far_return_cs(void)
{
    for (unsigned i = 0; i < matrix_length; i++) {
        serial_printf("retf cs %s", matrix[i].name);
        for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
            for (unsigned rpl = 0; rpl < 4; rpl += 3) {
                /* RETF has no flags: CS, then RSP and SS. */
                struct frame frame = { snippet_address(landing), matrix[i].selector | rpl, USER_STACK_TOP - 512,
                                       user_ss_of(rpl), 0 };

                run_return(far_return, cpl, &frame, 4, 8);
                run_return(far_return_32, cpl, &frame, 4, 4);
            }
        }
        serial_putc('\n');
    }
}

static void sweep_far_jump_and_call(void)
{
    for (unsigned i = 0; i < matrix_length; i++) {
        static const char *const snippets[] = { far_jump, far_call };

        serial_printf("ljmp+lcall %s", matrix[i].name);
        for (unsigned s = 0; s < 2; s++) {
            for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
                for (unsigned rpl = 0; rpl < 4; rpl += 3) {
                    struct far_pointer *pointer = (void *)USER_DATA;
                    struct probe p;

                    gdt_restore();
                    pointer->offset = (uint32_t)snippet_address(landing);
                    pointer->selector = (uint16_t)(matrix[i].selector | rpl);
                    probe_reset(&p, snippets[s], cpl);
                    p.in.rbx = USER_DATA;
                    probe_run(&p);
                    print_arrival(&p);
                }
            }
        }
        serial_putc('\n');
    }
}

/* A call through a gate to ring 0 leaves SS, RSP, CS and RIP on the ring-0 stack. The target's snippet ends at once, so they are there. */
static void probe_gate_frame(void)
{
    for (unsigned i = 0; i < matrix_length; i++) {
        struct far_pointer *pointer = (void *)USER_DATA;
        const uint64_t *pushed;
        struct probe p;

        if (strcmp(matrix[i].name, "callgate-3") != 0)
            continue;
        gdt_restore();
        pointer->offset = 0xffffffff;       /* ignored */
        pointer->selector = matrix[i].selector;
        probe_reset(&p, far_call, 3);
        p.in.rbx = USER_DATA;
        serial_puts("lcall gate");
        probe_run(&p);
        print_arrival(&p);
        pushed = (const uint64_t *)p.left.rsp;
        serial_printf(" ss=%lx at %lu: %lx %lx %lx %lx\n", p.left.ss, tss.rsp[0] - p.left.rsp,
                      pushed[0] - p.enter.rip, pushed[1], pushed[2] - USER_STACK, pushed[3]);
    }
}

static void print_addresses(const char *name, const char *snippet, unsigned slots, bool has_flags)
{
    static const uint64_t targets[] = { NONCANONICAL, 0xffff7ffffffffffful, 0x00007ffffffffff0ul, USER_HOLE };

    for (unsigned i = 0; i < 4; i++) {
        serial_printf("%s rip %lx", name, targets[i]);
        for (unsigned to = 0; to <= 3; to += 3) {
            uint64_t cs = to == 0 ? KCS64 : UCS64, ss = user_ss_of(to);
            struct frame frame = { targets[i], cs, USER_STACK_TOP - 512, ss, 0 };

            if (has_flags)
                frame = (struct frame){ targets[i], cs, 2, USER_STACK_TOP - 512, ss };
            run_return(snippet, 0, &frame, slots, 8);
            run_return(snippet, 3, &frame, slots, 8);
        }
        serial_putc('\n');
    }
}

/* All flags that a stack image asks for, and which of them IRET grants, by CPL and IOPL. */
static void sweep_iret_flags(void)
{
    static const uint64_t asked[] = { 0x200, 0x3000, 0x3200, 0x4000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000,
                                      0xffffffff00000000, 0x802a, 0xcd5 };

    for (unsigned i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        serial_printf("iretq flags %lx", asked[i]);
        for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
            for (unsigned iopl = 0; iopl <= 3; iopl += 3) {
                uint64_t *stack;
                struct probe p;

                probe_reset(&p, interrupt_return, cpl);
                stack = stack_of(&p, 5);
                p.enter.rflags |= iopl << 12;
                stack[0] = snippet_address(landing);
                stack[1] = p.enter.cs;
                stack[2] = asked[i];
                stack[3] = USER_STACK_TOP - 512;
                stack[4] = p.enter.ss;
                probe_run(&p);
                print_outcome(&p);
                serial_printf(":%lx", p.left.rflags);
            }
        }
        serial_putc('\n');
    }
}

static void probe_nested_task(void)
{
    for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
        struct probe p;

        serial_printf("iretq nt cpl%u", cpl);
        probe_reset(&p, interrupt_return, cpl);
        p.enter.rflags |= 0x4000;
        stack_of(&p, 5);
        probe_print(&p);
        serial_putc('\n');
    }
}

static void probe_cleared_segments(void)
{
    static const uint64_t given[] = { KDS, UDS, 0, UCS64, KCS64 };

    for (unsigned i = 0; i < 5; i++) {
        struct probe p;

        gdt_restore();
        probe_reset(&p, landing, 3);
        p.ds = given[i];
        serial_printf("iretq outer ds %lx", given[i]);
        probe_print(&p);
        print_data_segments(&p);
        serial_putc('\n');
    }
}

/* RETF n and IRET on 32-bit frames: stack pointer afterwards. */
static void probe_pops(void)
{
    static const char *const snippets[] = { far_return, far_return_32, far_return_pop, interrupt_return, interrupt_return_32 };

    for (unsigned i = 0; i < 5; i++) {
        bool flags = i >= 3;
        unsigned size = i == 1 || i == 4 ? 4 : 8;
        struct frame frame = { snippet_address(landing), KCS64, flags ? 2 : 0, flags ? USER_STACK_TOP - 512 : 0,
                               flags ? KDS : 0 };
        struct probe p;
        uint8_t *at;
        const uint64_t *value = &frame.rip;

        probe_reset(&p, snippets[i], 0);
        at = (uint8_t *)stack_of(&p, 5);
        for (unsigned slot = 0; slot < 5; slot++)
            memcpy(at + slot * size, &value[slot], size);
        serial_printf("pops %u", i);
        probe_print(&p);
        serial_printf(" %ld\n", (long)(p.left.rsp - p.enter.rsp));
    }
}

void transfers_section(void)
{
    sweep_iret_cs();
    sweep_iret_ss();
    sweep_far_return_cs();
    sweep_far_jump_and_call();
    probe_gate_frame();
    gdt_restore();
    print_addresses("iretq", interrupt_return, 5, true);
    print_addresses("retf", far_return, 4, false);
    sweep_iret_flags();
    probe_nested_task();
    probe_cleared_segments();
    probe_pops();
}
