/* What a session's driver should have of its rules, to be compared with what the fake helper has: it
 * writes that to a file after every change (see fake_rules.h). */
#ifndef CBP_TEST_RULE_MODEL_H
#define CBP_TEST_RULE_MODEL_H

#include "support.h"

#include "platform.h"

#define MODEL_MAX 2048u

/* The rules that the driver should have, the oldest first, as the file shows them behind the id; and how many
 * of them are in the main part. */
static struct {
    char lines[MODEL_MAX][200];
    uint32_t count;
    uint32_t main_count;
    uint32_t launch_count;
} model;

/* What the driver has been sent so far, as of the last check. */
static struct {
    unsigned set_count;
    unsigned long long bytes;
} sent;

static char dump_path[PATH_MAX + 64];

static inline uint64_t start_time_of(uint32_t process_id)
{
    uint64_t start_time = 0;
    if (process_id != 0)
        CHECK_OK(cbpi_process_start_time(process_id, &start_time));
    return start_time;
}

static inline const char *line_of(uint32_t match, uint32_t flags, uint32_t action, uint32_t value,
                                  uint32_t process_id, const char *pattern)
{
    static char line[200];
    snprintf(line, sizeof line, "%u %u %u %u %u %llu %s", match, flags, action, value, process_id,
             (unsigned long long) start_time_of(process_id), pattern);
    return line;
}

static inline void model_add(const char *line)
{
    CHECK(model.count < MODEL_MAX && strlen(line) < sizeof model.lines[0]);
    strcpy(model.lines[model.count++], line);
}

static inline void model_remove(const char *line)
{
    uint32_t at = 0;
    while (at < model.count && strcmp(model.lines[at], line) != 0)
        at++;
    CHECK(at < model.count);
    memmove(model.lines[at], model.lines[at + 1], (model.count - at - 1) * sizeof model.lines[0]);
    model.count--;
    model.main_count -= at < model.main_count;
}

/* What the driver has equals the model: the same rules, the ids rising, split where it should be. */
static inline void check_dump(int line_number)
{
    char line[400];
    unsigned part, id, last_id = 0;
    uint32_t count = 0, launch_count = 0;
    FILE *file = fopen(dump_path, "r");
    CHECK(file);
    while (fgets(line, sizeof line, file)) {
        int at = 0;
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "launch %u", &id) == 1) {
            launch_count++;
            continue;
        }
        if (sscanf(line, "taken %u %llu", &sent.set_count, &sent.bytes) == 2)
            continue;
        CHECK(sscanf(line, "%u %u %n", &part, &id, &at) == 2 && id > last_id);
        if (count >= model.count || strcmp(line + at, model.lines[count]) != 0 ||
            part != (count >= model.main_count)) {
            fprintf(stderr, "line %d: the driver has '%s', wanted '%s' in part %u\n", line_number, line,
                    count < model.count ? model.lines[count] : "nothing", count >= model.main_count);
            abort();
        }
        last_id = id;
        count++;
    }
    fclose(file);
    CHECK(count == model.count && launch_count == model.launch_count);
}

#define CHECK_DRIVER() check_dump(__LINE__)

#endif
