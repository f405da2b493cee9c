/* See fake_rules.h. */
#include "fake_rules.h"

#include "cbp_ruleset_layout.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAUNCH_MAX 16u

struct given {
    struct cbp_ruleset *parts[CBP_RULES_PART_COUNT];
    uint32_t last_command_id;
    uint32_t launches[LAUNCH_MAX]; /* ids of rules; 0: free */
    uint64_t block_bytes;          /* of all sets that have been taken */
    uint32_t set_count;
    char dump_path[PATH_MAX];
};

static struct given sessions[CBP_SESSION_MAX];
static char commands[4 * CBP_PATTERN_SIZE_MAX]; /* each with its NUL, the empty one behind the last */
static size_t commands_size, commands_read;

static uint32_t rule_count(const struct cbp_ruleset *set)
{
    return set ? cbpd_ruleset_rule_count(set) : 0;
}

static struct cbp_text pattern_of(const struct cbp_ruleset *set, const struct cbp_ruleset_rule *rule)
{
    const struct cbp_ruleset_pattern *patterns = cbp_ruleset_section(set, CBP_RULESET_PATTERNS);
    if (rule->match == CBP_RULE_MATCH_NAME)
        return cbp_ruleset_text(set, &patterns[rule->owner]);
    return (struct cbp_text){"", 0, CBP_COMPARE_BYTES};
}

static int is_command(const struct cbp_ruleset *set, const struct cbp_ruleset_rule *rule)
{
    struct cbp_text pattern = pattern_of(set, rule);
    return pattern.size > 0 && *(const char *) pattern.units == '!';
}

static struct cbp_ruleset *read_block(int fd, uint64_t size)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || (uint64_t) status.st_size != size || size == 0)
        broken("the memory file has not the size of the rules");
    struct cbp_ruleset *set = malloc(size);
    for (uint64_t got = 0; got < size;) {
        ssize_t more = set ? pread(fd, (char *) set + got, size - got, (off_t) got) : -1;
        if (more <= 0)
            broken("the rules cannot be read");
        got += (uint64_t) more;
    }
    if (cbpd_ruleset_validate(set, size) != 0)
        broken("the rules are malformed");
    if (cbpd_ruleset_comparison(set) != CBP_COMPARE_BYTES)
        broken("the rules are for another system");
    return set;
}

static void check_rest(const struct cbp_ruleset *main_part, const struct cbp_ruleset *rest)
{
    if (rule_count(main_part) <= 1024 || rule_count(rest) > 128)
        broken("rules in two parts for no reason");
    uint32_t last_id = cbpd_ruleset_rule_at(main_part, rule_count(main_part) - 1)->rule_id;
    if (rule_count(rest) > 0 && cbpd_ruleset_rule_at(rest, 0)->rule_id <= last_id)
        broken("the rest is not newer than the main part");
}

/* The rule of which an attempt to attach tells, 0 if there is none. */
static uint32_t rule_to_attach(const struct cbp_ruleset *set, uint32_t attach_rule_id)
{
    uint32_t flagged = 0;
    for (uint32_t i = rule_count(set); i-- > 0;) {
        const struct cbp_ruleset_rule *rule = cbpd_ruleset_rule_at(set, i);
        if (rule->flags & CBP_RULE_FLAG_ATTACH &&
            (attach_rule_id == CBP_ATTACH_ALL || attach_rule_id == rule->rule_id))
            flagged = rule->rule_id;
    }
    if (attach_rule_id != CBP_ATTACH_NONE && flagged == 0)
        broken("nothing is to be attached to");
    return flagged;
}

static void dump_rule(FILE *file, uint32_t part, const struct cbp_ruleset *set,
                      const struct cbp_ruleset_rule *rule)
{
    const struct cbp_ruleset_process *processes = cbp_ruleset_section(set, CBP_RULESET_PROCESSES);
    struct cbp_ruleset_process process = {0};
    struct cbp_text pattern = pattern_of(set, rule);
    if (rule->action == CBP_RULESET_NO_ACTION)
        return;
    if (rule->match == CBP_RULE_MATCH_PROCESS)
        process = processes[rule->owner];
    fprintf(file, "%u %u %u %u %u %u %u %llu %.*s\n", part, rule->rule_id, rule->match, rule->flags,
            rule->action, rule->action_value, process.process_id, (unsigned long long) process.start_time,
            (int) pattern.size, (const char *) pattern.units);
}

static void dump(const struct given *given)
{
    FILE *file = given->dump_path[0] ? fopen(given->dump_path, "w") : NULL;
    if (!given->dump_path[0])
        return;
    if (!file)
        broken("the rules cannot be written");
    for (uint32_t i = 0; i < LAUNCH_MAX; i++)
        if (given->launches[i] != 0)
            fprintf(file, "launch %u\n", given->launches[i]);
    fprintf(file, "taken %u %llu\n", given->set_count, (unsigned long long) given->block_bytes);
    for (uint32_t i = 0; i < CBP_RULES_PART_COUNT; i++)
        for (uint32_t k = 0; k < rule_count(given->parts[i]); k++)
            dump_rule(file, i, given->parts[i], cbpd_ruleset_rule_at(given->parts[i], k));
    if (fclose(file) != 0)
        broken("the rules cannot be written");
}

