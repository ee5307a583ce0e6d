#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/enum_names.h"
#include "data/data_config.h"
#include "layers/specification/model_config.h"
#include "optim/optimizer_config.h"
#include "parallel/parallel_config.h"

namespace braid {

enum class DeviceChoice { automatic, cpu, cuda };
constexpr auto enum_names(DeviceChoice) {
    return std::array<std::string_view, 3>{"auto", "cpu", "cuda"};
}

/// What the backward pass computes again instead of keeping: nothing, or the inside of every layer.
enum class Recompute { none, layers };
constexpr auto enum_names(Recompute) {
    return std::array<std::string_view, 2>{"none", "layers"};
}

struct TrainConfig {
    int64_t steps = 0;           // steps count 1..steps; the schedule counts to it
    int64_t stop_at = 0;         // save and stop after this step; 0: run to the end
    int64_t sequence_length = 0; // tokens
    int64_t global_batch = 0;    // sequences per step
    int64_t micro_batch = 0;     // the most sequences a rank runs at once; left out, it is global_batch
    DType precision = DType::f32;
    DeviceChoice device = DeviceChoice::automatic;
    Recompute recompute = Recompute::none;
    std::vector<std::string> freeze; // globs of parameters that are held still
    int64_t threads =
        0; // per rank; 0 (written auto): OMP_NUM_THREADS, else a rank's share of the node's cores
    bool operator==(const TrainConfig&) const = default;
};

struct CheckpointConfig {
    int64_t every = 100; // steps; 0: only at the end
    int64_t keep = 3;    // the newest this many stay; 0: all
    bool operator==(const CheckpointConfig&) const = default;
};

/// Questions with a choice of answers.
struct TaskConfig {
    std::string path;  // JSON lines
    int64_t items = 0; // the first this many; 0: all
    bool operator==(const TaskConfig&) const = default;
};

struct EvalConfig {
    int64_t every = 0;      // steps; 0: never
    int64_t tokens = 65536; // labels per validation set; 0: the whole set
    bool at_start = false;
    std::map<std::string, TaskConfig> tasks; // by the name that metrics carry: task/NAME/accuracy
    std::vector<std::string> prompts;        // that are continued, into samples.jsonl
    int64_t prompt_tokens = 64;              // of each continuation
    double prompt_temperature = 0.8;         // 0: the likeliest token each time
    bool operator==(const EvalConfig&) const = default;
};

struct LogConfig {
    int64_t every = 1;        // steps between lines of metrics
    int64_t layers_every = 0; // steps between per-layer lines; 0: never
    bool tensorboard = false;
    bool profile = false;
    bool operator==(const LogConfig&) const = default;
};

/// How a run starts from another one's checkpoint.
enum class StartMode {
    branch,  // goes on with its steps, moments and data
    weights, // takes its weights and starts at step 0
};
constexpr auto enum_names(StartMode) {
    return std::array<std::string_view, 2>{"branch", "weights"};
}
/// Tensors of the model that the checkpoint lacks.
enum class MissingTensors { refuse, random };
constexpr auto enum_names(MissingTensors) {
    return std::array<std::string_view, 2>{"refuse", "random"};
}
/// Tensors of the checkpoint that the model lacks.
enum class SurplusTensors { refuse, drop };
constexpr auto enum_names(SurplusTensors) {
    return std::array<std::string_view, 2>{"refuse", "drop"};
}

struct StartConfig {
    std::string from; // a run folder or a checkpoint; empty: from nothing
    StartMode mode = StartMode::branch;
    // Of mode weights.
    MissingTensors missing = MissingTensors::refuse;
    SurplusTensors surplus = SurplusTensors::refuse;
    std::map<std::string, std::string> map; // name or prefix in the model -> name or prefix in the checkpoint
    bool operator==(const StartConfig&) const = default;
};

/// A whole run file: read, resolved (bases, overrides, tokens into steps, names filled in) and checked.
struct RunConfig {
    std::string name;
    std::string run_dir; // left out, it is runs/NAME
    uint64_t seed = 1234;
    StartConfig start;
    ModelConfig model;
    ParallelConfig parallel;
    TrainConfig train;
    OptimizerConfig optimizer;
    DataConfig data;
    CheckpointConfig checkpoint;
    EvalConfig eval;
    LogConfig log;
    bool operator==(const RunConfig&) const = default;
};

/// Reads a run file and its bases, applies "key.path=value" overrides in order, resolves and checks
/// everything. Throws ConfigError: one line per independent fault, each with key, line and column, expected
/// and found.
RunConfig read_run_config(const std::string& path, const std::vector<std::string>& overrides = {});

/// The same from a text; `name` stands for the file in messages, and `extends` is relative to the working
/// directory.
RunConfig parse_run_config(std::string_view text, const std::string& name,
                           const std::vector<std::string>& overrides = {});

/// The same from what to_yaml gave, which others may have changed since: opens no file, knows no environment.
RunConfig parse_stored_config(std::string_view text, const std::string& name);

/// What a run file says, as far as it can be read.
struct RunReading {
    RunConfig run;
    std::string faults; // a line each; empty where there is none, and then `run` is whole
    struct {
        bool model, parallel, train, optimizer, data;
    } sound = {}; // the sections without a fault
};

/// As read_run_config, but what the schema finds is handed back, for those who look for further faults.
RunReading read_run_file(const std::string& path, const std::vector<std::string>& overrides = {});

/// The resolved file: every key with its value. It reads the same in any YAML 1.1 or 1.2 reader, and
/// parse_run_config(to_yaml(run), "") == run.
std::string to_yaml(const RunConfig& run);

/// A key with different values in two runs; a value is its YAML text, "(absent)" where the key does not
/// exist.
struct ConfigDifference {
    static constexpr const char* kAbsent = "(absent)"; // the value of a key that one of the two lacks
    std::string key;
    std::string old_value;
    std::string new_value;
};

/// The differences in keys that change the numbers a run computes (not, say, how often it logs), in file
/// order.
std::vector<ConfigDifference> numeric_differences(const RunConfig& a, const RunConfig& b);
/// True for keys that do nothing but spell the list of layers.
bool spells_layers(const std::string& key);
/// All differences, in file order.
std::vector<ConfigDifference> all_differences(const RunConfig& a, const RunConfig& b);

} // namespace braid
