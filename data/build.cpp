#include "data/build.h"

#include <filesystem>
#include <system_error>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/rng.h"
#include "data/publish_both.h"
#include "data/tokenizer.h"

namespace braid {

namespace {

void check_options(const BuildOptions& options, const std::vector<std::string>& files) {
    if (options.validation) {
        const ValidationSplit& split = *options.validation;
        if (!(split.fraction > 0 && split.fraction < 1))
            throw ConfigError("validation fraction: expected a number between 0 and 1, found {}",
                              split.fraction);
        if (std::filesystem::path(split.output).lexically_normal() ==
            std::filesystem::path(options.output).lexically_normal())
            throw ConfigError("validation output: '{}' is the output itself", split.output);
    }
    if (options.documents.format == InputFormat::jsonl && !options.documents.document_start.empty())
        throw ConfigError("document start: splits text, but the inputs are JSON lines, one document each");
    std::vector<std::string> outputs{options.output};
    if (options.validation) outputs.push_back(options.validation->output);
    for (const std::string& output : outputs)
        for (const std::string& file : files) {
            std::error_code error; // of a file that does not exist; opening it says so
            if (file != "-" && std::filesystem::equivalent(file, output, error))
                throw ConfigError("{}: is an input and the output", file);
        }
}

/// Looked at before either file is published: a build that fails leaves nothing.
void expect_tokens(const BuildOptions& options, const TokenFileWriter& train,
                   const TokenFileWriter* validation) {
    const std::string inputs = options.inputs.size() == 1 ? options.inputs[0]
                                                          : fmt::format("{} and {} more", options.inputs[0],
                                                                        options.inputs.size() - 1);
    if (train.num_tokens() == 0 && (!validation || validation->num_tokens() == 0))
        throw DataError("{}: expected text, found none: no tokens for {}", inputs, options.output);
    const auto refuse = [&](const char* part, const std::string& output) {
        throw DataError(
            "{}: the split by fraction {} leaves no tokens for {} part {}; change the fraction or give more "
            "documents",
            inputs, options.validation->fraction, part, output);
    };
    if (train.num_tokens() == 0) refuse("the training", options.output);
    if (validation && validation->num_tokens() == 0) refuse("the validation", options.validation->output);
}

} // namespace

bool in_validation_split(std::string_view document, double fraction) {
    return static_cast<double>(stable_hash(document) >> 11) * 0x1p-53 < fraction;
}

BuildResult build_token_file(const BuildOptions& options) {
    const std::vector<std::string> files = list_input_files(options.inputs);
    check_options(options, files);
    const auto tokenizer = make_tokenizer(options.tokenizer);
    TokenFileWriter train(options.output, tokenizer->identity(), options.overwrite);
    std::optional<TokenFileWriter> validation;
    if (options.validation)
        validation.emplace(options.validation->output, tokenizer->identity(), options.overwrite);

    for (const std::string& file : files)
        read_documents(file, options.documents, [&](const SourceDocument& document) {
            const std::string whole =
                document.prompt.empty() ? "" : std::string(document.prompt) + std::string(document.text);
            const std::string_view text = document.prompt.empty() ? document.text : whole;
            TokenFileWriter& writer =
                validation && in_validation_split(text, options.validation->fraction) ? *validation : train;
            // Each is encoded by itself, as when an answer is asked for.
            for (const auto& [part, counts] :
                 {std::pair(document.prompt, false), std::pair(document.text, true)})
                tokenizer->encode(part, [&, counts = counts](std::span<const int32_t> tokens) {
                    writer.add_tokens(tokens, counts);
                });
            writer.end_document(static_cast<int64_t>(text.size()));
        });
    expect_tokens(options, train, validation ? &*validation : nullptr);
    BuildResult result;
    if (validation) result.validation = validation->write();
    result.train = train.write();
    if (validation)
        publish_both(*validation, train);
    else
        train.publish();
    return result;
}

} // namespace braid
