#include "ablation/sweep/sweep.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include <nlohmann/json.hpp>

#include "ablation/sweep/verdict.h"
#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "trainer/run/lone_work.h"

namespace braid {
namespace {

constexpr std::chrono::milliseconds kPoll{200};
constexpr const char *kNothingLeft = "end", *kStop = "stop";

class Sweep {
  public:
    Sweep(const SweepRequest& request, Communicator& group)
        : request_(request),
          plan_(request.plan),
          group_(group),
          folder_(request.folder),
          results_(plan_, request.folder) {}

    ExitCode execute();

  private:
    std::string next(const std::function<void()>& tick);
    bool is_ready(const PlannedRun& run);
    bool is_wanted(const std::vector<PlannedRun>& runs, size_t i) const;
    std::optional<size_t> take(const std::vector<PlannedRun>& runs, bool& others_work);
    ExitCode train(const PlannedRun& run);
    void conclude(const PlannedRun& run, ExitCode code, const std::string& message);
    void write_results();
    bool stops() const { return request_.train.stop_requested && request_.train.stop_requested(); }

    const SweepRequest& request_;
    const SweepPlan& plan_;
    Communicator& group_;
    SweepFolder folder_;
    SweepResults results_; // of rank 0
    std::unique_ptr<FolderLock> claim_;
    std::set<std::string> failed_; // by this process; the next start tries them again
    ExitCode first_failure_ = ExitCode::ok;
};

ExitCode Sweep::execute() {
    const auto interval = sign_of_life_interval(plan_.base.parallel.watchdog_seconds);
    from_rank_0(group_, interval, [&](const std::function<void()>&) {
        folder_.adopt(plan_, request_.accept_change);
        write_results();
        return std::string();
    });
    for (;;) {
        const CollectiveLabel label(group_.log(), "between runs");
        const std::string number =
            from_rank_0(group_, interval, [&](const std::function<void()>& tick) { return next(tick); });
        if (number == kStop) return ExitCode::stopped;
        if (number == kNothingLeft) return first_failure_;
        // Only rank 0 looked at the files, and only it knows what tuning has chosen.
        const PlannedRun run = decode_run(plan_, folder_.path(), number);
        const ExitCode code = train(run);
        if (code == ExitCode::stopped) return code;
        if (request_.only && run.role != RunRole::trunk)
            return code == ExitCode::non_finite ? ExitCode::ok : code;
    }
}

/// The run that rank 0 took, or what to do without one.
std::string Sweep::next(const std::function<void()>& tick) {
    for (;;) {
        if (stops()) return kStop;
        const std::vector<PlannedRun> runs = results_.runs(request_.look);
        if (request_.only && *request_.only >= runs.size())
            throw ConfigError(
                "--only {}: {} runs can be named by now (0 to {}){}", *request_.only, runs.size(),
                static_cast<int64_t>(runs.size()) - 1,
                results_.tuning().finished ? "" : "; those that judge come when tuning has ended");
        bool others_work = false;
        if (const auto taken = take(runs, others_work)) return encode_run(runs[*taken]);
        // Who asked for one run leaves it to whoever has it, but waits for a trunk that it needs.
        const bool waits = others_work && (!request_.only || !is_ready(runs[*request_.only]));
        if (!waits) return kNothingLeft;
        tick();
        std::this_thread::sleep_for(kPoll);
    }
}

/// Whether the run may begin: one that leaves a trunk waits until that has saved the step.
bool Sweep::is_ready(const PlannedRun& run) {
    return run.trunk.empty() ||
           read_trunk_result(run.trunk_folder(), run.branch_step).state == RunState::ended;
}

/// Whether this process is to do the run if nobody else does: all of them, or the one that was asked for and
/// the trunk it needs.
bool Sweep::is_wanted(const std::vector<PlannedRun>& runs, size_t i) const {
    if (!request_.only || *request_.only == i) return true;
    const PlannedRun& only = runs[*request_.only];
    return runs[i].id == only.trunk && runs[i].stop_at <= only.branch_step;
}

std::optional<size_t> Sweep::take(const std::vector<PlannedRun>& runs, bool& others_work) {
    for (size_t i = 0; i < runs.size(); ++i) {
        if (!is_wanted(runs, i) || results_.of(runs[i]).is_final() || failed_.contains(runs[i].name()))
            continue;
        if (!is_ready(runs[i])) continue; // whoever has its trunk is at work, or failed
        claim_ = folder_.claim(runs[i].id);
        if (claim_ && request_.shared && !claim_->excludes_others())
            throw WriteError(
                "{}: the file system has no locks, by which groups would share out the runs; leave out "
                "--groups",
                folder_.path());
        if (!claim_)
            others_work = true;
        else if (!results_.of(runs[i]).is_final()) // not ended by another meanwhile
            return i;
        claim_.reset();
    }
    return std::nullopt;
}

ExitCode Sweep::train(const PlannedRun& run) {
    TrainRequest request = request_.train;
    std::string message;
    ExitCode code = ExitCode::ok;
    try {
        agree(group_, [&] { request.config = run_config(plan_, run); });
        request.labels = {{"sweep", plan_.sweep.name},
                          {"plan", plan_.hash},
                          {"variant", plan_.variants[run.key.variant].id},
                          {"role", std::string(to_string(run.role))}};
        code = run_training(request, group_);
    } catch (const Error& error) {
        // Of several ranks only what all agree on leaves them in step.
        if (group_.size() > 1 && !dynamic_cast<const AgreedError*>(&error)) throw;
        code = error.exit_code();
        message = error.what();
    }
    // What follows is for all ranks to know: a failure of writing ends the sweep.
    agree(group_, [&] {
        if (group_.rank() == 0) conclude(run, code, message);
    });
    const bool is_result = code == ExitCode::ok || code == ExitCode::non_finite || code == ExitCode::stopped;
    if (!is_result && first_failure_ == ExitCode::ok) first_failure_ = code;
    return code;
}

void Sweep::conclude(const PlannedRun& run, ExitCode code, const std::string& message) {
    claim_.reset();
    const std::vector<PlannedRun> runs = results_.runs(request_.look);
    size_t done = 0;
    for (const PlannedRun& other : runs) done += results_.of(other).is_final();
    const RunResult result = results_.of(run);
    std::string line = fmt::format("{}/{} {}: {}", done, runs.size(), run.name(), to_string(result.state));
    if (result.outcome) line += fmt::format(", {} {:.6g}", plan_.sweep.outcome.metric, *result.outcome);
    if (!message.empty()) line += fmt::format(" (exit {}): {}", static_cast<int>(code), message);
    if (!result.is_final() && code != ExitCode::stopped) failed_.insert(run.name());
    request_.say(line);
    write_results();
}

void Sweep::write_results() {
    const auto lock = folder_.hold_results();
    folder_.write("table.csv", results_csv(plan_, results_, request_.look));
    folder_.write("verdict.json",
                  verdict_json(plan_, folder_, results_, request_.look)
                          .dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
                      "\n");
}

} // namespace

ExitCode run_sweep(const SweepRequest& request, Communicator& group) {
    return Sweep(request, group).execute();
}

} // namespace braid
