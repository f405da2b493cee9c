/* Finds the rules of a set that match a name or a process; see cbp_ruleset.h. */
#include "cbp_ruleset_layout.h"

/* One name is looked up with this state. */
struct search {
    const struct cbp_ruleset *set;
    struct cbp_text path;
    struct cbp_text file_name;
    uint64_t pairs; /* of the path, which include the file name's; 0 until they are needed */
    const uint64_t *filter;
    uint32_t filter_shift;
    uint32_t added_count;
    uint64_t *matches;
};

/* Gives the pairs of units from .. end of a pattern, without wildcards. */
static uint64_t pairs_of_pattern(const struct cbp_text *text, size_t from, size_t end)
{
    uint64_t pairs = 0;
    for (size_t i = from + 1; i < end; i++)
        if (!cbp_is_wildcard(cbp_text_unit(text, i - 1)) && !cbp_is_wildcard(cbp_text_unit(text, i)))
            pairs |= cbp_ruleset_pair(cbp_text_unit(text, i - 1), cbp_text_unit(text, i));
    return pairs;
}

static uint64_t pairs_of_path(struct search *search)
{
    const struct cbp_text path = search->path;
    uint64_t pairs = search->pairs;
    uint32_t left = 0;
    for (size_t i = 0; search->pairs == 0 && i < path.size; i++) {
        uint32_t right = cbp_text_unit(&path, i);
        pairs |= cbp_ruleset_pair(left, right);
        left = right;
    }
    search->pairs = pairs;
    return pairs;
}

static bool is_prefix(uint32_t kind)
{
    return kind == CBP_RULESET_FILE_PREFIX || kind == CBP_RULESET_PATH_PREFIX;
}

static uint32_t hash_key(const struct cbp_text *text, uint32_t kind, size_t size)
{
    uint32_t hash = CBP_RULESET_HASH_START;
    for (size_t i = 0; i < size; i++)
        hash = cbp_ruleset_hash_unit(hash, cbp_text_unit(text, is_prefix(kind) ? i : text->size - 1 - i));
    return size == 0 ? 0 : cbp_ruleset_hash_end(hash, kind);
}

/* Says whether a pattern can have a key of this kind. head is the number of literal units before its first
 * wildcard, tail that after its last. */
static bool can_have(uint32_t kind, const struct cbp_text *text, size_t head, size_t tail, bool is_path)
{
    switch (kind) {
    case CBP_RULESET_EXACT:
        return head == text->size;
    case CBP_RULESET_FILE_PREFIX:
    case CBP_RULESET_PATH_PREFIX:
        return head > 0 && head < text->size && is_path == (kind == CBP_RULESET_PATH_PREFIX);
    case CBP_RULESET_SUFFIX:
        return tail > 0 && tail < text->size;
    case CBP_RULESET_NO_KEY:
        return head == 0 && tail == 0;
    default:
        return false;
    }
}

/* Gives the size of the key of a literal of this size. */
static size_t cut_key(uint32_t kind, size_t size)
{
    if (size > CBP_RULESET_KEY_MAX)
        size = CBP_RULESET_KEY_MAX;
    while (kind != CBP_RULESET_EXACT && size > 0 && (CBP_RULESET_KEY_SIZES >> (size - 1) & 1) == 0)
        size--;
    return size;
}

bool cbpd_ruleset_describe(const struct cbp_text *text, uint32_t kind, struct cbp_ruleset_key *key)
{
    bool is_path = false;
    size_t head = text->size, tail = text->size;
    for (size_t i = 0; i < text->size; i++) {
        uint32_t unit = cbp_text_unit(text, i);
        is_path |= cbp_is_separator(text, unit);
        if (cbp_is_wildcard(unit)) {
            head = head < i ? head : i;
            tail = text->size - 1 - i;
        }
    }
    if (!can_have(kind, text, head, tail, is_path))
        return false;
    size_t key_size = cut_key(kind, is_prefix(kind) ? head : tail);
    key->kind = kind;
    key->size = (uint32_t) key_size;
    key->is_path = is_path;
    key->hash = hash_key(text, kind, key_size);
    key->pairs = is_prefix(kind) ? pairs_of_pattern(text, key_size, text->size)
                                 : pairs_of_pattern(text, 0, text->size - key_size);
    return true;
}

