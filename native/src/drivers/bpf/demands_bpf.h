/* Says what the guard has to attach and to mark, by the rules and settings of all sessions. Knows rules and
 * settings; no process. The machine's mutex is held. */
#ifndef CBPI_DEMANDS_BPF_H
#define CBPI_DEMANDS_BPF_H

#include "machine.h"

/* A change of one session's rules that is not in force yet; NULL for set: none. */
struct cbpi_coming_rules {
    uint32_t place, part;
    const struct cbpd_rule_set *set;
};

struct cbpi_demands {
    uint32_t programs; /* CBP_GUARD_PROGRAM_ */
    uint64_t marks;    /* CBP_GUARD_MARKS_ */
    char *paths;       /* for the marks, each with its NUL; the caller frees them */
    uint32_t paths_size;
};

/* CBP_ERROR_NOT_ENOUGH_MEMORY. */
uint32_t cbpi_demands_of(const struct cbpi_machine *machine, const struct cbpi_coming_rules *coming,
                         struct cbpi_demands *demands);

#endif
