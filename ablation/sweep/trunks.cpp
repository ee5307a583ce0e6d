#include "ablation/sweep/trunks.h"

#include <algorithm>

#include "optim/lr_schedule.h"

namespace braid {
namespace {

// Of the shorter of two runs; less is not worth a checkpoint.
constexpr double kLeastShare = 0.1;

/// The run file without what acts by step alone.
std::string timeless(RunConfig run) {
    run.name.clear();
    run.run_dir.clear();
    run.train.steps = 1;
    run.train.stop_at = 0;
    run.optimizer.lr = 1;
    run.optimizer.schedule = {};
    run.data.skip.clear();
    return to_yaml(run);
}

/// The step at which a run ends.
int64_t last_step(const RunConfig& run) {
    return run.train.stop_at > 0 ? std::min(run.train.stop_at, run.train.steps) : run.train.steps;
}

int64_t same_batches(const RunConfig& a, const RunConfig& b, int64_t most) {
    const auto &x = a.data.skip, &y = b.data.skip;
    for (size_t i = 0; i < std::max(x.size(), y.size()); ++i) {
        if (i < x.size() && i < y.size() && x[i] == y[i]) continue;
        if (i < x.size()) most = std::min(most, x[i][0] - 1);
        if (i < y.size()) most = std::min(most, y[i][0] - 1);
        break;
    }
    return most;
}

/// Of runs that differ in nothing else.
int64_t steps_of_equal_rates(const RunConfig& a, const RunConfig& b) {
    const int64_t most = same_batches(a, b, std::min(last_step(a), last_step(b)));
    for (int64_t step = 1; step <= most; ++step)
        if (learning_rate(a.optimizer, step, a.train.steps) !=
            learning_rate(b.optimizer, step, b.train.steps))
            return step - 1;
    return most;
}

} // namespace

int64_t steps_in_common(const RunConfig& a, const RunConfig& b) {
    return timeless(a) == timeless(b) ? steps_of_equal_rates(a, b) : 0;
}

const RunConfig& Trunks::config_of(const RunKey& key) {
    const auto known = configs_.find(key);
    if (known != configs_.end()) return known->second;
    const RunSettings settings{.seed = 0, .tuned = key.tuned, .steps = key.steps};
    return configs_[key] = run_config(plan_, plan_.variants[key.variant], settings);
}

const Trunks::Place& Trunks::place(const std::vector<RunKey>& family, const RunKey& key) {
    auto known = places_.find(family);
    if (known == places_.end()) known = places_.emplace(family, places_of(family)).first;
    return known->second.at(key);
}

std::map<RunKey, Trunks::Place> Trunks::places_of(const std::vector<RunKey>& family) {
    std::map<RunKey, Place> places;
    for (const RunKey& key : family) places[key];
    if (!plan_.base.start.from.empty()) return places; // they are branches already
    const auto steps = [&](const RunKey& key) { return last_step(config_of(key)); };
    const auto shares = [&](const RunKey& a, const RunKey& b) {
        const double least = kLeastShare * static_cast<double>(std::min(steps(a), steps(b)));
        return static_cast<double>(steps_of_equal_rates(config_of(a), config_of(b))) >= std::max(least, 1.0);
    };
    // How long two runs agree is how deep they part in a tree, so those that share with one share with all
    // that share with it.
    std::map<std::string, std::vector<std::vector<RunKey>>> groups;
    for (const RunKey& key : family) {
        auto& alike = groups[timeless(config_of(key))];
        const auto group = std::find_if(alike.begin(), alike.end(),
                                        [&](const auto& members) { return shares(members.front(), key); });
        if (group == alike.end())
            alike.push_back({key});
        else
            group->push_back(key);
    }
    for (const auto& [text, alike] : groups)
        for (const std::vector<RunKey>& group : alike) share_trunk(group, places);
    for (auto& [key, place] : places)
        if (place.step < 1) place = {};
    return places;
}

void Trunks::share_trunk(const std::vector<RunKey>& group, std::map<RunKey, Place>& places) {
    if (group.size() < 2) return;
    const auto steps = [&](const RunKey& key) { return last_step(config_of(key)); };
    const RunKey owner = *std::max_element(
        group.begin(), group.end(), [&](const RunKey& a, const RunKey& b) { return steps(a) < steps(b); });
    int64_t longest = 0;
    for (const RunKey& key : group) {
        if (key == owner) continue;
        // A branch has a step of its own.
        const int64_t step = std::min(steps_of_equal_rates(config_of(key), config_of(owner)), steps(key) - 1);
        places[key] = {owner, step};
        longest = std::max(longest, step);
    }
    places[owner] = {owner, std::min(longest, steps(owner) - 1)};
}

} // namespace braid
