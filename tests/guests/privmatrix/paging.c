/*
 * Page walks (Intel SDM volume 3, 4.6 and 4.7): the bits of one entry at each level, against CPL, CR0.WP, EFER.NXE and the
 * kind of access. All other entries on the way allow everything.
 *
 * A result is the outcome, then `/` and the accessed bits found set afterwards as a mask of levels (1 PTE, 2 PDE, 4 PDPTE, 8 PML4E), and
 * `d` when the leaf is dirty. A page fault whose CR2 is not the address touched says so.
 */
#include "layout.h"
#include "probe.h"
#include "sections.h"
#include "string.h"

#define PTE_P   0x001ul
#define PTE_W   0x002ul
#define PTE_U   0x004ul
#define PTE_A   0x020ul
#define PTE_D   0x040ul
#define PTE_PS  0x080ul
#define PTE_NX  (1ul << 63)
#define PTE_RESERVED (1ul << 51)    /* above every physical address */

#define CR0_WP      (1ul << 16)
#define MSR_EFER    0xc0000080
#define EFER_NXE    (1ul << 11)

#define WINDOW      0x500000000000ul

enum level { PTE, PDE, PDPTE, PML4E, PDE_LARGE, PDPTE_LARGE, LEVELS };
enum access { READ, WRITE, FETCH };

static const char *const level_names[LEVELS] = { "pte", "pde", "pdpte", "pml4e", "pde-large", "pdpte-large" };
static const char access_names[] = "rwx";

extern uint64_t boot_pml4[512];

static uint64_t pdpt[512] __attribute__((aligned(4096)));
static uint64_t pd[512] __attribute__((aligned(4096)));
static uint64_t pt[512] __attribute__((aligned(4096)));
static char page[PAGE_SIZE] __attribute__((aligned(4096)));

SNIPPET(paging_read, "movq (%rbx), %rax");
SNIPPET(paging_write, "movq %rax, (%rbx)");
SNIPPET(paging_modify, "orq $0, (%rbx)");

static uint64_t paddr_of(const void *vaddr)
{
    return (uint64_t)vaddr - KERNEL_BASE;
}

/* The page's place in the window is its physical address, so that one address reaches it by small and large pages. */
static uint64_t test_address(void)
{
    return WINDOW + paddr_of(page);
}

static uint64_t *pml4e(void) { return &boot_pml4[test_address() >> 39 & 511]; }
static uint64_t *pdpte(void) { return &pdpt[test_address() >> 30 & 511]; }
static uint64_t *pde(void)   { return &pd[test_address() >> 21 & 511]; }
static uint64_t *pte(void)   { return &pt[test_address() >> 12 & 511]; }

/* All levels permissive, then the one under test with `bits`. */
static void set_entries(enum level level, uint64_t bits)
{
    *pml4e() = paddr_of(pdpt) | PTE_U | PTE_W | PTE_P;
    *pdpte() = paddr_of(pd) | PTE_U | PTE_W | PTE_P;
    *pde() = paddr_of(pt) | PTE_U | PTE_W | PTE_P;
    *pte() = paddr_of(page) | PTE_U | PTE_W | PTE_P;
    switch (level) {
    case PTE:
        *pte() = paddr_of(page) | bits;
        break;
    case PDE:
        *pde() = paddr_of(pt) | bits;
        break;
    case PDPTE:
        *pdpte() = paddr_of(pd) | bits;
        break;
    case PML4E:
        *pml4e() = paddr_of(pdpt) | bits;
        break;
    case PDE_LARGE:
        *pde() = (paddr_of(page) & ~0x1ffffful) | PTE_PS | bits;
        break;
    case PDPTE_LARGE:
        *pdpte() = PTE_PS | bits;
        break;
    case LEVELS:
        break;
    }
    write_cr3(read_cr3());
}

static void print_accessed(enum level level)
{
    uint64_t leaf = level == PDE_LARGE ? *pde() : level == PDPTE_LARGE ? *pdpte() : *pte();
    unsigned mask = 0;

    if (level != PDE_LARGE && level != PDPTE_LARGE && (*pte() & PTE_A))
        mask |= 1;
    if (level != PDPTE_LARGE && (*pde() & PTE_A))
        mask |= 2;
    mask |= (*pdpte() & PTE_A ? 4 : 0) | (*pml4e() & PTE_A ? 8 : 0);
    serial_printf("/%x%s", mask, leaf & PTE_D ? "d" : "");
}

static void probe_access(enum level level, unsigned cpl, enum access access, const char *snippet)
{
    uint64_t vaddr = test_address() + (access == FETCH ? 0 : 64);
    struct probe probe;

    probe_reset(&probe, snippet, cpl);
    probe.in.rbx = vaddr;
    if (access == FETCH)
        probe.enter.rip = vaddr;
    probe_print(&probe);
    if (probe.vector == 14 && probe.cr2 != vaddr)
        serial_printf(":cr2=%lx", probe.cr2);
    print_accessed(level);
}

static const char *snippet_of(enum access access)
{
    return access == WRITE ? paging_write : paging_read;
}

static void set_wp(bool on)
{
    uint64_t cr0;

    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    cr0 = on ? cr0 | CR0_WP : cr0 & ~CR0_WP;
    __asm__ volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
}

static void set_nxe(bool on)
{
    uint64_t efer = rdmsr(MSR_EFER);

    wrmsr(MSR_EFER, on ? efer | EFER_NXE : efer & ~EFER_NXE);
}

