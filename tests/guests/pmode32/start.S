/*
 * A 32-bit protected-mode kernel: Multiboot 1 header, entry, and the stubs of its interrupt gates. Each stub leaves the same
 * frame: the registers of PUSHA, the vector, the error code (0 where the CPU pushes none), EIP, CS, EFLAGS.
 */
        .set HEADER_MAGIC, 0x1badb002
        .set HEADER_FLAGS, 3

        .section .multiboot, "a"
        .balign 4
        .long   HEADER_MAGIC, HEADER_FLAGS, -(HEADER_MAGIC + HEADER_FLAGS)

        .text
        .globl  _start
        .type   _start, @function
_start:
        movl    $stack_top, %esp
        xorl    %ebp, %ebp
        lgdtl   gdt_pointer
        ljmpl   $0x08, $1f
1:      movl    $0x10, %ecx
        movl    %ecx, %ds
        movl    %ecx, %es
        movl    %ecx, %ss
        xorl    %ecx, %ecx
        movl    %ecx, %fs
        movl    %ecx, %gs
        pushl   %ebx
        pushl   %eax
        call    kmain
        ud2
        .size   _start, . - _start

        .balign 16
        .globl  trap_stubs
trap_stubs:
        .set    vector, 0
        .rept   48
        .balign 16
        .if     (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)
        .else
        pushl   $0
        .endif
        pushl   $vector
        jmp     trap_common
        .set    vector, vector + 1
        .endr

trap_common:
        pushal
        cld
        pushl   %esp
        call    trap
        addl    $4, %esp
        popal
        addl    $8, %esp
        iretl

        .section .rodata
        .balign 8
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word   23
        .long   gdt

        .bss
        .balign 16
        .skip   16384
stack_top:

        .section .note.GNU-stack, "", @progbits
