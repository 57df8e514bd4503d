/* One function per section of the matrix; each prints its own lines. */
#ifndef SECTIONS_H
#define SECTIONS_H

void paging_section(void);
void gates_section(void);
void segments_section(void);
void transfers_section(void);
void syscall_section(void);
void control_section(void);
void privileged_section(void);
void memory_section(void);
void debug_section(void);
void compat_section(void);

#endif
