/* The commands that are built in. */
#pragma once

struct command {
    const char *name;
    const char *help;
    /* Returns the exit status. arguments[0] is the name; a null pointer ends them. */
    int (*run)(char **arguments);
};

/* The command of this name, or a null pointer. */
const struct command *find_command(const char *name);

/* Writes everything back and switches the machine off; returns only if the kernel refuses. */
void power_off(void);
