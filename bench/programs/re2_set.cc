// The lookup of names in a set of patterns by RE2: `re2_set PATTERNS NAMES`, as programs/ruleset.c reads
// them, prints "name value" lines. The patterns become one RE2::Set of regular expressions for whole paths.
#include <cstdio>
#include <fstream>
#include <re2/re2.h>
#include <re2/set.h>
#include <string>
#include <time.h>
#include <vector>

static std::vector<std::string> read_lines(const char *path)
{
    std::vector<std::string> lines;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);)
        lines.push_back(line);
    return lines;
}

// A pattern without '/' is held against the file name, which has none either.
static std::string expression_of(const std::string &pattern)
{
    bool is_path = pattern.find('/') != std::string::npos;
    std::string expression = is_path ? "(?s)" : "(?s)(?:.*/)?";
    for (char symbol : pattern) {
        if (symbol == '*')
            expression += is_path ? ".*" : "[^/]*";
        else if (symbol == '?')
            expression += is_path ? "." : "[^/]";
        else
            expression += RE2::QuoteMeta(re2::StringPiece(&symbol, 1));
    }
    return expression;
}

static double spent_ns()
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    std::vector<std::string> patterns = read_lines(argv[1]), names = read_lines(argv[2]);
    RE2::Options options;
    options.set_encoding(RE2::Options::EncodingLatin1);
    options.set_max_mem(int64_t{1} << 30);
    double start = spent_ns();
    RE2::Set set(options, RE2::ANCHOR_BOTH);
    for (const std::string &pattern : patterns)
        if (set.Add(expression_of(pattern), nullptr) < 0)
            return 3;
    if (!set.Compile())
        return 3;
    std::printf("build_ns %.1f\n", spent_ns() - start);
    std::vector<int> found;
    size_t match_count = 0;
    start = spent_ns();
    for (const std::string &name : names)
        if (set.Match(name, &found))
            match_count += found.size();
    std::printf("lookup_ns %.1f\n", (spent_ns() - start) / static_cast<double>(names.size()));
    std::printf("matches %.1f\n", static_cast<double>(match_count));
    return 0;
}
