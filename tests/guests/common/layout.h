/* Where things are in guest memory. Shared by C, assembly and the linker script, so only #defines. */
#ifndef LAYOUT_H
#define LAYOUT_H

/* The image is loaded at 1 MB and linked to run at the same offset in the top 2 GB (-mcmodel=kernel). */
#define KERNEL_BASE     0xffffffff80000000
#define LOAD_ADDRESS    0x100000

/* The first 4 GB of physical memory, devices included. */
#define PHYSMAP_BASE    0xffff800000000000

#define PAGE_SIZE       4096

/* Selectors of the boot GDT. A guest that loads its own GDT keeps these two. */
#define KERNEL_CS       0x08
#define KERNEL_DS       0x10

#define BOOT_STACK_SIZE 16384

#endif
