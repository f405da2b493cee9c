/* The lookup of names in a set of patterns, timed: `ruleset PATTERNS NAMES MODE`, both files with a text on
 * each line, prints "name value" lines. MODE is engine (the compiled rule set), fnmatch (a loop), or cold
 * (the rule set, the caches overwritten before each lookup). Nothing is looked up before the clock runs. */
#include "cbp_ruleset.h"
#include "ruleset_build.h"
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define CACHE_SIZE (96u << 20)
#define COLD_COUNT 101

struct lines {
    char *text;
    char **at;
    uint32_t count;
};

/* This thread's own time; it costs a system call. */
static uint64_t spent_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

static struct lines read_lines(const char *path)
{
    struct lines lines = {0};
    size_t capacity = 0;
    FILE *file = fopen(path, "r");
    if (!file)
        die(path);
    if (getdelim(&lines.text, &capacity, 0, file) < 0)
        lines.text = calloc(1, 1);
    fclose(file);
    for (char *line = strtok(lines.text, "\n"); line; line = strtok(NULL, "\n")) {
        if ((lines.count & (lines.count - 1)) == 0)
            lines.at = realloc(lines.at, (2 * (size_t) lines.count + 1) * sizeof *lines.at);
        lines.at[lines.count++] = line;
    }
    return lines;
}

static void report(const char *name, double value)
{
    printf("%s %.1f\n", name, value);
}

static struct cbp_ruleset *build(const struct lines *patterns, size_t *size)
{
    struct cbpi_rule *rules = calloc(patterns->count + 1, sizeof *rules);
    struct cbp_ruleset *set;
    for (uint32_t i = 0; i < patterns->count; i++)
        rules[i] = (struct cbpi_rule){.rule_id = i + 1,
                                      .match = CBP_RULE_MATCH_NAME,
                                      .pattern = patterns->at[i],
                                      .pattern_size = (uint32_t) strlen(patterns->at[i])};
    uint64_t start = spent_ns();
    if (cbpi_ruleset_build(CBP_COMPARE_BYTES, rules, patterns->count, &set, size) != 0)
        die("build");
    report("build_ns", (double) (spent_ns() - start));
    free(rules);
    /* Where a driver has it: at the start of a page. */
    void *page = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        die("mmap");
    memcpy(page, set, *size);
    free(set);
    return page;
}

/* What a driver does with one name: an empty bitmap, the match, the stance. */
static uint32_t look_up(const struct cbp_ruleset *set, const char *name, uint64_t *matches)
{
    struct cbp_stance stance = {0};
    memset(matches, 0, cbpd_ruleset_word_count(set) * sizeof *matches);
    uint32_t count = cbpd_ruleset_match_name(set, name, strlen(name), matches);
    if (count != 0)
        cbpd_ruleset_add_stance(set, matches, &stance);
    return count;
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *) left, b = *(const uint64_t *) right;
    return (a > b) - (a < b);
}

static void measure_cold(const struct cbp_ruleset *set, const struct lines *names, uint64_t *matches)
{
    static uint64_t spent[COLD_COUNT];
    volatile char *cache = malloc(CACHE_SIZE);
    for (uint32_t i = 0; i < COLD_COUNT; i++) {
        for (size_t k = 0; k < CACHE_SIZE; k += 64)
            cache[k] = (char) (i + k);
        uint64_t start = now_ns();
        look_up(set, names->at[i % names->count], matches);
        spent[i] = now_ns() - start;
    }
    qsort(spent, COLD_COUNT, sizeof spent[0], compare);
    report("lookup_ns", (double) spent[COLD_COUNT / 2]);
}

static void measure_engine(const struct cbp_ruleset *set, const struct lines *names, uint64_t *matches)
{
    uint64_t match_count = 0, start = spent_ns();
    for (uint32_t i = 0; i < names->count; i++)
        match_count += look_up(set, names->at[i], matches);
    report("lookup_ns", (double) (spent_ns() - start) / names->count);
    report("matches", (double) match_count);
}

static void measure_fnmatch(const struct lines *patterns, const struct lines *names)
{
    uint64_t match_count = 0;
    char *is_path = calloc(patterns->count + 1, 1);
    for (uint32_t i = 0; i < patterns->count; i++)
        is_path[i] = strchr(patterns->at[i], '/') != NULL;
    uint64_t start = spent_ns();
    for (uint32_t i = 0; i < names->count; i++) {
        const char *path = names->at[i], *slash = strrchr(path, '/');
        const char *file_name = slash ? slash + 1 : path;
        for (uint32_t k = 0; k < patterns->count; k++)
            match_count += fnmatch(patterns->at[k], is_path[k] ? path : file_name, FNM_NOESCAPE) == 0;
    }
    report("lookup_ns", (double) (spent_ns() - start) / names->count);
    report("matches", (double) match_count);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    struct lines patterns = read_lines(argv[1]), names = read_lines(argv[2]);
    if (strcmp(argv[3], "fnmatch") == 0) {
        measure_fnmatch(&patterns, &names);
        return 0;
    }
    size_t size;
    struct cbp_ruleset *set = build(&patterns, &size);
    uint64_t start = spent_ns();
    if (cbpd_ruleset_validate(set, size) != 0)
        die("validate");
    report("validate_ns", (double) (spent_ns() - start));
    report("size", (double) size);
    uint64_t *matches = calloc(cbpd_ruleset_word_count(set) + 1u, sizeof *matches);
    if (strcmp(argv[3], "cold") == 0)
        measure_cold(set, &names, matches);
    else
        measure_engine(set, &names, matches);
    return 0;
}
