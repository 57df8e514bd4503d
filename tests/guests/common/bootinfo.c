/* Multiboot 1 information (multiboot.html, 3.3) and the PVH start information (xen/include/public/arch-x86/hvm/start_info.h). */
#include "bootinfo.h"

#include "serial.h"
#include "string.h"
#include "x86.h"

#define MULTIBOOT_LOADER_MAGIC  0x2badb002
#define MULTIBOOT_HAS_MEMORY    (1u << 0)
#define MULTIBOOT_HAS_CMDLINE   (1u << 2)
#define MULTIBOOT_HAS_MODULES   (1u << 3)
#define MULTIBOOT_HAS_MMAP      (1u << 6)
#define PVH_MAGIC               0x336ec578
#define MEMORY_RAM              1

struct multiboot_info {
    uint32_t flags;
    uint32_t mem_lower_kib, mem_upper_kib;
    uint32_t boot_device;
    uint32_t cmdline;
    uint32_t mods_count, mods_addr;
    uint32_t syms[4];
    uint32_t mmap_length, mmap_addr;
};

struct multiboot_module {
    uint32_t start, end, string, reserved;
};

struct multiboot_mmap {
    uint32_t size;      /* of what follows */
    uint64_t base, length;
    uint32_t type;
} __attribute__((packed));

struct pvh_start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist, cmdline, rsdp;
    uint64_t memmap;
    uint32_t memmap_entries, reserved;
};

struct pvh_module {
    uint64_t start, size, cmdline, reserved;
};

struct pvh_mmap {
    uint64_t base, length;
    uint32_t type, reserved;
};

extern char image_end[];        /* its address is the physical end of .bss */

static void copy_command_line(struct boot_info *info, uint64_t paddr)
{
    const char *from = physmap(paddr);
    size_t i;

    for (i = 0; i + 1 < sizeof(info->command_line) && from[i] != '\0'; i++)
        info->command_line[i] = from[i];
    info->command_line[i] = '\0';
}

/* Takes a range of RAM if it is the one that holds the image. */
static void consider_ram(struct boot_info *info, uint64_t base, uint64_t length)
{
    if (base <= info->ram_start && base + length > info->ram_start)
        info->ram_end = base + length;
}

static void skip_module(struct boot_info *info, uint64_t end)
{
    if (end > info->ram_start)
        info->ram_start = end;
}

static void read_multiboot(struct boot_info *info, uint32_t paddr)
{
    const struct multiboot_info *mb = physmap(paddr);

    info->protocol = "Multiboot";
    if (mb->flags & MULTIBOOT_HAS_CMDLINE)
        copy_command_line(info, mb->cmdline);
    if (mb->flags & MULTIBOOT_HAS_MODULES) {
        const struct multiboot_module *module = physmap(mb->mods_addr);

        for (uint32_t i = 0; i < mb->mods_count; i++)
            skip_module(info, module[i].end);
    }
    if (mb->flags & MULTIBOOT_HAS_MMAP) {
        uint32_t at = mb->mmap_addr;

        while (at < mb->mmap_addr + mb->mmap_length) {
            const struct multiboot_mmap *entry = physmap(at);

            if (entry->type == MEMORY_RAM)
                consider_ram(info, entry->base, entry->length);
            at += entry->size + (uint32_t)sizeof(entry->size);
        }
    } else if (mb->flags & MULTIBOOT_HAS_MEMORY) {
        consider_ram(info, LOAD_ADDRESS, (uint64_t)mb->mem_upper_kib * 1024);
    }
}

static void read_pvh(struct boot_info *info, uint32_t paddr)
{
    const struct pvh_start_info *pvh = physmap(paddr);
    const struct pvh_module *module = physmap(pvh->modlist);

    info->protocol = "PVH";
    info->rsdp = pvh->rsdp;
    if (pvh->cmdline != 0)
        copy_command_line(info, pvh->cmdline);
    for (uint32_t i = 0; i < pvh->nr_modules; i++)
        skip_module(info, module[i].start + module[i].size);
    if (pvh->version >= 1) {
        const struct pvh_mmap *entry = physmap(pvh->memmap);

        for (uint32_t i = 0; i < pvh->memmap_entries; i++)
            if (entry[i].type == MEMORY_RAM)
                consider_ram(info, entry[i].base, entry[i].length);
    }
}

void boot_info_read(struct boot_info *info, uint32_t magic, uint32_t paddr)
{
    memset(info, 0, sizeof(*info));
    info->ram_start = (uint64_t)image_end;
    if (magic == MULTIBOOT_LOADER_MAGIC) {
        read_multiboot(info, paddr);
    } else if (magic == PVH_MAGIC) {
        read_pvh(info, paddr);
    } else {
        serial_puts("boot: neither Multiboot nor PVH\n");
        debug_exit(1);
    }
    info->ram_start = (info->ram_start + PAGE_SIZE - 1) & -(uint64_t)PAGE_SIZE;
}
