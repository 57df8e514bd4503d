/* Memory and strings. REP MOVS and REP STOS on purpose: they are what kernels use, and a guest should exercise them. */
#include "string.h"

void *memcpy(void *to, const void *from, size_t length)
{
    void *result = to;
    size_t words = length / 8;

    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
    length %= 8;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
    return result;
}

void *memset(void *to, int value, size_t length)
{
    void *result = to;
    size_t words = length / 8;
    uint64_t pattern = (uint8_t)value * 0x0101010101010101ul;

    __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
    length %= 8;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(pattern) : "memory");
    return result;
}

int memcmp(const void *a, const void *b, size_t length)
{
    const uint8_t *p = a, *q = b;

    for (; length > 0; length--, p++, q++)
        if (*p != *q)
            return *p < *q ? -1 : 1;
    return 0;
}

size_t strlen(const char *s)
{
    size_t length = 0;

    while (s[length] != '\0')
        length++;
    return length;
}

/* The first place where a word of `line` begins with `prefix`, just behind the prefix; NULL if there is none. */
static const char *find_word(const char *line, const char *prefix)
{
    size_t length = strlen(prefix);

    while (*line != '\0') {
        while (*line == ' ')
            line++;
        if (strlen(line) >= length && memcmp(line, prefix, length) == 0)
            return line + length;
        while (*line != '\0' && *line != ' ')
            line++;
    }
    return NULL;
}

bool cmdline_has(const char *line, const char *word)
{
    const char *rest = line;

    while ((rest = find_word(rest, word)) != NULL)
        if (*rest == '\0' || *rest == ' ')
            return true;
    return false;
}

unsigned long cmdline_number(const char *line, const char *key, unsigned long otherwise)
{
    const char *p = find_word(line, key);
    unsigned long base = 10, value = 0;

    if (p == NULL || *p != '=')
        return otherwise;
    p++;
    if (p[0] == '0' && p[1] == 'x') {
        base = 16;
        p += 2;
    }
    for (;; p++) {
        unsigned long digit;

        if (*p >= '0' && *p <= '9')
            digit = (unsigned long)(*p - '0');
        else if (*p >= 'a' && *p <= 'f')
            digit = (unsigned long)(*p - 'a') + 10;
        else
            return value;
        if (digit >= base)
            return value;
        value = value * base + digit;
    }
}
