/*
 * The local APIC (Intel SDM volume 3, chapter 11) and time, which hangs on it.
 *
 * The timer ticks at TICK_HZ on every CPU: by TSC deadline where CPUID has it, else one-shot. Frequencies come from
 * CPUID 15H, else from 10 ms of PIT channel 2.
 */
#include "apic.h"

#include "cpu.h"
#include "pit.h"
#include "trap.h"
#include "x86.h"

#define CPUID_1_ECX_X2APIC          (1u << 21)
#define CPUID_1_ECX_TSC_DEADLINE    (1u << 24)

#define APIC_BASE_EXTD      (1u << 10)
#define APIC_BASE_ENABLE    (1u << 11)

/* Registers by their offset in the memory page; the x2APIC MSR is 0x800 + offset / 16. */
#define REG_ID              0x020
#define REG_TPR             0x080
#define REG_EOI             0x0b0
#define REG_SPURIOUS        0x0f0
#define REG_ICR             0x300
#define REG_ICR_HIGH        0x310
#define REG_LVT_TIMER       0x320
#define REG_LVT_LINT0       0x350
#define REG_LVT_LINT1       0x360
#define REG_INITIAL_COUNT   0x380
#define REG_CURRENT_COUNT   0x390
#define REG_DIVIDE          0x3e0

#define SPURIOUS_ENABLE     0x100
#define LVT_MASKED          0x10000
#define LVT_DEADLINE        0x40000
#define LVT_NMI             0x400
#define DIVIDE_BY_1         0x0b
#define ICR_PENDING         0x1000
#define ICR_ASSERT          0x4000
#define ICR_NMI             0x400
#define ICR_INIT            0x500
#define ICR_STARTUP         0x600
#define ICR_ALL_BUT_SELF    0xc0000

static bool x2apic, deadline_mode;
static volatile uint32_t *registers;
static uint64_t tsc_hz, timer_hz, tsc_at_start;
static uint64_t next_deadline[MAX_CPUS];

static uint32_t apic_read(unsigned reg)
{
    return x2apic ? (uint32_t)rdmsr(0x800 + reg / 16) : registers[reg / 4];
}

static void apic_write(unsigned reg, uint32_t value)
{
    if (x2apic)
        wrmsr(0x800 + reg / 16, value);
    else
        registers[reg / 4] = value;
}

static void send(uint32_t destination, uint32_t command)
{
    unsigned long flags;

    if (x2apic) {
        wrmsr(0x800 + REG_ICR / 16, (uint64_t)destination << 32 | command);
        return;
    }
    flags = irq_save();
    while (apic_read(REG_ICR) & ICR_PENDING)
        pause();
    apic_write(REG_ICR_HIGH, destination << 24);
    apic_write(REG_ICR, command);
    irq_restore(flags);
}

void apic_send(uint32_t destination, uint8_t vector)
{
    send(destination, ICR_ASSERT | vector);
}

void apic_send_others(uint8_t vector)
{
    send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | vector);
}

void apic_send_init(uint32_t destination)
{
    send(destination, ICR_ASSERT | ICR_INIT);
}

void apic_send_startup(uint32_t destination, uint8_t page)
{
    send(destination, ICR_ASSERT | ICR_STARTUP | page);
}

void smp_stop_others(void)
{
    if (cpu_count > 1)
        send(0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_NMI);
}

uint32_t apic_id(void)
{
    uint32_t id = apic_read(REG_ID);

    return x2apic ? id : id >> 24;
}

void apic_end_of_interrupt(void)
{
    apic_write(REG_EOI, 0);
}

void apic_enable(void)
{
    uint64_t base = rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE;

    wrmsr(MSR_APIC_BASE, base);
    if (x2apic)
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_EXTD);
    apic_write(REG_TPR, 0);
    apic_write(REG_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    apic_write(REG_LVT_LINT0, LVT_MASKED);
    apic_write(REG_LVT_LINT1, LVT_NMI);
    apic_write(REG_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
}

/* Both frequencies by CPUID 15H: TSC / crystal = EBX / EAX, the crystal in ECX; the APIC timer counts the crystal. */
static bool frequencies_from_cpuid(void)
{
    struct cpuid c;

    if (cpuid(0, 0).eax < 0x15)
        return false;
    c = cpuid(0x15, 0);
    if (c.eax == 0 || c.ebx == 0 || c.ecx == 0)
        return false;
    tsc_hz = (uint64_t)c.ecx * c.ebx / c.eax;
    timer_hz = c.ecx;
    return true;
}

static void frequencies_from_pit(void)
{
    uint64_t tsc;
    uint32_t count;

    apic_write(REG_DIVIDE, DIVIDE_BY_1);
    apic_write(REG_INITIAL_COUNT, 0xffffffff);
    pit_start_10ms();
    tsc = rdtsc();
    count = apic_read(REG_CURRENT_COUNT);
    while (!pit_expired())
        pause();
    tsc_hz = (rdtsc() - tsc) * 100;
    timer_hz = (uint64_t)(count - apic_read(REG_CURRENT_COUNT)) * 100;
    apic_write(REG_INITIAL_COUNT, 0);
}

void apic_probe(uint64_t paddr)
{
    uint32_t features = cpuid(1, 0).ecx;

    x2apic = features & CPUID_1_ECX_X2APIC;
    deadline_mode = features & CPUID_1_ECX_TSC_DEADLINE;
    registers = physmap(paddr);
    apic_enable();
    if (!frequencies_from_cpuid())
        frequencies_from_pit();
    tsc_at_start = rdtsc();
}

void apic_timer_start(void)
{
    uint32_t number = cpu_number();

    if (deadline_mode) {
        apic_write(REG_LVT_TIMER, LVT_DEADLINE | VECTOR_TIMER);
        /* In memory mode the LVT write must have happened before the deadline is armed (SDM 11.5.4.1). */
        __asm__ volatile("mfence" : : : "memory");
        next_deadline[number] = rdtsc();
    } else {
        apic_write(REG_DIVIDE, DIVIDE_BY_1);
        apic_write(REG_LVT_TIMER, VECTOR_TIMER);
    }
    apic_timer_rearm();
}

/* Deadlines are spaced from the last deadline, not from now, unless a whole period was missed. */
void apic_timer_rearm(void)
{
    uint32_t number = cpu_number();
    uint64_t period = tsc_hz / TICK_HZ, now;

    if (!deadline_mode) {
        apic_write(REG_INITIAL_COUNT, (uint32_t)(timer_hz / TICK_HZ));
        return;
    }
    now = rdtsc();
    next_deadline[number] += period;
    if (next_deadline[number] <= now)
        next_deadline[number] = now + period;
    wrmsr(MSR_TSC_DEADLINE, next_deadline[number]);
}

void delay_us(uint64_t microseconds)
{
    uint64_t end = rdtsc() + microseconds * tsc_hz / 1000000;

    while (rdtsc() < end)
        pause();
}

uint64_t uptime_us(void)
{
    return (rdtsc() - tsc_at_start) * 1000 / (tsc_hz / 1000);
}

uint64_t uptime_ms(void)
{
    return uptime_us() / 1000;
}

const char *apic_description(void)
{
    if (x2apic)
        return deadline_mode ? "x2APIC, TSC deadline" : "x2APIC, one-shot";
    return deadline_mode ? "xAPIC, TSC deadline" : "xAPIC, one-shot";
}
