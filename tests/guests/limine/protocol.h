/* Limine's boot protocol (PROTOCOL.md of the Limine project), as far as this guest asks for it. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdint.h>

#define COMMON_MAGIC    0xc7b1dd30df4c8b88, 0x0a82e883a194f07b
#define BASE_REVISION   0xf9562b2d5c95a6c8, 0x6a7b384944536bdc
#define START_MARKER    0xf6b8f4b39de7d1ae, 0xfab91a6940fcb9cf, 0x785c6ed015d3e316, 0x181e920a7852b9d9
#define END_MARKER      0xadc0e0531bb10d03, 0x9572709f31764c62

/* A request, with the type of its response and up to one field of its own. */
#define REQUEST(name, low, high, response_type, own) \
    __attribute__((used, section(".requests"))) static volatile struct { \
        uint64_t id[4], revision; \
        const struct response_type *response; \
        uint64_t field; \
    } name = { { COMMON_MAGIC, low, high }, 0, 0, own }

struct text_response {
    uint64_t revision;
    const char *text, *version;
};

struct value_response {
    uint64_t revision, value, second;
};

struct list_response {
    uint64_t revision, count;
    void *const *list;
};

struct mp_response {
    uint64_t revision;
    uint32_t flags, bsp_lapic_id;
    uint64_t count;
    struct mp_info **list;
};

struct mp_info {
    uint32_t processor_id, lapic_id;
    uint64_t reserved;
    void (*volatile goto_address)(struct mp_info *);
    volatile uint64_t extra_argument;
};

struct region {
    uint64_t base, length, type;
};

struct framebuffer {
    volatile uint32_t *address;
    uint64_t width, height, pitch;
    uint16_t bits_per_pixel;
    uint8_t memory_model, red_size, red_shift, green_size, green_shift, blue_size, blue_shift;
};

struct file {
    uint64_t revision;
    const char *address;
    uint64_t size;
    const char *path, *command_line;
};

struct file_response {
    uint64_t revision;
    const struct file *file;
};

#endif
