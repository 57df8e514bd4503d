/*
 * The demonstration kernel: from the boot stub to the work load, and to power-off.
 * README.md has the words of the command line, and the explanation of what can go wrong.
 */
#include "apic.h"
#include "bootinfo.h"
#include "cpu.h"
#include "firmware.h"
#include "mm.h"
#include "panic.h"
#include "pit.h"
#include "sched.h"
#include "serial.h"
#include "smp.h"
#include "string.h"
#include "trap.h"
#include "work.h"
#include "x86.h"

#define DEFAULT_ROUNDS  400
#define DEFAULT_SEED    1
#define NO_EXIT_CODE    (~0ul)

static struct boot_info boot_info;
static struct firmware firmware;

void undefined_handler(void);
_Noreturn void kmain(uint32_t magic, uint32_t info);

static _Noreturn void triple_fault(void)
{
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) empty;

    irq_disable();
    __asm__ volatile("lidt %0; ud2" : : "m"(empty));
    halt_forever();
}

static _Noreturn void ist_loop(void)
{
    trap_set_gate(VECTOR_UD, undefined_handler, IST_MACHINE_CHECK);
    __asm__ volatile("ud2");
    halt_forever();
}

static _Noreturn void hang(void)
{
    irq_disable();
    apic_send_others(VECTOR_STOP);
    halt_forever();
}

/* The words that end the machine in their own way, before any work. */
static void fail_on_request(const char *line)
{
    if (cmdline_has(line, "panic"))
        panic("requested on the command line");
    if (cmdline_has(line, "triple"))
        triple_fault();
    if (cmdline_has(line, "hang"))
        hang();
    if (cmdline_has(line, "ist-loop"))
        ist_loop();
}

static _Noreturn void finish(const char *line)
{
    unsigned long code = cmdline_number(line, "exit", NO_EXIT_CODE);

    if (code != NO_EXIT_CODE)
        debug_exit((uint32_t)code);
    firmware_power_off(&firmware);
    delay_us(3000000);
    printk("init: no ACPI power-off here\n");
    debug_exit(0);
}

static void init(void *argument)
{
    const char *line = argument;
    struct work_options options = {
        .rounds = (uint32_t)cmdline_number(line, "rounds", DEFAULT_ROUNDS),
        .seed = cmdline_number(line, "seed", DEFAULT_SEED),
        .fixed = cmdline_has(line, "fixed"),
    };

    print_progress("init: %u CPUs by %s, %s\n", cpu_count, firmware.source, apic_description());
    fail_on_request(line);
    work_run(&options);
    print_progress("init: %lu pages in use, %lu context switches, up %lu ms\n", pages_in_use(), context_switches(),
                   uptime_ms());
    printk("init: done\n");
    finish(line);
}

/* On the boot processor, in long mode, interrupts off. What runs here becomes its idle thread. */
_Noreturn void kmain(uint32_t magic, uint32_t info)
{
    serial_init();
    boot_info_read(&boot_info, magic, info);
    quiet = cmdline_has(boot_info.command_line, "quiet");
    trap_init();
    cpu_init(0);
    print_progress("demo: booted by %s, command line \"%s\"\n", boot_info.protocol, boot_info.command_line);
    mm_init(boot_info.ram_start, boot_info.ram_end);
    print_progress("demo: %lu MB of RAM\n", (boot_info.ram_end + 0xfffff) >> 20);
    pic_mask_all();
    firmware_read(&firmware, boot_info.rsdp);
    apic_probe(firmware.apic_paddr);
    cpus[0].apic_id = apic_id();
    sched_adopt_idle();
    smp_start(&firmware);
    thread_create("init", init, boot_info.command_line, 0);
    apic_timer_start();
    sched_idle_loop();
}
