/* What the kernel wants from ACPI, or from the MP table where there is no ACPI. */
#ifndef FIRMWARE_H
#define FIRMWARE_H

#include <stdint.h>

#include "cpu.h"

struct firmware {
    const char *source;             /* "ACPI", "MP table" or "none" */
    uint32_t cpu_count;             /* usable processors, at most MAX_CPUS; the boot processor may be any of them */
    uint32_t apic_ids[MAX_CPUS];
    uint64_t apic_paddr;
    uint16_t pm1a_control;          /* port; 0 when there is no way to power off */
    uint16_t pm1b_control;
    uint16_t sleep_type_a, sleep_type_b;
    uint16_t smi_command;           /* port, and the byte that switches ACPI on; 0 when it is always on */
    uint8_t acpi_enable;
};

/* `rsdp` is its physical address if the loader said, else 0. */
void firmware_read(struct firmware *firmware, uint64_t rsdp);

/* ACPI S5. Returns only when that is impossible. */
void firmware_power_off(const struct firmware *firmware);

#endif
