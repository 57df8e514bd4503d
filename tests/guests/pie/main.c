/* Prints what a position independent kernel finds of itself. README.md has what it must be. */
#include "serial.h"
#include "x86.h"

struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist, cmdline, rsdp, memmap;
    uint32_t memmap_entries, reserved;
};

/* Kept by start.S of elf64; not looked at here. */
extern uint64_t entry_rsp, other_registers;

_Noreturn void kmain(const struct start_info *info, uint64_t rflags);

static void say_one(void)
{
    serial_printf("pie: the first function of the table\n");
}

static void say_two(void)
{
    serial_printf("pie: the second function of the table\n");
}

/* Words that only a relocation makes right. */
static void (*const volatile functions[])(void) = { say_one, say_two };
static const char *const volatile words[] = { "relocated", "words" };
static uint64_t *const volatile kept[] = { &entry_rsp, &other_registers };

/* Not inlined, so that a report of its end has its name. */
__attribute__((noinline)) static void die(void)
{
    __asm__ volatile("ud2");
}

_Noreturn void kmain(const struct start_info *info, uint64_t rflags)
{
    (void)rflags;
    serial_init();
    serial_printf("pie: running in the page at %lx\n", (unsigned long)kmain & ~0xffful);
    functions[0]();
    functions[1]();
    serial_printf("pie: %s %s, return address %lx\n", words[0], words[1], *(const uint64_t *)*kept[0]);
    if (*(const char *)info->cmdline == 'd')
        die();
    debug_exit(0);
}
