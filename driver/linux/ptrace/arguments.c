/* Reads strings and lists of strings from a task's memory: arguments before and after an execve. Any thread,
 * with a window and texts of its own. Knows no rules and no events. */
#include <elf.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "cbp_constants.h"
#include "reading.h"

/* The kernel takes no longer string, and always has this room for an execve's strings and pointers. Source:
 * the kernel's fs/exec.c and linux/binfmts.h. */
enum { STRING_SIZE_MAX = 32 * TASK_PAGE_SIZE, ALWAYS_ENOUGH = 32 * TASK_PAGE_SIZE, POINTER_SIZE = 8 };

enum {
    NEW_STACK_FIRST_READ = 8192,
    POINTERS_AT_ONCE = 512,
    JUMPS_MAX = 16,            /* of these, which a window follows; with more, one call reads all strings */
    SCATTERED_SIZE = 128,      /* of each string */
    LOOK_AT_ENVIRONMENT = 8192 /* arguments of this size: look at the environment, too */
};

static bool window_covers(struct window *window, uint64_t address)
{
    if (address >= window->address && address - window->address < window->size)
        return true;
    if (address != window->address + window->size)
        window->next_read = TASK_PAGE_SIZE;
    size_t size = window->next_read - (size_t) (address % TASK_PAGE_SIZE);
    window->address = address;
    window->size = cbpd_read_memory(window->tid, address, window->bytes, size);
    if (window->next_read < sizeof window->bytes)
        window->next_read *= 4;
    return window->size > 0;
}

/* Appends the string at address with its NUL. False: it cannot be read, or is too long for the kernel. */
static bool append_string(struct window *window, uint64_t address, struct text *text)
{
    size_t size_before = text->size;
    for (;;) {
        if (text->size - size_before > STRING_SIZE_MAX || !window_covers(window, address))
            return false;
        const char *start = window->bytes + (address - window->address);
        size_t available = window->size - (size_t) (address - window->address);
        const char *end = memchr(start, 0, available);
        size_t size = end ? (size_t) (end - start) + 1 : available;
        if (!text_append(text, start, size))
            return false;
        if (end)
            return text->size - size_before <= STRING_SIZE_MAX;
        address += size;
    }
}

static void open_window(struct reading *reading)
{
    reading->window.tid = reading->place.tid;
    reading->window.address = 0;
    reading->window.size = 0;
    reading->window.next_read = TASK_PAGE_SIZE;
}

bool cbpd_read_string(struct reading *reading, uint64_t address, struct text *text)
{
    open_window(reading);
    text->size = 0;
    return append_string(&reading->window, address, text);
}

/* ---- Lists ---- */

static uint64_t word_at(const void *words, size_t index, bool is_32bit)
{
    return is_32bit ? ((const uint32_t *) words)[index] : ((const uint64_t *) words)[index];
}

struct list {
    bool is_32bit; /* as its pointers are */
    uint64_t count;
    size_t limit;            /* for strings and pointers together */
    struct reading *reading; /* whose window is used */
    struct text *text;
};

static bool is_within_limit(const struct list *list)
{
    return list->text->size + list->count * POINTER_SIZE <= list->limit;
}

/* Appends strings that lie side by side, or nearly so. */
static bool append_in_order(struct list *list, const void *pointers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        list->count++;
        if (!append_string(&list->reading->window, word_at(pointers, i, list->is_32bit), list->text) ||
            !is_within_limit(list))
            return false;
    }
    return true;
}

