#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel/schedule.h"

namespace braid::testing {

/// A collective, or a message between two ranks, as a plan has it.
struct PlannedOperation {
    int communicator = 0;
    std::vector<int> members; // of the communicator, as ranks of the world, ascending; the issuing rank too
    std::string operation;    // what all members do together
    bool operator==(const PlannedOperation&) const = default;
};

/// What one rank does, in order.
using RankPlan = std::vector<PlannedOperation>;

/// Why plans do not end: ranks that wait for each other in a circle, or in a chain to one that is done.
struct Deadlock {
    struct Stuck {
        int rank = 0;
        size_t position = 0;                // in the rank's plan; its length if the rank is done
        std::optional<PlannedOperation> at; // nothing if the rank is done
        int waits_for = -1;                 // the next rank of the list; -1 if the rank is done
    };
    std::vector<Stuck> ranks; // the last waits for the first, unless it is done

    /// "rank 0 at 3 (all_gather of data) waits for rank 1; rank 1 at ..."
    std::string describe() const;
};

/// Runs the plans of all ranks (by rank of the world) against each other with the strictest meaning of a
/// message: nobody goes on before all members have come to the same operation. What ends so ends with any
/// buffering and any overlap. Nothing if all plans end; which one finds out does not depend on timing.
/// InternalError if a plan names members that do not exist or leaves out its own rank.
std::optional<Deadlock> find_deadlock(std::span<const RankPlan> plans);

/// The collectives that the actions of a step issue over `communicator`, whose members are `members`.
RankPlan communication_of(std::span<const Action> actions, int communicator, const std::vector<int>& members);

} // namespace braid::testing
