/* The privileged matrix: see README.md. */
#include "bootinfo.h"
#include "probe.h"
#include "sections.h"
#include "string.h"

_Noreturn void kmain(uint32_t magic, uint32_t info);

static const struct {
    const char *name;
    void (*run)(void);
    bool only_on_request;
} sections[] = {
    { "paging", paging_section, false },
    { "gates", gates_section, false },
    { "segments", segments_section, false },
    { "transfers", transfers_section, false },
    { "syscall", syscall_section, false },
    { "control", control_section, false },
    { "privileged", privileged_section, false },
    { "memory", memory_section, false },
    { "debug", debug_section, false },
    { "compat", compat_section, false },
    { "beyond-qemu", beyond_section, true },
};

/* The firmware may have left its timer running. */
static void mask_legacy_interrupts(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

/* Words of the command line that name sections choose them; with none, all run. */
_Noreturn void kmain(uint32_t magic, uint32_t info)
{
    static struct boot_info boot;
    bool chosen = false;

    serial_init();
    boot_info_read(&boot, magic, info);
    mask_legacy_interrupts();
    probe_init();
    for (unsigned i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
        chosen |= cmdline_has(boot.command_line, sections[i].name);
    for (unsigned i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        if (chosen ? !cmdline_has(boot.command_line, sections[i].name) : sections[i].only_on_request)
            continue;
        serial_printf("# %s\n", sections[i].name);
        sections[i].run();
    }
    serial_puts("# end\n");
    debug_exit(0);
}