static void hear(struct given *given, const char *command)
{
    if (strcmp(command, "!ended") == 0)
        memset(given->launches, 0, sizeof given->launches);
    else if (sscanf(command, "!dump %4095s", given->dump_path) == 1)
        return;
    else if (commands_size + strlen(command) + 1 < sizeof commands)
        commands_size +=
            (size_t) snprintf(commands + commands_size, sizeof commands - commands_size, "%s", command) + 1;
    else
        broken("too many commands at once");
}

static void hear_all(struct given *given, const struct cbp_ruleset *set)
{
    char command[CBP_PATTERN_SIZE_MAX + 1];
    memset(commands, 0, sizeof commands);
    commands_size = commands_read = 0;
    for (uint32_t i = 0; i < rule_count(set); i++) {
        const struct cbp_ruleset_rule *rule = cbpd_ruleset_rule_at(set, i);
        if (!is_command(set, rule) || rule->rule_id <= given->last_command_id)
            continue;
        struct cbp_text pattern = pattern_of(set, rule);
        memcpy(command, pattern.units, pattern.size);
        command[pattern.size] = '\0';
        given->last_command_id = rule->rule_id;
        hear(given, command);
    }
}

const char *fake_rules_next_command(void)
{
    const char *command = commands + commands_read;
    commands_read += strlen(command) + 1;
    return *command ? command : NULL;
}

int fake_rules_has_heard(const char *command)
{
    for (size_t at = 0; at < commands_size; at += strlen(commands + at) + 1)
        if (strcmp(commands + at, command) == 0)
            return 1;
    return 0;
}

static void retire(struct cbp_ruleset *main_part, const struct cbp_rules *request)
{
    uint32_t index = main_part ? cbpd_ruleset_find(main_part, request->gone_rule_id) : 0;
    if (request->part != CBP_RULES_PART_REST || index >= rule_count(main_part))
        broken("a rule goes that the main part does not have, or that goes with a new one");
    if (cbpd_ruleset_rule_at(main_part, index)->action == CBP_RULESET_NO_ACTION)
        broken("a rule goes that has gone before");
    cbpd_ruleset_retire(main_part, index);
}

uint32_t fake_rules_take(const struct cbp_rules *request, int fd, uint32_t refusal, uint32_t *rule_id)
{
    struct given *given = &sessions[request->session_id];
    struct cbp_ruleset *set = read_block(fd, request->block_size);
    close(fd);
    if (request->part == CBP_RULES_PART_REST)
        check_rest(given->parts[CBP_RULES_PART_MAIN], set);
    uint32_t attached_id = rule_to_attach(set, request->attach_rule_id);
    if (attached_id != 0 && refusal != 0) {
        free(set);
        commands_size = commands_read = 0;
        commands[0] = '\0';
        *rule_id = attached_id;
        return refusal;
    }
    for (uint32_t i = request->part; i < CBP_RULES_PART_COUNT; i++) {
        free(given->parts[i]);
        given->parts[i] = NULL;
    }
    given->parts[request->part] = set;
    given->block_bytes += request->block_size;
    given->set_count++;
    if (request->gone_rule_id != 0)
        retire(given->parts[CBP_RULES_PART_MAIN], request);
    hear_all(given, set);
    dump(given);
    return 0;
}

static uint32_t counts(const struct cbp_ruleset *set, const struct cbp_ruleset_rule *rule)
{
    return rule->action != CBP_RULESET_NO_ACTION && !is_command(set, rule);
}

static uint32_t count_of(const struct given *given)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < CBP_RULES_PART_COUNT; i++)
        for (uint32_t k = 0; k < rule_count(given->parts[i]); k++)
            count += counts(given->parts[i], cbpd_ruleset_rule_at(given->parts[i], k));
    for (uint32_t i = 0; i < LAUNCH_MAX; i++)
        count += given->launches[i] != 0;
    return count;
}

uint32_t fake_rules_count(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < CBP_SESSION_MAX; i++)
        count += count_of(&sessions[i]);
    return count;
}

void fake_rules_close(uint32_t session_id)
{
    for (uint32_t i = 0; i < CBP_RULES_PART_COUNT; i++)
        free(sessions[session_id].parts[i]);
    sessions[session_id] = (struct given){0};
}

static uint32_t *find_launch(uint32_t session_id, uint32_t rule_id)
{
    uint32_t *at = sessions[session_id].launches, *end = at + LAUNCH_MAX;
    while (at < end && *at != rule_id)
        at++;
    return at < end ? at : NULL;
}

void fake_rules_launch(uint32_t session_id, uint32_t rule_id)
{
    uint32_t *place = find_launch(session_id, 0);
    if (!place)
        broken("too many launches for the fake");
    else
        *place = rule_id;
    dump(&sessions[session_id]);
}

uint32_t fake_rules_forget_launch(uint32_t session_id, uint32_t rule_id)
{
    uint32_t *place = find_launch(session_id, rule_id);
    if (rule_id == 0)
        broken("a launch without a rule is to be forgotten");
    if (!place)
        return CBP_ERROR_NOT_FOUND;
    *place = 0;
    dump(&sessions[session_id]);
    return 0;
}
