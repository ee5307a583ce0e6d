#include "trainer/run/run.h"

#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/file_services.h"
#include "parallel/agreement.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/machine/gemm_rate.h"
#include "trainer/metrics/metrics.h"
#include "trainer/metrics/profile_output.h"
#include "trainer/run/lone_work.h"
#include "trainer/run/report.h"
#include "trainer/run/run_folder.h"
#include "trainer/run/run_record.h"
#include "trainer/run/superseded.h"
#include "trainer/start/resume.h"
#include "trainer/start/start.h"
#include "trainer/training/trainer.h"

namespace braid {
namespace {

std::string host_name() {
    char name[256] = {};
    gethostname(name, sizeof name - 1);
    return name;
}

/// Ranks may read different files or get different command lines; nothing is touched before they agree.
void expect_same_config(Communicator& world, const RunConfig& config) {
    const std::vector<std::string> texts = all_gather_text(world, to_yaml(config));
    for (size_t rank = 1; rank < texts.size(); ++rank) {
        if (texts[rank] == texts[0]) continue;
        std::string message = fmt::format("the config of rank {} differs from that of rank 0:", rank);
        for (const auto& difference :
             all_differences(parse_stored_config(texts[0], "rank 0's config"),
                             parse_stored_config(texts[rank], "another rank's config")))
            message += fmt::format("\n  {}: {} on rank 0, {} on rank {}", difference.key,
                                   difference.old_value, difference.new_value, rank);
        throw AgreedError(ExitCode::usage, message);
    }
}

/// The kinds of collectives added up.
std::map<std::string, Traffic> by_axis(
    const std::map<std::pair<std::string, CollectiveKind>, Traffic>& traffic) {
    std::map<std::string, Traffic> sums;
    for (const auto& [key, part] : traffic) {
        Traffic& sum = sums[key.first];
        sum.calls += part.calls;
        sum.bytes_sent += part.bytes_sent;
    }
    return sums;
}

/// One run on one rank. What the user sees (folder, metrics, progress) exists on rank 0 only.
class Run {
  public:
    Run(const TrainRequest& request, Communicator& world)
        : request_(request),
          config_(request.config),
          world_(world),
          folder_path_(config_.run_dir.empty() ? "runs/" + config_.name : config_.run_dir) {}

    ExitCode execute();

  private:
    bool is_first() const { return world_.rank() == 0; }
    int64_t last_step() const {
        return config_.train.stop_at > 0 ? std::min(config_.train.stop_at, config_.train.steps)
                                         : config_.train.steps;
    }

    void find_start();
    void load_start();
    void start_outputs();
    ExitCode loop();
    ExitCode save_and_stop();
    void train_step(bool evaluates);
    void evaluate_before_training();
    void add_evaluation(StepMetrics& metrics);
    void show_evaluation(const StepMetrics& metrics);
    void save();
    bool stop_agreed();
    void say_done();
    void say(const std::string& message);
    std::string checkpoint_path() const {
        return fmt::format("{}/{}/{}", folder_path_, kCheckpointsFolder, checkpoint_name(saved_step_));
    }
    RunProgress progress_so_far() const { return {trainer_->steps_done(), trainer_->tokens_seen(), flops_}; }

