/*
 * Interrupt delivery (Intel SDM volume 3, 6.12 to 6.14): one gate varied against CPL, the stacks it switches to, and faults
 * that happen while another is delivered.
 */
#include "probe.h"
#include "sections.h"

#define GATE_P          0x80
#define NONCANONICAL    0x0000800000000000ul
#define UNMAPPED        0xffffa00000001000ul

SNIPPET(gates_int, "int $0x90");
SNIPPET(gates_int3, "int3");
SNIPPET(gates_int3_long, ".byte 0xcd, 0x03");
SNIPPET(gates_icebp, ".byte 0xf1");
SNIPPET(gates_ud, "ud2");
SNIPPET(gates_gp, "hlt");
SNIPPET(gates_divide, "xorl %eax, %eax; divl %eax");
SNIPPET(gates_beyond, "int $0xf0");

extern char trap_stubs[];

/* Where the frame was pushed, by name, and as the distance below that stack's top. */
static void print_stack(const struct probe *p)
{
    const struct {
        const char *name;
        const char *top;
    } stacks[] = { { "ring0", ring0_stack_top }, { "ist-test", ist_test_stack_top } };

    for (unsigned i = 0; i < 2; i++) {
        uint64_t distance = (uint64_t)stacks[i].top - p->frame_at;

        if (distance <= 4096) {
            serial_printf("[%s-%lu]", stacks[i].name, distance);
            return;
        }
    }
    if (USER_STACK_TOP - p->frame_at <= 4096)
        serial_printf("[same-%lu]", p->enter.rsp - p->frame_at);
}

static void run_int(unsigned cpl)
{
    struct probe p;

    probe_reset(&p, gates_int, cpl);
    probe_print(&p);
    if (p.vector == VECTOR_TEST)
        serial_printf("%s", p.handler_rflags & RFLAGS_IF ? "i" : "");
}

static void sweep_types(void)
{
    for (unsigned type = 0; type < 16; type++) {
        serial_printf("gate type %x", type);
        for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
            idt[VECTOR_TEST].type = (uint8_t)(GATE_P | 0x60 | type);
            run_int(cpl);
        }
        serial_putc('\n');
    }
    /* Bit 4 of the type is the S bit and must be 0. */
    idt[VECTOR_TEST].type = GATE_P | 0x60 | 0x10 | GATE_TYPE_INTERRUPT;
    serial_puts("gate s-bit");
    run_int(0);
    run_int(3);
    serial_putc('\n');
    gate_restore(VECTOR_TEST);
}

static void sweep_privilege(void)
{
    for (unsigned dpl = 0; dpl < 4; dpl++) {
        for (unsigned present = 0; present < 2; present++) {
            uint8_t type = (uint8_t)(dpl << 5 | (present ? GATE_P : 0) | GATE_TYPE_INTERRUPT);

            serial_printf("gate dpl%u %s", dpl, present ? "p " : "np");
            for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
                struct probe p;

                idt[VECTOR_TEST].type = type;
                run_int(cpl);
                idt[3].type = type;
                probe_reset(&p, gates_int3, cpl);
                probe_print(&p);
                probe_reset(&p, gates_int3_long, cpl);
                probe_print(&p);
                idt[1].type = type;
                probe_reset(&p, gates_icebp, cpl);
                probe_print(&p);
                idt[0].type = type;
                probe_reset(&p, gates_divide, cpl);
                probe_print(&p);
            }
            serial_putc('\n');
            gate_restore(VECTOR_TEST);
            gate_restore(3);
            gate_restore(1);
            gate_restore(0);
        }
    }
}

static void sweep_selectors(void)
{
    idt[VECTOR_TEST].type = GATE_P | 0x60 | GATE_TYPE_INTERRUPT;
    for (unsigned i = 0; i < matrix_length; i++) {
        serial_printf("gate selector %s", matrix[i].name);
        for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
            idt[VECTOR_TEST].selector = matrix[i].selector;
            run_int(cpl);
            idt[VECTOR_TEST].selector = (uint16_t)(matrix[i].selector | 3);
            run_int(cpl);
        }
        serial_putc('\n');
        gdt_restore();
    }
    gate_restore(VECTOR_TEST);
}

