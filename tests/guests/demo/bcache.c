#include "bcache.h"

#include "mm.h"
#include "panic.h"
#include "string.h"

#define BUFFER_COUNT    32
#define HASH_CHAINS     16

static struct {
    struct spinlock lock;           /* for the chains, the free list, and the disk */
    struct list chains[HASH_CHAINS];
    struct list free;
    uint32_t in_use;
    bool locked_put;
} cache;

static struct buffer buffers[BUFFER_COUNT];
static struct block disk[BLOCK_COUNT];

static uint64_t block_checksum(const struct block *block)
{
    uint64_t sum = (uint64_t)block->generation << 32 | block->number;

    for (unsigned i = 0; i < BLOCK_WORDS; i++)
        sum = (sum << 7 | sum >> 57) ^ block->words[i];
    return sum;
}

void block_verify(const struct block *block, uint32_t number)
{
    uint64_t checksum = block_checksum(block);

    if (block->number != number)
        panic("bcache: block %u: the buffer holds block %u", number, block->number);
    if (block->checksum != checksum)
        panic("bcache: block %u: checksum %016lx, but the content has %016lx", number, block->checksum, checksum);
}

void block_update(struct block *block)
{
    block->generation++;
    for (unsigned i = 0; i < BLOCK_WORDS; i++)
        block->words[i] += (uint64_t)block->generation * (i + 1);
    block->checksum = block_checksum(block);
}

void bcache_init(bool locked_put)
{
    for (unsigned i = 0; i < HASH_CHAINS; i++)
        list_init(&cache.chains[i]);
    list_init(&cache.free);
    for (unsigned i = 0; i < BUFFER_COUNT; i++) {
        mutex_init(&buffers[i].lock);
        list_add_tail(&cache.free, &buffers[i].link);
    }
    for (uint32_t i = 0; i < BLOCK_COUNT; i++) {
        disk[i].number = i;
        disk[i].checksum = block_checksum(&disk[i]);
    }
    cache.locked_put = locked_put;
}

static struct buffer *find(uint32_t number)
{
    struct list *chain = &cache.chains[number % HASH_CHAINS];

    for (struct list *link = chain->next; link != chain; link = link->next) {
        struct buffer *buffer = list_entry(link, struct buffer, link);

        if (buffer->number == number)
            return buffer;
    }
    return NULL;
}

/* Reads a block into a free buffer. The cache is locked. */
static struct buffer *read_block(uint32_t number)
{
    struct list *first = list_pop(&cache.free);
    struct buffer *buffer;

    if (first == NULL)
        panic("bcache: no free buffer for block %u", number);
    buffer = list_entry(first, struct buffer, link);
    buffer->number = number;
    buffer->references = 0;
    buffer->dirty = false;
    buffer->block = page_alloc();
    memcpy(buffer->block, &disk[number], BLOCK_SIZE);
    list_add(&cache.chains[number % HASH_CHAINS], &buffer->link);
    cache.in_use++;
    return buffer;
}

/* Writes a buffer back and lets it go. The cache is locked. */
static void release(struct buffer *buffer)
{
    list_remove(&buffer->link);
    if (buffer->dirty)
        memcpy(&disk[buffer->number], buffer->block, BLOCK_SIZE);
    page_free(buffer->block);
    list_add(&cache.free, &buffer->link);
    cache.in_use--;
}

struct buffer *bcache_get(uint32_t number)
{
    struct buffer *buffer;

    spin_lock(&cache.lock);
    buffer = find(number);
    if (buffer == NULL)
        buffer = read_block(number);
    __atomic_add_fetch(&buffer->references, 1, __ATOMIC_ACQ_REL);
    spin_unlock(&cache.lock);
    return buffer;
}

/* Drops a reference; whether it was the last. */
static bool drop_reference(struct buffer *buffer)
{
    int left = __atomic_sub_fetch(&buffer->references, 1, __ATOMIC_ACQ_REL);

    if (left < 0)
        panic("bcache: block %u: %d references", buffer->number, left);
    return left == 0;
}

void bcache_put(struct buffer *buffer)
{
    if (cache.locked_put) {
        spin_lock(&cache.lock);
        if (drop_reference(buffer))
            release(buffer);
        spin_unlock(&cache.lock);
        return;
    }
    /* Whoever is not the last user need not wait for the lock. */
    if (!drop_reference(buffer))
        return;
    spin_lock(&cache.lock);
    release(buffer);
    spin_unlock(&cache.lock);
}

void bcache_verify(uint64_t updates)
{
    uint64_t found = 0;

    spin_lock(&cache.lock);
    if (cache.in_use != 0)
        panic("bcache: %u buffers in use after all were given back", cache.in_use);
    for (uint32_t i = 0; i < BLOCK_COUNT; i++) {
        block_verify(&disk[i], i);
        found += disk[i].generation;
    }
    spin_unlock(&cache.lock);
    if (found != updates)
        panic("bcache: the disk saw %lu updates of %lu", found, updates);
}
