/* Prints the state a plain ELF64 kernel is entered in. README.md has what it must be. */
#include "serial.h"
#include "string.h"
#include "x86.h"

#define START_INFO_MAGIC    0x336ec578
#define MEMORY_RAM          1

struct start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist, cmdline, rsdp, memmap;
    uint32_t memmap_entries, reserved;
};

struct module {
    uint64_t start, size, cmdline, reserved;
};

struct region {
    uint64_t base, length;
    uint32_t type, reserved;
};

extern uint64_t entry_rsp, other_registers;

_Noreturn void kmain(const struct start_info *info, uint64_t rflags);

static uint64_t read_cr0(void)
{
    uint64_t value;

    __asm__ volatile("mov %%cr0, %0" : "=r"(value));
    return value;
}

static uint64_t read_cr4(void)
{
    uint64_t value;

    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}

static uint16_t read_cs(void)
{
    uint16_t value;

    __asm__ volatile("mov %%cs, %0" : "=r"(value));
    return value;
}

/* Everything is read by its physical address: the identity map. */
_Noreturn void kmain(const struct start_info *info, uint64_t rflags)
{
    const struct module *modules = (const void *)info->modlist;
    const struct region *map = (const void *)info->memmap;
    uint64_t ram = 0;

    serial_init();
    serial_printf("elf64: running at %lx, cs %x, rflags %lx\n", (unsigned long)kmain & ~0xffful, read_cs(),
        rflags & (RFLAGS_IF | RFLAGS_TF | 1ul << 10));
    serial_printf("elf64: cr0 %lx, cr4 %lx, efer %lx\n", read_cr0(), read_cr4(), rdmsr(0xc0000080));
    serial_printf("elf64: other registers %lx, stack %s, return address %lx\n", other_registers,
        entry_rsp % 16 == 8 ? "aligned" : "misaligned", *(const uint64_t *)entry_rsp);
    if (info->magic != START_INFO_MAGIC || info->version < 1)
        debug_exit(1);
    serial_printf("elf64: command line \"%s\"\n", (const char *)info->cmdline);
    for (uint32_t i = 0; i < info->nr_modules; i++)
        serial_printf("elf64: module of %lu bytes, \"%s\"\n", modules[i].size,
            modules[i].cmdline ? (const char *)modules[i].cmdline : "");
    for (uint32_t i = 0; i < info->memmap_entries; i++)
        if (map[i].type == MEMORY_RAM)
            ram += map[i].length;
    serial_printf("elf64: %lu kB of RAM\n", ram >> 10);
    serial_printf("elf64: %s\n", memcmp((const void *)info->rsdp, "RSD PTR ", 8) == 0 ? "RSDP found" : "no RSDP");
    debug_exit(0);
}
