#include "parallel/plan_check.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "parallel/agreement.h"
#include "parallel/collectives.h"

namespace braid {
namespace {

/// All ranks, each at a place in its plan.
class Rendezvous {
  public:
    explicit Rendezvous(std::span<const RankPlan> plans) : plans_(plans), next_(plans.size(), 0) {
        for (size_t rank = 0; rank < plans.size(); ++rank)
            for (const PlannedOperation& planned : plans[rank]) expect_members(planned, rank);
    }

    /// Lets every rank go as far as it can.
    void run() {
        std::vector<int> to_try;
        for (int rank = 0; rank < num_ranks(); ++rank) to_try.push_back(rank);
        while (!to_try.empty()) {
            const int rank = to_try.back();
            to_try.pop_back();
            const PlannedOperation* planned = at(rank);
            if (!planned || waits_for(rank) >= 0) continue;
            for (const int member : planned->members) {
                ++next_[static_cast<size_t>(member)];
                to_try.push_back(member); // and whoever waits for it is a member of what it does next
            }
        }
    }

    std::optional<Deadlock> deadlock() const {
        int rank = 0;
        while (rank < num_ranks() && !at(rank)) ++rank;
        if (rank == num_ranks()) return std::nullopt;
        std::vector<int> path;
        while (rank >= 0 && std::find(path.begin(), path.end(), rank) == path.end()) {
            path.push_back(rank);
            rank = waits_for(rank);
        }
        // What leads into a circle is no part of it.
        if (rank >= 0) path.erase(path.begin(), std::find(path.begin(), path.end(), rank));
        Deadlock result;
        for (const int stuck : path) {
            const PlannedOperation* planned = at(stuck);
            result.ranks.push_back({stuck, next_[static_cast<size_t>(stuck)],
                                    planned ? std::optional(*planned) : std::nullopt, waits_for(stuck)});
        }
        return result;
    }

  private:
    int num_ranks() const { return static_cast<int>(plans_.size()); }

    void expect_members(const PlannedOperation& planned, size_t rank) const {
        const auto& members = planned.members;
        check(std::is_sorted(members.begin(), members.end()) && !members.empty() && members.front() >= 0 &&
                  members.back() < num_ranks() &&
                  std::adjacent_find(members.begin(), members.end()) == members.end() &&
                  std::binary_search(members.begin(), members.end(), static_cast<int>(rank)),
              "the plan of rank {} of {}: {} has the members {}", rank, plans_.size(), planned.operation,
              fmt::join(members, " "));
    }

    const PlannedOperation* at(int rank) const {
        const RankPlan& plan = plans_[static_cast<size_t>(rank)];
        const size_t position = next_[static_cast<size_t>(rank)];
        return position < plan.size() ? &plan[position] : nullptr;
    }

    /// The first member that is not at the operation this rank is at; -1 if all are, or the rank is done.
    int waits_for(int rank) const {
        const PlannedOperation* planned = at(rank);
        if (!planned) return -1;
        for (const int member : planned->members)
            if (const PlannedOperation* other = at(member); !other || *other != *planned) return member;
        return -1;
    }

    const std::span<const RankPlan> plans_;
    std::vector<size_t> next_; // by rank
};

std::string to_text(const RankProgram& program) {
    std::string text;
    for (const auto& [group, operation] : program) text += fmt::format("{} {}\n", group, operation);
    return text;
}

/// The program that to_text() wrote, of which the groups of `rank` are known.
RankPlan plan_of(const std::string& text, int rank, int num_ranks,
                 const std::function<std::vector<int>(int group, int rank)>& members) {
    RankPlan plan;
    for (size_t at = 0; at < text.size();) {
        const size_t blank = text.find(' ', at), end = text.find('\n', at);
        const int group = std::stoi(text.substr(at, blank - at));
        std::vector<int> ranks = members(group, rank);
        const int communicator = group * num_ranks + ranks.at(0);
        plan.push_back({communicator, std::move(ranks), text.substr(blank + 1, end - blank - 1)});
        at = end + 1;
    }
    return plan;
}

} // namespace

std::string Deadlock::describe() const {
    std::string text;
    for (const Stuck& stuck : ranks) {
        if (!text.empty()) text += "; ";
        if (stuck.at)
            text += fmt::format("rank {} at {} ({}, communicator {}) waits for rank {}", stuck.rank,
                                stuck.position, stuck.at->operation, stuck.at->communicator, stuck.waits_for);
        else
            text += fmt::format("rank {} is done after {}", stuck.rank, stuck.position);
    }
    return text;
}

std::optional<Deadlock> find_deadlock(std::span<const RankPlan> plans) {
    Rendezvous ranks(plans);
    ranks.run();
    return ranks.deadlock();
}

std::string collective_of(const Action& action) {
    switch (action.kind) {
        case Action::Kind::reduce_start:
            return fmt::format("all_to_all of the gradients of unit {}", action.unit);
        case Action::Kind::reduce_add:
            return fmt::format("all_gather of the sums of unit {}", action.unit);
        case Action::Kind::all_gather_start:
            return fmt::format("all_gather of the values of unit {}", action.unit);
        default:
            return "";
    }
}

void expect_programs_end(Communicator& world, const RankProgram& own,
                         const std::function<std::vector<int>(int group, int rank)>& members) {
    const std::vector<std::string> texts = all_gather_text(world, to_text(own));
    // One program of all ranks ends: who comes to an operation of a group finds the others of it on their
    // way.
    if (std::all_of(texts.begin(), texts.end(), [&](const auto& text) { return text == texts[0]; })) return;
    std::vector<RankPlan> plans;
    for (int rank = 0; rank < world.size(); ++rank)
        plans.push_back(plan_of(texts[static_cast<size_t>(rank)], rank, world.size(), members));
    if (const auto deadlock = find_deadlock(plans))
        throw AgreedError(ExitCode::communication,
                          "the plans of a step do not fit together: " + deadlock->describe());
}

} // namespace braid
