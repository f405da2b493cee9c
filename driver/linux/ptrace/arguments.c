/* Strings and lists of strings in a task's memory: arguments before and after an execve. Any thread, with a
 * window and texts of its own. Knows nothing of rules or events. */
#include <elf.h>
#include <string.h>

#include "cbp_constants.h"
#include "reading.h"

enum { NEW_STACK_FIRST_READ = 8192 };

static bool window_covers(struct window *window, uint64_t address)
{
    if (address >= window->address && address - window->address < window->size)
        return true;
    size_t size = window->next_read - (size_t) (address % TASK_PAGE_SIZE);
    window->address = address;
    window->size = read_memory(window->tid, address, window->bytes, size);
    if (window->next_read < sizeof window->bytes)
        window->next_read *= 4;
    return window->size > 0;
}

/* Appends the string at address and its NUL. */
static bool append_string(struct window *window, uint64_t address, struct text *text)
{
    for (;;) {
        if (text->size > CBP_ARGUMENTS_SIZE_MAX || !window_covers(window, address))
            return false;
        const char *start = window->bytes + (address - window->address);
        size_t available = window->size - (size_t) (address - window->address);
        const char *end = memchr(start, 0, available);
        size_t size = end != NULL ? (size_t) (end - start) + 1 : available;
        if (!text_append(text, start, size))
            return false;
        if (end != NULL)
            return true;
        address += size;
    }
}

static void open_window(struct window *window, uint32_t tid)
{
    window->tid = tid;
    window->address = 0;
    window->size = 0;
    window->next_read = TASK_PAGE_SIZE;
}

bool read_string(struct window *window, uint32_t tid, uint64_t address, struct text *text)
{
    open_window(window, tid);
    text->size = 0;
    return append_string(window, address, text);
}

bool read_argument_list(struct window *window, uint32_t tid, uint64_t address, bool is_32bit,
                        struct text *text)
{
    size_t width = is_32bit ? 4 : 8;
    text->size = 0;
    if (address == 0)
        return true;
    open_window(window, tid);
    uint64_t pointers[512];
    for (;;) {
        size_t wanted = TASK_PAGE_SIZE - (size_t) (address % TASK_PAGE_SIZE);
        size_t got = read_memory(tid, address, pointers, wanted);
        for (size_t i = 0; i + width <= got; i += width) {
            uint64_t pointer = is_32bit ? ((uint32_t *) pointers)[i / 4] : pointers[i / 8];
            if (pointer == 0)
                return true;
            if (!append_string(window, pointer, text))
                return false;
        }
        if (got < wanted)
            return false;
        address += got;
    }
}

/* ---- The stack of a new program ---- */

static uint64_t stack_word(const struct text *words, size_t index, bool is_32bit)
{
    if (is_32bit) {
        uint32_t word;
        memcpy(&word, words->bytes + index * 4, 4);
        return word;
    }
    uint64_t word;
    memcpy(&word, words->bytes + index * 8, 8);
    return word;
}

/* The vectors on a new stack: argument count, arguments, NULL, environment, NULL, auxiliary pairs. */
struct vectors {
    uint64_t first_argument, after_arguments, given;
    uint32_t user_id;
};

/* Whether the words read so far hold all vectors; else more must be read. */
static bool parse_vectors(const struct text *words, bool is_32bit, struct vectors *vectors)
{
    size_t word_count = words->size / (is_32bit ? 4 : 8);
    uint64_t argument_count = word_count > 0 ? stack_word(words, 0, is_32bit) : 0;
    size_t at = 1 + (size_t) argument_count;
    if (argument_count >= word_count || at + 1 >= word_count)
        return false;
    vectors->first_argument = argument_count > 0 ? stack_word(words, 1, is_32bit) : 0;
    vectors->after_arguments = stack_word(words, ++at, is_32bit);
    while (at < word_count && stack_word(words, at, is_32bit) != 0)
        at++;
    for (at++; at + 1 < word_count && stack_word(words, at, is_32bit) != AT_NULL; at += 2) {
        if (stack_word(words, at, is_32bit) == AT_UID)
            vectors->user_id = (uint32_t) stack_word(words, at + 1, is_32bit);
        if (stack_word(words, at, is_32bit) == AT_EXECFN)
            vectors->given = stack_word(words, at + 1, is_32bit);
    }
    if (at + 1 >= word_count)
        return false;
    if (vectors->after_arguments == 0) /* no environment: the arguments end where the given name starts */
        vectors->after_arguments = vectors->given;
    return true;
}

static bool read_vectors(uint32_t tid, const struct stop_registers *stop, struct text *words,
                         struct vectors *vectors)
{
    words->size = 0;
    for (size_t size = NEW_STACK_FIRST_READ; size <= 4u * CBP_ARGUMENTS_SIZE_MAX; size *= 4) {
        if (!text_reserve(words, size))
            return false;
        words->size = read_memory(tid, stop->stack_pointer, words->bytes, size);
        if (parse_vectors(words, stop->is_32bit, vectors))
            return true;
        if (words->size < size)
            return false;
    }
    return false;
}

/* The bytes from address to end, from what was read with the vectors or else from the task. */
static bool read_range(uint32_t tid, uint64_t stack_pointer, const struct text *words, uint64_t address,
                       uint64_t end, struct text *text)
{
    size_t size = (size_t) (end - address);
    text->size = 0;
    if (end <= address || size > CBP_ARGUMENTS_SIZE_MAX || !text_reserve(text, size))
        return false;
    if (address >= stack_pointer && end - stack_pointer <= words->size)
        memcpy(text->bytes, words->bytes + (address - stack_pointer), size);
    else if (read_memory(tid, address, text->bytes, size) < size)
        return false;
    text->size = size;
    return true;
}

/* The string at address, mostly among what was read with the vectors: at the top of the stack. */
static const char *stack_string(uint32_t tid, uint64_t stack_pointer, uint64_t address,
                                struct reading *reading, uint32_t *size)
{
    const struct text *words = &reading->words;
    if (address >= stack_pointer && address - stack_pointer < words->size) {
        const char *start = words->bytes + (address - stack_pointer);
        const char *end = memchr(start, 0, words->size - (size_t) (address - stack_pointer));
        if (end != NULL) {
            *size = (uint32_t) (end - start);
            return start;
        }
    }
    if (!read_string(&reading->window, tid, address, &reading->name))
        return NULL;
    *size = (uint32_t) reading->name.size - 1;
    return reading->name.bytes;
}

void read_new_stack(uint32_t tid, const struct stop_registers *stop, struct reading *reading,
                    struct new_stack *stack)
{
    struct vectors vectors = {0, 0, 0, reading->user_id};
    memset(stack, 0, sizeof *stack);
    if (!read_vectors(tid, stop, &reading->words, &vectors))
        return;
    reading->user_id = vectors.user_id;
    if (vectors.given != 0)
        stack->given = stack_string(tid, stop->stack_pointer, vectors.given, reading, &stack->given_size);
    if (vectors.first_argument == 0) {
        stack->complete = true;
    } else if (read_range(tid, stop->stack_pointer, &reading->words, vectors.first_argument,
                          vectors.after_arguments, &reading->list)) {
        stack->arguments = reading->list.bytes;
        stack->arguments_size = (uint32_t) reading->list.size;
        stack->complete = reading->list.size > 0 && reading->list.bytes[reading->list.size - 1] == 0;
    }
}
