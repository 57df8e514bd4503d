/* The ground the probes stand on: descriptor tables, stacks, user pages. */
#include "probe.h"

#include "layout.h"
#include "string.h"

#define OFFSET_IS(field, offset) _Static_assert(offsetof(struct probe, field) == (offset), "layout_probe.h")
OFFSET_IS(enter, PROBE_RIP);
OFFSET_IS(ds, PROBE_DS);
OFFSET_IS(out, PROBE_OUT);
OFFSET_IS(vector, PROBE_VECTOR);
OFFSET_IS(error, PROBE_ERROR);
OFFSET_IS(left, PROBE_FRAME);
OFFSET_IS(frame_at, PROBE_FRAME_AT);
OFFSET_IS(out_ds, PROBE_OUT_DS);
OFFSET_IS(cr2, PROBE_CR2);
OFFSET_IS(dr6, PROBE_DR6);
OFFSET_IS(handler_rflags, PROBE_HANDLER_RFLAGS);

#define PTE_USER_RW 0x067ul         /* present, writable, user, accessed, dirty */
#define SELECTOR_OUT_OF_LIMIT 0x3f8
#define LDT_DATA    0x000           /* the first entry of the LDT: writable data, DPL 3 */

struct gate idt[256] __attribute__((aligned(16)));
struct tss tss __attribute__((aligned(16)));
uint64_t gdt[128] __attribute__((aligned(16)));
uint64_t ldt[4] __attribute__((aligned(16)));

extern char trap_stubs[], user_start[], user_end[], probe_iretq[];
extern uint64_t boot_pml4[512];

static char ring0_stack[4096] __attribute__((aligned(16)));
static char ist_stacks[3][4096] __attribute__((aligned(16)));
char *const ring0_stack_top = ring0_stack + sizeof(ring0_stack);
char *const ist_test_stack_top = ist_stacks[IST_TEST - 1] + sizeof(ist_stacks[IST_TEST - 1]);
static uint64_t user_pdpt[512] __attribute__((aligned(4096)));
static uint64_t user_pd[512] __attribute__((aligned(4096)));
static uint64_t user_pt[4][512] __attribute__((aligned(4096)));
static char user_data[2][PAGE_SIZE] __attribute__((aligned(4096)));
static char user_stack[PAGE_SIZE] __attribute__((aligned(4096)));

/* Limit 4 GB, G=1, and the access byte and flags given. */
#define SEGMENT(access, flags) (0x000f00000000fffful | (uint64_t)(access) << 40 | (uint64_t)(flags) << 52)
#define FLAGS_LONG  0xa
#define FLAGS_32    0xc
#define GATE64(selector, access) (((uint64_t)(selector) << 16) | (uint64_t)(access) << 40)

