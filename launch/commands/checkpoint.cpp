#include <fmt/core.h>

#include <memory>
#include <string>

#include "data/inspect.h"
#include "launch/commands.h"
#include "launch/output.h"
#include "trainer/checkpoint/checkpoint_diff.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_reader.h"

namespace braid {

namespace {

constexpr const char* kCheckpointHelp = "A checkpoint folder, or a run folder: its newest checkpoint";

int64_t bytes_of(const Manifest& manifest) {
    int64_t bytes = 0;
    for (const StoredFile& file : manifest.files) bytes += file.bytes;
    return bytes;
}

ExitCode list(const std::string& path) {
    const auto found = list_checkpoints(checkpoints_folder(path));
    if (found.empty()) {
        print_output(fmt::format("{}: no checkpoints\n", path));
        return ExitCode::ok;
    }
    std::string text =
        fmt::format("{:>10} {:>14} {:>6} {:>14}  {}\n", "step", "tokens", "ranks", "bytes", "path");
    for (const CheckpointEntry& entry : found) {
        try {
            const CheckpointReader reader = CheckpointReader::open(entry.path);
            const Manifest& manifest = reader.manifest();
            text += fmt::format("{:>10} {:>14} {:>6} {:>14}  {}\n", entry.step, manifest.training.tokens,
                                manifest.layout.num_ranks, bytes_of(manifest), entry.path);
        } catch (const CheckpointError& error) {
            text += fmt::format("{:>10} invalid: {}\n", entry.step, error.what());
        }
    }
    print_output(text);
    return ExitCode::ok;
}

std::string tensor_table(const Manifest& manifest) {
    std::string text =
        fmt::format("\n{:<10} {:<5} {:>6} {:<20} {}\n", "kind", "type", "boxes", "shape", "name");
    for (const StoredTensor& tensor : manifest.tensors)
        text += fmt::format("{:<10} {:<5} {:>6} {:<20} {}\n", to_string(tensor.info.kind),
                            name_of(tensor.info.dtype), tensor.boxes.size(), to_string(tensor.info.shape),
                            tensor.info.name);
    return text;
}

ExitCode info(const std::string& path, bool with_tensors, bool with_config) {
    const CheckpointReader reader = CheckpointReader::open(resolve_checkpoint(path));
    const Manifest& manifest = reader.manifest();
    const TrainingState& training = manifest.training;
    std::string text = fmt::format(
        "checkpoint: {}\nsave_id: {}\nstep: {}\nsample: {}\ntokens: {}\nranks: {}\n", reader.folder(),
        manifest.save_id, training.step, training.sample, training.tokens, manifest.layout.num_ranks);
    for (const auto& [axis, size] : manifest.layout.axes) text += fmt::format("mesh/{}: {}\n", axis, size);
    for (const auto& [file, fingerprint] : training.data)
        text += fmt::format("data/{}: {}\n", file, fingerprint);
    for (const auto& [name, value] : training.counters) text += fmt::format("counters/{}: {}\n", name, value);
    for (const auto& [name, value] : training.quantities)
        text += fmt::format("quantities/{}: {}\n", name, value);
    for (const TensorKind kind : {TensorKind::parameter, TensorKind::optimizer, TensorKind::buffer}) {
        int64_t count = 0, elements = 0;
        for (const StoredTensor& tensor : manifest.tensors) {
            if (tensor.info.kind != kind) continue;
            ++count;
            elements += tensor.info.shape.numel();
        }
        text += fmt::format("{}_tensors: {}\n{}_elements: {}\n", to_string(kind), count, to_string(kind),
                            elements);
    }
    text += fmt::format("files: {}\nbytes: {}\n", manifest.files.size(), bytes_of(manifest));
    if (with_tensors) text += tensor_table(manifest);
    if (with_config) text += "\n" + manifest.config;
    print_output(escape_control(text)); // a stranger's names and config
    return ExitCode::ok;
}

ExitCode verify(const std::string& path) {
    const CheckpointReader reader = CheckpointReader::open(resolve_checkpoint(path));
    reader.verify();
    print_output(fmt::format("{}: valid: step {}, {} files, {} bytes, {} tensors\n", reader.folder(),
                             reader.manifest().training.step, reader.manifest().files.size(),
                             bytes_of(reader.manifest()), reader.manifest().tensors.size()));
    return ExitCode::ok;
}

ExitCode diff(const std::string& path_a, const std::string& path_b) {
    const CheckpointReader a = CheckpointReader::open(resolve_checkpoint(path_a));
    const CheckpointReader b = CheckpointReader::open(resolve_checkpoint(path_b));
    const CheckpointDifference difference = compare_checkpoints(a, b);
    if (difference.bitwise_equal()) {
        print_output(fmt::format("equal: step {}, {} tensors, every bit\n", a.manifest().training.step,
                                 a.manifest().tensors.size()));
        return ExitCode::ok;
    }
    std::string text;
    for (const std::string& line : difference.structure) text += line + "\n";
    for (const TensorDifference& tensor : difference.tensors)
        text += fmt::format("{}: {} of {} elements differ, by at most {:.3e}, error {:.3e}\n", tensor.name,
                            tensor.num_different, tensor.num_elements, tensor.max_difference, tensor.error);
    if (!difference.tensors.empty())
        text += fmt::format("{} tensors differ; worst: {}, error {:.3e}\n", difference.tensors.size(),
                            difference.tensors[0].name, difference.tensors[0].error);
    print_output(text);
    return ExitCode::internal; // 1: not equal
}

} // namespace

void add_checkpoint_command(Command app, CommandRun& action) {
    struct Options {
        std::string path, other;
        bool tensors = false, config = false;
    };
    auto options = std::make_shared<Options>();
    const Command checkpoint = app.subcommand("checkpoint", "List, check and compare checkpoints");
    checkpoint.require_subcommand();

    Command command = checkpoint.subcommand("list", "List the checkpoints of a run, newest first");
    command.option("RUN", options->path, "A run folder, or a folder of checkpoints").required();
    command.callback([options, &action] { action = [options] { return list(options->path); }; });

    command = checkpoint.subcommand("info", "Say what a checkpoint holds, without reading the tensors");
    command.option("CHECKPOINT", options->path, kCheckpointHelp).required();
    command.flag("--tensors", options->tensors, "Also list the tensors");
    command.flag("--config", options->config, "Also print the run file it was trained with");
    command.callback([options, &action] {
        action = [options] { return info(options->path, options->tensors, options->config); };
    });

    command =
        checkpoint.subcommand("verify", "Read everything and hold it against its hashes; exit 4 if not");
    command.option("CHECKPOINT", options->path, kCheckpointHelp).required();
    command.callback([options, &action] { action = [options] { return verify(options->path); }; });

    command = checkpoint.subcommand(
        "diff",
        "Compare the state of two checkpoints: exit 0 if every bit is equal, 1 if not, 4 if unreadable");
    command.option("A", options->path, kCheckpointHelp).required();
    command.option("B", options->other, kCheckpointHelp).required();
    command.callback(
        [options, &action] { action = [options] { return diff(options->path, options->other); }; });
}

} // namespace braid
