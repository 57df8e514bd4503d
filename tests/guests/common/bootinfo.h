/* What the loader said, the same for both boot protocols. */
#ifndef BOOTINFO_H
#define BOOTINFO_H

#include <stdint.h>

struct boot_info {
    const char *protocol;       /* "Multiboot" or "PVH" */
    char command_line[256];     /* a copy: the loader's own memory may be reused */
    uint64_t ram_start;         /* the piece of RAM that holds the image: free from here */
    uint64_t ram_end;           /* to here (both physical) */
    uint64_t rsdp;              /* physical, 0 when the protocol does not say */
};

/* Reads the information that the boot stub handed to kmain(). Ends the machine when the magic is neither protocol's. */
void boot_info_read(struct boot_info *info, uint32_t magic, uint32_t paddr);

#endif
