/* Fuzzes what the helper makes of a new program's stack, which another thread may scribble on: the
 * vectors are parsed from a block of exactly the size that was read. */
#include "../../driver/linux/ptrace/arguments.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool is_32bit = data[0] & 1;
    struct vectors vectors = {0};
    struct reading *reading = calloc(1, sizeof *reading);
    if (reading == NULL)
        return 0;
    reading->words = (struct text){.bytes = malloc(size), .size = size - 1, .capacity = size - 1};
    memcpy(reading->words.bytes, data + 1, size - 1);
    if (parse_vectors(&reading->words, is_32bit, &vectors)) {
        /* Only what lies in the block can be read: no task has id 0xffffffff. */
        reading->place.tid = UINT32_MAX;
        reading->registers.stack_pointer = 0x1000;
        (void) read_range(reading, 0x1000 + vectors.first_argument % 4096,
                          0x1000 + vectors.after_arguments % 4096);
        (void) stack_string(reading, 0x1000 + vectors.given % 4096);
    }
    free(reading->reader.list.bytes);
    free(reading->name.bytes);
    free(reading->words.bytes);
    free(reading);
    return 0;
}
