/*
 * Instructions that depend on CPL, IOPL, the I/O bitmap, or on what CR0 and CR4 allow (Intel SDM volume 3, 5.9 and 2.5), and
 * encodings that are not allowed at all.
 */
#include "probe.h"
#include "sections.h"

#define CR0_MP (1ul << 1)
#define CR0_EM (1ul << 2)
#define CR0_TS (1ul << 3)
#define CR4_TSD (1ul << 2)
#define CR4_PCE (1ul << 8)
#define CR4_OSFXSR (1ul << 9)

/* The address in RBX is USER_DATA; RCX is 0. */
#define INSTRUCTIONS(X) \
    X(hlt_at_3, "testb $3, %dl; jz 1f; hlt; 1:") \
    X(cli, "cli") X(sti, "sti") \
    X(clts, "clts") X(lmsw, "smsw %eax; lmsw %ax") X(smsw, "smsw %eax") \
    X(sgdt, "sgdt (%rbx)") X(sidt, "sidt (%rbx)") X(sldt, "sldt %eax") X(str, "str %eax") \
    X(lgdt_at_3, "testb $3, %dl; jz 1f; lgdt (%rbx); 1:") X(lidt_at_3, "testb $3, %dl; jz 1f; lidt (%rbx); 1:") \
    X(lldt_null, "lldt %cx") X(ltr_at_3, "testb $3, %dl; jz 1f; ltr %cx; 1:") \
    X(invlpg, "invlpg (%rbx)") X(invd, "invd") X(wbinvd, "wbinvd") \
    X(rdmsr, "movl $0xc0000080, %ecx; rdmsr") X(wrmsr_at_3, "testb $3, %dl; jz 1f; wrmsr; 1:") \
    X(rdtsc, "rdtsc; xorl %eax, %eax") X(rdpmc_at_3, "testb $3, %dl; jz 1f; rdpmc; 1:") \
    X(swapgs, "swapgs; swapgs") \
    X(mov_from_cr0, "movq %cr0, %rax") X(mov_from_cr8, "movq %cr8, %rax") X(mov_from_dr7, "movq %db7, %rax") \
    X(mov_to_dr7, "movl $0x400, %eax; movq %rax, %db7") \
    X(in_al_71, "inb $0x71, %al; xorl %eax, %eax") X(out_80, "outb %al, $0x80") X(insb, "movl $0x71, %edx; leaq (%rbx), %rdi; insb") \
    X(outsb, "movl $0x80, %edx; movq %rbx, %rsi; outsb") X(rep_insb_0, "movl $0x71, %edx; movq %rbx, %rdi; rep insb") \
    X(ud2, "ud2") X(ud1, ".byte 0x0f, 0xb9, 0xc0") X(ud0, ".byte 0x0f, 0xff, 0xc0") \
    X(lock_mov, ".byte 0xf0, 0x89, 0x03") X(lock_add_register, ".byte 0xf0, 0x01, 0xc0") X(lock_cmp, ".byte 0xf0, 0x39, 0x03") \
    X(lea_register, ".byte 0x8d, 0xc0") X(mov_to_sreg6, ".byte 0x8e, 0xf0") X(push_cs, ".byte 0x0e") X(daa, ".byte 0x27") \
    X(pusha, ".byte 0x60") X(aam, ".byte 0xd4, 0x0a") X(les, ".byte 0xc4, 0x03") X(salc, ".byte 0xd6") \
    X(group_ff_7, ".byte 0xff, 0xf8") X(group_fe_2, ".byte 0xfe, 0xd0") X(pop_group_1, ".byte 0x8f, 0xc8") \
    X(mov_imm_group_1, ".byte 0xc6, 0xc8, 0x00") X(far_jump_direct, ".byte 0xea, 0, 0, 0, 0, 0, 0") \
    X(cmpxchg8b_register, ".byte 0x0f, 0xc7, 0xc8") X(vmcall, ".byte 0x0f, 0x01, 0xc1") \
    X(length_15, ".fill 14, 1, 0x66; .byte 0x90") X(length_16, ".fill 15, 1, 0x66; .byte 0x90") \
    X(rex_before_prefix, ".byte 0x48, 0x66, 0x90") X(cmpxchg16b_misaligned, "cmpxchg16b 8(%rbx)") X(fwait, "fwait") \
    X(fninit, "fninit") X(fld1, "fninit; fld1; fstp %st(0)") X(mmx, "pxor %mm0, %mm0; emms") X(sse, "xorps %xmm0, %xmm0") \
    X(movaps_misaligned, "movaps 4(%rbx), %xmm0") X(fxsave_misaligned, "fxsave 8(%rbx)") \
    X(ldmxcsr_reserved, "movl $0x10000, (%rbx); ldmxcsr (%rbx)")

