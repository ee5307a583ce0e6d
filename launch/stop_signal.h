#pragma once

namespace braid {

// Signals reach a process, not a rank, so their flag is the one piece of global state; it lives in launch/,
// and those below are handed a function that reads it.

/// From now on SIGTERM, SIGUSR1 and SIGINT (unless the parent ignores it, as shells do for background jobs)
/// ask for a stop instead of ending the process. A second SIGINT ends it at once.
void install_stop_signals();

/// Whether a stop was asked for, and by which signal (0: none). Ranks get signals at different times: they
/// must agree before they act.
bool stop_requested();
int stop_signal();

} // namespace braid
