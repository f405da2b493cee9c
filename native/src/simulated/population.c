/* See population.h. */
#include "population.h"

#include <stdlib.h>
#include <string.h>

static struct cbpi_member **bucket_of(struct cbpi_population *population, uint32_t process_id)
{
    return &population->buckets[process_id % CBPI_POPULATION_BUCKETS];
}

struct cbpi_member *cbpi_population_find(const struct cbpi_population *population, uint32_t process_id)
{
    struct cbpi_member *at = population->buckets[process_id % CBPI_POPULATION_BUCKETS];
    for (; at; at = at->next)
        if (at->process_id == process_id && at->is_alive)
            return at;
    return NULL;
}

struct cbpi_member *cbpi_population_add(struct cbpi_population *population, uint32_t process_id,
                                        uint64_t start_time, struct cbpi_member *parent)
{
    struct cbpi_member *before = cbpi_population_find(population, process_id);
    struct cbpi_member *member = calloc(1, sizeof *member);
    if (!member)
        return NULL;
    if (before)
        cbpi_population_end(population, before); /* its end is not in the script */
    member->process_id = process_id;
    member->start_time = start_time;
    member->serial = ++population->last_serial;
    member->is_alive = 1;
    member->reference_count = 1;
    member->image = (struct cbpi_image){.path = "", .given = ""};
    member->next = *bucket_of(population, process_id);
    *bucket_of(population, process_id) = member;
    member->older = population->youngest;
    *(member->older ? &member->older->younger : &population->oldest) = member;
    population->youngest = member;
    population->alive_count++;
    cbpi_population_bind(population, member);
    if (parent) {
        member->parent = cbpi_member_hold(parent);
        member->creator_tenure = parent->tenure;
        cbpi_population_inherit(population, member);
        cbpi_member_execute(member, &parent->image);
    }
    return member;
}

void cbpi_population_end(struct cbpi_population *population, struct cbpi_member *member)
{
    if (!member->is_alive)
        return;
    member->is_alive = 0;
    population->alive_count--;
    cbpi_member_release(population, member);
}

struct cbpi_member *cbpi_member_hold(struct cbpi_member *member)
{
    if (member)
        member->reference_count++;
    return member;
}

static void dispose(struct cbpi_member *member)
{
    free(member->inherited.ids);
    free(member->own.ids);
    free(member->texts);
    free(member);
}

static void free_member(struct cbpi_population *population, struct cbpi_member *member)
{
    struct cbpi_member **at = bucket_of(population, member->process_id);
    while (*at != member)
        at = &(*at)->next;
    *at = member->next;
    *(member->older ? &member->older->younger : &population->oldest) = member->younger;
    *(member->younger ? &member->younger->older : &population->youngest) = member->older;
    dispose(member);
}

void cbpi_member_release(struct cbpi_population *population, struct cbpi_member *member)
{
    while (member && --member->reference_count == 0) {
        struct cbpi_member *parent = member->parent;
        free_member(population, member);
        member = parent;
    }
}

void cbpi_member_execute(struct cbpi_member *member, const struct cbpi_image *image)
{
    char *texts = malloc((size_t) image->path_size + image->given_size + 1);
    if (!texts)
        return;
    memcpy(texts, image->path, image->path_size);
    memcpy(texts + image->path_size, image->given, image->given_size);
    free(member->texts);
    member->texts = texts;
    member->image = (struct cbpi_image){.path = texts,
                                        .given = texts + image->path_size,
                                        .path_size = image->path_size,
                                        .given_size = image->given_size};
    member->stance_generation = 0;
}

void cbpi_member_set_start_time(struct cbpi_member *member, uint64_t start_time)
{
    member->start_time = start_time;
    member->stance_generation = 0;
}

void cbpi_population_free(struct cbpi_population *population)
{
    for (struct cbpi_member *at = population->oldest, *younger; at; at = younger) {
        younger = at->younger;
        dispose(at);
    }
    cbpi_population_free_rules(population);
}
