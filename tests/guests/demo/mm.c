#include "mm.h"

#include "panic.h"
#include "spinlock.h"
#include "string.h"
#include "tlb.h"
#include "x86.h"

#define PTE_PRESENT     0x001ul
#define PTE_WRITABLE    0x002ul
#define PTE_ADDRESS     0x000ffffffffff000ul
#define MANAGED_END     0x100000000ul   /* the physmap ends here */

/* A free page holds this; the magic tells a second free, and a write after the free. */
struct free_page {
    struct free_page *next;
    uint64_t magic;
};

#define FREE_MAGIC 0xf4eef4eef4eef4eeul

static struct spinlock page_lock;
static struct free_page *free_pages;
static uint64_t next_untouched, managed_end;
static size_t in_use;

static struct spinlock map_lock;

void mm_init(uint64_t ram_start, uint64_t ram_end)
{
    next_untouched = ram_start;
    managed_end = ram_end < MANAGED_END ? ram_end & -(uint64_t)PAGE_SIZE : MANAGED_END;
}

uint64_t page_paddr(const void *page)
{
    return (uint64_t)page - PHYSMAP_BASE;
}

/* Freed pages are used again first; memory never used before is taken only when there are none. */
void *page_alloc(void)
{
    struct free_page *page;

    spin_lock(&page_lock);
    page = free_pages;
    if (page != NULL) {
        if (page->magic != FREE_MAGIC)
            panic("mm: page %p was written to after it was freed", (void *)page);
        free_pages = page->next;
        page->magic = 0;
    } else {
        if (next_untouched + PAGE_SIZE > managed_end)
            panic("mm: out of memory");
        page = physmap(next_untouched);
        next_untouched += PAGE_SIZE;
    }
    in_use++;
    spin_unlock(&page_lock);
    return page;
}

void page_free(void *p)
{
    struct free_page *page = p;

    spin_lock(&page_lock);
    if (page->magic == FREE_MAGIC)
        panic("mm: page %p freed twice", p);
    page->magic = FREE_MAGIC;
    page->next = free_pages;
    free_pages = page;
    in_use--;
    spin_unlock(&page_lock);
}

size_t pages_in_use(void)
{
    return in_use;
}

/* The entry for `vaddr`; missing tables are made on the way. Page tables are never freed. */
static uint64_t *find_pte(uintptr_t vaddr)
{
    uint64_t *table = boot_pml4;

    for (unsigned shift = 39; shift > 12; shift -= 9) {
        uint64_t *entry = &table[vaddr >> shift & 511];

        if (!(*entry & PTE_PRESENT)) {
            void *page = page_alloc();

            memset(page, 0, PAGE_SIZE);
            *entry = page_paddr(page) | PTE_WRITABLE | PTE_PRESENT;
        }
        table = physmap(*entry & PTE_ADDRESS);
    }
    return &table[vaddr >> 12 & 511];
}

void map_page(uintptr_t vaddr, void *page)
{
    uint64_t *pte;

    spin_lock(&map_lock);
    pte = find_pte(vaddr);
    if (*pte & PTE_PRESENT)
        panic("mm: %016lx is mapped already", vaddr);
    *pte = page_paddr(page) | PTE_WRITABLE | PTE_PRESENT;
    spin_unlock(&map_lock);
}

void unmap_page(uintptr_t vaddr)
{
    uint64_t *pte;

    spin_lock(&map_lock);
    pte = find_pte(vaddr);
    if (!(*pte & PTE_PRESENT))
        panic("mm: %016lx is not mapped", vaddr);
    *pte = 0;
    spin_unlock(&map_lock);
    tlb_shootdown(vaddr);
}