/* A bitmap of rules is followed by a bitmap of its words that are not 0. */
static uint32_t rule_word_count(const struct cbp_ruleset *set)
{
    return (set->rule_count + 63) / 64;
}

static void set_bit(uint64_t *words, uint32_t index)
{
    words[index / 64] |= (uint64_t) 1 << (index % 64);
}

void cbpd_ruleset_mark(const struct cbp_ruleset *set, uint32_t index, uint64_t *matches)
{
    set_bit(matches, index);
    set_bit(matches + rule_word_count(set), index / 64);
}

static uint32_t mark_chain(const struct cbp_ruleset *set, uint32_t next, uint64_t *matches)
{
    const struct cbp_ruleset_rule *rules = cbp_ruleset_section(set, CBP_RULESET_RULES);
    uint32_t added_count = 0;
    for (; next != 0; next = rules[next - 1].next) {
        added_count += (matches[(next - 1) / 64] >> ((next - 1) % 64) & 1) == 0;
        cbpd_ruleset_mark(set, next - 1, matches);
    }
    return added_count;
}

static void try_pattern(struct search *search, const struct cbp_ruleset_pattern *pattern)
{
    struct cbp_text text = cbp_ruleset_text(search->set, pattern);
    if (cbpd_pattern_matches(&text, pattern->is_path ? &search->path : &search->file_name))
        search->added_count += mark_chain(search->set, pattern->first_rule, search->matches);
}

/* Tries the patterns with a key of this kind and hash, if the name has all of their pairs. */
static void try_bucket(struct search *search, uint32_t kind, uint32_t hash)
{
    const struct cbp_ruleset *set = search->set;
    const uint32_t *bucket = cbp_ruleset_section(set, CBP_RULESET_BUCKETS);
    bucket += hash >> (32 - set->bucket_bits);
    const struct cbp_ruleset_pattern *patterns = cbp_ruleset_section(set, CBP_RULESET_PATTERNS);
    const uint64_t *pairs = cbp_ruleset_section(set, CBP_RULESET_PAIRS);
    uint64_t missing = kind == CBP_RULESET_EXACT ? 0 : ~pairs_of_path(search);
    for (uint32_t i = bucket[0], end = bucket[1]; i < end; i++)
        if (patterns[i].hash == hash && patterns[i].kind == kind && (pairs[i] & missing) == 0)
            try_pattern(search, &patterns[i]);
}

static inline void probe(struct search *search, uint32_t kind, uint32_t hash_so_far)
{
    uint32_t hash = cbp_ruleset_hash_end(hash_so_far, kind);
    uint64_t bits = cbp_ruleset_filter_bits(hash);
    if ((search->filter[hash >> search->filter_shift] & bits) == bits)
        try_bucket(search, kind, hash);
}

/* Gives the sizes of keys of this kind that a text of this size can have: bit n - 1 for size n. */
static uint64_t key_sizes(const struct search *search, uint32_t kind, size_t size)
{
    uint64_t sizes = search->set->key_sizes[kind];
    return size < CBP_RULESET_KEY_MAX ? sizes & (((uint64_t) 1 << size) - 1) : sizes;
}

static void probe_start(struct search *search, uint32_t kind, struct cbp_text text)
{
    uint32_t hash = CBP_RULESET_HASH_START;
    uint64_t sizes = key_sizes(search, kind, text.size);
    for (size_t i = 0; sizes != 0; i++, sizes >>= 1) {
        hash = cbp_ruleset_hash_unit(hash, cbp_text_unit(&text, i));
        if (sizes & 1)
            probe(search, kind, hash);
    }
}

/* Gives the key size of an exact pattern that equals this text, in the form of key_sizes(). */
static uint64_t exact_size(const struct cbp_text *text)
{
    size_t size = cut_key(CBP_RULESET_EXACT, text->size);
    return size == 0 ? 0 : (uint64_t) 1 << (size - 1);
}

