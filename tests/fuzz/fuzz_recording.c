/* Fuzzes the reader of recordings: whatever the bytes are, it gives sound messages and then either the end or
 * an error that names an offset within the file. Half of the inputs get right sizes and checksums, so that
 * what lies behind them is reached too. */
#include "recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIZE 4096u

/* Appends a record, whose message gets the right size, and gives how much is used then. */
static size_t add_record(unsigned char *bytes, size_t used, const void *data, size_t message_size)
{
    struct cbpi_record *record = (struct cbpi_record *) (void *) (bytes + used);
    unsigned char *message = (unsigned char *) (record + 1);
    uint32_t stated = (uint32_t) message_size;
    memset(message, 0, (message_size + 7u) & ~(size_t) 7u);
    memcpy(message, data, message_size);
    if (message_size >= sizeof stated)
        memcpy(message, &stated, sizeof stated);
    record->size = stated;
    record->checksum = cbpi_crc32(message, message_size);
    return used + sizeof *record + ((message_size + 7u) & ~(size_t) 7u);
}

/* Makes records of the bytes, behind a head: of each, the first byte says how long it is. */
static size_t make_records(const uint8_t *data, size_t size, int with_head, unsigned char *bytes)
{
    const struct cbp_recording head = {.header = {.type = CBP_MESSAGE_RECORDING},
                                       .version = CBP_RECORDING_VERSION};
    size_t used = CBPI_RECORDING_MAGIC_SIZE;
    memcpy(bytes, CBPI_RECORDING_MAGIC, used);
    if (with_head)
        used = add_record(bytes, used, &head, sizeof head);
    for (size_t at = 0; at < size;) {
        size_t message_size = data[at] + 1u;
        if (message_size > size - at || used + sizeof(struct cbpi_record) + message_size + 8 > MAX_SIZE)
            break;
        used = add_record(bytes, used, data + at, message_size);
        at += message_size;
    }
    return used;
}

static void check_trouble(const struct cbp_recording_file *file)
{
    unsigned long long offset;
    if (sscanf(file->trouble, "offset %llu:", &offset) != 1 || offset > file->size)
        abort();
}

static void read_all(unsigned char *bytes, size_t size)
{
    struct cbp_recording_file file;
    const struct cbp_recording *head;
    const struct cbp_message_header *message;
    uint32_t error = cbpi_recording_begin(&file, bytes, size, &head);
    if (error != 0) {
        if (error != CBP_ERROR_INVALID_DATA && error != CBP_ERROR_BAD_FORMAT)
            abort();
        check_trouble(&file);
        return;
    }
    while ((error = cbpi_recording_next(&file, &message)) == 0)
        if (cbpd_message_check(message, message->size, message->type) != 0 ||
            (const unsigned char *) message + message->size > bytes + size)
            abort();
    if (error == CBP_ERROR_INVALID_DATA)
        check_trouble(&file);
    else if (error != CBP_ERROR_NOT_FOUND || file.offset != file.size)
        abort();
    if (cbpi_recording_next(&file, &message) != error)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > MAX_SIZE / 2)
        return 0;
    unsigned char *bytes = malloc(MAX_SIZE);
    if (bytes == NULL)
        abort();
    size_t used = size - 1;
    if (data[0] % 2)
        used = make_records(data + 1, size - 1, data[0] & 2, bytes);
    else
        memcpy(bytes, data + 1, used);
    /* Memory of exactly that size, so that a read behind it is seen. */
    unsigned char *exact = malloc(used ? used : 1);
    if (exact == NULL)
        abort();
    memcpy(exact, bytes, used);
    read_all(exact, used);
    free(exact);
    free(bytes);
    return 0;
}
