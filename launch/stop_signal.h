#pragma once

namespace braid {

// Signals reach a process, not a rank, so their flag is the one piece of global state; it lives in launch/,
// and those below are handed a function that reads it.

/// From now on SIGTERM, SIGUSR1, SIGINT and SIGHUP ask for a stop instead of ending the process. A second
/// SIGINT ends it at once. SIGINT and SIGHUP stay ignored where the parent ignores them, as shells do for
/// background jobs and nohup does.
void install_stop_signals();

/// While set, a stop signal ends the process at once, with the exit code of a stop: for a time in which
/// nothing is lost and nobody polls.
void stop_ends_process(bool at_once);

/// Whether a stop was asked for, and by which signal (0: none). Ranks get signals at different times: they
/// must agree before they act.
bool stop_requested();
int stop_signal();

} // namespace braid
