#include "trainer/machine/machine_rates.h"

#include <gtest/gtest.h>

namespace braid {
namespace {

TEST(MachineRates, BusFactorsAreThoseOfNcclTests) {
    EXPECT_DOUBLE_EQ(bus_factor(MeasuredCollective::all_reduce, 2), 1);
    EXPECT_DOUBLE_EQ(bus_factor(MeasuredCollective::all_reduce, 4), 1.5);
    for (const auto collective : {MeasuredCollective::all_gather, MeasuredCollective::reduce_scatter,
                                  MeasuredCollective::all_to_all}) {
        EXPECT_DOUBLE_EQ(bus_factor(collective, 4), 0.75) << name_of(collective);
        EXPECT_DOUBLE_EQ(bus_factor(collective, 1), 0) << name_of(collective);
    }
}

} // namespace
} // namespace braid