/* Probes suffixes, and exact patterns for the whole path or file name, which have keys of limited size. */
static void probe_end(struct search *search)
{
    const struct cbp_text path = search->path;
    uint32_t hash = CBP_RULESET_HASH_START;
    uint64_t suffixes = key_sizes(search, CBP_RULESET_SUFFIX, path.size);
    uint64_t exact = exact_size(&path) | exact_size(&search->file_name);
    exact &= search->set->key_sizes[CBP_RULESET_EXACT];
    for (size_t i = 1; (suffixes | exact) != 0; i++, suffixes >>= 1, exact >>= 1) {
        hash = cbp_ruleset_hash_unit(hash, cbp_text_unit(&path, path.size - i));
        if (suffixes & 1)
            probe(search, CBP_RULESET_SUFFIX, hash);
        if (exact & 1)
            probe(search, CBP_RULESET_EXACT, hash);
    }
}

/* Tries the patterns without a key. */
static void try_keyless(struct search *search)
{
    const struct cbp_ruleset *set = search->set;
    const struct cbp_ruleset_pattern *patterns = cbp_ruleset_section(set, CBP_RULESET_PATTERNS);
    const uint64_t *pairs = cbp_ruleset_section(set, CBP_RULESET_PAIRS);
    const uint32_t *buckets = cbp_ruleset_section(set, CBP_RULESET_BUCKETS);
    uint32_t i = buckets[(size_t) 1 << set->bucket_bits], end = set->pattern_count;
    uint64_t missing = i < end ? ~pairs_of_path(search) : 0;
    for (; i < end; i++)
        if ((pairs[i] & missing) == 0)
            try_pattern(search, &patterns[i]);
}

uint32_t cbpd_ruleset_match_name(const struct cbp_ruleset *set, const void *name, size_t size,
                                 uint64_t *matches)
{
    struct search search = {.set = set,
                            .path = {name, size, set->comparison},
                            .filter = cbp_ruleset_section(set, CBP_RULESET_FILTER),
                            .filter_shift = 32 - set->filter_bits,
                            .matches = matches};
    search.file_name = cbpd_text_file_name(&search.path);
    probe_start(&search, CBP_RULESET_FILE_PREFIX, search.file_name);
    probe_start(&search, CBP_RULESET_PATH_PREFIX, search.path);
    probe_end(&search);
    try_keyless(&search);
    return search.added_count;
}

void cbpd_ruleset_process_of(const struct cbp_ruleset *set, uint32_t index, uint32_t *process_id,
                             uint64_t *start_time)
{
    const struct cbp_ruleset_rule *rule = cbpd_ruleset_rule_at(set, index);
    const struct cbp_ruleset_process *processes = cbp_ruleset_section(set, CBP_RULESET_PROCESSES);
    bool is_for_one = rule->match == CBP_RULE_MATCH_PROCESS;
    *process_id = is_for_one ? processes[rule->owner].process_id : 0;
    *start_time = is_for_one ? processes[rule->owner].start_time : 0;
}

uint32_t cbpd_ruleset_comparison(const struct cbp_ruleset *set)
{
    return set->comparison;
}

/* Compares a process with the wanted one in the section's order: -1, 0 or 1. */
static int compare_process(const struct cbp_ruleset_process *process, uint32_t process_id,
                           uint64_t start_time)
{
    if (process->process_id != process_id)
        return process->process_id < process_id ? -1 : 1;
    return (process->start_time > start_time) - (process->start_time < start_time);
}

uint32_t cbpd_ruleset_match_process(const struct cbp_ruleset *set, uint32_t process_id, uint64_t start_time,
                                    uint64_t *matches)
{
    const struct cbp_ruleset_process *processes = cbp_ruleset_section(set, CBP_RULESET_PROCESSES);
    uint32_t low = 0, high = set->process_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare_process(&processes[middle], process_id, start_time) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    uint32_t added_count = mark_chain(set, set->first_rule, matches);
    if (low < set->process_count && compare_process(&processes[low], process_id, start_time) == 0)
        added_count += mark_chain(set, processes[low].first_rule, matches);
    return added_count;
}