struct descriptor matrix[] = {
    { "null", 0, 0, 0 },
    { "beyond-limit", 0, 0, SELECTOR_OUT_OF_LIMIT },
    { "ldt-data", 0, 0, LDT_DATA | 4 },
    { "ldt-beyond", 0, 0, 0x20 | 4 },
    { "data-rw-0", SEGMENT(0x92, FLAGS_32), 0, 0 },
    { "data-rw-3", SEGMENT(0xf2, FLAGS_32), 0, 0 },
    { "data-ro-0", SEGMENT(0x90, FLAGS_32), 0, 0 },
    { "data-ro-3", SEGMENT(0xf0, FLAGS_32), 0, 0 },
    { "data-down-3", SEGMENT(0xf6, FLAGS_32), 0, 0 },
    { "data-rw-0-np", SEGMENT(0x12, FLAGS_32), 0, 0 },
    { "data-rw-3-np", SEGMENT(0x72, FLAGS_32), 0, 0 },
    { "code64-r-0", SEGMENT(0x9a, FLAGS_LONG), 0, 0 },
    { "code64-r-3", SEGMENT(0xfa, FLAGS_LONG), 0, 0 },
    { "code64-x-0", SEGMENT(0x98, FLAGS_LONG), 0, 0 },
    { "code64-x-3", SEGMENT(0xf8, FLAGS_LONG), 0, 0 },
    { "code64-conf-0", SEGMENT(0x9e, FLAGS_LONG), 0, 0 },
    { "code64-conf-3", SEGMENT(0xfe, FLAGS_LONG), 0, 0 },
    { "code64-0-np", SEGMENT(0x1a, FLAGS_LONG), 0, 0 },
    { "code64-3-np", SEGMENT(0x7a, FLAGS_LONG), 0, 0 },
    { "code32-r-0", SEGMENT(0x9a, FLAGS_32), 0, 0 },
    { "code32-r-3", SEGMENT(0xfa, FLAGS_32), 0, 0 },
    { "code-l-and-d-3", SEGMENT(0xfa, 0xe), 0, 0 },
    { "system-0", SEGMENT(0x80, 0), 0, 0 },
    { "tss16", SEGMENT(0x81, 0), 0, 0 },
    { "ldt", SEGMENT(0x82, 0), 0, 0 },
    { "ldt-np", SEGMENT(0x02, 0), 0, 0 },
    { "ldt-noncanonical", SEGMENT(0x82, 0), 0x00008000, 0 },
    { "callgate16-3", GATE64(KCS64, 0xe4), 0, 0 },
    { "taskgate-3", GATE64(TSS_SEL, 0xe5), 0, 0 },
    { "tss-free", SEGMENT(0x89, 0), 0, 0 },
    { "tss-busy", SEGMENT(0x8b, 0), 0, 0 },
    { "tss-np", SEGMENT(0x09, 0), 0, 0 },
    { "callgate-0", GATE64(KCS64, 0x8c), 0, 0 },
    { "callgate-3", GATE64(KCS64, 0xec), 0, 0 },
    { "callgate-3-np", GATE64(KCS64, 0x6c), 0, 0 },
    { "callgate-3-data", GATE64(KDS, 0xec), 0, 0 },
    { "callgate-3-code32", GATE64(KCS32, 0xec), 0, 0 },
    { "callgate-3-user", GATE64(UCS64 & ~3, 0xec), 0, 0 },
    { "callgate-3-null", GATE64(0, 0xec), 0, 0 },
    { "callgate-3-high", GATE64(KCS64, 0xec), 0x0000010000000000, 0 },
    { "intgate-3", GATE64(KCS64, 0xee), 0, 0 },
};

const unsigned matrix_length = sizeof(matrix) / sizeof(matrix[0]);

SNIPPET(call_gate_target, "nop");

static void set_system_segment(unsigned selector, uint64_t base, uint64_t limit, uint64_t access)
{
    gdt[selector / 8] = limit | (base & 0xffffff) << 16 | access << 40 | (base >> 24 & 0xff) << 56;
    gdt[selector / 8 + 1] = base >> 32;
}

/* Sets the offset of a call gate, which points into user memory: a kernel address would do as well, but this one is short. */
static uint64_t with_gate_offset(uint64_t low, uint64_t offset)
{
    return low | (offset & 0xffff) | (offset >> 16 & 0xffff) << 48;
}

static bool is_call_gate(uint64_t low)
{
    return (low >> 40 & 0x1f) == 0x0c;
}

void gdt_restore(void)
{
    memset(gdt, 0, sizeof(gdt));
    gdt[KCS64 / 8] = SEGMENT(0x9b, FLAGS_LONG);
    gdt[KDS / 8] = SEGMENT(0x93, FLAGS_32);
    gdt[UCS32 / 8] = SEGMENT(0xfb, FLAGS_32);
    gdt[UDS / 8] = SEGMENT(0xf3, FLAGS_32);
    gdt[UCS64 / 8] = SEGMENT(0xfb, FLAGS_LONG);
    gdt[KCS32 / 8] = SEGMENT(0x9b, FLAGS_32);
    set_system_segment(TSS_SEL, (uint64_t)&tss, sizeof(tss) - 1, 0x8b);
    set_system_segment(LDT_SEL, (uint64_t)ldt, sizeof(ldt) - 1, 0x82);
    ldt[0] = SEGMENT(0xf2, FLAGS_32);

    for (unsigned i = 0, selector = FIRST_MATRIX_SEL; i < matrix_length; i++) {
        struct descriptor *d = &matrix[i];
        uint64_t low = d->low;

        if (low == 0)
            continue;
        if (is_call_gate(low))
            low = with_gate_offset(low, snippet_address(call_gate_target));
        d->selector = (uint16_t)selector;
        gdt[selector / 8] = low;
        gdt[selector / 8 + 1] = d->high;
        selector += 16;
    }
}

static void gdt_load(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = { SELECTOR_OUT_OF_LIMIT - 1, (uint64_t)gdt };

    __asm__ volatile("lgdt %0" : : "m"(pointer));
}

void ldt_load(void)
{
    __asm__ volatile("lldt %w0" : : "r"(LDT_SEL));
}

void idt_load(uint16_t limit)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = { limit, (uint64_t)idt };

    __asm__ volatile("lidt %0" : : "m"(pointer));
}

