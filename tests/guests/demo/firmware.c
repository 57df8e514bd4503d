/*
 * ACPI 6.5, chapter 5: RSDP, RSDT or XSDT, MADT and FADT, and from the DSDT only the \_S5 package, found by its bytes.
 * Intel MultiProcessor Specification 1.4, chapter 4, for machines without ACPI.
 */
#include "firmware.h"

#include "string.h"
#include "x86.h"

#define BIOS_START          0xe0000
#define BIOS_END            0x100000
#define DEFAULT_APIC        0xfee00000
#define MAPPED_END          0x100000000

#define MADT_LOCAL_APIC     0
#define MADT_LOCAL_X2APIC   9
#define MADT_ENABLED        1

#define MP_PROCESSOR        0
#define MP_ENABLED          1

#define PM1_SCI_ENABLE      (1u << 0)
#define PM1_SLEEP_TYPE(t)   ((uint16_t)((t) << 10))
#define PM1_SLEEP_ENABLE    (1u << 13)

#define AML_ZERO            0x00
#define AML_ONE             0x01
#define AML_BYTE_PREFIX     0x0a
#define AML_PACKAGE         0x12

struct rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
} __attribute__((packed));

struct table {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

struct madt {
    struct table header;
    uint32_t apic_address, flags;
    uint8_t entries[];
} __attribute__((packed));

/* The part of the FADT up to the PM1 control ports. */
struct fadt {
    struct table header;
    uint32_t facs, dsdt;
    uint8_t reserved, profile;
    uint16_t sci_interrupt;
    uint32_t smi_command;
    uint8_t acpi_enable, acpi_disable, s4bios, pstate;
    uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control;
} __attribute__((packed));

struct mp_pointer {
    char signature[4];
    uint32_t table;
    uint8_t length, revision, checksum, features[5];
} __attribute__((packed));

struct mp_table {
    char signature[4];
    uint16_t length;
    uint8_t revision, checksum;
    char oem[8], product[12];
    uint32_t oem_table;
    uint16_t oem_length, entries;
    uint32_t apic_address;
    uint16_t extended_length;
    uint8_t extended_checksum, reserved;
} __attribute__((packed));

static bool checksum_is_zero(const void *data, size_t length)
{
    const uint8_t *byte = data;
    uint8_t sum = 0;

    while (length-- > 0)
        sum = (uint8_t)(sum + *byte++);
    return sum == 0;
}

/* Scans the BIOS area by 16-byte steps for a checksummed structure. */
static const void *scan_bios(const char *signature, size_t signature_length, size_t length)
{
    for (uint64_t paddr = BIOS_START; paddr < BIOS_END; paddr += 16) {
        const void *at = physmap(paddr);

        if (memcmp(at, signature, signature_length) == 0 && checksum_is_zero(at, length))
            return at;
    }
    return NULL;
}

static void add_cpu(struct firmware *fw, uint32_t apic_id)
{
    if (fw->cpu_count < MAX_CPUS)
        fw->apic_ids[fw->cpu_count++] = apic_id;
}

static void read_madt(struct firmware *fw, const struct madt *madt)
{
    const uint8_t *at = madt->entries, *end = (const uint8_t *)madt + madt->header.length;

    fw->apic_paddr = madt->apic_address;
    for (; at + 2 <= end && at[1] >= 2; at += at[1]) {
        uint32_t id, flags;

        switch (at[0]) {
        case MADT_LOCAL_APIC:
            if (at[4] & MADT_ENABLED)
                add_cpu(fw, at[3]);
            break;
        case MADT_LOCAL_X2APIC:
            memcpy(&id, at + 4, sizeof(id));
            memcpy(&flags, at + 8, sizeof(flags));
            if (flags & MADT_ENABLED)
                add_cpu(fw, id);
            break;
        }
    }
}

/* One element of the \_S5 package: a small integer in one of AML's three spellings. */
static const uint8_t *aml_small_integer(const uint8_t *at, uint16_t *value)
{
    if (*at == AML_BYTE_PREFIX) {
        *value = at[1] & 7;
        return at + 2;
    }
    *value = *at == AML_ONE ? 1 : 0;
    return at + 1;
}

/* Looks for `Name (_S5, Package () { A, B, ... })`. A table is trusted, so its bytes are not bounds-checked one by one. */
static bool find_s5(struct firmware *fw, const struct table *dsdt)
{
    const uint8_t *at = (const uint8_t *)dsdt + sizeof(*dsdt);
    const uint8_t *end = (const uint8_t *)dsdt + dsdt->length - 12;

    for (; at < end; at++) {
        const uint8_t *p = at + 5;

        if (memcmp(at, "_S5_", 4) != 0 || at[4] != AML_PACKAGE)
            continue;
        p += 1 + (p[0] >> 6);       /* the package length: its top two bits count further bytes */
        p++;                        /* the number of elements */
        p = aml_small_integer(p, &fw->sleep_type_a);
        aml_small_integer(p, &fw->sleep_type_b);
        return true;
    }
    return false;
}

static void read_fadt(struct firmware *fw, const struct fadt *fadt)
{
    if (!find_s5(fw, physmap(fadt->dsdt)))
        return;
    fw->pm1a_control = (uint16_t)fadt->pm1a_control;
    fw->pm1b_control = (uint16_t)fadt->pm1b_control;
    fw->smi_command = (uint16_t)fadt->smi_command;
    fw->acpi_enable = fadt->acpi_enable;
}

static void read_table(struct firmware *fw, uint64_t paddr)
{
    const struct table *table = physmap(paddr);

    if (paddr == 0 || paddr >= MAPPED_END || !checksum_is_zero(table, table->length))
        return;
    if (memcmp(table->signature, "APIC", 4) == 0)
        read_madt(fw, (const struct madt *)table);
    else if (memcmp(table->signature, "FACP", 4) == 0)
        read_fadt(fw, (const struct fadt *)table);
}

static bool read_acpi(struct firmware *fw, const struct rsdp *rsdp)
{
    bool extended = rsdp->revision >= 2 && rsdp->xsdt != 0;
    uint64_t root_paddr = extended ? rsdp->xsdt : rsdp->rsdt;
    const struct table *root = physmap(root_paddr);
    const uint8_t *entries = (const uint8_t *)root + sizeof(*root);
    size_t size = extended ? 8 : 4;

    if (root_paddr == 0 || root_paddr >= MAPPED_END || !checksum_is_zero(root, root->length))
        return false;
    for (size_t i = 0; i < (root->length - sizeof(*root)) / size; i++) {
        uint64_t paddr = 0;

        memcpy(&paddr, entries + i * size, size);
        read_table(fw, paddr);
    }
    return fw->cpu_count > 0;
}

static bool read_mp_table(struct firmware *fw)
{
    const struct mp_pointer *pointer = scan_bios("_MP_", 4, sizeof(struct mp_pointer));
    const struct mp_table *mp;
    const uint8_t *at;

    if (pointer == NULL || pointer->table == 0)
        return false;
    mp = physmap(pointer->table);
    if (memcmp(mp->signature, "PCMP", 4) != 0 || !checksum_is_zero(mp, mp->length))
        return false;
    fw->apic_paddr = mp->apic_address;
    at = (const uint8_t *)(mp + 1);
    for (unsigned i = 0; i < mp->entries; i++) {
        if (at[0] == MP_PROCESSOR && (at[3] & MP_ENABLED))
            add_cpu(fw, at[1]);
        at += at[0] == MP_PROCESSOR ? 20 : 8;
    }
    return fw->cpu_count > 0;
}

void firmware_read(struct firmware *fw, uint64_t rsdp)
{
    const struct rsdp *found = rsdp ? physmap(rsdp) : scan_bios("RSD PTR ", 8, 20);

    memset(fw, 0, sizeof(*fw));
    if (found != NULL && read_acpi(fw, found)) {
        fw->source = "ACPI";
        return;
    }
    fw->cpu_count = 0;
    if (read_mp_table(fw)) {
        fw->source = "MP table";
        return;
    }
    fw->source = "none";
    fw->cpu_count = 0;
    fw->apic_paddr = DEFAULT_APIC;
}

void firmware_power_off(const struct firmware *fw)
{
    if (fw->pm1a_control == 0)
        return;
    if (fw->smi_command != 0 && fw->acpi_enable != 0 && !(inw(fw->pm1a_control) & PM1_SCI_ENABLE)) {
        outb(fw->smi_command, fw->acpi_enable);
        for (int i = 0; i < 1000 && !(inw(fw->pm1a_control) & PM1_SCI_ENABLE); i++)
            pause();
    }
    outw(fw->pm1a_control, (uint16_t)(PM1_SLEEP_TYPE(fw->sleep_type_a) | PM1_SLEEP_ENABLE));
    if (fw->pm1b_control != 0)
        outw(fw->pm1b_control, (uint16_t)(PM1_SLEEP_TYPE(fw->sleep_type_b) | PM1_SLEEP_ENABLE));
}
