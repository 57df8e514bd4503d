/*
 * probe_run(): everything this guest measures goes through one IRETQ and comes back by one exception or interrupt.
 */
#include "layout.h"
#include "layout_probe.h"

        .macro  load_registers base:req
        movq    PROBE_IN+8(\base), %rbx
        movq    PROBE_IN+16(\base), %rcx
        movq    PROBE_IN+24(\base), %rdx
        movq    PROBE_IN+32(\base), %rsi
        movq    PROBE_IN+48(\base), %rbp
        movq    PROBE_IN+56(\base), %r8
        movq    PROBE_IN+64(\base), %r9
        movq    PROBE_IN+72(\base), %r10
        movq    PROBE_IN+80(\base), %r11
        movq    PROBE_IN+88(\base), %r12
        movq    PROBE_IN+96(\base), %r13
        movq    PROBE_IN+104(\base), %r14
        movq    PROBE_IN+112(\base), %r15
        movq    PROBE_IN(\base), %rax
        movq    PROBE_IN+40(\base), %rdi
        .endm

        .text
/* void probe_run(struct probe *): RDI is loaded last, because it is the base of all other loads. */
        .globl  probe_run, probe_iretq
        .type   probe_run, @function
probe_run:
        pushq   %rbp
        pushq   %rbx
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        pushfq
        movq    %rsp, saved_rsp(%rip)
        movq    %rdi, current_probe(%rip)
        movl    PROBE_DS(%rdi), %eax
        movl    %eax, %ds
        movl    %eax, %es
        pushq   PROBE_RIP+32(%rdi)
        pushq   PROBE_RIP+24(%rdi)
        pushq   PROBE_RIP+16(%rdi)
        pushq   PROBE_RIP+8(%rdi)
        pushq   PROBE_RIP(%rdi)
        load_registers %rdi
probe_iretq:
        iretq
        .size   probe_run, . - probe_run

/* From the vector stubs: everything the CPU and the registers hold goes into the probe, and probe_run() returns. */
        .globl  trap_common
        .type   trap_common, @function
trap_common:
        pushq   %rax
        movq    current_probe(%rip), %rax
        movq    %rbx, PROBE_OUT+8(%rax)
        movq    %rcx, PROBE_OUT+16(%rax)
        movq    %rdx, PROBE_OUT+24(%rax)
        movq    %rsi, PROBE_OUT+32(%rax)
        movq    %rdi, PROBE_OUT+40(%rax)
        movq    %rbp, PROBE_OUT+48(%rax)
        movq    %r8, PROBE_OUT+56(%rax)
        movq    %r9, PROBE_OUT+64(%rax)
        movq    %r10, PROBE_OUT+72(%rax)
        movq    %r11, PROBE_OUT+80(%rax)
        movq    %r12, PROBE_OUT+88(%rax)
        movq    %r13, PROBE_OUT+96(%rax)
        movq    %r14, PROBE_OUT+104(%rax)
        movq    %r15, PROBE_OUT+112(%rax)
        popq    PROBE_OUT(%rax)
        popq    PROBE_VECTOR(%rax)
        popq    PROBE_ERROR(%rax)
        movq    %rsp, PROBE_FRAME_AT(%rax)
        popq    PROBE_FRAME(%rax)
        popq    PROBE_FRAME+8(%rax)
        popq    PROBE_FRAME+16(%rax)
        popq    PROBE_FRAME+24(%rax)
        popq    PROBE_FRAME+32(%rax)
        movq    saved_rsp(%rip), %rsp
        pushfq
        popq    PROBE_HANDLER_RFLAGS(%rax)
        xorl    %ecx, %ecx
        movl    %ds, %ecx
        movq    %rcx, PROBE_OUT_DS(%rax)
        movl    %es, %ecx
        movq    %rcx, PROBE_OUT_DS+8(%rax)
        movl    %fs, %ecx
        movq    %rcx, PROBE_OUT_DS+16(%rax)
        movl    %gs, %ecx
        movq    %rcx, PROBE_OUT_DS+24(%rax)
        movq    %cr2, %rcx
        movq    %rcx, PROBE_CR2(%rax)
        movq    %dr6, %rcx
        movq    %rcx, PROBE_DR6(%rax)
        movl    $KDS, %ecx
        movl    %ecx, %ds
        movl    %ecx, %es
        movl    %ecx, %ss
        xorl    %ecx, %ecx
        movl    %ecx, %fs
        movl    %ecx, %gs
        cld
        popfq
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret
        .size   trap_common, . - trap_common

        .bss
        .balign 8
saved_rsp:
        .skip   8
current_probe:
        .skip   8

        .section .note.GNU-stack, "", @progbits
