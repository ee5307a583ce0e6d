#pragma once

#include <functional>

#include "base/error.h"
#include "launch/command_line.h"

namespace braid {

/// What the chosen command does once the command line is parsed. main runs it and maps exceptions to exit
/// codes.
using CommandRun = std::function<ExitCode()>;

// One file in launch/commands/ per function. Each adds a subcommand whose callback sets `action`; nothing is
// started (no MPI, no file opened) before the action runs.
void add_config_command(Command app, CommandRun& action);
void add_data_command(Command app, CommandRun& action);
void add_doctor_command(Command app, CommandRun& action);
void add_eval_command(Command app, CommandRun& action);
void add_generate_command(Command app, CommandRun& action);
void add_replay_command(Command app, CommandRun& action);
void add_report_command(Command app, CommandRun& action);
void add_sweep_command(Command app, CommandRun& action);
void add_train_command(Command app, CommandRun& action);
void add_verify_command(Command app, CommandRun& action);
void add_checkpoint_command(Command app, CommandRun& action);

} // namespace braid
