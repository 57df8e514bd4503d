// What vCPUs do to each other, as fast as they can: TLB shootdowns, memory barriers by IPI, turns taken by
// spinning, a futex, migrations. Prints what a round of each took in guest time.

#define _GNU_SOURCE
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST_THREADS 16

static long threads, rounds;
static pthread_barrier_t all_there;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile long turn, count;

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static void stay_on(long cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu % threads, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        abort();
}

static void shootdown(long self)
{
    (void)self;
    volatile char *pages = mmap(0, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pages[0] = 1;
    pages[4096] = 2;
    if (mprotect((void *)pages, 2 * 4096, PROT_READ) || pages[0] != 1 || pages[4096] != 2)
        abort();
    if (munmap((void *)pages, 4 * 4096))
        abort();
}

static void membarrier(long self)
{
    (void)self;
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
        abort();
}

static void spin(long self)
{
    while (turn % threads != self)
        ;
    turn++;
}

static void spin_with_pause(long self)
{
    while (turn % threads != self)
        __builtin_ia32_pause();
    turn++;
}

static void futex(long self)
{
    (void)self;
    pthread_mutex_lock(&mutex);
    count++;
    pthread_mutex_unlock(&mutex);
}

static void migrate(long self)
{
    stay_on(self + turn++);
}

static const struct load {
    const char *name;
    void (*round)(long self);
} loads[] = {
    { "shootdown", shootdown }, { "membarrier", membarrier }, { "spin", spin },
    { "pause", spin_with_pause }, { "futex", futex }, { "migrate", migrate },
};

static const struct load *load;

static void *work(void *self)
{
    stay_on((long)self);
    pthread_barrier_wait(&all_there);
    for (long round = 0; round < rounds; round++)
        load->round((long)self);
    return 0;
}

int main(int argc, char **argv)
{
    pthread_t thread[MOST_THREADS];
    threads = sysconf(_SC_NPROCESSORS_ONLN);
    rounds = argc > 1 ? atol(argv[1]) : 100;
    if (threads > MOST_THREADS || pthread_barrier_init(&all_there, 0, threads))
        abort();
    // Kernels without it have no such barrier at all; then the load aborts.
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    for (load = loads; load < loads + sizeof loads / sizeof *loads; load++) {
        double start = now_us();
        turn = count = 0;
        for (long self = 0; self < threads; self++)
            if (pthread_create(&thread[self], 0, work, (void *)self))
                abort();
        for (long self = 0; self < threads; self++)
            pthread_join(thread[self], 0);
        printf("load: %s %.1f us a round\n", load->name, (now_us() - start) / rounds);
        fflush(stdout);
    }
    puts("load: done");
    return 0;
}
