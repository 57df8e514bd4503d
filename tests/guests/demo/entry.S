/* Interrupt and exception entry, the context switch, and the first steps of a thread. */
#include "layout.h"

        .text

/* Every vector comes here from its stub (common/vectors.S). */
        .globl  trap_common
        .type   trap_common, @function
trap_common:
        .cfi_startproc simple
        .cfi_signal_frame
        .cfi_def_cfa rsp, 16 + 40       /* above the frame that the CPU pushed: vector, error, RIP, CS, RFLAGS, RSP, SS */
        .cfi_offset rip, -40
        .cfi_offset rsp, -16
        .macro  save register
        pushq   %\register
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset \register, 0
        .endm
        save    rax
        save    rbx
        save    rcx
        save    rdx
        save    rsi
        save    rdi
        save    rbp
        save    r8
        save    r9
        save    r10
        save    r11
        save    r12
        save    r13
        save    r14
        save    r15
        cld
        movq    %rsp, %rdi
        call    trap
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rbp
        popq    %rdi
        popq    %rsi
        popq    %rdx
        popq    %rcx
        popq    %rbx
        popq    %rax
        addq    $16, %rsp
        iretq
        .cfi_endproc
        .size   trap_common, . - trap_common

/* void switch_stacks(uint64_t *save_rsp, uint64_t load_rsp): the callee-saved registers travel on the stacks. */
        .globl  switch_stacks
        .type   switch_stacks, @function
switch_stacks:
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret
        .size   switch_stacks, . - switch_stacks

/* What a new thread's first switch_stacks() returns to: RBX is its function, R12 the argument. */
        .globl  thread_entry
        .type   thread_entry, @function
thread_entry:
        pushq   $0                      /* a return address of 0 ends the backtrace */
        movq    %rbx, %rdi
        movq    %r12, %rsi
        jmp     thread_main
        .size   thread_entry, . - thread_entry

/* A handler that needs itself: on an IST stack every delivery starts afresh, so this never ends and never doubles. */
        .globl  undefined_handler
        .type   undefined_handler, @function
undefined_handler:
        ud2
        .size   undefined_handler, . - undefined_handler

/*
 * Where a started processor begins, in real mode, at TRAMPOLINE. smp.c copies the code there and fills the three words
 * at its end. It goes through protected mode to long mode on the boot page tables, which still map low memory.
 */
#define TRAMPOLINE 0x8000
#define AT(symbol) (symbol - trampoline_start + TRAMPOLINE)

        .section .rodata
        .balign 16
        .globl  trampoline_start, trampoline_end, trampoline_cr3, trampoline_stack, trampoline_cpu
        .code16
trampoline_start:
        cli
        cld
        movw    %cs, %ax
        movw    %ax, %ds
        lgdtl   trampoline_gdt_pointer - trampoline_start
        movl    $0x00000011, %eax
        movl    %eax, %cr0
        ljmpl   $0x18, $AT(trampoline_32)

        .code32
trampoline_32:
        movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $(1 << 5), %eax
        movl    %eax, %cr4
        movl    AT(trampoline_cr3), %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx
        rdmsr
        orl     $0x900, %eax            /* LME and NXE */
        wrmsr
        movl    $0x80010033, %eax       /* PG WP NE ET MP PE */
        movl    %eax, %cr0
        ljmpl   $KERNEL_CS, $AT(trampoline_64)

        .code64
trampoline_64:
        xorl    %eax, %eax
        movl    %eax, %fs
        movl    %eax, %gs
        movq    AT(trampoline_stack), %rsp
        movl    AT(trampoline_cpu), %edi
        xorl    %ebp, %ebp
        pushq   $0
        movabsq $ap_main, %rax
        jmp     *%rax

        .balign 8
trampoline_gdt:
        .quad   0
        .quad   0x00af9b000000ffff      /* 0x08: 64-bit code, as in the boot GDT */
        .quad   0x00cf93000000ffff      /* 0x10: flat data */
        .quad   0x00cf9b000000ffff      /* 0x18: 32-bit code, for the way */
trampoline_gdt_end:
trampoline_gdt_pointer:
        .word   trampoline_gdt_end - trampoline_gdt - 1
        .long   AT(trampoline_gdt)
        .balign 8
trampoline_stack:
        .quad   0
trampoline_cr3:
        .long   0
trampoline_cpu:
        .long   0
trampoline_end:

        .section .note.GNU-stack, "", @progbits
