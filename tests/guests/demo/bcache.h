/* A cache of disk blocks in front of a RAM disk. A block is in memory while somebody uses it. */
#ifndef BCACHE_H
#define BCACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "list.h"
#include "sched.h"

#define BLOCK_SIZE      512
#define BLOCK_COUNT     1024
#define BLOCK_WORDS     (BLOCK_SIZE / 8 - 2)

/* The content of a block, on the disk and in memory. */
struct block {
    uint32_t number;
    uint32_t generation;            /* updates since the disk was made */
    uint64_t checksum;              /* of everything else */
    uint64_t words[BLOCK_WORDS];
};

_Static_assert(sizeof(struct block) == BLOCK_SIZE, "a block fills a block");

struct buffer {
    struct list link;               /* in a hash chain while in use, else in the list of free buffers */
    uint32_t number;
    int references;
    bool dirty;
    struct mutex lock;              /* for the content */
    struct block *block;            /* in a page of its own */
};

/* Makes the disk. `locked_put` has every bcache_put() take the cache's lock. */
void bcache_init(bool locked_put);

/* The buffer of a block, read from the disk if nobody else uses it. To be given back by bcache_put(). */
struct buffer *bcache_get(uint32_t number);
void bcache_put(struct buffer *buffer);

/* Panics unless the block is number `number` and in order. */
void block_verify(const struct block *block, uint32_t number);
void block_update(struct block *block);

/* Panics unless no buffer is in use, every block on the disk is in order, and they saw `updates` updates in all. */
void bcache_verify(uint64_t updates);

#endif