/* Appends strings that lie anywhere: one call reads the beginnings of all of them. */
static bool append_scattered(struct list *list, const void *pointers, size_t count)
{
    struct iovec remote[POINTERS_AT_ONCE];
    struct text *beginnings = &list->reading->words; /* of use only after execve */
    if (!text_reserve(beginnings, count * SCATTERED_SIZE))
        return false;
    struct iovec local = {beginnings->bytes, 0};
    for (size_t i = 0; i < count; i++) {
        uint64_t address = word_at(pointers, i, list->is_32bit);
        size_t size = TASK_PAGE_SIZE - (size_t) (address % TASK_PAGE_SIZE);
        size = size < SCATTERED_SIZE ? size : SCATTERED_SIZE;
        remote[i] = (struct iovec){(void *) (uintptr_t) address, size}; // NOLINT: another process's address
        local.iov_len += size;
    }
    ssize_t got = process_vm_readv((pid_t) list->reading->place.tid, &local, 1, remote, count, 0);
    if (got != (ssize_t) local.iov_len)
        return false;
    const char *start = beginnings->bytes;
    for (size_t i = 0; i < count; start += remote[i].iov_len, i++) {
        const char *end = memchr(start, 0, remote[i].iov_len);
        list->count++;
        if (!(end ? text_append(list->text, start, (size_t) (end - start) + 1)
                  : append_string(&list->reading->window, word_at(pointers, i, list->is_32bit),
                                  list->text)) ||
            !is_within_limit(list))
            return false;
    }
    return true;
}

static bool is_scattered(const struct list *list, const void *pointers, size_t count)
{
    uint32_t jumps = 0;
    for (size_t i = 1; i < count; i++)
        jumps +=
            word_at(pointers, i, list->is_32bit) - word_at(pointers, i - 1, list->is_32bit) >= TASK_PAGE_SIZE;
    return jumps > JUMPS_MAX;
}

static bool read_list(struct list *list, uint64_t address)
{
    uint64_t pointers[POINTERS_AT_ONCE];
    size_t width = list->is_32bit ? 4 : 8;
    open_window(list->reading);
    for (;;) {
        size_t wanted = sizeof pointers - (size_t) (address % sizeof pointers);
        size_t got = cbpd_read_memory(list->reading->place.tid, address, pointers, wanted);
        for (size_t at = 0, all = got / width; at < all; at += POINTERS_AT_ONCE) {
            const char *from = (const char *) pointers + at * width;
            size_t count = 0;
            while (count < POINTERS_AT_ONCE && at + count < all && word_at(from, count, list->is_32bit) != 0)
                count++;
            if (!(is_scattered(list, from, count) ? append_scattered(list, from, count)
                                                  : append_in_order(list, from, count)))
                return false;
            if (count < POINTERS_AT_ONCE && at + count < all)
                return true;
        }
        if (got < wanted)
            return false;
        address += got;
    }
}

/* Gives the room that an execve has for strings and pointers: a quarter of the stack, within bounds. */
static size_t limit_of(uint32_t tid)
{
    struct rlimit stack;
    size_t limit = CBP_ARGUMENTS_SIZE_MAX;
    if (prlimit((pid_t) tid, RLIMIT_STACK, NULL, &stack) == 0 && stack.rlim_cur / 4 < limit)
        limit = (size_t) (stack.rlim_cur / 4);
    return limit > ALWAYS_ENOUGH ? limit : ALWAYS_ENOUGH;
}

/* Gives the size of what else the new stack has: the name, and what scripts put before the arguments. */
static size_t beside_arguments(const struct argument_places *places, const struct text *arguments)
{
    size_t replaced = arguments->size > 0 ? strlen(arguments->bytes) + 1 : 0;
    return places->name_size + (places->prefix_size > replaced ? places->prefix_size - replaced : 0);
}

bool cbpd_read_argument_list(struct reading *reading, const struct argument_places *places)
{
    struct text *text = &reading->list, *scratch = &reading->composed;
    struct list arguments = {
        .is_32bit = places->is_32bit, .limit = CBP_ARGUMENTS_SIZE_MAX, .reading = reading, .text = text};
    text->size = scratch->size = 0;
    if (places->arguments != 0 && !read_list(&arguments, places->arguments))
        return false;
    size_t size = text->size + (arguments.count > 0 ? arguments.count : 1) * POINTER_SIZE;
    if (size <= LOOK_AT_ENVIRONMENT)
        return true;
    size_t limit = limit_of(reading->place.tid);
    size += beside_arguments(places, text);
    struct list environment = arguments;
    environment.count = 0;
    environment.text = scratch;
    environment.limit = limit > size ? limit - size : 0;
    return size <= limit && (places->environment == 0 || read_list(&environment, places->environment));
}

/* ---- The stack of a new program ---- */

