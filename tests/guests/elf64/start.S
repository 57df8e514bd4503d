/*
 * A plain ELF64 kernel's first instructions: docs/boot-protocols.md promises long mode, a stack and RDI, so there is
 * nothing to do but to keep what the processor looked like, before C changes it.
 */
        .text
        .globl  _start
        .type   _start, @function
_start:
        movq    %rsp, entry_rsp(%rip)
        movq    %rbp, %rax
        orq     %rax, %rbx
        orq     %rcx, %rbx
        orq     %rdx, %rbx
        orq     %rsi, %rbx
        orq     %r8, %rbx
        orq     %r9, %rbx
        orq     %r10, %rbx
        orq     %r11, %rbx
        orq     %r12, %rbx
        orq     %r13, %rbx
        orq     %r14, %rbx
        orq     %r15, %rbx
        movq    %rbx, other_registers(%rip)
        pushfq
        popq    %rsi
        call    kmain
        ud2
        .size   _start, . - _start

        .bss
        .balign 8
        .globl  entry_rsp, other_registers
entry_rsp:
        .skip   8
other_registers:
        .skip   8

        .section .note.GNU-stack, "", @progbits
