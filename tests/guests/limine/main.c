/* A kernel for Limine's protocol: prints what it was told, draws, and starts every processor. README.md has the rest. */
#include "protocol.h"
#include "serial.h"
#include "string.h"
#include "x86.h"

#define MOST_PROCESSORS 16
#define X2APIC          1
#define RED             0x00ff0000

__attribute__((used, section(".requests_start"))) static volatile uint64_t start_marker[] = { START_MARKER };
__attribute__((used, section(".requests_end"))) static volatile uint64_t end_marker[] = { END_MARKER };
__attribute__((used, section(".requests"))) static volatile uint64_t base_revision[] = { BASE_REVISION, 3 };

REQUEST(loader_info, 0xf55038d8e2a1202f, 0x279426fcf5f59740, text_response, 0);
REQUEST(command_line, 0x4b161536e598651e, 0xb390ad4a2f1f303a, text_response, 0);
REQUEST(hhdm, 0x48dcf1cb8ad2b852, 0x63984e959a98244b, value_response, 0);
REQUEST(stack_size, 0x224ef0460a8e8926, 0xe1cb0fc25f46ea3d, value_response, 0x20000);
REQUEST(paging_mode, 0x95c1a0edab0944cb, 0xa4e5cb3842f7488a, value_response, 0);
REQUEST(boot_time, 0x502746e184c088aa, 0xfbc5ec83e6327893, value_response, 0);
REQUEST(rsdp, 0xc5e77b6b397e7b43, 0x27637845accdcf3c, value_response, 0);
REQUEST(smbios, 0x9e9046f11e095391, 0xaa4a520fefbde5ee, value_response, 0);
REQUEST(kernel_address, 0x71ba76863cc55f63, 0xb2644a48c516a487, value_response, 0);
REQUEST(memory_map, 0x67cf3d9d378a806f, 0xe304acdfc50c3c62, list_response, 0);
REQUEST(framebuffers, 0x9d5827dcd881dd75, 0xa3148604f6fab11b, list_response, 0);
REQUEST(modules, 0x3e7e279702be32af, 0xca1c4f3bd1280cee, list_response, 0);
REQUEST(kernel_file, 0xad97e90e83f1ed67, 0x31eb5d1c5ff23b69, file_response, 0);
REQUEST(mp, 0x95a67b819a1b857e, 0xa0b61b723b6a73e0, mp_response, X2APIC);

static volatile uint32_t running;

_Noreturn void kmain(void);

static void print_memory_map(void)
{
    static const char *const names[] = { "usable", "reserved", "ACPI reclaimable", "ACPI NVS", "bad",
        "loader reclaimable", "kernel and modules", "framebuffer" };
    const struct list_response *map = memory_map.response;
    uint64_t sums[8] = { 0 };

    for (uint64_t i = 0; i < map->count; i++) {
        const struct region *region = map->list[i];

        sums[region->type] += region->length;
        if (i > 0) {
            const struct region *before = map->list[i - 1];

            if (before->base + before->length > region->base)
                serial_puts("memory map: out of order\n");
        }
    }
    for (int type = 0; type < 8; type++)
        if (sums[type] != 0 && type != 0 && type != 5 && type != 6)
            serial_printf("%s: %lu kB\n", names[type], sums[type] >> 10);
    serial_printf("RAM in all: %lu kB\n", (sums[0] + sums[5] + sums[6] + sums[7]) >> 10);
}

/* Draws a line and reads it back. */
static void draw(void)
{
    const struct framebuffer *screen = framebuffers.response->list[0];
    uint32_t *pixels = (uint32_t *)screen->address;
    uint64_t sum = 0;

    serial_printf("framebuffer: %lux%lu, %u bits, %lu bytes a row\n", screen->width, screen->height,
        screen->bits_per_pixel, screen->pitch);
    for (uint64_t x = 0; x < screen->width; x++)
        pixels[(screen->height - 1) * screen->pitch / 4 + x] = RED;
    for (uint64_t x = 0; x < screen->width; x++)
        sum += pixels[(screen->height - 1) * screen->pitch / 4 + x];
    serial_printf("framebuffer: %s\n", sum == screen->width * RED ? "drawn" : "does not keep what is drawn");
}

/* Where the other processors jump to: on a stack of their own, with the info of their own. */
static void processor_main(struct mp_info *info)
{
    bool is_aligned = (uintptr_t)__builtin_frame_address(0) % 16 == 0;
    uint32_t id = cpuid(0xb, 0).edx;

    info->extra_argument = id == info->lapic_id && is_aligned ? info->extra_argument + id : 0;
    __atomic_fetch_add(&running, 1, __ATOMIC_SEQ_CST);
    halt_forever();
}

static void start_processors(void)
{
    const struct mp_response *processors = mp.response;

    serial_printf("processors: %lu, boot processor %u, x2APIC %s\n", processors->count, processors->bsp_lapic_id,
        rdmsr(MSR_APIC_BASE) & 1 << 10 ? "on" : "off");
    for (uint64_t i = 0; i < processors->count; i++) {
        struct mp_info *info = processors->list[i];

        if (info->lapic_id == processors->bsp_lapic_id)
            continue;
        info->extra_argument = 100;
        info->goto_address = processor_main;
    }
    while (running + 1 < processors->count)
        pause();
    for (uint64_t i = 0; i < processors->count; i++)
        if (processors->list[i]->lapic_id != processors->bsp_lapic_id)
            serial_printf("processor %u: %lu\n", processors->list[i]->processor_id, processors->list[i]->extra_argument);
}

static void print_files(void)
{
    const struct file *file = kernel_file.response->file;

    serial_printf("kernel file: %s, %s\n", file->path, memcmp(file->address, "\177ELF", 4) == 0 ? "ELF" : "damaged");
    for (uint64_t i = 0; i < modules.response->count; i++) {
        file = modules.response->list[i];
        serial_printf("module: %lu bytes, \"%s\": ", file->size, file->command_line);
        for (uint64_t at = 0; at < file->size && at < 32; at++)
            serial_putc(file->address[at]);
        serial_putc('\n');
    }
}

_Noreturn void kmain(void)
{
    bool is_aligned = (uintptr_t)__builtin_frame_address(0) % 16 == 0;

    serial_init();
    serial_printf("limine: base revision %s, by %lu\n", base_revision[2] == 0 ? "supported" : "not supported", base_revision[1]);
    serial_printf("loader: %s\n", loader_info.response->text);
    serial_printf("command line: \"%s\"\n", command_line.response->text);
    serial_printf("HHDM: %lx\n", hhdm.response->value);
    serial_printf("stack: %s, %s\n", stack_size.response ? "of the size asked for" : "of another size",
        is_aligned ? "aligned" : "misaligned");
    serial_printf("paging mode: %lu\n", paging_mode.response->value);
    serial_printf("boot time: %lu\n", boot_time.response->value);
    serial_printf("RSDP: %lx\n", rsdp.response->value);
    serial_printf("SMBIOS: %s\n", smbios.response ? "answered" : "none");
    serial_printf("kernel: linked to %lx, %s\n", kernel_address.response->second,
        memcmp((const void *)(hhdm.response->value + kernel_address.response->value), (const void *)kernel_address.response->second,
            4096) == 0 ? "the same in the direct map" : "not in the direct map");
    print_memory_map();
    draw();
    print_files();
    start_processors();
    serial_puts("limine: done\n");
    debug_exit(0);
}