void gate_restore(unsigned vector)
{
    uint64_t offset = (uint64_t)trap_stubs + 16 * vector;

    idt[vector] = (struct gate){
        .offset_low = (uint16_t)offset,
        .selector = KCS64,
        .ist = vector == 8 ? IST_DOUBLE_FAULT : vector == VECTOR_TEST ? 0 : IST_EXCEPTIONS,
        .type = vector == VECTOR_OK ? 0xee : 0x8e,
        .offset_middle = (uint16_t)(offset >> 16),
        .offset_high = (uint32_t)(offset >> 32),
    };
}

void tss_restore(void)
{
    memset(&tss, 0, sizeof(tss));
    tss.rsp[0] = (uint64_t)ring0_stack + sizeof(ring0_stack);
    for (unsigned i = 0; i < 3; i++)
        tss.ist[i] = (uint64_t)ist_stacks[i] + sizeof(ist_stacks[i]);
    tss.iomap_base = sizeof(struct tss);
}

static uint64_t image_paddr(const void *vaddr)
{
    return (uint64_t)vaddr - KERNEL_BASE;
}

static void map_user_page(uint64_t vaddr, const void *page)
{
    unsigned table = (unsigned)(vaddr >> 21) - (unsigned)(USER_CODE >> 21);

    user_pt[table][vaddr >> 12 & 511] = image_paddr(page) | PTE_USER_RW;
}

/* Replaces the identity map of the boot stub. */
static void map_user(void)
{
    boot_pml4[0] = image_paddr(user_pdpt) | PTE_USER_RW;
    user_pdpt[0] = image_paddr(user_pd) | PTE_USER_RW;
    for (unsigned i = 0; i < 4; i++)
        user_pd[(USER_CODE >> 21) + i] = image_paddr(user_pt[i]) | PTE_USER_RW;
    for (uint64_t offset = 0; offset < (uint64_t)(user_end - user_start); offset += PAGE_SIZE)
        map_user_page(USER_CODE + offset, user_start + offset);
    map_user_page(USER_DATA, user_data[0]);
    map_user_page(USER_DATA + PAGE_SIZE, user_data[1]);
    map_user_page(USER_STACK, user_stack);
    write_cr3(read_cr3());
}

void probe_init(void)
{
    tss_restore();
    gdt_restore();
    gdt_load();
    gdt[TSS_SEL / 8] &= ~(2ul << 40);       /* not busy, for LTR */
    __asm__ volatile("ltr %w0" : : "r"(TSS_SEL));
    ldt_load();
    for (unsigned vector = 0; vector < 256; vector++)
        gate_restore(vector);
    idt_load(sizeof(idt) - 1);
    map_user();
}

uint64_t snippet_address(const char *snippet)
{
    return USER_CODE + (uint64_t)(snippet - user_start);
}

void probe_reset(struct probe *probe, const char *snippet, unsigned cpl)
{
    memset(probe, 0, sizeof(*probe));
    probe->enter.rip = snippet != NULL ? snippet_address(snippet) : 0;
    probe->enter.cs = cpl == 0 ? KCS64 : UCS64;
    probe->enter.ss = cpl == 0 ? KDS : UDS;
    probe->enter.rsp = USER_STACK_TOP - 256;
    probe->enter.rflags = 2;
    probe->ds = UDS;
}

const char *vector_name(uint64_t vector)
{
    static const char *const names[22] = {
        "de", "db", "nmi", "bp", "of", "br", "ud", "nm", "df", "v9", "ts", "np", "ss", "gp", "pf", "v15", "mf", "ac", "mc",
        "xm", "ve", "cp",
    };

    if (vector < 22)
        return names[vector];
    return vector == VECTOR_OK ? "ok" : vector == VECTOR_TEST ? "test" : vector == VECTOR_IPI ? "ipi" : "other";
}

static bool has_error_code(uint64_t vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

void print_outcome(const struct probe *probe)
{
    uint64_t offset = probe->left.rip - probe->enter.rip;

    serial_printf(" %s", vector_name(probe->vector));
    if (probe->vector == VECTOR_OK)
        return;
    if (has_error_code(probe->vector))
        serial_printf("(%lx)", probe->error);
    if (probe->left.rip == (uint64_t)probe_iretq)
        serial_puts("@iret");
    else if (offset < 256)
        serial_printf("+%lu", offset);
    else
        serial_printf("@%lx", probe->left.rip);
}

void probe_print(struct probe *probe)
{
    probe_run(probe);
    print_outcome(probe);
}