static uint64_t bits_of(unsigned choice)
{
    return (choice & 1 ? PTE_P : 0) | (choice & 2 ? PTE_W : 0) | (choice & 4 ? PTE_U : 0) | (choice & 8 ? PTE_NX : 0) |
           (choice & 16 ? PTE_RESERVED : 0);
}

static void print_case(const char *kind, enum level level, uint64_t bits, bool wp, bool nxe)
{
    serial_printf("%s %s %c%c%c%c%c%s%s", kind, level_names[level], bits & PTE_P ? 'p' : '-', bits & PTE_W ? 'w' : '-',
                  bits & PTE_U ? 'u' : '-', bits & PTE_NX ? 'n' : '-', bits & PTE_RESERVED ? 'r' : '-', wp ? " wp" : "",
                  nxe ? " nxe" : "");
}

/* The product of everything, one line for an entry and mode, six accesses on it. */
static void sweep_permissions(enum level level)
{
    for (unsigned mode = 0; mode < 4; mode++) {
        bool wp = mode & 1, nxe = mode & 2;

        set_wp(wp);
        set_nxe(nxe);
        for (unsigned choice = 0; choice < 32; choice++) {
            /* A not-present entry is the same whatever else it holds: two samples are enough. */
            if (!(choice & 1) && choice != 0 && choice != 30)
                continue;
            print_case("walk", level, bits_of(choice), wp, nxe);
            for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
                for (enum access access = READ; access <= FETCH; access++) {
                    set_entries(level, bits_of(choice));
                    serial_printf(" %u%c:", cpl, access_names[access]);
                    probe_access(level, cpl, access, snippet_of(access));
                }
            }
            serial_putc('\n');
        }
    }
    set_wp(true);
    set_nxe(true);
}

/* A and D given beforehand, and a read-modify-write that is not allowed to write. */
static void sweep_accessed(enum level level)
{
    static const uint64_t given[] = { 0, PTE_A, PTE_D, PTE_A | PTE_D };

    for (unsigned i = 0; i < 4; i++) {
        for (unsigned writable = 0; writable < 2; writable++) {
            uint64_t bits = given[i] | (writable ? PTE_W : 0) | PTE_U | PTE_P;

            print_case("accessed", level, bits, true, true);
            serial_printf(" %c%c", given[i] & PTE_A ? 'a' : '-', given[i] & PTE_D ? 'd' : '-');
            set_entries(level, bits);
            probe_access(level, 3, READ, paging_read);
            set_entries(level, bits);
            probe_access(level, 3, WRITE, paging_modify);
            serial_putc('\n');
        }
    }
}

/* Every bit that is reserved at one level or another, present in an entry that is in order otherwise. */
static void sweep_reserved(enum level level)
{
    static const unsigned bits[] = { 7, 8, 12, 13, 20, 21, 29, 47, 51, 52, 58, 62 };

    serial_printf("reserved %s", level_names[level]);
    for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        /* In entries that hold an address the bits 12 to 47 are a part of it, so only those of a large page count. */
        if (bits[i] >= 12 && bits[i] < 51 && !(level == PDE_LARGE && bits[i] < 21) &&
            !(level == PDPTE_LARGE && bits[i] < 30))
            continue;
        set_entries(level, PTE_U | PTE_W | PTE_P | 1ul << bits[i]);
        serial_printf(" %u:", bits[i]);
        probe_access(level, 3, READ, paging_read);
    }
    serial_putc('\n');
}

/* Accesses that begin on one page and end on the next, of which one is missing or read-only. */
static void sweep_crossing(void)
{
    static const uint64_t second[] = { 0, PTE_U | PTE_P, PTE_U | PTE_W | PTE_P, PTE_W | PTE_P };
    uint64_t vaddr = (test_address() & ~0xffful) + PAGE_SIZE - 4;

    for (unsigned first = 0; first < 4; first++) {
        for (unsigned i = 0; i < 4; i++) {
            static const char *const snippets[] = { paging_read, paging_write, paging_modify };

            serial_printf("crossing %x %x", (unsigned)second[first], (unsigned)second[i]);
            for (unsigned s = 0; s < 3; s++) {
                struct probe probe;

                set_entries(PTE, second[first]);
                pte()[1] = paddr_of(page) | second[i];
                write_cr3(read_cr3());
                probe_reset(&probe, snippets[s], 3);
                probe.in.rbx = vaddr;
                probe_print(&probe);
                if (probe.vector == 14)
                    serial_printf(":%lx", probe.cr2 - vaddr);
                serial_printf("/%x%x", (unsigned)(*pte() >> 5 & 3), (unsigned)(pte()[1] >> 5 & 3));
            }
            serial_putc('\n');
        }
    }
    pte()[1] = 0;
}

void paging_section(void)
{
    /* What a fetch finds there: INT 0x80, and at the end of the page the same again. */
    memset(page, 0, sizeof(page));
    page[0] = (char)0xcd;
    page[1] = (char)0x80;
    for (enum level level = PTE; level < LEVELS; level++)
        sweep_permissions(level);
    for (enum level level = PTE; level < LEVELS; level++)
        sweep_accessed(level);
    for (enum level level = PTE; level < LEVELS; level++)
        sweep_reserved(level);
    sweep_crossing();
    *pml4e() = 0;
    write_cr3(read_cr3());
}
