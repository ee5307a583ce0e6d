#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ablation/plan/model_size.h"
#include "ablation/report/json_numbers.h"
#include "ablation/report/sample_texts.h"
#include "ablation/report/thin_curve.h"

namespace braid::report {

using Json = nlohmann::ordered_json;

/// How finely curves are kept, so that a page of many runs stays small.
struct Detail {
    size_t main_buckets = 400; // of losses, tasks and the gradient's norm
    size_t buckets = 200;      // of other fields
    size_t layer_buckets = 48; // of a field of one sublayer; 0: layers.jsonl is not read
};

enum class RunStatus { running, ended, stopped, failed, no_end };
const char* to_string(RunStatus status);

/// What a run folder tells, read again where it has grown.
class RunData {
  public:
    /// ConfigError for a folder that is no run's; quick, so that a wrong name is told before gigabytes are
    /// read.
    static void expect_run_folder(const std::string& folder);

    /// ConfigError for a folder that is no run's, DataError for a file in it that cannot be understood.
    RunData(std::string folder, Detail detail);

    /// Reads what was added since. True where something was.
    bool update();

    const std::string& folder() const { return folder_; }
    const std::string& name() const { return name_; }
    /// Every key of config.yaml with its value as YAML, in file order.
    const std::vector<std::pair<std::string, std::string>>& config() const { return config_; }
    std::string config_value(const std::string& key) const;
    const Json& record() const { return record_; } // run.json; null where there is none
    RunStatus status() const { return status_; }
    const std::vector<std::string>& notes() const { return notes_; }
    using Curves = std::map<std::string, ThinCurve, std::less<>>;
    const Curves& curves() const { return curves_; }
    const ThinCurve& tokens() const { return tokens_; }
    const ThinCurve& hours() const { return hours_; } // sums of step times
    /// Step times, each times the ranks of the start that made the step.
    double step_rank_hours() const { return rank_seconds_ / 3600; }
    int64_t step() const { return step_; }
    struct Sublayer {
        int64_t layer;
        std::string name;
        auto operator<=>(const Sublayer&) const = default;
    };
    const std::map<Sublayer, std::map<std::string, ThinCurve>>& layers() const { return layers_; }
    /// Parameters and FLOPs per token, where this version of Braid understands the config.
    const std::optional<ModelSize>& size() const { return size_; }
    /// Fingerprints of the data, as the newest checkpoint that can be read names them.
    const std::map<std::string, std::string>& data() const { return data_; }
    const SampleTexts& samples() const { return samples_; }

  private:
    void read_config();
    void read_record();
    void read_metrics();
    void read_trunk();
    void take_metrics(std::string_view line, int64_t number);
    double ranks_at(int64_t step) const;
    void read_layers();
    void read_extras();
    void forget_lines();

    std::string folder_, name_;
    Detail detail_;
    std::vector<std::pair<std::string, std::string>> config_;
    Json record_;
    SampleTexts samples_;
    RunStatus status_ = RunStatus::no_end;
    std::vector<std::string> notes_;
    LineReader metrics_, layer_lines_;
    Curves curves_;
    ThinCurve tokens_, hours_;
    std::vector<std::pair<std::string_view, double>> line_; // fields of the line being taken
    std::vector<std::pair<double, double>> starts_;         // first step and ranks of each start
    int64_t step_ = 0;
    double seconds_ = 0, rank_seconds_ = 0;
    std::map<Sublayer, std::map<std::string, ThinCurve>> layers_;
    std::optional<ModelSize> size_;
    std::map<std::string, std::string> data_;
    std::string state_; // sizes and times of the files as last read
};

} // namespace braid::report
