/* Implements recorder.h. Records are gathered in a buffer, which is written when it is full and when it is
 * flushed: a controller that is killed loses the deliveries since the last flush, and the file's end. */
#include "recorder.h"

#include "errors.h"
#include "event_message.h"
#include "memory.h"
#include "platform.h"
#include "recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_SIZE (256u * 1024u)

struct cbpi_recorder {
    struct cbpi_mutex mutex; /* guards the rest */
    struct cbpi_file file;
    unsigned char *buffer;
    uint64_t capacity;
    size_t used;
    uint64_t message_count; /* the last one's number is its id */
    uint64_t verdict_count;
    uint64_t missed_count; /* events that no memory was left for, or that came after a failure */
    uint32_t error;        /* once a write has failed */
    bool is_told;          /* and somebody has been told */
    char trouble[256];
};

static void write_out(struct cbpi_recorder *recorder)
{
    uint32_t error = recorder->error ? 0 : cbpi_file_write(&recorder->file, recorder->buffer, recorder->used);
    if (error != 0) {
        recorder->error = error;
        snprintf(recorder->trouble, sizeof recorder->trouble, "the recording ends early: %s",
                 cbp_error_detail());
    }
    recorder->used = 0;
}

/* Makes room for a record with a message of this size and gives the message, zeroed; NULL if there is no
 * room. */
static void *reserve(struct cbpi_recorder *recorder, size_t message_size)
{
    size_t padded_size = sizeof(struct cbpi_record) + ((message_size + 7u) & ~(size_t) 7u);
    if (recorder->used + padded_size > recorder->capacity)
        write_out(recorder);
    unsigned char *buffer = cbpi_grow(recorder->buffer, 1, padded_size, &recorder->capacity);
    if (!buffer)
        return NULL;
    recorder->buffer = buffer;
    unsigned char *at = recorder->buffer + recorder->used;
    memset(at, 0, padded_size);
    return at + sizeof(struct cbpi_record);
}

/* Ends the record that was reserved last; its message is complete. */
static void commit(struct cbpi_recorder *recorder, const struct cbp_message_header *message)
{
    struct cbpi_record *record = (struct cbpi_record *) (void *) (recorder->buffer + recorder->used);
    record->size = message->size;
    record->checksum = cbpi_crc32(message, message->size);
    recorder->used += sizeof *record + ((message->size + 7u) & ~(size_t) 7u);
}

static void write_head(struct cbpi_recorder *recorder, const char *driver)
{
    const char *platform = cbpi_platform_name();
    uint32_t platform_size = (uint32_t) strlen(platform), driver_size = (uint32_t) strlen(driver);
    memcpy(recorder->buffer, CBPI_RECORDING_MAGIC, CBPI_RECORDING_MAGIC_SIZE);
    recorder->used = CBPI_RECORDING_MAGIC_SIZE;
    struct cbp_recording *head = reserve(recorder, sizeof *head + platform_size + driver_size);
    head->header.size = (uint32_t) sizeof *head + platform_size + driver_size;
    head->header.type = CBP_MESSAGE_RECORDING;
    head->version = CBP_RECORDING_VERSION;
    head->process_id = cbpi_process_id();
    head->clock_ns = cbpi_now_ns();
    head->time_ns = cbpi_wall_ns();
    head->platform_offset = (uint32_t) sizeof *head;
    head->platform_size = platform_size;
    head->driver_offset = head->platform_offset + platform_size;
    head->driver_size = driver_size;
    memcpy((char *) head + head->platform_offset, platform, platform_size);
    memcpy((char *) head + head->driver_offset, driver, driver_size);
    commit(recorder, &head->header);
}

uint32_t cbpi_recorder_create(const char *path, const char *driver, struct cbpi_recorder **recorder)
{
    struct cbpi_recorder *made = calloc(1, sizeof *made);
    unsigned char *buffer = malloc(BUFFER_SIZE);
    uint32_t error = made && buffer ? cbpi_file_create(path, &made->file)
                                    : cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a recording");
    if (error != 0) {
        free(buffer);
        free(made);
        return error;
    }
    cbpi_mutex_init(&made->mutex);
    made->buffer = buffer;
    made->capacity = BUFFER_SIZE;
    write_head(made, driver);
    *recorder = made;
    return 0;
}