static void sweep_stacks(void)
{
    idt[VECTOR_TEST].type = GATE_P | 0x60 | GATE_TYPE_INTERRUPT;
    for (unsigned ist = 0; ist < 8; ist += 3) {
        for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
            serial_printf("gate ist%u cpl%u", ist, cpl);
            for (unsigned low = 0; low < 16; low += 5) {
                struct probe p;

                idt[VECTOR_TEST].ist = (uint8_t)ist;
                probe_reset(&p, gates_int, cpl);
                p.enter.rsp -= low;
                probe_print(&p);
                print_stack(&p);
                if (p.left.rsp != p.enter.rsp || p.left.ss != p.enter.ss)
                    serial_printf(":rsp=%lx,ss=%lx", p.left.rsp, p.left.ss);
            }
            serial_putc('\n');
        }
    }
    gate_restore(VECTOR_TEST);
}

static void print_bad_stack(const char *name, uint64_t rsp0, uint64_t ist, unsigned ist_number)
{
    struct probe p;

    tss.rsp[0] = rsp0;
    tss.ist[IST_TEST - 1] = ist;
    idt[VECTOR_TEST].type = GATE_P | 0x60 | GATE_TYPE_INTERRUPT;
    idt[VECTOR_TEST].ist = (uint8_t)ist_number;
    serial_printf("gate stack %s", name);
    for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
        probe_reset(&p, gates_int, cpl);
        probe_print(&p);
        if (p.vector == 14)
            serial_printf(":cr2=%lx", p.cr2);
    }
    /* The same stack for the fault's own gate makes a double fault. */
    idt[14].ist = idt[13].ist = idt[12].ist = (uint8_t)ist_number;
    probe_reset(&p, gates_int, 3);
    probe_print(&p);
    serial_putc('\n');
    gate_restore(VECTOR_TEST);
    gate_restore(12);
    gate_restore(13);
    gate_restore(14);
    tss_restore();
}

static void probe_offset(const char *name, uint64_t offset)
{
    serial_printf("gate offset %s", name);
    idt[VECTOR_TEST].type = GATE_P | 0x60 | GATE_TYPE_INTERRUPT;
    idt[VECTOR_TEST].offset_low = (uint16_t)offset;
    idt[VECTOR_TEST].offset_middle = (uint16_t)(offset >> 16);
    idt[VECTOR_TEST].offset_high = (uint32_t)(offset >> 32);
    run_int(0);
    run_int(3);
    serial_putc('\n');
    gate_restore(VECTOR_TEST);
}

/* A vector whose gate is missing: which error code, and when does a second fault become a double one. */
static void sweep_nested(void)
{
    static const struct {
        const char *name, *snippet;
        unsigned vector;
    } first[] = {
        { "ud", gates_ud, 6 },
        { "gp", gates_gp, 13 },
        { "divide", gates_divide, 0 },
        { "int3", gates_int3, 3 },
        { "int", gates_int, VECTOR_TEST },
    };

    for (unsigned i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
        serial_printf("gate nested %s", first[i].name);
        for (unsigned how = 0; how < 3; how++) {
            struct gate *gate = &idt[first[i].vector];
            struct probe p;

            gate->type |= 0x60;
            if (how == 0)
                gate->type &= (uint8_t)~GATE_P;
            else if (how == 1)
                gate->selector = 0;
            else
                gate->type = GATE_P | 0x60 | 5;
            probe_reset(&p, first[i].snippet, 3);
            probe_print(&p);
            gate_restore(first[i].vector);
        }
        serial_putc('\n');
    }
}

static void sweep_limit(void)
{
    static const uint16_t limits[] = { 0xf0 * 16 - 1, 0xf0 * 16, 0xf0 * 16 + 14, 0xf0 * 16 + 15 };

    for (unsigned i = 0; i < 4; i++) {
        struct probe p;

        serial_printf("gate limit %x", limits[i]);
        for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
            probe_reset(&p, gates_beyond, cpl);
            idt_load(limits[i]);
            probe_run(&p);
            idt_load(sizeof(idt) - 1);
            print_outcome(&p);
        }
        serial_putc('\n');
    }
}

void gates_section(void)
{
    uint64_t good = tss.rsp[0];

    sweep_types();
    sweep_privilege();
    sweep_selectors();
    sweep_stacks();
    print_bad_stack("rsp0-noncanonical", NONCANONICAL, 0, 0);
    print_bad_stack("rsp0-unmapped", UNMAPPED, 0, 0);
    print_bad_stack("ist-noncanonical", good, NONCANONICAL, IST_TEST);
    print_bad_stack("ist-unmapped", good, UNMAPPED, IST_TEST);
    probe_offset("noncanonical", NONCANONICAL);
    probe_offset("unmapped", UNMAPPED);
    sweep_nested();
    sweep_limit();
}
