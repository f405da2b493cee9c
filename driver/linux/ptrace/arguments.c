/* Reads given name and arguments from the stack of a program that has just been executed. Any thread, with a
 * reading of its own. Knows no rules and no events. */
#include <elf.h>
#include <string.h>

#include "cbp_constants.h"
#include "reading.h"

enum { NEW_STACK_FIRST_READ = 8192 };

/* A new stack has these vectors: argument count, arguments, NULL, environment, NULL, auxiliary pairs. */
struct vectors {
    uint64_t first_argument, after_arguments, given;
    uint32_t user_id;
};

/* Finds all vectors in the words read so far. False: more words must be read. */
static bool parse_vectors(const struct text *words, bool is_32bit, struct vectors *vectors)
{
    size_t word_count = words->size / (is_32bit ? 4 : 8);
    uint64_t argument_count = word_count > 0 ? cbpd_word_at(words->bytes, 0, is_32bit) : 0;
    size_t at = 1 + (size_t) argument_count;
    if (argument_count >= word_count || at + 1 >= word_count)
        return false;
    vectors->first_argument = argument_count > 0 ? cbpd_word_at(words->bytes, 1, is_32bit) : 0;
    vectors->after_arguments = cbpd_word_at(words->bytes, ++at, is_32bit);
    while (at < word_count && cbpd_word_at(words->bytes, at, is_32bit) != 0)
        at++;
    for (at++; at + 1 < word_count && cbpd_word_at(words->bytes, at, is_32bit) != AT_NULL; at += 2) {
        if (cbpd_word_at(words->bytes, at, is_32bit) == AT_UID)
            vectors->user_id = (uint32_t) cbpd_word_at(words->bytes, at + 1, is_32bit);
        if (cbpd_word_at(words->bytes, at, is_32bit) == AT_EXECFN)
            vectors->given = cbpd_word_at(words->bytes, at + 1, is_32bit);
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
    struct text *list = &reading->reader.list;
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
    return cbpd_read_string(&reading->reader.window, reading->place.tid, address, &reading->name)
               ? reading->name.bytes
               : "";
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
        reading->arguments = reading->reader.list.bytes;
        reading->arguments_size = (uint32_t) reading->reader.list.size;
        reading->is_complete = reading->reader.list.bytes[reading->reader.list.size - 1] == 0;
    }
}
