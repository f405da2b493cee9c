/* Implements source.h. */
#include "source.h"

#include "errors.h"
#include "memory.h"
#include "platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_BACK_MAX = 65536 }; /* for the event of an execution that has failed */

static uint32_t no_memory(void)
{
    return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a script");
}

static struct cbpi_source_block *make_block(void *bytes)
{
    struct cbpi_source_block *block = malloc(sizeof *block);
    if (block)
        *block = (struct cbpi_source_block){.reference_count = 1, .bytes = bytes};
    return block;
}

void cbpi_source_release_block(struct cbpi_source_block *block)
{
    if (--block->reference_count > 0)
        return;
    free(block->bytes);
    free(block);
}

static uint32_t push(struct cbpi_source *source, const struct cbp_message_header *message,
                     struct cbpi_source_block *block, bool is_paced)
{
    if (source->first > source->count) { /* more than half has been played: the rest moves down */
        memmove(source->items, source->items + source->first, (size_t) source->count * sizeof *source->items);
        source->first = 0;
    }
    uint64_t end = source->first + source->count;
    struct cbpi_source_item *items = cbpi_grow(source->items, sizeof *items, end + 1, &source->capacity);
    if (!items)
        return no_memory();
    source->items = items;
    block->reference_count++;
    source->paced_count += is_paced;
    source->items[end] =
        (struct cbpi_source_item){.message = message, .block = block, .position = end, .is_paced = is_paced};
    source->count++;
    return 0;
}

void cbpi_source_take_back(struct cbpi_source *source, uint64_t count)
{
    for (; count > 0; count--) {
        struct cbpi_source_item *last = &source->items[source->first + --source->count];
        source->paced_count -= last->is_paced ? 1 : 0;
        cbpi_source_release_block(last->block);
    }
}

const struct cbpi_source_item *cbpi_source_peek(const struct cbpi_source *source)
{
    return source->count > 0 ? &source->items[source->first] : NULL;
}

struct cbpi_source_item cbpi_source_take(struct cbpi_source *source)
{
    struct cbpi_source_item item = source->items[source->first++];
    source->count--;
    source->paced_count -= item.is_paced ? 1 : 0;
    return item;
}

void cbpi_source_free(struct cbpi_source *source)
{
    cbpi_source_take_back(source, source->count);
    free(source->items);
    memset(source, 0, sizeof *source);
}

/* ---- Files ---- */

static uint64_t sequence_of(const struct cbpi_source_item *item)
{
    return ((const struct cbp_event_message *) (const void *) item->message)->sequence;
}

static int compare_items(const void *left, const void *right)
{
    const struct cbpi_source_item *a = left, *b = right;
    uint64_t first = sequence_of(a), second = sequence_of(b);
    if (first == second) {
        first = a->position;
        second = b->position;
    }
    return first < second ? -1 : first > second;
}

/* Sorts a recording, which workers write side by side, so that it is not quite in order. A script has steps
 * without a sequence, and its order stands. */
static void sort_events(struct cbpi_source *source)
{
    for (uint64_t i = 0; i < source->count; i++)
        if (source->items[i].message->type != CBP_MESSAGE_EVENT)
            return;
    if (source->count > 1)
        qsort(source->items, (size_t) source->count, sizeof *source->items, compare_items);
}

/* Turns an answer into a decision that stands in the event's message. A recorder numbers the messages from 1
 * on; a verdict on any other message is dropped. */
static void apply_verdict(struct cbpi_source *source, const struct cbp_verdict *verdict)
{
    uint64_t number = verdict->header.id - 1;
    if (number >= source->count || source->items[number].message->type != CBP_MESSAGE_EVENT ||
        source->items[number].message->id != verdict->header.id)
        return;
    struct cbpi_source_item *item = &source->items[number];
    struct cbp_event_message *message = (struct cbp_event_message *) (uintptr_t) item->message;
    struct cbp_event_item *items = cbp_event_items(message);
    const uint32_t *result_codes = &verdict->result_code0, *desired_access = &verdict->desired_access0;
    item->is_expired = verdict->state == CBP_VERDICT_TIMED_OUT;
    for (uint32_t i = 0; verdict->state == CBP_VERDICT_ANSWERED && i < message->item_count; i++) {
        if (result_codes[i] == 0 && desired_access[i] == message->original_desired_access)
            continue;
        items[i].flags |= CBP_EVENT_FLAG_DECIDED_BY_RULE;
        items[i].result_code = result_codes[i];
        items[i].desired_access = desired_access[i];
    }
}

