#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "tests/data/token_fixture.h"
#include "tests/support/temporary_folder.h"
#include "trainer/checkpoint/checkpoint_reader.h"
#include "trainer/checkpoint/training_state.h"
#include "trainer/run/run.h"

namespace braid::test {

/// A folder with two token files, and runs by name.
class Runs {
  public:
    Runs() {
        const std::string river = "What the river takes from one bank it lays down on the other, ";
        const std::string stone = "a stone is older than the road that it lies beside and will outlast it; ";
        test::write_texts(folder_ / "a.h5", {river + river + stone, river + stone, river});
        test::write_texts(folder_ / "b.h5", {stone + stone + stone, river + stone + stone + stone});
    }

    /// Trains `name` and returns its losses by step.
    std::map<int64_t, double> train(const std::string& name, const std::vector<std::string>& overrides = {}) {
        run(name, overrides);
        std::istringstream lines(test::read_file(path(name) + "/metrics.jsonl"));
        std::map<int64_t, double> losses;
        for (std::string line; std::getline(lines, line);) {
            const nlohmann::json step = nlohmann::json::parse(line);
            losses[step["step"]] = step["loss"];
        }
        return losses;
    }
    void run(const std::string& name, const std::vector<std::string>& overrides = {}, bool dry_run = false) {
        TrainRequest request;
        request.config = config(name, overrides);
        request.command = {"braid", "train"};
        request.progress.write = [this](std::string_view text) { screen_ += text; };
        request.dry_run = dry_run;
        EXPECT_EQ(run_training(request, *self_communicator()), ExitCode::ok);
    }
    /// What a start that is refused says, with its exit code ahead.
    std::string refusal(const std::string& name, const std::vector<std::string>& overrides) {
        try {
            run(name, overrides);
        } catch (const Error& error) {
            EXPECT_FALSE(std::filesystem::exists(path(name))) << "a refused start left a folder";
            return fmt::format("{}: {}", static_cast<int>(error.exit_code()), error.what());
        }
        ADD_FAILURE() << name << " was not refused";
        return "";
    }

    std::vector<double> tensor(const std::string& name, int64_t step, const std::string& tensor) const {
        const CheckpointReader reader = CheckpointReader::open(checkpoint(name, step));
        const StoredTensor* stored = reader.manifest().find(tensor);
        if (!stored) throw CheckpointError("{} is missing", tensor);
        Allocator host;
        const Tensor values = Tensor::empty(host, stored->info.shape, stored->info.dtype);
        reader.read(tensor, whole_box(stored->info.shape), values);
        return dispatch_float(values.dtype(), [&]<typename T>() {
            return std::vector<double>(values.data<T>(), values.data<T>() + values.numel());
        });
    }
    TrainingState training(const std::string& name, int64_t step) const {
        return CheckpointReader::open(checkpoint(name, step)).manifest().training;
    }
    std::string checkpoint(const std::string& name, int64_t step) const {
        return fmt::format("{}/checkpoints/step-{:08}", path(name), step);
    }
    std::string path(const std::string& name) const { return folder_ / name; }
    const std::string& screen() const { return screen_; }
    nlohmann::json record(const std::string& name) const {
        return nlohmann::json::parse(test::read_file(path(name) + "/run.json"));
    }
    RunConfig config(const std::string& name, const std::vector<std::string>& overrides) const {
        return parse_run_config(
            fmt::format(
                "name: {0}\n"
                "run_dir: {1}/{0}\n"
                "model: {{vocab_size: 256, hidden_size: 8, pattern: 'dense, dense', sublayers: {{dense: "
                "{{type: mlp, size: 8}}}}}}\n"
                "optimizer: {{weight_decay: 0, lr: 1e-2, schedule: {{type: constant}}}}\n"
                "train: {{steps: 6, sequence_length: 16, global_batch: 2, precision: f64}}\n"
                "data: {{train: [{{path: {1}/a.h5}}, {{path: {1}/b.h5, weight: 2}}]}}\n"
                "checkpoint: {{every: 2}}\n",
                name, folder_ / "."),
            "test", overrides);
    }
    std::string from(const std::string& checkpoint, const std::string& more = "mode: branch") const {
        return fmt::format("start={{from: {}, {}}}", checkpoint, more);
    }

  private:
    TemporaryFolder folder_;
    std::string screen_;
};

} // namespace braid::test
