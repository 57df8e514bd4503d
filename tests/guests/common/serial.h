/* COM1 by polling, formatted output on it, and the debug-exit port. */
#ifndef SERIAL_H
#define SERIAL_H

#include <stdarg.h>
#include <stdint.h>

void serial_init(void);
void serial_putc(char c);
void serial_puts(const char *s);

/* Knows %c %s %d %u %x %p with `l`, a width and a leading 0. */
void serial_vprintf(const char *format, va_list arguments);
void serial_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the machine with process status (value << 1) | 1, where there is such a device; else halts. */
_Noreturn void debug_exit(uint32_t value);

#endif
