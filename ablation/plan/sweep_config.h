#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/enum_names.h"

namespace braid {

/// What a level of an axis sets: keys of the run file and their YAML text; null deletes a key.
struct Settings : std::map<std::string, std::string> {
    using std::map<std::string, std::string>::map;
};

struct AxisLevel {
    std::string label;
    Settings settings;
    bool operator==(const AxisLevel&) const = default;
};
/// One thing that varies, in the order of the file.
struct SweepAxis {
    std::string name;
    std::vector<AxisLevel> levels;
    bool operator==(const SweepAxis&) const = default;
};

enum class SweepDesign { grid, one_at_a_time };
constexpr auto enum_names(SweepDesign) {
    return std::array<std::string_view, 2>{"grid", "one_at_a_time"};
}

/// So many seeds from the run file's on, or these.
struct SeedList {
    int64_t count = 0;
    std::vector<uint64_t> seeds; // empty: count says how many
    bool operator==(const SeedList&) const = default;
    int64_t size() const { return seeds.empty() ? count : static_cast<int64_t>(seeds.size()); }
};

/// Which value of a metric a run is judged by: that of its last evaluation or its smallest.
enum class OutcomeAt { last, best };
constexpr auto enum_names(OutcomeAt) {
    return std::array<std::string_view, 2>{"last", "best"};
}
struct OutcomeConfig {
    std::string metric; // a loss or bits per byte of metrics.jsonl: smaller is better
    OutcomeAt at = OutcomeAt::last;
    bool operator==(const OutcomeConfig&) const = default;
};

/// How the values of a tuned key are tried: all in whole runs, or all in short ones and the better half of
/// them in runs twice as long, again and again.
enum class TuneMethod { grid, halving };
constexpr auto enum_names(TuneMethod) {
    return std::array<std::string_view, 2>{"grid", "halving"};
}
struct TuneConfig {
    std::string key; // empty: nothing is tuned
    std::vector<double> values;
    SeedList seeds;
    TuneMethod method = TuneMethod::grid;
    bool operator==(const TuneConfig&) const = default;
};

enum class MatchQuantity { active_parameters, flops };
constexpr auto enum_names(MatchQuantity) {
    return std::array<std::string_view, 2>{"active_parameters", "flops"};
}
struct MatchConfig {
    MatchQuantity quantity = MatchQuantity::active_parameters;
    std::string adjust; // a key with a whole number; empty: nothing is matched
    double tolerance = 0.01;
    int64_t multiple_of = 1;
    bool operator==(const MatchConfig&) const = default;
};

/// A sweep file: what is compared, with how many repetitions, and what will count as a difference. Written
/// before the first run, so that what is judged is not chosen by what came out.
struct SweepConfig {
    std::string name;
    std::string extends; // the run file that all variants change
    Settings set;
    std::vector<SweepAxis> axes;
    SweepDesign design = SweepDesign::grid;
    std::vector<Settings> exclude; // combinations of axis levels that are left out
    Settings reference;            // axis -> level
    SeedList seeds;                // of one look
    OutcomeConfig outcome;
    double matters = 0; // in the metric's unit
    int64_t looks = 1;
    TuneConfig tune;
    MatchConfig match;
    bool operator==(const SweepConfig&) const = default;
};

/// Reads a sweep file. Throws ConfigError: a line per fault with key, line and column, expected and found.
SweepConfig read_sweep(const std::string& path);
/// The same from a text that messages call `source`; `extends` stays as it stands.
SweepConfig parse_sweep(std::string_view text, const std::string& source);

/// The resolved file; parse_sweep gives back the same.
std::string to_yaml(const SweepConfig& sweep);

/// A line for each key that differs, "matters: 0.01 -> 0.02", in file order.
std::vector<std::string> sweep_differences(const SweepConfig& old_plan, const SweepConfig& new_plan);

} // namespace braid
