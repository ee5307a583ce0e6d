#pragma once

#include <span>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/inference/inference.h"

namespace braid {

/// A question of how likely a text is to follow another.
struct Request {
    std::string line; // the JSON object as it stood in the file
    int64_t line_number = 0;
    std::vector<int32_t> context, continuation; // tokens, at least one of each
};

/// Reads one request a line: a JSON object with the strings `context` and `continuation`, which are turned
/// into tokens each on its own. Blank lines are skipped. Anything else is a DataError naming file and line.
std::vector<Request> read_requests(const std::string& path, const Tokenizer& tokenizer);

struct RequestScore {
    double loglikelihood = 0; // sum of ln p of the continuation's tokens
    bool is_greedy = false; // whether each of them is the likeliest at its place; ties go to the lower token
};

/// The scores of all requests, shared out over the ranks of the group; every rank gets all. Requests run
/// together as documents of one row of at most batch_tokens tokens (a longer one runs alone); a score depends
/// on its neighbours by rounding only. NonFiniteError where a score is no number.
std::vector<RequestScore> score_requests(InferenceModel& model, std::span<const Request> requests,
                                         int64_t batch_tokens, Communicator& group);

/// The request's object with the keys loglikelihood, num_tokens and is_greedy behind its own.
std::string to_json_line(const Request& request, const RequestScore& score);

} // namespace braid
