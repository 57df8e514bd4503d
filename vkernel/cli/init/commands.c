/* The commands that are built in: enough to look around in a kernel that has no user space of its own. */
#include "commands.h"
#include "text.h"

enum { REBOOT_MAGIC1 = (int)0xfee1dead, REBOOT_MAGIC2 = 672274793, REBOOT_RESTART = 0x1234567, REBOOT_POWER_OFF = 0x4321fedc };

static char buffer[64 << 10];

static int copy_out(const char *path)
{
    long fd = syscall3(SYS_OPEN, path, O_RDONLY, 0);
    if (fd < 0)
        return complain(path, fd);
    long count;
    while ((count = syscall3(SYS_READ, fd, buffer, sizeof buffer)) > 0)
        write_all(1, buffer, (size_t)count);
    syscall1(SYS_CLOSE, fd);
    return count < 0 ? complain(path, count) : 0;
}

static int run_cat(char **arguments)
{
    int status = 0;
    if (!arguments[1]) {
        say(2, "cat: name a file\n", (char *)0);
        return 1;
    }
    while (*++arguments)
        status |= copy_out(*arguments);
    return status;
}

static int run_echo(char **arguments)
{
    for (char **argument = arguments + 1; *argument; argument++)
        say(1, *argument, argument[1] ? " " : "", (char *)0);
    say(1, "\n", (char *)0);
    return 0;
}

struct directory_entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* struct stat of x86-64, as far as it is read. */
struct status {
    uint64_t device, inode, links;
    uint32_t mode, user, group, padding;
    uint64_t special_device;
    int64_t size;
    uint64_t rest[11];
};

static void list_entry(const char *directory, const char *name, int is_long)
{
    static const char types[] = "?pc?d?b?-?l?s???";
    char path[4096];
    char *end = append(path, path + sizeof path, directory);
    end = append(end, path + sizeof path, "/");
    append(end, path + sizeof path, name);
    struct status status = {0};
    syscall2(SYS_LSTAT, path, &status);
    char type = types[status.mode >> 12 & 15];
    if (is_long) {
        char mode[] = "?rwxrwxrwx ";
        mode[0] = type;
        for (int bit = 0; bit < 9; bit++) {
            if (!(status.mode >> (8 - bit) & 1))
                mode[1 + bit] = '-';
        }
        say(1, mode, (char *)0);
        say_number(1, (unsigned long)status.size, 10);
        say(1, " ", (char *)0);
    }
    say(1, name, type == 'd' ? "/" : type == 'l' ? "@" : "", "\n", (char *)0);
}

