/* See cbp_rules.h. */
#include "cbp_rules.h"

/* Bytes of the character that starts at text: a whole UTF-8 sequence, or 1 for anything malformed. The second
 * byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF. Source: Unicode, table 3-7.
 */
static size_t character_size(const unsigned char *text, size_t size)
{
    unsigned char first = text[0];
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || length > size)
        return 1;
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < low || text[1] > high)
        return 1;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 1;
    return length;
}

static int is_separator(char byte)
{
    return byte == '/';
}

static int same_bytes(const char *left, const char *right, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (left[i] != right[i])
            return 0;
    return 1;
}

/* Greedy match with one point of return, the last '*': going back further can never help, because both texts
 * are taken character by character. */
static int matches_whole(const char *pattern, size_t pattern_size, const char *name, size_t name_size)
{
    size_t p = 0, n = 0, star = pattern_size, resume = 0;
    while (n < name_size) {
        size_t step = character_size((const unsigned char *) name + n, name_size - n);
        size_t width =
            p < pattern_size ? character_size((const unsigned char *) pattern + p, pattern_size - p) : 0;
        if (width > 0 && pattern[p] == '*') {
            star = p++;
            resume = n;
        } else if (width > 0 && pattern[p] == '?') {
            p++;
            n += step;
        } else if (width > 0 && width == step && same_bytes(pattern + p, name + n, step)) {
            p += step;
            n += step;
        } else if (star < pattern_size) {
            resume += character_size((const unsigned char *) name + resume, name_size - resume);
            n = resume;
            p = star + 1;
        } else {
            return 0;
        }
    }
    while (p < pattern_size && pattern[p] == '*')
        p++;
    return p == pattern_size;
}

int cbp_name_matches(const char *pattern, size_t pattern_size, const char *name, size_t name_size)
{
    if (pattern_size == 0)
        return 0;
    size_t has_path = 0;
    for (size_t i = 0; i < pattern_size && !has_path; i++)
        has_path = (size_t) is_separator(pattern[i]);
    size_t start = name_size;
    while (!has_path && start > 0 && !is_separator(name[start - 1]))
        start--;
    if (has_path)
        start = 0;
    return matches_whole(pattern, pattern_size, name + start, name_size - start);
}

uint32_t cbp_thread_rights_of(uint32_t process_rights)
{
    static const uint32_t pairs[][2] = {
        {CBP_PROCESS_TERMINATE, CBP_THREAD_TERMINATE},
        {CBP_PROCESS_SUSPEND_RESUME, CBP_THREAD_SUSPEND_RESUME | CBP_THREAD_RESUME},
        {CBP_PROCESS_VM_READ, CBP_THREAD_GET_CONTEXT},
        {CBP_PROCESS_VM_WRITE, CBP_THREAD_SET_CONTEXT},
        {CBP_PROCESS_SET_INFORMATION, CBP_THREAD_SET_INFORMATION | CBP_THREAD_SET_LIMITED_INFORMATION},
        {CBP_PROCESS_QUERY_INFORMATION, CBP_THREAD_QUERY_INFORMATION},
        {CBP_PROCESS_QUERY_LIMITED_INFORMATION, CBP_THREAD_QUERY_LIMITED_INFORMATION},
        {CBP_PROCESS_SYNCHRONIZE, CBP_THREAD_SYNCHRONIZE},
    };
    uint32_t rights = 0;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (process_rights & pairs[i][0])
            rights |= pairs[i][1];
    return rights;
}

void cbp_stance_add(struct cbp_stance *stance, uint32_t action, uint32_t action_value)
{
    switch (action) {
    case CBP_ACTION_ASK:
        stance->asked = 1;
        break;
    case CBP_ACTION_IGNORE:
        stance->ignored = 1;
        break;
    case CBP_ACTION_ALLOW:
        stance->allowed = 1;
        break;
    case CBP_ACTION_DENY:
        if (stance->deny_code == 0)
            stance->deny_code = action_value;
        break;
    case CBP_ACTION_STRIP:
        stance->strip_mask |= action_value;
        break;
    default:
        break;
    }
}

static int is_filtered(const struct cbp_stance *stance)
{
    return stance->asked || stance->allowed || stance->deny_code != 0 || stance->strip_mask != 0;
}

enum cbp_outcome cbp_outcome_of(uint32_t operation, const struct cbp_stance *originator,
                                const struct cbp_stance *subject, uint32_t *deny_code, uint32_t *strip_mask)
{
    static const struct cbp_stance nobody = {0};
    *deny_code = 0;
    *strip_mask = 0;
    if (originator->ignored)
        return CBP_OUTCOME_SILENT;
    if (subject->ignored)
        subject = &nobody;
    if (!is_filtered(originator) && !is_filtered(subject))
        return CBP_OUTCOME_SILENT;
    if (operation & CBP_OPERATION_REFUSABLE)
        *deny_code = originator->deny_code != 0 ? originator->deny_code : subject->deny_code;
    if (operation & CBP_OPERATION_HAS_ACCESS)
        *strip_mask = subject->strip_mask;
    if (*deny_code != 0)
        return CBP_OUTCOME_DENY;
    if (*strip_mask != 0)
        return CBP_OUTCOME_STRIP;
    if (originator->allowed || subject->allowed)
        return CBP_OUTCOME_ALLOW;
    return originator->asked || subject->asked ? CBP_OUTCOME_ASK : CBP_OUTCOME_ALLOW;
}
