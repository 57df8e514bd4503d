/* The part of <string.h> that a kernel this small needs; the compiler calls the first two by itself. */
#ifndef STRING_H
#define STRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *to, const void *from, size_t length);
void *memset(void *to, int value, size_t length);
int memcmp(const void *a, const void *b, size_t length);
size_t strlen(const char *s);

/* Whether `word` stands on the command line by itself. */
bool cmdline_has(const char *line, const char *word);

/* The number of a word `key=NUMBER`, decimal or 0x..., or `otherwise`. */
unsigned long cmdline_number(const char *line, const char *key, unsigned long otherwise);

#endif
