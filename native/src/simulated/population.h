/* The processes that a script speaks of, and what a session's rules add up to for each. Knows no messages, no
 * time and no lock: the transport's mutex is held. */
#ifndef CBPI_POPULATION_H
#define CBPI_POPULATION_H

#include "cbp_ruleset.h"
#include "transport.h"

/* Ids of rules, rising. */
struct cbpi_rule_ids {
    uint32_t *ids;
    uint32_t count;
    uint32_t capacity;
};

struct cbpi_population_part {
    struct cbp_ruleset *set; /* NULL: no rules */
    uint64_t *matches;       /* a bitmap to work with */
};

/* What a process executes; texts that need not end with a NUL. */
struct cbpi_image {
    const char *path;
    const char *given; /* by which name it was started */
    uint32_t path_size;
    uint32_t given_size;
};

struct cbpi_member {
    struct cbpi_member *next;            /* in its bucket */
    struct cbpi_member *older, *younger; /* in the order of their serials */
    struct cbpi_member *parent;          /* holds a reference */
    uint32_t reference_count;            /* its life, its children, and operations that are about it */
    uint32_t process_id;
    uint64_t start_time;
    uint64_t serial; /* no other member ever had it */
    uint32_t is_alive;
    uint32_t waiting_count;  /* operations of it that wait for an answer */
    uint32_t tenure;         /* counts up with each execution that does not leave it as protected as it was */
    uint32_t creator_tenure; /* its parent's when it was created */
    struct cbpi_image image;
    char *texts; /* the memory of image */
    struct cbpi_rule_ids inherited;
    struct cbpi_rule_ids own; /* rules for its id without a start time that are about it and no other */
    struct cbp_stance stance; /* under its image, since that generation of the rules + 1; 0: not known */
    uint64_t stance_generation;
};

#define CBPI_POPULATION_BUCKETS 1024u

struct cbpi_population {
    struct cbpi_member *buckets[CBPI_POPULATION_BUCKETS]; /* living and remembered members */
    struct cbpi_member *oldest, *youngest;
    struct cbpi_population_part parts[CBP_RULES_PART_COUNT];
    struct cbpi_rule_ids bound; /* rules that are among some member's own, or have been */
    uint32_t last_rule_id;      /* no rule has had a higher one */
    uint64_t rules_generation;  /* counts the changes */
    uint64_t last_serial;
    uint64_t alive_count;
};

void cbpi_population_free(struct cbpi_population *population);

/* The living process with that id, or NULL. */
struct cbpi_member *cbpi_population_find(const struct cbpi_population *population, uint32_t process_id);

/* Adds a living process, in place of one with the same id; parent (may be NULL) gives it its image and those
 * of its rules that extend to children. NULL without memory. */
struct cbpi_member *cbpi_population_add(struct cbpi_population *population, uint32_t process_id,
                                        uint64_t start_time, struct cbpi_member *parent);

/* The process has ended. Its memory lives on as long as its children and whoever holds a reference. */
void cbpi_population_end(struct cbpi_population *population, struct cbpi_member *member);

struct cbpi_member *cbpi_member_hold(struct cbpi_member *member);
void cbpi_member_release(struct cbpi_population *population, struct cbpi_member *member);

/* The process executes an image, whose texts are copied. Without memory it keeps the one it has. */
void cbpi_member_execute(struct cbpi_member *member, const struct cbpi_image *image);

/* The process has got its start time. */
void cbpi_member_set_start_time(struct cbpi_member *member, uint64_t start_time);

/* ---- population_rules.c ---- */

/* What the rules add up to for a process under that image, its own or another; all zero for no process. */
struct cbp_stance cbpi_population_stance(const struct cbpi_population *population, struct cbpi_member *member,
                                         const struct cbpi_image *image);

/* Puts rules in the place of those before, which are in force still after CBP_ERROR_NOT_ENOUGH_MEMORY; rules
 * that are new have higher ids than all before. A rule without a start time belongs to the living process
 * with its id, or to the first that comes. */
uint32_t cbpi_population_set_rules(struct cbpi_population *population,
                                   const struct cbpi_rules_change *change);

/* Whether a rule without a start time for that id belongs to a process that had it before whoever has it now.
 */
int cbpi_population_is_of_earlier(const struct cbpi_population *population, uint32_t rule_id,
                                  uint32_t process_id);

/* For a member that is new: the rules without a start time that have waited for its id, and what it inherits.
 * Without memory rules are left out. */
void cbpi_population_bind(struct cbpi_population *population, struct cbpi_member *member);
void cbpi_population_inherit(const struct cbpi_population *population, struct cbpi_member *member);

void cbpi_population_free_rules(struct cbpi_population *population);

#endif
