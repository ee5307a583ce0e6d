#pragma once

#include <functional>

#include "base/error.h"
#include "parallel/communicator.h"

namespace braid {

/// An error that every rank of a group throws together, so that one of them may report it and all may end in
/// good order.
class AgreedError : public Error {
  public:
    using Error::Error;
};

/// Runs `body`, which must not communicate, on every rank of the group. If it fails anywhere, every rank
/// throws the same AgreedError: the message and exit code of the lowest rank that failed, naming the rank if
/// not all failed alike.
void agree(Communicator& comm, const std::function<void()>& body);

/// Throws AgreedError on every rank unless all gave the same text. `what` says in the message what differs.
void expect_same_everywhere(Communicator& comm, const std::string& text, const std::string& what,
                            ExitCode code);

} // namespace braid
