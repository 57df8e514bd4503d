/*
 * idle: a kernel that waits for its timer for ever.
 *
 * A Multiboot 1 kernel in 32-bit protected mode. It sets up a GDT, an IDT with the timer's gate, the PIC and the
 * PIT at 18 interrupts a second, and halts between them. So hours of guest time cost next to nothing.
 */

        .set MULTIBOOT_HEADER_MAGIC, 0x1badb002
        .set TIMER_VECTOR, 0x20
        .set PIC_COMMAND, 0x20
        .set PIC_DATA, 0x21
        .set END_OF_INTERRUPT, 0x20
        .set PIT_CHANNEL_0, 0x40
        .set PIT_COMMAND, 0x43
        .set COM1, 0x3f8
        .set CODE, 0x08
        .set DATA, 0x10

        .section .multiboot, "a"
        .balign 4
        .long MULTIBOOT_HEADER_MAGIC
        .long 0
        .long -MULTIBOOT_HEADER_MAGIC

        .text
        .code32
        .globl _start
        .type _start, @function
_start:
        cli
        movl    $stack_top, %esp
        lgdt    gdt_pointer
        ljmp    $CODE, $1f
1:      movw    $DATA, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss

        /* The timer's gate: a 32-bit interrupt gate, present. */
        movl    $timer, %eax
        movw    %ax, idt + 8 * TIMER_VECTOR
        movw    $CODE, idt + 8 * TIMER_VECTOR + 2
        movw    $0x8e00, idt + 8 * TIMER_VECTOR + 4
        shrl    $16, %eax
        movw    %ax, idt + 8 * TIMER_VECTOR + 6
        lidt    idt_pointer

        /* One PIC, edge-triggered, its lines from TIMER_VECTOR on; only the timer's is open. */
        movb    $0x13, %al
        outb    %al, $PIC_COMMAND
        movb    $TIMER_VECTOR, %al
        outb    %al, $PIC_DATA
        movb    $0x01, %al
        outb    %al, $PIC_DATA
        movb    $0xfe, %al
        outb    %al, $PIC_DATA

        /* Channel 0, both bytes, rate generator, divided by 65536. */
        movb    $0x34, %al
        outb    %al, $PIT_COMMAND
        xorl    %eax, %eax
        outb    %al, $PIT_CHANNEL_0
        outb    %al, $PIT_CHANNEL_0

        movw    $COM1, %dx
        movl    $text, %esi
2:      lodsb
        testb   %al, %al
        jz      3f
        outb    %al, %dx
        jmp     2b

3:      sti
        hlt
        jmp     3b
        .size _start, . - _start

        .type timer, @function
timer:
        pushl   %eax
        movb    $END_OF_INTERRUPT, %al
        outb    %al, $PIC_COMMAND
        popl    %eax
        iret
        .size timer, . - timer

        .section .rodata
text:   .asciz  "idle\n"
        .balign 8
gdt:    .quad   0
        .quad   0x00cf9a000000ffff
        .quad   0x00cf92000000ffff
gdt_pointer:
        .word   . - gdt - 1
        .long   gdt
idt_pointer:
        .word   8 * (TIMER_VECTOR + 1) - 1
        .long   idt

        .bss
        .balign 16
idt:    .skip   8 * (TIMER_VECTOR + 1)
        .balign 16
        .skip   256
stack_top:

        .section .note.GNU-stack, "", @progbits