/* A new stack has these vectors: argument count, arguments, NULL, environment, NULL, auxiliary pairs. */
struct vectors {
    uint64_t first_argument, after_arguments, given;
    uint32_t user_id;
};

/* Finds all vectors in the words read so far. False: more words must be read. */
static bool parse_vectors(const struct text *words, bool is_32bit, struct vectors *vectors)
{
    size_t word_count = words->size / (is_32bit ? 4 : 8);
    uint64_t argument_count = word_count > 0 ? word_at(words->bytes, 0, is_32bit) : 0;
    size_t at = 1 + (size_t) argument_count;
    if (argument_count >= word_count || at + 1 >= word_count)
        return false;
    vectors->first_argument = argument_count > 0 ? word_at(words->bytes, 1, is_32bit) : 0;
    vectors->after_arguments = word_at(words->bytes, ++at, is_32bit);
    while (at < word_count && word_at(words->bytes, at, is_32bit) != 0)
        at++;
    for (at++; at + 1 < word_count && word_at(words->bytes, at, is_32bit) != AT_NULL; at += 2) {
        if (word_at(words->bytes, at, is_32bit) == AT_UID)
            vectors->user_id = (uint32_t) word_at(words->bytes, at + 1, is_32bit);
        if (word_at(words->bytes, at, is_32bit) == AT_EXECFN)
            vectors->given = word_at(words->bytes, at + 1, is_32bit);
    }
    if (at + 1 >= word_count)
        return false;
    if (vectors->after_arguments == 0) /* no environment: the arguments end where the given name starts */
        vectors->after_arguments = vectors->given;
    return true;
}

static bool read_vectors(struct reading *reading, struct vectors *vectors)
{
    const struct stop_registers *stop = &reading->registers;
    struct text *words = &reading->words;
    words->size = 0;
    for (size_t size = NEW_STACK_FIRST_READ; size <= 4u * CBP_ARGUMENTS_SIZE_MAX; size *= 4) {
        if (!text_reserve(words, size))
            return false;
        words->size = cbpd_read_memory(reading->place.tid, stop->stack_pointer, words->bytes, size);
        if (parse_vectors(words, stop->is_32bit, vectors))
            return true;
        if (words->size < size)
            return false;
    }
    return false;
}

/* Reads the list from address to end, from what was read with the vectors or else from the task. */
static bool read_range(struct reading *reading, uint64_t address, uint64_t end)
{
    uint64_t stack_pointer = reading->registers.stack_pointer;
    struct text *list = &reading->list;
    size_t size = (size_t) (end - address);
    list->size = 0;
    if (end <= address || size > CBP_ARGUMENTS_SIZE_MAX || !text_reserve(list, size))
        return false;
    if (address >= stack_pointer && end - stack_pointer <= reading->words.size)
        memcpy(list->bytes, reading->words.bytes + (address - stack_pointer), size);
    else if (cbpd_read_memory(reading->place.tid, address, list->bytes, size) < size)
        return false;
    list->size = size;
    return true;
}

/* Gives the string at address, mostly from what was read with the vectors: it is at the top of the stack. */
static const char *stack_string(struct reading *reading, uint64_t address)
{
    const struct text *words = &reading->words;
    uint64_t at = address - reading->registers.stack_pointer;
    if (address >= reading->registers.stack_pointer && at < words->size &&
        memchr(words->bytes + at, 0, words->size - (size_t) at))
        return words->bytes + at;
    return cbpd_read_string(reading, address, &reading->name) ? reading->name.bytes : "";
}

void cbpd_read_new_stack(struct reading *reading)
{
    struct vectors vectors = {0, 0, 0, reading->user_id};
    if (!read_vectors(reading, &vectors))
        return;
    reading->user_id = vectors.user_id;
    if (vectors.given != 0)
        reading->given = stack_string(reading, vectors.given);
    if (vectors.first_argument == 0) {
        reading->is_complete = true;
    } else if (read_range(reading, vectors.first_argument, vectors.after_arguments)) {
        reading->arguments = reading->list.bytes;
        reading->arguments_size = (uint32_t) reading->list.size;
        reading->is_complete = reading->list.bytes[reading->list.size - 1] == 0;
    }
}
