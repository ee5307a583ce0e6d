#include <cstdio>
#include <memory>

#include "launch/commands.h"
#include "launch/device_option.h"
#include "launch/ranks.h"
#include "ops/cpu/blas_check.h"
#include "trainer/inference.h"

namespace braid {
namespace {

struct GenerateArguments {
    std::string checkpoint, prompt, device;
    SamplingOptions sampling;
};

ExitCode run(const GenerateArguments& arguments) {
    set_num_threads(0, 1);
    ops::cpu::check_blas();
    InferenceModel model(arguments.checkpoint, chosen_device(arguments.device));
    fmt::print("{}", arguments.prompt);
    generate(model, encode(model.tokenizer(), arguments.prompt), arguments.sampling, [&](int32_t token) {
        const std::string text = model.tokenizer().decode(std::span(&token, 1));
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
    });
    fmt::print("\n");
    return ExitCode::ok;
}

} // namespace

void add_generate_command(Command app, Action& action) {
    auto arguments = std::make_shared<GenerateArguments>();
    SamplingOptions& sampling = arguments->sampling;
    const Command command = app.subcommand("generate", "Continue a text with a checkpoint");
    command.option("CHECKPOINT", arguments->checkpoint, "A checkpoint, or a run folder for its newest one")
        .required();
    command.option("--prompt", arguments->prompt, "The text to continue").required();
    command.option("--tokens", sampling.max_tokens, "Tokens to add").non_negative().show_default();
    command.option("--temperature", sampling.temperature, "0 takes the likeliest token always")
        .range(0.0, 1e6)
        .show_default();
    command
        .option("--top-p", sampling.top_p, "Sample from the likeliest tokens that hold this much probability")
        .range(0.0, 1.0)
        .show_default();
    command.option("--seed", sampling.seed, "The same seed gives the same text").show_default();
    add_device_option(command, arguments->device);
    command.callback([arguments, &action] { action = [arguments] { return run(*arguments); }; });
}

} // namespace braid
