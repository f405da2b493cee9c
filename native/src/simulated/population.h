/* The processes that a script speaks of, and what a session's rules add up to for each. Knows no messages, no
 * time and no lock: the transport's mutex is held. */
#ifndef CBPI_POPULATION_H
#define CBPI_POPULATION_H

#include "cbp_message.h"
#include "cbp_rules.h"
#include "transport.h"

struct cbpi_population_rule;

struct cbpi_rule_set {
    struct cbpi_population_rule **rules;
    uint32_t count;
};

/* What a process executes; texts that need not end with a NUL. */
struct cbpi_image {
    const char *path;
    const char *given; /* by which name it was started */
    uint32_t path_size;
    uint32_t given_size;
};

struct cbpi_member {
    struct cbpi_member *next;   /* in its bucket */
    struct cbpi_member *parent; /* holds a reference */
    uint32_t reference_count;   /* its life, its children, and operations that are about it */
    uint32_t process_id;
    uint64_t start_time;
    uint64_t serial; /* no other member ever had it */
    uint32_t is_alive;
    uint32_t waiting_count; /* operations of it that wait for an answer */
    struct cbpi_image image;
    char *texts; /* the memory of image */
    struct cbpi_rule_set inherited;
};

#define CBPI_POPULATION_BUCKETS 1024u

struct cbpi_population {
    struct cbpi_member *buckets[CBPI_POPULATION_BUCKETS]; /* living and remembered members */
    struct cbpi_population_rule *rules;                   /* in the order in which they were added */
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

/* What the rules add up to for a process under that image; all zero for NULL. */
struct cbp_stance cbpi_population_stance(const struct cbpi_population *population,
                                         const struct cbpi_member *member, const struct cbpi_image *image);

/* A rule without a start time belongs to the living process with its id, or to the first that comes. */
uint32_t cbpi_population_add_rule(struct cbpi_population *population, const struct cbpi_rule *rule);
uint32_t cbpi_population_remove_rule(struct cbpi_population *population, uint32_t rule_id);

#endif
