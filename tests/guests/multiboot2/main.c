/* Prints the tags of the Multiboot 2 information, in the order in which they come. */
#include "serial.h"
#include "string.h"
#include "x86.h"

#define LOADER_MAGIC    0x36d76289
#define SHT_SYMTAB      2

enum {
    END, COMMAND_LINE, LOADER_NAME, MODULE, BASIC_MEMORY, BIOS_DEVICE, MEMORY_MAP, VBE, FRAMEBUFFER, ELF_SECTIONS, APM,
    ACPI_OLD = 14, ACPI_NEW = 15, LOAD_BASE = 21,
};

struct tag {
    uint32_t type, size;
    uint32_t words[];
};

struct region {
    uint64_t base, length;
    uint32_t type, reserved;
};

struct section {
    uint32_t name, type;
    uint64_t flags, address, offset, size;
    uint32_t link, info;
    uint64_t align, entry_size;
} __attribute__((packed));

struct symbol {
    uint32_t name;
    uint8_t info, other;
    uint16_t section;
    uint64_t value, size;
};

_Noreturn void kmain(uint32_t magic, uint32_t info, uint32_t cr0, uint32_t eflags);

static void print_module(const struct tag *tag)
{
    const char *content = (const char *)(uintptr_t)tag->words[0];
    uint32_t size = tag->words[1] - tag->words[0];

    serial_printf("module: %u bytes%s, \"%s\": ", size, tag->words[0] % PAGE_SIZE ? " not aligned" : "",
        (const char *)&tag->words[2]);
    for (uint32_t i = 0; i < size && i < 32; i++)
        serial_putc(content[i]);
    serial_putc('\n');
}

static void print_memory_map(const struct tag *tag)
{
    serial_printf("memory map: entries of %u bytes, version %u\n", tag->words[0], tag->words[1]);
    for (uint32_t at = 16; at < tag->size; at += tag->words[0]) {
        const struct region *region = (const void *)((const char *)tag + at);

        serial_printf("    %09lx %9lx %u\n", region->base, region->length, region->type);
    }
}

/* Finds kmain in the symbol and string tables that the loader must have put into memory. */
static bool knows_kmain(const struct section *sections, const struct section *symbols)
{
    const struct symbol *symbol = (const void *)symbols->address;
    const char *names = (const char *)sections[symbols->link].address;

    for (uint64_t i = 0; i < symbols->size / sizeof(*symbol); i++)
        if (memcmp(names + symbol[i].name, "kmain", 6) == 0)
            return symbol[i].value == (uintptr_t)kmain;
    return false;
}

static void print_sections(const struct tag *tag)
{
    const struct section *sections = (const void *)&tag->words[3];
    bool found = false;

    for (uint32_t i = 0; i < tag->words[0]; i++)
        if (sections[i].type == SHT_SYMTAB && sections[i].address != 0)
            found = knows_kmain(sections, &sections[i]);
    serial_printf("ELF sections: headers of %u bytes, symbols %s\n", tag->words[1], found ? "loaded" : "missing");
}

static void print_tag(const struct tag *tag)
{
    const uint32_t *words = tag->words;
    const uint8_t *bytes = (const uint8_t *)words;

    switch (tag->type) {
    case COMMAND_LINE:
        serial_printf("command line: \"%s\"\n", (const char *)words);
        break;
    case LOADER_NAME:
        serial_printf("loader: %s\n", (const char *)words);
        break;
    case MODULE:
        print_module(tag);
        break;
    case BASIC_MEMORY:
        serial_printf("memory: %u kB below 1 MB, %u kB above\n", words[0], words[1]);
        break;
    case MEMORY_MAP:
        print_memory_map(tag);
        break;
    case FRAMEBUFFER:
        serial_printf("framebuffer: type %u at %x, %ux%u, %u bits, %u bytes a row\n", bytes[21], words[0], words[3],
            words[4], bytes[20], words[2]);
        break;
    case ELF_SECTIONS:
        print_sections(tag);
        break;
    case ACPI_OLD:
    case ACPI_NEW:
        serial_printf("ACPI: RSDP of %u bytes, revision %u%s\n", tag->size - 8, bytes[15],
            memcmp(bytes, "RSD PTR ", 8) == 0 ? "" : ", damaged");
        break;
    case LOAD_BASE:
        serial_printf("load base: %x\n", words[0]);
        break;
    default:
        serial_printf("tag %u of %u bytes\n", tag->type, tag->size);
    }
}

_Noreturn void kmain(uint32_t magic, uint32_t info, uint32_t cr0, uint32_t eflags)
{
    const struct tag *header = (const void *)(uintptr_t)info;
    uint32_t at = 8;

    serial_init();
    serial_printf("multiboot2: magic %x, information aligned to %u, cr0 %x, IF %u\n", magic, info % 8 ? 1 : 8,
        cr0 & 0x80000001, (uint32_t)(eflags & RFLAGS_IF));
    if (magic != LOADER_MAGIC)
        debug_exit(1);
    for (;;) {
        const struct tag *tag = (const void *)((const char *)header + at);

        if (tag->type == END)
            break;
        print_tag(tag);
        at += (tag->size + 7) & ~7u;
    }
    serial_printf("end: %u bytes %s\n", at + 8 == header->type ? 0 : header->type - at - 8,
        at + 8 == header->type ? "left" : "too many");
    debug_exit(0);
}
