#include "parallel/agreement.h"

#include <algorithm>

#include "parallel/collectives.h"

namespace braid {

void agree(Communicator& comm, const std::function<void()>& body) {
    std::string failure; // the exit code as one character, then the message; empty if all went well
    try {
        body();
    } catch (const Error& error) {
        failure = static_cast<char>(error.exit_code()) + std::string(error.what());
    } catch (const std::bad_alloc&) {
        failure = static_cast<char>(ExitCode::usage) + std::string("out of memory");
    } catch (const std::exception& error) {
        failure = static_cast<char>(ExitCode::internal) + std::string(error.what());
    }
    const std::vector<std::string> failures = all_gather_text(comm, failure);
    const auto first =
        std::find_if(failures.begin(), failures.end(), [](const auto& text) { return !text.empty(); });
    if (first == failures.end()) return;
    const auto code = static_cast<ExitCode>((*first)[0]);
    const bool alike =
        std::all_of(failures.begin(), failures.end(), [&](const auto& text) { return text == *first; });
    const std::string message = first->substr(1);
    throw AgreedError(code, alike ? message : fmt::format("rank {}: {}", first - failures.begin(), message));
}

void expect_same_everywhere(Communicator& comm, const std::string& text, const std::string& what,
                            ExitCode code) {
    const std::vector<std::string> texts = all_gather_text(comm, text);
    for (size_t rank = 1; rank < texts.size(); ++rank)
        if (texts[rank] != texts[0])
            throw AgreedError(code, fmt::format("{} differs between rank 0 and rank {}: {} and {}", what,
                                                rank, texts[0], texts[rank]));
}

} // namespace braid
