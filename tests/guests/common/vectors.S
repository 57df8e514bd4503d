/* The first instructions of all 256 vectors. The guest has trap_common, which finds the vector and the error code on the stack. */

        .text

/*
 * 256 stubs of 16 bytes each. Vectors for which the CPU pushes no error code push a 0, so that every frame has the
 * same shape.
 */
        .balign 16
        .globl  trap_stubs
        .type   trap_stubs, @function
trap_stubs:
        .set    vector, 0
        .rept   256
        .balign 16
        .if     (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21)
        .else
        pushq   $0
        .endif
        pushq   $vector
        jmp     trap_common
        .set    vector, vector + 1
        .endr
        .size   trap_stubs, . - trap_stubs

        .section .note.GNU-stack, "", @progbits
