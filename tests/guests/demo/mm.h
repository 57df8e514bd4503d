/* Pages, and a window in which they can be mapped one by one. */
#ifndef MM_H
#define MM_H

#include <stddef.h>
#include <stdint.h>

extern uint64_t boot_pml4[512];

void mm_init(uint64_t ram_start, uint64_t ram_end);

/* One page of unspecified content, at its physmap address. Running out of pages is a panic. */
void *page_alloc(void);
void page_free(void *page);
size_t pages_in_use(void);

uint64_t page_paddr(const void *page);

/* Maps a page at `vaddr`, where nothing is mapped. */
void map_page(uintptr_t vaddr, void *page);

/* Unmaps it on all CPUs, by IPI, before it returns. Interrupts are on and no spinlock is held. */
void unmap_page(uintptr_t vaddr);

#endif
