/* Offers a growing buffer. */
#ifndef CBP_TEXT_H
#define CBP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct text { /* kept for the next use */
    char *bytes;
    size_t size;
    size_t capacity;
    bool is_lacking; /* it did not get the memory that it wanted; its owner resets this */
};

static inline bool text_reserve(struct text *text, size_t size)
{
    if (size <= text->capacity)
        return true;
    size_t capacity = size + size / 2 + 256;
    char *bytes = realloc(text->bytes, capacity);
    if (!bytes) {
        text->is_lacking = true;
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

static inline bool text_append(struct text *text, const char *bytes, size_t size)
{
    if (!text_reserve(text, text->size + size))
        return false;
    if (size > 0)
        memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
    return true;
}

#endif
