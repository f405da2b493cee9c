/* Begins such a program and has the functions that compilers call by themselves: see bare_system.h. */
#include "bare_system.h"

void cbpd_bare_start(long *stack);

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"
        "    movq %rsp, %rdi\n"
        "    andq $-16, %rsp\n"
        "    call cbpd_bare_start\n"
        "    hlt\n"
        ".size _start, . - _start\n");
#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl _start\n"
        ".type _start, %function\n"
        "_start:\n"
        "    mov x29, #0\n"
        "    mov x30, #0\n"
        "    mov x0, sp\n"
        "    bl cbpd_bare_start\n"
        "    brk #1\n"
        ".size _start, . - _start\n");
#endif

/* Gets what the kernel has put on the stack: a count, the arguments, NULL, the environment, NULL. */
__attribute__((used)) void cbpd_bare_start(long *stack)
{
    int count = (int) stack[0];
    char **arguments = (char **) (stack + 1);
    int status = cbpd_bare_main(count, arguments, arguments + count + 1);
    for (;;)
        (void) call_system(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

/* Without this a compiler could turn a loop into a call of the function with the loop. */
#define KEEP_LOOP __asm__ volatile("" ::: "memory")

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *bytes, int value, size_t size);

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((unsigned char *) to)[i] = ((const unsigned char *) from)[i];
        KEEP_LOOP;
    }
    return to;
}

void *memset(void *bytes, int value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        ((unsigned char *) bytes)[i] = (unsigned char) value;
        KEEP_LOOP;
    }
    return bytes;
}
