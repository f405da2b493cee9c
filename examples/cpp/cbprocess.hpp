// A C++17 face of cbprocess.h, in one header: what is acquired is released by a destructor, a code that is
// not 0 is thrown, a handler is any callable. Knows the public header alone.
#ifndef CBPROCESS_HPP
#define CBPROCESS_HPP

#include <cbprocess.h>

#include <cerrno>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace cbprocess
{

class error : public std::runtime_error
{
  public:
    explicit error(std::uint32_t code)
        : std::runtime_error(std::string(cbp_error_message(code)) + " " + cbp_error_detail()), code_(code)
    {
    }
    std::uint32_t code() const noexcept
    {
        return code_;
    }

  private:
    std::uint32_t code_;
};

inline void check(std::uint32_t code)
{
    if (code != 0)
        throw error(code);
}

inline bool matches(std::string_view pattern, std::string_view name)
{
    std::uint32_t result = 0;
    check(cbp_pattern_match(pattern.data(), pattern.size(), name.data(), name.size(), &result));
    return result != 0;
}

// An event while its handler runs; its texts live as long.
class event
{
  public:
    explicit event(cbp_event &raw) noexcept : raw_(raw)
    {
    }

    const cbp_event &raw() const noexcept
    {
        return raw_;
    }
    bool is(std::uint32_t type) const noexcept
    {
        return raw_.type == type;
    }
    std::uint32_t process_id() const noexcept
    {
        return raw_.process_id;
    }
    std::uint32_t originator_process_id() const noexcept
    {
        return raw_.originator_process_id;
    }
    int exit_status() const noexcept
    {
        return static_cast<int>(raw_.exit_status);
    }
    std::string_view process_name() const noexcept
    {
        return {cbp_event_process_name(&raw_), raw_.process_name_size};
    }
    void refuse(std::uint32_t code) noexcept
    {
        raw_.result_code = code;
    }

  private:
    cbp_event &raw_;
};

// A filter and what its handlers own. Starts and stops it; the destructor stops it, too, and must not run in
// a handler of its own.
class session
{
  public:
    using event_handler = std::function<void(event &)>;
    using error_handler = std::function<void(std::uint32_t code, const char *text)>;

    session(const char *product_guid, event_handler on_event, error_handler on_error = {})
        : handlers_(new handlers{std::move(on_event), std::move(on_error)})
    {
        cbp_session *made = nullptr;
        check(cbp_session_create(product_guid, &made));
        raw_.reset(made);
        cbp_callbacks callbacks{};
        callbacks.size = sizeof callbacks;
        callbacks.context = reinterpret_cast<std::uintptr_t>(handlers_.get());
        callbacks.event = &session::call_event;
        callbacks.error = &session::call_error;
        check(cbp_session_set_callbacks(made, &callbacks));
    }

    cbp_session *raw() const noexcept
    {
        return raw_.get();
    }
    void config(const char *name, const std::string &value)
    {
        check(cbp_session_set_config(raw_.get(), name, value.c_str()));
    }
    void start(std::uint32_t timeout_ms = 0)
    {
        check(cbp_session_start(raw_.get(), timeout_ms));
    }
    void stop()
    {
        check(cbp_session_stop(raw_.get(), 0));
    }

    // Starts a program, looked up as execvp does, and filters it and its descendants. Throws
    // std::system_error if it could not be executed or was refused.
    pid_t spawn(const std::vector<std::string> &arguments);

  private:
    struct handlers {
        event_handler on_event;
        error_handler on_error;
    };
    struct destroy {
        void operator()(cbp_session *session) const noexcept
        {
            cbp_session_destroy(session);
        }
    };

    static handlers &of(std::uint64_t context)
    {
        return *reinterpret_cast<handlers *>(static_cast<std::uintptr_t>(context));
    }
    // Nothing may be thrown through the library's frames.
    static void CBP_CALL call_event(cbp_event *raw) noexcept
    {
        handlers &own = of(raw->context);
        try {
            event seen(*raw);
            own.on_event(seen);
        } catch (const std::exception &failure) {
            call_error(raw->context, CBP_ERROR_UNHANDLED_EXCEPTION, failure.what());
        } catch (...) {
            call_error(raw->context, CBP_ERROR_UNHANDLED_EXCEPTION, "an exception of another kind");
        }
    }
    static void CBP_CALL call_error(std::uint64_t context, std::uint32_t code, const char *text) noexcept
    {
        try {
            if (of(context).on_error)
                of(context).on_error(code, text);
        } catch (...) {
            // There is nobody left to tell.
        }
    }

    std::unique_ptr<handlers> handlers_;
    std::unique_ptr<cbp_session, destroy> raw_; // goes first
};

namespace detail
{

// The files that execvp would try, one after the other.
inline std::string candidate_paths(const std::string &program)
{
    if (program.find('/') != program.npos)
        return program + '\0';
    const char *variable = std::getenv("PATH");
    std::string_view folders = variable ? variable : "/usr/local/bin:/usr/bin:/bin";
    std::string paths;
    for (;;) {
        const std::size_t end = folders.find(':');
        const std::string_view folder = folders.substr(0, end);
        paths.append(folder.empty() ? "." : folder).append("/").append(program).push_back('\0');
        if (end == folders.npos)
            return paths;
        folders.remove_prefix(end + 1);
    }
}

inline std::string launcher_path()
{
    std::uint64_t needed = 0;
    cbp_launcher_path(nullptr, 0, &needed);
    std::string path(needed, '\0');
    check(cbp_launcher_path(path.data(), path.size(), &needed));
    return path;
}

class file_actions
{
  public:
    file_actions()
    {
        posix_spawn_file_actions_init(&raw);
    }
    file_actions(const file_actions &) = delete;
    file_actions &operator=(const file_actions &) = delete;
    ~file_actions()
    {
        posix_spawn_file_actions_destroy(&raw);
    }
    posix_spawn_file_actions_t raw;
};

} // namespace detail

inline pid_t session::spawn(const std::vector<std::string> &arguments)
{
    const std::string paths = detail::candidate_paths(arguments.at(0)), launcher = detail::launcher_path();
    cbp_launch_handle *launch = nullptr;
    std::int32_t fd = -1;
    check(cbp_launch_begin(raw_.get(), arguments[0].c_str(), paths.data(), paths.size(), 1, &fd, &launch));

    // The launcher's own name tells it the descriptor; a duplicate onto itself is how it inherits that.
    const std::string name = "cbprocess-launch " + std::to_string(fd);
    std::vector<char *> argv{const_cast<char *>(name.c_str())};
    for (std::size_t i = 1; i < arguments.size(); i++)
        argv.push_back(const_cast<char *>(arguments[i].c_str()));
    argv.push_back(nullptr);
    detail::file_actions actions;
    posix_spawn_file_actions_adddup2(&actions.raw, fd, fd);
    pid_t child = -1;
    const int spawned = posix_spawn(&child, launcher.c_str(), &actions.raw, nullptr, argv.data(), environ);

    std::uint32_t os_error = 0;
    const std::uint32_t code = cbp_launch_finish(launch, spawned == 0, 0, &os_error);
    if (spawned != 0)
        throw std::system_error(spawned, std::generic_category(), launcher);
    if (code == 0 && os_error == 0)
        return child;
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR)
        continue;
    check(code);
    throw std::system_error(static_cast<int>(os_error), std::generic_category(), arguments[0]);
}

} // namespace cbprocess

#endif
