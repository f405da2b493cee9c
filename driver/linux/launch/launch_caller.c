/* Gives a target its caller's signals and ids; see launch_steps.h. */
#include "launch_steps.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>

#include "bare_system.h"

enum { DIGITS_MAX = 12 };

static const char listen_name[] = "LISTEN_PID=";

/* Reads the number after the blank at *text and moves *text behind it. False: there is none. */
static bool next_number(const char **text, uint64_t *number)
{
    if (**text != ' ')
        return false;
    *number = 0;
    for (++*text; **text != 0 && **text != ' '; ++*text)
        *number = *number * 16 + (uint64_t) (**text <= '9' ? **text - '0' : **text - 'a' + 10);
    return true;
}

/* Ignores these signals and no others. An execution has left none that is handled. */
static void ignore_signals(uint64_t ignored)
{
    for (long number = 1; number <= SIGNAL_MAX; number++) {
        const bool is_ignored = (ignored >> (number - 1) & 1) != 0;
        const uint64_t handler = (uint64_t) (uintptr_t) (is_ignored ? SIG_IGN : SIG_DFL);
        const struct kernel_action action = {.handler = handler};
        (void) call_system(SYS_rt_sigaction, number, address_of(&action), 0, SIGNAL_SET_SIZE, 0, 0);
    }
}

static bool is_listen_entry(const char *entry)
{
    for (size_t i = 0; listen_name[i] != 0; i++)
        if (entry[i] != listen_name[i])
            return false;
    return true;
}

/* Puts the launcher's id in the place of the caller's. */
static void rename_listener(char **environment)
{
    static char entry[sizeof listen_name + DIGITS_MAX];
    char digits[DIGITS_MAX];
    size_t count = 0, at = 0;
    for (long id = call_system(SYS_getpid, 0, 0, 0, 0, 0, 0); id > 0 && count < DIGITS_MAX; id /= 10)
        digits[count++] = (char) ('0' + id % 10);
    for (; listen_name[at] != 0; at++)
        entry[at] = listen_name[at];
    while (count > 0)
        entry[at++] = digits[--count];
    for (; *environment; environment++)
        if (is_listen_entry(*environment))
            *environment = entry;
}

void cbpd_take_callers_place(const char *words, char **environment)
{
    enum { MASK, IGNORED, DEATH, REAPER, LISTEN, WORD_COUNT };
    uint64_t values[WORD_COUNT];
    for (size_t i = 0; i < WORD_COUNT; i++)
        if (!next_number(&words, &values[i]))
            return;
    if (values[LISTEN] != 0)
        rename_listener(environment);
    if (values[DEATH] != 0)
        (void) call_system(SYS_prctl, PR_SET_PDEATHSIG, (long) values[DEATH], 0, 0, 0, 0);
    if (values[REAPER] != 0)
        (void) call_system(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0, 0);
    ignore_signals(values[IGNORED]);
    /* This comes last: signals that have come meanwhile end the launcher now, as they would the target. */
    (void) call_system(SYS_rt_sigprocmask, SIG_SETMASK, address_of(&values[MASK]), 0, SIGNAL_SET_SIZE, 0, 0);
}
