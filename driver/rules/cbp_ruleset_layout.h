/* Describes the inside of a compiled rule set for the files that build, validate and read it. It has offsets
 * instead of pointers, in the machine's byte order.
 *
 * Each different pattern is stored once, with a chain of its rules. One key finds it: the whole pattern if it
 * has no wildcard, else the literal at its start or at its end, cut to CBP_RULESET_KEY_MAX units. Patterns
 * are sorted by the hash of their key, and a bucket is a range of them. Patterns that begin and end with a
 * wildcard have no key: they come after the last bucket and are tried one by one. */
#ifndef CBP_RULESET_LAYOUT_H
#define CBP_RULESET_LAYOUT_H

#include "cbp_ruleset.h"

#define CBP_RULESET_MAGIC 0x52504243u /* "CBPR" in memory */
#define CBP_RULESET_VERSION 1u
#define CBP_RULESET_KEY_MAX 64u
/* Keys of prefixes and suffixes have the sizes 1 2 3 4 6 8 12 16 24 32 48 64: bit n - 1 for n. Longer
 * literals are cut, so that a lookup needs few probes. */
#define CBP_RULESET_KEY_SIZES 0x80008000808088afull
#define CBP_RULESET_RULE_MAX (1u << 20)
#define CBP_RULESET_TEXT_MAX (1u << 30) /* units of all patterns together */
#define CBP_RULESET_UTF16_MAX 32767u    /* units of a UTF-16 pattern; in bytes: CBP_PATTERN_SIZE_MAX */
#define CBP_RULESET_NO_ACTION 0xffu     /* the action of a rule that was taken out of force */
#define CBP_RULESET_FILTER_BITS_MIN 1u
#define CBP_RULESET_FILTER_BITS_MAX 20u
#define CBP_RULESET_BUCKET_BITS_MIN 1u
#define CBP_RULESET_BUCKET_BITS_MAX 22u

/* A pattern's key is of one kind. A literal at the end of a file name is also one at the end of the path. */
enum cbp_ruleset_kind {
    CBP_RULESET_EXACT = 0,
    CBP_RULESET_FILE_PREFIX = 1,
    CBP_RULESET_PATH_PREFIX = 2,
    CBP_RULESET_SUFFIX = 3,
    CBP_RULESET_NO_KEY = 4,
};

/* A pattern has its folded text at units text .. text + size of the section. */
struct cbp_ruleset_pattern {
    uint32_t hash; /* of the key; 0: it has none */
    uint32_t text;
    uint32_t first_rule; /* index + 1 */
    uint16_t size;
    uint8_t kind;    /* the kind of its key */
    uint8_t is_path; /* 1: it is compared with the whole path */
};
CBP_ASSERT_SIZE(struct cbp_ruleset_pattern, 16);

/* Rules are for this process. Processes are sorted by id and start time. */
struct cbp_ruleset_process {
    uint64_t start_time;
    uint32_t process_id;
    uint32_t first_rule; /* index + 1 */
};
CBP_ASSERT_SIZE(struct cbp_ruleset_process, 16);

/* The sections follow the header in this order, without a gap. */
enum cbp_ruleset_section {
    CBP_RULESET_PATTERNS,
    CBP_RULESET_PAIRS, /* 64 bits of each pattern: see cbp_ruleset_pair() */
    CBP_RULESET_PROCESSES,
    CBP_RULESET_FILTER,  /* words of 64 bits; each key sets two of them */
    CBP_RULESET_BUCKETS, /* the index of each bucket's first pattern, and the end of the last bucket */
    CBP_RULESET_RULES,
    CBP_RULESET_TEXTS,
    CBP_RULESET_SECTION_COUNT,
};

struct cbp_ruleset {
    uint32_t magic;
    uint32_t version;
    uint32_t size; /* of the whole block */
    uint32_t comparison;
    uint32_t rule_count;
    uint32_t process_count;
    uint32_t pattern_count;
    uint32_t text_size;   /* units */
    uint32_t filter_bits; /* this many top bits of a key's hash choose its word in the filter */
    uint32_t bucket_bits; /* this many choose its bucket */
    uint32_t first_rule;  /* index + 1 of the first rule for all processes */
    uint32_t reserved[6]; /* 0. If a block begins a page, each of its patterns lies in one cache line */
    uint32_t offsets[CBP_RULESET_SECTION_COUNT];
    uint64_t key_sizes[CBP_RULESET_NO_KEY]; /* of each kind of key; bit n - 1: there are keys of n units */
};
CBP_ASSERT_SIZE(struct cbp_ruleset, 128);

static inline const void *cbp_ruleset_section(const struct cbp_ruleset *set, enum cbp_ruleset_section section)
{
    return (const unsigned char *) set + set->offsets[section];
}

/* Gives the text of a pattern of the block. */
static inline struct cbp_text cbp_ruleset_text(const struct cbp_ruleset *set,
                                               const struct cbp_ruleset_pattern *pattern)
{
    uint32_t unit_size = set->comparison == CBP_COMPARE_UTF16 ? 2u : 1u;
    const unsigned char *texts = (const unsigned char *) cbp_ruleset_section(set, CBP_RULESET_TEXTS);
    struct cbp_text text = {texts + (size_t) pattern->text * unit_size, pattern->size, set->comparison};
    return text;
}

/* Hashes one more unit of a key, from CBP_RULESET_HASH_START on: a prefix forwards, other keys backwards. */
#define CBP_RULESET_HASH_START 0x811c9dc5u
static inline uint32_t cbp_ruleset_hash_unit(uint32_t hash, uint32_t unit)
{
    return (hash ^ unit) * 0x01000193u;
}

/* Gives the hash of a key of this kind. Its top bits are well mixed. */
static inline uint32_t cbp_ruleset_hash_end(uint32_t hash, uint32_t kind)
{
    hash = (hash ^ kind) * 0x85ebca6bu;
    return (hash ^ (hash >> 15)) * 0x2c1b3c6du;
}

/* Gives the bits that a key with this hash sets in its word of the filter. */
static inline uint64_t cbp_ruleset_filter_bits(uint32_t hash)
{
    return (uint64_t) 1 << (hash & 63u) | (uint64_t) 1 << (hash >> 6 & 63u);
}

/* Writes the offsets of the sections, from the counts in the header, which must be within the limits above.
 * Returns the size of the block, which these limits keep below 4 GiB. */
uint32_t cbpd_ruleset_lay_out(const struct cbp_ruleset *set, uint32_t *offsets);

/* Gives the bit of two neighbouring units. */
static inline uint64_t cbp_ruleset_pair(uint32_t left, uint32_t right)
{
    return (uint64_t) 1 << ((left * 11u + right) % 64u);
}

/* A pattern is found like this. pairs has a bit for each pair of neighbouring literal units outside of the
 * key; a name that lacks one of them cannot match. */
struct cbp_ruleset_key {
    uint64_t pairs;
    uint32_t hash;
    uint32_t size;
    uint32_t kind;
    bool is_path;
};

/* Gives the key of this kind of a pattern with this text. False: it cannot have one, and nothing is written. A
 * pattern has exactly one, or with literals at both ends a prefix and a suffix. */
bool cbpd_ruleset_describe(const struct cbp_text *text, uint32_t kind, struct cbp_ruleset_key *key);

#endif