#define DEFINE(name, code) SNIPPET(privileged_##name, code);
#define LIST(name, code) { #name, privileged_##name },
INSTRUCTIONS(DEFINE)

static const struct {
    const char *name, *snippet;
} instructions[] = { INSTRUCTIONS(LIST) };

SNIPPET(privileged_out, "outb %al, %dx");
SNIPPET(privileged_outl, "outl %eax, %dx");

static uint64_t flip_cr0(uint64_t flip)
{
    uint64_t old;

    __asm__ volatile("mov %%cr0, %0" : "=r"(old));
    __asm__ volatile("mov %0, %%cr0" : : "r"(old ^ flip) : "memory");
    return old;
}

static uint64_t flip_cr4(uint64_t flip)
{
    uint64_t old;

    __asm__ volatile("mov %%cr4, %0" : "=r"(old));
    __asm__ volatile("mov %0, %%cr4" : : "r"(old ^ flip) : "memory");
    return old;
}

static void run(const char *snippet, unsigned cpl, unsigned iopl)
{
    struct probe p;

    probe_reset(&p, snippet, cpl);
    p.enter.rflags |= iopl << 12;
    p.in.rbx = USER_DATA;
    p.in.rdx = cpl;
    probe_print(&p);
    ldt_load();
}

static void sweep_privilege(void)
{
    for (unsigned i = 0; i < sizeof(instructions) / sizeof(instructions[0]); i++) {
        serial_printf("instruction %s", instructions[i].name);
        run(instructions[i].snippet, 0, 0);
        run(instructions[i].snippet, 3, 0);
        run(instructions[i].snippet, 3, 3);
        serial_putc('\n');
    }
}

/* CR0.MP, EM and TS, and CR4.OSFXSR, against the instructions at the end of the list. */
static void sweep_fpu(void)
{
    static const char *const snippets[] = { privileged_fwait, privileged_fninit, privileged_mmx, privileged_sse };

    for (unsigned mode = 0; mode < 16; mode++) {
        uint64_t cr0 = flip_cr0(0), cr4 = flip_cr4(0);

        flip_cr0((cr0 ^ ((mode & 1 ? CR0_MP : 0) | (mode & 2 ? CR0_EM : 0) | (mode & 4 ? CR0_TS : 0))) &
                 (CR0_MP | CR0_EM | CR0_TS));
        flip_cr4((cr4 ^ (mode & 8 ? CR4_OSFXSR : 0)) & CR4_OSFXSR);
        serial_printf("fpu%s%s%s%s", mode & 1 ? " mp" : "", mode & 2 ? " em" : "", mode & 4 ? " ts" : "",
                      mode & 8 ? " osfxsr" : "");
        for (unsigned i = 0; i < 4; i++)
            run(snippets[i], 3, 0);
        serial_putc('\n');
        flip_cr0(flip_cr0(0) ^ cr0);
        flip_cr4(flip_cr4(0) ^ cr4);
    }
}

static void probe_with_cr4(const char *name, const char *snippet, uint64_t flip)
{
    flip_cr4(flip);
    serial_printf("%s", name);
    run(snippet, 0, 0);
    run(snippet, 3, 0);
    serial_putc('\n');
    flip_cr4(flip);
}

/*
 * The I/O bitmap: every byte of an access has a bit, and the CPU always reads two bytes of the map, so that the last eight ports are out of
 * reach. Nothing answers at ports 0x2a0 to 0x2af.
 */
static void sweep_io_bitmap(void)
{
    static const uint16_t ports[] = { 0x2a0, 0x2a3, 0x2a4, 0x2a6, 0x2a7, 0x2a8, 0x2af, 0x2b0 };

    tss.iomap_base = (uint16_t)((uint8_t *)tss.iomap - (uint8_t *)&tss);
    for (unsigned i = 0; i < sizeof(tss.iomap); i++)
        tss.iomap[i] = 0;
    tss.iomap[0x2a7 / 8] = 1 << (0x2a7 % 8);
    for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
        static const char *const snippets[] = { privileged_out, privileged_outl };

        serial_printf("io bitmap %x", ports[i]);
        for (unsigned s = 0; s < 2; s++) {
            struct probe p;

            probe_reset(&p, snippets[s], 3);
            p.in.rdx = ports[i];
            probe_print(&p);
        }
        serial_putc('\n');
    }
    tss_restore();
}

void privileged_section(void)
{
    uint64_t cr4 = flip_cr4(0);

    flip_cr4(~cr4 & CR4_OSFXSR);
    sweep_privilege();
    sweep_fpu();
    probe_with_cr4("rdtsc with tsd", privileged_rdtsc, CR4_TSD);
    sweep_io_bitmap();
    flip_cr4(flip_cr4(0) ^ cr4);
}