/* Notes that an execution has failed. The system decided that, so it stands whatever rules and handlers say.
 * The execution's event was written a little before. */
static void apply_failure(struct cbpi_source *source, const struct cbp_verdict *verdict)
{
    uint64_t end = source->count > LOOK_BACK_MAX ? source->count - LOOK_BACK_MAX : 0;
    for (uint64_t i = source->count; i-- > end;) {
        struct cbpi_source_item *item = &source->items[i];
        if (item->message->type != CBP_MESSAGE_EVENT || sequence_of(item) != verdict->sequence)
            continue;
        item->has_failed = true;
        item->os_error = verdict->result_code0;
        return;
    }
}

static uint32_t read_items(struct cbpi_source *source, struct cbp_recording_file *file,
                           struct cbpi_source_block *block, bool keeps_verdicts)
{
    const struct cbp_message_header *message;
    uint32_t error;
    while ((error = cbpi_recording_next(file, &message)) == 0) {
        if (message->type == CBP_MESSAGE_VERDICT) {
            if (((const struct cbp_verdict *) (const void *) message)->state == CBP_VERDICT_FAILED)
                apply_failure(source, (const void *) message);
            else if (keeps_verdicts)
                apply_verdict(source, (const void *) message);
        } else if (push(source, message, block, 1) != 0) {
            return CBP_ERROR_NOT_ENOUGH_MEMORY;
        }
    }
    return error;
}

uint32_t cbpi_source_load(struct cbpi_source *source, const char *path, bool keeps_verdicts)
{
    struct cbp_recording_file file;
    const struct cbp_recording *head;
    uint32_t error = cbpi_recording_load(&file, path, &head);
    if (error != 0)
        return error;
    struct cbpi_source_block *block = make_block(file.bytes);
    if (!block) {
        free(file.bytes);
        return no_memory();
    }
    error = read_items(source, &file, block, keeps_verdicts);
    cbpi_source_release_block(block);
    if (error == CBP_ERROR_NOT_ENOUGH_MEMORY) {
        cbpi_source_free(source);
        return error;
    }
    sort_events(source);
    if (error == CBP_ERROR_INVALID_DATA) {
        source->trouble_code = error;
        snprintf(source->trouble, sizeof source->trouble, "%.200s: %s", path, file.trouble);
    }
    return 0;
}

/* ---- Messages handed over ---- */

/* Gives the message at an offset, or NULL if no well-formed one that can be played stands there. */
static const struct cbp_message_header *message_at(const unsigned char *bytes, uint64_t size, uint64_t offset)
{
    const struct cbp_message_header *header = (const void *) (bytes + offset);
    if (size - offset < sizeof *header || header->size > size - offset)
        return NULL;
    if (header->type != CBP_MESSAGE_EVENT && header->type != CBP_MESSAGE_SCRIPT_STEP)
        return NULL;
    return cbpd_message_check(header, header->size, header->type) == 0 ? header : NULL;
}

uint32_t cbpi_source_append(struct cbpi_source *source, const void *messages, uint64_t size, uint64_t *count,
                            uint64_t *verdict_count)
{
    uint32_t error = 0;
    void *copy = malloc((size_t) size + 1);
    struct cbpi_source_block *block = copy ? make_block(copy) : NULL;
    if (!block) {
        free(copy);
        return no_memory();
    }
    if (size > 0)
        memcpy(copy, messages, (size_t) size);
    *count = *verdict_count = 0;
    for (uint64_t offset = 0; offset < size;) {
        const struct cbp_message_header *message = message_at(copy, size, offset);
        error = message ? push(source, message, block, 0)
                        : cbpi_fail(CBP_ERROR_INVALID_DATA, "offset %llu: no well-formed event or step",
                                    (unsigned long long) offset);
        if (error != 0)
            break;
        ++*count;
        *verdict_count += message->type == CBP_MESSAGE_EVENT && message->id != 0;
        offset += ((uint64_t) message->size + 7u) & ~(uint64_t) 7u;
    }
    if (error != 0)
        cbpi_source_take_back(source, *count);
    cbpi_source_release_block(block);
    return error;
}
