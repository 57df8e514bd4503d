/*
 * System calls of Linux on x86-64, without a C library (arch/x86/entry/syscalls/syscall_64.tbl). Every one returns what
 * the kernel does: a negative errno for an error.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0100, O_TRUNC = 01000, O_APPEND = 02000, O_DIRECTORY = 0200000 };

enum {
    SYS_READ = 0,
    SYS_WRITE = 1,
    SYS_OPEN = 2,
    SYS_CLOSE = 3,
    SYS_LSTAT = 6,
    SYS_IOCTL = 16,
    SYS_DUP2 = 33,
    SYS_NANOSLEEP = 35,
    SYS_FORK = 57,
    SYS_EXECVE = 59,
    SYS_EXIT = 60,
    SYS_WAIT4 = 61,
    SYS_GETCWD = 79,
    SYS_CHDIR = 80,
    SYS_MKDIR = 83,
    SYS_SYSLOG = 103,
    SYS_SETSID = 112,
    SYS_SYNC = 162,
    SYS_MOUNT = 165,
    SYS_REBOOT = 169,
    SYS_GETDENTS64 = 217,
};

static inline long syscall6(long number, long a, long b, long c, long d, long e)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return result;
}

#define syscall0(number) syscall6(number, 0, 0, 0, 0, 0)
#define syscall1(number, a) syscall6(number, (long)(a), 0, 0, 0, 0)
#define syscall2(number, a, b) syscall6(number, (long)(a), (long)(b), 0, 0, 0)
#define syscall3(number, a, b, c) syscall6(number, (long)(a), (long)(b), (long)(c), 0, 0)
#define syscall4(number, a, b, c, d) syscall6(number, (long)(a), (long)(b), (long)(c), (long)(d), 0)
#define syscall5(number, a, b, c, d, e) syscall6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
