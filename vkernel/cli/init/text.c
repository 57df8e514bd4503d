/* Strings and output, and the few memory functions that gcc calls by itself. */
#include "text.h"

#include <stdarg.h>

void *memset(void *to, int byte, size_t count)
{
    unsigned char *at = to;
    while (count--)
        *at++ = (unsigned char)byte;
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    unsigned char *at = to;
    const unsigned char *source = from;
    while (count--)
        *at++ = *source++;
    return to;
}

size_t length(const char *text)
{
    size_t count = 0;
    while (text[count])
        count++;
    return count;
}

int equal(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

char *append(char *to, const char *end, const char *text)
{
    while (*text && to + 1 < end)
        *to++ = *text++;
    *to = 0;
    return to;
}

unsigned long number(const char *text, int *is_number)
{
    unsigned long value = 0;
    *is_number = *text != 0;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            *is_number = 0;
        value = value * 10 + (unsigned long)(*text - '0');
    }
    return value;
}

void write_all(int fd, const char *bytes, size_t count)
{
    while (count > 0) {
        long written = syscall3(SYS_WRITE, fd, bytes, count);
        if (written <= 0)
            return;
        bytes += written;
        count -= (size_t)written;
    }
}

void say(int fd, ...)
{
    va_list texts;
    const char *text;
    va_start(texts, fd);
    while ((text = va_arg(texts, const char *)))
        write_all(fd, text, length(text));
    va_end(texts);
}

void say_number(int fd, unsigned long value, int width)
{
    char digits[32];
    char *at = digits + sizeof digits;
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    while (digits + sizeof digits - at < width)
        *--at = ' ';
    write_all(fd, at, (size_t)(digits + sizeof digits - at));
}

int complain(const char *what, long error)
{
    static const struct {
        int number;
        const char *text;
    } reasons[] = {
        {1, "not permitted"},       {2, "no such file or directory"}, {5, "input/output error"}, {8, "not a program"},
        {12, "out of memory"},      {13, "permission denied"},        {16, "busy"},              {17, "is there already"},
        {19, "no such device"},     {20, "not a directory"},          {21, "is a directory"},    {22, "invalid argument"},
        {28, "no space left"},      {30, "read-only file system"},    {38, "not in this kernel"}, {40, "too many links"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (reasons[i].number == -error) {
            say(2, what, ": ", reasons[i].text, "\n", (char *)0);
            return 1;
        }
    }
    say(2, what, ": error ", (char *)0);
    say_number(2, (unsigned long)-error, 0);
    say(2, "\n", (char *)0);
    return 1;
}
