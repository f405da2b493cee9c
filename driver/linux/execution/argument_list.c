/* Reads strings and lists of strings from a task's memory: what an execve is given. Any thread, with a window
 * and texts of its own. Knows no rules and no events. */
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "argument_list.h"
#include "cbp_constants.h"

/* The kernel takes no string of more pages, and always has this room for an execve's strings and pointers. Source:
 * the kernel's fs/exec.c and linux/binfmts.h (MAX_ARG_STRLEN, ARG_MAX). */
enum { STRING_PAGES_MAX = 32, ALWAYS_ENOUGH = 131072, POINTER_SIZE = 8 };

enum {
    PAGES_AT_ONCE = WINDOW_SIZE / TASK_PAGE_SIZE,
    POINTERS_AT_ONCE = 512,
    JUMPS_MAX = 16,            /* of these, which a window follows; with more, one call reads all strings */
    STRINGS_PER_JUMP = 4,      /* reading so many in one call costs about what a jump of the window does */
    SCATTERED_SIZE = 128,      /* of each string */
    LOOK_AT_ENVIRONMENT = 8192 /* arguments of this size: look at the environment, too */
};

/* Each page is an element, because the kernel transfers an element as a whole or not at all. */
size_t cbpd_read_memory(uint32_t tid, uint64_t address, void *buffer, size_t size)
{
    size_t total = 0;
    while (total < size) {
        struct iovec remote[PAGES_AT_ONCE];
        size_t count = 0, wanted = 0;
        while (count < PAGES_AT_ONCE && total + wanted < size) {
            uint64_t at = address + total + wanted;
            size_t step = TASK_PAGE_SIZE - (size_t) (at % TASK_PAGE_SIZE);
            if (step > size - total - wanted)
                step = size - total - wanted;
            remote[count++] =
                (struct iovec){(void *) (uintptr_t) at, step}; // NOLINT: another process's address
            wanted += step;
        }
        struct iovec local = {(char *) buffer + total, wanted};
        ssize_t got = process_vm_readv((pid_t) tid, &local, 1, remote, count, 0);
        if (got <= 0)
            return total;
        total += (size_t) got;
        if ((size_t) got < wanted)
            return total;
    }
    return total;
}

/* Pages are larger than TASK_PAGE_SIZE on some kernels for AArch64. */
static size_t string_size_max(void)
{
    return STRING_PAGES_MAX * (size_t) sysconf(_SC_PAGESIZE);
}

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
    size_t size_before = text->size, size_max = string_size_max();
    for (;;) {
        if (text->size - size_before > size_max || !window_covers(window, address))
            return false;
        const char *start = window->bytes + (address - window->address);
        size_t available = window->size - (size_t) (address - window->address);
        const char *end = memchr(start, 0, available);
        size_t size = end ? (size_t) (end - start) + 1 : available;
        if (!text_append(text, start, size))
            return false;
        if (end)
            return text->size - size_before <= size_max;
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

bool cbpd_read_string(struct window *window, uint32_t tid, uint64_t address, struct text *text)
{
    open_window(window, tid);
    text->size = 0;
    return append_string(window, address, text);
}

static size_t rest_of_page(uint64_t address)
{
    return TASK_PAGE_SIZE - (size_t) (address % TASK_PAGE_SIZE);
}

bool cbpd_read_path(struct list_reader *reader, uint32_t tid, uint64_t address, uint64_t list_address,
                    struct text *path)
{
    struct window *window = &reader->window;
    struct list_ahead *ahead = &reader->ahead;
    size_t size = rest_of_page(address), ahead_size = rest_of_page(list_address);
    ahead_size = ahead_size < sizeof ahead->pointers ? ahead_size : sizeof ahead->pointers;
    struct iovec local[] = {{window->bytes, size}, {ahead->pointers, ahead_size}};
    struct iovec remote[] = {
        {(void *) (uintptr_t) address, size},           // NOLINT: another process's address
        {(void *) (uintptr_t) list_address, ahead_size} // NOLINT: another process's address
    };
    ssize_t got = process_vm_readv((pid_t) tid, local, 2, remote, 2, 0);
    open_window(window, tid);
    ahead->address = list_address;
    ahead->size = got > (ssize_t) size ? (size_t) got - size : 0;
    if (got >= (ssize_t) size) {
        window->address = address;
        window->size = size;
    }
    path->size = 0;
    return append_string(window, address, path);
}

/* ---- Lists ---- */

struct list {
    bool is_32bit;            /* as its pointers are */
    struct list_ahead *ahead; /* NULL: none */
    uint64_t count;
    size_t limit; /* for strings and pointers together */
    struct window *window;
    struct text *text, *beginnings;
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
        if (!append_string(list->window, cbpd_word_at(pointers, i, list->is_32bit), list->text) ||
            !is_within_limit(list))
            return false;
    }
    return true;
}

