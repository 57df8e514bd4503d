/* Ways in which a kernel ends, or does not: the command line says which. See README.md. */
#include "bootinfo.h"
#include "serial.h"
#include "string.h"
#include "x86.h"

#define VECTOR_UD       6
#define VECTOR_PF       14
#define GATE_INTERRUPT  0x8e
#define TSS_SELECTOR    0x18
#define TSS_AVAILABLE   0x89
#define UNMAPPED        0xffffa00000001000ul

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

struct tss {
    uint32_t reserved;
    uint64_t rsp[3];
    uint64_t reserved_2;
    uint64_t ist[7];
    uint8_t rest[12];
} __attribute__((packed));

struct table {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

void undefined_forever(void);
void kmain(uint32_t magic, uint32_t info);

/* A handler whose first instruction is the fault that it handles. */
__asm__(".text\n"
        ".globl undefined_forever\n"
        ".type undefined_forever, @function\n"
        "undefined_forever: ud2\n"
        ".size undefined_forever, . - undefined_forever\n");

static struct gate idt[32] __attribute__((aligned(16)));
static struct tss tss = { .rest = { [10] = sizeof(struct tss) } };
static char fault_stack[PAGE_SIZE] __attribute__((aligned(16)));

/* Handlers run on a stack that every delivery begins anew: it never overflows, so nothing ever ends the storm. */
static void handle_on_ist(unsigned vector, uint64_t handler)
{
    static uint64_t gdt[5] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
    uint64_t base = (uint64_t)&tss;
    struct table gdtr = { sizeof(gdt) - 1, (uint64_t)gdt }, idtr = { sizeof(idt) - 1, (uint64_t)idt };

    tss.ist[0] = (uint64_t)fault_stack + sizeof(fault_stack);
    gdt[3] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | (uint64_t)TSS_AVAILABLE << 40 | (base >> 24 & 0xff) << 56;
    gdt[4] = base >> 32;
    idt[vector] = (struct gate){
        .offset_low = (uint16_t)handler,
        .selector = KERNEL_CS,
        .ist = 1,
        .type = GATE_INTERRUPT,
        .offset_middle = (uint16_t)(handler >> 16),
        .offset_high = (uint32_t)(handler >> 32),
    };
    __asm__ volatile("lgdt %0; lidt %1; ltr %w2" : : "m"(gdtr), "m"(idtr), "r"(TSS_SELECTOR) : "memory");
}

void kmain(uint32_t magic, uint32_t paddr)
{
    struct boot_info info;

    serial_init();
    boot_info_read(&info, magic, paddr);
    if (cmdline_has(info.command_line, "undefined")) {
        serial_puts("endings: undefined opcodes, for ever\n");
        handle_on_ist(VECTOR_UD, (uint64_t)undefined_forever);
        __asm__ volatile("ud2");
    } else if (cmdline_has(info.command_line, "unmapped")) {
        serial_puts("endings: page faults, for ever\n");
        handle_on_ist(VECTOR_PF, UNMAPPED);
        *(volatile char *)UNMAPPED;
    } else if (cmdline_has(info.command_line, "triple")) {
        serial_puts("endings: a triple fault\n");
        __asm__ volatile("ud2");
    } else if (cmdline_has(info.command_line, "halt")) {
        serial_puts("endings: halted with interrupts off\n");
        halt_forever();
    } else if (cmdline_has(info.command_line, "spin")) {
        serial_puts("endings: a loop\n");
        for (;;)
            ;
    }
    serial_puts("endings: say undefined, unmapped, triple, halt or spin\n");
    debug_exit(1);
}
