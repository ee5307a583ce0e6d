#include "base/profiler.h"

#include <gtest/gtest.h>

#include <sstream>

namespace braid {
namespace {

/// The seconds that the table gives an operation.
double seconds(const Profiler& profiler, const std::string& operation) {
    std::istringstream lines(profiler.table());
    for (std::string line; std::getline(lines, line);) {
        if (line.rfind(operation + " ", 0) != 0) continue;
        std::istringstream columns(line.substr(40));
        double calls = 0, seconds = 0;
        columns >> calls >> seconds;
        return seconds;
    }
    return -1;
}

TEST(profiler, time_inside_nested_events_counts_once) {
    constexpr int64_t kSecond = 1'000'000'000;
    Profiler profiler;
    // In the order of their ends, as scopes add them: outer [0, 10) holds middle [1, 7), which holds two
    // leaves of 2 s each; then a leaf after all.
    const auto add = [&](const char* name, int64_t start, int64_t duration) {
        profiler.add({name, 0, ProfilePhase::forward, start * kSecond, duration * kSecond, 0});
    };
    add("leaf", 1, 2);
    add("leaf", 4, 2);
    add("middle", 1, 6);
    add("outer", 0, 10);
    add("leaf", 10, 3);
    EXPECT_EQ(seconds(profiler, "leaf forward"), 7);
    EXPECT_EQ(seconds(profiler, "middle forward"), 2);
    EXPECT_EQ(seconds(profiler, "outer forward"), 4);
    EXPECT_EQ(seconds(profiler, "-"), 13) << "all of the layer";
}

/// A device that takes a second from each mark to the next.
class EvenMarks : public DeviceMarks {
  public:
    int64_t mark() override { return count_++; }
    std::vector<int64_t> take_ns() override {
        std::vector<int64_t> at;
        for (int64_t i = 0; i < count_; ++i) at.push_back(i * 1'000'000'000);
        count_ = 0;
        return at;
    }

  private:
    int64_t count_ = 0;
};

TEST(profiler, with_marks_the_time_is_the_devices) {
    Profiler profiler(std::make_shared<EvenMarks>());
    for (int step = 0; step < 2; ++step) {
        {
            ProfileScope outer(&profiler, "outer"); // marks 0 and 5
            { const ProfileScope leaf(&profiler, "leaf"); }
            { const ProfileScope leaf(&profiler, "leaf"); }
        }
        profiler.settle();
    }
    EXPECT_EQ(seconds(profiler, "leaf forward"), 4);
    EXPECT_EQ(seconds(profiler, "outer forward"), 6);
    ASSERT_EQ(profiler.events().size(), 6u);
    EXPECT_GE(profiler.events()[3].start_ns, profiler.events()[2].start_ns + profiler.events()[2].duration_ns)
        << "the second step follows the first";
}

} // namespace
} // namespace braid
