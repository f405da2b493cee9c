/* Keeps the processes of a script, as the policy has them. The one session of a script is the policy's at
 * place 0. Knows no messages, no time and no lock: the transport's mutex is held. */
#ifndef CBPI_PLAYED_PROCESSES_H
#define CBPI_PLAYED_PROCESSES_H

#include "policy.h"
#include "transport.h"

/* The policy's host keeps this of each process. */
struct cbpi_member {
    struct cbpd_process base;
    uint32_t waiting_count; /* operations of it that wait for an answer */
};

struct cbpi_population {
    struct cbpd_policy policy;
    struct cbpd_host host;
    uint16_t *units; /* a name in them, and how many have room */
    uint64_t unit_capacity;
    struct cbpd_rule_list *bound; /* rules without a start time that some process has got, or has had */
};

enum { CBPI_SCRIPT_SESSION = 0 };

/* Makes an empty population. CBP_ERROR_NOT_ENOUGH_MEMORY. */
uint32_t cbpi_population_init(struct cbpi_population *population,
                              const struct cbpi_session_settings *settings);
void cbpi_population_free(struct cbpi_population *population);

void cbpi_population_update(struct cbpi_population *population, const struct cbpi_session_settings *settings);

/* Adds a living process, in place of one with that id; parent (may be NULL) gives it its image and those of
 * its rules that extend to children. NULL without memory. */
struct cbpd_process *cbpi_population_add(struct cbpi_population *population, uint32_t process_id,
                                         uint64_t start_time, struct cbpd_process *parent);

/* Ends a process. Its memory lives on as long as its children and other references. */
void cbpi_population_end(struct cbpi_population *population, struct cbpd_process *process);

/* Lets the process execute a file, which has two names. Without memory it keeps the image that it has. */
void cbpi_population_execute(struct cbpi_population *population, struct cbpd_process *process,
                             const struct cbpd_image_file *file);

/* Replaces the rules by others; after CBP_ERROR_NOT_ENOUGH_MEMORY the old ones are still in force. New rules
 * have higher ids than all before. A rule without a start time belongs to the living process with its id, or
 * to the first that comes. */
uint32_t cbpi_population_set_rules(struct cbpi_population *population,
                                   const struct cbpi_rules_change *change);

/* Says whether a rule without a start time for that id belongs to an earlier process with the id, and not to
 * the present one. */
bool cbpi_population_is_of_earlier(const struct cbpi_population *population, uint32_t rule_id,
                                   uint32_t process_id);

#endif