    const TrainRequest& request_;
    const RunConfig& config_;
    Communicator& world_;
    const std::string folder_path_;
    std::optional<RunFolder> folder_;
    std::optional<Trainer> trainer_;
    std::optional<MetricsWriter> metrics_;
    std::optional<RunRecord> record_;
    std::optional<Progress> progress_;
    std::optional<ProfileOutput> profile_;
    ResumePoint resume_;
    double gemm_rate_ = 0; // of all ranks together, operations per second
    double flops_ = 0;     // of this start
    int64_t saved_step_ = -1;
};

ExitCode Run::execute() {
    std::optional<CollectiveLabel> label;
    label.emplace(world_.log(), "start");
    expect_same_config(world_, config_);
    find_start();
    if (resume_.step >= last_step() && !resume_.checkpoint.empty() && !resume_.start) {
        say(fmt::format("already complete: {} is at step {} of {}", resume_.checkpoint, resume_.step,
                        last_step()));
        return ExitCode::ok;
    }
    // Said at once: the weights of a large model take seconds. Not logged: a refused start leaves no folder.
    if (is_first() && !request_.dry_run)
        request_.progress.write(fmt::format("{}: output goes to {}\n", config_.name, folder_path_));
    trainer_.emplace(config_, world_, request_.node_size, request_.compute);
    load_start();
    if (request_.dry_run) {
        say(resume_.checkpoint.empty()
                ? "would start at step 0"
                : fmt::format("would {}: {}", resume_.start ? "start" : "resume", resume_.message));
        if (is_first()) say(describe_start(*trainer_, world_.size(), request_.num_threads));
        return ExitCode::ok;
    }
    gemm_rate_ = gemm_rate(config_.train.precision, request_.compute);
    all_reduce_sum(world_, std::span(&gemm_rate_, 1));
    if (request_.started) request_.started();
    start_outputs();
    label.reset();
    try {
        const ExitCode code = loop();
        if (record_) {
            folder_->expect_in_place();
            record_->finish(code, progress_so_far());
        }
        return code;
    } catch (const Error& error) {
        if (folder_) folder_->log(error.what());
        // Not into a folder that has taken the name meanwhile.
        if (record_ && folder_->is_in_place()) record_->finish(error.exit_code());
        throw;
    }
}

void Run::load_start() {
    if (resume_.checkpoint.empty()) return;
    if (!resume_.start) return trainer_->load(resume_.checkpoint);
    const std::string notes = trainer_->start_from(resume_.checkpoint);
    if (!notes.empty()) resume_.message += "\n" + notes;
}

/// Holds the run folder from here on; a dry run only looks at it.
void Run::find_start() {
    const auto interval = sign_of_life_interval(config_.parallel.watchdog_seconds);
    const std::string decided = from_rank_0(world_, interval, [&](const std::function<void()>& tick) {
        if (!request_.dry_run) folder_.emplace(folder_path_);
        std::optional<StoredRun> stored;
        if (const auto text = read_stored_config(folder_path_))
            stored = {*text, recorded_parent_save(folder_path_)};
        ResumePoint point = find_resume_point(config_, request_.resume, stored,
                                              fmt::format("{}/{}", folder_path_, kCheckpointsFolder), tick);
        if (point.checkpoint.empty() && !config_.start.from.empty())
            point = find_parent(config_, recorded_parent(folder_path_, config_.start), tick);
        // A path may hold any character.
        return fmt::format("{}\n{}\n{}\n{}{}", point.step, point.start ? "start" : "resume",
                           point.checkpoint.size(), point.checkpoint, point.message);
    });
    const size_t first = decided.find('\n'), second = decided.find('\n', first + 1),
                 third = decided.find('\n', second + 1);
    const size_t length = std::stoull(decided.substr(second + 1, third - second - 1));
    resume_ = {decided.substr(third + 1, length), std::stoll(decided.substr(0, first)),
               decided.substr(third + 1 + length)};
    if (decided.substr(first + 1, second - first - 1) == "start") resume_.start = config_.start.mode;
}

void Run::start_outputs() {
    const std::vector<std::string> hosts = all_gather_text(world_, host_name());
    const std::vector<std::string> devices = all_gather_text(world_, to_string(request_.compute.device()));
    agree(world_, [&] {
        if (!is_first()) return;
        folder_->prepare();
        // Only now that nothing has refused it does the config become the run's.
        folder_->store_config(to_yaml(config_));
        // From step 0 on everything is written anew, the evaluation before training too. So it is from
        // another run's checkpoint: what lies here is of an earlier try, which this start does not go on
        // with.
        const int64_t last_kept = resume_.step > 0 && !resume_.start ? resume_.step : -1;
        const Superseded superseded = retire_later_steps(folder_path_, last_kept);
        if (!superseded.folder.empty()) resume_.message += "\n" + superseded.describe();
        metrics_.emplace(folder_path_, last_kept, config_.log.tensorboard);
        RunStart start{.command = request_.command,
                       .hosts = hosts,
                       .devices = devices,
                       .threads = request_.num_threads,
                       .libraries = request_.libraries,
                       .labels = request_.labels,
                       .parent = resume_.checkpoint,
                       .superseded = superseded.folder,
                       .from = resume_.start ? config_.start : StartConfig{},
                       .parent_save_id = trainer_->parent(),
                       .step = trainer_->steps_done(),
                       .tokens = trainer_->tokens_seen()};
        record_.emplace(folder_path_, start);
        ProgressOptions options = request_.progress;
        options.steps = config_.train.steps;
        options.last_step = last_step();
        options.step = trainer_->steps_done();
        progress_.emplace(std::move(options));
    });
    for (const std::string& hint : take_file_service_hints()) say(hint);
    if (!resume_.message.empty()) say(resume_.message);
    if (is_first()) say(describe_start(*trainer_, world_.size(), request_.num_threads));
    if (config_.log.profile) profile_.emplace(folder_path_, world_.rank(), trainer_->allocator().stream());
}

void Run::say(const std::string& message) {
    if (!is_first()) return;
    if (folder_) folder_->log(message);
    if (progress_)
        progress_->message(message);
    else
        request_.progress.write(message + "\n");
}

ExitCode Run::loop() {
    // From nothing, from a checkpoint before the first step, which starts over, or from another run.
    const bool begins = trainer_->steps_done() == 0 || resume_.start;
    if (begins && config_.eval.at_start) evaluate_before_training();
    while (trainer_->steps_done() < last_step()) {
        if (stop_agreed()) return save_and_stop();
        const int64_t step = trainer_->steps_done() + 1;
        const bool last = step == last_step();
        try {
            train_step(config_.eval.every > 0 && (last || step % config_.eval.every == 0));
        } catch (const AgreedError& error) { // while the step's data were awaited
            if (error.exit_code() != ExitCode::stopped) throw;
            return save_and_stop();
        }
        if (last || (config_.checkpoint.every > 0 && step % config_.checkpoint.every == 0)) save();
    }
    say_done();
    return ExitCode::ok;
}

ExitCode Run::save_and_stop() {
    if (saved_step_ != trainer_->steps_done()) save();
    say(fmt::format("stopped by a signal after step {}; run the same command again{} to go on",
                    trainer_->steps_done(), request_.resume == "auto" ? "" : " without --resume"));
    return ExitCode::stopped;
}

void Run::evaluate_before_training() {
    const CollectiveLabel label(world_.log(), "evaluation before training");
    StepMetrics metrics{.step = trainer_->steps_done(), .tokens = trainer_->tokens_seen()};
    add_evaluation(metrics);
    agree(world_, [&] {
        if (!is_first() || !metrics.was_evaluated()) return;
        folder_->expect_in_place();
        metrics_->write(metrics);
        show_evaluation(metrics);
    });
}

/// A stop signal gives the evaluation up: the state to save is complete, and a batch system waits for seconds
/// only.
void Run::add_evaluation(StepMetrics& metrics) {
    try {
        add_evaluations(metrics, trainer_->evaluate(request_.stop_requested));
    } catch (const AgreedError& error) {
        if (error.exit_code() != ExitCode::stopped) throw;
        say("the evaluation is given up");
    }
}

void Run::show_evaluation(const StepMetrics& metrics) {
    progress_->evaluation(metrics);
    folder_->log(progress_->evaluation_line(metrics));
}

void Run::train_step(bool evaluates) {
    const int64_t step = trainer_->steps_done() + 1;
    const CollectiveLabel label(world_.log(), "step", std::to_string(step));
    const bool diagnoses = config_.log.layers_every > 0 && step % config_.log.layers_every == 0;
    if (world_.log()) world_.log()->take_traffic(); // of what lay between the steps
    const StepReport report =
        trainer_->step(diagnoses, profile_ ? profile_->profiler_for(step) : nullptr, request_.stop_requested);
    flops_ += report.flops;
    StepMetrics metrics = step_metrics(*trainer_, report, gemm_rate_);
    if (world_.log()) metrics.communication = by_axis(world_.log()->take_traffic());
    if (evaluates) {
        const CollectiveLabel evaluation(world_.log(), "evaluation");
        add_evaluation(metrics);
    }
    agree(world_, [&] {
        if (profile_) profile_->write_when_done(step == last_step());
        if (!is_first()) return;
        folder_->expect_in_place();
        if (step % config_.log.every == 0 || evaluates || step == last_step()) metrics_->write(metrics);
        if (diagnoses) metrics_->write(layer_metrics(*trainer_, report));
        progress_->step(metrics);
        if (metrics.was_evaluated()) show_evaluation(metrics);
    });
}

void Run::save() {
    const CollectiveLabel label(world_.log(), "checkpoint of step", std::to_string(trainer_->steps_done()));
    agree(world_, [&] {
        if (!is_first()) return;
        folder_->expect_in_place();
        metrics_->sync();
    });
    trainer_->save(folder_path_ + "/checkpoints");
    saved_step_ = trainer_->steps_done();
    agree(world_, [&] {
        if (!is_first()) return;
        folder_->expect_in_place();
        record_->update(progress_so_far());
        folder_->log("saved " + checkpoint_path());
    });
}

/// The end, and what a user does next with what has been made.
void Run::say_done() {
    say(fmt::format("done: step {} of {}; checkpoint {}; {}", trainer_->steps_done(), config_.train.steps,
                    checkpoint_path(),
                    last_step() < config_.train.steps
                        ? "to go on: the same command without train.stop_at"
                        : fmt::format("braid generate {} --prompt ...", folder_path_)));
}

bool Run::stop_agreed() {
    const CollectiveLabel label(world_.log(), "between steps");
    double wanted = request_.stop_requested && request_.stop_requested() ? 1 : 0;
    all_reduce_max(world_, std::span(&wanted, 1));
    return wanted > 0;
}

} // namespace

ExitCode run_training(const TrainRequest& request, Communicator& world) {
    return Run(request, world).execute();
}

} // namespace braid
