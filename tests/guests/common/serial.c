/* COM1 by polling: a 16550 at 0x3f8, 115200 8N1, FIFO on, its interrupt off. */
#include "serial.h"

#include "x86.h"

#define COM1                0x3f8
#define COM1_IER            (COM1 + 1)
#define COM1_FCR            (COM1 + 2)
#define COM1_LCR            (COM1 + 3)
#define COM1_MCR            (COM1 + 4)
#define COM1_LSR            (COM1 + 5)
#define LCR_8N1             0x03
#define LCR_DLAB            0x80
#define FCR_ENABLE_CLEAR    0x07
#define MCR_DTR_RTS         0x03
#define LSR_THR_EMPTY       0x20

#define DEBUG_EXIT          0xf4

void serial_init(void)
{
    outb(COM1_IER, 0);
    outb(COM1_LCR, LCR_8N1 | LCR_DLAB);
    outb(COM1, 1);
    outb(COM1_IER, 0);
    outb(COM1_LCR, LCR_8N1);
    outb(COM1_FCR, FCR_ENABLE_CLEAR);
    outb(COM1_MCR, MCR_DTR_RTS);
}

void serial_putc(char c)
{
    while (!(inb(COM1_LSR) & LSR_THR_EMPTY))
        pause();
    outb(COM1, (uint8_t)c);
}

void serial_puts(const char *s)
{
    for (; *s != '\0'; s++)
        serial_putc(*s);
}

static void put_number(unsigned long value, unsigned base, int width, char fill)
{
    char digits[24];
    int length = 0;

    do {
        digits[length++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    for (; width > length; width--)
        serial_putc(fill);
    while (length > 0)
        serial_putc(digits[--length]);
}

static void put_string(const char *s, int width)
{
    for (; *s != '\0'; s++, width--)
        serial_putc(*s);
    for (; width > 0; width--)
        serial_putc(' ');
}

void serial_vprintf(const char *format, va_list arguments)
{
    for (; *format != '\0'; format++) {
        char fill = ' ';
        int width = 0;
        bool is_long = false;

        if (*format != '%') {
            serial_putc(*format);
            continue;
        }
        format++;
        if (*format == '0') {
            fill = '0';
            format++;
        }
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + (*format - '0');
        for (; *format == 'l'; format++)
            is_long = true;
        switch (*format) {
        case 'c':
            serial_putc((char)va_arg(arguments, int));
            break;
        case 's':
            put_string(va_arg(arguments, const char *), width);
            break;
        case 'd': {
            long value = is_long ? va_arg(arguments, long) : va_arg(arguments, int);

            if (value < 0)
                serial_putc('-');
            put_number(value < 0 ? 0ul - (unsigned long)value : (unsigned long)value, 10, width, fill);
            break;
        }
        case 'u':
        case 'x': {
            unsigned long value = is_long ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned);

            put_number(value, *format == 'x' ? 16 : 10, width, fill);
            break;
        }
        case 'p':
            put_number((unsigned long)va_arg(arguments, void *), 16, 16, '0');
            break;
        case '\0':
            return;
        default:
            serial_putc(*format);
        }
    }
}

void serial_printf(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    serial_vprintf(format, arguments);
    va_end(arguments);
}

_Noreturn void debug_exit(uint32_t value)
{
    outl(DEBUG_EXIT, value);
    halt_forever();
}
