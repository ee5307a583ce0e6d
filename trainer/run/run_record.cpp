#include "trainer/run/run_record.h"

#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/atomic_file.h"
#include "trainer/machine/build_info.h"

namespace braid {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMaxBytes = int64_t{1} << 26;

/// The entries of earlier starts.
Json read_starts(const std::string& path) {
    if (!std::filesystem::exists(std::filesystem::symlink_status(path))) return Json::array();
    const std::string text = read_whole_file(path, kMaxBytes, ExitCode::usage, Symlinks::refuse);
    Json record = Json::parse(text, nullptr, false);
    const auto is_start = [](const Json& start) {
        return start.is_object() && start.contains("flops") && start["flops"].is_number() &&
               start.contains("hours") && start["hours"].is_number();
    };
    const bool valid = record.is_object() && record.contains("starts") && record["starts"].is_array() &&
                       std::all_of(record["starts"].begin(), record["starts"].end(), is_start);
    if (!valid)
        throw ConfigError(
            "{}: expected a run record with \"starts\", found another text; move it away or "
            "choose another run_dir",
            path);
    return std::move(record["starts"]);
}

Json describe_build() {
    const BuildInfo& build = build_info();
    return {{"type", build.type},   {"compiler", build.compiler},
            {"flags", build.flags}, {"processor", build.processor},
            {"mpi", build.mpi},     {"openmp", build.openmp},
            {"cuda", build.cuda}};
}

Json describe(const StartConfig& start) {
    return {{"from", start.from}, {"mode", to_string(start.mode)}};
}

Json describe(const RunStart& start) {
    std::map<std::string, std::string> libraries = library_versions();
    libraries.insert(start.libraries.begin(), start.libraries.end());
    std::error_code ignored; // a working folder removed meanwhile is no reason to stop
    Json entry = {{"start_time", utc_time()},
                  {"command", start.command},
                  {"working_directory", std::filesystem::current_path(ignored).string()},
                  {"version", build_info().version},
                  {"commit", build_info().commit},
                  {"build", describe_build()},
                  {"libraries", libraries},
                  {"ranks", start.hosts.size()},
                  {"hosts", start.hosts},
                  {"devices", start.devices},
                  {"threads", start.threads}};
    if (!start.labels.empty()) entry["labels"] = start.labels;
    if (!start.parent.empty()) entry["parent"] = start.parent;
    if (!start.from.from.empty()) {
        entry["start"] = describe(start.from);
        entry["parent_save_id"] = start.parent_save_id;
    }
    if (!start.superseded.empty()) entry["superseded"] = start.superseded;
    entry.update({{"first_step", start.step + 1},
                  {"last_step", start.step},
                  {"tokens", 0},
                  {"flops", 0.0},
                  {"hours", 0.0}});
    return entry;
}

} // namespace

RunRecord::RunRecord(const std::string& folder, const RunStart& start)
    : path_(folder + "/run.json"),
      tokens_before_(start.tokens),
      starts_(std::make_unique<Json>(read_starts(path_))) {
    starts_->push_back(describe(start));
    save();
}

RunRecord::~RunRecord() = default;

void RunRecord::update(const RunProgress& progress) {
    Json& entry = starts_->back();
    entry["last_step"] = progress.step;
    entry["tokens"] = progress.tokens - tokens_before_;
    entry["flops"] = progress.flops;
    save();
}

void RunRecord::finish(ExitCode code, const std::optional<RunProgress>& progress) {
    starts_->back()["end_time"] = utc_time();
    starts_->back()["exit_code"] = static_cast<int>(code);
    if (progress)
        update(*progress);
    else
        save();
}

void RunRecord::save() {
    using Hours = std::chrono::duration<double, std::ratio<3600>>;
    Json& entry = starts_->back();
    entry["hours"] = Hours(std::chrono::steady_clock::now() - begin_).count();
    double flops = 0, hours = 0;
    for (const Json& start : *starts_) {
        flops += start["flops"].get<double>();
        hours += start["hours"].get<double>();
    }
    Json record = {{"step", entry["last_step"]},
                   {"tokens", tokens_before_ + entry["tokens"].get<int64_t>()},
                   {"flops", flops},
                   {"hours", hours}};
    if (entry.contains("exit_code")) record["exit_code"] = entry["exit_code"];
    record["starts"] = *starts_;
    // Command lines and paths may hold bytes that are no UTF-8.
    write_file_atomically(path_, record.dump(2, ' ', false, Json::error_handler_t::replace) + "\n",
                          Overwrite::yes);
}

std::string recorded_parent(const std::string& folder, const StartConfig& start) {
    const Json starts = read_starts(folder + "/run.json"), wanted = describe(start);
    for (auto entry = starts.rbegin(); entry != starts.rend(); ++entry)
        if (entry->contains("start") && (*entry)["start"] == wanted && entry->contains("parent") &&
            (*entry)["parent"].is_string())
            return (*entry)["parent"];
    return "";
}

std::optional<std::string> recorded_parent_save(const std::string& folder) {
    const Json starts = read_starts(folder + "/run.json");
    for (auto entry = starts.rbegin(); entry != starts.rend(); ++entry) {
        if (!entry->contains("parent")) return "";
        if (!entry->contains("start")) continue; // went on from a checkpoint of its own
        if (entry->contains("parent_save_id") && (*entry)["parent_save_id"].is_string())
            return (*entry)["parent_save_id"].get<std::string>();
        return std::nullopt;
    }
    return std::nullopt;
}

std::string utc_time() {
    const std::time_t now = std::time(nullptr);
    std::tm parts;
    ::gmtime_r(&now, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

} // namespace braid
