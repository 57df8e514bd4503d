/*
 * A 32-bit kernel of the 1990s: paging without PAE, an IDT, the 8259 and 8253, and a keyboard behind the 8042. README.md has
 * what it proves. It brings its own serial output because common/ is 64-bit code.
 */
#include <stdbool.h>
#include <stdint.h>

#define LOADER_MAGIC    0x2badb002
#define COM1            0x3f8
#define COM1_LSR        (COM1 + 5)
#define THR_EMPTY       0x20
#define DEBUG_EXIT      0xf4

#define PIC1            0x20
#define PIC2            0xa0
#define EOI             0x20
#define IRQ_BASE        0x20
#define PIT_CHANNEL0    0x40
#define PIT_COMMAND     0x43
#define PIT_HZ          1193182
#define TICK_HZ         100
#define KEYBOARD_DATA   0x60
#define KEYBOARD_STATUS 0x64
#define OUTPUT_FULL     1
#define ECHO_BACK       0xd2    /* 8042: what is written next appears as if it were typed */

#define PAGE_FAULT      14
#define BREAKPOINT      3
#define DIVIDE          0
#define PRESENT         1
#define WRITABLE        2
#define LARGE           0x80
#define UNMAPPED        0x40000000u
#define ALIAS           0x50000000u

struct frame {
    uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax;
    uint32_t vector, error, eip, cs, eflags;
};

extern char trap_stubs[];

static uint64_t idt[48] __attribute__((aligned(8)));
static uint32_t directory[1024] __attribute__((aligned(4096)));
static uint32_t table[1024] __attribute__((aligned(4096)));
static uint32_t page[1024] __attribute__((aligned(4096)));
static volatile uint32_t ticks, keys, faults, breakpoints;
static volatile uint8_t last_key;

_Noreturn void kmain(uint32_t magic, uint32_t info);
void trap(struct frame *frame);

static void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static uint8_t inb(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static void put(const char *text)
{
    for (; *text != '\0'; text++) {
        while (!(inb(COM1_LSR) & THR_EMPTY))
            ;
        outb(COM1, (uint8_t)*text);
    }
}

static void put_number(const char *name, uint32_t value)
{
    char digits[9] = { 0 };

    for (int i = 7; i >= 0; i--, value >>= 4)
        digits[i] = "0123456789abcdef"[value & 15];
    put(name);
    put(digits);
    put("\n");
}

static _Noreturn void finish(uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"((uint16_t)DEBUG_EXIT) : "memory");
    for (;;)
        __asm__ volatile("cli; hlt");
}

void trap(struct frame *frame)
{
    uint32_t address;

    switch (frame->vector) {
    case DIVIDE:
        frame->eip += 2;                /* over the DIV */
        faults++;
        return;
    case BREAKPOINT:
        breakpoints++;
        return;
    case PAGE_FAULT:
        __asm__ volatile("mov %%cr2, %0" : "=r"(address));
        put_number("page fault at ", address);
        put_number("error code    ", frame->error);
        table[address >> 12 & 1023] = (uint32_t)page | PRESENT | WRITABLE;
        __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
        faults++;
        return;
    case IRQ_BASE:
        ticks++;
        outb(PIC1, EOI);
        return;
    case IRQ_BASE + 1:
        last_key = inb(KEYBOARD_DATA);
        keys++;
        outb(PIC1, EOI);
        return;
    default:
        put_number("unexpected vector ", frame->vector);
        finish(2);
    }
}

static void set_up_idt(void)
{
    static struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) pointer;

    for (uint32_t vector = 0; vector < 48; vector++) {
        uint32_t stub = (uint32_t)trap_stubs + vector * 16;

        idt[vector] = (stub & 0xffff) | 0x00080000 | (uint64_t)((stub & 0xffff0000) | 0x8e00) << 32;
    }
    pointer.limit = sizeof(idt) - 1;
    pointer.base = (uint32_t)idt;
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

/* The first 16 MB by 4 MB pages, one table at UNMAPPED, and the same table once more at ALIAS. */
static void set_up_paging(void)
{
    uint32_t cr;

    for (uint32_t i = 0; i < 4; i++)
        directory[i] = i << 22 | LARGE | PRESENT | WRITABLE;
    directory[UNMAPPED >> 22] = (uint32_t)table | PRESENT | WRITABLE;
    directory[ALIAS >> 22] = (uint32_t)table | PRESENT | WRITABLE;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr));
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr | 1 << 4) : "memory");          /* PSE */
    __asm__ volatile("mov %0, %%cr3" : : "r"(directory) : "memory");
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr));
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr | 1u << 31 | 1 << 16) : "memory");
}

static void set_up_pic(void)
{
    outb(PIC1, 0x11);
    outb(PIC1 + 1, IRQ_BASE);
    outb(PIC1 + 1, 4);
    outb(PIC1 + 1, 1);
    outb(PIC2, 0x11);
    outb(PIC2 + 1, IRQ_BASE + 8);
    outb(PIC2 + 1, 2);
    outb(PIC2 + 1, 1);
    outb(PIC1 + 1, 0xfc);               /* timer and keyboard */
    outb(PIC2 + 1, 0xff);
}

static void set_up_pit(void)
{
    outb(PIT_COMMAND, 0x34);
    outb(PIT_CHANNEL0, PIT_HZ / TICK_HZ & 0xff);
    outb(PIT_CHANNEL0, PIT_HZ / TICK_HZ >> 8);
}

static void try_paging(void)
{
    volatile uint32_t *word = (volatile uint32_t *)(UNMAPPED + 0x5678);
    volatile uint32_t *alias = (volatile uint32_t *)(ALIAS + 0x5678);

    *word = 0x12345678;
    put_number("read back     ", *alias);
    put_number("entry         ", table[5] & 0xfff);
}

static void try_traps(void)
{
    uint32_t zero = 0;

    __asm__ volatile("int3");
    __asm__ volatile("divl %%ecx" : : "a"(1), "d"(0), "c"(zero));
    put_number("breakpoints   ", breakpoints);
    put_number("faults        ", faults);
}

/* A key that the 8042 pretends: no person is needed. */
static void try_keyboard(void)
{
    outb(KEYBOARD_STATUS, ECHO_BACK);
    outb(KEYBOARD_DATA, 0x1e);
    while (keys == 0)
        __asm__ volatile("hlt");
    put_number("scan code     ", last_key);
}

_Noreturn void kmain(uint32_t magic, uint32_t info)
{
    (void)info;
    if (magic != LOADER_MAGIC)
        finish(1);
    put("pmode32: started by Multiboot\n");
    set_up_idt();
    set_up_paging();
    set_up_pic();
    set_up_pit();
    try_paging();
    try_traps();
    __asm__ volatile("sti");
    while (ticks < 10)
        __asm__ volatile("hlt");
    put("10 ticks of the PIT\n");
    try_keyboard();
    __asm__ volatile("cli");
    put("pmode32: done\n");
    finish(0);
}
