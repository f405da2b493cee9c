/* Replaces the C library in some programs: their beginning, their system calls, and the few texts and numbers
 * that they need. A library would be loaded as the environment says (LD_PRELOAD, LD_AUDIT, GLIBC_TUNABLES),
 * and would change signals and memory before main() runs. Does not know what the programs are for: the
 * launcher, and the front of the command `cbprocess`. */
#ifndef CBP_BARE_SYSTEM_H
#define CBP_BARE_SYSTEM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

enum { SIGNAL_MAX = 64, SIGNAL_SET_SIZE = SIGNAL_MAX / 8 };

/* The system call takes this on both architectures; the library's structure differs. */
struct kernel_action {
    uint64_t handler;
    uint64_t flags;
    uint64_t restorer;
    uint64_t mask;
};

/* The program defines this and gives its exit status. */
int cbpd_bare_main(int argument_count, char **arguments, char **environment);

/* Gives what the kernel gives: a result, or a negative errno. */
static inline long call_system(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#else
#error "known are x86_64 and aarch64"
#endif
}

static inline long address_of(const void *pointer)
{
    return (long) (intptr_t) pointer;
}

static inline long receive_from(int socket, void *buffer, size_t size, int flags)
{
    return call_system(SYS_recvfrom, socket, address_of(buffer), (long) size, flags, 0, 0);
}

static inline long send_to(int socket, const void *message, size_t size, int flags)
{
    return call_system(SYS_sendto, socket, address_of(message), (long) size, flags, 0, 0);
}

static inline size_t length_of(const char *text)
{
    size_t length = 0;
    while (text[length] != 0)
        length++;
    return length;
}

#endif
