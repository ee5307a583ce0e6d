#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "launch/commands.h"
#include "launch/device_option.h"
#include "launch/output.h"
#include "launch/ranks.h"
#include "launch/warnings.h"
#include "ops/cpu/blas_check.h"
#include "trainer/inference/inference.h"

namespace braid {
namespace {

struct GenerateArguments {
    std::string checkpoint, prompt, prompt_file, device;
    int64_t samples = 1, stop_token = -1;
    SamplingOptions sampling;
};

std::string read_file(const std::string& path) {
    std::error_code error;
    if (std::filesystem::is_directory(path, error))
        throw DataError("--prompt-file: {}: expected a file, found a folder", path);
    std::ifstream file(path, std::ios::binary);
    if (!file) throw DataError("--prompt-file: {}: cannot read the prompt: {}", path, std::strerror(errno));
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string read_prompt(const GenerateArguments& arguments) {
    std::string text = arguments.prompt;
    if (arguments.prompt == "-")
        text.assign(std::istreambuf_iterator<char>(std::cin), {});
    else if (!arguments.prompt_file.empty())
        text = read_file(arguments.prompt_file);
    if (text.empty()) throw ConfigError("--prompt: expected at least one token, found an empty text");
    return text;
}

/// The stop token that was asked for, or the tokenizer's own end of a document.
std::optional<int32_t> stop_token(const GenerateArguments& arguments, const Tokenizer& tokenizer) {
    if (arguments.stop_token < 0) return tokenizer.document_end();
    const int64_t size = tokenizer.identity().vocab_size;
    if (arguments.stop_token >= size)
        throw ConfigError("--stop-token: expected an id of the tokenizer '{}', from 0 to {}, found {}",
                          tokenizer.identity().name, size - 1, arguments.stop_token);
    return static_cast<int32_t>(arguments.stop_token);
}

void warn_of_padding(const InferenceModel& model) {
    const TokenizerIdentity& tokenizer = model.tokenizer().identity();
    const int64_t vocabulary = model.config().model.vocab_size;
    if (vocabulary > tokenizer.vocab_size)
        print_warnings(
            {fmt::format("model.vocab_size is {} and the tokenizer '{}' has {} ids: those from {} on "
                         "stand for no text and are never drawn",
                         vocabulary, tokenizer.name, tokenizer.vocab_size, tokenizer.vocab_size)});
}

ExitCode run(const GenerateArguments& arguments) {
    using Clock = std::chrono::steady_clock;
    const std::string prompt = read_prompt(arguments);
    set_num_threads(0, 1);
    ops::cpu::check_blas();
    InferenceModel model(arguments.checkpoint, chosen_device(arguments.device));
    SamplingOptions sampling = arguments.sampling;
    sampling.stop_token = stop_token(arguments, model.tokenizer());
    warn_of_padding(model);
    const std::vector<int32_t> tokens = encode(model.tokenizer(), prompt);
    int64_t drawn = 0;
    const auto start = Clock::now();
    for (int64_t i = 0; i < arguments.samples; ++i) {
        if (arguments.samples > 1)
            print_output(fmt::format("--- sample {} of {}\n", i + 1, arguments.samples));
        print_output(prompt);
        sampling.sample = static_cast<uint64_t>(i);
        drawn += generate(model, tokens, sampling, [&](int32_t token) {
            print_output(model.tokenizer().decode(std::span(&token, 1)));
        });
        print_output("\n");
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    std::fputs(fmt::format("{} tokens in {:.2f} s: {:.1f} tokens/s\n", drawn, seconds,
                           static_cast<double>(drawn) / seconds)
                   .c_str(),
               stderr);
    return ExitCode::ok;
}

void add_sampling_options(Command command, GenerateArguments& arguments) {
    SamplingOptions& sampling = arguments.sampling;
    command.option("--tokens", sampling.max_tokens, "Tokens to add").non_negative().show_default();
    command.option("--temperature", sampling.temperature, "0 takes the likeliest token always")
        .range(0.0, 1e6)
        .show_default();
    command
        .option("--top-p", sampling.top_p, "Sample from the likeliest tokens that hold this much probability")
        .range(0.0, 1.0)
        .show_default();
    command.option("--seed", sampling.seed, "The same seed gives the same text").show_default();
    command.option("--samples", arguments.samples, "Texts to write, each drawn anew, under a line each")
        .range(int64_t{1}, int64_t{1'000'000})
        .show_default();
    command
        .option("--stop-token", arguments.stop_token,
                "An id that ends a text; left out, the tokenizer's end of a document, where it has one")
        .range(int64_t{0}, int64_t{INT32_MAX});
}

} // namespace

void add_generate_command(Command app, CommandRun& action) {
    auto arguments = std::make_shared<GenerateArguments>();
    const Command command = app.subcommand("generate", "Continue a text with a checkpoint");
    command.option("CHECKPOINT", arguments->checkpoint, "A checkpoint, or a run folder for its newest one")
        .required();
    const Option prompt =
        command.option("--prompt", arguments->prompt, "The text to continue; - reads it from standard input");
    const Option file = command.option("--prompt-file", arguments->prompt_file, "A file that holds it");
    prompt.excludes(file);
    add_sampling_options(command, *arguments);
    add_device_option(command, arguments->device);
    command.callback([arguments, prompt, file, &action] {
        if (!prompt.given() && !file.given()) refuse_missing("--prompt TEXT or --prompt-file FILE");
        action = [arguments] { return run(*arguments); };
    });
}

} // namespace braid
