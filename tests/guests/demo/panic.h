/* The end of the world, and talking about it. */
#ifndef PANIC_H
#define PANIC_H

#include <stdbool.h>
#include <stdint.h>

/* Prints `panic: ...` with a backtrace of the caller, stops every other CPU by NMI, and halts. */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints return addresses by walking frame pointers, beginning with `rip`. */
void backtrace(uint64_t rip, uint64_t rbp);

/* One line or more on the console, whole even when several CPUs talk. */
void printk(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* printk() unless the command line said `quiet`. */
void print_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

extern bool quiet;

#endif
