/*
 * The boot stub of the 64-bit guests: from a Multiboot 1 or PVH loader to kmain() in long mode.
 *
 * Both protocols enter in 32-bit protected mode with flat segments and paging off. The stub maps the first 4 GB
 * three times with 2 MB pages: at 0 (for itself, and for starting other processors), at PHYSMAP_BASE, and its first
 * 2 GB at KERNEL_BASE. Then kmain(magic, info) runs on boot_stack with interrupts off and an empty IDT.
 */
#include "layout.h"

        .set MULTIBOOT_HEADER_MAGIC, 0x1badb002
        /* Page-aligned modules, memory information, and an address override. */
        .set MULTIBOOT_FLAGS, 0x00010003
        .set PVH_MAGIC, 0x336ec578
        .set XEN_ELFNOTE_PHYS32_ENTRY, 18

        .set CR0_PE, 1 << 0
        .set CR0_MP, 1 << 1
        .set CR0_ET, 1 << 4
        .set CR0_NE, 1 << 5
        .set CR0_WP, 1 << 16
        .set CR0_PG, 1 << 31
        .set CR4_PAE, 1 << 5
        .set MSR_EFER, 0xc0000080
        .set EFER_LME, 1 << 8
        .set EFER_NXE, 1 << 11
        .set PAGE_TABLE, 0x003          /* present, writable */
        .set LARGE_PAGE, 0x083          /* present, writable, 2 MB */

#define PHYS(symbol) (symbol - KERNEL_BASE)

        .section .boot.header, "ax"
        .balign 8
multiboot_header:
        .long   MULTIBOOT_HEADER_MAGIC
        .long   MULTIBOOT_FLAGS
        .long   -(MULTIBOOT_HEADER_MAGIC + MULTIBOOT_FLAGS)
        .long   multiboot_header
        .long   image_start
        .long   image_data_end
        .long   image_end
        .long   multiboot_entry

        .section .note.pvh, "a", @note
        .balign 4
        .long   4                       /* length of the name */
        .long   8                       /* length of the descriptor */
        .long   XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .quad   pvh_entry

        .section .boot.text, "ax"
        .code32
        .globl  multiboot_entry, pvh_entry
        .type   pvh_entry, @function
pvh_entry:
        movl    $PVH_MAGIC, %eax
        .size   pvh_entry, . - pvh_entry
        .type   multiboot_entry, @function
multiboot_entry:
        cli
        cld
        movl    %eax, %ebp              /* the loader's magic and its information survive in EBP and EBX */
        movl    $PHYS(boot_stack_top), %esp

        /* The directory pages: 2048 entries of 2 MB. */
        movl    $PHYS(boot_directories), %edi
        movl    $LARGE_PAGE, %eax
        movl    $2048, %ecx
1:      movl    %eax, (%edi)
        movl    $0, 4(%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    1b

        movl    $PHYS(boot_directories) + PAGE_TABLE, %eax
        movl    %eax, PHYS(boot_low_pdpt)
        movl    %eax, PHYS(boot_high_pdpt) + 510 * 8
        addl    $PAGE_SIZE, %eax
        movl    %eax, PHYS(boot_low_pdpt) + 8
        movl    %eax, PHYS(boot_high_pdpt) + 511 * 8
        addl    $PAGE_SIZE, %eax
        movl    %eax, PHYS(boot_low_pdpt) + 16
        addl    $PAGE_SIZE, %eax
        movl    %eax, PHYS(boot_low_pdpt) + 24

        movl    $PHYS(boot_low_pdpt) + PAGE_TABLE, %eax
        movl    %eax, PHYS(boot_pml4)
        movl    %eax, PHYS(boot_pml4) + 256 * 8
        movl    $PHYS(boot_high_pdpt) + PAGE_TABLE, %eax
        movl    %eax, PHYS(boot_pml4) + 511 * 8

        movl    $PHYS(boot_pml4), %eax
        movl    %eax, %cr3
        call    enter_long_mode

        lgdtl   PHYS(boot_gdt_pointer)
        ljmpl   $KERNEL_CS, $long_mode_entry
        .size   multiboot_entry, . - multiboot_entry

/* Turns on PAE, long mode, no-execute pages and paging. CR3 is loaded. Clobbers EAX, ECX, EDX. */
        .type   enter_long_mode, @function
enter_long_mode:
        movl    %cr4, %eax
        orl     $CR4_PAE, %eax
        movl    %eax, %cr4
        movl    $MSR_EFER, %ecx
        rdmsr
        orl     $EFER_LME | EFER_NXE, %eax
        wrmsr
        movl    %cr0, %eax
        andl    $~(1 << 2), %eax        /* EM off: nothing here emulates a coprocessor */
        orl     $CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE, %eax
        movl    %eax, %cr0
        ret
        .size   enter_long_mode, . - enter_long_mode

        .code64
        .type   long_mode_entry, @function
long_mode_entry:
        movabsq $high_entry, %rax
        jmp     *%rax
        .size   long_mode_entry, . - long_mode_entry

        .text
        .type   high_entry, @function
high_entry:
        lgdt    boot_gdt_pointer_high(%rip)
        movl    $KERNEL_DS, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        xorl    %eax, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        leaq    boot_stack_top(%rip), %rsp
        movl    %ebp, %edi
        movl    %ebx, %esi
        xorl    %ebp, %ebp              /* ends every backtrace */
        pushq   $0
        pushq   $0
        jmp     kmain
        .size   high_entry, . - high_entry

        .section .rodata
        .balign 8
boot_gdt:
        .quad   0
        .quad   0x00af9b000000ffff      /* 64-bit code */
        .quad   0x00cf93000000ffff      /* flat data */
boot_gdt_end:
boot_gdt_pointer:
        .word   boot_gdt_end - boot_gdt - 1
        .long   PHYS(boot_gdt)
boot_gdt_pointer_high:
        .word   boot_gdt_end - boot_gdt - 1
        .quad   boot_gdt

        .bss
        .balign PAGE_SIZE
        .globl  boot_pml4, boot_stack, boot_stack_top
        .type   boot_pml4, @object
boot_pml4:
        .skip   PAGE_SIZE
        .size   boot_pml4, PAGE_SIZE
boot_low_pdpt:
        .skip   PAGE_SIZE
boot_high_pdpt:
        .skip   PAGE_SIZE
boot_directories:
        .skip   4 * PAGE_SIZE
boot_stack:
        .skip   BOOT_STACK_SIZE
boot_stack_top:

        .section .note.GNU-stack, "", @progbits
