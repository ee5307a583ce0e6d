#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/schedule.h"

namespace braid {

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

/// The collective that an action starts, as all its members call it; "" where it starts none.
std::string collective_of(const Action& action);

/// A rank's collectives in order, with groups by numbers that mean the same to all ranks.
using RankProgram = std::vector<std::pair<int, std::string>>; // group, operation

/// Collective: AgreedError with who waits for whom in what, unless the programs of all ranks, of which each
/// gives its own, end together. Ranks may have different ones, as stages of a model do. members(group, rank)
/// are the ranks of the world in the group with this number that `rank` is in, ascending.
void expect_programs_end(Communicator& world, const RankProgram& own,
                         const std::function<std::vector<int>(int group, int rank)>& members);

} // namespace braid