uint64_t cbpi_recorder_write_event(struct cbpi_recorder *recorder, const struct cbpi_delivery *delivery)
{
    uint32_t size = cbpi_event_encoded_size(delivery);
    cbpi_mutex_lock(&recorder->mutex);
    uint64_t id = 0;
    struct cbp_event_message *message = recorder->error ? NULL : reserve(recorder, size);
    if (message) {
        id = ++recorder->message_count;
        cbpi_event_encode(delivery, id, message);
        commit(recorder, &message->header);
    } else {
        recorder->missed_count += delivery->count;
    }
    cbpi_mutex_unlock(&recorder->mutex);
    return id;
}

static void write_verdict(struct cbpi_recorder *recorder, uint64_t id, uint64_t sequence,
                          const struct cbp_event_item *items, uint32_t count, uint32_t state,
                          uint32_t deferred_items)
{
    cbpi_mutex_lock(&recorder->mutex);
    struct cbp_verdict *verdict = recorder->error ? NULL : reserve(recorder, sizeof *verdict);
    if (verdict) {
        cbpi_verdict_fill(verdict, id, sequence, items, count, state);
        verdict->deferred_items = deferred_items;
        commit(recorder, &verdict->header);
        recorder->verdict_count++;
    }
    cbpi_mutex_unlock(&recorder->mutex);
}

static uint32_t state_of(const struct cbpi_delivery *delivery, uint32_t answer)
{
    uint32_t flags = 0;
    for (uint32_t i = 0; i < delivery->count; i++)
        flags |= delivery->items[i].flags;
    if (flags & CBP_EVENT_FLAG_TIMED_OUT)
        return CBP_VERDICT_TIMED_OUT;
    if (!(flags & CBP_EVENT_FLAG_HELD))
        return CBP_VERDICT_UNASKED;
    if (answer == CBP_ERROR_OPERATION_ABORTED)
        return CBP_VERDICT_LET_GO;
    return answer == 0 ? CBP_VERDICT_ANSWERED : CBP_VERDICT_TIMED_OUT;
}

void cbpi_recorder_write_verdict(struct cbpi_recorder *recorder, const struct cbpi_delivery *delivery,
                                 uint32_t answer)
{
    if (delivery->record_id != 0)
        write_verdict(recorder, delivery->record_id, delivery->sequence, delivery->items, delivery->count,
                      state_of(delivery, answer), delivery->deferred_items);
}

void cbpi_recorder_write_failure(struct cbpi_recorder *recorder, uint64_t sequence, uint32_t os_error)
{
    const struct cbp_event_item item = {.result_code = os_error};
    write_verdict(recorder, 0, sequence, &item, 1, CBP_VERDICT_FAILED, 0);
}

/* Gives the trouble, once. The mutex is held. */
static uint32_t tell_trouble(struct cbpi_recorder *recorder, char *text, uint64_t size)
{
    if (recorder->error == 0 || recorder->is_told)
        return 0;
    recorder->is_told = true;
    snprintf(text, (size_t) size, "%s", recorder->trouble);
    return recorder->error;
}

uint32_t cbpi_recorder_flush(struct cbpi_recorder *recorder, char *text, uint64_t size)
{
    cbpi_mutex_lock(&recorder->mutex);
    write_out(recorder);
    uint32_t error = tell_trouble(recorder, text, size);
    cbpi_mutex_unlock(&recorder->mutex);
    return error;
}

uint32_t cbpi_recorder_close(struct cbpi_recorder *recorder, uint64_t lost, char *text, uint64_t size)
{
    struct cbp_recording_end *end = reserve(recorder, sizeof *end);
    if (end) {
        end->header.size = (uint32_t) sizeof *end;
        end->header.type = CBP_MESSAGE_RECORDING_END;
        end->time_ns = cbpi_wall_ns();
        end->message_count = recorder->message_count;
        end->verdict_count = recorder->verdict_count;
        end->lost = lost + recorder->missed_count;
        commit(recorder, &end->header);
    }
    write_out(recorder);
    uint32_t error = tell_trouble(recorder, text, size);
    cbpi_file_close(&recorder->file);
    cbpi_mutex_destroy(&recorder->mutex);
    free(recorder->buffer);
    free(recorder);
    return error;
}
