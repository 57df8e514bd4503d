/* One GDT for all CPUs with a TSS each; the TSS is there for its IST stacks. */
#include "cpu.h"

#include "trap.h"
#include "x86.h"

#define IST_STACK_SIZE      4096
#define IST_STACKS          3
#define FIRST_TSS_SELECTOR  0x18
#define TSS_AVAILABLE       0x89

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3, iomap_base;
} __attribute__((packed));

_Static_assert(sizeof(struct tss) == 104, "the size the architecture gives");

struct cpu cpus[MAX_CPUS];
uint32_t cpu_count = 1;

static struct tss tss[MAX_CPUS];
static char ist_stacks[MAX_CPUS][IST_STACKS][IST_STACK_SIZE] __attribute__((aligned(16)));
static uint64_t gdt[FIRST_TSS_SELECTOR / 8 + 2 * MAX_CPUS] = {
    0,
    0x00af9b000000ffff,     /* KERNEL_CS */
    0x00cf93000000ffff,     /* KERNEL_DS */
};

static void init_tss(uint32_t number)
{
    uint64_t base = (uint64_t)&tss[number];
    uint64_t *descriptor = &gdt[FIRST_TSS_SELECTOR / 8 + 2 * number];

    for (unsigned i = 0; i < IST_STACKS; i++)
        tss[number].ist[i] = (uint64_t)ist_stacks[number][i] + IST_STACK_SIZE;
    tss[number].iomap_base = sizeof(struct tss);
    descriptor[0] = (sizeof(struct tss) - 1) | (base & 0xffffff) << 16 | (uint64_t)TSS_AVAILABLE << 40 |
                    (base >> 24 & 0xff) << 56;
    descriptor[1] = base >> 32;
}

void cpu_init(uint32_t number)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = { sizeof(gdt) - 1, (uint64_t)gdt };
    struct cpu *cpu = &cpus[number];

    init_tss(number);
    __asm__ volatile("lgdt %0\n\t"
                     "mov %1, %%ds\n\t"
                     "mov %1, %%es\n\t"
                     "mov %1, %%ss\n\t"
                     "ltr %w2"
                     : : "m"(pointer), "r"(KERNEL_DS), "r"(FIRST_TSS_SELECTOR + 16 * number) : "memory");
    cpu->self = cpu;
    cpu->number = number;
    wrmsr(MSR_GS_BASE, (uint64_t)cpu);
    trap_load();
}
