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
void handle_undefined(void);
void handle_page_fault(void);
_Noreturn void oops_begin(void);
void kmain(uint32_t magic, uint32_t info);

/* A handler whose first instruction is the fault that it handles. */
__asm__(".text\n"
        ".globl undefined_forever\n"
        ".type undefined_forever, @function\n"
        "undefined_forever: ud2\n"
        ".size undefined_forever, . - undefined_forever\n");

/* A handler that goes on behind the UD2, and one that reports what it is called for. */
__asm__(".globl handle_undefined, handle_page_fault\n"
        ".type handle_undefined, @function\n"
        "handle_undefined: addq $2, (%rsp)\n"
        "iretq\n"
        ".size handle_undefined, . - handle_undefined\n"
        ".type handle_page_fault, @function\n"
        "handle_page_fault: call oops_begin\n"
        ".size handle_page_fault, . - handle_page_fault\n");

/* Called as Linux's is, with its words. */
_Noreturn void oops_begin(void)
{
    serial_puts("BUG: unable to handle page fault for address: ffffa00000001000\n");
    serial_puts("---[ end trace 0000000000000000 ]---\n");
    halt_forever();
}

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

/* Not inlined, so that its name can be told. */
__attribute__((noinline)) static void bad_load(void)
{
    *(volatile char *)UNMAPPED;
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
    } else if (cmdline_has(info.command_line, "oops")) {
        serial_puts("endings: an oops\n");
        handle_on_ist(VECTOR_PF, (uint64_t)handle_page_fault);
        handle_on_ist(VECTOR_UD, (uint64_t)handle_undefined);
        __asm__ volatile("ud2");
        bad_load();
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
    serial_puts("endings: say undefined, unmapped, oops, triple, halt or spin\n");
    debug_exit(1);
}
