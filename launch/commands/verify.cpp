#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <utility>

#include "launch/commands.h"
#include "launch/output.h"
#include "launch/ranks.h"
#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "trainer/verify.h"

namespace braid {
namespace {

struct VerifyArguments {
    std::string config, layouts, precision = "f64";
    std::vector<std::string> overrides;
    int64_t steps = 2;
    bool shrink = false;
};

void print_header() {
    print_output(fmt::format("{:<44} {:>5}  {:>9}  {:<6}  {}\n", "layout", "ranks", "error", "",
                             "worst (at most 1e-12 is equal)"));
}

void print_result(const VerifyResult& result) {
    print_output(fmt::format("{:<44} {:>5}  {:>9.2e}  {:<6}  {}\n", result.name, result.num_ranks,
                             result.worst.error, result.passed() ? "equal" : "WRONG", result.worst.where));
}

ExitCode verify(const VerifyArguments& arguments) {
    return run_as_rank([&](MpiSession& session) {
        set_num_threads(1, session.node_size());
        VerifyRequest request{.steps = arguments.steps, .shrink = arguments.shrink};
        agree(session.world(), [&] {
            if (arguments.precision != "f64")
                throw ConfigError("--precision: expected f64, found '{}'; other precisions are not built yet",
                                  arguments.precision);
            request.config = read_run_config(arguments.config, arguments.overrides);
            request.layouts = parse_layouts(arguments.layouts);
        });
        bool first = true; // a request that is refused prints no table
        const auto results = verify_layouts(request, session.world(), [&](const VerifyResult& result) {
            if (std::exchange(first, false)) print_header();
            print_result(result);
        });
        double wrong =
            std::all_of(results.begin(), results.end(), [](const auto& r) { return r.passed(); }) ? 0 : 1;
        all_reduce_max(session.world(), std::span(&wrong, 1));
        return wrong > 0 ? ExitCode::internal : ExitCode::ok;
    });
}

} // namespace

void add_verify_command(CLI::App& app, Action& action) {
    auto arguments = std::make_shared<VerifyArguments>();
    CLI::App* command = app.add_subcommand(
        "verify", "Compare parallel layouts of a run file with one rank: loss, every gradient, every update");
    command->add_option("CONFIG", arguments->config, "The run file; its data are not read")->required();
    command->add_option("KEY=VALUE", arguments->overrides, "Keys to override");
    command
        ->add_option("--layouts", arguments->layouts,
                     "\"tensor=2; expert=2,data=2\": each on as many ranks as the product of its sizes; also "
                     "sequence=false, zero=0, micro_batch=N")
        ->required();
    command->add_option("--steps", arguments->steps, "Steps to compare")
        ->check(CLI::Range(1, 100))
        ->capture_default_str();
    command->add_option("--precision", arguments->precision, "f64")->capture_default_str();
    command->add_flag("--shrink", arguments->shrink,
                      "Make sizes small; keep pattern, norms, head ratios and router");
    command->callback([&action, arguments] { action = [arguments] { return verify(*arguments); }; });
}

} // namespace braid
