/* The local APIC: x2APIC where CPUID has it, else by memory. */
#ifndef APIC_H
#define APIC_H

#include <stdint.h>

#define TICK_HZ 250

/* On the boot CPU, once: finds the APIC's mode and measures its timer and the TSC. `paddr` is the MADT's address. */
void apic_probe(uint64_t paddr);

/* On every CPU: switches its APIC on and starts its timer at TICK_HZ. */
void apic_enable(void);
void apic_timer_start(void);

void apic_end_of_interrupt(void);
void apic_timer_rearm(void);
uint32_t apic_id(void);

void apic_send(uint32_t apic_id, uint8_t vector);
void apic_send_others(uint8_t vector);
void apic_send_init(uint32_t apic_id);
void apic_send_startup(uint32_t apic_id, uint8_t page);

/* NMI to all other CPUs; they halt. */
void smp_stop_others(void);

/* By the TSC. */
void delay_us(uint64_t microseconds);
uint64_t uptime_ms(void);
uint64_t uptime_us(void);

const char *apic_description(void);

#endif
