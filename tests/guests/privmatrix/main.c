/* The privileged matrix: see README.md. */
#include "bootinfo.h"
#include "probe.h"
#include "sections.h"
#include "string.h"

_Noreturn void kmain(uint32_t magic, uint32_t info);

static const struct {
    const char *name;
    void (*run)(void);
} sections[] = {
    { "paging", paging_section },
    { "gates", gates_section },
    { "segments", segments_section },
};

/* Words of the command line that name sections choose them; with none, all run. */
_Noreturn void kmain(uint32_t magic, uint32_t info)
{
    static struct boot_info boot;
    bool chosen = false;

    serial_init();
    boot_info_read(&boot, magic, info);
    probe_init();
    for (unsigned i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
        chosen |= cmdline_has(boot.command_line, sections[i].name);
    for (unsigned i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        if (chosen && !cmdline_has(boot.command_line, sections[i].name))
            continue;
        serial_printf("# %s\n", sections[i].name);
        sections[i].run();
    }
    serial_puts("# end\n");
    debug_exit(0);
}