static int list(const char *path, int is_long)
{
    long fd = syscall3(SYS_OPEN, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd == -20) {
        list_entry("", path, is_long);
        return 0;
    }
    if (fd < 0)
        return complain(path, fd);
    long count;
    while ((count = syscall3(SYS_GETDENTS64, fd, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < count;) {
            struct directory_entry *entry = (void *)(buffer + at);
            if (entry->name[0] != '.')
                list_entry(path, entry->name, is_long);
            at += entry->length;
        }
    }
    syscall1(SYS_CLOSE, fd);
    return count < 0 ? complain(path, count) : 0;
}

static int run_ls(char **arguments)
{
    int is_long = arguments[1] && equal(arguments[1], "-l");
    int status = 0;
    arguments += 1 + is_long;
    if (!*arguments)
        return list(".", is_long);
    for (; *arguments; arguments++)
        status |= list(*arguments, is_long);
    return status;
}

static int run_dmesg(char **arguments)
{
    enum { READ_ALL = 3, SIZE_BUFFER = 10 };
    static char log[2 << 20];
    (void)arguments;
    long count = syscall3(SYS_SYSLOG, READ_ALL, log, sizeof log);
    if (count < 0)
        return complain("dmesg", count);
    /* Each line begins with its <level>. */
    for (char *at = log, *end = log + count; at < end;) {
        char *text = at;
        if (*text == '<') {
            while (text < end && *text != '>' && *text != '\n')
                text++;
            text += text < end && *text == '>';
        }
        for (at = text; at < end && *at != '\n';)
            at++;
        at += at < end;
        write_all(1, text, (size_t)(at - text));
    }
    return 0;
}

/* Prints one line of ps from /proc/PID/stat: `1 (init) S ...`. */
static void list_process(const char *pid)
{
    char path[64];
    char text[512];
    char *end = append(path, path + sizeof path, "/proc/");
    end = append(end, path + sizeof path, pid);
    append(end, path + sizeof path, "/stat");
    long fd = syscall3(SYS_OPEN, path, O_RDONLY, 0);
    if (fd < 0)
        return;
    long count = syscall3(SYS_READ, fd, text, sizeof text - 1);
    syscall1(SYS_CLOSE, fd);
    /* The name may contain parentheses of its own: it ends at the last one. */
    char *open = text, *close = text + (count > 0 ? count : 0);
    while (close > text && *close != ')')
        close--;
    while (open < close && *open != '(')
        open++;
    if (open == close)
        return;
    *close = 0;
    char state[2] = {close[2], 0};
    int is_number;
    say_number(1, number(pid, &is_number), 6);
    say(1, "  ", state, "  ", open + 1, "\n", (char *)0);
}

static int run_ps(char **arguments)
{
    (void)arguments;
    long fd = syscall3(SYS_OPEN, "/proc", O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return complain("/proc", fd);
    say(1, "   PID  S  NAME\n", (char *)0);
    long count;
    while ((count = syscall3(SYS_GETDENTS64, fd, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < count;) {
            struct directory_entry *entry = (void *)(buffer + at);
            int is_pid;
            number(entry->name, &is_pid);
            if (is_pid)
                list_process(entry->name);
            at += entry->length;
        }
    }
    syscall1(SYS_CLOSE, fd);
    return 0;
}

/* mount, or mount [-t TYPE] SOURCE DIRECTORY. */
static int run_mount(char **arguments)
{
    const char *type = "";
    if (!arguments[1])
        return copy_out("/proc/mounts");
    arguments++;
    if (equal(arguments[0], "-t") && arguments[1]) {
        type = arguments[1];
        arguments += 2;
    }
    if (!arguments[0] || !arguments[1] || arguments[2]) {
        say(2, "mount: write mount [-t TYPE] SOURCE DIRECTORY\n", (char *)0);
        return 1;
    }
    long result = syscall5(SYS_MOUNT, arguments[0], arguments[1], type, 0, 0);
    return result < 0 ? complain(arguments[1], result) : 0;
}

static int run_mkdir(char **arguments)
{
    int status = 0;
    while (*++arguments) {
        long result = syscall2(SYS_MKDIR, *arguments, 0755);
        status |= result < 0 ? complain(*arguments, result) : 0;
    }
    return status;
}

static int run_cd(char **arguments)
{
    const char *path = arguments[1] ? arguments[1] : "/";
    long result = syscall1(SYS_CHDIR, path);
    return result < 0 ? complain(path, result) : 0;
}

static int run_pwd(char **arguments)
{
    char path[4096];
    (void)arguments;
    long result = syscall2(SYS_GETCWD, path, sizeof path);
    if (result < 0)
        return complain("pwd", result);
    say(1, path, "\n", (char *)0);
    return 0;
}

static int run_sleep(char **arguments)
{
    int is_number = 0;
    long time[2] = {arguments[1] ? (long)number(arguments[1], &is_number) : 0, 0};
    if (!is_number) {
        say(2, "sleep: write a number of seconds\n", (char *)0);
        return 1;
    }
    syscall2(SYS_NANOSLEEP, time, 0);
    return 0;
}

static long reboot(unsigned command)
{
    syscall0(SYS_SYNC);
    return syscall4(SYS_REBOOT, REBOOT_MAGIC1, REBOOT_MAGIC2, command, 0);
}

void power_off(void)
{
    complain("poweroff", reboot(REBOOT_POWER_OFF));
}

static int run_poweroff(char **arguments)
{
    (void)arguments;
    power_off();
    return 1;
}

static int run_reboot(char **arguments)
{
    (void)arguments;
    return complain("reboot", reboot(REBOOT_RESTART));
}

static int run_help(char **arguments);

static const struct command commands[] = {
    {"cat", "FILE...                      print files", run_cat},
    {"cd", "[DIRECTORY]                   change the directory", run_cd},
    {"dmesg", "                           print the kernel's log", run_dmesg},
    {"echo", "WORD...                     print words: echo c > /proc/sysrq-trigger", run_echo},
    {"exit", "                            as poweroff", run_poweroff},
    {"help", "                            this list", run_help},
    {"ls", "[-l] [FILE|DIRECTORY...]      list files", run_ls},
    {"mkdir", "DIRECTORY...               make directories", run_mkdir},
    {"mount", "[-t TYPE SOURCE DIRECTORY] mount, or list what is mounted", run_mount},
    {"poweroff", "                        switch the machine off; so does ^D", run_poweroff},
    {"ps", "                              list processes", run_ps},
    {"pwd", "                             print the directory", run_pwd},
    {"reboot", "                          restart the machine", run_reboot},
    {"sleep", "SECONDS                    wait", run_sleep},
};

static int run_help(char **arguments)
{
    (void)arguments;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        say(1, "  ", commands[i].name, " ", commands[i].help, "\n", (char *)0);
    say(1, "  PROGRAM [ARGUMENT...]           run a program of the file system\n"
           "  COMMAND > FILE, COMMAND >> FILE  send what it prints to a file\n",
        (char *)0);
    return 0;
}

const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (equal(commands[i].name, name))
            return &commands[i];
    }
    return 0;
}