/* Appends strings that lie anywhere: one call reads the beginnings of all of them. */
static bool append_scattered(struct list *list, const void *pointers, size_t count)
{
    struct iovec remote[POINTERS_AT_ONCE];
    struct text *beginnings = list->beginnings;
    if (!text_reserve(beginnings, count * SCATTERED_SIZE))
        return false;
    struct iovec local = {beginnings->bytes, 0};
    for (size_t i = 0; i < count; i++) {
        uint64_t address = cbpd_word_at(pointers, i, list->is_32bit);
        size_t size = TASK_PAGE_SIZE - (size_t) (address % TASK_PAGE_SIZE);
        size = size < SCATTERED_SIZE ? size : SCATTERED_SIZE;
        remote[i] = (struct iovec){(void *) (uintptr_t) address, size}; // NOLINT: another process's address
        local.iov_len += size;
    }
    ssize_t got = process_vm_readv((pid_t) list->window->tid, &local, 1, remote, count, 0);
    if (got != (ssize_t) local.iov_len)
        return false;
    const char *start = beginnings->bytes;
    for (size_t i = 0; i < count; start += remote[i].iov_len, i++) {
        const char *end = memchr(start, 0, remote[i].iov_len);
        list->count++;
        if (!(end ? text_append(list->text, start, (size_t) (end - start) + 1)
                  : append_string(list->window, cbpd_word_at(pointers, i, list->is_32bit), list->text)) ||
            !is_within_limit(list))
            return false;
    }
    return true;
}

static bool is_scattered(const struct list *list, const void *pointers, size_t count)
{
    uint32_t jumps = 0;
    for (size_t i = 1; i < count; i++)
        jumps += cbpd_word_at(pointers, i, list->is_32bit) - cbpd_word_at(pointers, i - 1, list->is_32bit) >=
                 TASK_PAGE_SIZE;
    return jumps > JUMPS_MAX || (jumps > 0 && count <= (size_t) jumps * STRINGS_PER_JUMP);
}

/* Says whether all of the list has been read before. */
static bool is_read_ahead(const struct list *list, uint64_t address)
{
    const struct list_ahead *ahead = list->ahead;
    size_t count = ahead && ahead->address == address ? ahead->size / (list->is_32bit ? 4 : 8) : 0;
    size_t at = 0;
    while (at < count && cbpd_word_at(ahead->pointers, at, list->is_32bit) != 0)
        at++;
    return at < count;
}

static size_t read_pointers(const struct list *list, uint64_t address, void *pointers, size_t wanted)
{
    if (!is_read_ahead(list, address))
        return cbpd_read_memory(list->window->tid, address, pointers, wanted);
    memcpy(pointers, list->ahead->pointers, list->ahead->size);
    return list->ahead->size;
}

static bool read_list(struct list *list, uint64_t address)
{
    uint64_t pointers[POINTERS_AT_ONCE];
    size_t width = list->is_32bit ? 4 : 8;
    open_window(list->window, list->window->tid);
    for (;;) {
        size_t wanted = sizeof pointers - (size_t) (address % sizeof pointers);
        size_t got = read_pointers(list, address, pointers, wanted);
        for (size_t at = 0, all = got / width; at < all; at += POINTERS_AT_ONCE) {
            const char *from = (const char *) pointers + at * width;
            size_t count = 0;
            while (count < POINTERS_AT_ONCE && at + count < all &&
                   cbpd_word_at(from, count, list->is_32bit) != 0)
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

bool cbpd_read_argument_list(struct list_reader *reader, uint32_t tid, const struct argument_places *places)
{
    struct text *text = &reader->list, *scratch = &reader->scratch;
    struct list arguments = {.is_32bit = places->is_32bit,
                             .ahead = &reader->ahead,
                             .limit = CBP_ARGUMENTS_SIZE_MAX,
                             .window = &reader->window,
                             .text = text,
                             .beginnings = &reader->beginnings};
    reader->window.tid = tid;
    text->size = scratch->size = 0;
    bool done = places->arguments == 0 || read_list(&arguments, places->arguments);
    reader->ahead.size = 0;
    if (!done)
        return false;
    size_t size = text->size + (arguments.count > 0 ? arguments.count : 1) * POINTER_SIZE;
    if (size <= LOOK_AT_ENVIRONMENT)
        return true;
    size_t limit = limit_of(tid);
    size += beside_arguments(places, text);
    struct list environment = arguments;
    environment.count = 0;
    environment.text = scratch;
    environment.limit = limit > size ? limit - size : 0;
    return size <= limit && (places->environment == 0 || read_list(&environment, places->environment));
}

bool cbpd_read_few_arguments(struct list_reader *reader, uint32_t tid, const void *pointers, size_t count,
                             bool is_32bit)
{
    struct list few = {.is_32bit = is_32bit,
                       .limit = LOOK_AT_ENVIRONMENT,
                       .window = &reader->window,
                       .text = &reader->list,
                       .beginnings = &reader->beginnings};
    reader->list.size = 0;
    open_window(&reader->window, tid);
    return count <= FEW_ARGUMENTS_MAX && (count == 0 || append_scattered(&few, pointers, count));
}
