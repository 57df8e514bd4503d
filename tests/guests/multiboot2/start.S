/*
 * The Multiboot 2 header of an ELF64 kernel, and its 32-bit entry: identity-map 4 GB, enter long mode, and call
 * kmain(magic, info, first_esp, cr0). Segment registers are used as the loader left them, so they had better be flat.
 */
        .set HEADER_MAGIC, 0xe85250d6
        .set I386, 0
        .set OPTIONAL, 1
        .set CR0_PG, 1 << 31
        .set CR4_PAE, 1 << 5
        .set MSR_EFER, 0xc0000080
        .set EFER_LME, 1 << 8
        .set LARGE_PAGE, 0x083

        .section .multiboot, "a"
        .balign 8
header:
        .long   HEADER_MAGIC, I386, header_end - header, -(HEADER_MAGIC + I386 + (header_end - header))
        .balign 8
        .short  1, 0                    /* information: what is printed below is required */
        .long   2f - 1f + 8
1:      .long   1, 2, 3, 4, 6, 9, 14
2:      .balign 8
        .short  1, OPTIONAL             /* and what no loader knows is not */
        .long   12
        .long   4711
        .balign 8
        .short  4, 0                    /* console flags: a text screen will do */
        .long   12
        .long   3
        .balign 8
        .short  6, 0                    /* modules on page boundaries */
        .long   8
        .balign 8
        .short  7, OPTIONAL             /* EFI boot services */
        .long   8
        .balign 8
        .short  0, 0
        .long   8
header_end:

        .text
        .code32
        .globl  _start
        .type   _start, @function
_start:
        movl    $stack_top, %esp
        movl    %eax, %ebp
        movl    %cr0, %esi
        pushfl
        popl    %edx

        movl    $directories, %edi
        movl    $LARGE_PAGE, %eax
        movl    $2048, %ecx
1:      movl    %eax, (%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    1b
        movl    $directories + 3, %eax
        movl    $pointers, %edi
        movl    $4, %ecx
2:      movl    %eax, (%edi)
        addl    $4096, %eax
        addl    $8, %edi
        loop    2b
        movl    $pointers + 3, root
        movl    $root, %eax
        movl    %eax, %cr3
        movl    $CR4_PAE, %eax
        movl    %eax, %cr4
        movl    %edx, %edi
        movl    $MSR_EFER, %ecx
        rdmsr
        orl     $EFER_LME, %eax
        wrmsr
        movl    %cr0, %eax
        orl     $CR0_PG, %eax
        movl    %eax, %cr0
        lgdtl   gdt_pointer
        ljmpl   $8, $long_mode

        .code64
long_mode:
        xorl    %eax, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    %edi, %ecx              /* the first EFLAGS */
        movl    %ebp, %edi              /* magic */
        movl    %esi, %edx              /* the first CR0 */
        movl    %ebx, %esi              /* information */
        call    kmain
        ud2
        .size   _start, . - _start

        .section .rodata
        .balign 8
gdt:    .quad   0, 0x00af9b000000ffff
gdt_pointer:
        .word   15
        .long   gdt

        .bss
        .balign 4096
root:   .skip   4096
pointers:
        .skip   4096
directories:
        .skip   4 * 4096
        .skip   16384
stack_top:

        .section .note.GNU-stack, "", @progbits
