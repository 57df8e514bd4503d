/* INIT, SIPI, and a trampoline in low memory (Intel SDM volume 3, 9.4). */
#include "smp.h"

#include "apic.h"
#include "mm.h"
#include "panic.h"
#include "sched.h"
#include "string.h"
#include "x86.h"

#define TRAMPOLINE          0x8000      /* as in entry.S */
#define AP_STACK_SIZE       8192
#define AP_START_TRIES      100
#define AP_START_WAIT_US    1000

extern char trampoline_start[], trampoline_end[], trampoline_stack[], trampoline_cr3[], trampoline_cpu[];

static char ap_stacks[MAX_CPUS][AP_STACK_SIZE] __attribute__((aligned(16)));

_Noreturn void ap_main(uint32_t number);

/* Where a started processor arrives, on its own stack, which becomes its idle thread's. */
_Noreturn void ap_main(uint32_t number)
{
    cpu_init(number);
    apic_enable();
    sched_adopt_idle();
    __atomic_store_n(&cpus[number].online, true, __ATOMIC_RELEASE);
    /* The starting processor unmaps low memory when all are up; nobody may keep a stale translation of it. */
    while (__atomic_load_n(&boot_pml4[0], __ATOMIC_ACQUIRE) != 0)
        pause();
    write_cr3(read_cr3());
    apic_timer_start();
    sched_idle_loop();
}

static void set_parameter(const char *symbol, uint64_t value, size_t size)
{
    memcpy(physmap(TRAMPOLINE + (uint64_t)(symbol - trampoline_start)), &value, size);
}

static bool start(uint32_t number, uint32_t apic)
{
    set_parameter(trampoline_stack, (uint64_t)ap_stacks[number] + AP_STACK_SIZE, 8);
    set_parameter(trampoline_cr3, read_cr3(), 4);
    set_parameter(trampoline_cpu, number, 4);
    cpus[number].apic_id = apic;

    apic_send_init(apic);
    /* Processors of this century need no 10 ms between INIT and SIPI. */
    delay_us(100);
    for (int attempt = 0; attempt < 2; attempt++) {
        apic_send_startup(apic, TRAMPOLINE / PAGE_SIZE);
        for (int i = 0; i < AP_START_TRIES; i++) {
            if (__atomic_load_n(&cpus[number].online, __ATOMIC_ACQUIRE))
                return true;
            delay_us(AP_START_WAIT_US / 10);
        }
    }
    return false;
}

void smp_start(const struct firmware *firmware)
{
    uint32_t number = 1;

    memcpy(physmap(TRAMPOLINE), trampoline_start, (size_t)(trampoline_end - trampoline_start));
    for (uint32_t i = 0; i < firmware->cpu_count; i++) {
        if (firmware->apic_ids[i] == apic_id() || number == MAX_CPUS)
            continue;
        if (start(number, firmware->apic_ids[i]))
            number++;
        else
            printk("smp: APIC %u did not start\n", firmware->apic_ids[i]);
    }
    cpu_count = number;
    __atomic_store_n(&boot_pml4[0], 0, __ATOMIC_RELEASE);
    write_cr3(read_cr3());
}
