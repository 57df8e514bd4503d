/*
 * hello: the smallest guest that proves anything.
 *
 * A Multiboot 1 kernel in 32-bit protected mode, without paging, interrupts or a stack set up by anyone else.
 * It prints one line on COM1 by polling and ends through the debug-exit port, so a CPU that runs it has
 * decoded a dozen instructions, a CALL and RET, and the port path to two devices.
 */

        .set MULTIBOOT_HEADER_MAGIC, 0x1badb002
        .set MULTIBOOT_LOADER_MAGIC, 0x2badb002
        .set MULTIBOOT_FLAGS, 0
        .set COM1, 0x3f8
        .set COM1_LINE_STATUS, COM1 + 5
        .set TRANSMITTER_EMPTY, 0x20
        .set DEBUG_EXIT, 0xf4

        .section .multiboot, "a"
        .balign 4
        .long MULTIBOOT_HEADER_MAGIC
        .long MULTIBOOT_FLAGS
        .long -(MULTIBOOT_HEADER_MAGIC + MULTIBOOT_FLAGS)

        .text
        .code32
        .globl _start
        .type _start, @function
_start:
        cli
        cld
        movl    $stack_top, %esp
        movl    $not_multiboot, %esi
        cmpl    $MULTIBOOT_LOADER_MAGIC, %eax
        movl    $1, %ebx
        jne     1f
        movl    $hello, %esi
        xorl    %ebx, %ebx
1:      call    serial_puts

        movl    %ebx, %eax
        movw    $DEBUG_EXIT, %dx
        outl    %eax, %dx
2:      hlt
        jmp     2b
        .size _start, . - _start

/* Prints the NUL-terminated string at %esi. Clobbers %eax, %edx, %esi. */
        .type serial_puts, @function
serial_puts:
        lodsb
        testb   %al, %al
        jz      3f
        movb    %al, %ah
        movw    $COM1_LINE_STATUS, %dx
1:      inb     %dx, %al
        testb   $TRANSMITTER_EMPTY, %al
        jz      1b
        movb    %ah, %al
        movw    $COM1, %dx
        outb    %al, %dx
        jmp     serial_puts
3:      ret
        .size serial_puts, . - serial_puts

        .section .rodata
hello:
        .asciz  "hello\n"
not_multiboot:
        .asciz  "hello: not started by a Multiboot loader\n"

        .bss
        .balign 16
        .skip   256
stack_top:

        .section .note.GNU-stack, "", @progbits