uint32_t cbpd_ruleset_rule_count(const struct cbp_ruleset *set)
{
    return set->rule_count;
}

const struct cbp_ruleset_rule *cbpd_ruleset_rule_at(const struct cbp_ruleset *set, uint32_t index)
{
    const struct cbp_ruleset_rule *rules = cbp_ruleset_section(set, CBP_RULESET_RULES);
    return &rules[index];
}

uint32_t cbpd_ruleset_find(const struct cbp_ruleset *set, uint32_t rule_id)
{
    const struct cbp_ruleset_rule *rules = cbp_ruleset_section(set, CBP_RULESET_RULES);
    uint32_t low = 0, high = set->rule_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rules[middle].rule_id < rule_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->rule_count && rules[low].rule_id == rule_id ? low : set->rule_count;
}

uint32_t cbpd_ruleset_word_count(const struct cbp_ruleset *set)
{
    return rule_word_count(set) + (rule_word_count(set) + 63) / 64;
}

static uint32_t lowest_bit(uint64_t word)
{
    word &= ~word + 1;
    return (uint32_t) ((word & 0xaaaaaaaaaaaaaaaau) != 0) |
           (uint32_t) ((word & 0xccccccccccccccccu) != 0) << 1 |
           (uint32_t) ((word & 0xf0f0f0f0f0f0f0f0u) != 0) << 2 |
           (uint32_t) ((word & 0xff00ff00ff00ff00u) != 0) << 3 |
           (uint32_t) ((word & 0xffff0000ffff0000u) != 0) << 4 |
           (uint32_t) ((word & 0xffffffff00000000u) != 0) << 5;
}

/* Gives the first set bit from this one on, or bit_count. */
static uint32_t next_bit(const uint64_t *words, uint32_t from, uint32_t bit_count)
{
    while (from < bit_count) {
        uint64_t word = words[from / 64] >> (from % 64);
        if (word != 0)
            return from + lowest_bit(word);
        from = (from / 64 + 1) * 64;
    }
    return bit_count;
}

uint32_t cbpd_ruleset_next(const struct cbp_ruleset *set, const uint64_t *matches, uint32_t from)
{
    uint32_t word_count = rule_word_count(set), word = from / 64;
    if (word < word_count && matches[word] >> (from % 64) == 0) {
        word = next_bit(matches + word_count, word + 1, word_count);
        from = 64 * word;
    }
    return word < word_count ? next_bit(matches, from, set->rule_count) : set->rule_count;
}

uint32_t cbpd_ruleset_keep(const struct cbp_ruleset *set, bool allowing, uint64_t *matches)
{
    uint32_t count = 0;
    for (uint32_t i = 0; (i = cbpd_ruleset_next(set, matches, i)) < set->rule_count; i++) {
        if ((cbpd_ruleset_rule_at(set, i)->action == CBP_ACTION_ALLOW) == allowing)
            count++;
        else
            matches[i / 64] &= ~((uint64_t) 1 << (i % 64));
    }
    return count;
}

void cbpd_ruleset_retire(struct cbp_ruleset *set, uint32_t index)
{
    struct cbp_ruleset_rule *rule =
        (struct cbp_ruleset_rule *) (void *) ((unsigned char *) set + set->offsets[CBP_RULESET_RULES]) +
        index;
    rule->action = CBP_RULESET_NO_ACTION;
    rule->action_value = 0;
    rule->flags = 0;
}

void cbpd_ruleset_add_stance(const struct cbp_ruleset *set, const uint64_t *matches,
                             struct cbp_stance *stance)
{
    for (uint32_t i = 0; (i = cbpd_ruleset_next(set, matches, i)) < set->rule_count; i++) {
        const struct cbp_ruleset_rule *rule = cbpd_ruleset_rule_at(set, i);
        cbpd_stance_add(stance, rule->rule_id, rule->match, rule->action, rule->action_value);
    }
}
