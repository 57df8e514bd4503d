#include "work.h"

#include "bcache.h"
#include "mm.h"
#include "panic.h"
#include "x86.h"

#define WORKERS         6
#define PHASES          4
#define SHELVES         4
#define BOOKS           64
#define WINDOW          0xffffc00000000000
#define PAGES_AT_ONCE   2
#define WORDS_PER_PAGE  (PAGE_SIZE / 8)

struct book {
    struct list link;
    uint32_t weight;
};

/* A list with the sum of what is on it. */
struct shelf {
    struct spinlock lock;
    struct list books;
    uint32_t count;
    uint64_t weight;
};

struct worker {
    uint32_t number;
    uint32_t rounds;
    uint64_t random;
    uint64_t updates;
    struct countdown *finished;
};

static struct shelf shelves[SHELVES];
static struct book books[BOOKS];
static struct worker workers[WORKERS];
static const char *const worker_names[WORKERS] = {
    "worker0", "worker1", "worker2", "worker3", "worker4", "worker5",
};

/* xorshift64 (Marsaglia): every worker has its own state, so what it does depends on nobody else. */
static uint32_t random_below(struct worker *worker, uint32_t limit)
{
    uint64_t x = worker->random;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    worker->random = x;
    return (uint32_t)(x >> 33) % limit;
}

static void update_block(struct worker *worker)
{
    uint32_t number = random_below(worker, BLOCK_COUNT);
    struct buffer *buffer = bcache_get(number);

    mutex_lock(&buffer->lock);
    block_verify(buffer->block, number);
    block_update(buffer->block);
    buffer->dirty = true;
    mutex_unlock(&buffer->lock);
    bcache_put(buffer);
    worker->updates++;
}

static void put_on_shelf(struct shelf *shelf, struct book *book)
{
    list_add_tail(&shelf->books, &book->link);
    shelf->count++;
    shelf->weight += book->weight;
}

static void verify_shelf(const struct shelf *shelf)
{
    uint32_t count = 0;
    uint64_t weight = 0;

    for (const struct list *link = shelf->books.next; link != &shelf->books; link = link->next) {
        count++;
        weight += list_entry(link, struct book, link)->weight;
    }
    if (count != shelf->count || weight != shelf->weight)
        panic("work: a shelf has %u books of weight %lu, and should have %u of %lu", count, weight, shelf->count,
              shelf->weight);
}

/* Moves the first book of one shelf to another. Two locks, taken in the order of their numbers. */
static void move_book(struct worker *worker)
{
    uint32_t a = random_below(worker, SHELVES), b = (a + 1 + random_below(worker, SHELVES - 1)) % SHELVES;
    struct shelf *from = &shelves[a], *to = &shelves[b];
    struct list *link;

    spin_lock(a < b ? &from->lock : &to->lock);
    spin_lock(a < b ? &to->lock : &from->lock);
    link = list_pop(&from->books);
    if (link != NULL) {
        struct book *book = list_entry(link, struct book, link);

        from->count--;
        from->weight -= book->weight;
        put_on_shelf(to, book);
    }
    verify_shelf(from);
    verify_shelf(to);
    spin_unlock(&from->lock);
    spin_unlock(&to->lock);
}

static void check_word(const uint64_t *word, uint64_t expected)
{
    if (*word != expected)
        panic("work: word %p is %016lx, should be %016lx", (const void *)word, *word, expected);
}

/* Fills pages of its own, and finds them as it left them. */
static void use_pages(struct worker *worker)
{
    uint64_t *pages[PAGES_AT_ONCE];
    uint64_t pattern = worker->random;

    for (unsigned i = 0; i < PAGES_AT_ONCE; i++) {
        pages[i] = page_alloc();
        for (unsigned word = 0; word < WORDS_PER_PAGE; word++)
            pages[i][word] = pattern + i + word;
    }
    for (unsigned i = 0; i < PAGES_AT_ONCE; i++) {
        for (unsigned word = 0; word < WORDS_PER_PAGE; word++)
            check_word(&pages[i][word], pattern + i + word);
        page_free(pages[i]);
    }
}

/* Maps two pages in turn at one address: after the shootdown no CPU may see the first through it. */
static void use_window(struct worker *worker)
{
    uintptr_t vaddr = WINDOW + worker->number * PAGE_SIZE;

    for (uint64_t i = 0; i < PAGES_AT_ONCE; i++) {
        uint64_t *page = page_alloc();

        map_page(vaddr, page);
        *(volatile uint64_t *)vaddr = worker->random + i;
        check_word(page, worker->random + i);
        unmap_page(vaddr);
        page_free(page);
    }
}

static void work(void *argument)
{
    struct worker *worker = argument;

    for (uint32_t round = 0; round < worker->rounds; round++) {
        switch (random_below(worker, 16)) {
        case 0 ... 7:
            update_block(worker);
            break;
        case 8 ... 11:
            move_book(worker);
            break;
        case 12 ... 14:
            use_pages(worker);
            break;
        case 15:
            use_window(worker);
            break;
        }
    }
    countdown_done(worker->finished);
}

static void verify_shelves(void)
{
    uint32_t count = 0;

    for (unsigned i = 0; i < SHELVES; i++) {
        verify_shelf(&shelves[i]);
        count += shelves[i].count;
    }
    if (count != BOOKS)
        panic("work: %u books of %d are left", count, BOOKS);
}

static void start_phase(const struct work_options *options, struct countdown *finished)
{
    countdown_init(finished, WORKERS);
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i].rounds = options->rounds;
        workers[i].finished = finished;
        thread_create(worker_names[i], work, &workers[i], i % cpu_count);
    }
}

void work_run(const struct work_options *options)
{
    struct countdown finished;

    bcache_init(options->fixed);
    for (unsigned i = 0; i < SHELVES; i++)
        list_init(&shelves[i].books);
    for (uint32_t i = 0; i < BOOKS; i++) {
        books[i].weight = i + 1;
        put_on_shelf(&shelves[i % SHELVES], &books[i]);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i].number = i;
        workers[i].random = (options->seed + i + 1) * 0x9e3779b97f4a7c15;
    }

    for (int phase = 1; phase <= PHASES; phase++) {
        uint64_t updates = 0;

        start_phase(options, &finished);
        countdown_wait(&finished);
        for (uint32_t i = 0; i < WORKERS; i++)
            updates += workers[i].updates;
        bcache_verify(updates);
        verify_shelves();
        print_progress("work: phase %d of %d, %lu block updates, all in order\n", phase, PHASES, updates);
        /* A pause, as between two jobs: every CPU goes idle. */
        thread_sleep_ticks(1);
    }
}
