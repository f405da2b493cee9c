/* Ends the program at the first rule that the driver breaks, and says which, where and with which seed. Faults
 * of the processor are explained as what they mean: freed pool, a guard, a section that cannot be written.
 * Knows the image and the pool; must not know a scenario. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include "loader.h"

enum { FAULT_STACK_SIZE = 65536, THREAD_MAX = 256, FRAME_MAX = 12, STACK_WORDS = 1024, PAGE = 4096 };

static char context[256];
static pthread_mutex_t saying = PTHREAD_MUTEX_INITIALIZER;

/* Each thread says what it does, for the report of a hang. */
struct told_thread {
    _Atomic(pid_t) tid; /* 0: a free place */
    pthread_t thread;
    const char *_Atomic doing;
};
static struct told_thread threads[THREAD_MAX];
static __thread struct told_thread *own;
static __thread void *fault_stack;

void verdicts_context(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof context, format, arguments);
    va_end(arguments);
}

void verdicts_doing(const char *what)
{
    if (own)
        atomic_store(&own->doing, what);
}

/* Prints the words of the stack that are addresses in the driver's code. Some of them may be old. */
static void print_frames(const uint64_t *stack)
{
    const struct image *image = image_current();
    uint64_t words[STACK_WORDS];
    struct iovec to = {words, sizeof words}, from = {(void *) (uintptr_t) stack, sizeof words};
    from.iov_len = PAGE - (uintptr_t) stack % PAGE + PAGE; /* the stack may end with the next page */
    if (from.iov_len > sizeof words)
        from.iov_len = sizeof words;
    ssize_t size = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
    for (ssize_t i = 0, count = 0; image && i < size / (ssize_t) sizeof words[0] && count < FRAME_MAX; i++)
        if (image_contains((const void *) words[i])) {
            fprintf(stderr, "  driver+0x%llx", (unsigned long long) (words[i] - (uint64_t) image->base));
            count++;
        }
    fputc('\n', stderr);
}

static _Noreturn void end_with(int status, const char *rule, const char *text, const uint64_t *stack)
{
    pthread_mutex_lock(&saying); /* the first report is the only one */
    fflush(stdout);
    fprintf(stderr, "%s: %s: %s\n", status == EXIT_VIOLATION ? "violation" : "wrong", rule, text);
    fprintf(stderr, "  context: %s\n  thread %ld: %s\n", context, (long) syscall(SYS_gettid),
            own && own->doing ? own->doing : "-");
    print_frames(stack);
    fflush(stderr);
    _exit(status);
}

void violation(const char *rule, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    end_with(EXIT_VIOLATION, rule, text, __builtin_frame_address(0));
}

void wrong(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    end_with(EXIT_WRONG, "expectation", text, __builtin_frame_address(0));
}

/* Says whether a register has a piece of the pattern with which freed pool is filled: a pointer of a freed
 * structure was followed. Such an address is not canonical, and the processor does not tell it. */
static bool has_freed_pointer(const ucontext_t *state)
{
    for (int i = REG_R8; i <= REG_RIP; i++)
        if ((uint64_t) state->uc_mcontext.gregs[i] >> 16 == UINT64_C(0xdddddddddddd))
            return true;
    return false;
}

static void explain_fault(int signal_number, siginfo_t *information, void *state_pointer)
{
    const ucontext_t *state = (const ucontext_t *) state_pointer;
    uint64_t code = (uint64_t) state->uc_mcontext.gregs[REG_RIP];
    const uint64_t *stack = (const uint64_t *) state->uc_mcontext.gregs[REG_RSP];
    const void *address = information->si_addr;
    const struct image *image = image_current();
    bool is_write = (state->uc_mcontext.gregs[REG_ERR] & 2) != 0;
    char text[512], where[256];
    const char *rule = "wild_access", *pool_rule;
    if ((const void *) code == address)
        rule = "execution_of_data", strcpy(where, "a call of what is no code, or of an unloaded driver");
    else if ((pool_rule = pool_explain(address, where, sizeof where)) != NULL)
        rule = pool_rule;
    else if (has_freed_pointer(state))
        rule = "freed_pool", strcpy(where, "a pointer out of freed pool");
    else if (image_contains(address) && is_write)
        rule = "write_to_image", strcpy(where, "a section that is not writable");
    else
        strcpy(where, "no memory");
    snprintf(text, sizeof text, "signal %d, %s of %p at %s0x%llx: %s", signal_number,
             is_write ? "write" : "read", address, image_contains((void *) code) ? "driver+" : "",
             (unsigned long long) (image_contains((void *) code) ? code - (uint64_t) image->base : code),
             where);
    end_with(EXIT_VIOLATION, rule, text, stack);
}

static void tell_position(int signal_number, siginfo_t *information, void *state_pointer)
{
    const ucontext_t *state = (const ucontext_t *) state_pointer;
    (void) signal_number;
    (void) information;
    fprintf(stderr, "  thread %ld: %s:", (long) syscall(SYS_gettid), own && own->doing ? own->doing : "-");
    print_frames((const uint64_t *) state->uc_mcontext.gregs[REG_RSP]);
}

/* Tells where each thread is, one after the other, when the time is over. */
static void *watch_time(void *limit)
{
    sleep((unsigned) (uintptr_t) limit);
    fprintf(stderr, "violation: hang: the time is over\n");
    for (int i = 0; i < THREAD_MAX; i++)
        if (atomic_load(&threads[i].tid) != 0) {
            pthread_kill(threads[i].thread, SIGUSR1);
            usleep(20000);
        }
    end_with(EXIT_VIOLATION, "hang", "a thread has not come back in time", __builtin_frame_address(0));
}

static void catch_signal(int number, void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(number, &action, NULL);
}

void verdicts_thread_open(void)
{
    fault_stack = malloc(FAULT_STACK_SIZE);
    stack_t stack = {.ss_sp = fault_stack, .ss_size = FAULT_STACK_SIZE};
    sigaltstack(&stack, NULL);
    for (int i = 0; i < THREAD_MAX && !own; i++) {
        pid_t nobody = 0;
        if (atomic_compare_exchange_strong(&threads[i].tid, &nobody, (pid_t) syscall(SYS_gettid)))
            own = &threads[i];
    }
    if (own) {
        own->thread = pthread_self();
        atomic_store(&own->doing, "-");
    }
}

void verdicts_thread_close(void)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    free(fault_stack);
    if (own)
        atomic_store(&own->tid, 0);
    own = NULL;
}

void verdicts_open(unsigned limit_s)
{
    pthread_t watcher;
    verdicts_thread_open();
    catch_signal(SIGSEGV, explain_fault);
    catch_signal(SIGBUS, explain_fault);
    catch_signal(SIGILL, explain_fault);
    catch_signal(SIGUSR1, tell_position);
    pthread_create(&watcher, NULL, watch_time, (void *) (uintptr_t) limit_s);
    pthread_detach(watcher);
}
