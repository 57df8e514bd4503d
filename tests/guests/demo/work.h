/* The work load: threads that use the block cache, move elements between lists, and allocate and map pages. */
#ifndef WORK_H
#define WORK_H

#include <stdbool.h>
#include <stdint.h>

struct work_options {
    uint32_t rounds;        /* operations of each worker in each phase */
    uint64_t seed;          /* of the choice of operations */
    bool fixed;             /* see README.md */
};

/* Runs all phases, from a thread; panics when anything it left behind is not as it should be. */
void work_run(const struct work_options *options);

#endif
