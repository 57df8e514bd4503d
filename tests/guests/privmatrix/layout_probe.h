/* Offsets in struct probe for probe.S, and the selectors. Checked against the C side in probe.c. */
#ifndef LAYOUT_PROBE_H
#define LAYOUT_PROBE_H

#define PROBE_IN        0
#define PROBE_RIP       120
#define PROBE_DS        160
#define PROBE_OUT       168
#define PROBE_VECTOR    288
#define PROBE_ERROR     296
#define PROBE_FRAME     304         /* RIP CS RFLAGS RSP SS */
#define PROBE_FRAME_AT  344
#define PROBE_OUT_DS    352         /* DS ES FS GS */
#define PROBE_CR2       384
#define PROBE_DR6       392
#define PROBE_HANDLER_RFLAGS 400

/* The first two are the boot stub's; the user selectors are in the order SYSRET wants. */
#define KCS64   0x08
#define KDS     0x10
#define UCS32   0x1b
#define UDS     0x23
#define UCS64   0x2b
#define KCS32   0x30
#define TSS_SEL 0x38
#define LDT_SEL 0x48
#define FIRST_MATRIX_SEL 0x60

#endif
