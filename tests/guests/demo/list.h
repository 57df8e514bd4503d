/* Doubly linked lists with a head, in the usual kernel shape, checked at every removal. */
#ifndef LIST_H
#define LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "panic.h"

struct list {
    struct list *next, *prev;
};

#define list_entry(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

static inline void list_init(struct list *head)
{
    head->next = head;
    head->prev = head;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_add_tail(struct list *head, struct list *entry)
{
    struct list *last = head->prev;

    if (last->next != head)
        panic("list: tail of %p is %p, whose next is %p", (void *)head, (void *)last, (void *)last->next);
    entry->next = head;
    entry->prev = last;
    last->next = entry;
    head->prev = entry;
}

static inline void list_add(struct list *head, struct list *entry)
{
    list_add_tail(head->next, entry);
}

/* An entry that is on no list has NULL in both links. */
static inline void list_remove(struct list *entry)
{
    struct list *next = entry->next, *prev = entry->prev;

    if (next == NULL || prev == NULL)
        panic("list: %p removed twice", (void *)entry);
    if (next->prev != entry || prev->next != entry)
        panic("list: %p removed, but next->prev is %p and prev->next is %p", (void *)entry, (void *)next->prev,
              (void *)prev->next);
    next->prev = prev;
    prev->next = next;
    entry->next = NULL;
    entry->prev = NULL;
}

/* Removes and returns the first entry, NULL when there is none. */
static inline struct list *list_pop(struct list *head)
{
    struct list *first = head->next;

    if (first == head)
        return NULL;
    list_remove(first);
    return first;
}

#endif
