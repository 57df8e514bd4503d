/* Strings and output. */
#pragma once

#include "sys.h"

size_t length(const char *text);
int equal(const char *a, const char *b);
/* Copies as much of a string as fits and returns where its terminating zero stands. */
char *append(char *to, const char *end, const char *text);
/* The number that a string of digits is; *is_number says whether it is one. */
unsigned long number(const char *text, int *is_number);

void write_all(int fd, const char *bytes, size_t length);
/* Writes strings up to a null pointer to file descriptor fd. */
void say(int fd, ...);
void say_number(int fd, unsigned long value, int width);
/* `what: reason` on stderr for a negative result of a system call. Returns 1, the status of a failed command. */
int complain(const char *what, long error);
