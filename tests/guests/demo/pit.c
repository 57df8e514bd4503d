#include "pit.h"

#include "x86.h"

#define PIT_HZ          1193182
#define PIT_CHANNEL_2   0x42
#define PIT_COMMAND     0x43
#define PORT_B          0x61
#define PORT_B_GATE_2   0x01
#define PORT_B_SPEAKER  0x02
#define PORT_B_OUT_2    0x20
#define COMMAND_2_MODE_0 0xb0   /* channel 2, low then high byte, interrupt on terminal count */

#define PIC_1_COMMAND   0x20
#define PIC_1_DATA      0x21
#define PIC_2_COMMAND   0xa0
#define PIC_2_DATA      0xa1

/* Moved off the exception vectors first: even a masked 8259 may raise a spurious interrupt. */
void pic_mask_all(void)
{
    outb(PIC_1_COMMAND, 0x11);
    outb(PIC_2_COMMAND, 0x11);
    outb(PIC_1_DATA, 0x20);
    outb(PIC_2_DATA, 0x28);
    outb(PIC_1_DATA, 4);
    outb(PIC_2_DATA, 2);
    outb(PIC_1_DATA, 1);
    outb(PIC_2_DATA, 1);
    outb(PIC_1_DATA, 0xff);
    outb(PIC_2_DATA, 0xff);
}

void pit_start_10ms(void)
{
    uint16_t count = PIT_HZ / 100;
    uint8_t port_b = inb(PORT_B) & (uint8_t)~(PORT_B_SPEAKER | PORT_B_GATE_2);

    outb(PORT_B, port_b);
    outb(PIT_COMMAND, COMMAND_2_MODE_0);
    outb(PIT_CHANNEL_2, (uint8_t)count);
    outb(PIT_CHANNEL_2, (uint8_t)(count >> 8));
    outb(PORT_B, port_b | PORT_B_GATE_2);
}

bool pit_expired(void)
{
    return inb(PORT_B) & PORT_B_OUT_2;
}
