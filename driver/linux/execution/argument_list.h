/* Reads what an execve is given from a task's memory; see argument_list.c. */
#ifndef CBPD_ARGUMENT_LIST_H
#define CBPD_ARGUMENT_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

enum { TASK_PAGE_SIZE = 4096, WINDOW_SIZE = 16 * TASK_PAGE_SIZE };

/* Reads up to size bytes, or to a page that is not mapped. Gives how many. */
size_t cbpd_read_memory(uint32_t tid, uint64_t address, void *buffer, size_t size);

/* A window shows a part of a task's memory: strings of an argument list mostly lie side by side. */
struct window {
    uint32_t tid;
    uint64_t address;
    size_t size;
    size_t next_read; /* grows while strings come in order */
    char bytes[WINDOW_SIZE];
};

/* Reads a string with its NUL. False: it cannot be read, or is too long for the kernel. */
bool cbpd_read_string(struct window *window, uint32_t tid, uint64_t address, struct text *text);

/* Gives one of several numbers as a task of that kind has them. */
static inline uint64_t cbpd_word_at(const void *words, size_t index, bool is_32bit)
{
    return is_32bit ? ((const uint32_t *) words)[index] : ((const uint64_t *) words)[index];
}

/* execve finds its lists at these addresses; 0: there is none. */
struct argument_places {
    uint64_t arguments, environment;
    bool is_32bit;
    size_t name_size;   /* of the name that the kernel will use, with its NUL */
    size_t prefix_size; /* of what scripts' headers put in place of the first argument */
};

/* The beginning of a list that has been read with something else. */
struct list_ahead {
    uint64_t address;
    size_t size; /* 0: nothing has been read */
    char pointers[256];
};

/* A reader keeps its memory for the next list. */
struct list_reader {
    struct text list; /* what was read, each with its NUL */
    struct text scratch, beginnings;
    struct window window;
    struct list_ahead ahead;
};

/* Reads a path like cbpd_read_string(), and in one call with it the beginning of the list at that address, which
 * cbpd_read_argument_list() wants next. */
bool cbpd_read_path(struct list_reader *reader, uint32_t tid, uint64_t address, uint64_t list_address,
                    struct text *path);

/* Reads the list of arguments. False: they cannot be read, or the kernel will refuse them and their environment
 * as too long. */
bool cbpd_read_argument_list(struct list_reader *reader, uint32_t tid, const struct argument_places *places);

/* Reads the strings of a short list whose pointers have been read already, at once. False: they are too many,
 * too long, or cannot be read; cbpd_read_argument_list() says which. */
enum { FEW_ARGUMENTS_MAX = 32 };
bool cbpd_read_few_arguments(struct list_reader *reader, uint32_t tid, const void *pointers, size_t count,
                             bool is_32bit);

#endif
