#include "launch/stop_signal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>

#include "launch/terminal.h"

namespace braid {
namespace {

/// Signals change the state of a process for good, so each case has its own. The result is the exit code, or
/// minus the signal that ended it.
int in_child(const std::function<int()>& action) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(action());
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(stop_signal, each_signal_asks_for_a_stop) {
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) {
        const int code = in_child([&] {
            ::signal(SIGINT, SIG_DFL);
            ::signal(SIGHUP, SIG_DFL);
            install_stop_signals();
            if (stop_requested() || stop_signal() != 0) return 1;
            ::raise(number);
            return stop_requested() && stop_signal() == number ? 42 : 2;
        });
        EXPECT_EQ(code, 42) << "signal " << number;
    }
}

TEST(stop_signal, repeated_requests_are_one) {
    const int code = in_child([] {
        install_stop_signals();
        for (int i = 0; i < 3; ++i) ::raise(SIGUSR1);
        for (int i = 0; i < 3; ++i) ::raise(SIGTERM);
        return stop_signal() == SIGUSR1 ? 42 : 2;
    });
    EXPECT_EQ(code, 42);
}

TEST(stop_signal, a_second_interrupt_ends_the_process) {
    const int code = in_child([] {
        ::signal(SIGINT, SIG_DFL);
        install_stop_signals();
        ::raise(SIGTERM);
        ::raise(SIGINT); // the first
        if (!stop_requested()) return 1;
        ::raise(SIGINT);
        return 2;
    });
    EXPECT_EQ(code, -SIGINT);
}

TEST(stop_signal, ends_the_process_while_nothing_is_there_to_save) {
    const int code = in_child([] {
        install_stop_signals();
        stop_ends_process(true);
        stop_ends_process(false);
        ::raise(SIGTERM);
        if (!stop_requested()) return 1;
        stop_ends_process(true);
        ::raise(SIGTERM);
        return 2;
    });
    EXPECT_EQ(code, 75);
}

TEST(stop_signal, ignored_interrupts_and_hangups_stay_ignored) {
    const int code = in_child([] {
        for (const int number : {SIGINT, SIGHUP}) ::signal(number, SIG_IGN);
        install_stop_signals();
        for (const int number : {SIGINT, SIGINT, SIGHUP}) ::raise(number);
        return stop_requested() ? 1 : 42;
    });
    EXPECT_EQ(code, 42);
}

TEST(stop_signal, a_read_under_way_goes_on) {
    const int code = in_child([] {
        install_stop_signals();
        int ends[2];
        if (::pipe(ends) != 0) return 1;
        const pid_t parent = ::getpid(), child = ::fork();
        if (child == 0) {
            ::kill(parent, SIGTERM);
            ::usleep(50000); // the read has been interrupted or has not begun; both must end well
            ::_exit(::write(ends[1], "x", 1) == 1 ? 0 : 1);
        }
        char byte = 0;
        const bool whole = ::read(ends[0], &byte, 1) == 1;
        ::waitpid(child, nullptr, 0);
        return whole && stop_signal() == SIGTERM ? 42 : 2;
    });
    EXPECT_EQ(code, 42);
}

TEST(terminal, the_launcher_knows_better_than_the_stream) {
    const int code = in_child([] {
        std::FILE* file = std::fopen("/dev/null", "w");
        ::unsetenv("BRAID_TERMINAL");
        if (is_terminal(file)) return 1;
        ::setenv("BRAID_TERMINAL", "1", 1);
        if (!is_terminal(file)) return 2;
        ::setenv("BRAID_TERMINAL", "0", 1);
        return is_terminal(file) ? 3 : 42;
    });
    EXPECT_EQ(code, 42);
}

TEST(terminal, width_without_a_terminal_comes_from_the_environment) {
    const int code = in_child([] {
        std::FILE* file = std::fopen("/dev/null", "w");
        ::unsetenv("COLUMNS");
        if (terminal_width(file) != 80) return 1;
        ::setenv("COLUMNS", "132", 1);
        if (terminal_width(file) != 132) return 2;
        for (const char* bad : {"", "wide", "-5", "0", "99999999999999", "1001"}) {
            ::setenv("COLUMNS", bad, 1);
            if (terminal_width(file) != 80) return 3;
        }
        return 42;
    });
    EXPECT_EQ(code, 42);
}

} // namespace
} // namespace braid
