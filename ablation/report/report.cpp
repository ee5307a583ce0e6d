#include "ablation/report/report.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>

#include "base/atomic_file.h"
#include "base/error.h"

namespace braid::report {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxVerdictBytes = int64_t{1} << 26;
// Above so many runs curves are kept at half the detail, above the next number layers at a sixth.
constexpr size_t kManyRuns = 20, kVeryManyRuns = 50;

// Of runs that tuned only sums are shown.
constexpr Detail kCostAlone = {.main_buckets = 2, .buckets = 2, .layer_buckets = 0};

Detail detail_for(size_t runs) {
    if (runs <= kManyRuns) return {};
    return {
        .main_buckets = 200, .buckets = 100, .layer_buckets = runs <= kVeryManyRuns ? size_t{16} : size_t{8}};
}

/// Calls work(i) for each i below `count`, on all processors; the first error of the lowest i is thrown.
void in_parallel(size_t count, const std::function<void(size_t)>& work) {
    std::atomic<size_t> next{0};
    std::vector<std::exception_ptr> errors(count);
    const auto run = [&] {
        for (size_t i; (i = next++) < count;) try {
                work(i);
            } catch (...) {
                errors[i] = std::current_exception();
            }
    };
    {
        std::vector<std::jthread> threads;
        const size_t processors = std::max(1U, std::thread::hardware_concurrency());
        for (size_t i = 1; i < std::min({processors, count, size_t{16}}); ++i) threads.emplace_back(run);
        run();
    }
    for (const std::exception_ptr& error : errors)
        if (error) std::rethrow_exception(error);
}

std::vector<std::string> runs_below(const std::string& folder) {
    std::vector<std::string> found;
    std::error_code missing;
    for (const auto& entry : fs::directory_iterator(folder, missing))
        // A run that has only begun to be made is none yet.
        if (fs::exists(entry.path() / "config.yaml")) found.push_back(entry.path().string());
    std::sort(found.begin(), found.end());
    return found;
}

/// Adds those of the folders that `runs` does not hold, or none where one cannot be read. `detail` is that of
/// so many runs.
void open_runs(std::vector<std::string> folders, std::vector<std::unique_ptr<RunData>>& runs,
               const std::function<Detail(size_t)>& detail) {
    std::erase_if(folders, [&](const std::string& folder) {
        return std::any_of(runs.begin(), runs.end(),
                           [&](const auto& run) { return run->folder() == folder; });
    });
    for (const std::string& folder : folders) RunData::expect_run_folder(folder);
    const size_t first = runs.size();
    runs.resize(first + folders.size());
    const Detail kept = detail(runs.size());
    try {
        in_parallel(folders.size(),
                    [&](size_t i) { runs[first + i] = std::make_unique<RunData>(folders[i], kept); });
    } catch (...) {
        runs.resize(first);
        throw;
    }
}

} // namespace

Report::Report(const std::vector<std::string>& paths) : paths_(paths) {
    for (const std::string& path : paths_) {
        if (!fs::exists(path + "/sweep.yaml")) continue;
        if (!sweep_.empty()) throw ConfigError("{}: expected one sweep, found {} too", sweep_, path);
        sweep_ = path;
    }
    find_runs();
    read_verdict();
}

void Report::find_runs() {
    std::vector<std::string> folders;
    for (const std::string& path : paths_) {
        if (path != sweep_) {
            folders.push_back(path);
            continue;
        }
        const std::vector<std::string> found = runs_below(path + "/runs");
        folders.insert(folders.end(), found.begin(), found.end());
    }
    open_runs(folders, runs_, detail_for);
    if (sweep_.empty()) return;
    open_runs(runs_below(sweep_ + "/tune"), tuning_, [](size_t) { return kCostAlone; });
    open_runs(runs_below(sweep_ + "/trunk"), trunks_, [](size_t) { return kCostAlone; });
}

bool Report::read_verdict() {
    const std::string path = sweep_ + "/verdict.json";
    if (sweep_.empty() || !fs::exists(path)) return false;
    std::string text = read_whole_file(path, kMaxVerdictBytes, ExitCode::data);
    if (text == verdict_text_) return false;
    Json verdict = Json::parse(text, nullptr, false);
    if (!verdict.is_object()) throw DataError("{}: expected a JSON object, found another text", path);
    verdict_ = std::move(verdict);
    verdict_text_ = std::move(text);
    return true;
}

bool Report::update() {
    const auto all = {&runs_, &tuning_, &trunks_};
    std::vector<size_t> before;
    for (const auto* runs : all) before.push_back(runs->size());
    if (!sweep_.empty()) find_runs();
    bool changed = false;
    auto known = before.begin();
    for (const auto* runs : all) {
        changed |= runs->size() != *known;
        for (size_t i = 0; i < *known; ++i) changed |= (*runs)[i]->update();
        ++known;
    }
    return read_verdict() || changed;
}

bool Report::finished() const {
    const auto over = [](const auto& run) {
        return run->status() == RunStatus::ended || run->status() == RunStatus::stopped ||
               run->status() == RunStatus::failed;
    };
    if (!std::all_of(runs_.begin(), runs_.end(), over)) return false;
    if (sweep_.empty()) return true;
    const Json state = verdict_.is_object() ? verdict_.value("state", Json::object()) : Json::object();
    const auto count = [&](const char* key) {
        return state.is_object() && state.contains(key) && state[key].is_number() ? state[key].get<double>()
                                                                                  : 0;
    };
    return count("planned") > 0 && count("missing") + count("running") == 0;
}

} // namespace braid::report
