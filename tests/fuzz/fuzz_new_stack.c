/* Fuzzes what the supervisor makes of a new program's stack, which another thread may scribble on: the
 * vectors are parsed from a block of exactly the size that was read. */
#include "../../driver/linux/ptrace/memory.c"

struct supervisor self;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    bool is_32bit = data[0] & 1;
    struct vectors vectors = {0};
    struct text text = {0};
    stack_text.size = size - 1;
    stack_text.capacity = size - 1;
    stack_text.bytes = malloc(size);
    memcpy(stack_text.bytes, data + 1, size - 1);
    if (parse_vectors(stack_text.size / (is_32bit ? 4 : 8), is_32bit, &vectors)) {
        uint32_t length;
        /* Only what lies in the block can be read: no task has id 0xffffffff. */
        (void) read_range(UINT32_MAX, 0x1000, 0x1000 + vectors.first_argument % 4096,
                          0x1000 + vectors.after_arguments % 4096, &text);
        (void) stack_string(UINT32_MAX, 0x1000, 0x1000 + vectors.given % 4096, &length);
    }
    free(text.bytes);
    free(stack_text.bytes);
    stack_text = (struct text){0};
    return 0;
}
