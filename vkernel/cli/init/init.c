/*
 * The init that vkernel gives a Linux kernel when there is neither an initrd nor a disk: mounts what kernels offer and
 * reads commands from the console. Line editing is the terminal driver's. At the end of input (^D) the machine is
 * switched off. Left out on purpose: pipes, variables, jobs, scripts; --initrd DIR brings a real user space.
 */
#include "commands.h"
#include "text.h"

void *memset(void *to, int byte, size_t count);

enum { TIOCSCTTY = 0x540e, WORDS_MAX = 64 };

static char *environment[] = {"HOME=/", "TERM=linux", "PATH=/bin:/sbin:/usr/bin:/usr/sbin", 0};

/* Makes the terminal behind /dev/console the controlling one, so that ^C reaches the program that runs. */
static void take_terminal(void)
{
    char path[128];
    char *end = append(path, path + sizeof path, "/dev/");
    syscall0(SYS_SETSID);
    long fd = syscall3(SYS_OPEN, "/sys/class/tty/console/active", O_RDONLY, 0);
    long count = fd < 0 ? -1 : syscall3(SYS_READ, fd, end, sizeof path - 6);
    if (fd >= 0)
        syscall1(SYS_CLOSE, fd);
    const char *name = "/dev/console";
    if (count > 1) {
        /* `tty0 ttyS0`: the last one is /dev/console. */
        char *last = end;
        for (char *at = end; at < end + count; at++) {
            if (*at == ' ')
                last = at + 1;
            if (*at == '\n')
                *at = 0;
        }
        end[count] = 0;
        append(end, path + sizeof path, last);
        name = path;
    }
    fd = syscall3(SYS_OPEN, name, O_RDWR, 0);
    if (fd < 0)
        fd = syscall3(SYS_OPEN, "/dev/console", O_RDWR, 0);
    if (fd < 0)
        return;
    syscall3(SYS_IOCTL, fd, TIOCSCTTY, 1);
    for (int standard = 0; standard <= 2; standard++)
        syscall2(SYS_DUP2, fd, standard);
    if (fd > 2)
        syscall1(SYS_CLOSE, fd);
}

/* One command: its words, and where its output goes. */
struct command_line {
    char *words[WORDS_MAX + 1];
    int count;
    char *output;
    int appends;
};

/* What is left of the line that is being read, and room for its words, quotes removed. */
static const char *rest;
static char word_bytes[8192], *word_end;

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_blanks(void)
{
    while (is_blank(*rest))
        rest++;
}

/* The next word; a null pointer at an operator, a comment or the end. */
static char *next_word(void)
{
    skip_blanks();
    if (!*rest || *rest == '>' || *rest == ';' || *rest == '#')
        return 0;
    char *word = word_end, quote = 0;
    for (; *rest; rest++) {
        if (quote ? *rest == quote : *rest == '"' || *rest == '\'') {
            quote = quote ? 0 : *rest;
            continue;
        }
        if (!quote && (is_blank(*rest) || *rest == '>' || *rest == ';'))
            break;
        *word_end++ = *rest;
    }
    *word_end++ = 0;
    return word;
}

/* Reads one command off the line. Returns 0 if it makes no sense. */
static int parse(struct command_line *line)
{
    memset(line, 0, sizeof *line);
    word_end = word_bytes;
    for (;;) {
        char *word = next_word();
        if (word && line->count < WORDS_MAX) {
            line->words[line->count++] = word;
            continue;
        }
        if (word || *rest != '>')
            return !word;
        rest++;
        line->appends = *rest == '>';
        rest += line->appends;
        line->output = next_word();
        if (!line->output)
            return 0;
    }
}

/* Runs a program as a child and waits for it, and for whatever orphans end meanwhile. */
static int run_program(char **words)
{
    long child = syscall0(SYS_FORK);
    if (child < 0)
        return complain(words[0], child);
    if (child == 0) {
        static const char *const directories[] = {"", "/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/"};
        int has_slash = 0;
        for (const char *at = words[0]; *at; at++)
            has_slash |= *at == '/';
        long result = -2;
        size_t first = has_slash ? 0 : 1, last = has_slash ? 1 : sizeof directories / sizeof *directories;
        for (size_t i = first; i < last && result == -2; i++) {
            char path[4096];
            char *end = append(path, path + sizeof path, directories[i]);
            append(end, path + sizeof path, words[0]);
            result = syscall3(SYS_EXECVE, path, words, environment);
        }
        if (result == -2 && !has_slash)
            say(2, words[0], ": no such command; help lists those that are built in\n", (char *)0);
        else
            complain(words[0], result);
        syscall1(SYS_EXIT, 127);
    }
    int status = 0;
    while (syscall4(SYS_WAIT4, -1, &status, 0, 0) != child)
        ;
    return status;
}

static void run(struct command_line *line)
{
    long saved = -1;
    if (line->output) {
        int flags = O_WRONLY | O_CREAT | (line->appends ? O_APPEND : O_TRUNC);
        long fd = syscall3(SYS_OPEN, line->output, flags, 0644);
        if (fd < 0) {
            complain(line->output, fd);
            return;
        }
        saved = 100;
        syscall2(SYS_DUP2, 1, saved);
        syscall2(SYS_DUP2, fd, 1);
        syscall1(SYS_CLOSE, fd);
    }
    const struct command *command = find_command(line->words[0]);
    if (command)
        command->run(line->words);
    else
        run_program(line->words);
    if (saved >= 0) {
        syscall2(SYS_DUP2, saved, 1);
        syscall1(SYS_CLOSE, saved);
    }
}

static void run_line(const char *text)
{
    rest = text;
    while (*rest) {
        struct command_line line;
        if (!parse(&line)) {
            say(2, "this is no command; help says what is\n", (char *)0);
            return;
        }
        if (line.count)
            run(&line);
        if (*rest == '#')
            return;
        rest += *rest == ';';
    }
}

static void read_commands(void)
{
    static char text[4096];
    for (;;) {
        say(1, "# ", (char *)0);
        long count = syscall3(SYS_READ, 0, text, sizeof text - 1);
        if (count == -4)
            continue;
        if (count <= 0) {
            say(1, "\nend of input: powering off\n", (char *)0);
            return;
        }
        count -= text[count - 1] == '\n';
        text[count] = 0;
        run_line(text);
    }
}

/* A kernel without one of these says so when it is used; nothing here needs them. */
static void mount_all(void)
{
    static const char *const mounts[][2] = {{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}};
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        syscall2(SYS_MKDIR, mounts[i][1], 0755);
        syscall5(SYS_MOUNT, mounts[i][0], mounts[i][1], mounts[i][0], 0, 0);
    }
}

__attribute__((noreturn, used)) void init_main(void)
{
    mount_all();
    take_terminal();
    say(1, "\nThis is vkernel's built-in init: there was neither an initrd nor a disk. `help` lists its commands.\n",
        (char *)0);
    read_commands();
    power_off();
    for (;;) {
        long day[2] = {86400, 0};
        syscall2(SYS_NANOSLEEP, day, 0);
    }
}

/* The kernel enters with the stack aligned to 16 bytes; a function expects that before the call that pushes 8. */
__asm__(".globl _start\n_start:\n\txorl %ebp, %ebp\n\tcall init_main\n\thlt\n");
