/* Holds what Control Flow Guard needs in an image that clang makes: where the linker's tables are, and the two
 * pointers through which indirect calls go. Where the system guards kernel code it puts its own functions into
 * them; elsewhere they lead to functions that check nothing. Microsoft's linker has all this by itself.
 *
 * The names are the compiler's and the linker's. The layout is IMAGE_LOAD_CONFIG_DIRECTORY64, up to the tables
 * of guarded addresses. */
#include <stdint.h>

extern char __guard_fids_table[], __guard_fids_count[], __guard_flags[];
extern char __guard_iat_table[], __guard_iat_count[], __guard_longjmp_table[], __guard_longjmp_count[];

/* No register may change in these. */
#if defined(__aarch64__)
#define JUMP_TO_TARGET "br x15"
#else
#define JUMP_TO_TARGET "jmp *%rax"
#endif

__attribute__((naked)) static void check_nothing(void)
{
    __asm__("ret");
}

__attribute__((naked)) static void check_nothing_and_go(void)
{
    __asm__(JUMP_TO_TARGET);
}

/* The section is read-only, once the system has loaded the image. */
__attribute__((section(".00cfg"), used)) void (*const __guard_check_icall_fptr)(void) = check_nothing;
__attribute__((section(".00cfg"),
               used)) void (*const __guard_dispatch_icall_fptr)(void) = check_nothing_and_go;

struct load_configuration {
    uint32_t size;
    uint32_t unused[21];
    uint64_t security_cookie;
    uint64_t handler_table, handler_count;
    const void *check, *dispatch;
    const void *functions, *function_count;
    const void *flags; /* and the code integrity record's first half, which is 0 */
    uint64_t code_integrity;
    const void *import_addresses, *import_address_count;
    const void *jump_targets, *jump_target_count;
};

_Static_assert(__builtin_offsetof(struct load_configuration, check) == 112, "documented");
_Static_assert(__builtin_offsetof(struct load_configuration, flags) == 144, "documented");
_Static_assert(sizeof(struct load_configuration) == 192, "documented");

__attribute__((used)) const struct load_configuration _load_config_used = {
    .size = sizeof(struct load_configuration),
    .check = &__guard_check_icall_fptr,
    .dispatch = &__guard_dispatch_icall_fptr,
    .functions = __guard_fids_table,
    .function_count = __guard_fids_count,
    .flags = __guard_flags,
    .import_addresses = __guard_iat_table,
    .import_address_count = __guard_iat_count,
    .jump_targets = __guard_longjmp_table,
    .jump_target_count = __guard_longjmp_count,
};
