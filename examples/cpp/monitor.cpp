// A complete monitor in C++17: starts a program under the filter, prints every process that it and its
// descendants create and end, and refuses the programs named with --deny.
//
//     monitor [--deny PATTERN]... [--] PROGRAM [ARGUMENT]...
//
// The status is the program's own: its exit status, 128 + N after signal N, 126 or 127 if it could not be
// started, 125 if the monitor itself failed.
#include "cbprocess.hpp"

#include <algorithm>
#include <cstdio>

namespace
{

constexpr int status_failed = 125;

struct options {
    std::vector<std::string> deny, command;
};

options parse(const std::vector<std::string> &words)
{
    options result;
    std::size_t at = 0;
    for (; at + 1 < words.size() && words[at] == "--deny"; at += 2)
        result.deny.push_back(words[at + 1]);
    const bool has_end = at < words.size() && words[at] == "--";
    if (has_end || (at < words.size() && words[at].compare(0, 1, "-") != 0))
        result.command.assign(words.begin() + static_cast<std::ptrdiff_t>(at + has_end), words.end());
    return result;
}

// Runs in several worker threads at once, while the operation waits: each line is written by one call.
void report(cbprocess::event &event, const std::vector<std::string> &deny)
{
    const int size = static_cast<int>(event.process_name().size());
    const char *name = event.process_name().data();
    const int status = event.exit_status();
    const auto matches = [&](const std::string &pattern) {
        return cbprocess::matches(pattern, event.process_name());
    };

    if (event.is(CBP_PROC_EVT_PROCESS_CREATION) && std::any_of(deny.begin(), deny.end(), matches)) {
        event.refuse(CBP_ERROR_ACCESS_DENIED);
        std::fprintf(stderr, "refused  %u %.*s\n", event.process_id(), size, name);
    } else if (event.is(CBP_PROC_EVT_PROCESS_CREATION)) {
        std::fprintf(stderr, "created  %u %.*s (by %u)\n", event.process_id(), size, name,
                     event.originator_process_id());
    } else if (WIFSIGNALED(status)) {
        std::fprintf(stderr, "ended    %u %.*s: signal %d\n", event.process_id(), size, name,
                     WTERMSIG(status));
    } else {
        std::fprintf(stderr, "ended    %u %.*s: status %d\n", event.process_id(), size, name,
                     WEXITSTATUS(status));
    }
}

int wait_for(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int run(const options &chosen)
{
    cbprocess::session session(
        "{0B5E7C41-6B0A-4C43-8C8E-5D2F7A93C7B4}",
        [&](cbprocess::event &event) { report(event, chosen.deny); },
        [](std::uint32_t code, const char *text) {
            std::fprintf(stderr, "monitor: error %u: %s\n", code, text);
        });
    session.config("EventsToFire",
                   std::to_string(CBP_PROC_EVT_PROCESS_CREATION | CBP_PROC_EVT_PROCESS_TERMINATION));
    session.start();
    const int status = wait_for(session.spawn(chosen.command));
    session.stop();
    return status;
}

} // namespace

int main(int count, char **words)
{
    const options chosen = parse({words + 1, words + count});
    if (chosen.command.empty()) {
        std::fputs("usage: monitor [--deny PATTERN]... [--] PROGRAM [ARGUMENT]...\n", stderr);
        return status_failed;
    }
    try {
        return run(chosen);
    } catch (const std::system_error &failure) {
        std::fprintf(stderr, "monitor: %s\n", failure.what());
        return failure.code().value() == ENOENT ? 127 : 126;
    } catch (const std::exception &failure) {
        std::fprintf(stderr, "monitor: %s\n", failure.what());
    }
    return status_failed;
}
