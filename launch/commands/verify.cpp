#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <string_view>

#include "launch/commands.h"
#include "launch/output.h"
#include "launch/ranks.h"
#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "trainer/config/device_choice.h"
#include "trainer/verify/verify.h"

namespace braid {
namespace {

struct VerifyArguments {
    std::string config, layouts, precision = "f64";
    std::vector<std::string> overrides;
    int64_t steps = 2;
    bool shrink = false;
};

/// Prints results as they come: the error that is judged, the one of updates with the run file's eps, which
/// is not, and in f32 the flips.
class Table {
  public:
    void start(const VerifyReference& reference) {
        has_flips_ = reference.precision != DType::f64;
        if (has_flips_)
            print_output(fmt::format(
                "one rank in {} differs from f64 by {:.2e} ({}); times the root of {}, the terms of the "
                "longest sum: {:.2e}\n",
                name_of(reference.precision), reference.one_rank.error, reference.one_rank.where,
                reference.longest_sum, reference.bound));
        line("layout", "ranks", "error", "", fmt::format("eps {:g}", reference.reported_eps), "flips",
             fmt::format("worst (at most {:.3g} is equal)", reference.bound));
    }
    void add(const VerifyResult& result) const {
        line(result.name, std::to_string(result.num_ranks), fmt::format("{:.2e}", result.worst.error),
             result.passed() ? "equal" : "WRONG", fmt::format("{:.2e}", result.worst.reported_error),
             fmt::format("{} of {}", result.num_flips, result.num_choices), result.worst.where);
    }

  private:
    void line(std::string_view layout, std::string_view ranks, std::string_view error,
              std::string_view judgement, std::string_view reported, std::string_view flips,
              std::string_view worst) const {
        print_output(fmt::format("{:<44} {:>5}  {:>9}  {:<6}  {:>9}  {}{}\n", layout, ranks, error, judgement,
                                 reported, has_flips_ ? fmt::format("{:>12}  ", flips) : "", worst));
    }

    bool has_flips_ = false;
};

DType verify_precision(const std::string& name) {
    for (const DType dtype : {DType::f64, DType::f32})
        if (name == name_of(dtype)) return dtype;
    throw ConfigError("--precision: expected f64 or f32, found '{}'", name);
}

ExitCode verify(const VerifyArguments& arguments) {
    return run_as_rank([&](MpiSession& session) {
        set_num_threads(1, session.node_size());
        VerifyRequest request{.steps = arguments.steps, .shrink = arguments.shrink};
        agree(session.world(), [&] {
            request.precision = verify_precision(arguments.precision);
            request.config = read_run_config(arguments.config, arguments.overrides);
            request.layouts = parse_layouts(arguments.layouts);
            if (request.config.train.device ==
                DeviceChoice::cuda) // auto is the CPU here, which has threads as ranks
                request.compute =
                    Stream(choose_device(DeviceChoice::cuda, session.node_rank(), session.node_size()));
        });
        session.use_gpus(request.compute);
        Table table; // of nothing where the request is refused
        const auto results =
            verify_layouts(request, session.world(),
                           {[&](const VerifyReference& reference) { table.start(reference); },
                            [&](const VerifyResult& result) { table.add(result); }});
        double wrong =
            std::all_of(results.begin(), results.end(), [](const auto& r) { return r.passed(); }) ? 0 : 1;
        all_reduce_max(session.world(), std::span(&wrong, 1));
        return wrong > 0 ? ExitCode::internal : ExitCode::ok;
    });
}

} // namespace

void add_verify_command(Command app, CommandRun& action) {
    auto arguments = std::make_shared<VerifyArguments>();
    const Command command = app.subcommand(
        "verify", "Compare parallel layouts of a run file with one rank: loss, every gradient, every update");
    command.option("CONFIG", arguments->config, "The run file; its data are not read").required();
    command.option("KEY=VALUE", arguments->overrides, "Keys to override");
    command
        .option("--layouts", arguments->layouts,
                "\"tensor=2; expert=2,data=2\": each on as many ranks as the product of its sizes; also "
                "sequence=false, zero=0, micro_batch=N, reduction=library")
        .required();
    command.option("--steps", arguments->steps, "Steps to compare")
        .range(int64_t{1}, int64_t{100})
        .show_default();
    command.option("--precision", arguments->precision, "f64; or f32, with the experts that one rank chose")
        .show_default();
    command.flag("--shrink", arguments->shrink,
                 "Make sizes small; keep pattern, norms, head ratios and router");
    command.footer(
        "error is the largest of all tensors and judged (exit code 1); eps ... is that of updates with the "
        "run "
        "file's own eps, reported only;\nin f32, flips are tokens that would have chosen other experts by "
        "themselves.");
    command.callback([&action, arguments] { action = [arguments] { return verify(*arguments); }; });
}

} // namespace braid
