#include "ablation/sweep/sweep_folder.h"

#include <fmt/ranges.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "base/config_value.h"
#include "base/error.h"
#include "base/yaml_document.h"

namespace braid {
namespace {

constexpr std::chrono::milliseconds kRetry{20};
constexpr int kRetries = 1500; // half a minute

struct StoredPlan {
    SweepConfig sweep;
    std::string hash;
    std::vector<std::string> changes;
};

std::optional<StoredPlan> read_stored(const std::string& path) {
    if (!std::filesystem::exists(path)) return std::nullopt;
    YamlNode tree = parse_yaml(read_whole_file(path, kMaxYamlBytes, ExitCode::usage, Symlinks::refuse), path);
    StoredPlan stored;
    const YamlNode* const hash = tree.find("plan_hash");
    if (!hash || !hash->is_scalar())
        throw ConfigError("{}: plan_hash: expected the plan's hash, found {}; this is no folder of a sweep",
                          path, hash ? hash->shown() : "nothing");
    stored.hash = hash->scalar;
    if (const YamlNode* const changes = tree.find("plan_changes"))
        for (const YamlNode& item : changes->items) stored.changes.push_back(item.scalar);
    tree.remove("plan_hash");
    tree.remove("plan_changes");
    stored.sweep = parse_sweep(to_yaml(tree), path);
    return stored;
}

std::string text_of(const SweepConfig& sweep, const std::string& hash,
                    const std::vector<std::string>& changes) {
    YamlNode added = YamlNode::map();
    added.add("plan_hash", YamlNode::string(hash));
    if (!changes.empty()) {
        YamlNode list = YamlNode::list();
        for (const std::string& change : changes) list.items.push_back(YamlNode::string(change));
        added.add("plan_changes", std::move(list));
    }
    return to_yaml(sweep) + to_yaml(added);
}

/// A file name that is free: sweep-1.yaml, ...
std::string free_name(const std::string& folder, const std::string& stem) {
    for (int number = 1;; ++number) {
        const std::string path = fmt::format("{}/{}-{}.yaml", folder, stem, number);
        if (!std::filesystem::exists(path)) return path;
    }
}

std::unique_ptr<FolderLock> try_lock(const std::string& folder) {
    create_folders(folder);
    try {
        return std::make_unique<FolderLock>(folder);
    } catch (const WriteError&) {
        return nullptr;
    }
}

} // namespace

std::unique_ptr<FolderLock> SweepFolder::claim(const std::string& run_id) const {
    return try_lock(path_ + "/claims/" + std::filesystem::path(run_id).filename().string());
}

std::unique_ptr<FolderLock> SweepFolder::hold_results() const {
    for (int i = 0; i < kRetries; ++i) {
        if (auto lock = try_lock(path_ + "/claims")) return lock;
        std::this_thread::sleep_for(kRetry);
    }
    create_folders(path_ + "/claims");
    return std::make_unique<FolderLock>(path_ + "/claims"); // whose error names the holder
}

void SweepFolder::write(const std::string& name, const std::string& content) const {
    write_file_atomically(path_ + "/" + name, content, Overwrite::yes);
}

void SweepFolder::adopt(const SweepPlan& plan, bool accept) {
    const auto lock = hold_results();
    const std::string file = path_ + "/sweep.yaml", base_file = path_ + "/base.yaml";
    const std::optional<StoredPlan> stored = read_stored(file);
    if (!stored) {
        write("base.yaml", to_yaml(plan.base));
        write("sweep.yaml", text_of(plan.sweep, plan.hash, {}));
        return;
    }
    std::vector<std::string> changed = sweep_differences(stored->sweep, plan.sweep);
    const RunConfig base = parse_stored_config(
        read_whole_file(base_file, kMaxYamlBytes, ExitCode::usage, Symlinks::refuse), base_file);
    for (const ConfigDifference& difference : numeric_differences(base, plan.base))
        changed.push_back(fmt::format("{}: {}: {} -> {}", plan.sweep.extends, difference.key,
                                      difference.old_value, difference.new_value));
    if (changed.empty()) return;
    if (!accept)
        throw ConfigError(
            "{}: the plan was made before and has other values:\n  {}\nwhat has been trained is still there. "
            "Give "
            "the sweep another name, or go on with --accept-change: the report will say what was changed",
            file, fmt::join(changed, "\n  "));
    std::vector<std::string> changes = stored->changes;
    changes.insert(changes.end(), changed.begin(), changed.end());
    std::filesystem::copy_file(file, free_name(path_, "sweep"));
    std::filesystem::copy_file(base_file, free_name(path_, "base"));
    write("base.yaml", to_yaml(plan.base));
    write("sweep.yaml", text_of(plan.sweep, stored->hash, changes));
}

std::vector<std::string> SweepFolder::plan_changes() const {
    const auto stored = read_stored(path_ + "/sweep.yaml");
    return stored ? stored->changes : std::vector<std::string>();
}

std::string SweepFolder::plan_hash() const {
    const auto stored = read_stored(path_ + "/sweep.yaml");
    return stored ? stored->hash : "";
}

} // namespace braid
