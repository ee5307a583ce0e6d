#include "launch/stop_signal.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace braid {
namespace {

// The handler may run on any thread, also on two at once; an atomic without locks is safe in it.
std::atomic<int> received_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free);

std::atomic<bool> ends_process = false;
static_assert(std::atomic<bool>::is_always_lock_free);

extern "C" void on_stop_signal(int number) {
    if (ends_process.load(std::memory_order_relaxed)) ::_exit(static_cast<int>(ExitCode::stopped));
    int none = 0;
    received_signal.compare_exchange_strong(none, number, std::memory_order_relaxed);
    if (number == SIGINT) ::signal(SIGINT, SIG_DFL);
}

void install(int number) {
    struct sigaction action = {};
    action.sa_handler = on_stop_signal;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART; // reads and writes under way go on
    if (::sigaction(number, &action, nullptr) != 0)
        throw InternalError("cannot handle signal {}: {}", number, std::strerror(errno));
}

} // namespace

void install_stop_signals() {
    for (const int number : {SIGINT, SIGHUP}) {
        struct sigaction inherited = {};
        if (::sigaction(number, nullptr, &inherited) == 0 && inherited.sa_handler != SIG_IGN) install(number);
    }
    install(SIGTERM);
    install(SIGUSR1);
}

void stop_ends_process(bool at_once) {
    ends_process.store(at_once, std::memory_order_relaxed);
}

bool stop_requested() {
    return stop_signal() != 0;
}

int stop_signal() {
    return received_signal.load(std::memory_order_relaxed);
}

} // namespace braid
